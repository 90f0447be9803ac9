// Who is in the room, and who is invited.

import { useContext, useEffect, useMemo, useRef, useState } from "react";
import type { Room, RoomMember } from "matrix-js-sdk";

import { useTranslation } from "../i18n/index.tsx";
import { RoomContext } from "./context.ts";
import { useStateVersion } from "./hooks.ts";
import { Icon } from "./icons.tsx";
import { Avatar, besideBadge, GuestBadge, guestMark, MemberAvatar, role } from "./people.tsx";

const atFirst = 60;
const ranks = { owner: 0, moderator: 1, member: 2, observer: 3 };

interface Pending {
    id: string;
    address: string;
    state?: string;
}

const states = ["queued", "sent", "delivered", "failed", "opened"] as const;

/** Invitations by e-mail or phone that nobody has taken up yet. */
function pendingInvitations(room: Room): Pending[] {
    const taken = new Set(room.getMembers().map((m) => m.events.member?.getContent().third_party_invite?.signed?.token).filter(Boolean));
    return room.currentState.getStateEvents("m.room.third_party_invite").flatMap((event) => {
        const id = event.getStateKey()!, address = event.getContent().display_name;
        if (!address || taken.has(id)) return [];
        const state = room.currentState.getStateEvents("org.roomline.invitation", id)?.getContent().state;
        return ["redeemed", "expired", "revoked", "member"].includes(state) ? [] : [{ id, address, state }];
    });
}

export function Members({ close, invite }: { close: () => void; invite?: () => void }) {
    const { room } = useContext(RoomContext);
    const { t, language } = useTranslation();
    const version = useStateVersion(room);
    const [query, setQuery] = useState("");
    const [limit, setLimit] = useState(atFirst);
    const [loading, setLoading] = useState(true);
    const title = useRef<HTMLHeadingElement>(null);

    useEffect(() => {
        title.current?.focus();
        room.loadMembersIfNeeded().catch(() => {}).finally(() => setLoading(false));
    }, [room]);

    const { joined, invited, pending } = useMemo(() => {
        const order = new Intl.Collator(language);
        const wanted = query.trim().toLowerCase();
        const fits = (m: RoomMember) => !wanted || m.name.toLowerCase().includes(wanted) || (guestMark(m)?.address ?? "").toLowerCase().includes(wanted);
        const sorted = (membership: string) => room.getMembersWithMembership(membership).filter(fits)
            .sort((a, b) => ranks[role(room, a)] - ranks[role(room, b)] || order.compare(a.name, b.name));
        return { joined: sorted("join"), invited: sorted("invite"), pending: pendingInvitations(room).filter((p) => !wanted || p.address.toLowerCase().includes(wanted)) };
        // eslint-disable-next-line react-hooks/exhaustive-deps
    }, [room, query, language, version, loading]);

    return (
        <aside className="rl-members" aria-labelledby="rl-members-title" onKeyDown={(e) => e.key === "Escape" && close()}>
            <header>
                <h2 id="rl-members-title" ref={title} tabIndex={-1}>{t("room.members", { count: room.getJoinedMemberCount() })}</h2>
                <button type="button" className="icon-button" onClick={close} aria-label={t("app.close")}><Icon name="close" /></button>
            </header>
            <div className="rl-members-list">
                {invite && <button type="button" className="button wide" onClick={invite}><Icon name="invite" />{t("room.invite")}</button>}
                {joined.length + invited.length > 12 || query ? (
                    <input className="input" type="search" value={query} onChange={(e) => setQuery(e.target.value)} placeholder={t("room.members.search")} aria-label={t("room.members.search")} />
                ) : null}
                {loading && joined.length < 2 && <span className="spinner" role="status" aria-label={t("app.loading")} />}
                <ul>{joined.slice(0, limit).map((m) => <MemberRow key={m.userId} member={m} />)}</ul>
                {joined.length > limit && <button type="button" className="button plain" onClick={() => setLimit(limit + 200)}>{t("room.members.more", { count: joined.length - limit })}</button>}
                {(invited.length > 0 || pending.length > 0) && <h3>{t("room.members.invited")}</h3>}
                <ul>
                    {invited.map((m) => <MemberRow key={m.userId} member={m} />)}
                    {pending.map((p) => (
                        <li key={p.id} className="rl-member">
                            <Avatar id={p.id} name={p.address} size="normal" />
                            <span className="rl-member-words">
                                <b>{p.address}</b>
                                <small>{t(`room.invitation.${states.find((s) => s === p.state) ?? "sent"}`)}</small>
                            </span>
                        </li>
                    ))}
                </ul>
            </div>
        </aside>
    );
}

function MemberRow({ member }: { member: RoomMember }) {
    const { client, room } = useContext(RoomContext);
    const { t } = useTranslation();
    const is = role(room, member);
    const mark = guestMark(member);
    const inviter = mark?.inviter && (room.getMember(mark.inviter)?.name ?? mark.inviter);
    return (
        <li className="rl-member">
            <MemberAvatar member={member} id={member.userId} size="normal" />
            <span className="rl-member-words">
                <b>{besideBadge(member.name, member)}{member.userId === client.getUserId() && <span className="muted"> ({t("room.you")})</span>}</b>
                <small>{mark ? [mark.address, inviter && t("room.guest.by", { who: inviter })].filter(Boolean).join(" · ") : member.userId}</small>
            </span>
            <GuestBadge member={member} />
            {is !== "member" && <span className="tag">{t(`room.role.${is}`)}</span>}
        </li>
    );
}
