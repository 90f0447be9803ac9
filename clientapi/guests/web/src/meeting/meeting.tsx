// A room's meeting: the check of the devices, the meeting itself, its end. Loaded when somebody wants to join.

import "./meeting.css";

import { Track } from "livekit-client";
import { type MatrixClient, type Room, RoomStateEvent } from "matrix-js-sdk";
import { useCallback, useEffect, useMemo, useReducer, useRef, useState, useSyncExternalStore } from "react";

import { useTranslation } from "../i18n/index.tsx";
import { Dialog } from "../parts/Dialog.tsx";
import { memberName } from "../room/people.tsx";
import type { Session } from "../session.ts";
import { Check, Device } from "./check.tsx";
import { Controls, type Panel, Reactions, shortcuts } from "./controls.tsx";
import { type Choices, keepChoices, loadChoices, useDevices } from "./devices.ts";
import { Meeting, type MeetingOptions, type Notice, type Snapshot } from "./engine.ts";
import { Icon } from "./icons.tsx";
import { act as ask, type Action, type Info, recordingOf, type Recording, useInfo } from "./info.ts";
import { clock } from "./layout.ts";
import { Menu } from "./menu.tsx";
import { OverScreen } from "./over.tsx";
import { People } from "./people.tsx";
import { meetingOfTab } from "./presence.ts";
import { proofOf } from "./sfu.ts";
import { type Layout, Stage } from "./stage.tsx";
import { Sounds } from "./tile.tsx";
import { type Say, useWords } from "./words.ts";

export interface MeetingViewProps {
    readonly client: MatrixClient;
    readonly room: Room;
    readonly session: Session;
    readonly observes: boolean;
    /** The users who are in it already. */
    readonly others: readonly string[];
    readonly panel?: Panel;
    /** Messages that came while the chat was not seen. */
    readonly unread: number;
    setPanel(panel: Panel | undefined): void;
    onInvite?(): void;
    /** No longer shown. */
    onClose(): void;
}

export default function MeetingView(props: MeetingViewProps) {
    const { client, room, session, observes, others, onClose, setPanel } = props;
    const [{ meeting, count }, setMeeting] = useState<{ meeting?: Meeting; count: number }>({ count: 0 });
    const current = useRef<Meeting>(undefined);
    const start = useCallback((choices: Choices, tracks: MeetingOptions["tracks"]) => {
        current.current?.close();
        current.current = new Meeting({ client, room, observes, choices, tracks });
        const started = current.current;
        setMeeting(({ count: before }) => ({ meeting: started, count: before + 1 }));
    }, [client, room, observes]);
    useEffect(() => {
        // After a reload one is in it again, without being asked.
        if (meetingOfTab() === room.roomId) start(loadChoices(session), []);
        return () => current.current?.close();
    }, [start, room, session]);
    useEffect(() => void proofOf(client).catch(() => {}), [client]);
    const cancel = () => {
        setPanel(undefined);
        onClose();
    };
    if (!meeting) return <Check room={room} session={session} observes={observes} others={others.map((id) => memberName(room, id))} onJoin={start} onCancel={cancel} />;
    return <Running {...props} key={count} meeting={meeting} onRejoin={() => start(loadChoices(session), [])} onClose={cancel} />;
}

interface RunningProps extends MeetingViewProps {
    readonly meeting: Meeting;
    onRejoin(): void;
}

function Running({ meeting, ...props }: RunningProps) {
    const t = useWords();
    const now = useSyncExternalStore(meeting.subscribe, meeting.snapshot);
    const { phase } = now;
    const { setPanel } = props;
    const over = phase.is === "over";
    useEffect(() => {
        if (over) setPanel(undefined);
    }, [over, setPanel]);
    if (phase.is === "over") {
        const back = phase.how === "left" || phase.how === "device" || phase.how === "refused";
        return <div className="mt-stage"><OverScreen how={phase.how} reason={phase.reason} onBack={props.onClose} onRejoin={back ? props.onRejoin : undefined} /></div>;
    }
    if (phase.is === "joining") {
        return (
            <div className="mt-stage" data-testid="meeting-joining">
                <div className="mt-trouble" role="status"><span className="spinner" /><p>{t("joining")}</p></div>
                <div className="mt-lost-go"><button type="button" className="button" onClick={meeting.leave}>{t("leave")}</button></div>
            </div>
        );
    }
    return <Inside {...props} meeting={meeting} now={now} />;
}

