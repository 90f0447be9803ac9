// A room: its timeline, what one writes, who is there.

import "./room.css";

import { Component, lazy, Suspense, useCallback, useEffect, useMemo, useRef, useState, type DragEvent, type ReactNode } from "react";
import { EventStatus, MatrixEventEvent, RoomEvent, type MatrixClient, type MatrixEvent, type Room } from "matrix-js-sdk";

import { useTranslation } from "../i18n/index.tsx";
import { meetingOfTab, useCall } from "../meeting/presence.ts";
import { loaded } from "../parts/loaded.tsx";
import { keepSession, storePrefix, type Organisation, type Session } from "../session.ts";
import { Composer, replyRelation, type Mode } from "./composer.tsx";
import { RoomContext, type RoomScope } from "./context.ts";
import { DeleteDialog, HistoryDialog, LeaveDialog } from "./dialogs.tsx";
import { ChatHead, Header, MeetingCard } from "./header.tsx";
import { useConnected, useRoom, useStateVersion, useTyping, useVisible } from "./hooks.ts";
import { Icon } from "./icons.tsx";
import { Media } from "./media.ts";
import { Members } from "./members.tsx";
import { summary, type MessageActions } from "./message.tsx";
import { isMessage, loadedEvents, mayDelete, type DeletionPolicy } from "./model.ts";
import { useArrivals, useNotifications, useNotifySettings } from "./notify.ts";
import { guestMark, maySend, senderName } from "./people.tsx";
import { type Recorded, voiceContent } from "./recording.ts";
import { Timeline, type TimelineHandle } from "./timeline.tsx";
import { useUploads } from "./uploads.ts";

const EmojiPicker = lazy(() => import("./emojipicker.tsx"));
const Viewer = lazy(() => import("./viewer.tsx"));
const MeetingView = loaded(() => import("../meeting/meeting.tsx"));

export interface RoomViewProps {
    /** Started; the room may not have come by sync yet. Its crypto is there if a room of the session is encrypted. */
    readonly client: MatrixClient;
    readonly session: Session;
    readonly roomId: string;
    readonly organisation?: Organisation;
    /** Back to the list of rooms; absent where there is none. */
    onBack?(): void;
    /** Opens the dialog for inviting; absent for guests. */
    onInvite?(): void;
    /** The person is no longer in the room. */
    onEnded(how: "left" | "removed"): void;
    onSignOut(): void;
}

export default function RoomView(props: RoomViewProps) {
    const { t } = useTranslation();
    const room = useRoom(props.client, props.roomId);
    if (!room) return <main id="main" tabIndex={-1} className="rl-waiting"><span className="spinner" role="status" aria-label={t("app.loading")} /></main>;
    return <OpenRoom key={room.roomId} {...props} room={room} />;
}

/** Ends the view when one is no longer in the room; not while held, when something else on the screen says so. */
function useEnd(room: Room, me: string, held: boolean, ended: (how: "left" | "removed") => void) {
    const latest = useRef(ended);
    latest.current = ended;
    useEffect(() => {
        const look = () => {
            if (held || !["leave", "ban"].includes(room.getMyMembership())) return;
            latest.current(room.getMember(me)?.events.member?.getSender() === me ? "left" : "removed");
        };
        look();
        room.on(RoomEvent.MyMembership, look);
        return () => void room.off(RoomEvent.MyMembership, look);
    }, [room, me, held]);
}

/** The event after which things are new: where one was when the page was opened, or was last seen. */
function useMarker(room: Room, me: string) {
    const visible = useVisible();
    const readUpTo = () => {
        const id = room.getEventReadUpTo(me), events = loadedEvents(room);
        const place = events.findIndex((e) => e.getId() === id);
        return id && events.slice(place + 1).some((e) => isMessage(e) && e.getSender() !== me) ? id : null;
    };
    const [marker, setMarker] = useState<string | null>(readUpTo);
    useEffect(() => {
        if (!visible) setMarker(room.getEventReadUpTo(me));
    }, [visible, room, me]);
    return [marker, () => setMarker(null)] as const;
}

