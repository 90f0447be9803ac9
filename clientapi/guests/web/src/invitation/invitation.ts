// What the page asks the server about an invitation (/_roomline/guest/v1).

import { Refused, request } from "../api.ts";
import { keepSession, type Organisation, type Session } from "../session.ts";
import { fingerprint, keepLink, type Link, random } from "./link.ts";

export type InvitationState = "open" | "expired" | "used" | "revoked" | "early" | "member";

export interface Meeting {
    readonly title?: string;
    readonly startTs: number;
    readonly endTs?: number;
}

export const answers = ["accepted", "tentative", "declined"] as const;
export type Answer = (typeof answers)[number];

export interface Invitation {
    readonly state: InvitationState;
    readonly organisation?: Organisation;
    readonly inviter?: string;
    readonly room?: string;
    readonly meeting?: Meeting;
    /** A code sent to the address has to be given. */
    readonly proof: boolean;
    readonly medium?: "email" | "msisdn";
    /** The address, most of it hidden: "a…@e…". */
    readonly hint?: string;
    readonly language?: string;
    readonly opensTs?: number;
    readonly expiresTs?: number;
    readonly encrypted: boolean;
    /** Whether the addressee comes to the meeting, as said before; absent where nobody is asked. */
    readonly answer?: Answer | "";
}

interface OpenAnswer {
    state: InvitationState;
    organisation?: { name?: string; logo_url?: string; colour?: string };
    inviter?: { name?: string };
    room?: { name?: string };
    meeting?: { title?: string; start_ts: number; end_ts?: number };
    proof?: boolean;
    medium?: "email" | "msisdn";
    hint?: string;
    language?: string;
    opens_ts?: number;
    expires_ts?: number;
    encrypted?: boolean;
    answer?: Answer | "";
}

/** Tells what a link is. It redeems nothing. */
export async function openInvitation(link: Link): Promise<Invitation> {
    const answer = await request<OpenAnswer>("POST", "/_roomline/guest/v1/open", { secret: link.secret });
    const { organisation, meeting } = answer;
    return {
        state: answer.state,
        organisation: organisation?.name ? {
            name: organisation.name, logoUrl: ownAddress(organisation.logo_url), colour: organisation.colour,
        } : undefined,
        inviter: answer.inviter?.name,
        room: answer.room?.name || undefined,
        meeting: meeting && { title: meeting.title, startTs: meeting.start_ts, endTs: meeting.end_ts || undefined },
        proof: answer.proof ?? false,
        medium: answer.medium,
        hint: answer.hint || undefined,
        language: answer.language,
        opensTs: answer.opens_ts || undefined,
        expiresTs: answer.expires_ts || undefined,
        encrypted: answer.encrypted ?? false,
        answer: answer.answer,
    };
}

/** A picture's address without its host, which is this one: the page may load nothing from others. */
function ownAddress(url: string | undefined): string | undefined {
    if (!url) return undefined;
    const parsed = new URL(url, location.origin);
    return parsed.pathname + parsed.search;
}

/** Has a code sent to the address of an invitation; the link then carries what proves it. */
export async function sendCode(link: Link, language: string): Promise<Link> {
    const clientSecret = link.proof?.clientSecret ?? random();
    const sendAttempt = (link.proof?.sendAttempt ?? 0) + 1;
    const { sid } = await request<{ sid: string }>("POST", "/_roomline/guest/v1/code", {
        secret: link.secret, client_secret: clientSecret, send_attempt: sendAttempt, language,
    });
    const proving = { ...link, proof: { sid, clientSecret, sendAttempt } };
    keepLink(proving);
    return proving;
}

/** Tells the organiser of a meeting whether one comes. It redeems nothing. */
export async function sayWhetherComing(link: Link, answer: Answer): Promise<void> {
    await request("POST", "/_roomline/guest/v1/answer", { secret: link.secret, answer });
}

interface RedeemAnswer {
    user_id: string;
    access_token: string;
    device_id: string;
    room_id: string;
    expires_ts?: number;
    role?: "participant" | "observer";
    waiting?: boolean;
    prepared?: boolean;
}

/**
 * Redeems an invitation: from here on there is a guest, with a session that this browser keeps. Into an encrypted room the guest does not come by that,
 * but by enterRoom.
 */
export async function redeem(link: Link, invitation: Invitation, name: string, language: string, code?: string): Promise<Session> {
    keepLink({ ...link, tried: true });
    let answer: RedeemAnswer;
    try {
        answer = await request<RedeemAnswer>("POST", "/_roomline/guest/v1/redeem", {
            secret: link.secret, name, language, attempt: link.attempt, prepare: invitation.encrypted,
            ...(link.proof && code !== undefined ? { sid: link.proof.sid, client_secret: link.proof.clientSecret, code } : {}),
        });
    } catch (error) {
        if (error instanceof Refused) keepLink({ ...link, tried: undefined });
        throw error;
    }
    const session: Session = {
        userId: answer.user_id, deviceId: answer.device_id, accessToken: answer.access_token,
        guest: {
            roomId: answer.room_id, invitation: await fingerprint(link.secret), expiresTs: answer.expires_ts || undefined, role: answer.role, waiting: answer.waiting, meeting: invitation.meeting !== undefined, encrypted: invitation.encrypted,
            organisation: invitation.organisation, roomName: invitation.room,
            entering: answer.prepared ? { secret: link.secret, attempt: link.attempt } : undefined,
        },
    };
    keepSession(session);
    return session;
}

/** Lets a guest into the room whose session was prepared. When many come at once it takes its turn. */
export async function enterRoom(session: Session): Promise<Session> {
    const { entering, ...guest } = session.guest!;
    const ask = async (): Promise<RedeemAnswer> => {
        try {
            return await request<RedeemAnswer>("POST", "/_roomline/guest/v1/redeem", entering);
        } catch (error) {
            if (!(error instanceof Refused) || error.code !== "M_LIMIT_EXCEEDED") throw error;
            await new Promise((go) => setTimeout(go, 1000 * Math.max(1, error.retryAfter)));
            return ask();
        }
    };
    const { waiting } = await ask();
    const entered: Session = { ...session, guest: { ...guest, waiting } };
    keepSession(entered);
    return entered;
}

const nameKey = "roomline.name";

/** The name given the last time, so that a guest types it once. */
export const rememberedName = (): string => localStorage.getItem(nameKey) ?? "";
export const rememberName = (name: string): void => localStorage.setItem(nameKey, name);
