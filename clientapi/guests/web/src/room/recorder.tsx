// Recording a voice message: live level, then listening to it before it is sent.

import { useEffect, useRef, useState } from "react";

import { useTranslation } from "../i18n/index.tsx";
import { Icon } from "./icons.tsx";
import { Recording, type Recorded } from "./recording.ts";
import { Waveform } from "./waveform.tsx";

export default function Recorder({ done, cancel }: { done: (recorded: Recorded) => void; cancel: () => void }) {
    const { t, date } = useTranslation();
    const recording = useRef<Recording | undefined>(undefined);
    const [levels, setLevels] = useState<number[]>([]);
    const [elapsed, setElapsed] = useState(0);
    const [refused, setRefused] = useState<"denied" | "none" | undefined>();
    const [recorded, setRecorded] = useState<Recorded | undefined>();
    const main = useRef<HTMLButtonElement>(null);
    const name = () => t("room.voice.file", { date: date(Date.now(), { dateStyle: "short", timeStyle: "short" }).replace(/[/:]/g, "-") });

    const stop = async (): Promise<Recorded | undefined> => {
        const running = recording.current;
        recording.current = undefined;
        return running?.stop(name());
    };
    const listen = () => void stop().then((r) => r && setRecorded(r));

    useEffect(() => {
        let here = true;
        Recording.start((level, ms) => {
            setLevels((before) => [...before.slice(-47), level]);
            setElapsed(ms);
        }, listen).then((started) => {
            if (!here) return started.cancel();
            recording.current = started;
            main.current?.focus();
        }, (error: Error) => setRefused(error.name === "NotFoundError" ? "none" : "denied"));
        return () => {
            here = false;
            recording.current?.cancel();
        };
        // eslint-disable-next-line react-hooks/exhaustive-deps
    }, []);

    const send = async () => {
        const r = recorded ?? (await stop());
        if (r) done(r);
    };
    const clock = date(elapsed, { minute: "numeric", second: "2-digit", timeZone: "UTC" });
    if (refused) {
        return (
            <div className="rl-recorder" role="alert">
                <Icon name="warning" /><span className="rl-recorder-words">{t(refused === "none" ? "room.voice.none" : "room.voice.denied")}</span>
                <button type="button" className="icon-button" onClick={cancel} aria-label={t("app.close")}><Icon name="close" /></button>
            </div>
        );
    }
    return (
        <div className="rl-recorder" role="group" aria-label={t("room.voice.recording")} onKeyDown={(e) => e.key === "Escape" && cancel()}>
            <button type="button" className="icon-button" onClick={cancel} aria-label={t("room.voice.cancel")} title={t("room.voice.cancel")}><Icon name="trash" /></button>
            {recorded ? <Preview recorded={recorded} /> : (
                <>
                    <span className="rl-recorder-dot" aria-hidden="true" />
                    <span className="rl-recorder-time" role="timer">{clock}</span>
                    <span className="rl-recorder-live"><Waveform levels={[...new Array<number>(48 - levels.length).fill(0), ...levels]} top={1} at={0} label="" text="" /></span>
                    <button type="button" className="icon-button" onClick={listen} aria-label={t("room.voice.stop")} title={t("room.voice.stop")}><Icon name="stop" /></button>
                </>
            )}
            <button ref={main} type="button" className="icon-button rl-send" onClick={() => void send()} aria-label={t("room.voice.send")} title={t("room.voice.send")}><Icon name="send" /></button>
        </div>
    );
}

function Preview({ recorded }: { recorded: Recorded }) {
    const { t, date } = useTranslation();
    const audio = useRef<HTMLAudioElement>(null);
    const [url, setUrl] = useState<string>();
    const [at, setAt] = useState(0);
    const [running, setRunning] = useState(false);
    useEffect(() => {
        const made = URL.createObjectURL(recorded.file);
        setUrl(made);
        return () => URL.revokeObjectURL(made);
    }, [recorded]);
    const length = recorded.duration / 1000;
    const clock = (s: number) => date(Math.round(s) * 1000, { minute: "numeric", second: "2-digit", timeZone: "UTC" });
    return (
        <>
            <button type="button" className="icon-button" onClick={() => (running ? audio.current?.pause() : void audio.current?.play())}
                aria-label={running ? t("room.voice.pause") : t("room.voice.play")}><Icon name={running ? "pause" : "play"} /></button>
            <span className="rl-recorder-live">
                <Waveform levels={recorded.waveform} at={at / length} label={t("room.voice.position")} text={`${clock(at)} / ${clock(length)}`}
                    seek={(part) => { if (audio.current) audio.current.currentTime = part * length; setAt(part * length); }} />
            </span>
            <span className="rl-recorder-time">{clock(running ? at : length)}</span>
            <audio ref={audio} src={url} onPlay={() => setRunning(true)} onPause={() => setRunning(false)} onEnded={() => { setRunning(false); setAt(0); }}
                onTimeUpdate={(e) => setAt(e.currentTarget.currentTime)} />
        </>
    );
}
