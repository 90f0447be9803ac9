// Where one writes: text, files, voice messages.

import { lazy, Suspense, useCallback, useContext, useEffect, useLayoutEffect, useRef, useState, type KeyboardEvent, type ReactNode } from "react";
import { Method, type MatrixClient, type MatrixEvent } from "matrix-js-sdk";

import { useTranslation } from "../i18n/index.tsx";
import { RoomContext } from "./context.ts";
import { Icon } from "./icons.tsx";
import { plainText } from "./model.ts";
import { summary } from "./message.tsx";
import { senderName } from "./people.tsx";
import type { Recorded } from "./recording.ts";
import { withoutFallback } from "./richtext.tsx";
import type { Upload } from "./upload.ts";

const Recorder = lazy(() => import("./recorder.tsx"));

export type Mode = { kind: "plain" } | { kind: "reply"; event: MatrixEvent } | { kind: "edit"; event: MatrixEvent };

const typingFor = 20_000, typingAgain = 8_000;

const canRecord = typeof MediaRecorder !== "undefined" && !!navigator.mediaDevices?.getUserMedia;

/** By hand: the SDK keeps back those of guests, who may not elsewhere. */
function sendTyping(client: MatrixClient, roomId: string, typing: boolean): Promise<unknown> {
    const path = `/rooms/${encodeURIComponent(roomId)}/typing/${encodeURIComponent(client.getSafeUserId())}`;
    return client.http.authedRequest(Method.Put, path, undefined, typing ? { typing, timeout: typingFor } : { typing });
}

/** Tells the room that I am writing, and that I no longer am. */
function useTypingNotice() {
    const { client, room } = useContext(RoomContext);
    const told = useRef(0), last = useRef<Promise<unknown>>(Promise.resolve());
    const typing = useCallback((now: boolean) => {
        if (now && Date.now() - told.current < typingAgain) return;
        if (!now && told.current === 0) return;
        told.current = now ? Date.now() : 0;
        // One after the other: the last one to arrive is what holds.
        last.current = last.current.then(() => sendTyping(client, room.roomId, now)).catch(() => {});
    }, [client, room]);
    useEffect(() => () => typing(false), [typing]);
    return typing;
}

/** What a reply says of what it answers; in a thread of other clients it stays there. */
export function replyRelation(event: MatrixEvent, me: string): Record<string, unknown> {
    const answered = { "m.in_reply_to": { event_id: event.getId() } };
    const thread = event.getWireContent()["m.relates_to"];
    const sender = event.getSender();
    return {
        "m.relates_to": thread?.rel_type === "m.thread" ? { rel_type: "m.thread", event_id: thread.event_id, is_falling_back: false, ...answered } : answered,
        "m.mentions": sender && sender !== me ? { user_ids: [sender] } : {},
    };
}

