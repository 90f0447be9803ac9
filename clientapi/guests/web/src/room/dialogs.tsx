// Questions and details over the room.

import { useContext, useEffect, useState } from "react";
import type { MatrixEvent } from "matrix-js-sdk";

import { useTranslation } from "../i18n/index.tsx";
import { Dialog } from "../parts/Dialog.tsx";
import { RoomContext } from "./context.ts";
import { summary } from "./message.tsx";
import { linkify } from "./richtext.tsx";

/** Asks before a message is deleted, and says so if the server refuses. */
export function DeleteDialog({ event, close }: { event: MatrixEvent; close: () => void }) {
    const { client, room } = useContext(RoomContext);
    const { t } = useTranslation();
    const [state, setState] = useState<"" | "busy" | "refused" | "failed">("");
    const go = async () => {
        setState("busy");
        const id = event.getId()!;
        try {
            await client.redactEvent(room.roomId, id);
            close();
        } catch (error) {
            for (const pending of room.getPendingEvents().filter((e) => e.isRedaction() && e.event.redacts === id)) {
                try { client.cancelPendingEvent(pending); } catch { /* it is on its way again */ }
            }
            setState((error as { errcode?: string }).errcode === "M_FORBIDDEN" ? "refused" : "failed");
        }
    };
    return (
        <Dialog title={t("room.delete.ask")} onClose={close}>
            <blockquote className="rl-cited">{summary(event, t).slice(0, 300)}</blockquote>
            <p>{t("room.delete.what")}</p>
            {(state === "refused" || state === "failed") && <p className="notice danger" role="alert">{t(state === "refused" ? "room.delete.refused" : "room.delete.failed")}</p>}
            <div className="actions">
                <button type="button" className="button" onClick={close}>{t("app.cancel")}</button>
                {state !== "refused" && (
                    <button type="button" className="button danger" onClick={() => void go()} disabled={state === "busy"} autoFocus>{t("room.delete")}</button>
                )}
            </div>
        </Dialog>
    );
}

/** What a message said before it was edited. */
export function HistoryDialog({ event, close }: { event: MatrixEvent; close: () => void }) {
    const { client, room } = useContext(RoomContext);
    const { t, date } = useTranslation();
    const [versions, setVersions] = useState<{ ts: number; text: string }[]>();
    const [failed, setFailed] = useState(false);
    useEffect(() => {
        let here = true;
        const first = { ts: event.getTs(), text: String(event.getOriginalContent().body ?? "") };
        client.relations(room.roomId, event.getId()!, "m.replace", null, { limit: 50 }).then(({ events }) => {
            const later = events.filter((e) => e.getSender() === event.getSender() && !e.isRedacted())
                .map((e) => ({ ts: e.getTs(), text: String(e.getContent()["m.new_content"]?.body ?? "") }));
            if (here) setVersions([first, ...later].sort((a, b) => b.ts - a.ts));
        }, () => here && setFailed(true));
        return () => { here = false; };
    }, [client, room, event]);
    return (
        <Dialog title={t("room.edited.title")} onClose={close}>
            {failed ? <p className="notice danger" role="alert">{t("room.edited.failed")}</p> : !versions ? <span className="spinner" role="status" aria-label={t("app.loading")} /> : (
                <ol className="rl-versions">
                    {versions.map(({ ts, text }, i) => (
                        <li key={i}>
                            <time dateTime={new Date(ts).toISOString()}>{date(ts, { dateStyle: "medium", timeStyle: "short" })}{i === 0 ? ` · ${t("room.edited.now")}` : ""}</time>
                            <p className="rl-text">{linkify(text)}</p>
                        </li>
                    ))}
                </ol>
            )}
        </Dialog>
    );
}

export function LeaveDialog({ close, leave }: { close: () => void; leave: () => Promise<unknown> }) {
    const { room } = useContext(RoomContext);
    const { t } = useTranslation();
    const [state, setState] = useState<"" | "busy" | "failed">("");
    return (
        <Dialog title={t("room.leave.ask", { name: room.name })} onClose={close}>
            <p>{t("room.leave.what")}</p>
            {state === "failed" && <p className="notice danger" role="alert">{t("room.leave.failed")}</p>}
            <div className="actions">
                <button type="button" className="button" onClick={close}>{t("app.cancel")}</button>
                <button type="button" className="button danger" disabled={state === "busy"} onClick={() => {
                    setState("busy");
                    leave().then(close, () => setState("failed"));
                }}>{t("room.leave")}</button>
            </div>
        </Dialog>
    );
}
