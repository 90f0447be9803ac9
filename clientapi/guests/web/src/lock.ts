// One tab at a time has a session: two would use one device's keys and spoil each other's cryptography, and one refresh token twice.

import { type Session, sessionKey } from "./session.ts";

export interface Hold {
    /** Whether this tab has the session; if not, another has. */
    readonly held: boolean;
    release(): void;
}

const channelName = "roomline.tabs";

/** Takes a session for this tab. lost is called if another tab takes it away. With force it is taken from another tab. */
export async function holdSession(session: Session, force: boolean, lost: () => void): Promise<Hold> {
    const name = `roomline:${sessionKey(session)}`;
    const tabs = new BroadcastChannel(channelName);
    if (force) tabs.postMessage(name); // who has it stops, and lets go of it
    let release!: () => void;
    const until = new Promise<void>((resolve) => {
        release = () => {
            tabs.close();
            resolve();
        };
    });
    let mine = false;
    const held = await new Promise<boolean>((decided) => {
        const hold = async (lock: Lock | null) => {
            mine = lock !== null;
            decided(mine);
            if (!mine) return;
            tabs.onmessage = ({ data }) => {
                if (data !== name) return;
                lost();
                release();
            };
            await until;
        };
        const ask = (options: LockOptions, otherwise: () => void) => {
            // The promise fails, too, when a lock that was had is stolen.
            navigator.locks.request(name, options, hold).catch(() => (mine ? lost() : otherwise()));
        };
        if (!force) return ask({ ifAvailable: true }, () => decided(false));
        // A tab that the browser put to sleep does not answer.
        ask({ signal: AbortSignal.timeout(1500) }, () => ask({ steal: true }, () => decided(false)));
    });
    if (!held) tabs.close();
    return { held, release };
}
