import { type MatrixClient, RoomEvent } from "matrix-js-sdk";
import { lazy, Suspense, useCallback, useEffect, useState } from "react";

import type { Running } from "./client.ts";
import { useTranslation } from "./i18n/index.tsx";
import type { EndedHow } from "./invitation/Problems.tsx";
import { InviteDialog } from "./member/InviteDialog.tsx";
import { Ringing } from "./member/Ringing.tsx";
import { Rooms } from "./member/Rooms.tsx";
import { Icon } from "./parts/Icon.tsx";
import { Lobby } from "./room/Lobby.tsx";
import RoomView from "./room/RoomView.tsx";
import { expiryOf, keepSession, type Session } from "./session.ts";

const PlanDialog = lazy(() => import("./plan/PlanDialog.tsx"));

interface InsideProps {
    readonly running: Running;
    readonly session: Session;
    /** Out for good: the guest has left, or was removed. */
    onOut(how: EndedHow): void;
    onSignOut(): void;
}

/** What is seen of a session: a guest's room, or a member's rooms. */
export default function Inside({ running, session, onOut, onSignOut }: InsideProps) {
    const { client } = running;
    const joined = useJoined(client);
    const { guest } = session;
    const [waiting, setWaiting] = useState(guest?.waiting === true && client.getRoom(guest.roomId)?.getMyMembership() !== "join");
    const onIn = useCallback(() => {
        keepSession({ ...session, guest: { ...session.guest!, waiting: false } });
        setWaiting(false);
    }, [session]);
    if (guest && waiting) return <Lobby client={client} roomId={guest.roomId} organisation={guest.organisation} onIn={onIn} onLeave={() => onOut("left")} />;
    if (guest && joined <= 1) {
        return (
            <>
                <RoomView key={guest.roomId} client={client} session={session} roomId={guest.roomId} organisation={guest.organisation}
                    onEnded={onOut} onSignOut={onSignOut} />
                <Expiry client={client} session={session} />
            </>
        );
    }
    return <RoomsAndRoom client={client} session={session} onSignOut={onSignOut} />;
}

/** How many rooms the person is in. */
function useJoined(client: MatrixClient): number {
    const count = () => client.getRooms().filter((room) => room.getMyMembership() === "join").length;
    const [joined, setJoined] = useState(count);
    useEffect(() => {
        const update = () => setJoined(count());
        client.on(RoomEvent.MyMembership, update);
        update();
        return () => void client.off(RoomEvent.MyMembership, update);
    }, [client]);
    return joined;
}

/** A list of rooms and the one that is open, side by side where there is the space. The browser's back button leads to the list. */
function RoomsAndRoom({ client, session, onSignOut }: { readonly client: MatrixClient; readonly session: Session; onSignOut(): void }) {
    const { t } = useTranslation();
    const [roomId, setRoomId] = useState<string | undefined>(() => openRoom(history.state) ?? session.guest?.roomId);
    const [inviting, setInviting] = useState(false);
    const [planning, setPlanning] = useState(false);
    useEffect(() => {
        const onPop = ({ state }: PopStateEvent) => setRoomId(openRoom(state));
        addEventListener("popstate", onPop);
        return () => removeEventListener("popstate", onPop);
    }, []);
    const open = (id: string) => {
        if (id === roomId) return;
        if (roomId === undefined) history.pushState({ room: id }, "");
        else history.replaceState({ room: id }, "");
        setRoomId(id);
    };
    const close = () => {
        history.replaceState(null, "");
        setRoomId(undefined);
    };
    const me = client.getUserId()!;
    const narrow = useNarrow();
    return (
        <>
            <div className={roomId ? "member open" : "member"}>
                <div className="member-list" role={narrow && !roomId ? "main" : undefined}>
                    <Rooms client={client} open={roomId} onOpen={open} onMeetings={session.guest ? undefined : () => setPlanning(true)} onSignOut={onSignOut} />
                </div>
                <div className="member-room">
                    {roomId
                        ? (
                            <RoomView key={roomId} client={client} session={session} roomId={roomId} organisation={session.guest?.organisation} onBack={narrow ? close : undefined}
                                onInvite={!session.guest && client.getRoom(roomId)?.canInvite(me) ? () => setInviting(true) : undefined}
                                onEnded={close} onSignOut={onSignOut} />
                        )
                        : <main className="member-empty"><p className="muted">{t("rooms.choose")}</p></main>}
                </div>
                {inviting && roomId && <InviteDialog client={client} roomId={roomId} onClose={() => setInviting(false)} />}
                {planning && <Suspense><PlanDialog client={client} onOpen={open} onClose={() => setPlanning(false)} /></Suspense>}
            </div>
            <Ringing client={client} onOpen={open} />
        </>
    );
}

/** Whether there is space for the list or the room only, as in member.css. */
function useNarrow(): boolean {
    const [query] = useState(() => matchMedia("(max-width: 48rem)"));
    const [narrow, setNarrow] = useState(query.matches);
    useEffect(() => {
        const update = () => setNarrow(query.matches);
        query.addEventListener("change", update);
        return () => query.removeEventListener("change", update);
    }, [query]);
    return narrow;
}

const openRoom = (state: unknown): string | undefined => (state as { room?: string } | null)?.room;

const warnBefore = 30 * 60_000; // ms

/** Says in time that a guest's access ends. Whoever invited may extend it, and then the member event says so. */
function Expiry({ client, session }: { readonly client: MatrixClient; readonly session: Session }) {
    const { t, ago } = useTranslation();
    const [ends, setEnds] = useState<number>();
    const [closed, setClosed] = useState(false);
    const [now, setNow] = useState(Date.now);
    useEffect(() => {
        const look = () => {
            setEnds(expiryOf(client, session));
            setNow(Date.now());
        };
        look();
        const timer = setInterval(look, 20_000);
        return () => clearInterval(timer);
    }, [client, session]);
    const soon = ends !== undefined && ends > now && ends - now < warnBefore && !closed;
    return (
        <div role="status">
            {soon && (
                <p className="toast">
                    <Icon name="clock" />
                    <span>{t("room.ends", { when: ago(ends, now) })}</span>
                    <button type="button" className="icon-button" aria-label={t("app.close")} onClick={() => setClosed(true)}><Icon name="close" /></button>
                </p>
            )}
        </div>
    );
}
