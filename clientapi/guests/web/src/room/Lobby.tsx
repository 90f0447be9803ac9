// A guest waits to be let into a room: they have knocked, and a moderator decides.

import { type MatrixClient, type Room, RoomEvent } from "matrix-js-sdk";
import { useEffect, useState } from "react";

import { useTranslation } from "../i18n/index.tsx";
import { Message } from "../parts/Frame.tsx";
import type { Organisation } from "../session.ts";
import { useRoom } from "./hooks.ts";

interface LobbyProps {
    readonly client: MatrixClient;
    readonly roomId: string;
    readonly organisation?: Organisation;
    onIn(): void;
    onLeave(): void;
}

export function Lobby({ client, roomId, organisation, onIn, onLeave }: LobbyProps) {
    const { t } = useTranslation();
    const room = useRoom(client, roomId);
    const membership = useMembership(room);
    useEffect(() => {
        if (membership === "join") onIn();
        // Whoever lets people in with another client invites them.
        if (membership === "invite") void client.joinRoom(roomId).catch((error: unknown) => console.error(error));
    }, [client, roomId, membership, onIn]);
    const leave = <button type="button" className="button" onClick={onLeave}>{t("room.waiting.leave")}</button>;
    if (membership === "leave" || membership === "ban") {
        return <Message icon="door" title={t("room.waiting.denied.title")} organisation={organisation} actions={leave}><p>{t("room.waiting.denied.text")}</p></Message>;
    }
    return (
        <div data-testid="meeting-waiting" className="lobby">
            <Message icon="clock" title={t("room.waiting.title")} organisation={organisation} actions={leave}>
                <p role="status">{t("room.waiting.text")}</p>
                <span className="spinner" aria-hidden="true" />
            </Message>
        </div>
    );
}

function useMembership(room: Room | null): string | undefined {
    const [membership, setMembership] = useState(room?.getMyMembership());
    useEffect(() => {
        if (!room) return;
        const look = () => setMembership(room.getMyMembership());
        look();
        room.on(RoomEvent.MyMembership, look);
        return () => void room.off(RoomEvent.MyMembership, look);
    }, [room]);
    return membership;
}
