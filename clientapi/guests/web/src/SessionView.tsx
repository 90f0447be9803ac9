import { useCallback, useEffect, useRef, useState } from "react";

import { isUnreachable, Refused } from "./api.ts";
import type { Running } from "./client.ts";
import { useTranslation } from "./i18n/index.tsx";
import { enterRoom } from "./invitation/invitation.ts";
import { type EndedHow, Offline, OtherTab, ServerProblem } from "./invitation/Problems.tsx";
import { holdSession } from "./lock.ts";
import { Dialog } from "./parts/Dialog.tsx";
import { Waiting } from "./parts/Frame.tsx";
import { loaded } from "./parts/loaded.tsx";
import { forgetSession, keepSession, type Session } from "./session.ts";

const loadClient = () => import("./client.ts");
const Inside = loaded(() => import("./Inside.tsx"));

/** Fetches what a session needs while somebody still reads the invitation. */
export function preloadSession(): void {
    void loadClient().catch(() => {});
    Inside.preload();
}

/** Fetches what a session in an encrypted room needs besides. */
export function preloadCryptography(): void {
    void loadClient().then((client) => client.preloadCryptography()).catch(() => {});
}

interface SessionViewProps {
    readonly session: Session;
    /** The session is over, and what was kept for it is gone. */
    onGone(how: Gone): void;
}

/** "refused": before the guest of a prepared session was in the room, the invitation ended. */
export type Gone = EndedHow | "refused";

type Phase =
    | { is: "starting" }
    | { is: "running"; running: Running; session: Session }
    | { is: "elsewhere" }
    | { is: "offline" }
    | { is: "failed" };

/** A session: its client, in this tab alone, and what is seen of it. */
export function SessionView({ session: given, onGone }: SessionViewProps) {
    const { t } = useTranslation();
    const [session, setSession] = useState(given);
    const [phase, setPhase] = useState<Phase>({ is: "starting" });
    const [leaving, setLeaving] = useState(false);
    /** Each change starts anew; taking says that another tab has to give the session up. */
    const [start, setStart] = useState({ taking: false });
    const gone = useRef(false);
    const { organisation } = session.guest ?? {};

    const end = useCallback(async (how: Gone, running?: Running) => {
        if (gone.current) return;
        gone.current = true;
        await running?.wipe().catch(() => {});
        await forgetSession(session);
        onGone(how);
    }, [session, onGone]);

    useEffect(() => {
        let over = false;
        let stop = () => {};
        let running: Running | undefined;
        const show = (next: Phase) => !over && !gone.current && setPhase(next);
        const run = async () => {
            const hold = await holdSession(session, start.taking, () => {
                stop();
                show({ is: "elsewhere" });
            });
            if (over) return hold.release();
            if (!hold.held) return show({ is: "elsewhere" });
            stop = hold.release;
            let inside = session;
            const started = running = await (await loadClient()).start(session, {
                ended: (early) => void end(!session.guest ? "ended" : inside.guest?.entering ? "refused" : early ? "removed" : "expired", running),
                encrypted: () => {
                    const encrypted: Session = { ...session, guest: { ...session.guest!, encrypted: true } };
                    keepSession(encrypted);
                    setSession(encrypted); // starts anew, with cryptography
                },
            });
            stop = () => {
                started.stop();
                hold.release();
            };
            if (over) return stop();
            if (inside.guest?.entering) {
                await started.known();
                inside = await enterRoom(session);
            }
            show({ is: "running", running: started, session: inside });
        };
        setPhase({ is: "starting" });
        run().catch((error: unknown) => {
            stop();
            if (gone.current || over) return;
            if (error instanceof Refused && error.body["org.roomline.state"] !== undefined) return void end("refused", running);
            console.error(error);
            show({ is: isUnreachable(error) ? "offline" : "failed" });
        });
        return () => {
            over = true;
            stop();
        };
    }, [session, start, end]);

    const retry = useCallback(() => setStart({ taking: false }), []);
    const signOut = async (how: EndedHow) => {
        if (phase.is !== "running") return;
        const { running } = phase;
        await running.signOut().catch(() => {}); // without a network the token lives on at the server, but not here
        await end(how, running);
    };
    switch (phase.is) {
        case "starting":
            return <Waiting text={t("room.opening")} organisation={organisation} />;
        case "elsewhere":
            return <OtherTab organisation={organisation} onTake={() => setStart({ taking: true })} />;
        case "offline":
            return <Offline organisation={organisation} onRetry={retry} />;
        case "failed":
            return <ServerProblem organisation={organisation} onRetry={retry} />;
        case "running":
            return (
                <>
                    <Inside fallback={<Waiting text={t("room.opening")} organisation={organisation} />} running={phase.running} session={phase.session}
                        onOut={(how) => void signOut(how)} onSignOut={() => setLeaving(true)} />
                    {leaving && (
                        <Dialog title={t("signout.title")} onClose={() => setLeaving(false)}>
                            <p>{t(session.guest ? "signout.guest" : "signout.text")}</p>
                            <div className="actions">
                                <button type="button" className="button" onClick={() => setLeaving(false)}>{t("app.cancel")}</button>
                                <button type="button" className="button danger" onClick={() => void signOut("signed-out")}>{t("signout.submit")}</button>
                            </div>
                        </Dialog>
                    )}
                </>
            );
    }
}
