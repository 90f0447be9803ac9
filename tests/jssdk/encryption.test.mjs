// matrix-js-sdk with its Rust crypto: two users and four devices in an encrypted room, on two server processes.
// jssdk_crypto_test.go starts the server and runs this with node --test; see chat.test.mjs for the environment. ROOMLINE_CONTROL is a URL
// below which it kills a server process and starts it again, and acts as carol, whose client is another.

import assert from "node:assert/strict";
import { after, before, test as nodeTest } from "node:test";

import { ClientEvent, createClient, Direction, MatrixError, SyncState } from "matrix-js-sdk";
import { CryptoEvent } from "matrix-js-sdk/lib/crypto-api/index.js";
import { VerificationPhase, VerificationRequestEvent, VerifierEvent } from "matrix-js-sdk/lib/crypto-api/verification.js";
import { accounts, silent, sleep, urls, waiting } from "./common.mjs";

const patience = 180_000;
const eventually = waiting(patience);
const each = 500;

/** A test that is not begun after one that failed: each builds on those before it. */
let failed;
const test = (what, run) => nodeTest(what, async () => {
    assert.ok(!failed, `"${failed}" failed before`);
    failed = what;
    await run();
    failed = undefined;
});

/** Does something until it succeeds, however often the server is away meanwhile. What the server refuses is not tried again. */
async function insist(what, act) {
    const deadline = Date.now() + patience;
    for (;;) {
        try {
            return await act();
        } catch (err) {
            if (err instanceof MatrixError && err.httpStatus < 500) throw err;
            assert.ok(Date.now() < deadline, `${what}: ${err}`);
            await sleep(50);
        }
    }
}

const clients = [];

/**
 * Why: this version of the SDK leaves the msgtype out of a request for verification in a room, and doesn't know it again when it
 * comes. The specification requires it.
 */
function fetchWithMsgtype(url, options) {
    if (options.method === "PUT" && url.toString().includes("/send/m.room.message/")) {
        const content = JSON.parse(options.body);
        if (content.methods && content.to && !content.msgtype) {
            options = { ...options, body: JSON.stringify({ ...content, msgtype: "m.key.verification.request" }) };
        }
    }
    return fetch(url, options);
}

/** Signs in on a device of its own, which encrypts. keys are the secret storage keys that the person knows. */
async function signIn(url, account, keys = {}) {
    const answer = await createClient({ baseUrl: url, logger: silent }).loginRequest({
        type: "m.login.password",
        identifier: { type: "m.id.user", user: account.user },
        password: account.password,
    });
    const client = createClient({
        baseUrl: url, userId: answer.user_id, deviceId: answer.device_id, accessToken: answer.access_token,
        timelineSupport: true, logger: silent, fetchFn: fetchWithMsgtype,
        cryptoCallbacks: {
            getSecretStorageKey: async ({ keys: wanted }) => {
                const id = Object.keys(wanted).find((k) => keys[k]);
                return id ? [id, keys[id]] : null;
            },
            cacheSecretStorageKey: (id, info, key) => (keys[id] = key),
        },
    });
    clients.push(client);
    await client.initRustCrypto({ useIndexedDB: false });
    const states = [];
    client.on(ClientEvent.Sync, (state) => states.push(state));
    await client.startClient({ initialSyncLimit: 20, lazyLoadMembers: true });
    await eventually(`first sync of ${account.user}`, () => states.includes(SyncState.Prepared));
    return client;
}

/** Says who they are when a request asks for it. */
const confirm = (account) => async (makeRequest) => {
    try {
        return await makeRequest(null);
    } catch (err) {
        if (!err.data?.session) throw err;
        return await makeRequest({
            type: "m.login.password", session: err.data.session, password: account.password,
            identifier: { type: "m.id.user", user: account.user },
        });
    }
};

/**
 * Lets two people or devices verify each other by emoji, in a way that ask begins. They confirm one after the other, as people do: if one side's mac comes
 * while the other's is being sent, the SDK sends its done before its mac, and the first side waits for ever.
 */
