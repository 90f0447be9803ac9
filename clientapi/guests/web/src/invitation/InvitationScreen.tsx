import { type FormEvent, type ReactNode, useEffect, useRef, useState } from "react";

import { isUnreachable, Refused } from "../api.ts";
import { type Key, useTranslation, type Values, yearOf } from "../i18n/index.tsx";
import { BusyButton, Failure, Field } from "../parts/Field.tsx";
import { Frame, Heading, Waiting } from "../parts/Frame.tsx";
import { Icon } from "../parts/Icon.tsx";
import type { Session } from "../session.ts";
import { Coming } from "./Coming.tsx";
import { type Invitation, type InvitationState, type Meeting, redeem, rememberedName, rememberName, sendCode } from "./invitation.ts";
import { dropLink, type Link } from "./link.ts";

interface InvitationScreenProps {
    readonly link: Link;
    readonly invitation: Invitation;
    onRedeemed(session: Session): void;
    /** The invitation turned out to be in another state. */
    onState(state: InvitationState): void;
    onUnknown(): void;
    onSignIn(): void;
}

interface Wrong {
    readonly where: "name" | "code" | "form";
    readonly key: Key;
    readonly values?: Values;
}

/** An open invitation: who invites to what, then one's name, then a code if one is asked for. */
export function InvitationScreen({ link: opened, invitation, onRedeemed, onState, onUnknown, onSignIn }: InvitationScreenProps) {
    const { t, language } = useTranslation();
    const [link, setLink] = useState(opened);
    const [name, setName] = useState(rememberedName);
    const [step, setStep] = useState<"name" | "code">(invitation.state === "used" || link.proof ? "code" : "name");
    const [busy, setBusy] = useState<"" | "sending" | "joining">("");
    const [wrong, setWrong] = useState<Wrong>();

    const attempt = async (what: "sending" | "joining", act: () => Promise<void>) => {
        setBusy(what);
        setWrong(undefined);
        try {
            await act();
        } catch (error) {
            if (error instanceof Refused && error.code === "M_NOT_FOUND") return onUnknown();
            const state = error instanceof Refused ? error.body["org.roomline.state"] : undefined;
            if (typeof state === "string") return onState(state as InvitationState);
            if (error instanceof Refused && error.body["org.roomline.code_needed"] === true) return setStep("code");
            setWrong(whatIsWrong(error, what === "joining" ? step : "form"));
        } finally {
            setBusy("");
        }
    };
    const newCode = () => attempt("sending", async () => {
        setLink(await sendCode(link, language));
        setStep("code");
    });
    const join = (code?: string) => attempt("joining", async () => {
        const session = await redeem(link, invitation, name.trim(), language, code);
        dropLink();
        onRedeemed(session);
    });
    const submitName = (event: FormEvent) => {
        event.preventDefault();
        if (busy) return;
        if (name.trim() === "") return setWrong({ where: "name", key: "name.missing" });
        rememberName(name.trim());
        void (invitation.proof ? newCode() : join());
    };

    if (step === "code") {
        return (
            <CodeStep invitation={invitation} link={link} wrong={wrong} busy={busy}
                onCode={(code) => void join(code)} onWrong={setWrong} onSend={() => void newCode()} />
        );
    }
    if (busy === "joining") return <Waiting text={t("invitation.joining")} organisation={invitation.organisation} />;
    return (
        <Frame organisation={invitation.organisation} footer={<button type="button" className="button plain small" onClick={onSignIn}>{t("signin.instead")}</button>}>
            <Introduction invitation={invitation} />
            <form className="form" noValidate onSubmit={submitName}>
                <Field label={t("name.label")} hint={t("name.hint")} error={wrong?.where === "name" ? t(wrong.key, wrong.values) : undefined}
                    autoComplete="name" maxLength={100} value={name} required onChange={({ target }) => setName(target.value)} />
                <Failure text={wrong?.where === "form" ? t(wrong.key, wrong.values) : undefined} />
                <BusyButton busy={busy !== ""} className="wide">{t(invitation.proof ? "name.next" : "name.join")}</BusyButton>
            </form>
            {invitation.answer !== undefined && <Coming link={link} answer={invitation.answer} />}
            <Facts invitation={invitation} />
        </Frame>
    );
}

function whatIsWrong(error: unknown, where: "name" | "code" | "form"): Wrong {
    if (isUnreachable(error)) return { where: "form", key: "problem.offline.short" };
    if (!(error instanceof Refused)) throw error;
    switch (error.code) {
        case "M_THREEPID_AUTH_FAILED": return { where: "code", key: "code.wrong" };
        case "M_INVALID_PARAM": return where === "form" ? { where, key: "problem.server" } : { where: where === "code" ? "code" : "name", key: where === "code" ? "code.wrong" : "name.refused" };
        case "M_LIMIT_EXCEEDED": return { where: "form", key: error.retryAfter > 0 ? "problem.slow.seconds" : "problem.slow", values: { count: error.retryAfter } };
        default: return { where: "form", key: "problem.server" };
    }
}

