// The messages of a room, oldest first. Only a part of them is in the page: it grows at the edge towards which one scrolls and is
// cut at the other. Whatever changes above, what one looks at stays where it is; at the end, the end stays in sight.

import { useCallback, useContext, useEffect, useImperativeHandle, useLayoutEffect, useMemo, useRef, useState, type KeyboardEvent, type Ref } from "react";
import { Direction, type MatrixEvent, type Room, type RoomMember } from "matrix-js-sdk";

import { useTranslation } from "../i18n/index.tsx";
import { RoomContext } from "./context.ts";
import { useReceiptVersion, useStateVersion, useTimelineVersion, useVisible } from "./hooks.ts";
import { Icon } from "./icons.tsx";
import { Guard } from "./guard.tsx";
import { Message, type MessageActions } from "./message.tsx";
import { loadedEvents, loadedTimelines, timelineItems, type Item } from "./model.ts";
import { stateLine } from "./statelines.ts";

const atFirst = 80, step = 60, most = 220; // items in the page
const near = 700; // pixels from an edge
const pageSize = 60, longestSearch = 40; // events of a request; requests for a jump

export interface TimelineHandle {
    jumpTo: (eventId: string) => void;
    toEnd: () => void;
}

/** Part of the items: by keys, so that it stays when others are added. No end is the live end. */
interface Bounds {
    from?: string;
    to?: string;
}

const nobody: RoomMember[] = [];

/** A key near a place that stays with its item: a day's divider moves up when more of the day is loaded. */
function keyAt(items: Item[], place: number): string | undefined {
    return (items.slice(place).find((item) => item.kind !== "day" && item.kind !== "unread") ?? items[place])?.key;
}

function withDivider(items: Item[], place: number): number {
    let from = place;
    while (from > 0 && (items[from - 1]!.kind === "day" || items[from - 1]!.kind === "unread")) from--;
    return from;
}

/** Who read how far: under the last message that each has read. */
function readersByKey(room: Room, me: string, events: MatrixEvent[], items: Item[]): Map<string, RoomMember[]> {
    const keys = new Map<MatrixEvent, string>();
    for (const item of items) if (item.kind === "message") keys.set(item.event, item.key);
    const shownAt = new Map<string, string>();
    let last: string | undefined;
    for (const event of events) {
        last = keys.get(event) ?? last;
        if (last) shownAt.set(event.getId()!, last);
    }
    const readers = new Map<string, RoomMember[]>();
    for (const member of room.getJoinedMembers()) {
        if (member.userId === me) continue;
        const key = shownAt.get(room.getEventReadUpTo(member.userId) ?? "");
        if (key) readers.set(key, [...(readers.get(key) ?? []), member]);
    }
    return readers;
}

function usePagination(room: Room) {
    const { client } = useContext(RoomContext);
    const [busy, setBusy] = useState(false);
    const [failed, setFailed] = useState(false);
    const running = useRef<Promise<boolean> | undefined>(undefined);
    const older = useCallback((limit = pageSize): Promise<boolean> => {
        const earliest = loadedTimelines(room)[0]!;
        if (earliest.getPaginationToken(Direction.Backward) === null) return Promise.resolve(false);
        running.current ??= (async () => {
            setBusy(true);
            try {
                await client.paginateEventTimeline(earliest, { backwards: true, limit });
                setFailed(false);
                return true;
            } catch {
                setFailed(true);
                return false;
            } finally {
                running.current = undefined;
                setBusy(false);
            }
        })();
        return running.current;
    }, [client, room]);
    const more = loadedTimelines(room)[0]!.getPaginationToken(Direction.Backward) !== null;
    return { older, more, busy, failed };
}

