// A meeting that one is in: its media by LiveKit, its members by MatrixRTC, and how it comes back when it was lost. What is seen of it
// is in the components, which draw its snapshot.

import {
    ConnectionQuality, DisconnectReason, isE2EESupported, type LocalTrack, type Participant, ParticipantEvent, type Room as MediaRoom, RoomEvent as MediaEvent,
    Room as LiveKitRoom, Track, type TrackPublication,
} from "livekit-client";
import EncryptionWorker from "livekit-client/e2ee-worker?worker";
import { type MatrixClient, type Room, RoomStateEvent, UpdateDelayedEventAction } from "matrix-js-sdk";
import { type CallMembership, MatrixRTCSession, MatrixRTCSessionEvent } from "matrix-js-sdk/lib/matrixrtc/index.js";

import { Refused } from "../api.ts";
import { guestMark } from "../room/people.tsx";
import type { Choices } from "./devices.ts";
import { Hands } from "./hands.ts";
import { guardedClient, guardedRoom, Keys } from "./keys.ts";
import { dropMeetingOfTab, identityOf, keepMeetingOfTab, type Transport, transportOf, watchCall } from "./presence.ts";
import { askTicket, Elsewhere } from "./sfu.ts";

/** How a meeting is over for good. */
export type Over = "left" | "removed" | "ended" | "device" | "refused" | "elsewhere" | "unsupported";

export type Phase =
    | { readonly is: "joining" | "in" }
    /** It is tried again by itself. */
    | { readonly is: "lost"; readonly why: "media" | "service" | "network" }
    | { readonly is: "over"; readonly how: Over; readonly reason?: string };

export type Role = "organiser" | "moderator" | "presenter" | "attendee" | "observer";
export type Quality = "good" | "poor" | "lost" | "unknown";

/** Somebody in the meeting, by one device. */
export interface Person {
    /** As LiveKit knows it: user and device. */
    readonly identity: string;
    readonly userId: string;
    readonly deviceId: string;
    readonly name: string;
    readonly me: boolean;
    readonly kind: "member" | "guest" | "phone";
    readonly role: Role;
    /** Absent while somebody is on the way: they say that they are in it, and their media are not here yet. */
    readonly participant?: Participant;
    readonly microphone: boolean;
    readonly camera?: TrackPublication;
    readonly screen?: TrackPublication;
    readonly speaking: boolean;
    readonly quality: Quality;
    /** Since when the hand is up. */
    readonly hand?: number;
    readonly reaction?: string;
    /** In an encrypted meeting: the key is not here yet, or what comes is not encrypted. */
    readonly secrecy: "none" | "waiting" | "encrypted" | "plain";
}

/** Something that happened, to be said once. */
export type Notice = { readonly id: number } & (
    | { readonly what: "muted" | "camera.stopped" | "share.stopped" | "share.refused" | "reaction.failed" | "devices.failed" | "microphone.failed" | "camera.failed" }
    | { readonly what: "joined" | "left" | "hand"; readonly who: string }
    | { readonly what: "ending"; readonly ts: number }
);

export interface Snapshot {
    readonly phase: Phase;
    /** The connection is being mended, and media stand still for the moment. */
    readonly mending: boolean;
    readonly offline: boolean;
    readonly people: readonly Person[];
    readonly microphone: boolean;
    readonly camera: boolean;
    readonly sharing: boolean;
    readonly busy: ReadonlySet<Track.Source>;
    /** What one may send. */
    readonly may: ReadonlySet<Track.Source>;
    readonly since: number;
    /** The browser wants a click before it plays sound. */
    readonly silent: boolean;
    readonly encrypted: boolean;
    readonly notice?: Notice;
    readonly speaker?: string;
}

type NoticeOf = Notice extends infer N ? N extends unknown ? Omit<N, "id"> : never : never;

/** Whoever sets it, in their own browser, finds the media of their meeting in the console. */
const debugKey = "roomline.meeting.debug";
const serverTopic = "org.roomline.meeting";
const leaveKey = "roomline.meeting.leave";
const delays = [500, 1000, 2000, 3000, 5000]; // ms, between attempts; the last one goes on
const mendFor = 12_000; // ms that LiveKit's own mending gets, with the token that it has