async function verify(ask, asker, other) {
    const theirs = accepted(other);
    const request = await ask();
    const counterpart = await theirs();
    assert.equal(counterpart.roomId, request.roomId);
    await eventually("the request being accepted", () => request.phase === VerificationPhase.Ready);
    const first = await request.startVerification("m.sas.v1");
    await eventually("the other side starting", () => counterpart.verifier);
    const shown = [];
    const done = [first, counterpart.verifier].map((verifier, side) => {
        const show = (sas) => (shown[side] = sas);
        if (verifier.getShowSasCallbacks()) show(verifier.getShowSasCallbacks());
        else verifier.once(VerifierEvent.ShowSas, show);
        return verifier.verify();
    });
    await eventually("emoji on both sides", () => shown[0] && shown[1]);
    assert.equal(shown[0].sas.emoji.length, 7);
    assert.deepEqual(shown[0].sas.emoji, shown[1].sas.emoji, "both sides see the same emoji");
    await shown[0].confirm();
    const { event_id: later } = await asker.sendTextMessage(roomId, "confirmed");
    await read(other, later); // and so what was confirmed before has come, too
    await shown[1].confirm();
    await eventually("the end of the verification", () => request.phase === VerificationPhase.Done && counterpart.phase === VerificationPhase.Done);
    await Promise.all(done);
    return request;
}

/** Whether one client sees that the other's device is signed by its owner. */
async function isSigned(client, other) {
    return (await client.getCrypto().getDeviceVerificationStatus(other.getUserId(), other.deviceId))?.signedByOwner;
}

/** The next verification that somebody asks the client for, accepted; undefined until it comes. */
function accepted(client) {
    const next = {};
    client.once(CryptoEvent.VerificationRequestReceived, (request) => {
        next.request = request;
        request.accept().catch((err) => (next.error = err));
    });
    return () => eventually(`${client.deviceId} being asked`, () => {
        assert.ifError(next.error);
        return next.request;
    });
}

/**
 * The events of the room, decrypted as far as the client can. They are read from the server: a timeline that sync still adds to, over
 * gaps, is not whole.
 */
async function history(client) {
    const events = [];
    let from = null;
    do {
        const page = await client.createMessagesRequest(roomId, from, 200, Direction.Backward);
        events.push(...page.chunk.map(client.getEventMapper({ decrypt: false })));
        from = page.end;
    } while (from);
    await Promise.all(events.map((e) => client.decryptEventIfNeeded(e)));
    return events;
}

/** The texts of messages by their event ids, and for those that can't be read the reasons. */
async function readable(client) {
    const texts = new Map();
    const failures = new Map();
    for (const event of await history(client)) {
        if (event.isDecryptionFailure()) failures.set(event.getId(), event.decryptionFailureReason);
        else if (event.getType() === "m.room.message") texts.set(event.getId(), event.getContent().body);
    }
    return { texts, failures };
}

/** Waits until a client has a message, and returns its text. */
async function read(client, id) {
    const event = await eventually(`${client.deviceId} getting ${id}`, () => client.getRoom(roomId).findEventById(id));
    await eventually(`${client.deviceId} reading ${id}`, () => !event.isEncrypted() || event.getClearContent() !== null);
    return event.getContent().body;
}

/** Has the test around this one do something, and returns its answer. */
async function control(path, query) {
    const answer = await fetch(`${process.env.ROOMLINE_CONTROL}${path}?${new URLSearchParams(query)}`);
    const text = await answer.text();
    assert.ok(answer.ok, `${path}: ${text}`);
    return text;
}

const kill = (n) => control("/kill", { process: n });
const carol = (act, query) => control(`/carol/${act}`, { room: roomId, ...query });

const secrets = {}; // what Alice has written down
let alice;
let second; // another device of Alice's
let bob;
let roomId;

before(async () => {
    alice = await signIn(urls[0], accounts[0], secrets);
    bob = await signIn(urls[1], accounts[1]);
});

after(() => {
    for (const client of clients) client.stopClient();
});

