// Two matrix-js-sdk clients, each on a server process of its own, do what a chat does. jssdk_test.go starts the server and
// runs this with node --test; the environment says where (ROOMLINE_URLS, two base URLs) and who (ROOMLINE_ACCOUNTS, as JSON).

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import {
    ClientEvent, createClient, Direction, EventType, Filter, MsgType, ReceiptType, RelationType, SyncState, TimelineWindow,
} from "matrix-js-sdk";
import { accounts, silent, urls, waiting } from "./common.mjs";

const eventually = waiting(180_000);
const each = 100;

const clients = [];

/** Signs in with a password and starts to sync. */
async function signIn(url, account, timelineLimit = 1000) {
    const answer = await createClient({ baseUrl: url, logger: silent }).loginRequest({
        type: "m.login.password",
        identifier: { type: "m.id.user", user: account.user },
        password: account.password,
        initial_device_display_name: "chat test",
    });
    const client = createClient({
        baseUrl: url, userId: answer.user_id, deviceId: answer.device_id, accessToken: answer.access_token,
        timelineSupport: true, logger: silent,
    });
    clients.push(client);
    const states = [];
    client.on(ClientEvent.Sync, (state) => states.push(state));
    // Why a limit for all syncs: over a gap in which there is a message of its own, which it knows already, the SDK drops what stands
    // before that message and keeps no mark that something is missing.
    const filter = new Filter(client.getUserId());
    filter.setTimelineLimit(timelineLimit);
    filter.setLazyLoadMembers(true);
    await client.startClient({ filter, initialSyncLimit: timelineLimit, lazyLoadMembers: true });
    await eventually(`first sync of ${account.user}`, () => states.includes(SyncState.Prepared));
    assert.ok(!states.includes(SyncState.Error), `sync of ${account.user} went ${states}`);
    return client;
}

/** The events of a room, oldest first, paged back to its beginning as a user who scrolls up would. */
async function scrollToTop(client) {
    const window = new TimelineWindow(client, client.getRoom(roomId).getUnfilteredTimelineSet(), { windowLimit: 10_000 });
    await window.load(undefined, 17);
    for (let pages = 0; window.canPaginate(Direction.Backward); pages++) {
        assert.ok(pages < 200, "the history has no end");
        await window.paginate(Direction.Backward, 17);
    }
    return window.getEvents();
}

/** The ids of the plain messages among events. */
function texts(events) {
    return events.filter((e) => e.getType() === EventType.RoomMessage && !e.getRelation()).map((e) => e.getId());
}

let alice;
let bob;
let roomId;
let order;

before(async () => {
    alice = await signIn(urls[0], accounts[0], 100);
    bob = await signIn(urls[1], accounts[1], 100);
});

after(() => {
    for (const client of clients) client.stopClient();
});

test("create, invite, join", async () => {
    ({ room_id: roomId } = await alice.createRoom({ preset: "private_chat", name: "Breakfast", topic: "Eggs" }));
    await assert.rejects(bob.joinRoom(roomId), { errcode: "M_FORBIDDEN" });
    await alice.invite(roomId, bob.getUserId());
    await eventually("bob's invite", () => bob.getRoom(roomId)?.getMyMembership() === "invite");
    assert.equal(bob.getRoom(roomId).name, "Breakfast", "the invite's stripped state names the room");
    await bob.joinRoom(roomId);
    await eventually("bob seeing himself in the room", () => bob.getRoom(roomId)?.getMyMembership() === "join");
    await eventually("alice seeing bob", () => alice.getRoom(roomId)?.getMember(bob.getUserId())?.membership === "join");
    assert.equal(bob.getRoom(roomId).name, "Breakfast");
});

