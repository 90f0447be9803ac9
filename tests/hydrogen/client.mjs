// Hydrogen, a whole web client by others, in a real browser: what the tests that use it have in common. The environment says where the server
// is (ROOMLINE_URL), which browser to start (CHROMIUM) and where to keep pictures of what people see (SCREENSHOTS, a folder, if they are
// wanted).

import { createReadStream, existsSync } from "node:fs";
import { createServer } from "node:http";
import path from "node:path";

import { build } from "esbuild";
import { chromium } from "playwright-core";

const homeserver = process.env.ROOMLINE_URL;
const pictures = process.env.SCREENSHOTS;
export const patience = 60_000;

const types = {
    ".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml", ".wasm": "application/wasm",
};

/** Serves the client; the address. */
export async function serveClient() {
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
export async function sees(page, text) {
    await page.waitForFunction((wanted) => document.body.innerText.includes(wanted), text, { timeout: patience });
}

export async function picture(page, name) {
    if (pictures) await page.screenshot({ path: path.join(pictures, name + ".png") });
}

/** A browser profile of its own, signed in through the login page. */
export async function signIn(browser, address, account) {
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

export async function accept(page, name) {
    await page.click(`.RoomList >> text=${name}`);
    await picture(page, "invitation");
    await page.click(".InviteView >> text=Accept");
    await page.waitForSelector(".MessageComposer textarea");
}

export async function send(page, text) {
    await page.fill(".MessageComposer textarea", text);
    await page.press(".MessageComposer textarea", "Enter");
}

export function launch() {
    return chromium.launch({
        executablePath: process.env.CHROMIUM, timeout: 2 * patience,
        args: [
            "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync",
        ],
    });
}
