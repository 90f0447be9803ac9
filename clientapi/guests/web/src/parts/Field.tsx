import { type InputHTMLAttributes, type ReactNode, type Ref, useId } from "react";

import { Icon } from "./Icon.tsx";

interface FieldProps extends InputHTMLAttributes<HTMLInputElement> {
    readonly label: string;
    readonly hint?: string;
    /** Why what was typed can't be taken; read out when it comes. */
    readonly error?: string;
    readonly ref?: Ref<HTMLInputElement>;
}

/** An input with its label, a hint, and what is wrong with it. */
export function Field({ label, hint, error, className, ...input }: FieldProps) {
    const id = useId();
    const described = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(" ");
    return (
        <div className="field">
            <label htmlFor={id}>{label}</label>
            <input id={id} className={`input ${className ?? ""}`} aria-invalid={error !== undefined} aria-describedby={described || undefined} {...input} />
            {hint && <p id={`${id}-hint`} className="hint">{hint}</p>}
            <p id={`${id}-error`} className="error" role="alert">{error}</p>
        </div>
    );
}

/** A button that shows that its work is under way. It stays where it is and keeps the focus. */
export function BusyButton({ busy, children, className }: { readonly busy: boolean; readonly children: ReactNode; readonly className?: string }) {
    return (
        <button type="submit" className={`button main ${className ?? ""}`} aria-disabled={busy}>
            {busy && <span className="spinner" />}
            {children}
        </button>
    );
}

export function Choice({ label, value, options, onChange }: {
    readonly label: string;
    readonly value: string;
    readonly options: readonly (readonly [string, string])[];
    onChange(value: string): void;
}) {
    const id = useId();
    return (
        <div className="field">
            <label htmlFor={id}>{label}</label>
            <select id={id} className="input" value={value} onChange={({ target }) => onChange(target.value)}>
                {options.map(([option, text]) => <option key={option} value={option}>{text}</option>)}
            </select>
        </div>
    );
}

/** What went wrong with the whole of a form. */
export function Failure({ text }: { readonly text?: string }) {
    return <div role="alert">{text && <p className="notice danger"><Icon name="warning" />{text}</p>}</div>;
}
