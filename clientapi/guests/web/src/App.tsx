import { useCallback, useEffect, useMemo, useState } from "react";

import { isUnreachable, Refused } from "./api.ts";
import { applyBrand } from "./colour.ts";
import { keepLanguage, type Key, type Language, pickLanguage, translation, TranslationProvider, useTranslation } from "./i18n/index.tsx";
import { InvitationScreen } from "./invitation/InvitationScreen.tsx";
import { type Invitation, type InvitationState, openInvitation, redeem, rememberedName } from "./invitation/invitation.ts";
import { dropLink, fingerprint, keepLink, type Link, takeLink } from "./invitation/link.ts";
import { BrowserProblem, Ended, type EndedHow, InvitationProblem, Offline, ServerProblem, UnknownLink } from "./invitation/Problems.tsx";
import { ChooseSession } from "./member/ChooseSession.tsx";
import { SignIn } from "./member/SignIn.tsx";
import { signInWithToken, takeLoginToken } from "./member/signin.ts";
import { Waiting } from "./parts/Frame.tsx";
import { LanguageChooser } from "./parts/language.ts";
import { keepSession, loadSessions, type Organisation, type Session } from "./session.ts";
import { type Gone, preloadCryptography, preloadSession, SessionView } from "./SessionView.tsx";

type Screen =
    | { is: "waiting" }
    | { is: "browser"; insecure: boolean }
    | { is: "invitation"; link: Link; invitation: Invitation; proving?: boolean }
    | { is: "unknown" }
    | { is: "offline" | "failed" }
    | { is: "sign-in"; failed?: Key; invited?: boolean }
    | { is: "choose"; sessions: readonly Session[] }
    | { is: "session"; session: Session }
    | { is: "ended"; how: EndedHow; session: Session };

/** What a browser has to have. */
function browserProblem(): Screen | undefined {
    if (!isSecureContext) return { is: "browser", insecure: true };
    const needed = [crypto?.subtle, navigator.locks, window.BroadcastChannel, window.indexedDB, window.HTMLDialogElement, window.WebAssembly, AbortSignal.timeout, [].findLast];
    return needed.every(Boolean) ? undefined : { is: "browser", insecure: false };
}

/** Where the page begins: a link, a login token, a session that goes on, or else a member's sign-in. */
async function begin(): Promise<Screen> {
    const problem = browserProblem();
    if (problem) return problem;
    const token = takeLoginToken();
    const link = takeLink();
    if (link === "unknown") return { is: "unknown" };
    const sessions = loadSessions();
    if (link) {
        const mark = await fingerprint(link.secret);
        const session = sessions.find(({ guest }) => guest?.invitation === mark);
        if (session) return { is: "session", session };
        const opened = openLink(link);
        preloadSession(); // while the server answers and the invitation is read
        return opened;
    }
    if (token !== undefined) {
        try {
            return { is: "session", session: await signInWithToken(token) };
        } catch (error) {
            return { is: "sign-in", failed: isUnreachable(error) ? "problem.offline.short" : "signin.token" };
        }
    }
    if (sessions.length > 1) return { is: "choose", sessions };
    return sessions[0] ? { is: "session", session: sessions[0] } : { is: "sign-in" };
}

async function openLink(link: Link): Promise<Screen> {
    try {
        const invitation = await openInvitation(link);
        if (invitation.encrypted && invitation.state === "open") preloadCryptography();
        const session = link.tried ? await tryAgain(link, invitation) : undefined;
        return session ? { is: "session", session } : { is: "invitation", link, invitation };
    } catch (error) {
        if (isUnreachable(error)) return { is: "offline" };
        if (error instanceof Refused && error.code === "M_NOT_FOUND") {
            dropLink();
            return { is: "unknown" };
        }
        console.error(error);
        return { is: "failed" };
    }
}

/** Repeats an attempt whose answer was lost: what it made is given again. */
async function tryAgain(link: Link, invitation: Invitation): Promise<Session | undefined> {
    try {
        const session = await redeem(link, invitation, rememberedName(), pickLanguage(invitation.language));
        dropLink();
        return session;
    } catch (error) {
        if (error instanceof Refused) return undefined;
        throw error;
    }
}

