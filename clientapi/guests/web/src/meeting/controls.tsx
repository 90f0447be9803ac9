// The row of buttons below the stage.

import { Track } from "livekit-client";
import type { ReactNode } from "react";

import type { Meeting, Snapshot } from "./engine.ts";
import { reactions } from "./hands.ts";
import { Icon, type IconName } from "./icons.tsx";
import { Menu } from "./menu.tsx";
import { useWords } from "./words.ts";

export type Panel = "chat" | "people";

interface ControlsProps {
    readonly meeting: Meeting;
    readonly now: Snapshot;
    readonly observes: boolean;
    readonly panel?: Panel;
    readonly unread: number;
    readonly waiting: number;
    readonly more: ReactNode;
    onPanel(panel: Panel): void;
    onLeave(): void;
}

export const command = /mac|iphone|ipad/i.test(navigator.userAgent) ? "⌘" : "Ctrl";
/** Keys, as screens say them. */
export const shortcuts = { microphone: `${command}+D`, camera: `${command}+E`, hand: `${command}+Alt+H`, chat: `${command}+Alt+C`, people: `${command}+Alt+P` };

export const canShare = (): boolean => "getDisplayMedia" in (navigator.mediaDevices ?? {});

export function Controls({ meeting, now, observes, panel, unread, waiting, more, onPanel, onLeave }: ControlsProps) {
    const t = useWords();
    const mine = now.people.find((person) => person.me);
    const up = mine?.hand !== undefined;
    const { Microphone, Camera, ScreenShare } = Track.Source;
    return (
        <div className="mt-controls" role="toolbar" aria-label={t("stage")}>
            {!observes && (
                <>
                    <Button icon={now.microphone ? "microphone" : "microphoneOff"} off={!now.microphone} testid="meeting-microphone" pressed={now.microphone} name={t("microphone")}
                        label={t(now.microphone ? "microphone.off" : "microphone.on")} keys={shortcuts.microphone} disabled={!now.may.has(Microphone) || now.busy.has(Microphone)} onPress={() => void meeting.set(Microphone, !now.microphone)} />
                    <Button icon={now.camera ? "camera" : "cameraOff"} off={!now.camera} testid="meeting-camera" pressed={now.camera} name={t("camera")}
                        label={t(now.camera ? "camera.off" : "camera.on")} keys={shortcuts.camera} disabled={!now.may.has(Camera) || now.busy.has(Camera)} onPress={() => void meeting.set(Camera, !now.camera)} />
                    {canShare() && (
                        <Button icon="screen" lit={now.sharing} wide testid="meeting-share" pressed={now.sharing} name={t("share")} label={t(now.sharing ? "share.stop" : "share")}
                            disabled={!now.may.has(ScreenShare) || now.busy.has(ScreenShare)} onPress={() => void meeting.set(ScreenShare, !now.sharing)} />
                    )}
                    <Button icon="hand" lit={up} wide testid="meeting-hand" pressed={up} name={t("hand.up")} label={t(up ? "hand.down" : "hand.up")} keys={shortcuts.hand} onPress={() => void meeting.raise(!up)} />
                    <span className="mt-wide-only">
                        <Menu label={t("react")} icon="face" className="mt-button" testid="meeting-react" row><Reactions meeting={meeting} /></Menu>
                    </span>
                </>
            )}
            <span className="mt-between" />
            <Button icon="chat" lit={panel === "chat"} testid="meeting-chat" expanded={panel === "chat"} label={unread > 0 ? t("chat.unread", { count: unread }) : t("chat")} keys={shortcuts.chat} count={unread} onPress={() => onPanel("chat")} />
            <Button icon="people" lit={panel === "people"} wide testid="meeting-people" expanded={panel === "people"} label={waiting > 0 ? t("people.waiting", { count: waiting }) : t("people")} keys={shortcuts.people} count={waiting} onPress={() => onPanel("people")} />
            {more}
            <button type="button" className="mt-button mt-leave" data-testid="meeting-leave" onClick={onLeave} aria-label={t("leave")} title={t("leave")}><Icon name="hangUp" /></button>
        </div>
    );
}

export function Reactions({ meeting }: { readonly meeting: Meeting }) {
    const t = useWords();
    return <>{reactions.map(([emoji, name]) => <button key={name} type="button" className="mt-emoji" aria-label={t("react.with", { emoji })} onClick={() => void meeting.react(emoji, name)}>{emoji}</button>)}</>;
}

interface ButtonProps {
    readonly icon: IconName;
    readonly label: string;
    /** What a button that is pressed or not is called; its label says what pressing does. */
    readonly name?: string;
    readonly testid: string;
    readonly keys?: string;
    readonly off?: boolean;
    readonly lit?: boolean;
    readonly wide?: boolean;
    readonly disabled?: boolean;
    readonly pressed?: boolean;
    readonly expanded?: boolean;
    readonly count?: number;
    onPress(): void;
}

function Button({ icon, label, name, testid, keys, off, lit, wide, disabled, pressed, expanded, count, onPress }: ButtonProps) {
    const state = ["mt-button", off ? "mt-off" : "", lit ? "mt-lit" : "", wide ? "mt-wide-only" : ""].join(" ");
    return (
        <button type="button" className={state} data-testid={testid} aria-label={name ?? label} aria-pressed={pressed} aria-expanded={expanded} title={keys ? `${label} (${keys})` : label} disabled={disabled} onClick={onPress}>
            <Icon name={icon} />
            {count !== undefined && count > 0 && <span className="mt-count" aria-hidden="true">{count > 9 ? "9+" : count}</span>}
        </button>
    );
}
