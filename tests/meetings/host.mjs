// The page that Element Call runs in, as a chat application would be: a session of a real account (matrix-js-sdk, with its encryption), and a driver
// that does in that session what the widget asks for. calls.mjs bundles it, and says in window.account whose session it is.

import { ClientWidgetApi, OpenIDRequestState, Widget, WidgetDriver } from "matrix-widget-api";
import * as matrix from "matrix-js-sdk";

const { homeserver, user, token, device, room, encrypted } = window.account;
window.host = { joined: false, problems: [], sent: [] };

const client = matrix.createClient({ baseUrl: homeserver, userId: user, accessToken: token, deviceId: device, timelineSupport: true });
const raw = (event) => ({ ...event.getEffectiveEvent(), room_id: event.getRoomId(), event_id: event.getId() });
const ask = (method, path, body, query) => client.http.authedRequest(method, path, query, body, { prefix: "" });

/** Does what Element Call asks for, in the session. */
class Driver extends WidgetDriver {
    async validateCapabilities(requested) {
        return requested;
    }

    async sendEvent(type, content, stateKey = null) {
        window.host.sent.push(type);
        if (type === "m.room.redaction") {
            const { event_id: eventId } = await client.redactEvent(room, content.redacts);
            return { roomId: room, eventId };
        }
        const { event_id: eventId } = stateKey === null
            ? await client.sendEvent(room, type, content) : await client.sendStateEvent(room, type, content, stateKey);
        return { roomId: room, eventId };
    }

    async sendDelayedEvent(delay, type, content, stateKey = null) {
        const { delay_id: delayId } = stateKey === null
            ? await client._unstable_sendDelayedEvent(room, { delay }, null, type, content)
            : await client._unstable_sendDelayedStateEvent(room, { delay }, type, content, stateKey);
        return { roomId: room, delayId };
    }

    async cancelScheduledDelayedEvent(id) {
        await client._unstable_updateDelayedEvent(id, "cancel");
    }

    async restartScheduledDelayedEvent(id) {
        await client._unstable_updateDelayedEvent(id, "restart");
    }

    async sendScheduledDelayedEvent(id) {
        await client._unstable_updateDelayedEvent(id, "send");
    }

    async sendToDevice(type, encrypt, contents) {
        window.host.sent.push(`${type}${encrypt ? ", encrypted" : ""}`);
        const batch = [];
        for (const [userId, devices] of Object.entries(contents)) {
            for (const [deviceId, payload] of Object.entries(devices)) batch.push({ userId, deviceId, payload });
        }
        if (!encrypt) return client.queueToDevice({ eventType: type, batch });
        await client.getCrypto().getUserDeviceInfo(Object.keys(contents), true);
        for (const { userId, deviceId, payload } of batch) {
            await client.queueToDevice(await client.getCrypto().encryptToDeviceMessages(type, [{ userId, deviceId }], payload));
        }
    }

    async readRoomState(_room, type, stateKey) {
        const state = client.getRoom(room).currentState;
        const events = stateKey === undefined ? state.getStateEvents(type) : [state.getStateEvents(type, stateKey)];
        return events.filter(Boolean).map(raw);
    }

    readStateEvents(type, stateKey) {
        return this.readRoomState(room, type, stateKey);
    }

    async readRoomTimeline(_room, type, _msgtype, stateKey, limit) {
        const events = client.getRoom(room).getLiveTimeline().getEvents().filter((e) => e.getType() === type && (stateKey === undefined || e.getStateKey() === stateKey));
        return events.slice(-(limit || 100)).map(raw);
    }

    readRoomEvents(type, msgtype, limit) {
        return this.readRoomTimeline(room, type, msgtype, undefined, limit);
    }

    async readStickyEvents() {
        return [];
    }

    async readRoomAccountData() {
        return [];
    }

