// A button, and what it opens above or below it.

import { type ReactNode, useEffect, useLayoutEffect, useRef, useState } from "react";

import { Icon, type IconName } from "./icons.tsx";

interface MenuProps {
    readonly label: string;
    readonly icon: IconName;
    readonly className: string;
    readonly testid?: string;
    readonly children: ReactNode;
    /** Whether it stays open when something in it was pressed. */
    readonly stays?: boolean;
    /** Side by side, and not below each other. */
    readonly row?: boolean;
}

export function Menu({ label, icon, className, testid, children, stays, row }: MenuProps) {
    const [open, setOpen] = useState(false);
    const root = useRef<HTMLDivElement>(null), button = useRef<HTMLButtonElement>(null), list = useRef<HTMLDivElement>(null);
    useEffect(() => {
        if (!open) return;
        const outside = (event: PointerEvent) => !root.current?.contains(event.target as Node) && setOpen(false);
        document.addEventListener("pointerdown", outside);
        return () => document.removeEventListener("pointerdown", outside);
    }, [open]);
    // Fixed, so that no scrolling list cuts it; where there is the space.
    useLayoutEffect(() => {
        const box = list.current, at = button.current?.getBoundingClientRect();
        if (!open || !box || !at) return;
        const { width, height } = box.getBoundingClientRect();
        box.style.left = `${Math.max(8, Math.min(at.left + at.width / 2 - width / 2, innerWidth - width - 8))}px`;
        box.style.top = `${at.top - height - 8 >= 8 ? at.top - height - 8 : Math.min(at.bottom + 8, innerHeight - height - 8)}px`;
        box.querySelector<HTMLElement>("button:not(:disabled)")?.focus();
    }, [open]);
    const close = () => {
        setOpen(false);
        button.current?.focus();
    };
    return (
        <div ref={root} className="mt-menu" onKeyDown={(event) => {
            if (event.key !== "Escape" || !open) return;
            event.preventDefault();
            event.stopPropagation();
            close();
        }} onBlur={(event) => { if (open && event.relatedTarget && !event.currentTarget.contains(event.relatedTarget)) setOpen(false); }}>
            <button ref={button} type="button" className={className} data-testid={testid} aria-label={label} title={label} aria-expanded={open} onClick={() => setOpen(!open)}><Icon name={icon} /></button>
            {open && <div ref={list} className={row ? "mt-menu-list mt-menu-row" : "mt-menu-list"} onClick={(event) => { if (!stays && (event.target as HTMLElement).closest("button")) close(); }}>{children}</div>}
        </div>
    );
}
