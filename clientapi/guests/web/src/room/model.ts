// What a timeline shows: days, messages in groups, and lines about the room. Pure: events in, items out.

import { DecryptionFailureCode } from "matrix-js-sdk/lib/crypto-api/index.js";
import { Direction, type EventTimeline, type MatrixEvent, type Room } from "matrix-js-sdk";

export type Item =
    | { kind: "day"; key: string; ts: number }
    | { kind: "unread"; key: string }
    | { kind: "message"; key: string; event: MatrixEvent; first: boolean }
    | { kind: "state"; key: string; events: MatrixEvent[] }
    /** Messages from before this device, or before one joined, which nobody can read here. */
    | { kind: "secret"; key: string; events: MatrixEvent[] };

const messages = new Set(["m.room.message", "m.room.encrypted", "m.sticker", "m.poll.start", "org.matrix.msc3381.poll.start"]);
const lines = new Set(["m.room.member", "m.room.name", "m.room.topic", "m.room.avatar", "m.room.encryption", "m.room.create",
    "m.room.third_party_invite", "m.room.tombstone", "m.room.power_levels"]);

/** The key of an event: it stays the same when a message on its way becomes one that is sent. */
export function eventKey(event: MatrixEvent): string {
    return event.getTxnId() ?? event.getId()!;
}

export function isMessage(event: MatrixEvent): boolean {
    return messages.has(event.getType()) && !event.isState() && !isReplacement(event);
}

export function isReplacement(event: MatrixEvent): boolean {
    return event.getWireContent()["m.relates_to"]?.rel_type === "m.replace";
}

function isLine(event: MatrixEvent): boolean {
    if (!event.isState() || !lines.has(event.getType()) || event.isRedacted()) return false;
    if (event.getType() === "m.room.power_levels" || event.getType() === "m.room.avatar") return !!event.getUnsigned().prev_content;
    if (event.getType() === "m.room.third_party_invite") return /[^\s.\u2026]/.test(String(event.getContent().display_name ?? "")); // a link is for nobody by name
    if (event.getType() === "m.room.member") {
        const now = event.getContent(), before = event.getPrevContent();
        return now.membership !== before.membership || now.displayname !== before.displayname || now.avatar_url !== before.avatar_url;
    }
    return true;
}

/** Everything that is loaded, oldest first: a gap in sync makes a timeline of its own, which is joined when it is closed. */
export function loadedTimelines(room: Room): EventTimeline[] {
    const all = [room.getLiveTimeline()];
    for (let t = all[0]!.getNeighbouringTimeline(Direction.Backward); t; t = t.getNeighbouringTimeline(Direction.Backward)) all.unshift(t);
    return all;
}

export function loadedEvents(room: Room): MatrixEvent[] {
    return loadedTimelines(room).flatMap((timeline) => timeline.getEvents());
}

const lost = new Set<DecryptionFailureCode | null>([
    DecryptionFailureCode.HISTORICAL_MESSAGE_USER_NOT_JOINED, DecryptionFailureCode.HISTORICAL_MESSAGE_NO_KEY_BACKUP,
    DecryptionFailureCode.HISTORICAL_MESSAGE_BACKUP_UNCONFIGURED,
]);

const isLost = (event: MatrixEvent) => event.isDecryptionFailure() && lost.has(event.decryptionFailureReason);

const together = 5 * 60_000;

const dayOf = (ts: number) => new Date(ts).toDateString();

/** Items for events; what comes after the event readUpTo, if there is something of others, is under a line. */
export function timelineItems(events: MatrixEvent[], pending: MatrixEvent[], me: string, readUpTo?: string | null): Item[] {
    const items: Item[] = [];
    let day = "", before: MatrixEvent | undefined, marking = false, marked = false;
    const add = (event: MatrixEvent) => {
        const message = isMessage(event);
        if (message || isLine(event)) {
            if (dayOf(event.getTs()) !== day) {
                day = dayOf(event.getTs());
                items.push({ kind: "day", key: `day ${day}`, ts: event.getTs() });
                before = undefined;
            }
            if (marking && !marked && message && event.getSender() !== me && !event.status) {
                items.push({ kind: "unread", key: "unread" });
                marked = true;
                before = undefined;
            }
            if (message && isLost(event)) {
                const last = items.at(-1);
                if (last?.kind === "secret") last.events.push(event);
                else items.push({ kind: "secret", key: event.getId()!, events: [event] });
                before = undefined;
            } else if (message) {
                const first = !before || before.getSender() !== event.getSender() || event.getTs() - before.getTs() > together;
                items.push({ kind: "message", key: eventKey(event), event, first });
                before = event;
            } else {
                const last = items.at(-1);
                if (last?.kind === "state") last.events.push(event);
                else items.push({ kind: "state", key: event.getId()!, events: [event] });
                before = undefined;
            }
        }
        if (readUpTo && event.getId() === readUpTo) marking = true;
    };
    events.forEach(add);
    pending.filter(isMessage).forEach(add);
    return items;
}

/** The text of a message for quotes, announcements and notifications. */
export function plainText(event: MatrixEvent): string {
    const content = event.getContent();
    return typeof content.body === "string" ? content.body
        : typeof content["org.matrix.msc1767.text"] === "string" ? content["org.matrix.msc1767.text"]
        : content["org.matrix.msc3381.poll.start"]?.question?.["org.matrix.msc1767.text"] ?? "";
}

export const isVoice = (content: Record<string, unknown>) =>
    content.msgtype === "m.audio" && ("org.matrix.msc3245.voice" in content || "org.matrix.msc3245.voice.v2" in content);

/** The event a message answers; threads of other clients name the message before, which is no answer. */
export function repliesTo(event: MatrixEvent): string | undefined {
    const relation = event.getWireContent()["m.relates_to"];
    if (relation?.rel_type === "m.thread" && relation.is_falling_back) return undefined;
    return relation?.["m.in_reply_to"]?.event_id;
}

type Deleter = "sender" | "owner";
export type DeletionPolicy = Partial<Record<"file" | "text" | "voice" | "encrypted" | "encrypted_media", Deleter>>;

/** What is decided where nobody says otherwise. */
const deletionLaw: DeletionPolicy = { file: "sender", text: "owner", voice: "owner", encrypted: "owner", encrypted_media: "sender" };

/** Whether the server would let somebody delete an event. */
export function mayDelete(room: Room, event: MatrixEvent, me: string, law?: DeletionPolicy): boolean {
    if (event.status || event.isRedacted() || room.getMyMembership() !== "join") return false;
    if (!room.currentState.maySendEvent("m.room.redaction", me)) return false;
    const level = room.getMember(me)?.powerLevel ?? 0;
    const levels = room.currentState.getStateEvents("m.room.power_levels", "")?.getContent() ?? {};
    if (level >= (levels.redact ?? 50)) return true;
    if (event.getSender() !== me) return false;
    const own = room.currentState.getStateEvents("org.roomline.deletion_policy", "")?.getContent() ?? {};
    const policy: DeletionPolicy = { ...deletionLaw, ...law, ...own };
    const content = event.getContent();
    const media = ["m.image", "m.video", "m.audio", "m.file"].includes(content.msgtype ?? "") || event.getType() === "m.sticker";
    if (event.isEncrypted()) return policy[content.file ? "encrypted_media" : "encrypted"] === "sender";
    if (isVoice(content)) return policy.voice === "sender";
    return policy[media ? "file" : "text"] === "sender";
}