function useDeletionLaw(client: MatrixClient): DeletionPolicy | undefined {
    const [law, setLaw] = useState<DeletionPolicy>();
    useEffect(() => {
        client.getCapabilities().then((c) => setLaw((c as Record<string, unknown>)["org.roomline.deletion"] as DeletionPolicy | undefined), () => {});
    }, [client]);
    return law;
}

type Over = { kind: "delete" | "history"; event: MatrixEvent } | { kind: "leave" } | undefined;
interface Picking { button: HTMLElement; at: DOMRect; row: HTMLElement | null; pick: (emoji: string) => void }

const picked = (button: HTMLElement, pick: Picking["pick"]): Picking => ({ button, at: button.getBoundingClientRect(), row: button.closest("article"), pick });

function OpenRoom({ client, session, room, onBack, onInvite, onEnded, onSignOut }: RoomViewProps & { room: Room }) {
    const { t } = useTranslation();
    const me = client.getSafeUserId();
    const observes = session.guest?.role === "observer";
    useStateVersion(room);
    const media = useMemo(() => new Media(client), [client]);
    useEffect(() => () => media.close(), [media]);
    const [said, setSaid] = useState("");
    const [problem, setProblem] = useState("");
    const [viewed, setViewed] = useState<MatrixEvent>();
    const [over, setOver] = useState<Over>();
    const [picking, setPicking] = useState<Picking>();
    const [mode, setMode] = useState<Mode>({ kind: "plain" });
    const [membersOpen, setMembersOpen] = useState(false);
    const timeline = useRef<TimelineHandle>(null);
    const [marker, clearMarker] = useMarker(room, me);
    const law = useDeletionLaw(client);
    const settings = useNotifySettings();
    const connected = useConnected(client);
    const meeting = useMeeting(client, room, observes);
    useInvitedMeeting(session, meeting.call.possible, meeting.start);
    useEnd(room, me, meeting.open && !session.guest, onEnded); // a guest's session is over, a member sees the end of the meeting
    useResending(client, room, connected);

    const announce = useCallback((text: string) => setSaid((before) => (before === text ? `${text}\u00a0` : text)), []);
    const scope = useMemo<RoomScope>(() => ({
        client, room, media, announce, open: setViewed, jumpTo: (id) => timeline.current?.jumpTo(id),
    }), [client, room, media, announce]);
    useArrivals(client, room, (event) => announce(t("room.says", { who: senderName(event, room), what: summary(event, t).slice(0, 300) })));
    useNotifications(client, room, settings, (event) => `${senderName(event, room)}: ${summary(event, t)}`.slice(0, 200));

    const writable = maySend(client, room) && !observes;
    const noCrypto = room.hasEncryptionStateEvent() && !client.getCrypto();
    const mayReact = writable && room.currentState.maySendEvent("m.reaction", me);
    const actions = useMemo<MessageActions>(() => ({
        mayReact,
        mayEdit: (event) => writable && event.getSender() === me && event.getType() === "m.room.message" && !event.isRedacted()
            && ["m.text", "m.emote"].includes(event.getContent().msgtype ?? ""),
        mayRemove: (event) => mayDelete(room, event, me, law),
        reply: (event) => setMode({ kind: "reply", event }),
        edit: (event) => setMode({ kind: "edit", event }),
        remove: (event) => setOver({ kind: "delete", event }),
        history: (event) => setOver({ kind: "history", event }),
        pick: (event, anchor) => setPicking(picked(anchor, (emoji) => actions.react(event, emoji))),
        react: (event, key) => void react(client, room, event, key).catch(() => setProblem(t("room.react.failed"))),
        retry: () => {
            for (const event of room.getPendingEvents().filter((e) => e.status === EventStatus.NOT_SENT)) void client.resendEvent(event, room).catch(() => {});
        },
        discard: (event) => client.cancelPendingEvent(event),
    }), [client, room, me, law, mayReact, writable, t]);
    useUnseenFailures(client, room, () => setProblem(t("room.edit.failed")));

    const sent = () => {
        clearMarker();
        timeline.current?.toEnd();
    };
    const relation = () => {
        const now = mode.kind === "reply" ? replyRelation(mode.event, me) : { "m.mentions": {} };
        if (mode.kind === "reply") setMode({ kind: "plain" });
        return now;
    };
    const uploads = useUploads(client, room, sent);
    const addFiles = (files: Iterable<File>) => writable && !noCrypto && uploads.add(files, relation());
    const sendVoice = (recorded: Recorded) => uploads.add([recorded.file], relation(), voiceContent(recorded));
    const editLast = () => {
        const last = loadedEvents(room).findLast((e) => isMessage(e) && e.getSender() === me && actions.mayEdit(e));
        if (last) setMode({ kind: "edit", event: last });
    };
    const pickEmoji = (anchor: HTMLElement, pick: (emoji: string) => void) => setPicking(picking ? undefined : picked(anchor, pick));
    const drop = useDrop(addFiles);
    const Chat = meeting.open ? "aside" : "main"; // beside a meeting, that is what the page is about
    const pictures = viewed ? loadedEvents(room).filter((e) => e.getContent().msgtype === "m.image" && !e.isRedacted()) : [];

    return (
        <RoomContext value={scope}>
            <div className="rl-frame">
                <div className={meeting.open ? `rl-room rl-meeting ${meeting.panel === "chat" ? "rl-beside" : ""}` : membersOpen ? "rl-room rl-with-members" : "rl-room"}>
                    {meeting.open && (
                        <main id="main" tabIndex={-1} className="rl-stage">
                            <MeetingGuard failed={t("room.meet.failed")} retry={t("app.retry")} leave={meeting.close} leaveLabel={t("app.close")}>
                                <MeetingView fallback={<p className="rl-waiting" role="status"><span className="spinner" />{t("room.meet.opening")}</p>}
                                    client={client} room={room} session={session} observes={observes} others={meeting.call.others} panel={meeting.panel} unread={meeting.unread}
                                    setPanel={meeting.setPanel} onInvite={onInvite} onClose={meeting.close} />
                            </MeetingGuard>
                        </main>
                    )}
                    {(!meeting.open || meeting.panel === "chat") && <Chat id={meeting.open ? undefined : "main"} tabIndex={-1}
                        aria-label={meeting.open ? t("room.meet.chat") : undefined} className="rl-chat" {...drop.handlers}>
                        {meeting.open ? <ChatHead close={() => meeting.setPanel(undefined)} /> : (
                            <Header settings={settings} membersOpen={membersOpen} toggleMembers={() => setMembersOpen(!membersOpen)} back={onBack} invite={onInvite}
                                meet={meeting.call.possible && meeting.call.others.length === 0 ? meeting.start : undefined}
                                leave={session.guest ? undefined : () => setOver({ kind: "leave" })} signOut={onSignOut} />
                        )}
                        {!meeting.open && meeting.call.possible && meeting.call.others.length > 0 && <MeetingCard others={meeting.call.others} join={meeting.start} />}
                        {!connected && <p className="rl-offline" role="status"><span className="spinner" />{t("room.offline")}</p>}
                        <Timeline ref={timeline} actions={actions} marker={marker} />
                        <Typing room={room} client={client} />
                        {problem && (
                            <p className="rl-problem" role="alert"><Icon name="warning" /><span>{problem}</span>
                                <button type="button" className="icon-button" onClick={() => setProblem("")} aria-label={t("app.close")}><Icon name="close" /></button></p>
                        )}
                        {noCrypto ? (
                            <p className="rl-silent"><Icon name="lock" /><span>{t("room.crypto.reload")}</span><button type="button" className="button" onClick={() => location.reload()}>{t("room.reload")}</button></p>
                        ) : writable ? (
                            <Composer draftKey={`${storePrefix(session)}/draft/${room.roomId}`} mode={mode} setMode={setMode} editLast={editLast} addFiles={addFiles}
                                sendVoice={sendVoice} pickEmoji={pickEmoji} uploads={uploads.list} cancelUpload={uploads.cancel} retryUpload={uploads.retry} sent={sent} />
                        ) : <Silent room={room} me={me} observes={observes} />}
                        {drop.over && writable && <div className="rl-drop" aria-hidden="true"><Icon name="attach" /><b>{t("room.drop")}</b></div>}
                    </Chat>}
                    {membersOpen && !meeting.open && <Members close={() => setMembersOpen(false)} invite={onInvite} />}
                </div>
            </div>
            <div className="visually-hidden" role="status" aria-live="polite">{said}</div>
            <Suspense fallback={null}>
                {picking && <EmojiPicker at={picking.at} button={picking.button} close={(giveBack) => {
                    if (giveBack) giveFocus(picking);
                    setPicking(undefined);
                }} pick={(emoji) => {
                    setPicking(undefined);
                    giveFocus(picking);
                    picking.pick(emoji);
                }} />}
                {viewed && <Viewer event={viewed} others={pictures} show={setViewed} close={() => setViewed(undefined)} />}
            </Suspense>
            {over?.kind === "delete" && <DeleteDialog event={over.event} close={() => setOver(undefined)} />}
            {over?.kind === "history" && <HistoryDialog event={over.event} close={() => setOver(undefined)} />}
            {over?.kind === "leave" && <LeaveDialog close={() => setOver(undefined)} leave={() => client.leave(room.roomId)} />}
        </RoomContext>
    );
}