    async readEventRelations(eventId, _room, relation, type, from, to, limit, direction) {
        const where = ["relations", eventId, relation, type].filter(Boolean).map(encodeURIComponent).join("/");
        const query = Object.fromEntries(Object.entries({ from, to, limit, dir: direction }).filter(([, value]) => value !== undefined));
        const answer = await ask("GET", `/_matrix/client/v1/rooms/${encodeURIComponent(room)}/${where}`, undefined, query);
        return { chunk: answer.chunk, nextBatch: answer.next_batch, prevBatch: answer.prev_batch };
    }

    async askOpenID(observer) {
        observer.update({ state: OpenIDRequestState.Allowed, token: await client.getOpenIdToken() });
    }

    getRtcTransports() {
        return ask("GET", "/_matrix/client/unstable/org.matrix.msc4143/rtc/transports");
    }

    getRtcLivekitToken({ server_name, room_id, slot_id, member }) {
        return ask("POST", "/_matrix/client/unstable/io.element.msc4195/rtc/livekit/get_token", { server_name, room_id, slot_id, member });
    }

    delegateRtcLivekitDelayedLeave(request) {
        return ask("POST", "/_matrix/client/unstable/io.element.msc4195/rtc/livekit/delegate_delayed_leave", request);
    }

    async *getTurnServers() {}

    getKnownRooms() {
        return [room];
    }

    processError(error) {
        window.host.problems.push(`${error.name} ${error.httpStatus ?? ""} ${error.message}`);
        return error instanceof matrix.MatrixError ? error.asWidgetApiErrorData() : undefined;
    }
}

/** Tells the widget what happens in the room. */
function feed(widget) {
    const tell = (what) => what.catch((error) => window.host.problems.push(`feed: ${error.message}`));
    client.on(matrix.RoomEvent.Timeline, async (event, _room, toStart, removed, { liveEvent }) => {
        if (event.getRoomId() !== room || toStart || removed || !liveEvent || event.isState()) return;
        await client.decryptEventIfNeeded(event);
        tell(widget.feedEvent(raw(event)));
    });
    client.on(matrix.RoomStateEvent.Events, (event) => event.getRoomId() === room && tell(widget.feedStateUpdate(raw(event))));
    client.on(matrix.ClientEvent.ReceivedToDeviceMessage, ({ message, encryptionInfo }) => {
        window.host.sent.push(`received ${message.type}`);
        tell(widget.feedToDevice(message, encryptionInfo !== null));
    });
}

function frame() {
    const parameters = new URLSearchParams({
        widgetId: "call", parentUrl: location.href.split("?")[0], roomId: room, userId: user, deviceId: device, baseUrl: homeserver,
        displayName: user, confineToRoom: "true", preload: "false", skipLobby: "true", perParticipantE2EE: String(encrypted), intent: "join_existing",
        lang: "en", theme: "dark", header: "none", appPrompt: "false", hideScreensharing: "false",
    });
    const widget = new Widget({ id: "call", creatorUserId: user, type: "m.custom", url: `${location.origin}/ec/index.html#?${parameters}` });
    const element = document.createElement("iframe");
    element.allow = "camera; microphone; display-capture; autoplay; clipboard-write";
    document.body.append(element);
    const api = new ClientWidgetApi(widget, element, new Driver());
    element.src = widget.templateUrl;
    api.setViewedRoomId(room);
    const replies = { "set_always_on_screen": { success: true } };
    for (const action of ["io.element.join", "io.element.device_mute", "io.element.close", "im.vector.hangup", "set_always_on_screen", "io.element.tile_layout", "io.element.spotlight_layout"]) {
        api.on(`action:${action}`, (event) => {
            window.host[action] = event.detail.data;
            if (action === "io.element.join") window.host.joined = true;
            event.preventDefault();
            api.transport.reply(event.detail, replies[action] ?? {});
        });
    }
    return api;
}

await client.initRustCrypto();
const prepared = new Promise((resolve) => client.on(matrix.ClientEvent.Sync, (state) => state === "PREPARED" && resolve()));
await client.startClient({ initialSyncLimit: 50 });
await prepared;
client.getCrypto().globalBlacklistUnverifiedDevices = false;
feed(frame());
