// One message: who, what, the answers to it, and what one can do with it.

import { memo, useContext, useEffect, useState, type ReactNode } from "react";
import { EventStatus, type MatrixEvent, type RoomMember } from "matrix-js-sdk";
import { DecryptionFailureCode } from "matrix-js-sdk/lib/crypto-api/index.js";

import { useTranslation } from "../i18n/index.tsx";
import { Attachment, caption } from "./attachment.tsx";
import { RoomContext } from "./context.ts";
import { useEventVersion, useReactions } from "./hooks.ts";
import { Icon, type IconName } from "./icons.tsx";
import { isVoice, plainText, repliesTo } from "./model.ts";
import { besideBadge, GuestBadge, MemberAvatar, memberName, Readers, senderName } from "./people.tsx";
import { isEmojiOnly, linkify, RichText, withoutFallback } from "./richtext.tsx";
import type { T } from "./words.ts";

export interface MessageActions {
    reply: (event: MatrixEvent) => void;
    edit: (event: MatrixEvent) => void;
    remove: (event: MatrixEvent) => void;
    react: (event: MatrixEvent, key: string) => void;
    pick: (event: MatrixEvent, anchor: HTMLElement) => void;
    history: (event: MatrixEvent) => void;
    retry: (event: MatrixEvent) => void;
    discard: (event: MatrixEvent) => void;
    mayReact: boolean;
    mayEdit: (event: MatrixEvent) => boolean;
    mayRemove: (event: MatrixEvent) => boolean;
}

const files = new Set(["m.image", "m.video", "m.audio", "m.file"]);

/** Why a message can't be read here, in words. */
export function unreadable(event: MatrixEvent, t: T): string {
    switch (event.decryptionFailureReason) {
        case DecryptionFailureCode.HISTORICAL_MESSAGE_USER_NOT_JOINED: return t("room.secret.before");
        case DecryptionFailureCode.HISTORICAL_MESSAGE_NO_KEY_BACKUP:
        case DecryptionFailureCode.HISTORICAL_MESSAGE_BACKUP_UNCONFIGURED:
        case DecryptionFailureCode.HISTORICAL_MESSAGE_WORKING_BACKUP: return t("room.secret.device");
        case DecryptionFailureCode.MEGOLM_KEY_WITHHELD_FOR_UNVERIFIED_DEVICE: return t("room.secret.unverified");
        default: return t("room.secret.waiting");
    }
}

/** A message in a few words: for quotes, announcements, notifications. */
export function summary(event: MatrixEvent, t: T): string {
    if (event.isRedacted()) return t("room.deleted");
    if (event.isDecryptionFailure()) return unreadable(event, t);
    const content = event.getContent();
    if (isVoice(content)) return t("room.voice");
    const text = withoutFallback(plainText(event));
    if (content.msgtype === "m.image") return t("room.picture.of", { name: content.filename ?? text });
    return text;
}

function Body({ event }: { event: MatrixEvent }) {
    const { room } = useContext(RoomContext);
    const { t } = useTranslation();
    if (event.isRedacted()) {
        const by = (event.getUnsigned().redacted_because as { sender?: string } | undefined)?.sender;
        const words = by && by !== event.getSender() ? t("room.deleted.by", { who: memberName(room, by) }) : t("room.deleted");
        return <p className="rl-quiet"><Icon name="trash" />{words}</p>;
    }
    if (event.isDecryptionFailure()) return <p className="rl-quiet"><Icon name="lock" />{unreadable(event, t)}</p>;
    if (event.isEncrypted() && !event.getClearContent() && event.getType() === "m.room.encrypted") {
        return <p className="rl-quiet"><Icon name="lock" />{t("room.secret.decrypting")}</p>;
    }
    const content = event.getContent();
    if (files.has(content.msgtype ?? "") || event.getType() === "m.sticker") {
        const said = caption(content);
        return <><Attachment event={event} />{said && <p className="rl-text">{linkify(said)}</p>}</>;
    }
    const text = withoutFallback(plainText(event));
    if (content.format === "org.matrix.custom.html" && typeof content.formatted_body === "string") {
        return <div className="rl-text rl-rich"><Emote event={event} /><RichText html={content.formatted_body} /></div>;
    }
    if (!text.trim()) return <p className="rl-quiet">{t("room.unknown")}</p>;
    const large = content.msgtype === "m.text" && isEmojiOnly(text);
    return <p className={large ? "rl-text rl-large" : "rl-text"} dir="auto"><Emote event={event} />{linkify(text)}</p>;
}

