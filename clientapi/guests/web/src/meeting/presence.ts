// Who is in a room's meeting, and whether one may join it: what the room's head shows. In the first load; the meeting itself is not.

import { type MatrixClient, type MatrixEvent, type Room, RoomStateEvent } from "matrix-js-sdk";
import { type CallMembership, MatrixRTCSession } from "matrix-js-sdk/lib/matrixrtc/index.js";
import { useLayoutEffect, useState } from "react";

import { Refused, request } from "../api.ts";

/** The state event that says that a device is in the call; an older form of m.rtc.member, which all clients know. */
export const callMember = "org.matrix.msc3401.call.member";

export const identityOf = (membership: CallMembership): string => `${membership.sender}:${membership.deviceId}`;

/** Where meetings are held: what memberships name, and who asks for a token. */
export interface Transport {
    readonly type: "livekit";
    readonly livekit_service_url: string;
}

const transports = new WeakMap<MatrixClient, Promise<Transport | undefined>>();

/**
 * The server's transport; undefined if it has no meetings.
 *
 * Spec: MSC4143, GET /rtc/transports
 */
export function transportOf(client: MatrixClient): Promise<Transport | undefined> {
    let known = transports.get(client);
    if (!known) {
        known = ask(client);
        transports.set(client, known);
        known.catch((error: unknown) => {
            if (!(error instanceof Refused && error.status === 404)) transports.delete(client); // asked again the next time
        });
    }
    return known.catch(() => undefined);
}

async function ask(client: MatrixClient): Promise<Transport | undefined> {
    if (!await client.doesServerSupportUnstableFeature("org.matrix.msc4143")) return undefined;
    const { rtc_transports: all } = await request<{ rtc_transports?: readonly Partial<Transport>[] }>(
        "GET", "/_matrix/client/unstable/org.matrix.msc4143/rtc/transports", undefined, client.getAccessToken() ?? undefined);
    return all?.find((one): one is Transport => one.type === "livekit" && typeof one.livekit_service_url === "string");
}

/** Calls update when somebody's membership changes, or ends because its time is over. */
export function watchCall(room: Room, update: (memberships: readonly CallMembership[]) => void): () => void {
    let timer: ReturnType<typeof setTimeout> | undefined, stopped = false;
    const look = () => {
        if (stopped) return;
        clearTimeout(timer);
        const memberships = MatrixRTCSession.callMembershipsForRoom(room);
        const next = Math.min(...memberships.map((one) => one.getMsUntilExpiry()));
        if (Number.isFinite(next)) timer = setTimeout(look, Math.min(next + 50, 0x7fffffff));
        update(memberships);
    };
    const onState = (event: MatrixEvent) => (event.getType() === callMember || event.getType() === "m.room.member") && look();
    room.on(RoomStateEvent.Events, onState);
    look();
    return () => {
        stopped = true;
        clearTimeout(timer);
        room.off(RoomStateEvent.Events, onState);
    };
}

export interface Call {
    /** Whether the server holds meetings, and this room may have one. */
    readonly possible: boolean;
    /** Who is in it, each once, but not this device. */
    readonly others: readonly string[];
    readonly since?: number;
}

const none: Call = { possible: false, others: [] };

/** The call of a room, as its head shows it. */
export function useCall(client: MatrixClient, room: Room, observes: boolean): Call {
    const [call, setCall] = useState(none);
    useLayoutEffect(() => {
        const me = `${client.getSafeUserId()}:${client.getDeviceId()}`;
        let possible = false, over = false;
        const look = (memberships: readonly CallMembership[]) => {
            const others = memberships.filter((one) => identityOf(one) !== me);
            const may = observes ? others.length > 0 : room.currentState.maySendStateEvent(callMember, client.getSafeUserId());
            setCall({ possible: possible && may, others: [...new Set(others.map((one) => one.sender!))], since: memberships[0]?.createdTs() });
        };
        const stop = watchCall(room, look);
        const powers = (event: MatrixEvent) => event.getType() === "m.room.power_levels" && look(MatrixRTCSession.callMembershipsForRoom(room));
        room.on(RoomStateEvent.Events, powers);
        void transportOf(client).then((transport) => {
            possible = transport !== undefined;
            if (!over) look(MatrixRTCSession.callMembershipsForRoom(room));
        });
        return () => {
            over = true;
            stop();
            room.off(RoomStateEvent.Events, powers);
        };
    }, [client, room, observes]);
    return call;
}

const going = "roomline.meeting";

/** The meeting that this tab is in, so that it is there again after a reload. */
export const meetingOfTab = (): string | null => sessionStorage.getItem(going);
export const keepMeetingOfTab = (roomId: string): void => sessionStorage.setItem(going, roomId);
export const dropMeetingOfTab = (): void => sessionStorage.removeItem(going);