const sources = [Track.Source.Microphone, Track.Source.Camera, Track.Source.ScreenShare] as const;
/** As numbers in what the SFU says may be published. */
const numbers = { [Track.Source.Microphone]: 2, [Track.Source.Camera]: 1, [Track.Source.ScreenShare]: 3 } as Record<string, number>;

export interface MeetingOptions {
    readonly client: MatrixClient;
    readonly room: Room;
    /** Sees and hears, and is not seen by others. */
    readonly observes: boolean;
    readonly choices: Choices;
    /** Tracks of the device check. */
    readonly tracks: readonly LocalTrack[];
}

export class Meeting {
    readonly media: MediaRoom;
    private readonly client: MatrixClient;
    private readonly room: Room;
    private readonly encrypted: boolean;
    private readonly keys?: Keys;
    private readonly worker?: Worker;
    private readonly hands: Hands;
    private readonly stopWatching: () => void;
    private session?: MatrixRTCSession;
    private parting?: Promise<void>;
    private memberships: readonly CallMembership[] = [];
    private wanted: { microphone: boolean; camera: boolean };
    private tracks: readonly LocalTrack[];
    private busy = new Set<Track.Source>();
    private listeners = new Set<() => void>();
    private current?: Snapshot;
    private phase: Phase = { is: "joining" };
    private mending = false;
    private notice?: Notice;
    private speaker?: string;
    private since = Date.now();
    private attempt = 0;
    private retry?: ReturnType<typeof setTimeout>;
    private scheduled = false;

    constructor(private readonly options: MeetingOptions) {
        const { client, room, choices, tracks } = options;
        this.client = client;
        this.room = room;
        this.tracks = tracks;
        this.wanted = { microphone: choices.microphone, camera: choices.camera };
        this.encrypted = room.hasEncryptionStateEvent();
        if (this.encrypted && isE2EESupported()) {
            this.keys = new Keys();
            this.worker = new EncryptionWorker();
        }
        this.media = new LiveKitRoom({
            adaptiveStream: true, dynacast: true,
            reconnectPolicy: { nextRetryDelayInMs: ({ retryCount, elapsedMs }) => (elapsedMs > mendFor ? null : Math.min(300 * 2 ** retryCount, 2000)) },
            audioCaptureDefaults: { deviceId: choices.audioinput, echoCancellation: true, noiseSuppression: true, autoGainControl: true },
            videoCaptureDefaults: { deviceId: choices.videoinput, resolution: { width: 1280, height: 720, frameRate: 30 } },
            audioOutput: { deviceId: choices.audiooutput },
            e2ee: this.keys && this.worker && { keyProvider: this.keys, worker: this.worker },
        });
        this.hands = new Hands(client, room, this.changed, (userId) => {
            if (userId !== client.getUserId()) this.say({ what: "hand", who: room.getMember(userId)?.name ?? userId });
        });
        this.listen();
        this.stopWatching = watchCall(room, (memberships) => {
            const before = this.memberships;
            this.memberships = memberships;
            this.session?.onRTCSessionMemberUpdate();
            this.hands.update(memberships);
            this.tell(before, memberships);
            this.changed();
        });
        room.on(RoomStateEvent.Members, this.changed);
        addEventListener("offline", this.changed);
        addEventListener("online", this.online);
        if (localStorage.getItem(debugKey)) (window as { roomlineMeeting?: MediaRoom }).roomlineMeeting = this.media;
        void this.connect();
    }

    // What is seen

    subscribe = (listener: () => void): (() => void) => {
        this.listeners.add(listener);
        return () => this.listeners.delete(listener);
    };

    snapshot = (): Snapshot => (this.current ??= this.look());

    /** Draws again, once for what happens together. */
    private changed = (): void => {
        if (this.scheduled) return;
        this.scheduled = true;
        setTimeout(() => {
            this.scheduled = false;
            this.current = undefined;
            for (const listener of this.listeners) listener();
        }, 16);
    };

    private look(): Snapshot {
        const { localParticipant } = this.media;
        return {
            phase: this.phase, mending: this.mending, offline: !navigator.onLine, people: this.people(), since: this.since, encrypted: this.encrypted, notice: this.notice, speaker: this.speaker,
            microphone: this.phase.is === "in" ? localParticipant.isMicrophoneEnabled : this.wanted.microphone,
            camera: this.phase.is === "in" ? localParticipant.isCameraEnabled : this.wanted.camera,
            sharing: localParticipant.isScreenShareEnabled,
            busy: new Set(this.busy), may: this.may(), silent: !this.media.canPlaybackAudio,
        };
    }

