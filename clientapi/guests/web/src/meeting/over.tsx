// A meeting that is over, for everybody or for oneself.

import { useEffect, useRef } from "react";

import type { Over } from "./engine.ts";
import { Icon, type IconName } from "./icons.tsx";
import { isKey, useWords } from "./words.ts";

const icons: Record<Over, IconName> = { left: "hangUp", removed: "door", ended: "end", device: "warning", refused: "lock", elsewhere: "warning", unsupported: "warning" };

interface OverProps {
    readonly how: Over;
    readonly reason?: string;
    /** Absent where there is no coming back. */
    onRejoin?(): void;
    onBack(): void;
}

export function OverScreen({ how, reason, onRejoin, onBack }: OverProps) {
    const t = useWords();
    const title = useRef<HTMLHeadingElement>(null);
    useEffect(() => title.current?.focus(), []);
    const why = `over.refused.${reason}`;
    return (
        <section className="mt-over" data-testid="meeting-over" data-how={how} aria-labelledby="mt-over-title">
            <span className="mt-over-icon"><Icon name={icons[how]} /></span>
            <h1 id="mt-over-title" ref={title} tabIndex={-1}>{t(`over.${how}.title`)}</h1>
            <p>{how === "refused" && isKey(why) ? t(why) : t(`over.${how}.text`)}</p>
            <div className="mt-over-go">
                <button type="button" className="button" data-testid="meeting-back" onClick={onBack}>{t("over.back")}</button>
                {onRejoin && <button type="button" className="button main" data-testid="meeting-rejoin" onClick={onRejoin}>{t("over.rejoin")}</button>}
            </div>
        </section>
    );
}
