// Bars for the loudness of a recording; with a slider over them where one may jump.

const bars = 48;

/** Levels of 0 to 1024, as events carry them, made into a number of bars from 0 to 1. */
export function resample(levels: readonly number[] | undefined, count: number, top?: number): number[] {
    const clean = Array.isArray(levels) ? levels.filter((l) => typeof l === "number" && l >= 0 && l <= 1e6) : [];
    if (clean.length === 0) return new Array<number>(count).fill(0);
    const full = top ?? Math.max(...clean, 1);
    return Array.from({ length: count }, (_, i) => {
        const from = Math.floor((i * clean.length) / count), to = Math.max(from + 1, Math.floor(((i + 1) * clean.length) / count));
        return Math.max(...clean.slice(from, to)) / full;
    });
}

export function Waveform({ levels, top, at, seek, label, text }: {
    levels?: readonly number[]; top?: number; at: number; seek?: (part: number) => void; label: string; text: string;
}) {
    return (
        <span className="rl-wave">
            <svg viewBox={`0 0 ${bars * 4} 32`} preserveAspectRatio="none" aria-hidden="true">
                {resample(levels, bars, top).map((level, i) => {
                    const height = 3 + level * 27;
                    return <rect key={i} x={i * 4} y={16 - height / 2} width={2.4} height={height} rx={1.2} className={i / bars < at ? "rl-wave-done" : ""} />;
                })}
            </svg>
            {seek && (
                <input type="range" min={0} max={1000} step={10} value={Math.round(Math.min(1, at) * 1000)} aria-label={label} aria-valuetext={text}
                    onChange={(e) => seek(Number(e.currentTarget.value) / 1000)} />
            )}
        </span>
    );
}
