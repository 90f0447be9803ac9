// A bridge of matrix-appservice-bridge: it is told what happens, and acts for its ghosts.
import test from "node:test";
import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import bridgeLibrary from "matrix-appservice-bridge";

const { AppServiceRegistration, Bridge, Logger } = bridgeLibrary;
Logger.configure({ console: process.env.BRIDGE_LOG ?? "off" });
const url = process.env.ROOMLINE_URL, domain = process.env.ROOMLINE_DOMAIN;
const owner = process.env.ROOMLINE_OWNER, alice = JSON.parse(process.env.ROOMLINE_ALICE), port = Number(process.env.ROOMLINE_PORT);

async function api(token, method, where, body) {
    const answer = await fetch(url + where, {
        method, headers: { Authorization: `Bearer ${token}` },
        body: body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body),
    });
    const json = await answer.json();
    assert.equal(answer.status, 200, `${method} ${where}: ${JSON.stringify(json)}`);
    return json;
}

async function eventually(what, check) {
    for (const end = Date.now() + 180_000; Date.now() < end;) {
        const value = await check();
        if (value) return value;
        await new Promise(resolve => setTimeout(resolve, 20));
    }
    assert.fail(`${what}: it did not come to pass`);
}

test("a bridge bridges", async t => {
    // The registration is the file that the library writes.
    const registration = new AppServiceRegistration(`http://127.0.0.1:${port}`);
    registration.setId("node");
    registration.setHomeserverToken(AppServiceRegistration.generateToken());
    registration.setAppServiceToken(AppServiceRegistration.generateToken());
    registration.setSenderLocalpart("nodebot");
    registration.addRegexPattern("users", `@node_.*:${domain.replaceAll(".", "\\.")}`, true);
    registration.addRegexPattern("aliases", `#node_.*:${domain.replaceAll(".", "\\.")}`, true);
    registration.pushEphemeral = true;
    registration.setRateLimited(false);
    const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), "bridge-")), "registration.yaml");
    registration.outputAsYaml(file);
    await api(owner, "POST", "/_roomline/admin/v1/appservices", fs.readFileSync(file, "utf8"));
    fs.rmSync(path.dirname(file), { recursive: true });

    const told = [], ephemeral = [];
    const bridge = new Bridge({
        homeserverUrl: url, domain, registration, disableStores: true,
        controller: {
            onUserQuery: user => user.localpart === "node_asked" ? { name: "Asked" } : null,
            onAliasQuery: (_alias, localpart) => localpart === "node_asked" ? { creationOpts: { room_alias_name: localpart, preset: "public_chat" } } : null,
            onEvent: request => told.push(request.getData()),
            onEphemeralEvent: request => ephemeral.push(request.getData()),
        },
    });
    await bridge.initialise();
    await bridge.listen(port, "127.0.0.1");
    t.after(() => bridge.close());

    await t.test("users and aliases are made when they are asked for", async () => {
        const joined = await api(alice.token, "POST", `/_matrix/client/v3/join/${encodeURIComponent(`#node_asked:${domain}`)}`, {});
        assert.match(joined.room_id, /^!/);
        const profile = await api(alice.token, "GET", `/_matrix/client/v3/profile/${encodeURIComponent(`@node_asked:${domain}`)}`);
        assert.equal(profile.displayname, "Asked");
    });

    await t.test("a ghost joins, is told and speaks", async () => {
        const room = (await api(alice.token, "POST", "/_matrix/client/v3/createRoom", { preset: "public_chat", name: "Portal" })).room_id;
        const ghost = bridge.getIntent(`@node_ghost:${domain}`);
        await ghost.join(room);
        await ghost.setDisplayName("Ghost");
        const where = `/_matrix/client/v3/rooms/${encodeURIComponent(room)}`;
        await api(alice.token, "PUT", `${where}/typing/${encodeURIComponent(alice.user)}`, { typing: true, timeout: 120000 });
        const sent = (await api(alice.token, "PUT", `${where}/send/m.room.message/1`, { msgtype: "m.text", body: "to the other side" })).event_id;
        const got = await eventually("the message", () => told.find(e => e.event_id === sent));
        assert.equal(got.content.body, "to the other side");
        assert.equal(got.room_id, room);
        await eventually("typing", () => ephemeral.find(e => e.type === "m.typing" && e.room_id === room && e.content.user_ids.includes(alice.user)));
        const answer = await ghost.sendText(room, "from the other side");
        const read = await api(alice.token, "GET", `${where}/event/${encodeURIComponent(answer.event_id)}`);
        assert.equal(read.content.body, "from the other side");
        assert.equal(told.filter(e => e.event_id === sent).length, 1);
    });

    await t.test("what the bot sends comes back to the bridge", async () => {
        const room = (await bridge.getIntent().createRoom({ options: { preset: "private_chat" } })).room_id;
        assert.ok(await bridge.pingAppserviceRoute(room) >= 0);
    });
});
