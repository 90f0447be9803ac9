// What the server says of a room's meeting, and what one may ask it to do there (/_roomline/client/v1/rooms/{roomId}/meeting).

import { type MatrixClient, type MatrixEvent, type Room, RoomStateEvent } from "matrix-js-sdk";
import { useCallback, useEffect, useState } from "react";

import { request } from "../api.ts";

export type Action =
    | "mute" | "mute_all" | "stop" | "remove" | "lock" | "unlock" | "lobby" | "admit" | "deny" | "role" | "publish" | "lower_hand" | "end"
    | "recording/start" | "recording/stop" | "recording/consent";

export interface Waiting {
    readonly user_id: string;
    readonly name?: string;
    readonly since_ts?: number;
}

export interface Info {
    readonly state?: { readonly lobby?: "nobody" | "guests" | "everybody"; readonly locked?: boolean; readonly title?: string };
    readonly you?: { readonly role?: string; readonly may?: readonly string[] };
    readonly waiting?: readonly Waiting[];
}

export interface Recording {
    readonly state: "asking" | "recording" | "stopped" | "failed";
    readonly id: string;
    readonly by: string;
}

const path = (room: Room) => `/_roomline/client/v1/rooms/${encodeURIComponent(room.roomId)}/meeting`;

/** Has the server do something in a meeting. */
export async function act(client: MatrixClient, room: Room, action: Action, body: object = {}): Promise<void> {
    await request("POST", `${path(room)}/${action}`, body, client.getAccessToken() ?? undefined);
}

const told = new Set(["org.roomline.meeting", "org.roomline.recording", "m.room.power_levels", "m.room.member"]);

/** What the server says of the meeting, asked anew when something changed. Undefined where it says nothing. */
export function useInfo(client: MatrixClient, room: Room): { info?: Info; refresh(): void } {
    const [info, setInfo] = useState<Info>();
    const refresh = useCallback(() => {
        request<Info>("GET", path(room), undefined, client.getAccessToken() ?? undefined).then(setInfo, () => {});
    }, [client, room]);
    useEffect(() => {
        let timer: ReturnType<typeof setTimeout> | undefined;
        const onState = (event: MatrixEvent) => {
            if (!told.has(event.getType())) return;
            clearTimeout(timer);
            timer = setTimeout(refresh, 300);
        };
        refresh();
        room.on(RoomStateEvent.Events, onState);
        return () => {
            clearTimeout(timer);
            room.off(RoomStateEvent.Events, onState);
        };
    }, [room, refresh]);
    return { info, refresh };
}

/** The recording that the room's state speaks of. */
export function recordingOf(room: Room): Recording | undefined {
    const event = room.currentState.getStateEvents("org.roomline.recording", "");
    const content = event?.getContent();
    if (!event || !["asking", "recording", "stopped", "failed"].includes(content?.state)) return undefined;
    const by = typeof content!.by === "string" ? content!.by : event.getSender()!;
    return { state: content!.state, id: String(content!.recording_id ?? event.getId()), by: room.getMember(by)?.name ?? by };
}