function Emote({ event }: { event: MatrixEvent }) {
    const { room } = useContext(RoomContext);
    return event.getContent().msgtype === "m.emote" ? <b>{senderName(event, room)} </b> : null;
}

/** What a message answers; a press leads there. */
function Quote({ id }: { id: string }) {
    const { client, room, jumpTo } = useContext(RoomContext);
    const { t } = useTranslation();
    const [event, setEvent] = useState<MatrixEvent | null | undefined>(() => room.findEventById(id));
    useEffect(() => {
        if (event) return;
        let here = true;
        void (async () => {
            try {
                const found = client.getEventMapper()(await client.fetchRoomEvent(room.roomId, id));
                await client.decryptEventIfNeeded(found);
                if (here) setEvent(found);
            } catch {
                if (here) setEvent(null);
            }
        })();
        return () => { here = false; };
    }, [client, room, id, event]);
    const words = event ? summary(event, t) : event === null ? t("room.reply.lost") : "…";
    return (
        <button type="button" className="rl-quote" onClick={() => jumpTo(id)} disabled={event === null}>
            <span className="rl-hidden">{t("room.reply.to")} </span>
            {event && <b>{senderName(event, room)}</b>}
            <span className="rl-quote-text">{words.slice(0, 200)}</span>
        </button>
    );
}

function Reactions({ event, actions }: { event: MatrixEvent; actions: MessageActions }) {
    const { client, room } = useContext(RoomContext);
    const { t } = useTranslation();
    const reactions = useReactions(client, room, event);
    if (reactions.length === 0) return null;
    return (
        <div className="rl-reactions" role="group" aria-label={t("room.reactions")}>
            {reactions.map(({ key, senders, mine }) => {
                const names = senders.map((s) => memberName(room, s)).join(", ");
                return (
                    <button key={key} type="button" className="rl-reaction" aria-pressed={!!mine} disabled={!actions.mayReact} title={names}
                        aria-label={t("room.reaction", { key, count: senders.length, names })} onClick={() => actions.react(event, key)}>
                        <span>{[...key].length > 12 ? `${[...key].slice(0, 12).join("")}…` : key}</span> {senders.length}
                    </button>
                );
            })}
        </div>
    );
}

function Status({ event, actions }: { event: MatrixEvent; actions: MessageActions }) {
    const { t } = useTranslation();
    if (event.status === EventStatus.NOT_SENT) {
        const why = (event.error as { errcode?: string; data?: { error?: string } } | null);
        const words = why?.errcode === "M_FORBIDDEN" ? t("room.send.refused") : why?.errcode === "M_LIMIT_EXCEEDED" ? t("room.send.slow") : t("room.send.failed");
        return (
            <div className="rl-failed" role="alert">
                <Icon name="warning" /><span>{words}</span>
                <button type="button" onClick={() => actions.retry(event)}>{t("room.send.again")}</button>
                <button type="button" onClick={() => actions.discard(event)}>{t("room.send.discard")}</button>
            </div>
        );
    }
    return null;
}