/** A guest whom somebody invited to a meeting is led to it, once. */
function useInvitedMeeting(session: Session, possible: boolean, start: () => void) {
    const led = useRef(false);
    useEffect(() => {
        const { guest } = session;
        if (!guest?.meeting || !possible || led.current) return;
        led.current = true;
        keepSession({ ...session, guest: { ...guest, meeting: false } });
        start();
        // eslint-disable-next-line react-hooks/exhaustive-deps
    }, [session, possible]);
}

type Panel = "chat" | "people";

/** Whether the room's meeting is shown, and what is beside it. */
function useMeeting(client: MatrixClient, room: Room, observes: boolean) {
    const call = useCall(client, room, observes);
    const [open, setOpen] = useState(() => meetingOfTab() === room.roomId);
    const likely = call.others.length > 0;
    useEffect(() => {
        if (likely) MeetingView.preload(); // before somebody presses the button
    }, [likely]);
    const [panel, setPanel] = useState<Panel>();
    const [unread, setUnread] = useState(0);
    const unseen = open && panel !== "chat";
    useEffect(() => {
        if (!unseen) return setUnread(0);
        const me = client.getUserId();
        const count = (event: MatrixEvent, of: Room | undefined, atStart: boolean | undefined) => {
            if (of === room && !atStart && isMessage(event) && event.getSender() !== me && event.getType() !== "m.room.encrypted") setUnread((n) => n + 1);
        };
        const decrypted = (event: MatrixEvent) => event.getRoomId() === room.roomId && Date.now() - event.getTs() < 60_000 && count(event, room, false);
        room.on(RoomEvent.Timeline, count);
        client.on(MatrixEventEvent.Decrypted, decrypted);
        return () => {
            room.off(RoomEvent.Timeline, count);
            client.off(MatrixEventEvent.Decrypted, decrypted);
        };
    }, [client, room, unseen]);
    const close = useCallback(() => {
        setOpen(false);
        setPanel(undefined);
    }, []);
    return { call, open, panel, unread, setPanel, start: () => setOpen(true), close };
}

