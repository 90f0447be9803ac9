// What the browser keeps of accounts that are signed in. A token is here and in requests' headers, and nowhere else.

import type { MatrixClient } from "matrix-js-sdk";

import type { Link } from "./invitation/link.ts";

/** What a guest's session knows of the invitation that made it. */
export interface GuestSession {
    readonly roomId: string;
    /** SHA-256 of the link's secret: the same link opened again leads to the same session. */
    readonly invitation: string;
    readonly expiresTs?: number;
    /** Observers read and do not write. */
    readonly role?: "participant" | "observer";
    /** Whether the room is encrypted, as far as is known. */
    readonly encrypted?: boolean;
    /** Came for a meeting, and has not been shown it yet. */
    readonly meeting?: boolean;
    /** Not in the room yet: somebody has to let the guest in. */
    readonly waiting?: boolean;
    /** Not in the room yet: the attempt that leads there is to be repeated as soon as this device's keys are known. */
    readonly entering?: Link;
    readonly organisation?: Organisation;
    readonly roomName?: string;
}

/** How an organisation shows itself. */
export interface Organisation {
    readonly name: string;
    readonly logoUrl?: string;
    /** #rrggbb */
    readonly colour?: string;
}

export interface Session {
    readonly userId: string;
    readonly deviceId: string;
    readonly accessToken: string;
    readonly refreshToken?: string;
    /** Absent for members. */
    readonly guest?: GuestSession;
}

/** Names a session's stores and locks. */
export function sessionKey(session: Session): string {
    return `${session.userId}/${session.deviceId}`;
}

const sessionsKey = "roomline.sessions";

/** The sessions of this browser, the last used first. */
export function loadSessions(): Session[] {
    try {
        const kept: unknown = JSON.parse(localStorage.getItem(sessionsKey) ?? "[]");
        return Array.isArray(kept) ? kept.filter(isSession) : [];
    } catch {
        return []; // what cannot be read is as good as nothing: the person signs in again
    }
}

function isSession(value: unknown): value is Session {
    const session = value as Partial<Session> | null;
    return typeof session?.userId === "string" && typeof session.deviceId === "string" && typeof session.accessToken === "string";
}

/** Keeps a session, as the last used. */
export function keepSession(session: Session): void {
    const others = loadSessions().filter((other) => sessionKey(other) !== sessionKey(session));
    localStorage.setItem(sessionsKey, JSON.stringify([session, ...others]));
}

/** Forgets a session and all that was kept for it. */
export async function forgetSession(session: Session): Promise<void> {
    const others = loadSessions().filter((other) => sessionKey(other) !== sessionKey(session));
    if (others.length > 0) localStorage.setItem(sessionsKey, JSON.stringify(others));
    else localStorage.removeItem(sessionsKey);
    const mine = storePrefix(session);
    for (let i = localStorage.length - 1; i >= 0; i--) {
        const key = localStorage.key(i);
        if (key?.startsWith(mine)) localStorage.removeItem(key);
    }
    const databases = (await indexedDB.databases?.().catch(() => [])) ?? [];
    await Promise.all(databases.map(({ name }) => (name?.startsWith(mine) ? deleteDatabase(name) : undefined)));
}

/** What the names of a session's databases and keys in localStorage begin with. */
export function storePrefix(session: Session): string {
    return `roomline:${sessionKey(session)}`;
}

function deleteDatabase(name: string): Promise<void> {
    return new Promise((done) => {
        const request = indexedDB.deleteDatabase(name);
        request.onsuccess = request.onerror = request.onblocked = () => done();
    });
}

/** When a guest's access ends. Whoever invited may have extended it, and then the member event says so. */
export function expiryOf(client: MatrixClient, { guest, userId }: Session): number | undefined {
    const mark = guest && client.getRoom(guest.roomId)?.getMember(userId)?.events.member?.getContent()["org.roomline.guest"] as { expires_ts?: number } | undefined;
    return mark?.expires_ts ?? guest?.expiresTs;
}
