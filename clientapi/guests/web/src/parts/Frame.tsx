import { type ReactNode, useEffect, useRef, useState } from "react";

import { isLanguage, languages, useTranslation } from "../i18n/index.tsx";
import type { Organisation } from "../session.ts";
import { useLanguage } from "./language.ts";
import { Icon, type IconName } from "./Icon.tsx";

interface FrameProps {
    readonly organisation?: Organisation;
    readonly children: ReactNode;
    /** Beside the choice of language. */
    readonly footer?: ReactNode;
}

/** The screens before a room: whose they are, one card, and the choice of language. */
export function Frame({ organisation, children, footer }: FrameProps) {
    return (
        <div className="frame">
            <header className="frame-head">
                <Brand organisation={organisation} />
            </header>
            <main id="main" className="card">{children}</main>
            <footer className="frame-foot">
                <LanguageChoice />
                {footer}
            </footer>
        </div>
    );
}

function Brand({ organisation }: { readonly organisation?: Organisation }) {
    const { t } = useTranslation();
    const [broken, setBroken] = useState(false);
    return (
        <div className="brand">
            {organisation?.logoUrl && !broken
                ? <img className="brand-logo" src={organisation.logoUrl} alt="" onError={() => setBroken(true)} />
                : <span className="brand-letter" aria-hidden="true">{organisation ? [...organisation.name][0] : <Icon name="talk" />}</span>}
            <span className="brand-name">{organisation?.name ?? t("app.name")}</span>
        </div>
    );
}

export function LanguageChoice() {
    const { t, language } = useTranslation();
    const choose = useLanguage();
    return (
        <label className="language">
            <Icon name="language" />
            <span className="visually-hidden">{t("app.language")}</span>
            <select value={language} onChange={({ target }) => isLanguage(target.value) && choose(target.value)}>
                {Object.entries(languages).map(([code, name]) => <option key={code} value={code} lang={code}>{name}</option>)}
            </select>
        </label>
    );
}

/** A screen's heading. It takes the focus when its screen comes, so that it is read out and the keyboard starts here. */
export function Heading({ children, title }: { readonly children: ReactNode; readonly title: string }) {
    const heading = useRef<HTMLHeadingElement>(null);
    useEffect(() => {
        document.title = title;
    }, [title]);
    useEffect(() => heading.current?.focus(), []);
    return <h1 ref={heading} tabIndex={-1}>{children}</h1>;
}

interface MessageProps {
    readonly icon: IconName;
    readonly title: string;
    readonly organisation?: Organisation;
    readonly children?: ReactNode;
    readonly actions?: ReactNode;
    readonly tone?: "danger" | "good";
}

/** A whole screen that says one thing, in words that help. */
export function Message({ icon, title, organisation, children, actions, tone }: MessageProps) {
    return (
        <Frame organisation={organisation}>
            <div className="message">
                <span className={`message-icon ${tone ?? ""}`}><Icon name={icon} /></span>
                <Heading title={title}>{title}</Heading>
                {children}
                {actions && <div className="message-actions">{actions}</div>}
            </div>
        </Frame>
    );
}

/** The screen while something is under way. */
export function Waiting({ text, organisation }: { readonly text: string; readonly organisation?: Organisation }) {
    return (
        <Frame organisation={organisation}>
            <div className="waiting" role="status">
                <span className="spinner" />
                <p>{text}</p>
            </div>
        </Frame>
    );
}
