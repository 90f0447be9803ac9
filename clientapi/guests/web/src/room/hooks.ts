// How components follow what the SDK knows.

import { useEffect, useLayoutEffect, useReducer, useRef, useState } from "react";
import {
    ClientEvent, MatrixEventEvent, RelationsEvent, RoomEvent, RoomMemberEvent, RoomStateEvent, SyncState,
    type MatrixClient, type MatrixEvent, type Relations, type Room, type RoomMember,
} from "matrix-js-sdk";

const count = (n: number) => n + 1;

/** Draws again, at most once for each picture of the screen. */
export function useRedraw(): [number, () => void] {
    const [version, bump] = useReducer(count, 0);
    const [later] = useState(() => {
        let waiting = false;
        return () => {
            if (waiting) return;
            waiting = true;
            const run = () => {
                waiting = false;
                bump();
            };
            if (document.hidden) setTimeout(run, 50); // there are no pictures of a hidden page
            else requestAnimationFrame(run);
        };
    });
    return [version, later];
}

/** The room, when the client has it. */
export function useRoom(client: MatrixClient, roomId: string): Room | null {
    const [room, setRoom] = useState(() => client.getRoom(roomId));
    useLayoutEffect(() => {
        const look = () => setRoom(client.getRoom(roomId));
        look();
        client.on(ClientEvent.Room, look);
        client.on(ClientEvent.Sync, look);
        return () => {
            client.off(ClientEvent.Room, look);
            client.off(ClientEvent.Sync, look);
        };
    }, [client, roomId]);
    return room;
}

/** A number that grows when something in the timeline changed. */
export function useTimelineVersion(client: MatrixClient, room: Room): number {
    const [version, later] = useRedraw();
    useEffect(() => {
        const mine = (event: MatrixEvent | undefined) => event?.getRoomId() === room.roomId && later();
        later(); // what came since the first drawing
        room.on(RoomEvent.Timeline, later);
        room.on(RoomEvent.TimelineReset, later);
        room.on(RoomEvent.LocalEchoUpdated, later);
        room.on(RoomEvent.Redaction, later);
        client.on(MatrixEventEvent.Decrypted, mine);
        return () => {
            room.off(RoomEvent.Timeline, later);
            room.off(RoomEvent.TimelineReset, later);
            room.off(RoomEvent.LocalEchoUpdated, later);
            room.off(RoomEvent.Redaction, later);
            client.off(MatrixEventEvent.Decrypted, mine);
        };
    }, [client, room, later]);
    return version;
}

/** A number that grows when the room's name, state or members changed. */
export function useStateVersion(room: Room): number {
    const [version, later] = useRedraw();
    useEffect(() => {
        const names = [RoomEvent.Name, RoomEvent.MyMembership, RoomEvent.Summary, RoomStateEvent.Update, RoomStateEvent.Members] as const;
        for (const name of names) room.on(name, later);
        return () => {
            for (const name of names) room.off(name, later);
        };
    }, [room, later]);
    return version;
}

export function useReceiptVersion(room: Room): number {
    const [version, later] = useRedraw();
    useEffect(() => {
        room.on(RoomEvent.Receipt, later);
        return () => void room.off(RoomEvent.Receipt, later);
    }, [room, later]);
    return version;
}

/** What of an event can be seen, and changes. */
const looks = (event: MatrixEvent) =>
    [event.getId(), event.status, event.getType(), event.replacingEventId(), event.isRedacted(), event.isDecryptionFailure()].join(" ");

/** Draws again when an event is decrypted, edited, sent or redacted. */
export function useEventVersion(event: MatrixEvent): number {
    const [version, later] = useRedraw();
    const drawn = useRef("");
    drawn.current = looks(event);
    useEffect(() => {
        // It may have changed between the drawing and now: without a network, sending fails that fast.
        if (looks(event) !== drawn.current) later();
        const names = [MatrixEventEvent.Decrypted, MatrixEventEvent.Replaced, MatrixEventEvent.Status, MatrixEventEvent.BeforeRedaction,
            MatrixEventEvent.LocalEventIdReplaced] as const;
        for (const name of names) event.on(name, later);
        return () => {
            for (const name of names) event.off(name, later);
        };
    }, [event, later]);
    return version;
}

export interface Reaction {
    key: string;
    senders: string[];
    /** The event with which I reacted. */
    mine?: MatrixEvent;
}

/** The reactions to an event, the most frequent first. */
export function useReactions(client: MatrixClient, room: Room, event: MatrixEvent): Reaction[] {
    const [, later] = useRedraw();
    const id = event.getId()!;
    const [relations, setRelations] = useState<Relations | undefined>();
    useEffect(() => {
        const find = () => setRelations(room.relations.getChildEventsForEvent(id, "m.annotation", "m.reaction"));
        find();
        event.on(MatrixEventEvent.RelationsCreated, find);
        return () => void event.off(MatrixEventEvent.RelationsCreated, find);
    }, [room, event, id]);
    useEffect(() => {
        if (!relations) return;
        later();
        relations.on(RelationsEvent.Add, later);
        relations.on(RelationsEvent.Remove, later);
        relations.on(RelationsEvent.Redaction, later);
        return () => {
            relations.off(RelationsEvent.Add, later);
            relations.off(RelationsEvent.Remove, later);
            relations.off(RelationsEvent.Redaction, later);
        };
    }, [relations, later]);
    if (!relations || event.isRedacted()) return [];
    const me = client.getUserId();
    return (relations.getSortedAnnotationsByKey() ?? []).flatMap(([key, events]) => {
        const living = [...events].filter((e) => !e.isRedacted());
        if (living.length === 0 || typeof key !== "string") return [];
        return [{ key, senders: [...new Set(living.map((e) => e.getSender()!))], mine: living.find((e) => e.getSender() === me) }];
    });
}

/** Who is typing, but me. */
export function useTyping(client: MatrixClient, room: Room): RoomMember[] {
    const [typing, setTyping] = useState<RoomMember[]>([]);
    useEffect(() => {
        const me = client.getUserId();
        const look = (_: MatrixEvent | undefined, member?: RoomMember) => {
            if (member && member.roomId !== room.roomId) return;
            setTyping(room.getJoinedMembers().filter((m) => m.typing && m.userId !== me));
        };
        look(undefined);
        client.on(RoomMemberEvent.Typing, look);
        return () => void client.off(RoomMemberEvent.Typing, look);
    }, [client, room]);
    return typing;
}

/** Whether the server is reached. */
export function useConnected(client: MatrixClient): boolean {
    const [lost, setLost] = useState(false), [offline, setOffline] = useState(!navigator.onLine);
    useEffect(() => {
        const look = (state: SyncState) => setLost(state === SyncState.Reconnecting || state === SyncState.Error);
        const network = () => setOffline(!navigator.onLine);
        client.on(ClientEvent.Sync, look);
        addEventListener("online", network);
        addEventListener("offline", network);
        return () => {
            client.off(ClientEvent.Sync, look);
            removeEventListener("online", network);
            removeEventListener("offline", network);
        };
    }, [client]);
    return !lost && !offline;
}

/** Whether the page is seen. */
export function useVisible(): boolean {
    const [visible, setVisible] = useState(!document.hidden);
    useEffect(() => {
        const look = () => setVisible(!document.hidden);
        document.addEventListener("visibilitychange", look);
        return () => document.removeEventListener("visibilitychange", look);
    }, []);
    return visible;
}
