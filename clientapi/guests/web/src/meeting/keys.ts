// Keys of end-to-end encrypted media. Each device makes its own and gives it to the others' devices, encrypted for each (Olm).

import { BaseKeyProvider } from "livekit-client";
import { ClientEvent, type MatrixClient, type MatrixEvent, type Room, RoomEvent } from "matrix-js-sdk";

/** Hands the keys of MatrixRTC to the worker that encrypts and decrypts frames, in the parameters that Element Call uses. */
export class Keys extends BaseKeyProvider {
    /** Whose keys are here. */
    readonly known = new Set<string>();

    constructor() {
        super({ ratchetWindowSize: 10, keyringSize: 256 });
    }

    async set(key: Uint8Array, index: number, identity: string): Promise<void> {
        const material = await crypto.subtle.importKey("raw", key as Uint8Array<ArrayBuffer>, "HKDF", false, ["deriveBits", "deriveKey"]);
        this.onSetEncryptionKey(material, identity, index);
        this.known.add(identity);
    }
}

const keyEvent = "io.element.call.encryption_keys";
const patience = 10_000; // ms, for a device's keys to be known to us

const later = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** A device that is in the room's call: it may have joined a moment ago, so that its keys are still on their way. */
async function deviceOf(client: MatrixClient, userId: string, deviceId: string) {
    const crypto = client.getCrypto();
    for (const until = Date.now() + patience; crypto && Date.now() < until; await later(250)) {
        const device = (await crypto.getUserDeviceInfo([userId], true)).get(userId)?.get(deviceId);
        if (device) return device;
    }
    return undefined;
}

/** Whether a key came from the device that it claims to be of, and not from the server, which could otherwise speak in its name. */
async function isAuthentic(client: MatrixClient, event: MatrixEvent): Promise<boolean> {
    if (!event.isEncrypted()) return false;
    const claimed: unknown = event.getContent().member?.claimed_device_id;
    if (typeof claimed !== "string") return false;
    const device = await deviceOf(client, event.getSender()!, claimed);
    return device !== undefined && device.getIdentityKey() === event.getSenderKey();
}

/**
 * The client as MatrixRTC's session gets to see it: keys are sent to devices once these are known, and believed only if they came
 * encrypted from the device that they are of. The state key is the one that Element Call uses.
 */
export function guardedClient(client: MatrixClient, onDelayed: (delayId: string) => void): MatrixClient {
    const wrapped = new Map<unknown, (event: MatrixEvent) => void>();
    const guarded: Partial<Record<keyof MatrixClient, unknown>> = {
        on(name: ClientEvent, listener: (event: MatrixEvent) => void) {
            if (name !== ClientEvent.ToDeviceEvent) return client.on(name as never, listener as never);
            const checked = (event: MatrixEvent) => {
                if (event.getType() !== keyEvent) return;
                void isAuthentic(client, event).then((yes) => (yes ? listener(event) : console.error("a media key that is not authentic"))).catch(() => {});
            };
            wrapped.set(listener, checked);
            return client.on(name, checked);
        },
        off: (name: ClientEvent, listener: (event: MatrixEvent) => void) => client.off(name as never, (wrapped.get(listener) ?? listener) as never),
        async encryptAndSendToDevice(type: string, devices: { userId: string; deviceId: string }[], payload: never) {
            await Promise.all(devices.map(({ userId, deviceId }) => deviceOf(client, userId, deviceId)));
            return client.encryptAndSendToDevice(type, devices, payload);
        },
        sendStateEvent: (room: string, type: never, content: object, key: string) => client.sendStateEvent(room, type, membership(client, content) as never, `${key}_m.call`),
        async _unstable_sendDelayedStateEvent(room: string, delay: never, type: never, content: never, key: string) {
            const answer = await client._unstable_sendDelayedStateEvent(room, delay, type, content, `${key}_m.call`);
            onDelayed(answer.delay_id);
            return answer;
        },
    };
    return new Proxy(client, {
        get(target, name) {
            const value: unknown = guarded[name as keyof MatrixClient] ?? Reflect.get(target, name);
            return typeof value === "function" ? value.bind(target) : value;
        },
    });
}

/** What newer clients say besides: who it is to the SFU, and that pictures are wanted. */
const membership = (client: MatrixClient, content: object): object =>
    "device_id" in content ? { ...content, membershipID: `${client.getUserId()}:${client.getDeviceId()}`, "m.call.intent": "video" } : content;

/** The room as MatrixRTC's session gets to see it: keys in events of the room, an older way, are not looked at. */
export function guardedRoom(room: Room): Room {
    return new Proxy(room, {
        get(target, name) {
            if (name === "on") return (event: RoomEvent, listener: never) => (event === RoomEvent.Timeline ? target : target.on(event as never, listener));
            const value: unknown = Reflect.get(target, name);
            return typeof value === "function" ? value.bind(target) : value;
        },
    });
}
