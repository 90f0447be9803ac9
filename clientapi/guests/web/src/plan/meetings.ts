// Meetings that are arranged, as their API has them (/_roomline/client/v1/meetings).

import type { MatrixClient } from "matrix-js-sdk";

import { request } from "../api.ts";
import { address } from "../member/invitations.ts";

export interface Meeting {
    readonly meeting_id: string;
    readonly room_id: string;
    readonly title: string;
    readonly state: "upcoming" | "on" | "past" | "cancelled" | "open";
    readonly organiser: string;
    readonly mine: boolean;
    readonly next_start_ts?: number;
    readonly next_end_ts?: number;
    readonly recurrence?: string;
    readonly link?: string;
    readonly problems?: readonly { readonly user_id?: string; readonly address?: string }[];
}

export type Invitee = ({ readonly user_id: string } | { readonly medium: "email" | "msisdn"; readonly address: string; readonly language: string });

export interface NewMeeting {
    readonly title: string;
    /** What the clock shows in the time zone: 2030-03-25T09:00. */
    readonly start: string;
    readonly end: string;
    readonly timezone: string;
    readonly recurrence?: string;
    readonly invitees: readonly Invitee[];
    readonly lobby?: string;
    readonly link: boolean;
}

const api = "/_roomline/client/v1";

/** What a member may ask about meetings. */
export function meetingsOf(client: MatrixClient) {
    const ask = <T>(method: "GET" | "POST" | "PUT" | "DELETE", path: string, body?: unknown) =>
        request<T>(method, `${api}/${path}`, body, client.getAccessToken() ?? undefined);
    return {
        upcoming: async () => (await ask<{ meetings: Meeting[] }>("GET", "meetings?when=upcoming&limit=50")).meetings,
        arrange: (meeting: NewMeeting) => ask<Meeting>("POST", "meetings", meeting),
        cancel: (id: string) => ask<unknown>("DELETE", `meetings/${encodeURIComponent(id)}`),
        personal: () => ask<Meeting>("PUT", "personal_meeting", {}),
    };
}

/** Whom somebody typed, one a line or with commas between, and what of it is nobody. */
export function inviteesOf(typed: string, language: string): { invitees: readonly Invitee[]; wrong: readonly string[] } {
    const invitees: Invitee[] = [], wrong: string[] = [];
    for (const entry of typed.split(/[\n,;]/).map((text) => text.trim()).filter(Boolean)) {
        const to = address(entry);
        if (/^@[^:\s]+:\S+$/.test(entry)) invitees.push({ user_id: entry });
        else if (to) invitees.push({ ...to, language });
        else wrong.push(entry);
    }
    return { invitees, wrong };
}

/** How often a meeting may be. */
export const rhythms = ["once", "daily", "weekdays", "weekly", "fortnightly", "monthly"] as const;
export type Rhythm = (typeof rhythms)[number];

const rules: Record<Rhythm, string> = {
    once: "", daily: "FREQ=DAILY", weekdays: "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR", weekly: "FREQ=WEEKLY", fortnightly: "FREQ=WEEKLY;INTERVAL=2", monthly: "FREQ=MONTHLY",
};

/** The rule of RFC 5545 for a number of times. */
export function ruleOf(rhythm: Rhythm, times: number): string | undefined {
    return rhythm === "once" ? undefined : `${rules[rhythm]};COUNT=${times}`;
}

/** The rhythm of a rule, if it is one of ours. */
export function rhythmOf(rule: string): Rhythm | undefined {
    const bare = rule.replace(/;(COUNT|UNTIL)=[^;]*/g, "");
    return rhythms.find((rhythm) => rules[rhythm] === bare);
}

const two = (n: number) => String(n).padStart(2, "0");

/** A day and a time as inputs have them, in the browser's time zone. */
export const dayOf = (date: Date) => `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
export const timeOf = (date: Date) => `${two(date.getHours())}:${two(date.getMinutes())}`;

/** What the clock shows some minutes after a day and a time. */
export function after(day: string, time: string, minutes: number): string {
    const end = new Date(new Date(`${day}T${time}`).getTime() + minutes * 60_000);
    return `${dayOf(end)}T${timeOf(end)}`;
}
