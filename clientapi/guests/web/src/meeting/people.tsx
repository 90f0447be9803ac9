// Who is in the meeting and who waits, and what moderators may do about them.

import { useEffect, useRef, useState } from "react";
import type { MatrixClient, Room } from "matrix-js-sdk";

import { Dialog } from "../parts/Dialog.tsx";
import { besideBadge, GuestBadge, MemberAvatar } from "../room/people.tsx";
import { useTranslation } from "../i18n/index.tsx";
import type { Person } from "./engine.ts";
import { Bars, Icon, type IconName } from "./icons.tsx";
import type { Action, Info } from "./info.ts";
import { Menu } from "./menu.tsx";
import { Phones } from "./phones.tsx";
import { type MeetingKey, useWords } from "./words.ts";

export interface PeopleProps {
    readonly client: MatrixClient;
    readonly room: Room;
    readonly people: readonly Person[];
    readonly info?: Info;
    /** What one may do. */
    may(action: Action): boolean;
    act(action: Action, body?: object): Promise<void>;
    onInvite?(): void;
    onClose(): void;
}

export function People({ client, room, people, info, may, act, onInvite, onClose }: PeopleProps) {
    const t = useWords();
    const title = useRef<HTMLHeadingElement>(null);
    const [removing, setRemoving] = useState<Person>();
    useEffect(() => title.current?.focus(), []);
    const waiting = may("admit") ? info?.waiting ?? [] : [];
    const heard = people.some((person) => !person.me && person.microphone);
    return (
        <section className="mt-side" aria-labelledby="mt-people-title" data-testid="meeting-people-list" onKeyDown={(event) => event.key === "Escape" && !event.defaultPrevented && onClose()}>
            <header>
                <h2 id="mt-people-title" ref={title} tabIndex={-1}>{t("people.count", { count: people.length })}</h2>
                <button type="button" className="icon-button" onClick={onClose} aria-label={t("people.close")}><Icon name="close" /></button>
            </header>
            <div className="mt-side-list">
                {onInvite && <button type="button" className="button wide" onClick={onInvite}><Icon name="invite" />{t("invite")}</button>}
                <Phones client={client} room={room} here={people.length} moderates={may("remove")} />
                {waiting.length > 0 && (
                    <section className="mt-waiting" aria-label={t("people.waiting", { count: waiting.length })}>
                        <h3>{t("people.waiting", { count: waiting.length })}</h3>
                        <ul>
                            {waiting.map(({ user_id: id, name }) => ({ id, name: (name || room.getMember(id)?.name || id).replace(/ \(guest\)$/, "") })).map(({ id, name }) => (
                                <li key={id} className="mt-row">
                                    <MemberAvatar member={room.getMember(id)} id={id} size="normal" />
                                    <span className="mt-row-words"><b>{name}</b></span>
                                    <button type="button" className="icon-button" onClick={() => void act("deny", { user_id: id })} aria-label={`${t("moderate.deny")}: ${name}`} title={t("moderate.deny")}><Icon name="close" /></button>
                                    <button type="button" className="button main mt-small" onClick={() => void act("admit", { user_id: id })} aria-label={`${t("moderate.admit")}: ${name}`}>{t("moderate.admit")}</button>
                                </li>
                            ))}
                        </ul>
                        {waiting.length > 1 && <button type="button" className="button wide" onClick={() => void act("admit", { all: true })}>{t("moderate.admit.all")}</button>}
                    </section>
                )}
                <ul aria-label={t("people.here")}>
                    {people.map((person) => <Row key={person.identity} room={room} person={person} may={may} act={act} onRemove={() => setRemoving(person)} />)}
                </ul>
                {may("mute_all") && heard && <button type="button" className="button wide" onClick={() => void act("mute_all", { source: "microphone" })}><Icon name="microphoneOff" />{t("moderate.mute.all")}</button>}
            </div>
            {removing && <Remove person={removing} act={act} onClose={() => setRemoving(undefined)} />}
        </section>
    );
}

