// Where everybody is seen: all alike, or one large and the others small beside.

import { useEffect, useMemo, useRef, useState } from "react";
import type { Room } from "matrix-js-sdk";

import type { Person } from "./engine.ts";
import { gap, grid } from "./layout.ts";
import { type Shown, Tile } from "./tile.tsx";

export type Layout = "grid" | "speaker";

interface StageProps {
    readonly room: Room;
    readonly people: readonly Person[];
    readonly layout: Layout;
    readonly speaker?: string;
    readonly pinned?: string;
    onPin(key: string | undefined): void;
}

/** Tiles: screens first, then others in the order in which they came, oneself last. */
function tiles(people: readonly Person[]): readonly Shown[] {
    const of = (person: Person, screen: boolean): Shown => ({ key: `${person.identity}${screen ? "/screen" : ""}`, person, screen });
    const ordered = [...people].sort((a, b) => Number(a.me) - Number(b.me) || Number(b.hand !== undefined) - Number(a.hand !== undefined));
    return [...ordered.filter((person) => person.screen).map((person) => of(person, true)), ...ordered.map((person) => of(person, false))];
}

function useSize() {
    const element = useRef<HTMLDivElement>(null);
    const [size, setSize] = useState({ width: 0, height: 0 });
    useEffect(() => {
        const observer = new ResizeObserver(([entry]) => entry && setSize({ width: entry.contentRect.width, height: entry.contentRect.height }));
        observer.observe(element.current!);
        return () => observer.disconnect();
    }, []);
    return [element, size] as const;
}

export function Stage({ room, people, layout, speaker, pinned, onPin }: StageProps) {
    const [element, size] = useSize();
    const all = useMemo(() => tiles(people), [people]);
    const main = all.find(({ key }) => key === pinned)
        ?? all.find(({ screen, person }) => screen && !person.me) // one's own screen in one's own screen is a hall of mirrors
        ?? (layout === "speaker" && all.length > 1 ? all.find(({ person, screen }) => !screen && person.identity === speaker && !person.me) ?? all.find(({ person, screen }) => !screen && !person.me) : undefined);
    const tile = (shown: Shown, options: { main?: boolean; size?: { width: number; height: number } }) => (
        <Tile key={shown.key} room={room} shown={shown} pinned={shown.key === pinned} {...options}
            onPin={all.length > 1 ? () => onPin(shown.key === pinned ? undefined : shown.key) : undefined} />
    );
    if (main) {
        const others = all.filter((shown) => shown !== main);
        return (
            <div ref={element} className={size.width > size.height * 1.1 ? "mt-spotlight mt-wide" : "mt-spotlight"}>
                <ul>{tile(main, { main: true })}</ul>
                {others.length > 0 && <ul className="mt-strip" tabIndex={0}>{others.map((shown) => tile(shown, {}))}</ul>}
            </div>
        );
    }
    const { columns, width, height } = grid(all.length, Math.max(0, size.width), Math.max(0, size.height));
    return (
        <div ref={element} className="mt-grid">
            <ul style={{ width: columns * (width + gap) - gap + 1 }}>{size.width > 0 && all.map((shown) => tile(shown, { size: { width, height } }))}</ul>
        </div>
    );
}
