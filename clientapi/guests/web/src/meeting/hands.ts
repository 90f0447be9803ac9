// Raised hands and reactions: events of the room that point at a device's call membership, as Element Call sends and reads them.

import { type MatrixClient, type MatrixEvent, MatrixEventEvent, type Room, RoomEvent } from "matrix-js-sdk";
import type { CallMembership } from "matrix-js-sdk/lib/matrixrtc/index.js";

import { identityOf } from "./presence.ts";

const hand = "🖐️", reactionType = "io.element.call.reaction";
const shownFor = 3000; // ms

/** What one reacts with, and what Element Call calls it; it shows others, too. */
export const reactions = [
    ["👍", "thumbsup"], ["👏", "clapping"], ["🎉", "party"], ["🥰", "heart"], ["😄", "laugh"], ["👋", "wave"], ["💡", "lightbulb"], ["👎", "thumbsdown"],
] as const;

interface Raised {
    readonly event: string;
    readonly sender: string;
    readonly target: string;
    readonly ts: number;
    /** It went up while this page was there, which has not said so yet. */
    news: boolean;
}

/** Follows hands and reactions in a room's call. */
export class Hands {
    private raised = new Map<string, Raised>();
    private lowered = new Set<string>();
    private told = new Set<string>();
    private shown = new Map<string, { emoji: string; timer: ReturnType<typeof setTimeout> }>();
    private memberships: readonly CallMembership[] = [];
    private asked = new Set<string>();

    constructor(private client: MatrixClient, private room: Room, private changed: () => void, private wentUp: (userId: string) => void) {
        for (const event of room.getLiveTimeline().getEvents()) this.take(event, false);
        for (const id of this.raised.keys()) this.told.add(id);
        room.on(RoomEvent.Timeline, this.onTimeline);
        room.on(RoomEvent.Redaction, this.onRedaction);
        client.on(MatrixEventEvent.Decrypted, this.onDecrypted);
    }

    stop(): void {
        this.room.off(RoomEvent.Timeline, this.onTimeline);
        this.room.off(RoomEvent.Redaction, this.onRedaction);
        this.client.off(MatrixEventEvent.Decrypted, this.onDecrypted);
        for (const { timer } of this.shown.values()) clearTimeout(timer);
    }

    update(memberships: readonly CallMembership[]): void {
        this.memberships = memberships;
        for (const one of this.raised.values()) this.announce(one);
        for (const one of memberships) void this.ask(one).catch(() => {});
    }

    /** A hand that went up before this page was there. */
    private async ask(membership: CallMembership): Promise<void> {
        const id = membership.eventId;
        if (!id?.startsWith("$") || this.asked.has(id) || Date.now() - membership.createdTs() < 5000) return;
        this.asked.add(id);
        const { events } = await this.client.relations(this.room.roomId, id, "m.annotation", "m.reaction", { limit: 20 });
        for (const event of events) this.take(event, false);
    }

    private onTimeline = (event: MatrixEvent, room: Room | undefined, atStart: boolean | undefined) => {
        if (room === this.room && !atStart) this.take(event, true);
    };

    private onDecrypted = (event: MatrixEvent) => {
        if (event.getRoomId() === this.room.roomId) this.take(event, Date.now() - event.getTs() < 10_000);
    };

    private onRedaction = (event: MatrixEvent) => {
        this.lower(event.getAssociatedId() ?? "");
    };

    private take(event: MatrixEvent, live: boolean): void {
        const content = event.getContent(), relation = content["m.relates_to"], id = event.getId(), sender = event.getSender();
        if (!relation || !id || !sender || event.isRedacted()) return;
        if (event.getType() === "m.reaction" && typeof relation.event_id === "string" && relation.key === hand) {
            const known = this.raised.get(id);
            if (this.lowered.has(id) || known && !live) return;
            // The answer about relations may be faster than sync, which alone tells what is new: a hand that is known may still be news.
            const one = { event: id, sender, target: relation.event_id, ts: event.getTs(), news: live && !this.told.has(id) };
            this.raised.set(id, one);
            this.changed();
            this.announce(one);
        } else if (live && event.getType() === reactionType && typeof content.emoji === "string") {
            const whose = this.memberships.find((one) => one.eventId === relation.event_id && one.sender === sender);
            if (whose) this.show(identityOf(whose), content.emoji);
        }
    }

    /** Says that a hand went up, once, as soon as it is known whose it is. */
    private announce(one: Raised): void {
        if (!one.news || !this.memberships.some((membership) => membership.eventId === one.target && membership.sender === one.sender)) return;
        one.news = false;
        this.told.add(one.event);
        this.wentUp(one.sender);
    }

    /** What was asked about before may still say that the hand is up. */
    private lower(id: string): void {
        this.lowered.add(id);
        if (this.raised.delete(id)) this.changed();
    }

    private show(identity: string, emoji: string): void {
        const [first] = new Intl.Segmenter().segment(emoji);
        if (!first) return;
        clearTimeout(this.shown.get(identity)?.timer);
        this.shown.set(identity, {
            emoji: first.segment,
            timer: setTimeout(() => {
                this.shown.delete(identity);
                this.changed();
            }, shownFor),
        });
        this.changed();
    }

    /** Since when a hand is up. */
    handOf(membership: CallMembership): number | undefined {
        return this.raisedBy(membership)?.ts;
    }

    private raisedBy(membership: CallMembership): Raised | undefined {
        for (const one of this.raised.values()) if (one.target === membership.eventId && one.sender === membership.sender) return one;
        return undefined;
    }

    reactionOf(identity: string): string | undefined {
        return this.shown.get(identity)?.emoji;
    }

    async raise(mine: CallMembership, up: boolean): Promise<void> {
        const now = this.raisedBy(mine);
        if (up === (now !== undefined)) return;
        if (now) {
            await this.client.redactEvent(this.room.roomId, now.event);
            return this.lower(now.event);
        }
        await this.client.sendEvent(this.room.roomId, "m.reaction" as never, { "m.relates_to": { rel_type: "m.annotation", event_id: mine.eventId, key: hand } } as never);
    }

    async react(mine: CallMembership, emoji: string, name: string): Promise<void> {
        await this.client.sendEvent(this.room.roomId, reactionType as never, { "m.relates_to": { rel_type: "m.reference", event_id: mine.eventId }, emoji, name } as never);
    }
}
