// An organisation's colour, made fit to be written on and to be written in (WCAG 2.2: 4.5 : 1).

type RGB = readonly [number, number, number];

function parse(hex: string): RGB | undefined {
    const digits = /^#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})$/i.exec(hex);
    return digits ? [parseInt(digits[1]!, 16), parseInt(digits[2]!, 16), parseInt(digits[3]!, 16)] : undefined;
}

const format = (colour: RGB) => "#" + colour.map((part) => Math.round(part).toString(16).padStart(2, "0")).join("");

/** WCAG's relative luminance. */
function luminance(colour: RGB): number {
    const [r, g, b] = colour.map((part) => {
        const c = part / 255;
        return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    }) as unknown as RGB;
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** WCAG's contrast ratio, 1 to 21. */
export function contrast(a: string, b: string): number {
    const [low, high] = [luminance(parse(a)!), luminance(parse(b)!)].sort((x, y) => x - y) as [number, number];
    return (high + 0.05) / (low + 0.05);
}

const mix = (a: RGB, b: RGB, share: number) => a.map((part, i) => part + (b[i]! - part) * share) as unknown as RGB;

/** The colour, moved towards black or white just as far as it needs to stand out from all of these. */
function readable(colour: RGB, toward: RGB, ratio: number, ...on: string[]): string {
    for (let share = 0; share < 1; share += 0.04) {
        const tried = format(mix(colour, toward, share));
        if (on.every((background) => contrast(tried, background) >= ratio)) return tried;
    }
    return format(toward);
}

const black: RGB = [0, 0, 0];
const white: RGB = [255, 255, 255];

/** Custom properties of tokens.css for a colour; none for what is not a colour. */
export function brandProperties(hex: string | undefined): Record<string, string> {
    const colour = hex === undefined ? undefined : parse(hex);
    if (!colour) return {};
    const properties: Record<string, string> = {};
    // Backgrounds of tokens.css that the accent is seen on.
    for (const [scheme, toward, surfaces] of [["light", black, ["#ffffff", "#f4f5f8", "#e3e6ed"]], ["dark", white, ["#181c25", "#0f1218", "#2d3342"]]] as const) {
        const text = readable(colour, toward, 4.5, ...surfaces);
        const [light, dark] = ["#ffffff", "#0a0f1c"];
        const on = contrast(hex!, light) >= 4.5 || contrast(hex!, light) >= contrast(hex!, dark) ? light : dark;
        const fill = readable(colour, on === light ? black : white, 4.5, on);
        properties[`--brand-fill-${scheme}`] = fill;
        properties[`--brand-on-${scheme}`] = on;
        properties[`--brand-text-${scheme}`] = text;
        // Around a fill that hardly stands out from what is behind it.
        properties[`--brand-edge-${scheme}`] = surfaces.slice(0, 2).every((surface) => contrast(fill, surface) >= 3) ? fill : text;
    }
    return properties;
}

/** Puts an organisation's colour on the page, or takes it off. */
export function applyBrand(hex: string | undefined): void {
    const style = document.documentElement.style;
    for (const name of [...style]) if (name.startsWith("--brand-")) style.removeProperty(name);
    for (const [name, value] of Object.entries(brandProperties(hex))) style.setProperty(name, value);
}