function Inside({ meeting, now, ...props }: RunningProps & { readonly now: Snapshot }) {
    const { client, room, session, observes, panel, unread, setPanel, onInvite } = props;
    const t = useWords();
    const [layout, setLayout] = useState<Layout>("grid");
    const [pinned, setPinned] = useState<string>();
    const [dialog, setDialog] = useState<"devices" | "keyboard" | "leave">();
    const [failed, setFailed] = useState(0);
    const [refused, setRefused] = useState(false);
    const stage = useRef<HTMLElement>(null);
    const { info, refresh } = useInfo(client, room);
    const recording = useRecording(room);
    const may = useCallback((action: Action) => info?.you?.may?.includes(action) ?? false, [info]);
    const act = useCallback(async (action: Action, body?: object) => {
        try {
            await ask(client, room, action, body);
            refresh();
        } catch (error) {
            console.error(error);
            setFailed((count) => count + 1);
        }
    }, [client, room, refresh]);
    const onPanel = (wanted: Panel) => setPanel(panel === wanted ? undefined : wanted);
    useShortcuts(meeting, now, observes, onPanel);
    const leave = () => (may("end") && now.people.length > 1 ? setDialog("leave") : meeting.leave());
    const waiting = info?.waiting?.length ?? 0;
    return (
        <>
            <section ref={stage} className="mt-stage" data-testid="meeting-stage" aria-label={t("stage")}>
                <Top room={room} now={now} recording={recording} info={info} />
                {now.phase.is === "lost" ? <Lost why={now.phase.why} meeting={meeting} t={t} /> : (
                    <>
                        <Banners now={now} meeting={meeting} t={t} />
                        <Stage room={room} people={now.people} layout={layout} speaker={now.speaker} pinned={pinned} onPin={setPinned} />
                        {now.people.length === 1 && (
                            <p className="mt-alone">{t("alone")}{onInvite && <button type="button" className="button" onClick={onInvite}><Icon name="invite" />{t("alone.invite")}</button>}</p>
                        )}
                    </>
                )}
                <Notices notice={now.notice} recording={recording} failed={failed} refused={refused} />
                <Controls meeting={meeting} now={now} observes={observes} panel={panel} unread={unread} waiting={waiting} onPanel={onPanel} onLeave={leave} more={(
                    <Menu label={t("more")} icon="more" className="mt-button" testid="meeting-more">
                        <More meeting={meeting} now={now} observes={observes} layout={layout} setLayout={setLayout} onPanel={onPanel} setDialog={setDialog} onInvite={onInvite}
                            moderation={{ info, recording, may, act }} stage={() => stage.current} />
                    </Menu>
                )} />
                <Sounds people={now.people} />
            </section>
            {panel === "people" && <People client={client} room={room} people={now.people} info={info} may={may} act={act} onInvite={onInvite} onClose={() => setPanel(undefined)} />}
            {dialog === "devices" && <Devices meeting={meeting} session={session} onClose={() => setDialog(undefined)} />}
            {dialog === "keyboard" && <Keyboard onClose={() => setDialog(undefined)} />}
            {dialog === "leave" && <LeaveOrEnd meeting={meeting} act={act} onClose={() => setDialog(undefined)} />}
            <Consent room={room} recording={recording} act={act} onLeave={meeting.leave} onAnswer={(yes) => setRefused(!yes)} />
        </>
    );
}

function Top({ room, now, recording, info }: { readonly room: Room; readonly now: Snapshot; readonly recording?: Recording; readonly info?: Info }) {
    const t = useWords();
    const [, tick] = useReducer((count: number) => count + 1, 0);
    useEffect(() => {
        const timer = setInterval(tick, 1000);
        return () => clearInterval(timer);
    }, []);
    const time = clock(Date.now() - now.since);
    return (
        <header className="mt-top">
            <h1 title={t("title", { room: room.name })}>{info?.state?.title || room.name}</h1>
            {now.encrypted && <span className="mt-fact" role="img" aria-label={t("encrypted")} title={t("encrypted")}><Icon name="lock" /></span>}
            {info?.state?.locked && <span className="mt-fact mt-locked"><Icon name="lock" />{t("locked")}</span>}
            {recording && (recording.state === "recording" || recording.state === "asking") && (
                <span className="mt-rec" data-testid="meeting-recording" data-state={recording.state}><i aria-hidden="true" /><span className="visually-hidden">{t("recording")}</span><span aria-hidden="true">{t("recording.short")}</span></span>
            )}
            <span className="mt-time" aria-label={t("time", { time })} role="timer">{time}</span>
        </header>
    );
}

