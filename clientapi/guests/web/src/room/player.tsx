// A player for voice messages and other recordings: it shows the waveform that the sender computed.
//
// Spec: MSC3245, MSC1767

import { useContext, useEffect, useRef, useState } from "react";

import { useTranslation } from "../i18n/index.tsx";
import { fileName, source, type AttachmentContent } from "./attachment.tsx";
import { RoomContext } from "./context.ts";
import { Icon } from "./icons.tsx";
import { download, seconds, useMedia } from "./media.ts";
import { isVoice } from "./model.ts";
import { Waveform } from "./waveform.tsx";

interface VoiceContent extends AttachmentContent {
    "org.matrix.msc1767.audio"?: { duration?: number; waveform?: number[] };
}

let playing: HTMLAudioElement | undefined; // one at a time

export default function Player({ content }: { content: AttachmentContent }) {
    const { media } = useContext(RoomContext);
    const { t, date } = useTranslation();
    const from = source(content);
    const voice = isVoice(content as Record<string, unknown>);
    const extra = (content as VoiceContent)["org.matrix.msc1767.audio"];
    const known = seconds(extra?.duration) || seconds(content.info?.duration);
    const [wanted, setWanted] = useState(false);
    const { url, failed, retry } = useMedia(wanted ? from : undefined);
    const audio = useRef<HTMLAudioElement>(null);
    const [running, setRunning] = useState(false);
    const [unplayable, setUnplayable] = useState(false);
    const [at, setAt] = useState(0);
    const [length, setLength] = useState(known);

    const toggle = () => {
        if (failed) retry();
        setWanted(true);
        const a = audio.current;
        if (!a?.src) return;
        if (a.paused) void a.play().catch(() => setUnplayable(true));
        else a.pause();
    };
    useEffect(() => {
        if (url) void audio.current?.play().catch(() => {});
    }, [url]);
    useEffect(() => {
        if (!running) return;
        let frame = requestAnimationFrame(function tick() {
            if (audio.current) setAt(audio.current.currentTime);
            frame = requestAnimationFrame(tick);
        });
        return () => cancelAnimationFrame(frame);
    }, [running]);

    const seek = (to: number) => {
        setAt(to);
        setWanted(true);
        if (audio.current?.src) audio.current.currentTime = to;
    };
    const clock = (s: number) => date(Math.round(s) * 1000, { minute: "numeric", second: "2-digit", timeZone: "UTC" });
    const name = voice ? t("room.voice") : fileName(content);
    return (
        <div className="rl-player" role="group" aria-label={name}>
            <button type="button" className="icon-button rl-player-button" onClick={toggle} aria-label={running ? t("room.voice.pause") : t("room.voice.play")}>
                {wanted && !url && !failed ? <span className="spinner" /> : <Icon name={running ? "pause" : "play"} />}
            </button>
            <div className="rl-player-middle">
                {!voice && <b className="rl-player-name">{name}</b>}
                <Waveform levels={extra?.waveform} at={length > 0 ? at / length : 0} seek={length > 0 ? (part) => seek(part * length) : undefined}
                    label={t("room.voice.position")} text={`${clock(at)} / ${clock(length)}`} />
                <small className="rl-player-time">{failed ? t("room.file.lost") : unplayable ? t("room.voice.unplayable") : clock(running || at > 0 ? at : length)}</small>
            </div>
            {(!voice || unplayable) && from && (
                <button type="button" className="icon-button" onClick={() => void download(media, from, fileName(content))}
                    aria-label={t("room.file.download", { name })}><Icon name="download" /></button>
            )}
            <audio ref={audio} src={url} preload="auto"
                onPlay={() => {
                    if (playing && playing !== audio.current) playing.pause();
                    playing = audio.current ?? undefined;
                    if (audio.current && at > 0 && at < length - 0.1 && audio.current.currentTime === 0) audio.current.currentTime = at;
                    setRunning(true);
                }}
                onPause={() => setRunning(false)}
                onError={() => url && setUnplayable(true)}
                onEnded={() => { setRunning(false); setAt(0); if (audio.current) audio.current.currentTime = 0; }}
                onLoadedMetadata={(e) => {
                    const d = e.currentTarget.duration; // a recording of Chromium's has none
                    if (Number.isFinite(d) && d > 0) setLength(d);
                }} />
        </div>
    );
}