test("cross-signing and a key backup are set up", async () => {
    for (const [client, account] of [[alice, accounts[0]], [bob, accounts[1]]]) {
        await client.getCrypto().bootstrapCrossSigning({ authUploadDeviceSigningKeys: confirm(account) });
        await eventually(`${account.user}'s device being signed`, () => isSigned(client, client));
    }
    await alice.getCrypto().bootstrapSecretStorage({
        createSecretStorageKey: () => alice.getCrypto().createRecoveryKeyFromPassphrase(),
        setupNewKeyBackup: true,
    });
    assert.ok(await alice.getCrypto().isCrossSigningReady(), "cross-signing is ready");
    await eventually("secret storage", () => alice.getCrypto().isSecretStorageReady());
    await eventually("the use of the key backup", () => alice.getCrypto().getActiveSessionBackupVersion());
});

test("an encrypted room", async () => {
    ({ room_id: roomId } = await alice.createRoom({
        preset: "private_chat", name: "Breakfast", invite: [bob.getUserId()],
        initial_state: [{ type: "m.room.encryption", state_key: "", content: { algorithm: "m.megolm.v1.aes-sha2" } }],
    }));
    await eventually("bob's invite", () => bob.getRoom(roomId)?.getMyMembership() === "invite");
    await bob.joinRoom(roomId);
    await eventually("both in the room", () => [alice, bob].every((c) => c.getRoom(roomId)?.getJoinedMemberCount() === 2));
    await eventually("encryption", async () => (await alice.getCrypto().isEncryptionEnabledInRoom(roomId)) && (await bob.getCrypto().isEncryptionEnabledInRoom(roomId)));
    for (const [from, to] of [[alice, bob], [bob, alice]]) {
        const { event_id: id } = await from.sendTextMessage(roomId, `hello from ${from.getUserId()}`);
        assert.equal(await read(to, id), `hello from ${from.getUserId()}`);
        assert.ok(to.getRoom(roomId).findEventById(id).isEncrypted(), "it was encrypted");
    }
});

test("a second device is verified by emoji", async () => {
    second = await signIn(urls[1], accounts[0]);
    const crypto = second.getCrypto();
    assert.ok(!(await isSigned(second, second)), "a new device is not signed");
    // The request goes to the devices that the SDK knows of by then, and is ignored by a device that does not know whose it is.
    for (const [one, other] of [[second, alice], [alice, second]]) {
        await eventually(`${other.deviceId} being known to ${one.deviceId}`, async () =>
            (await one.getCrypto().getUserDeviceInfo([one.getUserId()], true)).get(one.getUserId())?.has(other.deviceId));
    }
    await verify(() => crypto.requestOwnUserVerification(), second, alice);
    for (const client of [alice, second, bob]) {
        await eventually(`${client.deviceId} seeing the device signed`, () => isSigned(client, second));
    }
    // The secrets come from the first device by messages between the two.
    await eventually("the private keys of cross-signing", async () =>
        Object.values((await crypto.getCrossSigningStatus()).privateKeysCachedLocally).every(Boolean));
    await eventually("the key of the backup", () => crypto.getSessionBackupPrivateKey());
    const { event_id: id } = await bob.sendTextMessage(roomId, "for all devices");
    for (const client of [alice, second]) assert.equal(await read(client, id), "for all devices");
});

test("two people verify each other by emoji in a room", async () => {
    const request = await verify(() => alice.getCrypto().requestVerificationDM(bob.getUserId(), roomId), alice, bob);
    assert.equal(request.roomId, roomId, "the request is a message of the room");
    for (const [client, other] of [[alice, bob], [bob, alice]]) {
        await eventually(`${client.getUserId()} trusting ${other.getUserId()}`, async () =>
            (await client.getCrypto().getUserVerificationStatus(other.getUserId())).isCrossSigningVerified());
    }
});