    private may(): ReadonlySet<Track.Source> {
        const permissions = this.media.localParticipant.permissions;
        if (!permissions) return new Set(this.options.observes ? [] : sources);
        const { canPublish, canPublishSources } = permissions;
        return new Set(sources.filter((source) => canPublish && (canPublishSources.length === 0 || canPublishSources.includes(numbers[source]!))));
    }

    private people(): readonly Person[] {
        const mine = `${this.client.getSafeUserId()}:${this.client.getDeviceId()}`;
        // Who was put out of the room is said to be in the call until the server has ended it.
        const joined = this.memberships.filter((one) => one.sender !== undefined && this.room.getMember(one.sender)?.membership === "join");
        const memberships = new Map(joined.map((one) => [identityOf(one), one]));
        const there = new Map([...this.media.remoteParticipants.values()].map((one) => [one.identity, one as Participant]));
        there.set(mine, this.media.localParticipant);
        const identities = new Set([mine, ...memberships.keys(), ...there.keys()]);
        return [...identities].map((identity) => this.person(identity, identity === mine, there.get(identity), memberships.get(identity)));
    }

    private person(identity: string, me: boolean, participant: Participant | undefined, membership: CallMembership | undefined): Person {
        const cut = identity.lastIndexOf(":");
        const userId = membership?.sender ?? identity.slice(0, cut), deviceId = membership?.deviceId ?? identity.slice(cut + 1);
        const member = this.room.getMember(userId);
        const published = (source: Track.Source) => {
            const publication = participant?.getTrackPublication(source);
            return publication?.track && !publication.isMuted ? publication : undefined;
        };
        return {
            identity, userId, deviceId, me, participant,
            name: member?.name ?? (participant?.name || userId),
            kind: guestMark(member) ? "guest" : userId.startsWith("@phone_") ? "phone" : "member",
            role: this.role(userId),
            microphone: participant?.isMicrophoneEnabled ?? false,
            camera: published(Track.Source.Camera), screen: published(Track.Source.ScreenShare),
            speaking: participant?.isSpeaking ?? false,
            quality: quality(participant?.connectionQuality),
            hand: membership && this.hands.handOf(membership),
            reaction: this.hands.reactionOf(identity),
            secrecy: this.secrecy(identity, me, participant),
        };
    }

    private secrecy(identity: string, me: boolean, participant: Participant | undefined): Person["secrecy"] {
        if (!this.encrypted) return "none";
        if (me || !participant) return "encrypted";
        if (participant.trackPublications.size > 0 && !participant.isEncrypted) return "plain";
        return this.keys?.known.has(identity) ? "encrypted" : "waiting";
    }

    private role(userId: string): Role {
        const member = this.room.getMember(userId);
        if (guestMark(member)?.role === "observer") return "observer";
        const level = member?.powerLevel ?? 0;
        return level >= 100 ? "organiser" : level >= 50 ? "moderator" : level >= 25 ? "presenter" : "attendee";
    }

    private say(notice: NoticeOf): void {
        this.notice = { ...notice, id: (this.notice?.id ?? 0) + 1 } as Notice;
        this.changed();
    }

    private tell(before: readonly CallMembership[], now: readonly CallMembership[]): void {
        if (this.phase.is !== "in") return;
        const mine = this.client.getSafeUserId();
        const only = (some: readonly CallMembership[], others: readonly CallMembership[]) =>
            some.find((one) => one.sender !== mine && !others.some((other) => identityOf(other) === identityOf(one)));
        const name = (one: CallMembership) => this.room.getMember(one.sender!)?.name ?? one.sender!;
        const came = only(now, before), went = only(before, now);
        if (came) this.say({ what: "joined", who: name(came) });
        else if (went) this.say({ what: "left", who: name(went) });
    }

    // Coming in, and again

    private show(phase: Phase): void {
        this.phase = phase;
        this.changed();
    }