/** Catches what goes wrong in a meeting, as its files not being there: the room stays. */
class MeetingGuard extends Component<{ children: ReactNode; failed: string; retry: string; leaveLabel: string; leave: () => void }, { broken: boolean }> {
    override state = { broken: false };

    static getDerivedStateFromError() {
        return { broken: true };
    }

    override componentDidCatch(error: unknown) {
        console.error(error);
    }

    override render() {
        const { children, failed, retry, leave, leaveLabel } = this.props;
        if (!this.state.broken) return children;
        return (
            <div className="rl-waiting" role="alert">
                <p>{failed}</p>
                <div className="actions">
                    <button type="button" className="button" onClick={leave}>{leaveLabel}</button>
                    <button type="button" className="button main" onClick={() => location.reload()}>{retry}</button>
                </div>
            </div>
        );
    }
}

/** To the button; or to its message, whose buttons go when the focus does. */
function giveFocus({ button, row }: Picking) {
    (button.isConnected ? button : row)?.focus();
}

/** Reacts, or takes the reaction back. What fails is not kept: it would hold up the messages after it. */
async function react(client: MatrixClient, room: Room, event: MatrixEvent, key: string): Promise<void> {
    const id = event.getId()!;
    const mine = room.relations.getChildEventsForEvent(id, "m.annotation", "m.reaction")?.getRelations()
        .find((e) => e.getSender() === client.getUserId() && e.getRelation()?.key === key && !e.isRedacted());
    if (mine?.status) return; // on its way
    if (mine) await client.redactEvent(room.roomId, mine.getId()!);
    else await client.sendEvent(room.roomId, "m.reaction" as never, { "m.relates_to": { rel_type: "m.annotation", event_id: id, key } } as never);
}