/** What is wrong for the moment, while the meeting goes on. */
function Banners({ now, meeting, t }: { readonly now: Snapshot; readonly meeting: Meeting; readonly t: Say }) {
    return (
        <div role="status" className="mt-banners">
            {now.offline && <p><span className="spinner" />{t("lost.network")}</p>}
            {now.mending && !now.offline && <p><span className="spinner" />{t("lost.mending")}</p>}
            {now.silent && !now.mending && !now.offline && <p><Icon name="sound" />{t("silent")}<button type="button" className="button" onClick={meeting.hear}>{t("silent.hear")}</button></p>}
        </div>
    );
}

function Lost({ why, meeting, t }: { readonly why: "media" | "service" | "network"; readonly meeting: Meeting; readonly t: Say }) {
    return (
        <div className="mt-away" data-testid="meeting-lost" data-why={why}>
            <div className="mt-trouble" role="alert">
                <span className="spinner" />
                <h2>{t(`lost.${why}`)}</h2>
                <p>{t("lost.text")}</p>
            </div>
            <div className="mt-lost-go">
                <button type="button" className="button" onClick={meeting.leave}>{t("lost.leave")}</button>
                <button type="button" className="button main" onClick={meeting.retryNow}>{t("lost.now")}</button>
            </div>
        </div>
    );
}

const shownFor = 5000; // ms

/** What happened, in words, for a moment; and for screen readers. */
function Notices({ notice, recording, failed, refused }: { readonly notice?: Notice; readonly recording?: Recording; readonly failed: number; readonly refused: boolean }) {
    const t = useWords();
    const { date } = useTranslation();
    const [text, setText] = useState("");
    const say = useRef((words: string) => setText(words));
    useEffect(() => {
        if (!notice) return;
        if ("who" in notice) say.current(t(`notice.${notice.what}`, { who: notice.who }));
        else if (notice.what === "ending") say.current(t("ending", { time: date(notice.ts, { timeStyle: "short" }) }));
        else say.current(t(notice.what));
        // eslint-disable-next-line react-hooks/exhaustive-deps
    }, [notice?.id]);
    const before = useRef(recording?.state);
    useEffect(() => {
        if (before.current === recording?.state) return;
        before.current = recording?.state;
        if (recording?.state === "recording") say.current(t("recording.started"));
        else if (recording?.state === "stopped" || recording?.state === "failed") say.current(t(`recording.${recording.state}`));
        else if (recording?.state === "asking") say.current(t("recording.asking"));
    }, [recording?.state, t]);
    useEffect(() => {
        if (failed > 0) say.current(t("action.failed"));
    }, [failed, t]);
    useEffect(() => {
        if (refused) say.current(t("consent.refused"));
    }, [refused, t]);
    useEffect(() => {
        if (!text) return;
        const timer = setTimeout(() => setText(""), shownFor);
        return () => clearTimeout(timer);
    }, [text]);
    return <div className="mt-notices" role="status" data-testid="meeting-notice">{text && <p>{text}</p>}</div>;
}

interface MoreProps {
    readonly meeting: Meeting;
    readonly now: Snapshot;
    readonly observes: boolean;
    readonly layout: Layout;
    readonly moderation: { readonly info?: Info; readonly recording?: Recording; may(action: Action): boolean; act(action: Action, body?: object): Promise<void> };
    setLayout(layout: Layout): void;
    onPanel(panel: Panel): void;
    setDialog(dialog: "devices" | "keyboard"): void;
    stage(): HTMLElement | null;
    onInvite?(): void;
}