    /** One attempt; what fails is tried again, unless it is a no. */
    private async connect(): Promise<void> {
        const attempt = ++this.attempt;
        const current = () => attempt === this.attempt && this.phase.is !== "over";
        try {
            const transport = await transportOf(this.client);
            if (this.encrypted && !this.keys) return this.end("unsupported");
            if (!transport) throw new Refused(503, "M_UNRECOGNIZED", {});
            const oldest = this.memberships.find((one) => one.getFocusSelection() === "oldest_membership");
            const used = (oldest?.getPreferredFoci()[0] as Partial<Transport> | undefined)?.livekit_service_url ?? transport.livekit_service_url;
            const ticket = await askTicket(this.client, this.room.roomId, transport, used);
            if (!current()) return;
            if (this.keys) await this.media.setE2EEEnabled(true);
            if (!this.options.observes) void this.takePart(transport);
            await this.media.connect(ticket.url, ticket.jwt, { maxRetries: 0, peerConnectionTimeout: 10_000, websocketTimeout: 5_000 });
            if (!current()) return void this.media.disconnect();
            keepMeetingOfTab(this.room.roomId);
            this.mending = false;
            if (this.phase.is === "joining") this.since = Date.now();
            this.show({ is: "in" });
            this.failures = 0;
            await this.publish();
        } catch (error) {
            if (current()) await this.failed(error);
        }
    }

    private failures = 0;

    private async failed(error: unknown): Promise<void> {
        if (error instanceof Elsewhere) return this.end("elsewhere");
        if (error instanceof Refused && error.status < 500 && error.status !== 429) {
            return this.end("refused", String(error.body["org.roomline.reason"] ?? error.code));
        }
        const why = !navigator.onLine ? "network" : error instanceof Refused ? "service" : "media";
        this.partWith();
        this.show({ is: "lost", why });
        const delay = error instanceof Refused && error.retryAfter > 0 ? Math.min(error.retryAfter * 1000, 5000) : delays[Math.min(this.failures, delays.length - 1)]!;
        this.failures++;
        clearTimeout(this.retry);
        this.retry = setTimeout(() => void this.connect(), delay);
    }

    private online = (): void => {
        this.changed();
        this.retryNow();
    };

    /** Tries at once what would be tried later. */
    retryNow = (): void => {
        if (this.phase.is !== "lost") return;
        clearTimeout(this.retry);
        void this.connect();
    };

    /** Says to the room that this device is in the call, and goes on saying so until it leaves. */
    private async takePart(transport: Transport): Promise<void> {
        await this.parting; // what leaves must not come after what joins
        if (this.session?.isJoined() || this.phase.is === "over") return;
        const old = sessionStorage.getItem(leaveKey); // of this tab before it was reloaded
        sessionStorage.removeItem(leaveKey);
        if (old) await this.client._unstable_updateDelayedEvent(old, UpdateDelayedEventAction.Cancel).catch(() => {});
        const client = guardedClient(this.client, (id) => sessionStorage.setItem(leaveKey, id));
        const session = new MatrixRTCSession(client, guardedRoom(this.room), MatrixRTCSession.callMembershipsForRoom(this.room));
        this.session = session;
        session.on(MatrixRTCSessionEvent.EncryptionKeyChanged, (key, index, identity) => void this.keys?.set(key, index, identity).then(this.changed));
        session.on(MatrixRTCSessionEvent.MembershipManagerError, (error) => {
            console.error(error);
            if (this.session !== session) return;
            this.partWith();
            setTimeout(() => this.phase.is === "in" && void this.takePart(transport), 3000);
        });
        session.joinRoomSession([{ ...transport, livekit_alias: this.room.roomId }], undefined, {
            useExperimentalToDeviceTransport: true, manageMediaKeys: this.keys !== undefined,
            notificationType: this.room.getJoinedMemberCount() === 2 ? "ring" : "notification",
            delayedLeaveEventDelayMs: 18_000, delayedLeaveEventRestartMs: 4000, delayedLeaveEventRestartLocalTimeoutMs: 3000,
            networkErrorRetryMs: 1000, maximumNetworkErrorRetryCount: 1000, maximumRateLimitRetryCount: 1000,
        });
    }

    private partWith(): void {
        const session = this.session;
        this.session = undefined;
        if (!session) return;
        const part = async () => {
            await session.leaveRoomSession(5000).catch(() => {});
            session.removeAllListeners();
            await session.stop();
            sessionStorage.removeItem(leaveKey);
        };
        this.parting = part();
    }