export function App() {
    const [screen, setScreen] = useState<Screen>({ is: "waiting" });
    const [chosen, setChosen] = useState<Language>();
    const [invited, setInvited] = useState<string>(); // the invitation's language
    const language = chosen ?? pickLanguage(invited);

    const restart = useCallback(() => {
        setScreen({ is: "waiting" });
        void begin().then((next) => {
            if (next.is === "invitation") setInvited(next.invitation.language);
            setScreen(next);
        });
    }, []);
    useEffect(() => {
        restart();
        addEventListener("hashchange", restart); // another link, in this tab
        return () => removeEventListener("hashchange", restart);
    }, [restart]);
    useEffect(() => {
        document.documentElement.lang = language;
    }, [language]);
    useEffect(() => applyBrand(organisationOf(screen)?.colour), [screen]);
    useEffect(() => {
        if (screen.is === "sign-in") preloadSession();
    }, [screen]);

    const choose = useCallback((next: Language) => {
        keepLanguage(next);
        setChosen(next);
    }, []);
    const translated = useMemo(() => translation(language), [language]);
    return (
        <TranslationProvider value={translated}>
            <LanguageChooser value={choose}>
                <CurrentScreen screen={screen} onScreen={setScreen} onRestart={restart} />
            </LanguageChooser>
        </TranslationProvider>
    );
}

function organisationOf(screen: Screen): Organisation | undefined {
    switch (screen.is) {
        case "invitation": return screen.invitation.organisation;
        case "session":
        case "ended": return screen.session.guest?.organisation;
        default: return undefined;
    }
}

function CurrentScreen({ screen, onScreen, onRestart }: { readonly screen: Screen; onScreen(screen: Screen): void; onRestart(): void }) {
    const onSession = useCallback((session: Session) => {
        history.replaceState(null, "");
        dropLink();
        keepSession(session); // the last used comes first
        onScreen({ is: "session", session });
    }, [onScreen]);
    const session = screen.is === "session" ? screen.session : undefined;
    const onGone = useCallback((how: Gone) => {
        dropLink();
        if (how === "refused") {
            if (session?.guest?.entering) keepLink(session.guest.entering);
            onRestart(); // the invitation says why
        } else if (session) {
            onScreen({ is: "ended", how, session });
        }
    }, [session, onScreen, onRestart]);
    const signIn = (invited: boolean) => onScreen({ is: "sign-in", invited });
    switch (screen.is) {
        case "waiting":
            return <WaitingForServer />;
        case "browser":
            return <BrowserProblem insecure={screen.insecure} />;
        case "unknown":
            return <UnknownLink onSignIn={() => signIn(false)} />;
        case "offline":
            return <Offline onRetry={onRestart} />;
        case "failed":
            return <ServerProblem onRetry={onRestart} />;
        case "invitation": {
            const { link, invitation } = screen;
            const inState = (state: InvitationState) => onScreen({ ...screen, proving: false, invitation: { ...invitation, state } });
            return invitation.state === "open" || screen.proving
                ? (
                    <InvitationScreen link={link} invitation={invitation} onRedeemed={onSession} onState={inState} onUnknown={() => onScreen({ is: "unknown" })}
                        onSignIn={() => signIn(true)} />
                )
                : (
                    <InvitationProblem link={link} invitation={invitation} onRetry={onRestart} onProve={() => onScreen({ ...screen, proving: true })}
                        onSignIn={() => signIn(invitation.state !== "member")} />
                );
        }
        case "sign-in":
            return <SignIn failed={screen.failed} onSignedIn={onSession} onBack={screen.invited ? onRestart : undefined} />;
        case "choose":
            return <ChooseSession sessions={screen.sessions} onChoose={onSession} onSignIn={() => signIn(false)} />;
        case "session":
            return <SessionView key={`${screen.session.userId}/${screen.session.deviceId}`} session={screen.session} onGone={onGone} />;
        case "ended":
            return (
                <Ended how={screen.how} organisation={screen.session.guest?.organisation}
                    onSignIn={screen.session.guest ? undefined : () => signIn(false)} />
            );
    }
}

/** Nothing for a moment, so that what comes quickly does not flicker. */
function WaitingForServer() {
    const { t } = useTranslation();
    const [shown, setShown] = useState(false);
    useEffect(() => {
        const timer = setTimeout(() => setShown(true), 400);
        return () => clearTimeout(timer);
    }, []);
    return shown ? <Waiting text={t("app.loading")} /> : null;
}
