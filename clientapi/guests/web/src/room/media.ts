// Files of messages and avatars: fetched with the access token, decrypted if need be, and given to the page as blob: addresses
// which are revoked some time after the last element that shows them is gone.

import { useContext, useEffect, useState } from "react";
import type { MatrixClient } from "matrix-js-sdk";

import { decryptAttachment, type EncryptedFile } from "./attachments.ts";
import { RoomContext } from "./context.ts";

export interface MediaSource {
    mxc?: string;
    file?: EncryptedFile;
    mimetype?: string;
    /** A thumbnail of the server's of this size; not for what is encrypted. */
    size?: { width: number; height: number; crop?: boolean };
}

// What may become a document or a script in our origin is handed over as bytes only.
const shown = /^(image\/(png|jpeg|gif|webp|avif|bmp)|video\/[\w.+-]+|audio\/[\w.+-]+)$/;

/** How long something is, in seconds: what others say is a number, or nothing. */
export function seconds(milliseconds: unknown): number {
    return typeof milliseconds === "number" && milliseconds > 0 && milliseconds < 86_400_000 ? milliseconds / 1000 : 0;
}

export const safeType = (type?: string): string => {
    const bare = (type ?? "").split(";", 1).join().trim().toLowerCase();
    return shown.test(bare) ? bare : "application/octet-stream";
};

const kept = 80; // blobs without a user

interface Entry {
    blob: Promise<Blob>;
    url: Promise<string>;
    users: number;
}

export class Media {
    private entries = new Map<string, Entry>();
    constructor(private client: MatrixClient) {}

    private static key(s: MediaSource): string {
        const size = s.size && !s.file ? `${s.size.width}x${s.size.height}${s.size.crop ? "c" : ""}` : "";
        return `${s.file?.url ?? s.mxc}#${size}`;
    }

    private async fetch(s: MediaSource): Promise<Blob> {
        const mxc = s.file?.url ?? s.mxc ?? "";
        const size = s.file ? undefined : s.size;
        const address = this.client.mxcUrlToHttp(
            mxc, size?.width, size?.height, size ? (size.crop ? "crop" : "scale") : undefined, false, true, true,
        );
        if (!address) throw new Error("no address");
        const response = await fetch(address, { headers: { Authorization: `Bearer ${this.client.getAccessToken()}` } });
        if (!response.ok) throw new Error(String(response.status));
        const data = await response.arrayBuffer();
        const type = s.file ? s.mimetype : (size ? response.headers.get("content-type") : s.mimetype ?? response.headers.get("content-type"));
        return new Blob([s.file ? await decryptAttachment(data, s.file) : data], { type: safeType(type ?? undefined) });
    }

    private entry(s: MediaSource): Entry {
        const key = Media.key(s);
        let entry = this.entries.get(key);
        if (!entry) {
            const blob = this.fetch(s);
            const made: Entry = { blob, url: blob.then((b) => URL.createObjectURL(b)), users: 0 };
            made.url.catch(() => this.entries.delete(key)); // the next one who asks tries again
            this.entries.set(key, made);
            entry = made;
        }
        return entry;
    }

    /** The file itself, for downloads and players. */
    blob(s: MediaSource): Promise<Blob> {
        const entry = this.entry(s);
        this.tidy();
        return entry.blob;
    }

    acquire(s: MediaSource): Promise<string> {
        const entry = this.entry(s);
        entry.users++;
        return entry.url;
    }

    release(s: MediaSource): void {
        const entry = this.entries.get(Media.key(s));
        if (entry) entry.users--;
        this.tidy();
    }

    private tidy(): void {
        let idle = [...this.entries.values()].filter((e) => e.users <= 0).length - kept;
        for (const [key, entry] of this.entries) {
            if (idle <= 0) return;
            if (entry.users > 0) continue;
            this.drop(key, entry);
            idle--;
        }
    }

    private drop(key: string, entry: Entry): void {
        this.entries.delete(key);
        entry.url.then((url) => URL.revokeObjectURL(url), () => {});
    }

    close(): void {
        for (const [key, entry] of this.entries) this.drop(key, entry);
    }
}

/** A blob: address of a file while the component is there. */
export function useMedia(source: MediaSource | undefined): { url?: string; failed: boolean; retry: () => void } {
    const { media } = useContext(RoomContext);
    const [state, setState] = useState<{ url?: string; failed: boolean }>({ failed: false });
    const [attempt, setAttempt] = useState(0);
    const key = source && JSON.stringify([source.mxc, source.file?.url, source.size, source.mimetype]);
    useEffect(() => {
        if (!source || !key) return setState({ failed: false });
        let here = true;
        media.acquire(source).then(
            (url) => here && setState({ url, failed: false }),
            () => here && setState({ failed: true }),
        );
        return () => {
            here = false;
            media.release(source);
        };
        // eslint-disable-next-line react-hooks/exhaustive-deps
    }, [media, key, attempt]);
    return { ...state, retry: () => setAttempt((n) => n + 1) };
}

/** Saves a file under its name. */
export async function download(media: Media, source: MediaSource, name: string): Promise<void> {
    const blob = await media.blob(source);
    const url = URL.createObjectURL(new Blob([blob], { type: "application/octet-stream" }));
    const link = document.createElement("a");
    link.href = url;
    link.download = name.replace(/[\u0000-\u001f/\\]/g, "_") || "file";
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 30_000);
}