export function Timeline({ ref, actions, marker }: { ref: Ref<TimelineHandle>; actions: MessageActions; marker?: string | null }) {
    const { client, room } = useContext(RoomContext);
    const { t } = useTranslation();
    const me = client.getSafeUserId();
    const version = useTimelineVersion(client, room);
    const members = useStateVersion(room);
    const receipts = useReceiptVersion(room);
    const visible = useVisible();
    const { older, more, busy, failed } = usePagination(room);
    const [bounds, setBounds] = useState<Bounds>({});
    const [atEnd, setAtEnd] = useState(true);
    const [hovered, setHovered] = useState<string>();
    const [focused, setFocused] = useState<string>();
    const [within, setWithin] = useState(false);
    const [found, setFound] = useState<string>();

    const scroller = useRef<HTMLDivElement>(null), content = useRef<HTMLDivElement>(null);
    const stick = useRef(true), anchors = useRef<{ key: string; top: number }[]>([]);
    const target = useRef<string | undefined>(undefined); // the event to be jumped to
    const seen = useRef<string | undefined>(undefined); // the last message when the end was in sight

    const { events, items } = useMemo(() => {
        const all = loadedEvents(room);
        return { events: all, items: timelineItems(all, room.getPendingEvents(), me, marker) };
        // eslint-disable-next-line react-hooks/exhaustive-deps
    }, [room, me, marker, version, busy]);
    const places = useMemo(() => {
        const map = new Map<string, number>();
        items.forEach((item, i) => {
            map.set(item.key, i);
            if (item.kind === "message") map.set(item.event.getId()!, i);
            if (item.kind === "state" || item.kind === "secret") for (const e of item.events) map.set(e.getId()!, i);
        });
        return map;
    }, [items]);
    const readers = useMemo(() => readersByKey(room, me, events, items), [room, me, events, items, receipts, members]);

    const to = bounds.to === undefined ? items.length : (places.get(bounds.to) ?? items.length - 1) + 1;
    const from = withDivider(items, Math.max(0, Math.min(to - 1, bounds.from === undefined ? to - atFirst : places.get(bounds.from) ?? to - atFirst)));

    const rows = () => [...(content.current?.children ?? [])].filter((e): e is HTMLElement => e instanceof HTMLElement && !!e.dataset.key);

    const remember = () => {
        if (!scroller.current) return;
        const box = scroller.current.getBoundingClientRect();
        const visibleRows = rows().filter((row) => row.getBoundingClientRect().bottom > box.top + 1).slice(0, 4);
        anchors.current = visibleRows.map((row) => ({ key: row.dataset.key!, top: row.getBoundingClientRect().top - box.top }));
    };

    const settle = useCallback(() => {
        const s = scroller.current;
        if (!s) return;
        if (stick.current) {
            s.scrollTop = s.scrollHeight;
            return;
        }
        const byKey = new Map(rows().map((row) => [row.dataset.key!, row]));
        const anchor = anchors.current.find(({ key }) => byKey.has(key));
        if (!anchor) return;
        const moved = byKey.get(anchor.key)!.getBoundingClientRect().top - s.getBoundingClientRect().top - anchor.top;
        if (Math.abs(moved) >= 1) s.scrollTop += moved;
    }, []);

    // What the edges need, with the newest of everything.
    const edges = useRef(() => {});
    edges.current = () => {
        const s = scroller.current;
        if (!s || target.current) return;
        if (s.scrollTop < near) {
            if (from > 0) {
                const start = Math.max(0, from - step);
                const end = Math.min(to, start + most);
                setBounds({ from: keyAt(items, start), to: end < items.length && !stick.current ? keyAt(items, end - 1) : undefined });
            } else if (more && !busy && !failed) {
                void older();
            }
        }
        if (bounds.to !== undefined && s.scrollHeight - s.scrollTop - s.clientHeight < near) {
            const end = Math.min(items.length, to + step);
            setBounds({ from: keyAt(items, Math.max(from, end - most)), to: end < items.length ? keyAt(items, end - 1) : undefined });
        }
    };

    const onScroll = () => {
        const s = scroller.current!;
        const end = bounds.to === undefined && s.scrollHeight - s.scrollTop - s.clientHeight < 48;
        stick.current = end;
        if (end !== atEnd) setAtEnd(end);
        if (end && bounds.from !== undefined && to - from > most) setBounds({});
        remember();
        edges.current();
    };

    useLayoutEffect(() => {
        if (target.current !== undefined && places.has(target.current)) arrive(places.get(target.current)!);
        settle();
        remember();
    });
    useEffect(() => {
        const frame = requestAnimationFrame(() => edges.current());
        return () => cancelAnimationFrame(frame);
    }, [items, from, to, busy]);
    useEffect(() => {
        const observer = new ResizeObserver(() => {
            settle();
            remember();
        });
        observer.observe(scroller.current!);
        observer.observe(content.current!);
        return () => observer.disconnect();
    }, [settle]);

    /** Comes to an item that is loaded: first into the page, then into the middle of it. */
    const arrive = (place: number) => {
        if (place < from || place >= to) {
            const start = Math.max(0, place - step), end = Math.min(items.length, place + step);
            stick.current = false;
            setBounds({ from: keyAt(items, start), to: end < items.length ? keyAt(items, end - 1) : undefined });
            return;
        }
        const key = items[place]!.key;
        const row = rows().find((r) => r.dataset.key === key);
        if (!row) return;
        target.current = undefined;
        stick.current = false;
        row.scrollIntoView({ block: "center" });
        setFound(key);
        setFocused(key);
        row.querySelector<HTMLElement>("article")?.focus({ preventScroll: true });
        setTimeout(() => setFound((now) => (now === key ? undefined : now)), 2500);
    };

    const toEnd = useCallback(() => {
        stick.current = true;
        target.current = undefined;
        setBounds({});
        setAtEnd(true);
        settle();
    }, [settle]);

    useImperativeHandle(ref, () => ({
        toEnd,
        jumpTo: (id) => {
            target.current = id;
            if (places.has(id)) return arrive(places.get(id)!);
            void (async () => {
                for (let i = 0; i < longestSearch && target.current === id; i++) {
                    if (loadedEvents(room).some((e) => e.getId() === id) || !(await older(100))) break;
                }
                setTimeout(() => { if (target.current === id) target.current = undefined; }, 1000); // it is not to be had
            })();
        },
    }));

    useReading(room, events, items, atEnd, visible, scroller, content);

    if (atEnd) seen.current = items.findLast((item) => item.kind === "message")?.key;
    const unseen = atEnd ? 0 : items.slice((places.get(seen.current ?? "") ?? items.length) + 1)
        .filter((item) => item.kind === "message" && item.event.getSender() !== me).length;

    const shown = items.slice(from, to);
    const lastMessage = shown.findLast((item) => item.kind === "message")?.key;
    const tab = focused !== undefined && shown.some((item) => item.key === focused) ? focused : lastMessage;

    const keyOf = (element: EventTarget) => (element as Element).closest<HTMLElement>("[data-key]")?.dataset.key;
    const onKeyDown = (e: KeyboardEvent) => {
        if (!(e.target as Element).matches("article")) {
            if (e.key === "Escape") (e.target as Element).closest("article")?.focus();
            return;
        }
        const all = [...content.current!.querySelectorAll<HTMLElement>("article")];
        const at = all.indexOf(e.target as HTMLElement);
        const next = e.key === "ArrowUp" ? all[at - 1] : e.key === "ArrowDown" ? all[at + 1] : e.key === "Home" ? all[0] : e.key === "End" ? all.at(-1) : undefined;
        if (!next) return;
        e.preventDefault();
        next.focus({ preventScroll: true });
        next.scrollIntoView({ block: "nearest" });
    };

    return (
        <div className="rl-timeline">
            <div ref={scroller} className="rl-scroller" role="log" aria-live="off" aria-label={t("room.messages")} onScroll={onScroll}
                onPointerOver={(e) => e.pointerType === "mouse" && setHovered(keyOf(e.target))} onPointerLeave={() => setHovered(undefined)}
                onFocus={(e) => { setFocused(keyOf(e.target) ?? focused); setWithin(true); }}
                onBlur={(e) => !e.currentTarget.contains(e.relatedTarget) && setWithin(false)} onKeyDown={onKeyDown}>
                <div ref={content} className="rl-content">
                    <div className="rl-beginning">
                        {busy ? <span className="spinner" role="status" aria-label={t("app.loading")} />
                            : failed ? <button type="button" className="button" onClick={() => void older()}>{t("room.older.failed")} {t("app.retry")}</button>
                            : !more && from === 0 && <Beginning />}
                    </div>
                    {shown.map((item) => (
                        <div key={item.key} data-key={item.key} className="rl-item">
                            <Guard><ItemView item={item} actions={actions} active={item.key === (hovered ?? (within ? focused : undefined))} tab={item.key === tab}
                                found={item.key === found} readers={readers.get(item.key) ?? nobody} /></Guard>
                        </div>
                    ))}
                </div>
            </div>
            {!atEnd && (
                <button type="button" className="rl-newer" onClick={toEnd} aria-label={unseen ? t("room.newer.count", { count: unseen }) : t("room.newer")}>
                    <Icon name="down" />{unseen > 0 && <span>{unseen}</span>}
                </button>
            )}
        </div>
    );
}

