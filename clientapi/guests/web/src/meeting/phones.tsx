// Getting into the meeting by phone, and having somebody called (/_roomline/client/v1/rooms/{roomId}/meeting/phone).

import type { MatrixClient, Room } from "matrix-js-sdk";
import { type FormEvent, useCallback, useEffect, useRef, useState } from "react";

import { isUnreachable, Refused, request } from "../api.ts";
import { useTranslation } from "../i18n/index.tsx";
import { Dialog } from "../parts/Dialog.tsx";
import { BusyButton, Failure, Field } from "../parts/Field.tsx";
import { Icon } from "./icons.tsx";
import { type MeetingKey, isKey, useWords } from "./words.ts";

interface Call {
    readonly call_id: string;
    readonly direction: "in" | "out";
    readonly state: string;
    readonly name: string;
    readonly requested_by?: string;
}

interface Phone {
    readonly numbers: readonly { readonly country: string; readonly number: string }[];
    readonly pin?: string;
    readonly dial_out: boolean;
    readonly calls: readonly Call[];
}

const path = (room: Room) => `/_roomline/client/v1/rooms/${encodeURIComponent(room.roomId)}/meeting/phone`;

/** How phones get in. It shows nothing where there are none. */
export function Phones({ client, room, here, moderates }: { readonly client: MatrixClient; readonly room: Room; /** How many people are in the meeting. */ readonly here: number; readonly moderates: boolean }) {
    const t = useWords();
    const { phone, refresh } = usePhone(client, room, here);
    const [calling, setCalling] = useState(false);
    const me = client.getUserId();
    const onWay = phone?.calls.filter(({ state, direction }) => direction === "out" && state !== "answered") ?? [];
    const hangUp = (id: string) => request("DELETE", `${path(room)}/calls/${encodeURIComponent(id)}`, undefined, client.getAccessToken() ?? undefined).then(refresh, refresh);
    if (!phone || (phone.numbers.length === 0 && !phone.dial_out && onWay.length === 0)) return null;
    return (
        <section className="mt-phones" aria-label={t("phone")}>
            {phone.dial_out && <button type="button" className="button wide" onClick={() => setCalling(true)} data-testid="meeting-call"><Icon name="phone" />{t("phone.call")}</button>}
            {onWay.length > 0 && (
                <ul>
                    {onWay.map((call) => (
                        <li key={call.call_id} className="mt-row">
                            <Icon name="phone" />
                            <span className="mt-row-words"><b>{call.name}</b><small role="status">{t(call.state === "waiting" ? "phone.waiting" : "phone.ringing")}</small></span>
                            {(moderates || call.requested_by === me) && (
                                <button type="button" className="icon-button" aria-label={`${t("phone.hangup")}: ${call.name}`} title={t("phone.hangup")} onClick={() => void hangUp(call.call_id)}><Icon name="hangUp" /></button>
                            )}
                        </li>
                    ))}
                </ul>
            )}
            {phone.numbers.length > 0 && phone.pin && (
                <details>
                    <summary>{t("phone.in")}</summary>
                    <p>{t("phone.in.text", { pin: phone.pin.replace(/(\d{3})(?=\d{2})/g, "$1 ") })}</p>
                    <ul>{phone.numbers.map(({ number, country }) => <li key={number}><a href={`tel:${number}`}>{number}</a> <span className="muted">{country}</span></li>)}</ul>
                </details>
            )}
            {calling && <CallDialog client={client} room={room} onClose={() => setCalling(false)} onCalled={refresh} />}
        </section>
    );
}

const soon = 3000; // ms between looks while somebody is being called

/** What the server says of phones, asked anew when people come and go and while one is being called. */
function usePhone(client: MatrixClient, room: Room, here: number): { phone?: Phone; refresh(): void } {
    const [phone, setPhone] = useState<Phone>();
    const refresh = useCallback(() => {
        request<Phone>("GET", path(room), undefined, client.getAccessToken() ?? undefined).then(setPhone, () => {});
    }, [client, room]);
    useEffect(refresh, [refresh, here]);
    const busy = phone?.calls.some(({ state }) => state !== "answered") ?? false;
    useEffect(() => {
        if (!busy) return;
        const timer = setInterval(refresh, soon);
        return () => clearInterval(timer);
    }, [busy, refresh]);
    return { phone, refresh };
}

function CallDialog({ client, room, onClose, onCalled }: { readonly client: MatrixClient; readonly room: Room; onClose(): void; onCalled(): void }) {
    const t = useWords();
    const { t: page, language } = useTranslation();
    const [number, setNumber] = useState("");
    const [name, setName] = useState("");
    const [busy, setBusy] = useState(false);
    const [wrong, setWrong] = useState<{ field: boolean; text: string }>();
    const input = useRef<HTMLInputElement>(null);
    const submit = async (event: FormEvent) => {
        event.preventDefault();
        if (busy) return;
        if (!/^\+?[\d\s().\/-]{3,24}$/.test(number.trim())) {
            input.current?.focus();
            return setWrong({ field: true, text: t("phone.number.wrong") });
        }
        setBusy(true);
        setWrong(undefined);
        try {
            await request("POST", `${path(room)}/call`, { number: number.trim(), name: name.trim(), language }, client.getAccessToken() ?? undefined);
            onCalled();
            onClose();
        } catch (error) {
            setWrong(isUnreachable(error) ? { field: false, text: page("problem.offline.short") } : { field: error instanceof Refused && error.code === "M_INVALID_PARAM", text: t(whyNot(error)) });
        } finally {
            setBusy(false);
        }
    };
    return (
        <Dialog title={t("phone.call")} onClose={onClose}>
            <form className="form" noValidate onSubmit={(event) => void submit(event)}>
                <Field ref={input} label={t("phone.number")} type="tel" autoComplete="off" value={number} required error={wrong?.field ? wrong.text : undefined} onChange={({ target }) => setNumber(target.value)} />
                <Field label={t("phone.name")} hint={t("phone.name.hint")} autoComplete="off" value={name} maxLength={100} onChange={({ target }) => setName(target.value)} />
                <Failure text={wrong && !wrong.field ? wrong.text : undefined} />
                <div className="actions"><BusyButton busy={busy}>{t("phone.call.now")}</BusyButton></div>
            </form>
        </Dialog>
    );
}

/** What to say of a call that the server does not make. */
function whyNot(error: unknown): MeetingKey {
    if (!(error instanceof Refused)) throw error;
    if (error.code === "M_INVALID_PARAM") return "phone.number.wrong";
    if (error.code === "M_LIMIT_EXCEEDED") return "phone.limit";
    const reason = `phone.refused.${String(error.body["org.roomline.reason"])}`;
    if (isKey(reason)) return reason;
    if (error.code === "M_BAD_STATE") return "phone.already";
    return ["M_FORBIDDEN", "M_THREEPID_DENIED"].includes(error.code) ? "phone.refused" : "action.failed";
}