export function Composer({ draftKey, mode, setMode, editLast, addFiles, sendVoice, pickEmoji, uploads, cancelUpload, retryUpload, sent }: {
    draftKey: string;
    mode: Mode;
    setMode: (mode: Mode) => void;
    editLast: () => void;
    addFiles: (files: Iterable<File>) => void;
    sendVoice: (recorded: Recorded) => void;
    pickEmoji: (anchor: HTMLElement, pick: (emoji: string) => void) => void;
    uploads: Upload[];
    cancelUpload: (upload: Upload) => void;
    retryUpload: (upload: Upload) => void;
    sent: () => void;
}) {
    const { client, room } = useContext(RoomContext);
    const { t } = useTranslation();
    const [text, setText] = useState(() => localStorage.getItem(draftKey) ?? "");
    const [recording, setRecording] = useState(false);
    const area = useRef<HTMLTextAreaElement>(null), picker = useRef<HTMLInputElement>(null);
    const before = useRef(""); // what was written before an edit began
    const typing = useTypingNotice();
    const editing = mode.kind === "edit" ? mode.event : undefined;

    useEffect(() => {
        if (editing) return;
        if (text) localStorage.setItem(draftKey, text);
        else localStorage.removeItem(draftKey);
    }, [draftKey, text, editing]);
    useLayoutEffect(() => {
        const a = area.current;
        if (!a) return;
        a.style.height = "auto";
        a.style.height = `${a.scrollHeight + 2}px`;
    }, [text, recording]);
    useEffect(() => {
        if (editing) {
            before.current = text;
            const emote = editing.getContent().msgtype === "m.emote" ? "/me " : "";
            setText(emote + withoutFallback(plainText(editing)));
        }
        if (mode.kind !== "plain") area.current?.focus();
        // eslint-disable-next-line react-hooks/exhaustive-deps
    }, [mode]);

    const leaveMode = () => {
        if (editing) setText(before.current);
        setMode({ kind: "plain" });
        area.current?.focus();
    };

    const send = () => {
        const trimmed = text.trim();
        if (!trimmed) return;
        typing(false);
        const emote = trimmed.startsWith("/me ");
        const message = { msgtype: emote ? "m.emote" : "m.text", body: emote ? trimmed.slice(4) : trimmed };
        if (editing) {
            if (trimmed !== withoutFallback(plainText(editing))) {
                const content = {
                    ...message, body: `* ${message.body}`, "m.new_content": { ...message, "m.mentions": {} },
                    "m.mentions": {}, "m.relates_to": { rel_type: "m.replace", event_id: editing.getId() },
                };
                client.sendMessage(room.roomId, content as never).catch(() => {});
            }
            leaveMode();
            return;
        }
        const relation = mode.kind === "reply" ? replyRelation(mode.event, client.getSafeUserId()) : { "m.mentions": {} };
        client.sendMessage(room.roomId, { ...message, ...relation } as never).catch(() => {}); // its state is shown in the timeline
        setText("");
        if (mode.kind === "reply") setMode({ kind: "plain" });
        sent();
        area.current?.focus();
    };

    const insert = (emoji: string) => {
        const a = area.current;
        const start = a?.selectionStart ?? text.length, end = a?.selectionEnd ?? text.length;
        setText(text.slice(0, start) + emoji + text.slice(end));
        requestAnimationFrame(() => {
            a?.focus();
            a?.setSelectionRange(start + emoji.length, start + emoji.length);
        });
    };

    const onKeyDown = (e: KeyboardEvent) => {
        if (e.nativeEvent.isComposing) return;
        if (e.key === "Enter" && !e.shiftKey && !e.altKey) {
            e.preventDefault();
            send();
        } else if (e.key === "Escape" && mode.kind !== "plain") {
            e.preventDefault();
            leaveMode();
        } else if (e.key === "ArrowUp" && text === "" && mode.kind === "plain") {
            e.preventDefault();
            editLast();
        }
    };
    const onVoice = (recorded: Recorded) => {
        setRecording(false);
        sendVoice(recorded);
        setTimeout(() => area.current?.focus());
    };
    return (
        <div className="rl-composer">
            {uploads.length > 0 && <Uploads uploads={uploads} cancel={cancelUpload} retry={retryUpload} />}
            {mode.kind !== "plain" && <ModeBar mode={mode} leave={leaveMode} />}
            {recording ? (
                <Suspense fallback={<div className="rl-recorder" />}>
                    <Recorder done={onVoice} cancel={() => { setRecording(false); setTimeout(() => area.current?.focus()); }} />
                </Suspense>
            ) : (
                <form className="rl-write" onSubmit={(e) => { e.preventDefault(); send(); }}>
                    <input ref={picker} type="file" multiple hidden onChange={(e) => { addFiles(e.target.files ?? []); e.target.value = ""; }} />
                    <IconButton name="attach" label={t("room.attach")} press={() => picker.current?.click()} />
                    <div className="rl-field">
                        <textarea ref={area} rows={1} value={text} aria-label={t("room.write")} dir="auto"
                            placeholder={room.hasEncryptionStateEvent() ? t("room.write.encrypted") : t("room.write")} enterKeyHint="send" maxLength={30_000}
                            onChange={(e) => { setText(e.target.value); typing(e.target.value !== ""); }} onKeyDown={onKeyDown} onBlur={() => typing(false)}
                            onPaste={(e) => {
                                if (e.clipboardData.files.length === 0) return;
                                e.preventDefault();
                                addFiles(e.clipboardData.files);
                            }} />
                        <IconButton name="face" label={t("room.emoji")} press={(anchor) => pickEmoji(anchor, insert)} />
                    </div>
                    {text.trim() || editing || !canRecord
                        ? <button type="submit" className="icon-button rl-send" aria-label={editing ? t("room.edit.save") : t("room.send")} title={t("room.send")} disabled={!text.trim()}><Icon name={editing ? "check" : "send"} /></button>
                        : <IconButton name="microphone" label={t("room.voice.record")} press={() => setRecording(true)} />}
                </form>
            )}
        </div>
    );
}

function IconButton({ name, label, press }: { name: Parameters<typeof Icon>[0]["name"]; label: string; press: (element: HTMLElement) => void }) {
    return <button type="button" className="icon-button" aria-label={label} title={label} onClick={(e) => press(e.currentTarget)}><Icon name={name} /></button>;
}

function ModeBar({ mode, leave }: { mode: Exclude<Mode, { kind: "plain" }>; leave: () => void }): ReactNode {
    const { room } = useContext(RoomContext);
    const { t } = useTranslation();
    return (
        <div className="rl-mode">
            <Icon name={mode.kind === "reply" ? "reply" : "edit"} />
            <span className="rl-mode-words">
                <b>{mode.kind === "reply" ? t("room.reply.whom", { who: senderName(mode.event, room) }) : t("room.edit.this")}</b>
                <span>{summary(mode.event, t).slice(0, 160)}</span>
            </span>
            <button type="button" className="icon-button" onClick={leave} aria-label={t("app.cancel")}><Icon name="close" /></button>
        </div>
    );
}

function Uploads({ uploads, cancel, retry }: { uploads: Upload[]; cancel: (upload: Upload) => void; retry: (upload: Upload) => void }) {
    const { t, size } = useTranslation();
    return (
        <ul className="rl-uploads" aria-label={t("room.uploads")}>
            {uploads.map((upload) => (
                <li key={upload.id} className={upload.state === "failed" ? "rl-upload rl-upload-failed" : "rl-upload"}>
                    <Icon name={upload.state === "failed" ? "warning" : "file"} />
                    <span className="rl-upload-words">
                        <b>{upload.file.name}</b>
                        {upload.state === "failed"
                            ? <small role="alert">{t(`room.upload.${upload.problem ?? "failed"}`)}</small>
                            : <progress value={upload.progress} max={1} aria-label={t("room.upload.progress", { name: upload.file.name })} />}
                    </span>
                    <small>{upload.state === "failed" ? size(upload.file.size) : `${Math.round(upload.progress * 100)} %`}</small>
                    {upload.state === "failed" && upload.problem !== "large" && (
                        <button type="button" className="icon-button" onClick={() => retry(upload)} aria-label={t("app.retry")}><Icon name="retry" /></button>
                    )}
                    <button type="button" className="icon-button" onClick={() => cancel(upload)} aria-label={t("room.upload.cancel", { name: upload.file.name })}><Icon name="close" /></button>
                </li>
            ))}
        </ul>
    );
}