/** Tells the server what was read: while the page is seen, the last message in sight. */
function useReading(room: Room, events: MatrixEvent[], items: Item[], atEnd: boolean, visible: boolean,
    scroller: { current: HTMLElement | null }, content: { current: HTMLElement | null }) {
    const { client } = useContext(RoomContext);
    const told = useRef(-1);
    useEffect(() => {
        if (!visible || room.getMyMembership() !== "join") return;
        const look = () => {
            let last: MatrixEvent | undefined = atEnd ? events.findLast((e) => !e.status && e.getId()?.startsWith("$")) : undefined;
            if (!last && scroller.current && content.current) {
                const bottom = scroller.current.getBoundingClientRect().bottom + 4;
                const row = [...content.current.children].findLast((e) => (e as HTMLElement).dataset.key && e.getBoundingClientRect().bottom <= bottom);
                const item = row && items.find((i) => i.key === (row as HTMLElement).dataset.key);
                if (item?.kind === "message" && !item.event.status) last = item.event;
            }
            if (!last) return;
            const me = client.getSafeUserId();
            const place = events.indexOf(last);
            const before = events.findIndex((e) => e.getId() === room.getEventReadUpTo(me, true));
            if (place <= Math.max(before, told.current < events.length ? told.current : -1)) return;
            told.current = place;
            client.setRoomReadMarkers(room.roomId, last.getId()!, last).catch(() => {
                told.current = -1;
                client.sendReadReceipt(last).catch(() => {});
            });
        };
        const timer = setTimeout(look, 400);
        const s = scroller.current;
        let waiting = 0;
        const onScroll = () => {
            clearTimeout(waiting);
            waiting = window.setTimeout(look, 400);
        };
        s?.addEventListener("scroll", onScroll, { passive: true });
        return () => {
            clearTimeout(timer);
            clearTimeout(waiting);
            s?.removeEventListener("scroll", onScroll);
        };
    }, [client, room, events, items, atEnd, visible, scroller, content]);
}

