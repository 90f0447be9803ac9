// What dialogs have in common that list what the server has, and change it.

import { useCallback, useEffect, useRef, useState } from "react";

import { isUnreachable, Refused } from "../api.ts";
import { type Key, useTranslation, type Values } from "../i18n/index.tsx";
import { Field } from "../parts/Field.tsx";
import { Icon } from "../parts/Icon.tsx";

export interface Wrong {
    readonly key: Key;
    readonly values?: Values;
    readonly field?: boolean;
}

/** What to say of a request that failed. */
export function whatIsWrong(error: unknown): Wrong {
    if (isUnreachable(error)) return { key: "problem.offline.short" };
    if (!(error instanceof Refused)) throw error;
    switch (error.code) {
        case "M_FORBIDDEN": return { key: "invite.forbidden" };
        case "M_THREEPID_DENIED": return { key: "invite.denied" };
        case "M_INVALID_PARAM": return { key: "invite.address.wrong", field: true };
        case "M_LIMIT_EXCEEDED": return { key: error.retryAfter > 0 ? "problem.slow.seconds" : "invite.limit", values: { count: error.retryAfter } };
        default: return { key: "problem.server" };
    }
}

/** What is asked for when the panel comes and after each change; undefined while it is not there yet. */
export function useListed<T>(list: () => Promise<readonly T[]>): { items?: readonly T[]; wrong?: Wrong; change(act: () => Promise<unknown>): Promise<void> } {
    const [items, setItems] = useState<readonly T[]>();
    const [wrong, setWrong] = useState<Wrong>();
    const change = useCallback(async (act: () => Promise<unknown>) => {
        setWrong(undefined);
        try {
            await act();
            setItems(await list());
        } catch (error) {
            setWrong(whatIsWrong(error));
        }
    }, [list]);
    useEffect(() => {
        void change(async () => {});
    }, [change]);
    return { items, wrong, change };
}

/** A new link: it is shown this once, unless the hint says otherwise. */
export function LinkToCopy({ link, hint }: { readonly link: string; readonly hint?: string }) {
    const { t } = useTranslation();
    const [copied, setCopied] = useState(false);
    const input = useRef<HTMLInputElement>(null);
    const copy = async () => {
        input.current?.select();
        await navigator.clipboard.writeText(link);
        setCopied(true);
    };
    return (
        <div className="link-to-copy">
            <Field ref={input} label={t("invite.link")} hint={hint ?? t("invite.link.once")} readOnly value={link} onFocus={({ target }) => target.select()} />
            <button type="button" className="button" onClick={() => void copy()}><Icon name={copied ? "check" : "copy"} />{t(copied ? "invite.copied" : "invite.copy")}</button>
        </div>
    );
}

/** Says that something is being loaded, or that there is nothing. */
export function Loaded({ items, wrong, none }: { readonly items?: readonly unknown[]; readonly wrong?: Wrong; readonly none: string }) {
    const { t } = useTranslation();
    return <p role="status" className="muted">{!items && !wrong ? t("app.loading") : items?.length === 0 ? none : ""}</p>;
}