function Introduction({ invitation }: { readonly invitation: Invitation }) {
    const { t } = useTranslation();
    const inviter = invitation.inviter ?? invitation.organisation?.name ?? t("invitation.somebody");
    const what = invitation.meeting?.title ?? invitation.room;
    const title = what ? t("invitation.title", { inviter, what }) : t("invitation.title.plain", { inviter });
    return (
        <div className="introduction">
            <Heading title={title}>{title}</Heading>
            {invitation.meeting && <MeetingTime meeting={invitation.meeting} />}
        </div>
    );
}

export function MeetingTime({ meeting }: { readonly meeting: Meeting }) {
    const { language } = useTranslation();
    const format = new Intl.DateTimeFormat(language, {
        weekday: "long", day: "numeric", month: "long", year: yearOf(meeting.startTs), hour: "numeric", minute: "2-digit", timeZoneName: "short",
    });
    return (
        <p className="meeting-time">
            <Icon name="clock" />
            <span>{meeting.endTs ? format.formatRange(meeting.startTs, meeting.endTs) : format.format(meeting.startTs)}</span>
        </p>
    );
}

function Facts({ invitation }: { readonly invitation: Invitation }) {
    const { t, date } = useTranslation();
    const facts: [ReactNode, string][] = [];
    if (invitation.encrypted) facts.push([<Icon key="icon" name="lock" />, t("invitation.encrypted")]);
    if (invitation.expiresTs) facts.push([<Icon key="icon" name="clock" />, t("invitation.until", { date: date(invitation.expiresTs) })]);
    return (
        <ul className="facts">
            {facts.map(([icon, text]) => <li key={text}>{icon}<span>{text}</span></li>)}
        </ul>
    );
}

interface CodeStepProps {
    readonly invitation: Invitation;
    readonly link: Link;
    readonly wrong?: Wrong;
    readonly busy: "" | "sending" | "joining";
    onCode(code: string): void;
    onWrong(wrong: Wrong): void;
    onSend(): void;
}

const codeInterval = 30; // seconds between two codes

/** Asks for the code that was sent to the address of the invitation. */
function CodeStep({ invitation, link, wrong, busy, onCode, onWrong, onSend }: CodeStepProps) {
    const { t } = useTranslation();
    const [code, setCode] = useState("");
    const input = useRef<HTMLInputElement>(null);
    const attempts = link.proof?.sendAttempt ?? 0;
    useEffect(() => {
        if (attempts === 0) onSend();
        // Once, when the step comes; a later code is asked for by its button.
    }, []);
    useEffect(() => {
        if (wrong?.where === "code") input.current?.select();
    }, [wrong]);
    const submit = (event: FormEvent) => {
        event.preventDefault();
        if (busy) return;
        const digits = code.replace(/\D/g, "");
        if (digits.length !== 6) {
            input.current?.focus();
            return onWrong({ where: "code", key: "code.short" });
        }
        onCode(digits);
    };
    const address = invitation.hint ?? "…";
    const text = (where: Wrong["where"]) => (wrong?.where === where ? t(wrong.key, wrong.values) : undefined);
    return (
        <Frame organisation={invitation.organisation}>
            <div className="introduction">
                <Heading title={t("code.title")}>{t("code.title")}</Heading>
                <p className="muted">{t(invitation.medium === "msisdn" ? "code.sent.phone" : "code.sent.email", { address })}</p>
            </div>
            <form className="form" noValidate onSubmit={submit}>
                <Field ref={input} label={t("code.label")} error={text("code")} className="code" autoComplete="one-time-code" inputMode="numeric"
                    pattern="[0-9 ]*" maxLength={7} value={code} required onChange={({ target }) => setCode(target.value)} />
                <Failure text={text("form")} />
                <BusyButton busy={busy !== ""} className="wide">{t("name.join")}</BusyButton>
                <Resend attempts={attempts} busy={busy === "sending"} onSend={onSend} />
            </form>
        </Frame>
    );
}

/** Another code may be asked for after a while. */
function Resend({ attempts, busy, onSend }: { readonly attempts: number; readonly busy: boolean; onSend(): void }) {
    const { t } = useTranslation();
    const [left, setLeft] = useState(0);
    useEffect(() => {
        if (attempts === 0) return;
        const until = Date.now() + codeInterval * 1000;
        setLeft(codeInterval);
        const timer = setInterval(() => {
            const seconds = Math.max(0, Math.ceil((until - Date.now()) / 1000));
            setLeft(seconds);
            if (seconds === 0) clearInterval(timer);
        }, 1000);
        return () => clearInterval(timer);
    }, [attempts]);
    return (
        <div className="resend">
            <p role="status" className="visually-hidden">{attempts > 1 ? t("code.again") : ""}</p>
            {left > 0
                ? <p className="muted small">{t("code.wait", { count: left })}</p>
                : <button type="button" className="button plain" aria-disabled={busy} onClick={() => !busy && onSend()}>{t("code.resend")}</button>}
        </div>
    );
}
