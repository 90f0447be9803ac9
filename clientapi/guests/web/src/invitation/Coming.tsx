import { useId, useState } from "react";

import { isUnreachable } from "../api.ts";
import { useTranslation } from "../i18n/index.tsx";
import { Failure } from "../parts/Field.tsx";
import { type Answer, answers, sayWhetherComing } from "./invitation.ts";
import type { Link } from "./link.ts";

/** Asks whoever was invited to a meeting whether they come. Nothing is said before a button is pressed: mail programs open links, too. */
export function Coming({ link, answer }: { readonly link: Link; readonly answer: Answer | "" }) {
    const { t } = useTranslation();
    const [said, setSaid] = useState(answer);
    const [busy, setBusy] = useState(false);
    const [failed, setFailed] = useState<"problem.offline.short" | "problem.server">();
    const id = useId();
    const say = async (next: Answer) => {
        if (busy || next === said) return;
        setBusy(true);
        setFailed(undefined);
        try {
            await sayWhetherComing(link, next);
            setSaid(next);
        } catch (error) {
            setFailed(isUnreachable(error) ? "problem.offline.short" : "problem.server");
        } finally {
            setBusy(false);
        }
    };
    return (
        <div className="coming" role="group" aria-labelledby={id}>
            <p id={id}>{t("coming.question")}</p>
            <div className="actions">
                {answers.map((one) => (
                    <button key={one} type="button" className="button" aria-pressed={said === one} aria-disabled={busy} onClick={() => void say(one)}>{t(`coming.${one}`)}</button>
                ))}
            </div>
            <p role="status" className="muted small">{said !== "" && said !== answer ? t("coming.told") : ""}</p>
            <Failure text={failed && t(failed)} />
        </div>
    );
}
