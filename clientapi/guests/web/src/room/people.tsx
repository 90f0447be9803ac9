// Who somebody is: name, picture, and the mark of a guest.

import type { MatrixClient, MatrixEvent, Room, RoomMember } from "matrix-js-sdk";

import { useMedia } from "./media.ts";
import { useWords, type T } from "./words.ts";

/** What the server says of a guest in the member event. */
export interface GuestMark {
    medium?: "email" | "msisdn";
    address?: string;
    verified?: boolean;
    inviter?: string;
    expires_ts?: number;
    role?: string;
}

export const guestKey = "org.roomline.guest";

export function guestMark(member: RoomMember | null | undefined): GuestMark | undefined {
    const mark = member?.events.member?.getContent()[guestKey];
    return mark && typeof mark === "object" ? mark : undefined;
}

export const memberName = (room: Room, userId: string): string => room.getMember(userId)?.name || userId;

export function senderName(event: MatrixEvent, room: Room): string {
    return (event.sender ?? room.getMember(event.getSender()!))?.name || event.getSender() || "";
}

/** A name to stand beside the badge, which says already that somebody is a guest; the server ends guests' names with it for other clients. */
export const besideBadge = (name: string, member?: RoomMember | null): string => (guestMark(member) ? name.replace(/ \(guest\)$/, "") : name);

/** One of eight colours for who has no picture; the same everywhere. */
export function hue(id: string): number {
    let sum = 0;
    for (const c of id) sum = (sum * 31 + c.codePointAt(0)!) >>> 0;
    return sum % 8;
}

const initial = (name: string) => [...name.replace(/^[^\p{L}\p{N}]+/u, "")][0]?.toUpperCase() ?? "?";

/** A picture, or the first letter of the name. It is decoration: the name stands beside it. */
export function Avatar({ id, name, mxc, size }: { id: string; name: string; mxc?: string | null; size: "tiny" | "small" | "normal" }) {
    const edge = size === "normal" ? 80 : 48;
    const { url } = useMedia(mxc ? { mxc, size: { width: edge, height: edge, crop: true } } : undefined);
    return (
        <span className={`rl-avatar rl-avatar-${size} rl-hue-${hue(id)}`} aria-hidden="true">
            {url ? <img src={url} alt="" /> : initial(name)}
        </span>
    );
}

export function MemberAvatar({ member, id, size }: { member?: RoomMember | null; id: string; size: "tiny" | "small" | "normal" }) {
    return <Avatar id={id} name={member?.name ?? id} mxc={member?.getMxcAvatarUrl()} size={size} />;
}

export function guestWords(mark: GuestMark, t: T): string {
    if (!mark.address) return t("room.guest.link");
    return mark.verified ? t("room.guest.verified", { address: mark.address }) : t("room.guest.invited", { address: mark.address });
}

/** The mark of a guest; with the address for who points at it, focuses it or hears it. */
export function GuestBadge({ member, focusable = false }: { member?: RoomMember | null; focusable?: boolean }) {
    const t = useWords();
    const mark = guestMark(member);
    if (!mark) return null;
    const words = guestWords(mark, t);
    return (
        <span className="rl-badge" data-tip={words} title={words} tabIndex={focusable ? 0 : undefined}
            role={focusable ? "note" : undefined} aria-label={focusable ? `${t("room.guest")}: ${words}` : undefined}>
            {t("room.guest")}
            {!focusable && <span className="rl-hidden">: {words}</span>}
        </span>
    );
}

/** How much somebody may. */
export function role(room: Room, member: RoomMember): "owner" | "moderator" | "observer" | "member" {
    const levels = room.currentState.getStateEvents("m.room.power_levels", "")?.getContent() ?? {};
    const level = member.powerLevel;
    if (level === Infinity || level >= 100) return "owner";
    if (level >= 50) return "moderator";
    const toSend = levels.events?.["m.room.message"] ?? levels.events_default ?? 0;
    return level < toSend ? "observer" : "member";
}

export function maySend(client: MatrixClient, room: Room): boolean {
    return room.getMyMembership() === "join" && room.currentState.maySendMessage(client.getSafeUserId());
}

const shownReaders = 4;

/** Little pictures of who has read up to here. */
export function Readers({ members }: { members: RoomMember[] }) {
    const t = useWords();
    if (members.length === 0) return null;
    const names = members.map((m) => m.name).join(", ");
    return (
        <div className="rl-readers" role="img" aria-label={t("room.read.by", { names })} title={t("room.read.by", { names })}>
            {members.slice(0, shownReaders).map((m) => <MemberAvatar key={m.userId} member={m} id={m.userId} size="tiny" />)}
            {members.length > shownReaders && <span>+{members.length - shownReaders}</span>}
        </div>
    );
}
