import { ClientEvent, type MatrixClient, NotificationCountType, type Room, RoomEvent } from "matrix-js-sdk";
import { MatrixRTCSessionManagerEvents } from "matrix-js-sdk/lib/matrixrtc/index.js";
import { useEffect, useState } from "react";

import { useTranslation } from "../i18n/index.tsx";
import { Avatar } from "../parts/Avatar.tsx";
import { LanguageChoice } from "../parts/Frame.tsx";
import { Icon } from "../parts/Icon.tsx";

interface RoomsProps {
    readonly client: MatrixClient;
    readonly open?: string;
    onOpen(roomId: string): void;
    /** Shows the meetings; absent for guests. */
    onMeetings?(): void;
    onSignOut(): void;
}

interface Listed {
    readonly id: string;
    readonly name: string;
    readonly unread: number;
    readonly mentioned: boolean;
    readonly ts: number;
    readonly last: string;
    readonly invitedBy?: string;
    readonly meeting: boolean;
}

/** The rooms that one is in or invited to, the last written in first. */
export function Rooms({ client, open, onOpen, onMeetings, onSignOut }: RoomsProps) {
    const { t } = useTranslation();
    const { rooms, synced } = useRooms(client);
    const [wanted, setWanted] = useState("");
    const words = wanted.trim().toLocaleLowerCase();
    const found = rooms.filter(({ name, invitedBy }) => invitedBy === undefined && name.toLocaleLowerCase().includes(words));
    const invites = rooms.filter(({ invitedBy }) => invitedBy !== undefined);
    const me = client.getUser(client.getUserId()!)?.displayName ?? client.getUserId()!;
    return (
        <nav className="rooms" aria-label={t("rooms.title")}>
            {open === undefined && <h1 className="visually-hidden">{t("rooms.title")}</h1>}
            <header className="rooms-head">
                <Avatar name={me} />
                <span className="rooms-me">{me}</span>
                {onMeetings && <button type="button" className="icon-button" aria-label={t("rooms.meetings")} title={t("rooms.meetings")} onClick={onMeetings}><Icon name="calendar" /></button>}
                <button type="button" className="icon-button" aria-label={t("signout.submit")} title={t("signout.submit")} onClick={onSignOut}><Icon name="door" /></button>
            </header>
            <div className="rooms-search">
                <Icon name="search" />
                <input type="search" className="input" aria-label={t("rooms.search")} placeholder={t("rooms.search")} value={wanted}
                    onChange={({ target }) => setWanted(target.value)} />
            </div>
            <div className="rooms-list">
                {invites.length > 0 && <Invites client={client} invites={invites} onOpen={onOpen} />}
                <ul>
                    {found.map((room) => (
                        <li key={room.id}>
                            <RoomButton room={room} current={room.id === open} onOpen={() => onOpen(room.id)} />
                        </li>
                    ))}
                </ul>
                <p role="status" className="rooms-none muted small">
                    {!synced ? t("app.loading") : rooms.length === 0 ? t("rooms.none") : words !== "" && found.length === 0 ? t("rooms.notfound", { wanted }) : ""}
                </p>
            </div>
            <footer className="rooms-foot"><LanguageChoice /></footer>
        </nav>
    );
}

function RoomButton({ room, current, onOpen }: { readonly room: Listed; readonly current: boolean; onOpen(): void }) {
    const { t, date } = useTranslation();
    const today = new Date(room.ts).toDateString() === new Date().toDateString();
    return (
        <button type="button" className="room-button" aria-current={current ? "page" : undefined} onClick={onOpen}>
            <Avatar name={room.name} />
            <span className="room-button-text">
                <span className="room-button-line">
                    <span className="room-button-name">{room.name}</span>
                    {room.meeting && <span className="tag good">{t("room.meet.call")}</span>}
                    {room.ts > 0 && <time className="muted small">{date(room.ts, today ? { timeStyle: "short" } : { day: "numeric", month: "short" })}</time>}
                </span>
                <span className="room-button-line">
                    <span className="room-button-last muted small">{room.last}</span>
                    {room.unread > 0 && (
                        <span className={room.mentioned ? "badge mentioned" : "badge"}>
                            <span aria-hidden="true">{room.unread > 99 ? "99+" : room.unread}</span>
                            <span className="visually-hidden">{t("rooms.unread", { count: room.unread })}</span>
                        </span>
                    )}
                </span>
            </span>
        </button>
    );
}

