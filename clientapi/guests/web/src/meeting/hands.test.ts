import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import { test } from "node:test";

import { type MatrixClient, type MatrixEvent, type Room, RoomEvent } from "matrix-js-sdk";
import type { CallMembership } from "matrix-js-sdk/lib/matrixrtc/index.js";

import { Hands } from "./hands.ts";

const anna = "@anna:hs.test", joined = "$joined";
const membership = { eventId: joined, sender: anna, deviceId: "PHONE", createdTs: () => 0 } as CallMembership;

const hand = (id: string): MatrixEvent => ({
    getId: () => id, getSender: () => anna, getType: () => "m.reaction", getTs: () => 1, isRedacted: () => false,
    getContent: () => ({ "m.relates_to": { rel_type: "m.annotation", event_id: joined, key: "🖐️" } }),
}) as unknown as MatrixEvent;

/** A page in a room whose timeline has these; relations are answered when the test says so. */
function page(...timeline: MatrixEvent[]) {
    const room = Object.assign(new EventEmitter(), { roomId: "!room", getLiveTimeline: () => ({ getEvents: () => timeline }) });
    let answer: (events: MatrixEvent[]) => void = () => {};
    const answered = new Promise<{ events: MatrixEvent[] }>((resolve) => { answer = (events) => resolve({ events }); });
    const client = Object.assign(new EventEmitter(), { relations: () => answered });
    const said: string[] = [];
    const hands = new Hands(client as unknown as MatrixClient, room as unknown as Room, () => {}, (who) => said.push(who));
    return {
        hands, said,
        relations: async (...events: MatrixEvent[]) => {
            answer(events);
            await new Promise(setImmediate);
        },
        sync: (event: MatrixEvent) => room.emit(RoomEvent.Timeline, event, room, false),
        redacted: (id: string) => room.emit(RoomEvent.Redaction, { getAssociatedId: () => id }),
    };
}

test("a hand is told of once, whether sync or the answer about relations is faster", async () => {
    const slow = page();
    slow.hands.update([membership]);
    await slow.relations(hand("$hand"));
    assert.deepEqual(slow.said, [], "it may have been up before");
    assert.equal(slow.hands.handOf(membership), 1);
    slow.sync(hand("$hand"));
    slow.sync(hand("$hand"));
    assert.deepEqual(slow.said, [anna]);

    const fast = page();
    fast.hands.update([membership]);
    fast.sync(hand("$hand"));
    await fast.relations(hand("$hand"));
    assert.deepEqual(fast.said, [anna]);
});

test("a hand is told of when it is known that its owner is in the call", () => {
    const { hands, said, sync } = page();
    sync(hand("$hand"));
    assert.deepEqual(said, []);
    hands.update([membership]);
    hands.update([membership]);
    assert.deepEqual(said, [anna]);
});

test("a hand that was up before is shown, and not told of", () => {
    const { hands, said, sync } = page(hand("$hand"));
    hands.update([membership]);
    sync(hand("$hand"));
    assert.equal(hands.handOf(membership), 1);
    assert.deepEqual(said, []);
});

test("a hand that went down is not put up again by an answer from before", async () => {
    const { hands, sync, relations, redacted } = page();
    hands.update([membership]);
    sync(hand("$hand"));
    redacted("$hand");
    await relations(hand("$hand"));
    assert.equal(hands.handOf(membership), undefined);
});