function More({ meeting, now, observes, layout, moderation, setLayout, onPanel, setDialog, stage, onInvite }: MoreProps) {
    const t = useWords();
    const { ScreenShare } = Track.Source;
    const up = now.people.some((person) => person.me && person.hand !== undefined);
    const video = () => stage()?.querySelector<HTMLVideoElement>(".mt-screen video, .mt-main video, .mt-tile:not(.mt-me) video, video");
    return (
        <>
            {!observes && <div className="mt-narrow-only mt-menu-emoji"><Reactions meeting={meeting} /></div>}
            {!observes && <button type="button" className="mt-narrow-only" onClick={() => void meeting.raise(!up)}><Icon name="hand" /><span>{t(up ? "hand.down" : "hand.up")}</span></button>}
            {!observes && now.may.has(ScreenShare) && "getDisplayMedia" in navigator.mediaDevices && (
                <button type="button" className="mt-narrow-only" onClick={() => void meeting.set(ScreenShare, !now.sharing)}><Icon name="screen" /><span>{t(now.sharing ? "share.stop" : "share")}</span></button>
            )}
            <button type="button" className="mt-narrow-only" onClick={() => onPanel("people")}><Icon name="people" /><span>{t("people")}</span></button>
            <button type="button" onClick={() => setLayout(layout === "grid" ? "speaker" : "grid")}><Icon name={layout === "grid" ? "speaker" : "grid"} /><span>{t(layout === "grid" ? "layout.speaker" : "layout.grid")}</span></button>
            {document.pictureInPictureEnabled && <button type="button" onClick={() => void video()?.requestPictureInPicture().catch(() => {})}><Icon name="pip" /><span>{t("pip")}</span></button>}
            {document.fullscreenEnabled && (
                <button type="button" onClick={() => void (document.fullscreenElement ? document.exitFullscreen() : document.documentElement.requestFullscreen()).catch(() => {})}>
                    <Icon name="full" /><span>{t(document.fullscreenElement ? "full.leave" : "full")}</span>
                </button>
            )}
            {!observes && <button type="button" onClick={() => setDialog("devices")}><Icon name="settings" /><span>{t("devices.title")}</span></button>}
            <button type="button" className="mt-wide-only" onClick={() => setDialog("keyboard")}><Icon name="keyboard" /><span>{t("keyboard")}</span></button>
            {onInvite && <button type="button" onClick={onInvite}><Icon name="invite" /><span>{t("invite")}</span></button>}
            <Moderation {...moderation} />
        </>
    );
}

function Moderation({ info, recording, may, act }: MoreProps["moderation"]) {
    const t = useWords();
    const { locked, lobby } = info?.state ?? {};
    const records = recording?.state === "recording" || recording?.state === "asking";
    return (
        <>
            {may("mute_all") && <hr />}
            {may("mute_all") && <button type="button" onClick={() => void act("mute_all", { source: "microphone" })}><Icon name="microphoneOff" /><span>{t("moderate.mute.all")}</span></button>}
            {may("lock") && (
                <button type="button" onClick={() => void act(locked ? "unlock" : "lock")}><Icon name={locked ? "unlock" : "lock"} /><span>{t(locked ? "moderate.unlock" : "moderate.lock")}</span></button>
            )}
            {may("lobby") && (
                <label className="mt-menu-choice">
                    <span>{t("moderate.lobby")}</span>
                    <select className="input" value={lobby ?? "nobody"} onChange={({ target }) => void act("lobby", { who: target.value })}>
                        {(["nobody", "guests", "everybody"] as const).map((who) => <option key={who} value={who}>{t(`moderate.lobby.${who}`)}</option>)}
                    </select>
                </label>
            )}
            {may("recording/start") && (
                <button type="button" onClick={() => void act(records ? "recording/stop" : "recording/start")}><Icon name="record" /><span>{t(records ? "moderate.record.stop" : "moderate.record")}</span></button>
            )}
        </>
    );
}

function Devices({ meeting, session, onClose }: { readonly meeting: Meeting; readonly session: Session; onClose(): void }) {
    const t = useWords();
    const devices = useDevices(meeting);
    const [, redraw] = useReducer((count: number) => count + 1, 0);
    const use = (kind: MediaDeviceKind) => (deviceId: string) => {
        keepChoices(session, { ...loadChoices(session), [kind]: deviceId });
        void meeting.use(kind, deviceId).then(redraw);
    };
    const value = (kind: MediaDeviceKind) => meeting.media.getActiveDevice(kind);
    return (
        <Dialog title={t("devices.title")} onClose={onClose}>
            <Device kind="audioinput" label="microphone" unnamed="microphone.unnamed" devices={devices.audioinput} value={value("audioinput")} onChoose={use("audioinput")} />
            <Device kind="videoinput" label="camera" unnamed="camera.unnamed" devices={devices.videoinput} value={value("videoinput")} onChoose={use("videoinput")} />
            <Device kind="audiooutput" label="sound" unnamed="sound.unnamed" devices={devices.audiooutput} value={value("audiooutput")} onChoose={use("audiooutput")} />
        </Dialog>
    );
}