test("somebody with another client in the same room", async () => {
    const name = alice.getUserId().replace("alice", "carol");
    await alice.invite(roomId, name);
    assert.equal(await carol("join"), name);
    await eventually("all seeing carol", () => [alice, second, bob].every((c) => c.getRoom(roomId).getMember(name)?.membership === "join"));
    const id = await carol("say", { text: "carol says hello" });
    for (const client of [alice, second, bob]) {
        assert.equal(await read(client, id), "carol says hello");
        assert.ok(client.getRoom(roomId).findEventById(id).isEncrypted(), "it was encrypted");
    }
    for (const client of [alice, second, bob]) {
        const text = `${client.deviceId} says hello to carol`;
        const { event_id: event } = await client.sendTextMessage(roomId, text);
        assert.equal(await carol("read", { event }), text);
    }
    await carol("leave");
    await eventually("all seeing carol leave", () => [alice, second, bob].every((c) => c.getRoom(roomId).getMember(name)?.membership === "leave"));
});

test("1,000 messages while processes are killed", async () => {
    const sent = new Map();
    let stopped = false;
    const send = async (client, name, count) => {
        for (let n = 0; n < count; n++) {
            const text = `${name} says ${n}`;
            const txn = client.makeTxnId();
            let attempt = () => client.sendEvent(roomId, "m.room.message", { msgtype: "m.text", body: text }, txn);
            const { event_id: id } = await insist(text, () => attempt().catch((err) => {
                const room = client.getRoom(roomId);
                const unsent = room.findEventById(`~${roomId}:${txn}`);
                if (unsent) attempt = () => client.resendEvent(unsent, room);
                throw err;
            }));
            sent.set(id, text);
            // Sessions are replaced while devices wait for their keys.
            if (n % 100 === 99) await client.getCrypto().forceDiscardSession(roomId);
        }
    };
    const disturb = (async () => {
        for (let n = 0, before = 0; !stopped; n++) {
            await sleep(1500);
            // On a machine that is so busy that nothing comes through between two kills there would be no end.
            await eventually("messages between two kills", () => stopped || sent.size >= before + 20);
            before = sent.size;
            await kill(n % 2);
        }
    })();
    try {
        await Promise.all([send(alice, "alice", each - 100), send(second, "alice's phone", 100), send(bob, "bob", each)]);
    } finally {
        stopped = true;
        await disturb;
    }
    assert.equal(sent.size, 2 * each, "every message is one event");
    for (const client of [alice, second, bob]) {
        let state;
        await eventually(`${client.deviceId} reading all messages`, async () => {
            state = await insist("history", () => readable(client));
            return [...sent.keys()].every((id) => state.texts.has(id));
        }).catch((err) => {
            // What was said before the second device was there is not its to read: its keys are in the backup, which comes next.
            const unread = [...sent.keys()].filter((id) => !state.texts.has(id));
            const reasons = unread.slice(0, 5).map((id) => `${id}: ${state.failures.get(id) ?? "missing"}`);
            assert.fail(`${err.message}: ${unread.length} can't be read: ${reasons}`);
        });
        for (const [id, text] of sent) assert.equal(state.texts.get(id), text);
    }
});

test("a new device reads it all from the key backup", async () => {
    const info = await eventually("all keys in the backup", async () => {
        const { backupInfo } = await alice.getCrypto().checkKeyBackupAndEnable();
        const known = (await alice.getCrypto().exportRoomKeys()).length;
        return known >= 10 && backupInfo.count >= known && backupInfo;
    });
    const fresh = await signIn(urls[0], accounts[0], secrets);
    const crypto = fresh.getCrypto();
    const before = await readable(fresh);
    assert.ok(before.failures.size > 2 * each, `without keys nothing can be read, but ${before.texts.size} can`);
    // The SDK takes the private keys once it has the public ones.
    await eventually("the keys of the person being known", () => crypto.userHasCrossSigningKeys(fresh.getUserId(), true));
    await crypto.bootstrapCrossSigning({}); // signs the device with the keys out of the secret storage
    await eventually("the device being signed", () => isSigned(fresh, fresh));
    await crypto.loadSessionBackupPrivateKeyFromSecretStorage();
    const result = await crypto.restoreKeyBackup();
    assert.equal(result.imported, result.total);
    assert.ok(result.total >= info.count, `${result.total} keys of ${info.count}`);
    await eventually("the whole history", async () => {
        const { texts, failures } = await readable(fresh);
        return failures.size === 0 && texts.size >= 2 * each + 3;
    });
});
