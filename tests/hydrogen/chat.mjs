// Two people use Hydrogen, a whole web client by others, in a real browser. hydrogen_test.go starts the server and runs this;
// the environment says where (ROOMLINE_URL), who (ROOMLINE_ACCOUNTS, as JSON), how to restart the server (RESTART_URL, a POST)
// and where to put pictures of what people see (SCREENSHOTS, a folder).

import assert from "node:assert/strict";
import { createReadStream, existsSync } from "node:fs";
import { createServer } from "node:http";
import path from "node:path";

import { build } from "esbuild";
import { chromium } from "playwright-core";

const homeserver = process.env.ROOMLINE_URL;
const [alice, bob] = JSON.parse(process.env.ROOMLINE_ACCOUNTS);
const pictures = process.env.SCREENSHOTS;
const patience = 60_000;

const types = {
    ".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml", ".wasm": "application/wasm",
};

/** Serves the client; the address. */
async function serveClient() {
    const bundle = await build({
        entryPoints: ["page.js"], bundle: true, format: "esm", write: false, logLevel: "error", target: "es2022",
        external: ["crypto", "fs", "path"], // asked for in Node.js only
    });
    const server = createServer((request, response) => {
        const name = path.posix.normalize(new URL(request.url, "http://page").pathname);
        if (name === "/" || name === "/index.html") { // the second is what the client's service worker asks for
            response.setHeader("content-type", "text/html");
            response.end(`<!doctype html><title>Hydrogen</title>
                <link rel=stylesheet href="/assets/theme-element-light.css">
                <body style="margin:0"><div id=app class=hydrogen></div>
                <script>window.homeserver = ${JSON.stringify(homeserver)}</script>
                <script type=module src="/page.js"></script>`);
            return;
        }
        if (name === "/page.js") {
            response.setHeader("content-type", "text/javascript");
            response.end(bundle.outputFiles[0].contents);
            return;
        }
        const file = name === "/sw.js" ? "node_modules/hydrogen-view-sdk/lib-build/sw.js"
            : name.startsWith("/assets/") ? "node_modules/hydrogen-view-sdk/asset-build" + name
            : name.startsWith("/olm/") ? "node_modules/@matrix-org" + name : undefined;
        if (!file || !existsSync(file)) {
            response.statusCode = 404;
            response.end();
            return;
        }
        response.setHeader("content-type", types[path.extname(file)] ?? "application/octet-stream");
        createReadStream(file).pipe(response);
    });
    await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
    return { server, address: `http://127.0.0.1:${server.address().port}` };
}

/** Waits until the page shows a text. */
async function sees(page, text) {
    await page.waitForFunction((wanted) => document.body.innerText.includes(wanted), text, { timeout: patience });
}

async function picture(page, name) {
    await page.screenshot({ path: path.join(pictures, name + ".png") });
}

/** A browser profile of its own, signed in through the login page. */
async function signIn(browser, address, account) {
    const context = await browser.newContext({ viewport: { width: 1100, height: 700 } });
    const page = await context.newPage();
    page.setDefaultTimeout(patience);
    page.on("pageerror", (error) => console.log(account.user, "page error:", error.message));
    await page.goto(address);
    await page.fill("#username", account.user);
    await page.fill("#password", account.password);
    await picture(page, account.user + "-login");
    await page.click("button[type=submit]");
    await page.waitForSelector(".LeftPanel");
    return page;
}

/** Makes an encrypted room by the form and opens it. */
async function createRoom(page, name) {
    await page.click(".LeftPanel .create");
    await page.click(".menu >> text=Create Room");
    await page.fill("#name", name);
    assert.ok(await page.isChecked("#isEncrypted"), "the form offers encryption");
    await picture(page, "create-room");
    await page.click(".CreateRoomView button[type=submit]");
    // Hydrogen loses sight of a room that comes by sync before it has read the answer to its request.
    await page.click(`.RoomList >> text=${name}`);
    await page.waitForSelector(".MessageComposer textarea");
}

async function invite(page, user) {
    await page.click(".RoomHeader .room-options");
    await page.click(".menu >> text=Room details");
    await page.click(".RoomDetailsView_row:has-text('People')");
    await page.click("text=Invite");
    await page.fill(".InvitePanelView__input", user);
    await page.click(".InvitePanelView__btn");
    await sees(page, "was invited");
}

async function accept(page, name) {
    await page.click(`.RoomList >> text=${name}`);
    await picture(page, "invitation");
    await page.click(".InviteView >> text=Accept");
    await page.waitForSelector(".MessageComposer textarea");
}

async function send(page, text) {
    await page.fill(".MessageComposer textarea", text);
    await page.press(".MessageComposer textarea", "Enter");
}

/** Opens the menu of the message with a text. */
async function openMenu(page, text) {
    const message = page.locator(".Timeline_message", { hasText: text }).last();
    await message.hover();
    await message.locator(".Timeline_messageOptions").click();
}

async function restartServer() {
    const response = await fetch(process.env.RESTART_URL, { method: "POST" });
    assert.equal(response.status, 204, "the server was restarted");
}

const { server, address } = await serveClient();
const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM,
    args: [
        "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync",
    ],
});
try {
    const a = await signIn(browser, address, alice);
    const b = await signIn(browser, address, bob);
    console.log("both are signed in");

    await createRoom(a, "Lunch");
    await invite(a, bob.id);
    await accept(b, "Lunch");
    await sees(a, "joined the room");
    console.log("bob has joined");

    await send(a, "hello encrypted world");
    await sees(b, "hello encrypted world");
    await openMenu(b, "hello encrypted world");
    await b.click(".menu >> text=Reply");
    await send(b, "hello yourself");
    await sees(a, "hello yourself");
    await openMenu(a, "hello yourself");
    await a.click(".quick-reactions button:has-text('\u{1F389}')");
    await b.waitForSelector(".Timeline_messageReactions button:has-text('\u{1F389}')");
    console.log("sent, replied, reacted");
    await picture(a, "alice-chats");
    await picture(b, "bob-chats");

    await b.reload();
    await b.waitForSelector(".MessageComposer textarea");
    await sees(b, "hello encrypted world");
    await b.waitForSelector(".Timeline_messageReactions button:has-text('\u{1F389}')");
    console.log("reloaded");

    await restartServer();
    await send(b, "back again");
    await sees(a, "back again");
    await send(a, "so am I");
    await sees(b, "so am I");
    await picture(b, "bob-after-restart");
    for (const page of [a, b]) {
        const text = await page.innerText("body");
        assert.ok(!/decrypt/i.test(text), "nothing is said of messages that can't be decrypted");
    }
    console.log("went on after a restart");
} catch (error) {
    for (const [i, context] of browser.contexts().entries()) {
        for (const page of context.pages()) await picture(page, `failed-${i}`).catch(() => {});
    }
    throw error;
} finally {
    await browser.close();
    server.close();
}
