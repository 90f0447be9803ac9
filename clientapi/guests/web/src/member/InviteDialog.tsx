import type { MatrixClient } from "matrix-js-sdk";
import { type FormEvent, useId, useMemo, useRef, useState } from "react";

import { languages, useTranslation } from "../i18n/index.tsx";
import { Dialog } from "../parts/Dialog.tsx";
import { BusyButton, Choice, Failure, Field } from "../parts/Field.tsx";
import { Icon } from "../parts/Icon.tsx";
import { Tabs } from "../parts/Tabs.tsx";
import { address, type Delivery, type Guest, invitationsOf, type SentInvitation } from "./invitations.ts";
import { LinkToCopy, Loaded, useListed, whatIsWrong, type Wrong } from "./listed.tsx";

type Calls = ReturnType<typeof invitationsOf>;
type Tab = "address" | "link" | "sent" | "guests";

/** Inviting people who have no account: by an address or a link; what became of invitations; who is here as a guest. */
export function InviteDialog({ client, roomId, onClose }: { readonly client: MatrixClient; readonly roomId: string; onClose(): void }) {
    const { t } = useTranslation();
    const calls = useMemo(() => invitationsOf(client, roomId), [client, roomId]);
    const [tab, setTab] = useState<Tab>("address");
    return (
        <Dialog title={t("invite.title")} onClose={onClose}>
            <Tabs<Tab> label={t("invite.title")} tabs={tabs.map(([name, key]) => [name, t(key)])} tab={tab} onTab={setTab} />
            <div role="tabpanel" id={`panel-${tab}`} aria-labelledby={`tab-${tab}`} className="panel">
                {(tab === "address" || tab === "link") && <InviteForm key={tab} calls={calls} byLink={tab === "link"} />}
                {tab === "sent" && <Sent calls={calls} />}
                {tab === "guests" && <Guests calls={calls} />}
            </div>
        </Dialog>
    );
}

const tabs = [["address", "invite.tab.address"], ["link", "invite.tab.link"], ["sent", "invite.tab.sent"], ["guests", "invite.tab.guests"]] as const;

const day = 86_400_000; // ms

function InviteForm({ calls, byLink }: { readonly calls: Calls; readonly byLink: boolean }) {
    const { t, language: own } = useTranslation();
    const [typed, setTyped] = useState("");
    const [language, setLanguage] = useState<string>(own);
    const [role, setRole] = useState("participant");
    const [days, setDays] = useState("3");
    const [uses, setUses] = useState("1");
    const [proof, setProof] = useState(false);
    const [busy, setBusy] = useState(false);
    const [wrong, setWrong] = useState<Wrong>();
    const [done, setDone] = useState<{ text: string; link?: string }>();
    const input = useRef<HTMLInputElement>(null);
    const proofId = useId();
    const lifetimes = ([1, 3, 7, 14] as const).map((count) => [String(count), t("invite.days", { count })] as const);

    const submit = async (event: FormEvent) => {
        event.preventDefault();
        if (busy) return;
        const to = byLink ? undefined : address(typed);
        if (!byLink && !to) {
            input.current?.focus();
            return setWrong({ key: typed.trim() === "" ? "invite.address.missing" : "invite.address.wrong", field: true });
        }
        setBusy(true);
        setWrong(undefined);
        setDone(undefined);
        try {
            const sent = await calls.invite({
                ...to, language, role: role as "participant" | "observer", expires_in_ms: Number(days) * day, proof: !byLink && proof,
                ...(byLink ? { uses: Number(uses) } : {}),
            });
            setDone({ text: byLink ? t("invite.done.link") : t(sent.state === "member" ? "invite.done.member" : "invite.done", { address: typed.trim() }), link: sent.link });
            setTyped("");
        } catch (error) {
            setWrong(whatIsWrong(error));
        } finally {
            setBusy(false);
        }
    };
    return (
        <form className="form" noValidate onSubmit={(event) => void submit(event)}>
            {!byLink && (
                <Field ref={input} label={t("invite.address")} hint={t("invite.address.hint")} error={wrong?.field ? t(wrong.key) : undefined} autoComplete="off"
                    inputMode="email" autoCapitalize="none" spellCheck={false} value={typed} required onChange={({ target }) => setTyped(target.value)} />
            )}
            {byLink && <p className="muted small">{t("invite.link.text")}</p>}
            <div className="pair">
                <Choice label={t("invite.language")} value={language} options={Object.entries(languages)} onChange={setLanguage} />
                <Choice label={t("invite.role")} value={role} options={[["participant", t("invite.participant")], ["observer", t("invite.observer")]]} onChange={setRole} />
                <Choice label={t("invite.lifetime")} value={days} options={lifetimes} onChange={setDays} />
                {byLink && (
                    <Choice label={t("invite.uses")} value={uses} options={["1", "5", "10", "25", "100"].map((n) => [n, t("invite.uses.count", { count: Number(n) })])} onChange={setUses} />
                )}
            </div>
            {!byLink && (
                <label htmlFor={proofId} className="check">
                    <input id={proofId} type="checkbox" checked={proof} onChange={({ target }) => setProof(target.checked)} />
                    <span>{t("invite.proof")}<br /><span className="muted small">{t("invite.proof.hint")}</span></span>
                </label>
            )}
            <Failure text={wrong && !wrong.field ? t(wrong.key, wrong.values) : undefined} />
            <div role="status">
                {done && <div className="notice good"><Icon name="check" /><p>{done.text}</p></div>}
            </div>
            {done?.link && <LinkToCopy link={done.link} />}
            <div className="actions"><BusyButton busy={busy}>{t(byLink ? "invite.make" : "invite.send")}</BusyButton></div>
        </form>
    );
}

