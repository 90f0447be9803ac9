import { useEffect, useState } from "react";

import { useTranslation } from "../i18n/index.tsx";
import { Message } from "../parts/Frame.tsx";
import type { Organisation } from "../session.ts";
import { Coming } from "./Coming.tsx";
import { MeetingTime } from "./InvitationScreen.tsx";
import type { Invitation } from "./invitation.ts";
import type { Link } from "./link.ts";

interface InvitationProblemProps {
    readonly link: Link;
    readonly invitation: Invitation;
    /** Opens the invitation anew. */
    onRetry(): void;
    /** Goes on with a code sent to the address. */
    onProve(): void;
    onSignIn(): void;
}

/** An invitation that does not let one in, or not so. */
export function InvitationProblem({ link, invitation, onRetry, onProve, onSignIn }: InvitationProblemProps) {
    const { t } = useTranslation();
    const { organisation } = invitation;
    const inviter = invitation.inviter ?? t("invitation.who");
    switch (invitation.state) {
        case "expired":
            return <Message icon="clock" title={t("expired.title")} organisation={organisation}><p>{t("expired.text", { inviter })}</p></Message>;
        case "revoked":
            return <Message icon="close" title={t("revoked.title")} organisation={organisation}><p>{t("revoked.text", { inviter })}</p></Message>;
        case "used":
            return invitation.proof && invitation.medium
                ? (
                    <Message icon="key" title={t("used.title")} organisation={organisation}
                        actions={<button type="button" className="button main" onClick={onProve}>{t("used.prove")}</button>}>
                        <p>{t(invitation.medium === "email" ? "used.email" : "used.phone", { address: invitation.hint ?? "…" })}</p>
                    </Message>
                )
                : <Message icon="key" title={t("used.title")} organisation={organisation}><p>{t("used.text", { inviter })}</p></Message>;
        case "early":
            return <Early link={link} invitation={invitation} onRetry={onRetry} />;
        case "member":
            return (
                <Message icon="people" title={t("member.title")} organisation={organisation}
                    actions={<button type="button" className="button main" onClick={onSignIn}>{t("signin.submit")}</button>}>
                    <p>{t("member.text")}</p>
                </Message>
            );
        case "open":
            return null;
    }
}

/** The meeting has not begun: when it does the page goes on by itself. */
function Early({ link, invitation, onRetry }: { readonly link: Link; readonly invitation: Invitation; onRetry(): void }) {
    const { t, date } = useTranslation();
    const opens = invitation.opensTs ?? invitation.meeting?.startTs ?? 0;
    const [now, setNow] = useState(Date.now);
    const left = Math.max(0, Math.ceil((opens - now) / 1000));
    useEffect(() => {
        if (left === 0) {
            const again = setTimeout(onRetry, 1000);
            return () => clearTimeout(again);
        }
        const tick = setTimeout(() => setNow(Date.now()), 1000);
        return () => clearTimeout(tick);
    }, [left, onRetry]);
    const what = invitation.meeting?.title ?? invitation.room;
    return (
        <Message icon="clock" title={t("early.title")} organisation={invitation.organisation}>
            {what && <p className="what">{what}</p>}
            {invitation.meeting && <MeetingTime meeting={invitation.meeting} />}
            <p>{t("early.text", { date: date(opens) })}</p>
            {left < 86_400 && <p className="countdown" role="timer">{duration(left)}</p>}
            {invitation.answer !== undefined && <Coming link={link} answer={invitation.answer} />}
        </Message>
    );
}

/** 1:02:03 */
export function duration(seconds: number): string {
    const two = (n: number) => String(n).padStart(2, "0");
    const hours = Math.floor(seconds / 3600), minutes = Math.floor(seconds / 60) % 60;
    return hours > 0 ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}

export function UnknownLink({ onSignIn }: { onSignIn(): void }) {
    const { t } = useTranslation();
    return (
        <Message icon="link" title={t("unknown.title")} actions={<button type="button" className="button" onClick={onSignIn}>{t("signin.instead")}</button>}>
            <p>{t("unknown.text")}</p>
        </Message>
    );
}

/** No answer. It is tried again when the browser says that there is a network, and by a button. */
export function Offline({ organisation, onRetry }: { readonly organisation?: Organisation; onRetry(): void }) {
    const { t } = useTranslation();
    useEffect(() => {
        addEventListener("online", onRetry);
        return () => removeEventListener("online", onRetry);
    }, [onRetry]);
    return (
        <Message icon="offline" title={t("problem.offline.title")} organisation={organisation}
            actions={<button type="button" className="button main" onClick={onRetry}>{t("app.retry")}</button>}>
            <p>{t("problem.offline.text")}</p>
        </Message>
    );
}

export function ServerProblem({ onRetry, organisation, text }: { onRetry(): void; readonly organisation?: Organisation; readonly text?: string }) {
    const { t } = useTranslation();
    return (
        <Message icon="warning" title={t("problem.title")} organisation={organisation}
            actions={<button type="button" className="button main" onClick={onRetry}>{t("app.retry")}</button>}>
            <p>{text ?? t("problem.server")}</p>
        </Message>
    );
}

export type EndedHow = "expired" | "ended" | "left" | "removed" | "signed-out";

/** A session that is over; what was kept for it in the browser is gone. */
export function Ended({ how, organisation, onSignIn }: { readonly how: EndedHow; readonly organisation?: Organisation; onSignIn?(): void }) {
    const { t } = useTranslation();
    return (
        <Message icon={how === "expired" || how === "ended" ? "clock" : "door"} title={t(`ended.${how}.title`)} organisation={organisation}
            actions={onSignIn && <button type="button" className="button main" onClick={onSignIn}>{t("ended.signin")}</button>}>
            <p>{t(`ended.${how}.text`)}</p>
        </Message>
    );
}

export function OtherTab({ organisation, onTake }: { readonly organisation?: Organisation; onTake(): void }) {
    const { t } = useTranslation();
    return (
        <Message icon="tabs" title={t("tab.title")} organisation={organisation}
            actions={<button type="button" className="button main" onClick={onTake}>{t("tab.take")}</button>}>
            <p>{t("tab.text")}</p>
        </Message>
    );
}

export function BrowserProblem({ insecure }: { readonly insecure: boolean }) {
    const { t } = useTranslation();
    return (
        <Message icon="warning" title={t(insecure ? "browser.insecure.title" : "browser.old.title")}>
            <p>{t(insecure ? "browser.insecure.text" : "browser.old.text")}</p>
        </Message>
    );
}
