// Before a meeting: does the camera work, is one heard, what should be on.

import { createLocalAudioTrack, createLocalVideoTrack, type LocalAudioTrack, type LocalTrack, type LocalVideoTrack } from "livekit-client";
import { useEffect, useId, useRef, useState } from "react";
import type { Room } from "matrix-js-sdk";

import type { Session } from "../session.ts";
import { type Choices, type Devices, type DeviceProblem, deviceProblem, keepChoices, loadChoices, useDevices, watchLevel } from "./devices.ts";
import { Icon } from "./icons.tsx";
import { recordingOf } from "./info.ts";
import { type MeetingKey, useWords } from "./words.ts";

interface CheckProps {
    readonly room: Room;
    readonly session: Session;
    readonly observes: boolean;
    /** The names of who is in it. */
    readonly others: readonly string[];
    onJoin(choices: Choices, tracks: readonly LocalTrack[]): void;
    onCancel(): void;
}

type Problems = { audio?: DeviceProblem; video?: DeviceProblem };

/** The tracks of the devices that are wanted. They are stopped when they are no longer, but not if they were given away. */
function usePreview(choices: Choices, observes: boolean) {
    const [tracks, setTracks] = useState<{ audio?: LocalAudioTrack; video?: LocalVideoTrack }>({});
    const [problems, setProblems] = useState<Problems>({});
    const given = useRef(false);
    const useTrack = <T extends LocalTrack>(kind: "audio" | "video", wanted: boolean, deviceId: string | undefined, make: (deviceId?: string) => Promise<T>) => {
        useEffect(() => {
            if (!wanted || observes) return;
            let over = false, made: T | undefined;
            setProblems((now) => ({ ...now, [kind]: undefined }));
            make(deviceId).then((track) => {
                made = track;
                if (over) return void track.stop();
                setTracks((now) => ({ ...now, [kind]: track }));
            }, (error: unknown) => !over && setProblems((now) => ({ ...now, [kind]: deviceProblem(error) })));
            return () => {
                over = true;
                if (!given.current) made?.stop();
                setTracks((now) => ({ ...now, [kind]: undefined }));
            };
            // eslint-disable-next-line react-hooks/exhaustive-deps
        }, [wanted, deviceId]);
    };
    useTrack("audio", choices.microphone, choices.audioinput, (deviceId) => createLocalAudioTrack({ deviceId, echoCancellation: true, noiseSuppression: true, autoGainControl: true }));
    useTrack("video", choices.camera, choices.videoinput, (deviceId) => createLocalVideoTrack({ deviceId, resolution: { width: 1280, height: 720, frameRate: 30 } }));
    return { tracks, problems, give: () => void (given.current = true) };
}

export function Check({ room, session, observes, others, onJoin, onCancel }: CheckProps) {
    const t = useWords();
    const [choices, setChoices] = useState(() => loadChoices(session));
    const { tracks, problems, give } = usePreview(choices, observes);
    const devices = useDevices([tracks.audio, tracks.video].filter(Boolean).length);
    const title = useRef<HTMLHeadingElement>(null);
    useEffect(() => title.current?.focus(), []);
    const choose = (part: Partial<Choices>) => setChoices((now) => {
        const next = { ...now, ...part };
        keepChoices(session, next);
        return next;
    });
    const join = () => {
        give();
        const made = [choices.microphone && tracks.audio, choices.camera && tracks.video].filter((track): track is LocalAudioTrack | LocalVideoTrack => Boolean(track));
        onJoin({ ...choices, microphone: choices.microphone && !problems.audio, camera: choices.camera && !problems.video }, made);
    };
    const recorded = recordingOf(room)?.state === "recording";
    return (
        <section className="mt-check" data-testid="meeting-check" aria-labelledby="mt-check-title">
            <div className="mt-check-in">
                <div className="mt-check-see">
                    {!observes && (
                        <Preview track={choices.camera ? tracks.video : undefined}>
                            <Toggle what="microphone" on={choices.microphone} problem={problems.audio} onToggle={() => choose({ microphone: !choices.microphone || problems.audio !== undefined })} />
                            <Toggle what="camera" on={choices.camera} problem={problems.video} onToggle={() => choose({ camera: !choices.camera || problems.video !== undefined })} />
                        </Preview>
                    )}
                    {!observes && <Level track={choices.microphone ? tracks.audio : undefined} />}
                </div>
                <div className="mt-check-say">
                    <p className="muted small">{room.name}</p>
                    <h1 id="mt-check-title" ref={title} tabIndex={-1}>{t("check.title")}</h1>
                    <p>{observes ? t("check.observer") : who(others, t)}</p>
                    <ul className="mt-facts">
                        {room.hasEncryptionStateEvent() && <li><Icon name="lock" />{t("check.encrypted")}</li>}
                        {recorded && <li className="mt-recorded"><Icon name="record" />{t("check.recorded")}</li>}
                    </ul>
                    <div role="alert" className="mt-problems">
                        {problems.audio && <p className="notice warning"><Icon name="warning" />{t(`microphone.${problems.audio}`)}</p>}
                        {problems.video && <p className="notice warning"><Icon name="warning" />{t(`camera.${problems.video}`)}</p>}
                    </div>
                    {!observes && (
                        <div className="mt-devices">
                            <Device kind="audioinput" label="microphone" unnamed="microphone.unnamed" devices={devices.audioinput} value={tracks.audio?.mediaStreamTrack.getSettings().deviceId ?? choices.audioinput} onChoose={(audioinput) => choose({ audioinput, microphone: true })} />
                            <Device kind="videoinput" label="camera" unnamed="camera.unnamed" devices={devices.videoinput} value={tracks.video?.mediaStreamTrack.getSettings().deviceId ?? choices.videoinput} onChoose={(videoinput) => choose({ videoinput, camera: true })} />
                            <Device kind="audiooutput" label="sound" unnamed="sound.unnamed" devices={devices.audiooutput} value={choices.audiooutput} onChoose={(audiooutput) => choose({ audiooutput })} />
                        </div>
                    )}
                    <div className="mt-check-go">
                        <button type="button" className="button" onClick={onCancel}>{t("check.cancel")}</button>
                        <button type="button" className="button main" data-testid="meeting-join" onClick={join}>{t(others.length > 0 ? "check.join" : "check.start")}</button>
                    </div>
                </div>
            </div>
        </section>
    );
}

