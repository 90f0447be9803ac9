// What hangs on a message: pictures, videos, recordings, files.

import { lazy, Suspense, useContext, useState } from "react";
import type { MatrixEvent } from "matrix-js-sdk";

import { useTranslation } from "../i18n/index.tsx";
import type { EncryptedFile } from "./attachments.ts";
import { RoomContext } from "./context.ts";
import { Icon } from "./icons.tsx";
import { download, safeType, seconds, useMedia, type MediaSource } from "./media.ts";
import { isVoice } from "./model.ts";

const Player = lazy(() => import("./player.tsx"));

interface Info {
    w?: number;
    h?: number;
    size?: number;
    mimetype?: string;
    duration?: number;
    thumbnail_url?: string;
    thumbnail_file?: EncryptedFile;
    thumbnail_info?: { mimetype?: string; w?: number; h?: number };
}

export interface AttachmentContent {
    msgtype?: string;
    body?: string;
    filename?: string;
    url?: string;
    file?: EncryptedFile;
    info?: Info;
}

/** The file itself. A message on its way has no address yet. */
export function source(content: AttachmentContent): MediaSource | undefined {
    const mimetype = typeof content.info?.mimetype === "string" ? content.info.mimetype : undefined;
    if (content.file?.url) return { file: content.file, mimetype };
    return typeof content.url === "string" && content.url.startsWith("mxc://") ? { mxc: content.url, mimetype } : undefined;
}

/** A smaller picture of it. */
function preview(content: AttachmentContent, own: boolean): MediaSource | undefined {
    const info = content.info ?? {};
    if (info.thumbnail_file?.url) return { file: info.thumbnail_file, mimetype: info.thumbnail_info?.mimetype };
    if (content.file) return content.msgtype === "m.video" ? undefined : own ? source(content) : undefined;
    const mxc = info.thumbnail_url ?? (content.msgtype === "m.video" ? undefined : content.url);
    if (!mxc?.startsWith("mxc://")) return undefined;
    return { mxc, size: { width: 800, height: 600 } };
}

const text = (value: unknown): string => (typeof value === "string" ? value : "");

export const fileName = (content: AttachmentContent): string => text(content.filename) || text(content.body) || "file";

/** What is said with the file: text of its own besides the name. */
export const caption = (content: AttachmentContent): string | undefined =>
    text(content.filename) && text(content.body) !== content.filename ? text(content.body) || undefined : undefined;

// A picture is drawn in the room that its event promises, so that nothing moves when it comes.
function box(info: Info | undefined): { width: number; height: number } {
    const w = Number(info?.w) > 0 ? Number(info!.w) : 320, h = Number(info?.h) > 0 ? Number(info!.h) : 240;
    const scale = Math.min(1, 360 / w, 320 / h);
    return { width: Math.max(64, Math.round(w * scale)), height: Math.max(48, Math.round(h * scale)) };
}

export function Attachment({ event }: { event: MatrixEvent }) {
    const content = event.getContent() as AttachmentContent;
    const type = event.getType() === "m.sticker" ? "m.image" : content.msgtype;
    const mime = safeType(content.info?.mimetype);
    if (type === "m.image" && source(content) && (!content.info?.mimetype || mime.startsWith("image/"))) return <Picture event={event} />;
    if (type === "m.video" && source(content) && mime.startsWith("video/")) return <Video event={event} />;
    if (type === "m.audio" && source(content) && (isVoice(content as Record<string, unknown>) || mime.startsWith("audio/"))) {
        return <Suspense fallback={<div className="rl-player" />}><Player content={content} /></Suspense>;
    }
    return <FileCard content={content} />;
}

function Picture({ event }: { event: MatrixEvent }) {
    const { open } = useContext(RoomContext);
    const { t } = useTranslation();
    const content = event.getContent() as AttachmentContent;
    const small = preview(content, true) ?? source(content);
    const { url, failed, retry } = useMedia(small);
    const { width, height } = box(content.info);
    if (failed) return <Lost retry={retry} content={content} />;
    return (
        <button type="button" className="rl-picture" style={{ width, aspectRatio: `${width} / ${height}` }} onClick={() => open(event)}
            aria-label={t("room.picture.open", { name: fileName(content) })}>
            {url ? <img src={url} alt={fileName(content)} draggable={false} /> : <span className="spinner" />}
        </button>
    );
}

function Video({ event }: { event: MatrixEvent }) {
    const { t, date } = useTranslation();
    const content = event.getContent() as AttachmentContent;
    const [wanted, setWanted] = useState(false);
    const poster = useMedia(preview(content, true));
    const video = useMedia(wanted ? source(content) : undefined);
    const { width, height } = box(content.info);
    if (video.failed) return <Lost retry={video.retry} content={content} />;
    if (video.url) {
        return (
            <video className="rl-video" style={{ width, aspectRatio: `${width} / ${height}` }} src={video.url} controls autoPlay playsInline
                aria-label={fileName(content)} />
        );
    }
    const length = seconds(content.info?.duration);
    return (
        <button type="button" className="rl-picture rl-poster" style={{ width, aspectRatio: `${width} / ${height}` }} onClick={() => setWanted(true)}
            aria-label={t("room.video.play", { name: fileName(content) })}>
            {poster.url && <img src={poster.url} alt="" />}
            <span className="rl-play">{wanted ? <span className="spinner" /> : <Icon name="play" />}</span>
            {length > 0 && <span className="rl-length">{date(length * 1000, { minute: "numeric", second: "2-digit", timeZone: "UTC" })}</span>}
        </button>
    );
}

function Lost({ retry, content }: { retry: () => void; content: AttachmentContent }) {
    const { t } = useTranslation();
    return (
        <div className="rl-file">
            <span className="rl-file-icon"><Icon name="warning" /></span>
            <span className="rl-file-words"><b>{fileName(content)}</b><small>{t("room.file.lost")}</small></span>
            <button type="button" className="icon-button" onClick={retry} aria-label={t("app.retry")}><Icon name="retry" /></button>
        </div>
    );
}

function FileCard({ content }: { content: AttachmentContent }) {
    const { media } = useContext(RoomContext);
    const { t, size } = useTranslation();
    const [state, setState] = useState<"" | "loading" | "failed">("");
    const from = source(content), name = fileName(content);
    const save = () => {
        if (!from || state === "loading") return;
        setState("loading");
        download(media, from, name).then(() => setState(""), () => setState("failed"));
    };
    return (
        <div className="rl-file">
            <span className="rl-file-icon"><Icon name={state === "failed" ? "warning" : "file"} /></span>
            <span className="rl-file-words">
                <b>{name}</b>
                <small>{state === "failed" ? t("room.file.lost") : Number(content.info?.size) > 0 ? size(Number(content.info!.size)) : t("room.file")}</small>
            </span>
            <button type="button" className="icon-button" onClick={save} disabled={!from} aria-label={t("room.file.download", { name })}>
                {state === "loading" ? <span className="spinner" /> : <Icon name="download" />}
            </button>
        </div>
    );
}
