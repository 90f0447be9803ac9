// Somebody rings: they began a meeting with few others, and want them in it now.

import { type MatrixClient, type MatrixEvent, MatrixEventEvent, RoomEvent } from "matrix-js-sdk";
import { MatrixRTCSessionManagerEvents } from "matrix-js-sdk/lib/matrixrtc/index.js";
import { useEffect, useState } from "react";

import { useTranslation } from "../i18n/index.tsx";
import { meetingOfTab } from "../meeting/presence.ts";
import { Icon } from "../parts/Icon.tsx";

interface Ring {
    readonly event: string;
    readonly roomId: string;
    readonly room: string;
    readonly who: string;
    readonly until: number;
}

const types = new Set(["org.matrix.msc4075.rtc.notification", "m.rtc.notification"]);
const longest = 90_000; // ms that a ring may last, whatever it says

/** The ring that an event is, if it is one for this person now. Spec: MSC4075 */
function ringOf(client: MatrixClient, event: MatrixEvent): Ring | undefined {
    const content = event.getContent(), me = client.getSafeUserId(), room = client.getRoom(event.getRoomId());
    const mentions = content["m.mentions"] as { user_ids?: unknown; room?: unknown } | undefined;
    const meant = mentions?.room === true || (Array.isArray(mentions?.user_ids) && mentions.user_ids.includes(me));
    if (!room || !types.has(event.getType()) || content.notification_type !== "ring" || event.getSender() === me || !meant || meetingOfTab() === room.roomId) return undefined;
    const until = event.getTs() + Math.min(typeof content.lifetime === "number" ? content.lifetime : 30_000, longest);
    return until > Date.now() ? { event: event.getId()!, roomId: room.roomId, room: room.name, who: event.sender?.name ?? event.getSender()!, until } : undefined;
}

export function Ringing({ client, onOpen }: { readonly client: MatrixClient; onOpen(roomId: string): void }) {
    const { t } = useTranslation();
    const [ring, setRing] = useState<Ring>();
    useEffect(() => {
        const look = (event: MatrixEvent) => {
            const next = ringOf(client, event);
            if (next) setRing(next);
        };
        const onTimeline = (event: MatrixEvent, _room: unknown, atStart: boolean | undefined) => !atStart && look(event);
        const over = (roomId: string) => setRing((now) => (now?.roomId === roomId ? undefined : now));
        client.on(RoomEvent.Timeline, onTimeline);
        client.on(MatrixEventEvent.Decrypted, look);
        client.matrixRTC.on(MatrixRTCSessionManagerEvents.SessionEnded, over);
        return () => {
            client.off(RoomEvent.Timeline, onTimeline);
            client.off(MatrixEventEvent.Decrypted, look);
            client.matrixRTC.off(MatrixRTCSessionManagerEvents.SessionEnded, over);
        };
    }, [client]);
    useEffect(() => {
        if (!ring) return;
        const timer = setTimeout(() => setRing(undefined), ring.until - Date.now());
        return () => clearTimeout(timer);
    }, [ring]);
    const decline = () => {
        if (!ring) return;
        setRing(undefined);
        void client.sendEvent(ring.roomId, "org.matrix.msc4310.rtc.decline" as never, { "m.relates_to": { rel_type: "m.reference", event_id: ring.event } } as never).catch(() => {});
    };
    return (
        <div role="alert" data-testid="meeting-ring">
            {ring && (
                <div className="toast ring">
                    <Icon name="phone" />
                    <span>{t("room.ring", { who: ring.who, room: ring.room })}</span>
                    <button type="button" className="button" onClick={decline}>{t("room.ring.decline")}</button>
                    <button type="button" className="button main" onClick={() => {
                        setRing(undefined);
                        onOpen(ring.roomId);
                    }}>{t("room.ring.open")}</button>
                </div>
            )}
        </div>
    );
}
