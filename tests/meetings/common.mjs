// What the tests of calls have in common: the web server of Element Call and the page it runs in, a browser with a camera, the server's API, pictures.
//
// call_test.go starts the server and says in the environment where it is (ROOMLINE_URL), who there is (ROOMLINE_ACCOUNTS, as JSON), where to ask what
// LiveKit sees (CONTROL_URL, empty if that can't be asked), which browser to use (CHROMIUM) and where to keep pictures of what people see (SCREENSHOTS, a folder, if they are wanted).

import assert from "node:assert/strict";
import { createReadStream, existsSync } from "node:fs";
import http from "node:http";
import { createRequire } from "node:module";
import path from "node:path";

import { build } from "esbuild";
import { chromium } from "playwright-core";

export const homeserver = process.env.ROOMLINE_URL;
export const accounts = JSON.parse(process.env.ROOMLINE_ACCOUNTS);
export const patience = 60_000;
const pictures = process.env.SCREENSHOTS;

const folder = (name) => path.dirname(createRequire(import.meta.url).resolve(`${name}/package.json`));
const types = {
    ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".wasm": "application/wasm", ".json": "application/json", ".svg": "image/svg+xml",
    ".ogg": "audio/ogg", ".mp3": "audio/mpeg", ".woff2": "font/woff2", ".tflite": "application/octet-stream",
};

/** Serves host.mjs as a page, and Element Call below /ec/. */
export async function serve() {
    const bundle = await build({ entryPoints: ["host.mjs"], bundle: true, format: "esm", target: "es2022", write: false, logLevel: "error", define: { global: "globalThis" } });
    const crypto = path.join(folder("matrix-js-sdk"), "../@matrix-org/matrix-sdk-crypto-wasm/pkg");
    const call = path.join(folder("matrix-js-sdk"), "../@element-hq/element-call-embedded/dist");
    const server = http.createServer((request, response) => {
        const where = path.posix.normalize(new URL(request.url, "http://x").pathname);
        const send = (type, text) => response.setHeader("content-type", type).end(text);
        if (where === "/host") return send("text/html", "<!doctype html><style>body{margin:0;background:#000}iframe{border:0;width:100vw;height:100vh;display:block}</style><script type=module src=/host.js></script>");
        if (where === "/host.js") return send("text/javascript", bundle.outputFiles[0].contents);
        const file = where.startsWith("/ec/") ? path.join(call, where.slice(3)) : where.startsWith("/pkg/") ? path.join(crypto, where.slice(4)) : "";
        if (!file || !existsSync(file)) return response.writeHead(404).end();
        response.setHeader("content-type", types[path.extname(file)] ?? "application/octet-stream");
        return createReadStream(file).pipe(response);
    });
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    return { url: `http://127.0.0.1:${server.address().port}`, close: () => server.closeAllConnections() ?? server.close() };
}

export function launch() {
    return chromium.launch({
        executablePath: process.env.CHROMIUM, timeout: 2 * patience,
        args: [
            "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--use-fake-device-for-media-stream=fps=5", "--use-fake-ui-for-media-stream", "--autoplay-policy=no-user-gesture-required",
            "--auto-select-desktop-capture-source=Entire screen", "--auto-accept-this-tab-capture",
        ],
    });
}

/** A page of a profile of its own, with a session of its own, in which somebody is in the call of a room with Element Call. */
export async function elementCall(browser, site, account, room, { encrypted = false, viewport = { width: 1280, height: 800 } } = {}) {
    const session = await api("POST", "/_matrix/client/v3/login", {
        type: "m.login.password", identifier: { type: "m.id.user", user: account.user }, password: account.password,
    }, "");
    const context = await browser.newContext({ permissions: ["camera", "microphone"], viewport, locale: "en" });
    context.setDefaultTimeout(patience);
    await context.addInitScript((given) => { window.account = given; }, {
        homeserver, user: account.id, token: session.access_token, device: session.device_id, room, encrypted,
    });
    await watchConnections(context);
    const page = await context.newPage();
    page.said = [];
    page.on("console", (message) => page.said.push(`${message.type()}: ${message.text()}`.slice(0, 400)));
    page.on("pageerror", (error) => page.said.push(`page error: ${error.stack ?? error}`));
    page.on("response", (response) => response.status() >= 400 && page.said.push(`${response.status()} ${response.request().method()} ${new URL(response.url()).pathname}`));
    await page.goto(`${site}/host`);
    return page;
}

