// Pictures on buttons: 24 × 24, drawn with the colour of the text. What they mean is said by the button's label.

const paths = {
    attach: "M21 12.5 12.6 21a5.5 5.5 0 0 1-7.8-7.8l8.9-8.9a3.7 3.7 0 0 1 5.2 5.2l-8.9 8.9a1.8 1.8 0 0 1-2.6-2.6l8.2-8.2",
    back: "M15 5l-7 7 7 7",
    bell: "M6 9.5a6 6 0 0 1 12 0c0 5 2 6.5 2 6.5H4s2-1.5 2-6.5M10 19.5a2.2 2.2 0 0 0 4 0",
    bellOff: "M6.5 8A6 6 0 0 1 18 9.5c0 2.5.5 4.1 1 5.1M6 10.5C5.8 14.5 4 16 4 16h12.5M10 19.5a2.2 2.2 0 0 0 4 0M4 3l16 18",
    camera: "M3 7.500A2 2 0 0 1 5 5.500h8a2 2 0 0 1 2 2v9a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2zM15 11l6-3.500v9L15 13",
    check: "M5 12.5l4.5 4.5L19 7.5",
    clock: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18M12 7v5l3.5 2",
    close: "M6 6l12 12M18 6L6 18",
    copy: "M9 9h10v11H9zM5 15V4h10",
    down: "M12 5v14M6 13l6 6 6-6",
    download: "M12 4v11M7 10.5l5 5 5-5M5 20h14",
    edit: "M4 20l1-4.5L16.5 4a2.1 2.1 0 0 1 3 3L8 18.5zM14 6.5l3 3",
    face: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18M8.5 14.5a4.2 4.2 0 0 0 7 0M9 9.5v.1M15 9.5v.1",
    file: "M6 3h8l4 4v14H6zM14 3v5h4",
    invite: "M10 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8M3 20c.5-4 3.5-5.5 7-5.5 1.5 0 2.9.3 4 .9M18 14v6M15 17h6",
    leave: "M14 4H5v16h9M10 12h11M17 8l4 4-4 4",
    lock: "M6 11h12v9H6zM8.5 11V8a3.5 3.5 0 0 1 7 0v3",
    microphone: "M12 15a3.5 3.5 0 0 0 3.5-3.5v-5a3.5 3.5 0 0 0-7 0v5A3.5 3.5 0 0 0 12 15M5.5 11.5a6.5 6.5 0 0 0 13 0M12 18v3",
    more: "M5 12h.01M12 12h.01M19 12h.01",
    pause: "M8.5 5.5v13M15.5 5.5v13",
    people: "M9 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8M2.5 20c.5-4 3.2-5.5 6.5-5.5s6 1.5 6.5 5.5M16 4.3a4 4 0 0 1 0 7.4M18 14.8c2 .7 3.2 2.3 3.5 5.2",
    play: "M8 5l11 7-11 7z",
    reply: "M9.5 6L4 11.5l5.5 5.5M4.5 11.5H14c4 0 6 2.5 6 7",
    retry: "M20 12a8 8 0 1 1-2.5-5.8M20 4v4.5h-4.5",
    send: "M4 12L4 4.5 21 12 4 19.5 4 12zM4 12h9",
    sound: "M4 9.5v5h3.500l4.5 4v-13L7.5 9.500zM15.5 9a4.2 4.2 0 0 1 0 6M18 6.500a8 8 0 0 1 0 11",
    stop: "M6.5 6.5h11v11h-11z",
    trash: "M5 7h14M9.5 7V4h5v3M7 7l1 13h8l1-13M10.5 11v5.5M13.5 11v5.5",
    unread: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18",
    warning: "M12 4l9 16H3zM12 10v4.5M12 17.2v.1",
};

export type IconName = keyof typeof paths;

export function Icon({ name }: { name: IconName }) {
    return (
        <svg viewBox="0 0 24 24" width="24" height="24" fill={name === "play" || name === "stop" ? "currentColor" : "none"} stroke="currentColor"
            strokeWidth={name === "more" ? 3 : 1.9} strokeLinecap="round" strokeLinejoin="round" aria-hidden="true" focusable="false">
            <path d={paths[name]} />
        </svg>
    );
}
