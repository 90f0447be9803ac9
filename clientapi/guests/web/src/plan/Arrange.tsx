import { type FormEvent, useId, useRef, useState } from "react";

import { Refused } from "../api.ts";
import { useTranslation } from "../i18n/index.tsx";
import { LinkToCopy, whatIsWrong } from "../member/listed.tsx";
import { BusyButton, Choice, Failure, Field } from "../parts/Field.tsx";
import { Icon } from "../parts/Icon.tsx";
import { after, dayOf, inviteesOf, type Meeting, type meetingsOf, type Rhythm, rhythms, ruleOf, timeOf } from "./meetings.ts";
import { useWords } from "./words.ts";

const hour = 3_600_000; // ms
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;

/** The next full hour that is at least half an hour off. */
const soon = () => new Date(Math.ceil((Date.now() + hour / 2) / hour) * hour);

type Problem = "what" | "date" | "invitees" | "form";

/** The form for one more meeting. */
export function Arrange({ calls }: { readonly calls: ReturnType<typeof meetingsOf> }) {
    const t = useWords();
    const { t: page, language } = useTranslation();
    const [title, setTitle] = useState("");
    const [day, setDay] = useState(() => dayOf(soon()));
    const [time, setTime] = useState(() => timeOf(soon()));
    const [minutes, setMinutes] = useState("60");
    const [rhythm, setRhythm] = useState<Rhythm>("once");
    const [times, setTimes] = useState("10");
    const [typed, setTyped] = useState("");
    const [lobby, setLobby] = useState("");
    const [link, setLink] = useState(false);
    const [busy, setBusy] = useState(false);
    const [wrong, setWrong] = useState<{ where: Problem; text: string }>();
    const [done, setDone] = useState<Meeting>();
    const inputs = { what: useRef<HTMLInputElement>(null), date: useRef<HTMLInputElement>(null), invitees: useRef<HTMLTextAreaElement>(null) };
    const linkId = useId();
    const durations = [15, 30, 45, 60, 90, 120, 180, 240].map((n) => [String(n), n % 60 === 0 ? t("duration.hours", { count: n / 60 }) : t("duration.minutes", { count: n })] as const);

    const refuse = (where: Exclude<Problem, "form">, text: string) => {
        inputs[where].current?.focus();
        setWrong({ where, text });
    };
    const submit = async (event: FormEvent) => {
        event.preventDefault();
        if (busy) return;
        setDone(undefined);
        const begins = new Date(`${day}T${time}`), { invitees, wrong: nobody } = inviteesOf(typed, language);
        if (title.trim() === "") return refuse("what", t("what.missing"));
        if (!(begins.getTime() > Date.now())) return refuse("date", t("date.past"));
        if (rhythm === "weekdays" && [0, 6].includes(begins.getDay())) return refuse("date", t("date.weekend"));
        if (nobody.length > 0) return refuse("invitees", t("invitees.wrong", { count: nobody.length, names: nobody.join(", ") }));
        setBusy(true);
        setWrong(undefined);
        try {
            setDone(await calls.arrange({
                title: title.trim(), start: `${day}T${time}`, end: after(day, time, Number(minutes)), timezone: zone, recurrence: ruleOf(rhythm, Number(times)), invitees, link,
                lobby: lobby || undefined,
            }));
            setTitle("");
            setTyped("");
        } catch (error) {
            const code = error instanceof Refused ? error.code : "", other = whatIsWrong(error);
            setWrong({ where: "form", text: code === "M_FORBIDDEN" ? t("forbidden") : code === "M_INVALID_PARAM" ? t("failed") : page(other.key, other.values) });
        } finally {
            setBusy(false);
        }
    };
    const saying = (where: Problem) => (wrong?.where === where ? wrong.text : undefined);
    return (
        <form className="form" noValidate onSubmit={(event) => void submit(event)}>
            <Field ref={inputs.what} label={t("what")} error={saying("what")} value={title} required maxLength={200} autoComplete="off" onChange={({ target }) => setTitle(target.value)} />
            <div className="pair">
                <Field ref={inputs.date} label={t("date")} error={saying("date")} type="date" min={dayOf(new Date())} value={day} required onChange={({ target }) => setDay(target.value)} />
                <Field label={t("start")} type="time" value={time} required onChange={({ target }) => setTime(target.value)} />
                <Choice label={t("duration")} value={minutes} options={durations} onChange={setMinutes} />
                <Choice label={t("rhythm")} value={rhythm} options={rhythms.map((name) => [name, t(`rhythm.${name}`)])} onChange={(value) => setRhythm(value as Rhythm)} />
                {rhythm !== "once" && <Field label={t("times")} type="number" min={2} max={200} value={times} required onChange={({ target }) => setTimes(target.value)} />}
            </div>
            <p className="muted small">{t("zone", { zone: zone.replaceAll("_", " ") })}</p>
            <Invitees ref={inputs.invitees} value={typed} error={saying("invitees")} onChange={setTyped} />
            <Choice label={t("lobby")} value={lobby}
                options={[["", t("lobby.default")], ["nobody", t("lobby.nobody")], ["guests", t("lobby.guests")], ["everybody", t("lobby.everybody")]]} onChange={setLobby} />
            <label htmlFor={linkId} className="check">
                <input id={linkId} type="checkbox" checked={link} onChange={({ target }) => setLink(target.checked)} />
                <span>{t("link")}<br /><span className="muted small">{t("link.meeting")}</span></span>
            </label>
            <Failure text={saying("form")} />
            <div role="status">{done && <Done meeting={done} />}</div>
            {done?.link && link && <LinkToCopy link={done.link} hint={t("link.hint")} />}
            <div className="actions"><BusyButton busy={busy}>{t("arrange")}</BusyButton></div>
        </form>
    );
}

function Invitees({ ref, value, error, onChange }: { readonly ref: React.Ref<HTMLTextAreaElement>; readonly value: string; readonly error?: string; onChange(value: string): void }) {
    const t = useWords();
    const id = useId();
    return (
        <div className="field">
            <label htmlFor={id}>{t("invitees")}</label>
            <textarea ref={ref} id={id} className="input" rows={3} autoCapitalize="none" spellCheck={false} value={value} aria-invalid={error !== undefined}
                aria-describedby={`${id}-hint ${id}-error`} onChange={({ target }) => onChange(target.value)} />
            <p id={`${id}-hint`} className="hint">{t("invitees.hint")}</p>
            <p id={`${id}-error`} className="error" role="alert">{error}</p>
        </div>
    );
}

function Done({ meeting }: { readonly meeting: Meeting }) {
    const t = useWords();
    const problems = meeting.problems ?? [];
    const names = problems.map(({ user_id: user, address }) => user ?? address).join(", ");
    return (
        <>
            <div className="notice good"><Icon name="check" /><p>{t("arranged", { title: meeting.title })}</p></div>
            {problems.length > 0 && <div className="notice warning"><Icon name="warning" /><p>{t("arranged.problems", { count: problems.length, names })}</p></div>}
        </>
    );
}
