// The Matrix client of a session. Loaded when there is one: the SDK is most of what the page weighs, its cryptography more than the rest.

import { createClient, HttpApiEvent, type MatrixClient, type MatrixEvent, PendingEventOrdering, RoomStateEvent } from "matrix-js-sdk";
import { logger } from "matrix-js-sdk/lib/logger.js";

import { transportOf } from "./meeting/presence.ts";
import { expiryOf, keepSession, type Session, storePrefix } from "./session.ts";

export interface Running {
    readonly client: MatrixClient;
    /** Resolves when others can find this device's keys, and so write what it can read. */
    known(): Promise<void>;
    /** Ends it; what is kept in the browser stays. */
    stop(): void;
    /** Ends the session at the server. */
    signOut(): Promise<void>;
    /** Ends it and deletes what is kept in the browser. */
    wipe(): Promise<void>;
}

interface Events {
    /** The server no longer knows the session; early says that a guest's time was not over. */
    ended(early: boolean): void;
    /** The room is encrypted, and the client was started without cryptography. */
    encrypted(): void;
}

/** Fetches cryptography, so that it is there when a client starts. */
export async function preloadCryptography(): Promise<void> {
    await (await import("@matrix-org/matrix-sdk-crypto-wasm")).initAsync();
}

/** Starts a session's client. */
export async function start(session: Session, events: Events): Promise<Running> {
    (logger as unknown as { setLevel(level: string, keep: boolean): void }).setLevel(import.meta.env.DEV ? "debug" : "error", false);
    const client = newClient(session);
    const prefix = storePrefix(session);
    client.once(HttpApiEvent.SessionLoggedOut, () => {
        client.stopClient();
        events.ended(Date.now() + clocks < (expiryOf(client, session) ?? 0));
    });
    // A member may be written to in any room; a guest is in one, and most of those are not encrypted.
    if (session.guest?.encrypted === false) {
        client.on(RoomStateEvent.Events, (event: MatrixEvent) => event.getType() === "m.room.encryption" && events.encrypted());
    } else {
        await client.initRustCrypto({ cryptoDatabasePrefix: prefix });
    }
    if (session.guest?.meeting) void import("./meeting/meeting.tsx").catch(() => {}); // where the guest is led at once
    void transportOf(client); // what the room's head needs to know, beside the first sync
    await client.startClient({
        lazyLoadMembers: true, initialSyncLimit: 30, threadSupport: false, pendingEventOrdering: PendingEventOrdering.Detached,
    });
    return {
        client,
        known: () => deviceKnown(client),
        stop: () => client.stopClient(),
        signOut: async () => void await client.logout(true),
        wipe: async () => {
            client.stopClient();
            await client.clearStores({ cryptoDatabasePrefix: prefix });
        },
    };
}

/** The SDK uploads the keys after the first sync, and tells neither that it has, nor that it can't. */
async function deviceKnown(client: MatrixClient): Promise<void> {
    const me = client.getSafeUserId(), device = client.getDeviceId()!, until = Date.now() + uploadPatience;
    for (let pause = 50; client.clientRunning && Date.now() < until; pause = Math.min(2 * pause, 2000)) {
        const found = await client.downloadKeysForUsers([me]).catch((error: unknown) => {
            if ((error as { errcode?: string }).errcode !== "M_LIMIT_EXCEEDED") throw error;
        });
        if (found?.device_keys[me]?.[device]) return;
        await new Promise((go) => setTimeout(go, pause));
    }
    throw new Error("this device's keys are not at the server");
}

const uploadPatience = 60_000; // ms

const clocks = 2000; // ms by which the browser's may be behind the server's

function newClient(session: Session): MatrixClient {
    let kept = session;
    const client = createClient({
        baseUrl: location.origin,
        userId: session.userId,
        deviceId: session.deviceId,
        accessToken: session.accessToken,
        refreshToken: session.refreshToken,
        tokenRefreshFunction: session.refreshToken === undefined ? undefined : async (refreshToken) => {
            const fresh = await client.refreshToken(refreshToken);
            kept = { ...kept, accessToken: fresh.access_token, refreshToken: fresh.refresh_token ?? refreshToken };
            keepSession(kept);
            return {
                accessToken: kept.accessToken, refreshToken: kept.refreshToken,
                expiry: fresh.expires_in_ms === undefined ? undefined : new Date(Date.now() + fresh.expires_in_ms),
            };
        },
        timelineSupport: true,
        useAuthorizationHeader: true,
    });
    if (session.guest) client.setGuest(true); // there is no asking for push rules and filters, which guests may not
    return client;
}
