// The secret of an invitation's link. It comes in the fragment, which browsers send to nobody, leaves the address bar at once, and is kept
// in this tab until it has been redeemed, so that reloading the page goes on where it was.

export interface Link {
    readonly secret: string;
    /** Names this attempt to redeem: the server answers the same attempt, repeated, as it did the first time. */
    readonly attempt: string;
    /** The server was asked to redeem it, and the answer has not come. */
    readonly tried?: boolean;
    /** The code that was sent to prove an address. */
    readonly proof?: { readonly sid: string; readonly clientSecret: string; readonly sendAttempt: number };
}

const linkKey = "roomline.link";

/** The link that the page was opened with, or else was opened with before it was reloaded. "unknown": there is a fragment that is none. */
export function takeLink(): Link | "unknown" | undefined {
    const fragment = location.hash.slice(1);
    if (fragment !== "") {
        history.replaceState(null, "", location.pathname + location.search);
        if (!/^[A-Za-z0-9_-]{22}$/.test(fragment)) return "unknown";
        const kept = keptLink();
        const link = kept?.secret === fragment ? kept : { secret: fragment, attempt: random() };
        keepLink(link);
        return link;
    }
    return keptLink();
}

function keptLink(): Link | undefined {
    try {
        const kept = JSON.parse(sessionStorage.getItem(linkKey) ?? "null") as Partial<Link> | null;
        return typeof kept?.secret === "string" && typeof kept.attempt === "string" ? (kept as Link) : undefined;
    } catch {
        return undefined;
    }
}

export function keepLink(link: Link): void {
    sessionStorage.setItem(linkKey, JSON.stringify(link));
}

export function dropLink(): void {
    sessionStorage.removeItem(linkKey);
}

/** 128 random bits in 22 characters. */
export function random(): string {
    return base64url(crypto.getRandomValues(new Uint8Array(16)));
}

/** What a session remembers of the link that it came from. */
export async function fingerprint(secret: string): Promise<string> {
    return base64url(new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(secret))));
}

function base64url(bytes: Uint8Array): string {
    return btoa(String.fromCharCode(...bytes)).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}
