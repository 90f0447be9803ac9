// matrix-js-sdk shares files: in a room that everybody can read on the server, and in an encrypted one. jssdk_test.go starts the server and
// runs this with node --test; see chat.test.mjs for the environment.

import assert from "node:assert/strict";
import { createCipheriv, createDecipheriv, createHash, randomBytes } from "node:crypto";
import { after, before, test } from "node:test";

import { ClientEvent, createClient, MsgType, SyncState } from "matrix-js-sdk";
import { accounts, silent, urls, waiting } from "./common.mjs";

const eventually = waiting(180_000);

const clients = [];

/** Signs in on a device that encrypts, and starts to sync. */
async function signIn(url, account) {
    const answer = await createClient({ baseUrl: url, logger: silent }).loginRequest({
        type: "m.login.password", identifier: { type: "m.id.user", user: account.user }, password: account.password,
    });
    const client = createClient({
        baseUrl: url, userId: answer.user_id, deviceId: answer.device_id, accessToken: answer.access_token, timelineSupport: true, logger: silent,
    });
    clients.push(client);
    await client.initRustCrypto({ useIndexedDB: false });
    const states = [];
    client.on(ClientEvent.Sync, (state) => states.push(state));
    await client.startClient({ initialSyncLimit: 20 });
    await eventually(`first sync of ${account.user}`, () => states.includes(SyncState.Prepared));
    return client;
}

/** What a client gets for a content URI, through the URL that the SDK makes. */
async function download(client, uri, ...size) {
    const [width, height, method] = size;
    const url = client.mxcUrlToHttp(uri, width, height, method, false, true, true);
    return await fetch(url, { headers: { Authorization: `Bearer ${client.getAccessToken()}` } });
}

async function content(response) {
    assert.equal(response.status, 200);
    return Buffer.from(await response.arrayBuffer());
}

/** A room of Alice's with Bob in it. */
async function meet(options) {
    const { room_id: roomId } = await alice.createRoom({ preset: "private_chat", invite: [bob.getUserId()], ...options });
    await eventually("bob's invite", () => bob.getRoom(roomId)?.getMyMembership() === "invite");
    await bob.joinRoom(roomId);
    await eventually("both seeing both", () => [alice, bob].every((c) => c.getRoom(roomId)?.getJoinedMemberCount() === 2));
    return roomId;
}

/** A PNG, white and grey. */
const png = Buffer.from(
    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAAAAABX3VL4AAAADklEQVR4nGP438DQ8B8ACQAC/1AHRdcAAAAASUVORK5CYII=", "base64");

let alice, bob;

before(async () => {
    alice = await signIn(urls[0], accounts[0]);
    bob = await signIn(urls[1], accounts[1]);
});

after(() => {
    for (const client of clients) client.stopClient();
});

test("a picture in the open", async () => {
    const roomId = await meet({});
    const limits = await bob.getMediaConfig(true);
    assert.ok(limits["m.upload.size"] > png.length);
    const { content_uri: uri } = await bob.uploadContent(png, { name: "Bild – ü.png", type: "image/png" });
    assert.equal((await download(alice, uri)).status, 404, "what was not sent is nobody else's");
    const { event_id: id } = await bob.sendMessage(roomId, { msgtype: MsgType.Image, body: "Bild – ü.png", url: uri, info: { mimetype: "image/png" } });
    const event = await eventually("alice getting the picture", () => alice.getRoom(roomId).findEventById(id));
    const answer = await download(alice, event.getContent().url);
    assert.equal(answer.headers.get("content-disposition"), "inline; filename*=utf-8''Bild%20%E2%80%93%20%C3%BC.png");
    assert.deepEqual(await content(answer), png);
    const small = await content(await download(alice, uri, 32, 32, "crop"));
    assert.ok(small.length > 0);
    await bob.redactEvent(roomId, id);
    await eventually("alice seeing the redaction", () => event.isRedacted());
    for (const client of [alice, bob]) {
        assert.equal((await download(client, uri)).status, 404);
        assert.equal((await download(client, uri, 32, 32, "crop")).status, 404);
    }
});

test("a file in an encrypted room", async () => {
    const roomId = await meet({
        initial_state: [{ type: "m.room.encryption", state_key: "", content: { algorithm: "m.megolm.v1.aes-sha2" } }],
    });
    await eventually("both knowing of the encryption", () => [alice, bob].every((c) => c.getRoom(roomId).hasEncryptionStateEvent()));
    // The SDK leaves the file to the client.
    const clear = randomBytes(300_000), key = randomBytes(32), iv = Buffer.concat([randomBytes(8), Buffer.alloc(8)]);
    const cipher = createCipheriv("aes-256-ctr", key, iv);
    const secret = Buffer.concat([cipher.update(clear), cipher.final()]);
    const { content_uri: uri } = await bob.uploadContent(secret, { includeFilename: false, type: "application/octet-stream" });
    const { event_id: id } = await bob.sendMessage(roomId, {
        msgtype: MsgType.File, body: "secret.bin", file: {
            url: uri, v: "v2", iv: iv.toString("base64").replaceAll("=", ""),
            hashes: { sha256: createHash("sha256").update(secret).digest("base64").replaceAll("=", "") },
            key: { alg: "A256CTR", ext: true, k: key.toString("base64url"), key_ops: ["encrypt", "decrypt"], kty: "oct" },
        },
    });
    const event = await eventually("alice getting the file", () => alice.getRoom(roomId).findEventById(id));
    await eventually("alice reading the message", () => event.getClearContent() !== null);
    const { file } = event.getContent();
    const got = await content(await download(alice, file.url));
    assert.equal(createHash("sha256").update(got).digest("base64").replaceAll("=", ""), file.hashes.sha256);
    const decipher = createDecipheriv("aes-256-ctr", Buffer.from(file.key.k, "base64url"), Buffer.from(file.iv, "base64"));
    assert.deepEqual(Buffer.concat([decipher.update(got), decipher.final()]), clear);
    // The server sees by its time that the event names the file, and lets its sender delete it.
    await eventually("bob deleting it", () => bob.redactEvent(roomId, id).then(() => true, (err) => {
        assert.equal(err.errcode, "M_FORBIDDEN");
        return false;
    }));
    await eventually("the file being gone", async () => (await download(alice, uri)).status === 404);
    assert.equal((await download(bob, uri)).status, 404);
});
