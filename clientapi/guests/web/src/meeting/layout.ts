// How tiles share a stage. Pure.

export interface Grid {
    readonly columns: number;
    /** Of one tile, in pixels. */
    readonly width: number;
    readonly height: number;
}

export const gap = 8; // pixels, as in meeting.css

const widest = 16 / 9;
/** How high a tile may be made: on a phone that is held upright more is cut off from pictures, so that faces are larger. */
const narrowest = (width: number, height: number) => (width > height ? 4 / 3 : 3 / 4);
const smallest = 150; // pixels that a tile is wide at least; more of them than fit so are scrolled to

/** The columns with which tiles are largest. A tile is 16:9, or higher if there is the space. */
export function grid(count: number, width: number, height: number): Grid {
    let best: Grid = { columns: 1, width: 0, height: 0 };
    for (let columns = 1; columns <= count; columns++) {
        const rows = Math.ceil(count / columns);
        const [w, h] = [(width - gap * (columns - 1)) / columns, (height - gap * (rows - 1)) / rows];
        const tile = { columns, width: Math.min(w, h * widest), height: Math.min(h, w / narrowest(width, height)) };
        if (tile.width * tile.height > best.width * best.height) best = tile;
    }
    if (best.width < smallest) {
        const columns = Math.max(1, Math.min(count, Math.floor((width + gap) / (smallest + gap))));
        const w = (width - gap * (columns - 1)) / columns;
        return { columns, width: Math.floor(w), height: Math.floor(w / widest) };
    }
    return { columns: best.columns, width: Math.floor(best.width), height: Math.floor(best.height) };
}

/** 1:02:03 */
export function clock(ms: number): string {
    const two = (n: number) => String(n).padStart(2, "0");
    const seconds = Math.max(0, Math.floor(ms / 1000)), hours = Math.floor(seconds / 3600), minutes = Math.floor(seconds / 60) % 60;
    return hours > 0 ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}