const filled = { good: 3, poor: 1, lost: 0, unknown: 0 };

function Row({ room, person, may, act, onRemove }: { readonly room: Room; readonly person: Person; may(action: Action): boolean; act(action: Action, body?: object): Promise<void>; onRemove(): void }) {
    const t = useWords();
    const member = room.getMember(person.userId);
    const name = besideBadge(person.name, member);
    const details = [person.role !== "attendee" && t(`role.${person.role}`), person.kind === "phone" && t("person.phone"), !person.participant && t("person.connecting")].filter(Boolean);
    const whom = { user_id: person.userId }, where = { ...whom, device_id: person.deviceId };
    const things: [MeetingKey, IconName, () => void][] = [];
    const offer = (action: Action, when: boolean, key: MeetingKey, icon: IconName, does: () => void) => when && may(action) && things.push([key, icon, does]);
    const become = (role: string) => () => void act("role", { ...whom, role });
    offer("mute", person.microphone, "moderate.mute", "microphoneOff", () => void act("mute", { ...where, source: "microphone" }));
    offer("stop", person.camera !== undefined, "moderate.stop.camera", "cameraOff", () => void act("stop", { ...where, source: "camera" }));
    offer("stop", person.screen !== undefined, "moderate.stop.share", "screen", () => void act("stop", { ...where, source: "screen_share" }));
    offer("lower_hand", person.hand !== undefined, "moderate.lower", "hand", () => void act("lower_hand", whom));
    offer("role", person.role === "attendee", "moderate.presenter", "check", become("presenter"));
    offer("role", person.kind === "member" && (person.role === "attendee" || person.role === "presenter"), "moderate.moderator", "people", become("moderator"));
    offer("role", person.role === "presenter" || person.role === "moderator", "moderate.attendee", "people", become("attendee"));
    offer("remove", true, "moderate.remove", "door", onRemove);
    return (
        <li className="mt-row" data-identity={person.identity}>
            <MemberAvatar member={member} id={person.userId} size="normal" />
            <span className="mt-row-words">
                <b>{name}{person.me && <span className="muted"> ({t("person.you")})</span>}</b>
                {details.length > 0 && <small>{details.join(" · ")}</small>}
            </span>
            <GuestBadge member={member} />
            {person.hand !== undefined && <span className="mt-row-hand" role="img" aria-label={t("hand.is")}>✋</span>}
            {person.participant && <span className={`mt-row-state mt-${person.quality}`} role="img" aria-label={t(`quality.${person.quality}`)} title={t(`quality.${person.quality}`)}><Bars filled={filled[person.quality]} /></span>}
            {person.participant && !person.microphone && <span className="mt-row-state" role="img" aria-label={t("person.silent")} title={t("person.silent")}><Icon name="microphoneOff" /></span>}
            {things.length > 0 && !person.me && person.role !== "organiser" && (
                <Menu label={t("more.of", { who: name })} icon="more" className="icon-button">
                    {things.map(([key, icon, does]) => <button key={key} type="button" onClick={does}><Icon name={icon} /><span>{t(key)}</span></button>)}
                </Menu>
            )}
        </li>
    );
}

function Remove({ person, act, onClose }: { readonly person: Person; act(action: Action, body?: object): Promise<void>; onClose(): void }) {
    const t = useWords();
    const { t: page } = useTranslation();
    return (
        <Dialog title={t("moderate.remove.ask", { who: person.name })} onClose={onClose}>
            <p>{t("moderate.remove.text")}</p>
            <div className="actions">
                <button type="button" className="button" onClick={onClose}>{page("app.cancel")}</button>
                <button type="button" className="button danger" onClick={() => {
                    onClose();
                    void act("remove", { user_id: person.userId });
                }}>{t("moderate.remove")}</button>
            </div>
        </Dialog>
    );
}
