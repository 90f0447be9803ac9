// Inviting and guests, as members see them (/_roomline/client/v1).

import type { MatrixClient } from "matrix-js-sdk";

import { request } from "../api.ts";

export type Delivery = "queued" | "held" | "sending" | "sent" | "delivered" | "failed" | "cancelled" | "opened" | "redeemed" | "expired" | "revoked" | "member";

export interface SentInvitation {
    readonly invitation_id: string;
    readonly state: Delivery;
    readonly medium?: "email" | "msisdn";
    readonly address?: string;
    readonly uses?: number;
    readonly uses_allowed?: number;
    readonly expires_ts?: number;
    readonly created_ts?: number;
    readonly inviter?: string;
}

export interface NewInvitation {
    readonly medium?: "email" | "msisdn";
    readonly address?: string;
    readonly language: string;
    readonly uses?: number;
    readonly expires_in_ms: number;
    readonly role: "participant" | "observer";
    readonly proof: boolean;
}

export interface Guest {
    readonly user_id: string;
    readonly displayname?: string;
    readonly medium?: "email" | "msisdn";
    readonly address?: string;
    readonly expires_ts?: number;
}

const api = "/_roomline/client/v1";

/** What a member may ask about a room's invitations and guests. */
export function invitationsOf(client: MatrixClient, roomId: string) {
    const room = `${api}/rooms/${encodeURIComponent(roomId)}`;
    const ask = <T>(method: "GET" | "POST" | "PUT" | "DELETE", path: string, body?: unknown) =>
        request<T>(method, path, body, client.getAccessToken() ?? undefined);
    return {
        list: async () => (await ask<{ invitations: SentInvitation[] }>("GET", `${room}/invitations`)).invitations,
        invite: (invitation: NewInvitation) => ask<SentInvitation & { link?: string }>("POST", `${room}/invitations`, invitation),
        resend: (id: string) => ask<unknown>("POST", `${api}/invitations/${encodeURIComponent(id)}/resend`, {}),
        revoke: (id: string) => ask<unknown>("DELETE", `${api}/invitations/${encodeURIComponent(id)}`),
        guests: async () => (await ask<{ guests: Guest[] }>("GET", `${room}/guests`)).guests,
        extend: (user: string, expires: number) => ask<unknown>("PUT", `${api}/guests/${encodeURIComponent(user)}`, { expires_ts: expires }),
        remove: (user: string) => ask<unknown>("DELETE", `${api}/guests/${encodeURIComponent(user)}`),
    };
}

/** What somebody typed as whom to invite. A number without a + is left to the server, which knows the country. */
export function address(typed: string): { medium: "email" | "msisdn"; address: string } | undefined {
    const text = typed.trim();
    if (/^[^@\s]+@[^@\s]+\.[^@\s]+$/.test(text)) return { medium: "email", address: text };
    const digits = text.replace(/[\s().\/-]/g, "");
    return /^\+?\d{6,16}$/.test(digits) ? { medium: "msisdn", address: digits } : undefined;
}
