// Pictures on a meeting's buttons, drawn as the room's: 24 × 24, lines in the colour of the text.

const paths = {
    back: "M15 5l-7 7 7 7",
    camera: "M3 7.500A2 2 0 0 1 5 5.500h8a2 2 0 0 1 2 2v9a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2zM15 11l6-3.500v9L15 13",
    cameraOff: "M15 15v1.500a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2v-9a2 2 0 0 1 1.500-1.950M9 5.500h4a2 2 0 0 1 2 2V11l6-3.500v9L18 15M3 3l18 18",
    chat: "M4 8.500A3.500 3.500 0 0 1 7.500 5h9A3.500 3.500 0 0 1 20 8.500v5a3.500 3.500 0 0 1-3.500 3.500H11l-4 3.200V17A3.500 3.500 0 0 1 4 13.500z",
    check: "M5 12.5l4.5 4.5L19 7.5",
    close: "M6 6l12 12M18 6L6 18",
    door: "M14 4H7a2 2 0 0 0-2 2v12a2 2 0 0 0 2 2h7M10.500 12H20m-3.500-3.500L20 12l-3.500 3.500",
    end: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18M9 9l6 6M15 9l-6 6",
    grid: "M4 5h7v6H4zM13 5h7v6h-7zM4 13h7v6H4zM13 13h7v6h-7z",
    hand: "M8 13V6.500a1.500 1.500 0 0 1 3 0V11V4.500a1.500 1.500 0 0 1 3 0V11V6a1.500 1.500 0 0 1 3 0v8c0 4-2.500 6.500-6 6.500-3 0-4.500-1.500-6-4.500l-2-4c-.4-1 .9-2 1.800-1.200L8 13",
    face: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18M8.500 14.500a4.200 4.200 0 0 0 7 0M9 9.500v.1M15 9.500v.1",
    full: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
    hangUp: "M3 14.500c0-1 .3-1.800 1-2.500 4.500-4.300 11.500-4.300 16 0 .7.7 1 1.500 1 2.500v1c0 .8-.7 1.300-1.500 1.100l-3-.8c-.6-.2-1-.7-1-1.300v-1.700c-2.300-.8-4.700-.8-7 0v1.700c0 .6-.4 1.100-1 1.300l-3 .8c-.8.2-1.500-.3-1.500-1.100z",
    invite: "M10 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8M3 20c.5-4 3.5-5.5 7-5.5 1.5 0 2.9.3 4 .9M18 14v6M15 17h6",
    keyboard: "M3 7h18v10H3zM6.500 10.500v.1M10 10.500v.1M14 10.500v.1M17.500 10.500v.1M8 14h8",
    lock: "M6 11h12v9H6zM8.500 11V8a3.500 3.500 0 0 1 7 0v3",
    microphone: "M12 15a3.500 3.500 0 0 0 3.500-3.500v-5a3.500 3.500 0 0 0-7 0v5A3.500 3.500 0 0 0 12 15M5.500 11.500a6.500 6.500 0 0 0 13 0M12 18v3",
    microphoneOff: "M8.500 8.500v3a3.500 3.500 0 0 0 5.500 2.900M15.500 12V6.500a3.500 3.500 0 0 0-6.700-1.400M5.500 11.500a6.500 6.500 0 0 0 10.500 5M18.500 11.500c0 .8-.1 1.500-.4 2.200M12 18v3M4 3l17 17",
    more: "M5 12h.01M12 12h.01M19 12h.01",
    people: "M9 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8M2.500 20c.5-4 3.200-5.500 6.500-5.500s6 1.500 6.500 5.500M16 4.300a4 4 0 0 1 0 7.400M18 14.800c2 .7 3.200 2.300 3.500 5.200",
    phone: "M6.500 3.500h3l1.500 4.500-2 1.500a11 11 0 0 0 5.500 5.500l1.500-2 4.500 1.500v3a2 2 0 0 1-2.200 2A16.500 16.500 0 0 1 4.500 5.700a2 2 0 0 1 2-2.200",
    pin: "M9 4h6l-.8 6.500L17.500 13v2h-11v-2l3.300-2.500zM12 15v6",
    pip: "M4 5h16v14H4zM12.500 12H18v5h-5.500z",
    record: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18M12 15a3 3 0 1 0 0-6 3 3 0 0 0 0 6",
    screen: "M3 5h18v11H3zM9 20h6M12 16v4M12 13V8.500M9.500 10.500L12 8l2.500 2.500",
    settings: "M4 7h9M17 7h3M15 9.500a2.500 2.500 0 1 0 0-5 2.500 2.500 0 0 0 0 5M4 17h3M11 17h9M9 19.500a2.500 2.500 0 1 0 0-5 2.500 2.500 0 0 0 0 5",
    sound: "M4 9.500v5h3.500l4.500 4v-13L7.500 9.500zM15.500 9a4.200 4.200 0 0 1 0 6M18 6.500a8 8 0 0 1 0 11",
    speaker: "M4 5h16v9H4zM4 17.500h4.500v2H4zM10 17.500h4.500v2H10zM16 17.500h4v2h-4z",
    unlock: "M6 11h12v9H6zM8.500 11V8a3.500 3.500 0 0 1 6.500-1.800",
    warning: "M12 4l9 16H3zM12 10v4.500M12 17.200v.1",
};

export type IconName = keyof typeof paths;

export function Icon({ name }: { readonly name: IconName }) {
    return (
        <svg viewBox="0 0 24 24" width="24" height="24" fill={name === "hangUp" ? "currentColor" : "none"} stroke="currentColor" strokeWidth={name === "more" ? 3 : 1.8}
            strokeLinecap="round" strokeLinejoin="round" aria-hidden="true" focusable="false">
            <path d={paths[name]} />
        </svg>
    );
}

/** Three bars, of which as many are filled as the connection is good. */
export function Bars({ filled }: { readonly filled: number }) {
    return (
        <svg viewBox="0 0 24 24" width="24" height="24" aria-hidden="true" focusable="false">
            {[0, 1, 2].map((bar) => (
                <rect key={bar} x={4 + bar * 6} y={14 - bar * 4.5} width="4" height={6 + bar * 4.5} rx="1" fill="currentColor" opacity={bar < filled ? 1 : 0.3} />
            ))}
        </svg>
    );
}