function Invites({ client, invites, onOpen }: { readonly client: MatrixClient; readonly invites: readonly Listed[]; onOpen(roomId: string): void }) {
    const { t } = useTranslation();
    const [busy, setBusy] = useState("");
    const [failed, setFailed] = useState("");
    const answer = async (id: string, accept: boolean) => {
        setBusy(id);
        setFailed("");
        try {
            await (accept ? client.joinRoom(id) : client.leave(id));
            if (accept) onOpen(id);
        } catch {
            setFailed(id);
        } finally {
            setBusy("");
        }
    };
    return (
        <section className="rooms-invites" aria-label={t("rooms.invites")}>
            <h2>{t("rooms.invites")}</h2>
            <ul>
                {invites.map(({ id, name, invitedBy }) => (
                    <li key={id}>
                        <p><strong>{name}</strong><br /><span className="muted small">{t("rooms.invited", { inviter: invitedBy! })}</span></p>
                        <div className="actions">
                            <button type="button" className="button plain" disabled={busy === id} onClick={() => void answer(id, false)}>{t("rooms.decline")}</button>
                            <button type="button" className="button main" disabled={busy === id} onClick={() => void answer(id, true)}>{t("rooms.accept")}</button>
                        </div>
                        {failed === id && <p role="alert" className="notice danger">{t("problem.server")}</p>}
                    </li>
                ))}
            </ul>
        </section>
    );
}

/** The list, brought up to date at most ten times a second. */
function useRooms(client: MatrixClient): { rooms: readonly Listed[]; synced: boolean } {
    const [rooms, setRooms] = useState<readonly Listed[]>([]);
    const [synced, setSynced] = useState(client.isInitialSyncComplete());
    useEffect(() => {
        let timer: ReturnType<typeof setTimeout> | undefined;
        const update = () => {
            timer ??= setTimeout(() => {
                timer = undefined;
                setRooms(listRooms(client));
                setSynced(client.isInitialSyncComplete());
            }, 100);
        };
        const roomEvents = [RoomEvent.Timeline, RoomEvent.Name, RoomEvent.MyMembership, RoomEvent.Receipt] as const;
        for (const event of roomEvents) client.on(event, update);
        client.on(ClientEvent.Room, update);
        client.on(ClientEvent.Sync, update);
        const meetings = [MatrixRTCSessionManagerEvents.SessionStarted, MatrixRTCSessionManagerEvents.SessionEnded] as const;
        for (const event of meetings) client.matrixRTC.on(event, update);
        update();
        return () => {
            clearTimeout(timer);
            for (const event of roomEvents) client.off(event, update);
            client.off(ClientEvent.Room, update);
            client.off(ClientEvent.Sync, update);
            for (const event of meetings) client.matrixRTC.off(event, update);
        };
    }, [client]);
    return { rooms, synced };
}

function listRooms(client: MatrixClient): readonly Listed[] {
    return client.getVisibleRooms()
        .filter((room) => !room.isSpaceRoom() && ["join", "invite"].includes(room.getMyMembership()))
        .map((room) => listed(client, room))
        .sort((a, b) => b.ts - a.ts);
}

function listed(client: MatrixClient, room: Room): Listed {
    const invite = room.getMyMembership() === "invite";
    const inviter = invite ? room.currentState.getMember(client.getUserId()!)?.events.member?.getSender() : undefined;
    const last = room.getLiveTimeline().getEvents().findLast((event) => ["m.room.message", "m.sticker", "m.room.encrypted"].includes(event.getType()) && !event.isRedacted());
    const body: unknown = last?.getContent().body;
    return {
        id: room.roomId,
        name: room.name,
        unread: room.getUnreadNotificationCount(NotificationCountType.Total),
        mentioned: room.getUnreadNotificationCount(NotificationCountType.Highlight) > 0,
        ts: last?.getTs() ?? 0,
        last: typeof body === "string" ? `${last!.sender?.name ?? last!.getSender()}: ${body.slice(0, 120)}` : "",
        meeting: !invite && (client.matrixRTC.getActiveRoomSession(room)?.memberships.length ?? 0) > 0,
        invitedBy: invite ? room.getMember(inviter ?? "")?.name ?? inviter ?? "" : undefined,
    };
}