    private async publish(): Promise<void> {
        const { localParticipant } = this.media;
        const made = this.tracks;
        this.tracks = [];
        const may = this.may();
        const one = async (source: Track.Source.Microphone | Track.Source.Camera, wanted: boolean) => {
            const kind = source === Track.Source.Microphone ? Track.Kind.Audio : Track.Kind.Video;
            const track = made.find((candidate) => candidate.kind === kind && candidate.mediaStreamTrack.readyState === "live");
            if (!wanted || !may.has(source)) return void track?.stop();
            try {
                if (track) await localParticipant.publishTrack(track, { source });
                else if (source === Track.Source.Microphone) await localParticipant.setMicrophoneEnabled(true);
                else await localParticipant.setCameraEnabled(true);
            } catch (error) {
                console.error(error);
                this.say({ what: source === Track.Source.Microphone ? "microphone.failed" : "camera.failed" });
            }
        };
        await Promise.all([one(Track.Source.Microphone, this.wanted.microphone), one(Track.Source.Camera, this.wanted.camera)]);
        this.changed();
    }

    // What the SFU says

    private listen(): void {
        const { media } = this;
        const drawn = [
            MediaEvent.ParticipantConnected, MediaEvent.ParticipantDisconnected, MediaEvent.TrackSubscribed, MediaEvent.TrackUnsubscribed, MediaEvent.TrackPublished,
            MediaEvent.TrackUnpublished, MediaEvent.TrackUnmuted, MediaEvent.LocalTrackPublished, MediaEvent.ConnectionQualityChanged, MediaEvent.ParticipantNameChanged,
            MediaEvent.AudioPlaybackStatusChanged, MediaEvent.ParticipantEncryptionStatusChanged,
        ] as const;
        for (const event of drawn) media.on(event as MediaEvent.ParticipantConnected, this.changed);
        media.on(MediaEvent.ActiveSpeakersChanged, (speakers) => {
            this.speaker = speakers.find((one) => one !== media.localParticipant)?.identity ?? this.speaker;
            this.changed();
        });
        media.on(MediaEvent.TrackMuted, (publication, participant) => {
            if (participant === media.localParticipant) this.mutedByOthers(publication.source);
            this.changed();
        });
        media.on(MediaEvent.LocalTrackUnpublished, (publication) => {
            if (!this.may().has(publication.source)) this.mutedByOthers(publication.source);
            this.changed();
        });
        media.localParticipant.on(ParticipantEvent.ParticipantPermissionsChanged, this.changed);
        const mend = (mending: boolean) => () => {
            this.mending = mending;
            this.changed();
        };
        media.on(MediaEvent.Reconnecting, mend(true));
        media.on(MediaEvent.SignalReconnecting, mend(true));
        media.on(MediaEvent.Reconnected, mend(false));
        media.on(MediaEvent.Disconnected, (reason) => this.disconnected(reason));
        media.on(MediaEvent.DataReceived, (payload, participant, _kind, topic) => {
            if (topic === serverTopic && !participant) this.told(payload); // of the server, and not of somebody in the meeting
        });
    }

    /** What the server says to who is in the meeting: that it will soon have to end. */
    private told(payload: Uint8Array): void {
        try {
            const { type, ends_ts: ts } = JSON.parse(new TextDecoder().decode(payload)) as { type?: unknown; ends_ts?: unknown };
            if (type === "ending" && typeof ts === "number") this.say({ what: "ending", ts });
        } catch (error) {
            console.error(error);
        }
    }

    /** A moderator's doing, for one did not do it oneself. */
    private mutedByOthers(source: Track.Source): void {
        if (this.busy.has(source) || this.phase.is !== "in") return;
        if (source === Track.Source.Microphone && this.wanted.microphone) {
            this.wanted.microphone = false;
            this.say({ what: "muted" });
        } else if (source === Track.Source.Camera && this.wanted.camera) {
            this.wanted.camera = false;
            this.say({ what: "camera.stopped" });
        } else if (source === Track.Source.ScreenShare) {
            void this.set(source, false).then(() => this.say({ what: "share.stopped" }));
        }
    }