test("100 messages both ways", async () => {
    const send = async (client) => {
        const ids = [];
        for (let n = 0; n < each; n++) {
            ids.push((await client.sendTextMessage(roomId, `${client.getUserId()} says ${n}`)).event_id);
        }
        return ids;
    };
    const sent = await Promise.all([send(alice), send(bob)]);
    for (const client of [alice, bob]) {
        const arrived = (id) => {
            const event = client.getRoom(roomId).findEventById(id);
            return event && event.status === null;
        };
        // The newest messages come with sync even over a gap. Nobody scrolls before they are there: the SDK would page through a
        // timeline that sync still adds to, and show events twice.
        await eventually(`${client.getUserId()} getting the last messages`, () => sent.every((ids) => arrived(ids.at(-1))));
        const got = texts(await scrollToTop(client));
        assert.deepEqual([...got].sort(), sent.flat().sort(), `${client.getUserId()} has each message once`);
        for (const ids of sent) {
            assert.deepEqual(got.filter((id) => ids.includes(id)), ids, "messages of one sender are in their order");
        }
        // A client keeps its own message where it stood when it was sent; the server's order is looked at below.
        order = got;
    }
});

test("paginate back with a new session", async () => {
    const orders = [];
    for (const [i, account] of accounts.entries()) {
        const fresh = await signIn(urls[1 - i], account, 5);
        try {
            const events = await scrollToTop(fresh);
            assert.equal(new Set(events.map((e) => e.getId())).size, events.length, "an event comes twice");
            if (i === 0) assert.equal(events[0].getType(), "m.room.create", "the history begins with the room");
            orders.push(texts(events));
        } finally {
            await fresh.logout(true);
        }
    }
    assert.equal(orders[0].length, 2 * each);
    assert.deepEqual(orders[0], orders[1], "both processes tell the same order");
    assert.deepEqual([...orders[0]].sort(), [...order].sort());
});

test("edit", async () => {
    const original = order.find((id) => alice.getRoom(roomId).findEventById(id).getSender() === alice.getUserId());
    await alice.sendMessage(roomId, {
        "msgtype": MsgType.Text, "body": "* corrected",
        "m.new_content": { msgtype: MsgType.Text, body: "corrected" },
        "m.relates_to": { rel_type: RelationType.Replace, event_id: original },
    });
    await eventually("bob seeing the edit", () => bob.getRoom(roomId).findEventById(original).getContent().body === "corrected");
});

test("react", async () => {
    const target = order.at(-1);
    const { event_id: id } = await bob.sendEvent(roomId, EventType.Reaction, {
        "m.relates_to": { rel_type: RelationType.Annotation, event_id: target, key: "👍" },
    });
    const reaction = await eventually("alice seeing the reaction", () => alice.getRoom(roomId).findEventById(id));
    assert.deepEqual(reaction.getRelation(), { rel_type: RelationType.Annotation, event_id: target, key: "👍" });
    const relations = alice.getRoom(roomId).relations.getChildEventsForEvent(target, RelationType.Annotation, EventType.Reaction);
    assert.equal(relations.getRelations().length, 1);
});

test("redact", async () => {
    const target = order[10];
    await alice.redactEvent(roomId, target, undefined, { reason: "crumbs" });
    for (const client of [alice, bob]) {
        const event = client.getRoom(roomId).findEventById(target);
        await eventually(`${client.getUserId()} seeing the redaction`, () => event.isRedacted());
        assert.deepEqual(event.getContent(), {});
    }
});

test("receipts", async () => {
    const last = await eventually("bob's last event", () => bob.getRoom(roomId).getLiveTimeline().getEvents().at(-1));
    await bob.sendReadReceipt(last, ReceiptType.Read);
    await eventually("alice seeing bob's receipt", () =>
        alice.getRoom(roomId).getReadReceiptForUserId(bob.getUserId(), true)?.eventId === last.getId());
});

test("typing", async () => {
    const member = () => alice.getRoom(roomId).getMember(bob.getUserId());
    await bob.sendTyping(roomId, true, 120_000);
    await eventually("alice seeing bob type", () => member().typing);
    await bob.sendTyping(roomId, false, 0);
    await eventually("alice seeing bob stop", () => !member().typing);
});