/** Gives up edits, reactions and deletions that failed: nothing in the timeline would show them. */
function useUnseenFailures(client: MatrixClient, room: Room, editFailed: () => void) {
    const latest = useRef(editFailed);
    latest.current = editFailed;
    useEffect(() => {
        const look = (event: MatrixEvent) => {
            if (event.status !== EventStatus.NOT_SENT) return;
            const edit = event.isRelation("m.replace");
            if (!edit && !event.isRelation("m.annotation") && !event.isRedaction()) return;
            if (edit) latest.current();
            setTimeout(() => { if (event.status === EventStatus.NOT_SENT) client.cancelPendingEvent(event); });
        };
        room.on(RoomEvent.LocalEchoUpdated, look);
        return () => void room.off(RoomEvent.LocalEchoUpdated, look);
    }, [client, room]);
}

/** Sends what failed for want of a network when it is back. */
function useResending(client: MatrixClient, room: Room, connected: boolean) {
    useEffect(() => {
        if (!connected) return;
        for (const event of room.getPendingEvents()) {
            const refused = (event.error as { errcode?: string } | null)?.errcode;
            if (event.status === EventStatus.NOT_SENT && !refused) void client.resendEvent(event, room).catch(() => {});
        }
    }, [client, room, connected]);
}

/** Files that are dragged over the room. */
function useDrop(add: (files: Iterable<File>) => void) {
    const [depth, setDepth] = useState(0);
    const has = (e: DragEvent) => e.dataTransfer.types.includes("Files");
    return {
        over: depth > 0,
        handlers: {
            onDragEnter: (e: DragEvent) => { if (has(e)) { e.preventDefault(); setDepth((d) => d + 1); } },
            onDragOver: (e: DragEvent) => { if (has(e)) e.preventDefault(); },
            onDragLeave: (e: DragEvent) => { if (has(e)) setDepth((d) => Math.max(0, d - 1)); },
            onDrop: (e: DragEvent) => {
                if (!has(e)) return;
                e.preventDefault();
                setDepth(0);
                add(e.dataTransfer.files);
            },
        },
    };
}

function Typing({ client, room }: { client: MatrixClient; room: Room }) {
    const { t } = useTranslation();
    const typing = useTyping(client, room);
    const [a, b] = typing;
    const words = !a ? "" : !b ? t("room.typing.one", { who: a.name }) : typing.length === 2 ? t("room.typing.two", { who: a.name, other: b.name }) : t("room.typing.many");
    return <p className="rl-typing">{words && <><span className="rl-dots" aria-hidden="true"><i /><i /><i /></span>{words}</>}</p>;
}

/** Why one can't write here. */
function Silent({ room, me, observes }: { room: Room; me: string; observes: boolean }) {
    const { t } = useTranslation();
    const observer = observes || guestMark(room.getMember(me))?.role === "observer";
    const words = room.currentState.getStateEvents("m.room.tombstone", "") ? t("room.silent.replaced")
        : room.getMyMembership() !== "join" ? t("room.silent.left") : observer ? t("room.silent.observer") : t("room.silent.power");
    return <p className="rl-silent"><Icon name="lock" /><span>{words}</span></p>;
}