const tones: Record<Delivery, string> = {
    held: "", queued: "", sending: "", sent: "", delivered: "good", opened: "good", redeemed: "good", member: "good",
    failed: "danger", cancelled: "", expired: "warning", revoked: "",
};
const over: readonly Delivery[] = ["redeemed", "expired", "revoked", "member", "cancelled"];

function Sent({ calls }: { readonly calls: Calls }) {
    const { t, date } = useTranslation();
    const { items, wrong, change } = useListed(calls.list);
    const short = { dateStyle: "medium", timeStyle: "short" } as const;
    const what = (invitation: SentInvitation) => invitation.address ?? t("invite.a.link");
    return (
        <>
            <Failure text={wrong && t(wrong.key, wrong.values)} />
            <Loaded items={items} wrong={wrong} none={t("invite.none")} />
            <ul className="entries">
                {items?.map((invitation) => (
                    <li key={invitation.invitation_id}>
                        <Icon name={invitation.medium === "msisdn" ? "phone" : invitation.medium === "email" ? "mail" : "link"} />
                        <div className="entry-text">
                            <span className="entry-name">{what(invitation)}</span>
                            <span className="entry-line">
                                <span className={`tag ${tones[invitation.state]}`}>{t(`invite.state.${invitation.state}`)}</span>
                                {(invitation.uses_allowed ?? 1) > 1 && <span className="muted small">{t("invite.used", { uses: invitation.uses ?? 0, of: invitation.uses_allowed! })}</span>}
                                {invitation.expires_ts && !over.includes(invitation.state) && <span className="muted small">{t("invite.until", { date: date(invitation.expires_ts, short) })}</span>}
                            </span>
                        </div>
                        {!over.includes(invitation.state) && (
                            <div className="entry-actions">
                                {invitation.medium && (
                                    <button type="button" className="button plain" aria-label={t("invite.of", { action: t("invite.resend"), what: what(invitation) })}
                                        onClick={() => void change(() => calls.resend(invitation.invitation_id))}>{t("invite.resend")}</button>
                                )}
                                <button type="button" className="button plain" aria-label={t("invite.of", { action: t("invite.revoke"), what: what(invitation) })}
                                    onClick={() => void change(() => calls.revoke(invitation.invitation_id))}>{t("invite.revoke")}</button>
                            </div>
                        )}
                    </li>
                ))}
            </ul>
        </>
    );
}

function Guests({ calls }: { readonly calls: Calls }) {
    const { t, date } = useTranslation();
    const { items, wrong, change } = useListed(calls.guests);
    const name = (guest: Guest) => guest.displayname ?? guest.user_id;
    const longer = (guest: Guest) => Math.max(guest.expires_ts ?? 0, Date.now()) + 7 * day;
    return (
        <>
            <Failure text={wrong && t(wrong.key, wrong.values)} />
            <Loaded items={items} wrong={wrong} none={t("invite.noguests")} />
            <ul className="entries">
                {items?.map((guest) => (
                    <li key={guest.user_id}>
                        <Icon name="people" />
                        <div className="entry-text">
                            <span className="entry-name">{name(guest)}</span>
                            <span className="muted small">
                                {[guest.address, guest.expires_ts && t("invite.until", { date: date(guest.expires_ts, { dateStyle: "medium", timeStyle: "short" }) })].filter(Boolean).join(" · ")}
                            </span>
                        </div>
                        <div className="entry-actions">
                            <button type="button" className="button plain" aria-label={t("invite.of", { action: t("invite.extend"), what: name(guest) })}
                                onClick={() => void change(() => calls.extend(guest.user_id, longer(guest)))}>{t("invite.extend")}</button>
                            <button type="button" className="button plain" aria-label={t("invite.of", { action: t("invite.remove"), what: name(guest) })}
                                onClick={() => void change(() => calls.remove(guest.user_id))}>{t("invite.remove")}</button>
                        </div>
                    </li>
                ))}
            </ul>
        </>
    );
}
