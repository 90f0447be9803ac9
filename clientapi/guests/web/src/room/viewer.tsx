// A picture, as large as the window.

import { useContext, useEffect, useRef } from "react";
import type { MatrixEvent } from "matrix-js-sdk";

import { useTranslation } from "../i18n/index.tsx";
import { fileName, source, type AttachmentContent } from "./attachment.tsx";
import { RoomContext } from "./context.ts";
import { Icon } from "./icons.tsx";
import { download, useMedia } from "./media.ts";
import { senderName } from "./people.tsx";

export default function Viewer({ event, others, show, close }: {
    event: MatrixEvent; others: MatrixEvent[]; show: (event: MatrixEvent) => void; close: () => void;
}) {
    const { media, room } = useContext(RoomContext);
    const { t, date } = useTranslation();
    const dialog = useRef<HTMLDialogElement>(null);
    const content = event.getContent() as AttachmentContent;
    const from = source(content);
    const { url, failed, retry } = useMedia(from);
    const index = others.findIndex((o) => o.getId() === event.getId());
    useEffect(() => dialog.current?.showModal(), []);
    const step = (by: number) => {
        const next = others[index + by];
        if (next) show(next);
    };
    return (
        <dialog ref={dialog} className="rl-viewer" onClose={close} aria-label={fileName(content)}
            onClick={(e) => (e.target as Element).matches(".rl-viewer, .rl-viewer-stage") && dialog.current?.close()}
            onKeyDown={(e) => { if (e.key === "ArrowLeft") step(-1); if (e.key === "ArrowRight") step(1); }}>
            <header>
                <span className="rl-viewer-words">
                    <b>{fileName(content)}</b>
                    <small>{senderName(event, room)} · {date(event.getTs(), { dateStyle: "medium", timeStyle: "short" })}</small>
                </span>
                {from && (
                    <button type="button" className="icon-button" onClick={() => void download(media, from, fileName(content))}
                        aria-label={t("room.file.download", { name: fileName(content) })}><Icon name="download" /></button>
                )}
                <button type="button" className="icon-button" onClick={() => dialog.current?.close()} aria-label={t("app.close")}><Icon name="close" /></button>
            </header>
            <div className="rl-viewer-stage">
                {url ? <img src={url} alt={fileName(content)} />
                    : failed ? <button type="button" className="button" onClick={retry}>{t("room.file.lost")} {t("app.retry")}</button>
                    : <span className="spinner" role="status" aria-label={t("app.loading")} />}
            </div>
            {index > 0 && <button type="button" className="icon-button rl-viewer-before" onClick={() => step(-1)} aria-label={t("room.picture.before")}><Icon name="back" /></button>}
            {index < others.length - 1 && <button type="button" className="icon-button rl-viewer-after" onClick={() => step(1)} aria-label={t("room.picture.after")}><Icon name="back" /></button>}
        </dialog>
    );
}
