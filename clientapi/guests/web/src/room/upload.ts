// Files on their way: measured, encrypted if the room is, uploaded with progress, and sent as a message.

import type { MatrixClient, Room } from "matrix-js-sdk";

import { encryptAttachment, type EncryptedFile } from "./attachments.ts";
import { safeType } from "./media.ts";

export interface Upload {
    id: number;
    file: File;
    /** 0 to 1 */
    progress: number;
    state: "waiting" | "running" | "failed";
    /** Why it failed: a key of the texts. */
    problem?: "large" | "refused" | "quota" | "failed";
    extra?: Record<string, unknown>;
    abort: AbortController;
}

type Content = Record<string, unknown>;

const thumbnail = { width: 800, height: 600 };

/** A smaller picture, if it saves something. */
async function shrink(source: CanvasImageSource, w: number, h: number, type: string, bytes: number) {
    const scale = Math.min(1, thumbnail.width / w, thumbnail.height / h);
    if (scale === 1 && bytes < 300_000) return undefined;
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(w * scale));
    canvas.height = Math.max(1, Math.round(h * scale));
    canvas.getContext("2d")?.drawImage(source, 0, 0, canvas.width, canvas.height);
    const mimetype = type === "image/png" ? "image/png" : "image/jpeg";
    const blob = await new Promise<Blob | null>((done) => canvas.toBlob(done, mimetype, 0.82));
    if (!blob || blob.size > bytes * 0.8) return undefined;
    return { blob, info: { w: canvas.width, h: canvas.height, size: blob.size, mimetype } };
}

type Thumbnail = Awaited<ReturnType<typeof shrink>>;

async function measurePicture(file: File): Promise<{ info: Content; small?: Thumbnail }> {
    const bitmap = await createImageBitmap(file);
    try {
        return {
            info: { w: bitmap.width, h: bitmap.height },
            small: await shrink(bitmap, bitmap.width, bitmap.height, file.type, file.size),
        };
    } finally {
        bitmap.close();
    }
}

/** Loads a video or recording as far as to know how long it is; a video's picture is taken near its beginning. */
async function measureFilm(file: File, kind: "video" | "audio"): Promise<{ info: Content; small?: Thumbnail }> {
    const url = URL.createObjectURL(file);
    const film = document.createElement(kind);
    const happens = (name: string) => new Promise<void>((done, failed) => {
        film.addEventListener(name, () => done(), { once: true });
        film.addEventListener("error", () => failed(new Error("unplayable")), { once: true });
        setTimeout(() => failed(new Error("too slow")), 8_000);
    });
    try {
        const ready = happens(kind === "video" ? "loadeddata" : "loadedmetadata");
        film.preload = "auto";
        film.muted = true;
        film.src = url;
        await ready;
        const duration = Number.isFinite(film.duration) ? Math.round(film.duration * 1000) : undefined;
        if (!(film instanceof HTMLVideoElement)) return { info: { duration } };
        const seeked = happens("seeked");
        film.currentTime = Math.min(0.5, (duration ?? 0) / 2000);
        await seeked.catch(() => {});
        const { videoWidth: w, videoHeight: h } = film;
        return { info: { w, h, duration }, small: w ? await shrink(film, w, h, "image/jpeg", Infinity) : undefined };
    } finally {
        URL.revokeObjectURL(url);
        film.removeAttribute("src");
    }
}

/** What the file is; a file that isn't what it says is a file. */
async function measure(file: File): Promise<{ msgtype: string; info: Content; small?: Thumbnail }> {
    const type = safeType(file.type);
    try {
        if (type.startsWith("image/")) return { msgtype: "m.image", ...await measurePicture(file) };
        if (type.startsWith("video/")) return { msgtype: "m.video", ...await measureFilm(file, "video") };
        if (type.startsWith("audio/")) return { msgtype: "m.audio", ...await measureFilm(file, "audio") };
    } catch {
        // Why: the browser can't read it; others may.
    }
    return { msgtype: "m.file", info: {} };
}

/** Uploads bytes; in an encrypted room what is uploaded says nothing of itself. */
async function put(
    client: MatrixClient, data: Blob, name: string, type: string, secret: boolean, abort: AbortController, progress?: (part: number) => void,
): Promise<{ url?: string; file?: EncryptedFile }> {
    const options = {
        abortController: abort,
        progressHandler: ({ loaded, total }: { loaded: number; total: number }) => progress?.(total > 0 ? loaded / total : 0),
    };
    if (!secret) {
        const { content_uri: url } = await client.uploadContent(data, { ...options, name, type: type || "application/octet-stream" });
        return { url };
    }
    const { data: hidden, file } = await encryptAttachment(await data.arrayBuffer());
    abort.signal.throwIfAborted();
    const { content_uri: url } = await client.uploadContent(new Blob([hidden]), { ...options, type: "application/octet-stream", includeFilename: false });
    return { file: { ...file, url } };
}

/** Uploads a file and sends it. */
export async function sendFile(
    client: MatrixClient, room: Room, upload: Upload, relation: Content | undefined, progress: (part: number) => void,
): Promise<void> {
    const secret = room.hasEncryptionStateEvent();
    const { file, abort } = upload;
    const { msgtype, info, small } = upload.extra ? { msgtype: "m.audio", info: {}, small: undefined } : await measure(file);
    abort.signal.throwIfAborted();
    const whole: Content = { ...info, mimetype: file.type || "application/octet-stream", size: file.size };
    if (small && (secret || msgtype === "m.video")) {
        const put1 = await put(client, small.blob, "thumbnail", small.info.mimetype, secret, abort);
        whole.thumbnail_info = small.info;
        if (put1.file) whole.thumbnail_file = put1.file;
        else whole.thumbnail_url = put1.url;
    }
    const where = await put(client, file, file.name, file.type, secret, abort, progress);
    abort.signal.throwIfAborted();
    const { info: extraInfo, ...extra } = (upload.extra ?? {}) as Content & { info?: Content };
    const content: Content = {
        msgtype, body: file.name, filename: file.name, info: { ...whole, ...extraInfo }, ...where, ...extra, ...relation,
    };
    void client.sendMessage(room.roomId, content as never).catch(() => {}); // its state is shown in the timeline
}

export function problemOf(error: unknown): Upload["problem"] {
    const { errcode, httpStatus } = error as { errcode?: string; httpStatus?: number };
    if (errcode === "M_TOO_LARGE" || httpStatus === 413) return "large";
    if (errcode === "M_LIMIT_EXCEEDED" || errcode === "M_RESOURCE_LIMIT_EXCEEDED") return "quota";
    return httpStatus === 403 ? "refused" : "failed";
}