/** What stands where there is nothing older: why, if there could be. */
function Beginning() {
    const { room } = useContext(RoomContext);
    const { t } = useTranslation();
    const limited = ["joined", "invited"].includes(room.getHistoryVisibility());
    const created = loadedEvents(room).some((e) => e.getType() === "m.room.create");
    return <p className="rl-limit">{limited && !created ? t("room.history.limited") : t("room.history.beginning")}</p>;
}

function ItemView({ item, actions, active, tab, found, readers }: {
    item: Item; actions: MessageActions; active: boolean; tab: boolean; found: boolean; readers: RoomMember[];
}) {
    const { t, date } = useTranslation();
    switch (item.kind) {
        case "day": return <h2 className="rl-day"><span>{dayWords(item.ts, t, date)}</span></h2>;
        case "unread": return <p className="rl-unread"><span>{t("room.unread")}</span></p>;
        case "state": return <Lines events={item.events} />;
        case "secret": return <p className="rl-lost"><Icon name="lock" />{t("room.secret.many", { count: item.events.length })}</p>;
        case "message": return <Message event={item.event} first={item.first} active={active} tab={tab} found={found} readers={readers} actions={actions} />;
    }
}

type Words = ReturnType<typeof useTranslation>;

export function dayWords(ts: number, t: Words["t"], date: Words["date"]): string {
    const day = new Date(ts).toDateString(), now = new Date();
    if (day === now.toDateString()) return t("room.today");
    if (day === new Date(now.getFullYear(), now.getMonth(), now.getDate() - 1).toDateString()) return t("room.yesterday");
    const sameYear = new Date(ts).getFullYear() === now.getFullYear();
    return date(ts, { weekday: "long", day: "numeric", month: "long", year: sameYear ? undefined : "numeric" });
}

/** Many changes stand behind their number, and the last of them beside it: that is who has just come, or gone. */
function Lines({ events }: { events: MatrixEvent[] }) {
    const { room } = useContext(RoomContext);
    const { t } = useTranslation();
    const list = (some: MatrixEvent[]) => (
        <ul className="rl-lines">
            {some.map((event) => <li key={event.getId()}>{stateLine(event, room, t)}</li>)}
        </ul>
    );
    if (events.length <= 3) return list(events);
    const before = events.slice(0, -1);
    return (
        <>
            <details className="rl-changes"><summary>{t("room.line.many", { count: before.length })}</summary>{list(before)}</details>
            {list(events.slice(-1))}
        </>
    );
}
