import { useRef } from "react";

/** Tabs as ARIA's patterns have them: one stop for Tab, arrows from one to the next. The panel's id is panel- and the tab's name. */
export function Tabs<T extends string>({ label, tabs, tab, onTab }: {
    readonly label: string;
    /** Names and words. */
    readonly tabs: readonly (readonly [T, string])[];
    readonly tab: T;
    onTab(tab: T): void;
}) {
    const buttons = useRef<(HTMLButtonElement | null)[]>([]);
    return (
        <div role="tablist" className="tabs" aria-label={label}>
            {tabs.map(([name, words], i) => (
                <button key={name} ref={(button) => void (buttons.current[i] = button)} type="button" role="tab" id={`tab-${name}`} aria-selected={tab === name}
                    aria-controls={tab === name ? `panel-${name}` : undefined} tabIndex={tab === name ? 0 : -1} onClick={() => onTab(name)}
                    onKeyDown={({ key: pressed }) => {
                        const step = pressed === "ArrowRight" ? 1 : pressed === "ArrowLeft" ? tabs.length - 1 : 0;
                        if (step === 0) return;
                        const next = (i + step) % tabs.length;
                        onTab(tabs[next]![0]);
                        buttons.current[next]?.focus();
                    }}>
                    {words}
                </button>
            ))}
        </div>
    );
}