    private disconnected(reason?: DisconnectReason): void {
        this.mending = false;
        if (this.phase.is === "over" || this.phase.is === "joining") return; // the attempt itself fails
        switch (reason) {
            case DisconnectReason.CLIENT_INITIATED: return;
            case DisconnectReason.PARTICIPANT_REMOVED: return this.end("removed");
            case DisconnectReason.ROOM_DELETED: return this.end("ended");
            case DisconnectReason.DUPLICATE_IDENTITY: return this.end("device");
        }
        if (this.phase.is === "lost") return;
        this.partWith();
        this.show({ is: "lost", why: navigator.onLine ? "media" : "network" });
        clearTimeout(this.retry);
        this.retry = setTimeout(() => void this.connect(), delays[0]);
    }

    // What one does

    /** Turns the microphone, the camera or the sharing of the screen on or off. */
    async set(source: Track.Source.Microphone | Track.Source.Camera | Track.Source.ScreenShare, on: boolean): Promise<void> {
        if (this.busy.has(source)) return;
        if (source === Track.Source.Microphone) this.wanted.microphone = on;
        if (source === Track.Source.Camera) this.wanted.camera = on;
        if (this.phase.is !== "in") return this.changed();
        this.busy.add(source);
        this.changed();
        const { localParticipant } = this.media;
        try {
            if (source === Track.Source.Microphone) await localParticipant.setMicrophoneEnabled(on);
            else if (source === Track.Source.Camera) await localParticipant.setCameraEnabled(on);
            else await localParticipant.setScreenShareEnabled(on, { audio: true, selfBrowserSurface: "exclude", surfaceSwitching: "include", systemAudio: "include" });
        } catch (error) {
            if (source === Track.Source.Microphone) this.wanted.microphone = false;
            if (source === Track.Source.Camera) this.wanted.camera = false;
            const chosenNot = source === Track.Source.ScreenShare && (error as Error).name === "NotAllowedError"; // no window was picked
            if (!chosenNot) this.say({ what: source === Track.Source.ScreenShare ? "share.refused" : source === Track.Source.Camera ? "camera.failed" : "microphone.failed" });
        } finally {
            this.busy.delete(source);
            this.changed();
        }
    }

    async use(kind: MediaDeviceKind, deviceId: string): Promise<void> {
        try {
            await this.media.switchActiveDevice(kind, deviceId);
        } catch (error) {
            console.error(error);
            this.say({ what: "devices.failed" });
        }
        this.changed();
    }

    private mine(): CallMembership | undefined {
        const identity = `${this.client.getSafeUserId()}:${this.client.getDeviceId()}`;
        return this.memberships.find((one) => identityOf(one) === identity);
    }

    async raise(up: boolean): Promise<void> {
        const mine = this.mine();
        if (mine) await this.hands.raise(mine, up).catch(() => this.say({ what: "reaction.failed" }));
    }

    async react(emoji: string, name: string): Promise<void> {
        const mine = this.mine();
        if (mine) await this.hands.react(mine, emoji, name).catch(() => this.say({ what: "reaction.failed" }));
    }

    hear = (): void => void this.media.startAudio().then(this.changed, () => {});

    leave = (): void => this.end("left");

    /** Over for good: the devices are let go of, and the room is told. */
    private end(how: Over, reason?: string): void {
        if (this.phase.is === "over") return;
        this.phase = { is: "over", how, reason };
        this.attempt++;
        clearTimeout(this.retry);
        dropMeetingOfTab();
        for (const track of this.tracks) track.stop();
        void this.media.disconnect();
        this.partWith();
        this.changed();
    }

    /** Leaves, and lets go of all that it holds. */
    close(): void {
        this.end("left");
        this.stopWatching();
        this.hands.stop();
        this.room.off(RoomStateEvent.Members, this.changed);
        removeEventListener("offline", this.changed);
        removeEventListener("online", this.online);
        this.listeners.clear();
        const { worker } = this;
        if (worker) setTimeout(() => worker.terminate(), 1000); // after the last frames
    }
}

function quality(of: ConnectionQuality | undefined): Quality {
    switch (of) {
        case ConnectionQuality.Excellent:
        case ConnectionQuality.Good: return "good";
        case ConnectionQuality.Poor: return "poor";
        case ConnectionQuality.Lost: return "lost";
        default: return "unknown";
    }
}
