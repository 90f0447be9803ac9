import { type ReactNode, useEffect, useId, useRef } from "react";

import { useTranslation } from "../i18n/index.tsx";
import { Icon } from "./Icon.tsx";

interface DialogProps {
    readonly title: string;
    onClose(): void;
    readonly children: ReactNode;
}

/** A modal dialog. The browser keeps the focus in it, and gives it back. */
export function Dialog({ title, onClose, children }: DialogProps) {
    const { t } = useTranslation();
    const element = useRef<HTMLDialogElement>(null);
    const heading = useId();
    useEffect(() => {
        const dialog = element.current!;
        dialog.showModal();
        return () => dialog.close();
    }, []);
    return (
        <dialog ref={element} aria-labelledby={heading} onCancel={(event) => {
            event.preventDefault();
            onClose();
        }} onClick={(event) => {
            if (event.target === element.current) onClose(); // beside it
        }}>
            <div className="dialog-head">
                <h2 id={heading}>{title}</h2>
                <button type="button" className="icon-button" aria-label={t("app.close")} onClick={onClose}><Icon name="close" /></button>
            </div>
            <div className="dialog-body">{children}</div>
        </dialog>
    );
}