/** The frame of Element Call. */
export const inside = (page) => page.frames().find((frame) => frame.url().includes("/ec/")) ?? page.mainFrame();

/** Waits until a page shows as many moving pictures as expected, one's own among them; they have to go on moving. */
export async function sees(page, count, within = patience) {
    const moving = (frame) => frame.evaluate(async () => {
        const videos = [...document.querySelectorAll("video")];
        const before = videos.map((video) => [video.currentTime, video.getVideoPlaybackQuality().totalVideoFrames]);
        await new Promise((resolve) => setTimeout(resolve, 1500));
        return videos.filter((video, i) => video.videoWidth > 0 && video.currentTime > before[i][0] && video.getVideoPlaybackQuality().totalVideoFrames > before[i][1]).length;
    });
    return eventually(() => moving(inside(page)), (found) => found === count, `${count} moving pictures`, within);
}

/** What the browser itself says it has received and decoded, of all connections of a page. */
export function received(page) {
    return inside(page).evaluate(async () => {
        const sum = { packets: 0, frames: 0, sound: 0 };
        for (const connection of window.connections ?? []) {
            for (const report of (await connection.getStats()).values()) {
                if (report.type !== "inbound-rtp") continue;
                sum.packets += report.packetsReceived;
                sum.frames += report.framesDecoded ?? 0;
                sum.sound += report.totalAudioEnergy ?? 0;
            }
        }
        return sum;
    });
}

/** Keeps every connection of the pages of a context, for received(). */
export const watchConnections = (context) => context.addInitScript(() => {
    window.connections = [];
    const Original = window.RTCPeerConnection;
    window.RTCPeerConnection = class extends Original {
        constructor(...given) {
            super(...given);
            window.connections.push(this);
        }
    };
});

export async function eventually(ask, holds, what, within = patience) {
    const until = Date.now() + within;
    let last;
    while (Date.now() < until) {
        last = await ask().catch((error) => error);
        if (!(last instanceof Error) && holds(last)) return last;
        await new Promise((resolve) => setTimeout(resolve, 200));
    }
    return assert.fail(`${what}: not within ${within} ms; last: ${JSON.stringify(last)} ${last instanceof Error ? last.stack : ""}`);
}

/** What LiveKit sees: {identity: [source, …]} of all rooms. */
export async function livekit() {
    return (await fetch(`${process.env.CONTROL_URL}/livekit`)).json();
}

let transaction = 0;
/** Asks the server; the answer's body. */
export async function api(method, where, body, token, expected = 200) {
    const response = await fetch(homeserver + where.replace("{txn}", `calls-${++transaction}`), {
        method, headers: { "content-type": "application/json", ...(token ? { authorization: `Bearer ${token}` } : {}) }, body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await response.text();
    assert.equal(response.status, expected, `${method} ${where}: ${text}`);
    return JSON.parse(text);
}

/** A room of the first of the people, in which the others are too. */
export async function makeRoom([owner, ...others], name, encrypted = false) {
    const { room_id: room } = await api("POST", "/_matrix/client/v3/createRoom", {
        name, preset: "private_chat", invite: others.map(({ id }) => id),
        initial_state: encrypted ? [{ type: "m.room.encryption", state_key: "", content: { algorithm: "m.megolm.v1.aes-sha2" } }] : [],
    }, owner.token);
    for (const { token } of others) await api("POST", `/_matrix/client/v3/join/${encodeURIComponent(room)}`, {}, token);
    return room;
}

export async function picture(page, name) {
    if (pictures) await page.screenshot({ path: path.join(pictures, `${name}.png`) });
}

/** Says what there is to know of all pages, after a failure. */
export async function failed(browser) {
    for (const [i, page] of browser.contexts().flatMap((context) => context.pages()).entries()) {
        await picture(page, `failed-${i}`).catch(() => {});
        console.log(`page ${i}: ${page.url()}`, JSON.stringify(await page.evaluate(() => window.host).catch(() => null)));
        console.log((page.said ?? []).filter((line) => !/^(log|info|debug):/.test(line)).slice(-15).join("\n"));
    }
    if (process.env.CONTROL_URL) console.log("LiveKit:", JSON.stringify(await livekit().catch(String)));
}
