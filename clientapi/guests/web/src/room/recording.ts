// Recording of a voice message from the microphone.
//
// Spec: MSC3245, MSC1767

import { toOgg } from "./ogg.ts";

// What phones can play comes first; a WebM of Opus is put into Ogg when it is done.
const kinds = ["audio/ogg;codecs=opus", "audio/webm;codecs=opus", "audio/mp4", "audio/webm"];

export const canRecord = (): boolean =>
    typeof MediaRecorder !== "undefined" && !!navigator.mediaDevices && kinds.some((kind) => MediaRecorder.isTypeSupported(kind));

export interface Recorded {
    file: File;
    /** Milliseconds */
    duration: number;
    /** About a hundred values from 0 to 1024. */
    waveform: number[];
}

const points = 100;
const longest = 15 * 60_000;

export class Recording {
    private chunks: Blob[] = [];
    private levels: number[] = [];
    private started = 0;
    private timer = 0;

    private constructor(private stream: MediaStream, private recorder: MediaRecorder, private context: AudioContext, private analyser: AnalyserNode) {}

    /** Asks for the microphone and starts. onLevel is told how loud it is, from 0 to 1, some 20 times a second. */
    static async start(onLevel: (level: number, elapsed: number) => void, onLongest: () => void): Promise<Recording> {
        const stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, echoCancellation: true, noiseSuppression: true } });
        const context = new AudioContext();
        const analyser = context.createAnalyser();
        analyser.fftSize = 1024;
        context.createMediaStreamSource(stream).connect(analyser);
        const recorder = new MediaRecorder(stream, { mimeType: kinds.find((kind) => MediaRecorder.isTypeSupported(kind)), audioBitsPerSecond: 32_000 });
        const recording = new Recording(stream, recorder, context, analyser);
        recording.run(onLevel, onLongest);
        return recording;
    }

    private run(onLevel: (level: number, elapsed: number) => void, onLongest: () => void): void {
        const samples = new Float32Array(this.analyser.fftSize);
        this.recorder.ondataavailable = ({ data }) => data.size > 0 && this.chunks.push(data);
        this.recorder.start(1000);
        this.started = performance.now();
        this.timer = window.setInterval(() => {
            this.analyser.getFloatTimeDomainData(samples);
            const loud = Math.sqrt(samples.reduce((sum, s) => sum + s * s, 0) / samples.length);
            const level = Math.min(1, loud * 4);
            this.levels.push(level);
            const elapsed = performance.now() - this.started;
            onLevel(level, elapsed);
            if (elapsed > longest) onLongest();
        }, 50);
    }

    private release(): void {
        clearInterval(this.timer);
        for (const track of this.stream.getTracks()) track.stop();
        void this.context.close();
    }

    async stop(name: string): Promise<Recorded> {
        const duration = Math.round(performance.now() - this.started);
        const stopped = new Promise<void>((done) => { this.recorder.onstop = () => done(); });
        this.recorder.stop();
        await stopped;
        this.release();
        let blob = new Blob(this.chunks, { type: this.recorder.mimeType });
        if (this.recorder.mimeType.startsWith("audio/webm")) {
            const ogg = toOgg(new Uint8Array(await blob.arrayBuffer()));
            if (ogg) blob = new Blob([ogg], { type: "audio/ogg" });
        }
        const type = blob.type.split(";")[0]!;
        const ending = type === "audio/mp4" ? "m4a" : type === "audio/ogg" ? "ogg" : "webm";
        return { file: new File([blob], `${name}.${ending}`, { type }), duration, waveform: this.waveform() };
    }

    cancel(): void {
        this.recorder.onstop = null;
        if (this.recorder.state !== "inactive") this.recorder.stop();
        this.release();
    }

    private waveform(): number[] {
        const count = Math.min(points, this.levels.length);
        const top = Math.max(...this.levels, 0.02);
        return Array.from({ length: count }, (_, i) => {
            const part = this.levels.slice(Math.floor((i * this.levels.length) / count), Math.floor(((i + 1) * this.levels.length) / count));
            return Math.round((Math.max(...part, 0) / top) * 1024);
        });
    }
}

/** What a voice message says of itself besides the file. */
export function voiceContent({ duration, waveform, file }: Recorded): Record<string, unknown> {
    return {
        body: file.name,
        info: { duration },
        "org.matrix.msc1767.text": file.name,
        "org.matrix.msc1767.audio": { duration, waveform },
        "org.matrix.msc3245.voice": {},
    };
}