function Meta({ event, own, actions }: { event: MatrixEvent; own: boolean; actions: MessageActions }) {
    const { t, date } = useTranslation();
    const sending = event.status && event.status !== EventStatus.SENT && event.status !== EventStatus.NOT_SENT;
    return (
        <span className="rl-meta">
            {event.replacingEvent() && !event.isRedacted() && (
                <button type="button" className="rl-edited" onClick={() => actions.history(event)} title={t("room.edited.show")}>{t("room.edited")}</button>
            )}
            <time dateTime={new Date(event.getTs()).toISOString()}>{date(event.getTs(), { hour: "2-digit", minute: "2-digit" })}</time>
            {own && event.status !== EventStatus.NOT_SENT && (
                <span className="rl-sent" role="img" aria-label={sending ? t("room.sending") : t("room.sent")}><Icon name={sending ? "clock" : "check"} /></span>
            )}
        </span>
    );
}

const quick = ["👍", "❤️", "😂"];

function Toolbar({ event, actions }: { event: MatrixEvent; actions: MessageActions }) {
    const { announce } = useContext(RoomContext);
    const { t } = useTranslation();
    if (event.status || event.isRedacted()) return null;
    const text = summary(event, t);
    const button = (icon: IconName, label: string, press: (element: HTMLElement) => void): ReactNode => (
        <button type="button" aria-label={label} title={label} onClick={(e) => press(e.currentTarget)}><Icon name={icon} /></button>
    );
    const readable = !event.isDecryptionFailure();
    return (
        <div className="rl-tools" role="toolbar" aria-label={t("room.actions")}>
            {actions.mayReact && readable && quick.map((key) => (
                <button key={key} type="button" className="rl-quick" aria-label={t("room.react.with", { key })} onClick={() => actions.react(event, key)}>{key}</button>
            ))}
            {actions.mayReact && readable && button("face", t("room.react"), (anchor) => actions.pick(event, anchor))}
            {actions.mayReact && readable && button("reply", t("room.reply"), () => actions.reply(event))}
            {actions.mayEdit(event) && button("edit", t("room.edit"), () => actions.edit(event))}
            {readable && !files.has(event.getContent().msgtype ?? "") && button("copy", t("room.copy"), () => {
                void navigator.clipboard?.writeText(text).then(() => announce(t("room.copied")));
            })}
            {actions.mayRemove(event) && button("trash", t("room.delete"), () => actions.remove(event))}
        </div>
    );
}

export const Message = memo(function Message({ event, first, active, tab, found, readers, actions }: {
    event: MatrixEvent; first: boolean; active: boolean; tab: boolean; found: boolean; readers: RoomMember[]; actions: MessageActions;
}) {
    const { client, room } = useContext(RoomContext);
    const { t, date } = useTranslation();
    useEventVersion(event);
    const own = event.getSender() === client.getUserId();
    const name = senderName(event, room);
    const member = room.getMember(event.getSender()!) ?? event.sender;
    const reply = event.isRedacted() ? undefined : repliesTo(event);
    const notice = event.getContent().msgtype === "m.notice";
    const bare = !reply && !event.isRedacted() && !event.isDecryptionFailure()
        && (event.getType() === "m.sticker" || (event.getContent().msgtype === "m.text" && isEmojiOnly(plainText(event))));
    const kind = ["rl-message", own && "rl-own", first && "rl-first", notice && "rl-notice", bare && "rl-bare", found && "rl-found",
        event.status === EventStatus.NOT_SENT && "rl-unsent"].filter(Boolean).join(" ");
    return (
        <article className={kind} tabIndex={tab ? 0 : -1} aria-label={`${own ? t("room.you") : name}, ${date(event.getTs(), { hour: "2-digit", minute: "2-digit" })}`}>
            {!own && <div className="rl-side">{first && <MemberAvatar member={member} id={event.getSender()!} size="normal" />}</div>}
            <div className="rl-main">
                {!own && first && <div className="rl-who"><span className="rl-name">{besideBadge(name, member)}</span><GuestBadge member={member} focusable={tab} /></div>}
                <div className="rl-bubble">
                    {reply && <Quote id={reply} />}
                    <Body event={event} />
                    <Meta event={event} own={own} actions={actions} />
                    {active && <Toolbar event={event} actions={actions} />}
                </div>
                <Reactions event={event} actions={actions} />
                <Status event={event} actions={actions} />
                <Readers members={readers} />
            </div>
        </article>
    );
});
