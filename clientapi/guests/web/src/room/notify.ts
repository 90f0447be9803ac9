// New messages while the page is open: a number in the title, a notification if one asked for it, a sound if one asked for that.

import { useEffect, useRef, useState } from "react";
import { MatrixEventEvent, RoomEvent, type MatrixClient, type MatrixEvent, type Room } from "matrix-js-sdk";

import { isMessage } from "./model.ts";

/** Calls with each message of others that comes while the room is open, when it can be read. */
export function useArrivals(client: MatrixClient, room: Room, arrived: (event: MatrixEvent) => void): void {
    const latest = useRef(arrived);
    latest.current = arrived;
    useEffect(() => {
        const since = Date.now() - 10_000;
        const waiting = new Map<MatrixEvent, () => void>();
        const onTimeline = (event: MatrixEvent, _room: Room | undefined, toStart: boolean | undefined, removed: boolean, data: { liveEvent?: boolean }) => {
            if (toStart || removed || !data.liveEvent || event.getSender() === client.getUserId() || event.getTs() < since) return;
            if (event.isEncrypted() && !event.getClearContent()) {
                const later = () => {
                    if (event.isBeingDecrypted() || event.isDecryptionFailure()) return;
                    waiting.delete(event);
                    event.off(MatrixEventEvent.Decrypted, later);
                    if (isMessage(event)) latest.current(event);
                };
                waiting.set(event, later);
                event.on(MatrixEventEvent.Decrypted, later);
            } else if (isMessage(event)) {
                latest.current(event);
            }
        };
        room.on(RoomEvent.Timeline, onTimeline);
        return () => {
            room.off(RoomEvent.Timeline, onTimeline);
            for (const [event, later] of waiting) event.off(MatrixEventEvent.Decrypted, later);
        };
    }, [client, room]);
}

const wantedKey = "roomline.notify", soundKey = "roomline.sound";

export type Permission = "granted" | "denied" | "default" | "unsupported";

/** What the person wants to be told. */
export function useNotifySettings() {
    const supported = typeof Notification !== "undefined";
    const [permission, setPermission] = useState<Permission>(supported ? Notification.permission : "unsupported");
    const [wanted, setWanted] = useState(localStorage.getItem(wantedKey) === "yes");
    const [sound, setSoundState] = useState(localStorage.getItem(soundKey) === "yes");
    const keep = (key: string, on: boolean) => (on ? localStorage.setItem(key, "yes") : localStorage.removeItem(key));
    return {
        permission,
        notify: wanted && permission === "granted",
        sound,
        setSound(on: boolean) {
            keep(soundKey, on);
            setSoundState(on);
            if (on) beep();
        },
        async setNotify(on: boolean) {
            if (on && supported && Notification.permission === "default") setPermission(await Notification.requestPermission());
            const allowed = on && supported && Notification.permission === "granted";
            keep(wantedKey, allowed);
            setWanted(allowed);
            if (supported) setPermission(Notification.permission);
        },
    };
}

export type NotifySettings = ReturnType<typeof useNotifySettings>;

/** Two short, quiet tones. */
function beep(): void {
    try {
        const context = new AudioContext();
        [660, 880].forEach((frequency, i) => {
            const tone = context.createOscillator(), gain = context.createGain(), at = context.currentTime + i * 0.12;
            tone.frequency.value = frequency;
            gain.gain.setValueAtTime(0.0001, at);
            gain.gain.exponentialRampToValueAtTime(0.08, at + 0.02);
            gain.gain.exponentialRampToValueAtTime(0.0001, at + 0.11);
            tone.connect(gain).connect(context.destination);
            tone.start(at);
            tone.stop(at + 0.12);
        });
        setTimeout(() => void context.close(), 600);
    } catch {
        // Why: no sound device is no reason to fail.
    }
}

/** The title's number and what is shown outside of the page. */
export function useNotifications(client: MatrixClient, room: Room, settings: NotifySettings, words: (event: MatrixEvent) => string): void {
    const [count, setCount] = useState(0);
    useArrivals(client, room, (event) => {
        if (!document.hidden && document.hasFocus()) return;
        setCount((n) => n + 1);
        if (client.pushRules && !client.getPushActionsForEvent(event)?.notify) return; // guests have no rules
        if (settings.sound) beep();
        if (!settings.notify) return;
        try {
            const note = new Notification(room.name, { body: words(event), tag: room.roomId, silent: true });
            note.onclick = () => {
                window.focus();
                note.close();
            };
        } catch {
            // Why: phones have notifications only from service workers.
        }
    });
    useEffect(() => {
        const reset = () => !document.hidden && setCount(0);
        window.addEventListener("focus", reset);
        document.addEventListener("visibilitychange", reset);
        return () => {
            window.removeEventListener("focus", reset);
            document.removeEventListener("visibilitychange", reset);
        };
    }, []);
    useEffect(() => {
        document.title = count > 0 ? `(${count}) ${room.name}` : room.name;
    }, [count, room.name]);
}
