import type { MatrixClient } from "matrix-js-sdk";
import { useMemo, useState } from "react";

import { isUnreachable } from "../api.ts";
import { useTranslation, yearOf } from "../i18n/index.tsx";
import { LinkToCopy, Loaded, useListed, whatIsWrong, type Wrong } from "../member/listed.tsx";
import { Dialog } from "../parts/Dialog.tsx";
import { Failure } from "../parts/Field.tsx";
import { Icon } from "../parts/Icon.tsx";
import { Tabs } from "../parts/Tabs.tsx";
import { Arrange } from "./Arrange.tsx";
import { type Meeting, meetingsOf, rhythmOf } from "./meetings.ts";
import { useWords } from "./words.ts";

interface PlanProps {
    readonly client: MatrixClient;
    /** Shows the room of a meeting. */
    onOpen(roomId: string): void;
    onClose(): void;
}

const tabs = ["upcoming", "new", "own"] as const;
type Tab = (typeof tabs)[number];

/** A member's meetings: what comes up, arranging one more, and the own meeting room. */
export default function PlanDialog({ client, onOpen, onClose }: PlanProps) {
    const t = useWords();
    const calls = useMemo(() => meetingsOf(client), [client]);
    const { t: page } = useTranslation();
    const [tab, setTab] = useState<Tab>("upcoming");
    const [failed, setFailed] = useState<"problem.offline.short" | "problem.server">();
    const open = async (roomId: string) => {
        setFailed(undefined);
        try {
            if (client.getRoom(roomId)?.getMyMembership() !== "join") await client.joinRoom(roomId);
        } catch (error) {
            return setFailed(isUnreachable(error) ? "problem.offline.short" : "problem.server");
        }
        onOpen(roomId);
        onClose();
    };
    return (
        <Dialog title={t("title")} onClose={onClose}>
            <Tabs<Tab> label={t("title")} tabs={tabs.map((name) => [name, t(`tab.${name}`)])} tab={tab} onTab={setTab} />
            <div role="tabpanel" id={`panel-${tab}`} aria-labelledby={`tab-${tab}`} className="panel">
                <Failure text={failed && page(failed)} />
                {tab === "upcoming" && <Upcoming client={client} calls={calls} onOpen={open} />}
                {tab === "new" && <Arrange calls={calls} />}
                {tab === "own" && <Own calls={calls} onOpen={open} />}
            </div>
        </Dialog>
    );
}

type Calls = ReturnType<typeof meetingsOf>;

function Upcoming({ client, calls, onOpen }: { readonly client: MatrixClient; readonly calls: Calls; onOpen(roomId: string): Promise<void> }) {
    const t = useWords();
    const { t: page, date } = useTranslation();
    const { items, wrong, change } = useListed(calls.upcoming);
    const [cancelling, setCancelling] = useState<Meeting>();
    const rhythm = (rule: string) => t(`rhythm.${rhythmOf(rule) ?? "other"}`);
    const when = (ts: number) => date(ts, { weekday: "short", day: "numeric", month: "long", year: yearOf(ts), hour: "numeric", minute: "2-digit" });
    const name = (id: string) => client.getUser(id)?.displayName ?? id;
    return (
        <>
            <Failure text={wrong && page(wrong.key, wrong.values)} />
            <Loaded items={items} wrong={wrong} none={t("none")} />
            <ul className="entries">
                {items?.map((meeting) => (
                    <li key={meeting.meeting_id}>
                        <Icon name="clock" />
                        <div className="entry-text">
                            <span className="entry-name">{meeting.title}</span>
                            <span className="entry-line">
                                {meeting.state === "on" && <span className="tag good">{t("now")}</span>}
                                {meeting.next_start_ts && <span className="muted small">{when(meeting.next_start_ts)}</span>}
                                {meeting.recurrence && <span className="tag">{rhythm(meeting.recurrence)}</span>}
                            </span>
                            {!meeting.mine && <span className="muted small">{t("by", { name: name(meeting.organiser) })}</span>}
                        </div>
                        <div className="entry-actions">
                            {meeting.mine && (
                                <button type="button" className="button plain" aria-label={page("invite.of", { action: t("cancel"), what: meeting.title })}
                                    onClick={() => setCancelling(meeting)}>{t("cancel")}</button>
                            )}
                            <button type="button" className="button plain" aria-label={page("invite.of", { action: t("open"), what: meeting.title })}
                                onClick={() => void onOpen(meeting.room_id)}>{t("open")}</button>
                        </div>
                    </li>
                ))}
            </ul>
            {cancelling && (
                <Dialog title={t("cancel.ask", { title: cancelling.title })} onClose={() => setCancelling(undefined)}>
                    <p>{t("cancel.text")}</p>
                    <div className="actions">
                        <button type="button" className="button" onClick={() => setCancelling(undefined)}>{t("cancel.keep")}</button>
                        <button type="button" className="button danger" onClick={() => {
                            setCancelling(undefined);
                            void change(() => calls.cancel(cancelling.meeting_id));
                        }}>{t("cancel.sure")}</button>
                    </div>
                </Dialog>
            )}
        </>
    );
}

/** Everybody's own meeting room, which is there when it is first asked for. */
function Own({ calls, onOpen }: { readonly calls: Calls; onOpen(roomId: string): Promise<void> }) {
    const t = useWords();
    const { t: page } = useTranslation();
    const [room, setRoom] = useState<Meeting>();
    const [wrong, setWrong] = useState<Wrong>();
    const make = async () => {
        setWrong(undefined);
        try {
            setRoom(await calls.personal());
        } catch (error) {
            setWrong(whatIsWrong(error));
        }
    };
    return (
        <div className="form">
            <p className="muted">{t("own.text")}</p>
            <Failure text={wrong && (wrong.key === "invite.forbidden" ? t("forbidden") : page(wrong.key, wrong.values))} />
            {room?.link && <LinkToCopy link={room.link} hint={t("link.hint")} />}
            <div className="actions">
                {room
                    ? <button type="button" className="button main" onClick={() => void onOpen(room.room_id)}>{t("open")}</button>
                    : <button type="button" className="button main" onClick={() => void make()}>{t("own")}</button>}
            </div>
        </div>
    );
}