function Keyboard({ onClose }: { onClose(): void }) {
    const t = useWords();
    const names = { microphone: t("microphone"), camera: t("camera"), hand: t("hand.up"), chat: t("chat"), people: t("people") };
    return (
        <Dialog title={t("keyboard")} onClose={onClose}>
            <dl className="mt-keys">
                {Object.entries(shortcuts).map(([what, keys]) => <div key={what}><dt>{names[what as keyof typeof names]}</dt><dd><kbd>{keys}</kbd></dd></div>)}
            </dl>
        </Dialog>
    );
}

function LeaveOrEnd({ meeting, act, onClose }: { readonly meeting: Meeting; act(action: Action): Promise<void>; onClose(): void }) {
    const t = useWords();
    return (
        <Dialog title={t("end.title")} onClose={onClose}>
            <p>{t("end.ask")}</p>
            <div className="actions">
                <button type="button" className="button" onClick={() => {
                    onClose();
                    void act("end");
                }}>{t("end.all")}</button>
                <button type="button" className="button danger" data-testid="meeting-leave-now" onClick={meeting.leave}>{t("end.leave")}</button>
            </div>
        </Dialog>
    );
}

interface ConsentProps {
    readonly room: Room;
    readonly recording?: Recording;
    act(action: Action, body: object): Promise<void>;
    onLeave(): void;
    onAnswer(yes: boolean): void;
}

/** Asks each once for every recording. The server takes whoever has not agreed for somebody who has not. */
function Consent({ room, recording, act, onLeave, onAnswer }: ConsentProps) {
    const t = useWords();
    const key = recording && `roomline.recording/${room.roomId}/${recording.id}`;
    const [answered, setAnswered] = useState<string>();
    const asks = recording?.state === "asking" || recording?.state === "recording";
    if (!asks || !key || answered === key || sessionStorage.getItem(key)) return null;
    const answer = (yes: boolean) => {
        sessionStorage.setItem(key, yes ? "yes" : "no");
        setAnswered(key);
        onAnswer(yes);
        void act("recording/consent", { answer: yes ? "yes" : "no" });
    };
    return (
        <Dialog title={t("consent.title")} onClose={() => answer(false)}>
            <p>{t(recording.state === "asking" ? "consent.asking" : "consent.recording", { who: recording.by })}</p>
            <div className="actions">
                <button type="button" className="button plain" onClick={onLeave}>{t("consent.leave")}</button>
                <button type="button" className="button" data-testid="consent-no" onClick={() => answer(false)}>{t("consent.refuse")}</button>
                <button type="button" className="button main" data-testid="consent-yes" onClick={() => answer(true)}>{t("consent.agree")}</button>
            </div>
        </Dialog>
    );
}

function useRecording(room: Room): Recording | undefined {
    const [recording, setRecording] = useState(() => recordingOf(room));
    useEffect(() => {
        const look = () => setRecording((before) => {
            const now = recordingOf(room);
            return before?.id === now?.id && before?.state === now?.state ? before : now;
        });
        look();
        room.on(RoomStateEvent.Events, look);
        return () => void room.off(RoomStateEvent.Events, look);
    }, [room]);
    return recording;
}

/** Keys work anywhere in the page: all have a modifier, so that they are not in the way of writing. */
function useShortcuts(meeting: Meeting, now: Snapshot, observes: boolean, onPanel: (panel: Panel) => void): void {
    const { language } = useTranslation();
    const latest = useRef({ now, onPanel });
    latest.current = { now, onPanel };
    const keys = useMemo(() => (event: KeyboardEvent) => {
        if (!(event.ctrlKey || event.metaKey) || event.shiftKey || event.repeat) return;
        const { now: seen, onPanel: open } = latest.current;
        const { Microphone, Camera } = Track.Source;
        const doing: Record<string, (() => void) | undefined> = event.altKey
            ? { KeyC: () => open("chat"), KeyP: () => open("people"), KeyH: observes ? undefined : () => void meeting.raise(!seen.people.some((person) => person.me && person.hand !== undefined)) }
            : observes ? {} : { KeyD: () => void meeting.set(Microphone, !seen.microphone), KeyE: () => void meeting.set(Camera, !seen.camera) };
        const does = doing[event.code];
        if (!does) return;
        event.preventDefault();
        does();
    }, [meeting, observes]);
    useEffect(() => {
        addEventListener("keydown", keys);
        return () => removeEventListener("keydown", keys);
    }, [keys, language]);
}
