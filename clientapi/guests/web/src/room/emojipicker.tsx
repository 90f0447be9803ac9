// Choosing an emoji: by searching in one's own language, or by walking over the grid with the arrow keys.

import { useEffect, useLayoutEffect, useMemo, useRef, useState, type KeyboardEvent } from "react";

import { useTranslation, type Language } from "../i18n/index.tsx";

interface Group {
    name: string;
    /** The emoji, its name, more words for it. */
    list: [string, string, string][];
}

const data: Record<Language, () => Promise<{ default: unknown }>> = {
    en: () => import("./emoji/emoji.en.json"), fr: () => import("./emoji/emoji.fr.json"), nl: () => import("./emoji/emoji.nl.json"), de: () => import("./emoji/emoji.de.json"),
};

const tabs = ["😀", "👋", "🐶", "🍎", "🚗", "⚽", "💡", "❤️"];
const columns = 8, lately = 16;
const latelyKey = "roomline.emoji";

function lastUsed(): string[] {
    try {
        const kept: unknown = JSON.parse(localStorage.getItem(latelyKey) ?? "[]");
        return Array.isArray(kept) ? kept.filter((e) => typeof e === "string").slice(0, lately) : [];
    } catch {
        return [];
    }
}

const plain = (text: string) => text.toLowerCase().normalize("NFD").replace(/\p{M}/gu, "");

export default function EmojiPicker({ at, button, pick, close }: { at: DOMRect; button: HTMLElement; pick: (emoji: string) => void; close: (giveBack: boolean) => void }) {
    const { t, language } = useTranslation();
    const [groups, setGroups] = useState<Group[]>([]);
    const [query, setQuery] = useState("");
    const [shown, setShown] = useState("");
    const panel = useRef<HTMLDivElement>(null), search = useRef<HTMLInputElement>(null), grid = useRef<HTMLDivElement>(null);

    useEffect(() => void data[language]().then((m) => setGroups(m.default as Group[])), [language]);
    useEffect(() => {
        search.current?.focus({ preventScroll: true });
        const outside = (e: PointerEvent) => {
            if (!panel.current?.contains(e.target as Node) && !button.contains(e.target as Node)) close(false);
        };
        document.addEventListener("pointerdown", outside);
        return () => document.removeEventListener("pointerdown", outside);
    }, [button, close]);
    useLayoutEffect(() => {
        const p = panel.current!;
        const place = () => {
            const width = p.offsetWidth, height = p.offsetHeight;
            const left = Math.max(8, Math.min(innerWidth - width - 8, at.left + at.width / 2 - width / 2));
            const above = at.top - height - 8;
            p.style.left = `${left}px`;
            p.style.top = `${above >= 8 ? above : Math.max(8, Math.min(innerHeight - height - 8, at.bottom + 8))}px`;
        };
        place();
    }, [at, groups]);

    const sections = useMemo<Group[]>(() => {
        const wanted = plain(query.trim());
        if (wanted) {
            const all = groups.flatMap((g) => g.list);
            const begins = all.filter((e) => plain(e[1]).startsWith(wanted));
            const has = all.filter((e) => !begins.includes(e) && plain(`${e[1]} ${e[2]}`).includes(wanted));
            return [{ name: t("room.emoji.found"), list: [...begins, ...has].slice(0, 96) }];
        }
        const names = new Map(groups.flatMap((g) => g.list).map((e) => [e[0], e]));
        const recent = lastUsed().map((e) => names.get(e)).filter((e) => e !== undefined);
        return [...(recent.length ? [{ name: t("room.emoji.recent"), list: recent }] : []), ...groups];
    }, [groups, query, t]);

    const choose = (emoji: string) => {
        localStorage.setItem(latelyKey, JSON.stringify([emoji, ...lastUsed().filter((e) => e !== emoji)].slice(0, lately)));
        pick(emoji);
    };
    const onKeyDown = (e: KeyboardEvent) => {
        if (e.key === "Escape") {
            e.stopPropagation();
            return close(true);
        }
        const all = [...grid.current!.querySelectorAll<HTMLButtonElement>("[data-emoji]")];
        const at = all.indexOf(document.activeElement as HTMLButtonElement);
        if (at < 0) {
            if (e.key === "ArrowDown" || (e.key === "Enter" && query)) {
                e.preventDefault();
                if (e.key === "Enter") all[0]?.click();
                else all[0]?.focus();
            }
            return;
        }
        const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, Home: -at, End: all.length - 1 - at }[e.key];
        if (by === undefined) return;
        e.preventDefault();
        if (at + by < 0) return search.current?.focus();
        all[Math.min(all.length - 1, at + by)]?.focus();
    };
    const go = (index: number) => grid.current?.querySelector(`[data-group="${groups[index]?.name}"]`)?.scrollIntoView({ block: "start" });
    return (
        <div ref={panel} className="rl-emoji" role="dialog" aria-label={t("room.emoji")} onKeyDown={onKeyDown}>
            <input ref={search} className="input" type="search" value={query} onChange={(e) => setQuery(e.target.value)} placeholder={t("room.emoji.search")}
                aria-label={t("room.emoji.search")} autoComplete="off" />
            <div className="rl-emoji-tabs">
                {groups.map((g, i) => <button key={g.name} type="button" onClick={() => go(i)} aria-label={g.name} title={g.name}>{tabs[i]}</button>)}
            </div>
            <div ref={grid} className="rl-emoji-grid" tabIndex={-1}>
                {sections.map((g) => (
                    <section key={g.name} data-group={g.name} aria-label={g.name}>
                        <h3>{g.name}</h3>
                        <div>
                            {g.list.map(([emoji, name], i) => (
                                <button key={emoji} type="button" data-emoji tabIndex={i === 0 ? 0 : -1} onClick={() => choose(emoji)} aria-label={name}
                                    onFocus={() => setShown(`${emoji} ${name}`)} onPointerEnter={() => setShown(`${emoji} ${name}`)}>{emoji}</button>
                            ))}
                        </div>
                    </section>
                ))}
                {query && sections[0]?.list.length === 0 && <p>{t("room.emoji.none")}</p>}
            </div>
            <p className="rl-emoji-name" aria-hidden="true">{shown || " "}</p>
        </div>
    );
}
