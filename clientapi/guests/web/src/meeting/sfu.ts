// What the page asks the server for, to be let into the SFU.

import type { IOpenIDToken, MatrixClient } from "matrix-js-sdk";

import { request } from "../api.ts";
import type { Transport } from "./presence.ts";

export interface Ticket {
    readonly url: string;
    readonly jwt: string;
}

/** The meeting is held at another server, which this page may not connect to. */
export class Elsewhere extends Error {}

/** The path below which our server does what an SFU's authorisation service does, and that of its way to the SFU's signalling. */
const service = "/_roomline/rtc", signalling = "/_roomline/livekit";

const proofs = new WeakMap<MatrixClient, { token: Promise<IOpenIDToken>; until: number }>();
const proofFor = 10 * 60_000; // ms that one is used again; it is good for an hour

/** A token that proves who one is. It is asked for while devices are checked, so that joining does not wait for it. */
export function proofOf(client: MatrixClient): Promise<IOpenIDToken> {
    const known = proofs.get(client);
    if (known && known.until > Date.now()) return known.token;
    const token = client.getOpenIdToken();
    proofs.set(client, { token, until: Date.now() + proofFor });
    token.catch(() => proofs.delete(client));
    return token;
}

/**
 * A token for a room's call, good for a minute. Who asks proves by an OpenID token who they are.
 *
 * Spec: MSC4195, POST {livekit_service_url}/sfu/get
 */
export async function askTicket(client: MatrixClient, roomId: string, ours: Transport, used: string): Promise<Ticket> {
    if (used !== ours.livekit_service_url) throw new Elsewhere(used);
    // The service is this server, whatever name the page was opened with.
    const path = new URL(used).pathname.endsWith(service) ? service : used;
    const openid = await proofOf(client);
    const ticket = await request<Ticket>("POST", `${path}/sfu/get`, { room: roomId, openid_token: openid, device_id: client.getDeviceId() });
    return { ...ticket, url: ownAddress(ticket.url, location.origin) };
}

/** The address of the SFU; if its signalling comes through our server, by the name that the page was opened with. */
export function ownAddress(address: string, origin: string): string {
    const url = new URL(address);
    if (!url.pathname.startsWith(signalling)) return address;
    return origin.replace(/^http/, "ws") + url.pathname + url.search;
}
