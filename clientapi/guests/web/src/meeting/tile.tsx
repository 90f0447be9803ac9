// One person, or one shared screen.

import type { TrackPublication } from "livekit-client";
import { useEffect, useRef } from "react";
import type { Room } from "matrix-js-sdk";

import { besideBadge, MemberAvatar } from "../room/people.tsx";
import type { Person } from "./engine.ts";
import { Bars, Icon } from "./icons.tsx";
import { useWords } from "./words.ts";

export interface Shown {
    readonly key: string;
    readonly person: Person;
    readonly screen: boolean;
}

interface TileProps {
    readonly room: Room;
    readonly shown: Shown;
    readonly pinned: boolean;
    readonly main?: boolean;
    readonly size?: { width: number; height: number };
    onPin?(): void;
}

export function Tile({ room, shown: { person, screen }, pinned, main, size, onPin }: TileProps) {
    const t = useWords();
    const member = room.getMember(person.userId);
    const name = besideBadge(person.name, member);
    const publication = screen ? person.screen : person.camera;
    const label = screen ? (person.me ? t("screen.yours") : t("screen.of", { who: name })) : name;
    const state = ["mt-tile", person.speaking && !screen ? "mt-speaking" : "", main ? "mt-main" : "", screen ? "mt-screen" : "", person.me && !screen ? "mt-me" : ""].join(" ");
    const hidden = person.secrecy === "waiting";
    return (
        <li className={state} style={size && { width: size.width, height: size.height }} data-testid={screen ? "meeting-screen" : "meeting-tile"} data-identity={person.identity}
            data-speaking={person.speaking} data-hand={person.hand !== undefined}>
            {publication && !hidden
                ? <Picture publication={publication} label={label} />
                : <span className="mt-face"><MemberAvatar member={member} id={person.userId} size="normal" /></span>}
            {!screen && person.hand !== undefined && <span className="mt-hand" role="img" aria-label={t("hand.is")}>✋</span>}
            {!screen && person.reaction && (
                <span className="mt-reaction" data-testid="meeting-reaction" role="img" aria-label={t("reaction.of", { who: name, emoji: person.reaction })}>{person.reaction}</span>
            )}
            <span className="mt-label">
                {!screen && !person.microphone && person.participant && <span className="mt-muted" role="img" aria-label={t("person.silent")}><Icon name="microphoneOff" /></span>}
                {screen && <Icon name="screen" />}
                {person.kind === "phone" && <span role="img" aria-label={t("person.phone")}><Icon name="phone" /></span>}
                <span className="mt-name">{label}{person.me && !screen && ` (${t("person.you")})`}</span>
                {!screen && person.kind === "guest" && !main && <span className="mt-mark">{t("person.guest")}</span>}
                {!person.participant && <span className="mt-aside">{t("person.connecting")}</span>}
                {person.secrecy === "waiting" && <span className="mt-aside">{t("person.waiting")}</span>}
                {person.secrecy === "plain" && <span className="mt-aside mt-warning">{t("person.plain")}</span>}
                {!screen && (person.quality === "poor" || person.quality === "lost") && (
                    <span className={`mt-quality mt-${person.quality}`} role="img" aria-label={t(`quality.${person.quality}`)}><Bars filled={person.quality === "poor" ? 1 : 0} /></span>
                )}
            </span>
            {onPin && (
                <button type="button" className="mt-pin" aria-pressed={pinned} onClick={onPin} aria-label={t(pinned ? "unpin" : "pin", { who: label })} title={t(pinned ? "unpin" : "pin", { who: label })}>
                    <Icon name="pin" />
                </button>
            )}
        </li>
    );
}

function Picture({ publication, label }: { readonly publication: TrackPublication; readonly label: string }) {
    const element = useRef<HTMLVideoElement>(null);
    const track = publication.track;
    useEffect(() => {
        const video = element.current;
        if (!video || !track) return;
        track.attach(video);
        return () => void track.detach(video);
    }, [track]);
    return <video ref={element} muted playsInline autoPlay aria-label={label} />;
}

/** What is heard of the others. */
export function Sounds({ people }: { readonly people: readonly Person[] }) {
    return (
        <>
            {people.filter((person) => !person.me && person.secrecy !== "waiting").flatMap((person) =>
                [...(person.participant?.audioTrackPublications.values() ?? [])].map((publication) =>
                    publication.track && <Sound key={publication.trackSid} publication={publication} identity={person.identity} />))}
        </>
    );
}

function Sound({ publication, identity }: { readonly publication: TrackPublication; readonly identity: string }) {
    const element = useRef<HTMLAudioElement>(null);
    const track = publication.track;
    useEffect(() => {
        const audio = element.current;
        if (!audio || !track) return;
        track.attach(audio);
        return () => void track.detach(audio);
    }, [track]);
    return <audio ref={element} data-identity={identity} data-source={publication.source} autoPlay />;
}
