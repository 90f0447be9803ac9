// The head of a room: what it is called, who is in it, and what one can do.

import { useContext, useEffect, useRef, useState } from "react";

import { useTranslation } from "../i18n/index.tsx";
import { RoomContext } from "./context.ts";
import { useStateVersion } from "./hooks.ts";
import { Icon } from "./icons.tsx";
import type { NotifySettings } from "./notify.ts";
import { Avatar, memberName } from "./people.tsx";

export function Header({ settings, membersOpen, toggleMembers, back, invite, meet, leave, signOut }: {
    settings: NotifySettings; membersOpen: boolean; toggleMembers: () => void;
    back?: () => void; invite?: () => void; meet?: () => void; leave?: () => void; signOut: () => void;
}) {
    const { room } = useContext(RoomContext);
    const { t } = useTranslation();
    useStateVersion(room);
    const topic = room.currentState.getStateEvents("m.room.topic", "")?.getContent().topic;
    const count = room.getJoinedMemberCount();
    return (
        <header className="rl-header">
            {back && <button type="button" className="icon-button" onClick={back} aria-label={t("room.back")}><Icon name="back" /></button>}
            <Avatar id={room.roomId} name={room.name} mxc={room.getMxcAvatarUrl()} size="normal" />
            <div className="rl-title">
                <h1 title={room.name}>{room.name}</h1>
                <p>
                    {room.hasEncryptionStateEvent() && (
                        <span className="rl-lock" role="img" aria-label={t("room.encrypted")} title={t("room.encrypted.long")}><Icon name="lock" /></span>
                    )}
                    <button type="button" onClick={toggleMembers} aria-expanded={membersOpen}>{t("room.members", { count })}</button>
                    {typeof topic === "string" && topic && <span className="rl-topic" title={topic}>{topic}</span>}
                </p>
            </div>
            {meet && <button type="button" className="icon-button" data-testid="meeting-open" onClick={meet} aria-label={t("room.meet.now")} title={t("room.meet.now")}><Icon name="camera" /></button>}
            {invite && <button type="button" className="icon-button rl-wide" onClick={invite} aria-label={t("room.invite")} title={t("room.invite")}><Icon name="invite" /></button>}
            <button type="button" className="icon-button rl-wide" onClick={toggleMembers} aria-label={t("room.members.show")} aria-expanded={membersOpen} title={t("room.members.show")}><Icon name="people" /></button>
            <Menu settings={settings} invite={invite} leave={leave} signOut={signOut} />
        </header>
    );
}

/** Says that there is a meeting in the room, and lets one join it. */
export function MeetingCard({ others, join }: { others: readonly string[]; join: () => void }) {
    const { room } = useContext(RoomContext);
    const { t } = useTranslation();
    const names = others.slice(0, 2).map((id) => memberName(room, id)).join(", ");
    return (
        <div className="rl-meet" role="region" aria-label={t("room.meet.call")}>
            <Icon name="camera" />
            <p>{others.length > 2 ? t("room.meet.on.more", { names, count: others.length - 2 }) : t("room.meet.on", { names, count: others.length })}</p>
            <button type="button" className="button main" data-testid="meeting-open" onClick={join}>{t("room.meet.join")}</button>
        </div>
    );
}

/** The head of the chat beside a meeting. */
export function ChatHead({ close }: { close: () => void }) {
    const { t } = useTranslation();
    const title = useRef<HTMLHeadingElement>(null);
    useEffect(() => title.current?.focus(), []);
    return (
        <header className="mt-chat-head">
            <h2 ref={title} tabIndex={-1}>{t("room.meet.chat")}</h2>
            <button type="button" className="icon-button" onClick={close} aria-label={t("room.meet.chat.close")}><Icon name="close" /></button>
        </header>
    );
}

function Menu({ settings, invite, leave, signOut }: { settings: NotifySettings; invite?: () => void; leave?: () => void; signOut: () => void }) {
    const { t } = useTranslation();
    const [open, setOpen] = useState(false);
    const root = useRef<HTMLDivElement>(null), button = useRef<HTMLButtonElement>(null);
    useEffect(() => {
        if (!open) return;
        const outside = (e: PointerEvent) => !root.current?.contains(e.target as Node) && setOpen(false);
        document.addEventListener("pointerdown", outside);
        return () => document.removeEventListener("pointerdown", outside);
    }, [open]);
    const close = () => {
        setOpen(false);
        button.current?.focus();
    };
    const { permission, notify, sound } = settings;
    return (
        <div ref={root} className="rl-menu" onKeyDown={(e) => { if (e.key === "Escape" && open) { e.stopPropagation(); close(); } }}
            onBlur={(e) => { if (open && e.relatedTarget && !e.currentTarget.contains(e.relatedTarget)) setOpen(false); }}>
            <button ref={button} type="button" className="icon-button" aria-label={t("room.menu")} title={t("room.menu")} aria-expanded={open} onClick={() => setOpen(!open)}><Icon name="more" /></button>
            {open && (
                <div className="rl-menu-list">
                    {invite && <button type="button" className="rl-narrow" onClick={() => { close(); invite(); }}><Icon name="invite" />{t("room.invite")}</button>}
                    {permission !== "unsupported" && (
                        <button type="button" role="switch" aria-checked={notify} disabled={permission === "denied"} onClick={() => void settings.setNotify(!notify)}>
                            <Icon name={notify ? "bell" : "bellOff"} />
                            <span>{t("room.notify")}{permission === "denied" && <small>{t("room.notify.denied")}</small>}</span>
                            <span className="rl-switch" aria-hidden="true" />
                        </button>
                    )}
                    <button type="button" role="switch" aria-checked={sound} onClick={() => settings.setSound(!sound)}>
                        <Icon name="sound" /><span>{t("room.sound")}</span><span className="rl-switch" aria-hidden="true" />
                    </button>
                    <hr />
                    {leave && <button type="button" onClick={() => { close(); leave(); }}><Icon name="close" />{t("room.leave")}</button>}
                    <button type="button" onClick={() => { close(); signOut(); }}><Icon name="leave" />{t("room.signout")}</button>
                </div>
            )}
        </div>
    );
}
