import { type FormEvent, useEffect, useRef, useState } from "react";

import { isUnreachable, Refused } from "../api.ts";
import { type Key, useTranslation, type Values } from "../i18n/index.tsx";
import { BusyButton, Failure, Field } from "../parts/Field.tsx";
import { Frame, Heading } from "../parts/Frame.tsx";
import { Icon } from "../parts/Icon.tsx";
import type { Session } from "../session.ts";
import { providerAddress, signInWithPassword, type WaysIn, waysIn } from "./signin.ts";

interface SignInProps {
    onSignedIn(session: Session): void;
    /** Something that did not work before: a token of an identity provider. */
    readonly failed?: Key;
    /** Back to the invitation. */
    onBack?(): void;
}

export function SignIn({ onSignedIn, failed, onBack }: SignInProps) {
    const { t } = useTranslation();
    const [ways, setWays] = useState<WaysIn>({ password: true, providers: [] });
    const [user, setUser] = useState("");
    const [password, setPassword] = useState("");
    const [busy, setBusy] = useState(false);
    const [wrong, setWrong] = useState<{ key: Key; values?: Values } | undefined>(failed && { key: failed });
    const passwordInput = useRef<HTMLInputElement>(null);

    useEffect(() => {
        waysIn().then(setWays, () => {}); // the form says what is wrong when it is sent
    }, []);
    const submit = async (event: FormEvent) => {
        event.preventDefault();
        if (busy) return;
        if (user.trim() === "" || password === "") return setWrong({ key: "signin.missing" });
        setBusy(true);
        setWrong(undefined);
        try {
            onSignedIn(await signInWithPassword(user, password));
        } catch (error) {
            setWrong(whatIsWrong(error));
            passwordInput.current?.select();
        } finally {
            setBusy(false);
        }
    };
    return (
        <Frame footer={onBack && <button type="button" className="button plain small" onClick={onBack}>{t("signin.invitation")}</button>}>
            <div className="introduction">
                <Heading title={t("signin.title")}>{t("signin.title")}</Heading>
                <p className="muted">{t("signin.text")}</p>
            </div>
            {ways.password && (
                <form className="form" noValidate onSubmit={(event) => void submit(event)}>
                    <Field label={t("signin.user")} autoComplete="username" autoCapitalize="none" autoCorrect="off" spellCheck={false} value={user} required
                        onChange={({ target }) => setUser(target.value)} />
                    <Field ref={passwordInput} label={t("signin.password")} type="password" autoComplete="current-password" value={password} required
                        onChange={({ target }) => setPassword(target.value)} />
                    <Failure text={wrong && t(wrong.key, wrong.values)} />
                    <BusyButton busy={busy} className="wide">{t("signin.submit")}</BusyButton>
                </form>
            )}
            {ways.providers.length > 0 && (
                <div className="providers">
                    {ways.password && <p className="or muted small"><span>{t("signin.or")}</span></p>}
                    {ways.providers.map((provider) => (
                        <a key={provider.id} className="button wide" href={providerAddress(provider)}><Icon name="key" />{t("signin.provider", { name: provider.name })}</a>
                    ))}
                </div>
            )}
        </Frame>
    );
}

function whatIsWrong(error: unknown): { key: Key; values?: Values } {
    if (isUnreachable(error)) return { key: "problem.offline.short" };
    if (!(error instanceof Refused)) throw error;
    switch (error.code) {
        case "M_FORBIDDEN": return { key: "signin.wrong" };
        case "M_USER_DEACTIVATED": return { key: "signin.closed" };
        case "M_LIMIT_EXCEEDED": return { key: error.retryAfter > 0 ? "problem.slow.seconds" : "problem.slow", values: { count: error.retryAfter } };
        default: return { key: "problem.server" };
    }
}
