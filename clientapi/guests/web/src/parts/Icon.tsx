import type { ReactNode } from "react";

// Drawn on 24 × 24, in lines of the colour of the text.
const shapes = {
    calendar: <><rect x="4" y="5.5" width="16" height="14.500" rx="2.5" /><path d="M4 10h16M8.5 3.500v4m7-4v4" /></>,
    check: <path d="M5 12.5l4.5 4.500L19 7.5" />,
    clock: <><circle cx="12" cy="12" r="8.5" /><path d="M12 7.500V12l3 2" /></>,
    close: <path d="M6 6l12 12M18 6L6 18" />,
    copy: <><rect x="8.5" y="8.5" width="11" height="11" rx="2.5" /><path d="M15.5 5.500v-.5a1.5 1.5 0 0 0-1.5-1.500H6A2.5 2.5 0 0 0 3.5 6v8A1.5 1.5 0 0 0 5 15.500h.5" /></>,
    door: <><path d="M14 4H7a2 2 0 0 0-2 2v12a2 2 0 0 0 2 2h7" /><path d="M10.5 12H20m-3.5-3.500L20 12l-3.5 3.5" /></>,
    key: <><circle cx="8" cy="15" r="4" /><path d="M11 12l8.5-8.500M16 7l3 3" /></>,
    language: <><circle cx="12" cy="12" r="8.5" /><path d="M3.5 12h17M12 3.500c5 5.5 5 11.5 0 17c-5-5.5-5-11.5 0-17z" /></>,
    link: <><path d="M10 14a4 4 0 0 0 6 .4l3-3a4 4 0 0 0-5.700-5.700L12 7" /><path d="M14 10a4 4 0 0 0-6-.4l-3 3a4 4 0 0 0 5.700 5.700L12 17" /></>,
    lock: <><rect x="5" y="10.5" width="14" height="9.5" rx="2.5" /><path d="M8 10.500V8a4 4 0 0 1 8 0v2.5" /></>,
    mail: <><rect x="3.5" y="5.5" width="17" height="13" rx="2.5" /><path d="M4.5 7.500L12 13l7.5-5.5" /></>,
    people: <><circle cx="9" cy="8.5" r="3.5" /><path d="M2.5 19.500a6.5 6.5 0 0 1 13 0M16 5.300a3.5 3.5 0 0 1 0 6.400M18 14.200a6.5 6.5 0 0 1 3.5 5.300" /></>,
    "person-add": <><circle cx="10" cy="8.5" r="3.5" /><path d="M3.5 19.500a6.5 6.5 0 0 1 12-3.500M18.5 14.500v6m-3-3h6" /></>,
    phone: <><rect x="7" y="3" width="10" height="18" rx="2.5" /><path d="M11 18h2" /></>,
    offline: <path d="M4 4l16 16M8.5 12.500A6 6 0 0 1 12 11m4 2a6 6 0 0 0-.8-.7M5 9a10.5 10.5 0 0 1 3-2m4-1a10.5 10.5 0 0 1 7 3M12 17.500v.1" />,
    search: <><circle cx="10.5" cy="10.5" r="6.5" /><path d="M15.5 15.500L20.5 20.5" /></>,
    tabs: <><rect x="3.5" y="7.5" width="13" height="11" rx="2.5" /><path d="M8 4.500h10A2.5 2.5 0 0 1 20.5 7v8" /></>,
    talk: <path d="M4 8.5A3.5 3.5 0 0 1 7.5 5h9A3.5 3.5 0 0 1 20 8.5v5a3.5 3.5 0 0 1-3.5 3.5H11l-4 3.2V17A3.5 3.5 0 0 1 4 13.5z" />,
    warning: <><path d="M12 4L2.800 19.500h18.400z" /><path d="M12 10v4.500m0 2.500v.1" /></>,
} satisfies Record<string, ReactNode>;

export type IconName = keyof typeof shapes;

/** A picture that says nothing that is not also said in words beside it or by the button's label. */
export function Icon({ name }: { readonly name: IconName }) {
    return (
        <svg viewBox="0 0 24 24" width="24" height="24" fill="none" stroke="currentColor" strokeWidth="1.8" strokeLinecap="round"
            strokeLinejoin="round" aria-hidden="true" focusable="false">
            {shapes[name]}
        </svg>
    );
}