function who(others: readonly string[], t: ReturnType<typeof useWords>): string {
    if (others.length === 0) return t("check.alone");
    const names = others.slice(0, 2).join(", ");
    return others.length > 2 ? t("check.others.more", { names, count: others.length - 2 }) : t("check.others", { names, count: others.length });
}

function Preview({ track, children }: { readonly track?: LocalVideoTrack; readonly children: React.ReactNode }) {
    const t = useWords();
    const element = useRef<HTMLVideoElement>(null);
    useEffect(() => {
        const video = element.current;
        if (!video || !track) return;
        track.attach(video);
        return () => void track.detach(video);
    }, [track]);
    return (
        <div className="mt-preview">
            {track ? <video ref={element} muted playsInline autoPlay aria-label={t("check.preview")} /> : <p><Icon name="cameraOff" />{t("check.nocamera")}</p>}
            <div className="mt-preview-toggles">{children}</div>
        </div>
    );
}

function Toggle({ what, on, problem, onToggle }: { readonly what: "microphone" | "camera"; readonly on: boolean; readonly problem?: DeviceProblem; onToggle(): void }) {
    const t = useWords();
    const works = on && !problem;
    return (
        <button type="button" className={works ? "mt-button" : "mt-button mt-off"} data-testid={`check-${what}`} aria-pressed={works} aria-label={t(what)}
            title={t(works ? `${what}.off` : `${what}.on`)} onClick={onToggle}>
            <Icon name={works ? what : `${what}Off`} />
        </button>
    );
}

const bars = 14;

/** How loud one is. What the bars show is also said: that one is muted. */
function Level({ track }: { readonly track?: LocalAudioTrack }) {
    const t = useWords();
    const [level, setLevel] = useState(0);
    useEffect(() => {
        if (!track) return setLevel(0);
        return watchLevel(track.mediaStreamTrack, (now) => setLevel(Math.round(now * bars)));
    }, [track]);
    return (
        <div className="mt-level" role="meter" aria-label={t("level")} aria-valuemin={0} aria-valuemax={bars} aria-valuenow={level} aria-valuetext={track ? undefined : t("microphone.silent")}>
            <Icon name={track ? "microphone" : "microphoneOff"} />
            <span className="mt-level-bars" aria-hidden="true">{Array.from({ length: bars }, (_, bar) => <i key={bar} className={bar < level ? "mt-lit" : ""} />)}</span>
        </div>
    );
}

interface DeviceProps {
    readonly kind: MediaDeviceKind;
    readonly label: "microphone" | "camera" | "sound";
    readonly unnamed: MeetingKey;
    readonly devices: Devices;
    readonly value?: string;
    onChoose(deviceId: string): void;
}

/** One of the devices of a kind; nothing where the browser does not let one choose. */
export function Device({ kind, label, unnamed, devices, value, onChoose }: DeviceProps) {
    const t = useWords();
    const id = useId();
    const { list, none } = devices;
    if (kind === "audiooutput" && (!("setSinkId" in HTMLMediaElement.prototype) || none)) return null;
    const known = list.some(({ deviceId }) => deviceId === value);
    return (
        <div className="field">
            <label htmlFor={id}>{t(label)}</label>
            <select id={id} className="input" value={known ? value : ""} disabled={list.length === 0} onChange={({ target }) => onChoose(target.value)}>
                {!known && <option value="">{none ? t("devices.none") : list.length === 0 ? "…" : t("sound.default")}</option>}
                {list.map(({ deviceId, label: name }, i) => <option key={deviceId} value={deviceId}>{name || t(unnamed, { number: i + 1 })}</option>)}
            </select>
        </div>
    );
}
