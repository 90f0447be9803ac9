// What the tests of the guest page have in common: a browser whose pages are watched, the server's API, pictures, and axe.
//
// page_test.go, room_test.go and ../guest_meeting_test.go start the server and say in the environment where it is (ROOMLINE_URL), who there is
// (ROOMLINE_ACCOUNTS, as JSON), where mails arrive (MAIL_URL, Mailpit's API), where to ask for what no client can do (CONTROL_URL), which browser
// to use (CHROMIUM) and where to keep pictures of what people see (SCREENSHOTS, a folder, if they are wanted).

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

import { chromium } from "playwright-core";

export const homeserver = process.env.ROOMLINE_URL;
export const accounts = JSON.parse(process.env.ROOMLINE_ACCOUNTS);
export const patience = 60_000;
const pictures = process.env.SCREENSHOTS;

export const desktop = { viewport: { width: 1200, height: 800 } };
export const phone = { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true };
export const narrow = { viewport: { width: 320, height: 640 } }; // what WCAG's reflow asks for, and 640 wide at 200 %

/** Asks the server; the answer's body. A status that was not expected fails. */
export async function api(method, where, body, token, expected = 200) {
    const response = await fetch(homeserver + where, {
        method,
        headers: { "content-type": "application/json", ...(token ? { authorization: `Bearer ${token}` } : {}) },
        body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await response.text();
    assert.equal(response.status, expected, `${method} ${where}: ${text}`);
    return JSON.parse(text);
}

/** Does what no client can: control("expire", {invitation}). */
export async function control(what, values = {}) {
    const response = await fetch(`${process.env.CONTROL_URL}/${what}?${new URLSearchParams(values)}`, { method: "POST" });
    assert.equal(response.status, 204, `${what}: ${await response.text()}`);
}

const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Fails if axe finds that a screen violates WCAG 2.2 AA, as far as a machine can see. */
export async function accessible(page, what) {
    if (!await page.evaluate(() => "axe" in window)) await page.evaluate(axeSource); // not as a script of the page: its policy allows none
    const found = await page.evaluate(async () => {
        const { violations } = await window.axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] });
        return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html.slice(0, 160)} ${failureSummary}`).join(" | ")}`);
    });
    assert.deepEqual(found, [], `axe: ${what}`);
}

/** Keeps a picture of what somebody sees, if there is a folder for them. */
export async function picture(page, name) {
    if (pictures) await page.screenshot({ path: path.join(pictures, `${name}.png`) });
}

/** Nothing has to be scrolled sideways. */
export async function fits(page, what) {
    const [content, window] = await page.evaluate(() => [document.scrollingElement.scrollWidth, innerWidth]);
    assert.ok(content <= window, `${what} is ${content} wide in ${window}`);
}

export const languages = ["en", "fr", "nl", "de"];

/** Looks at a screen in each language: it is said in it, nothing is left to be filled in, axe finds nothing. */
export async function inLanguages(page, name, some = languages) {
    for (const language of some) {
        await page.locator(".language select").last().selectOption(language);
        await page.waitForFunction((wanted) => document.documentElement.lang === wanted, language);
        assert.doesNotMatch(await page.innerText("body"), /\{\w+\}|undefined|NaN/, `${name} in ${language}`);
        await fits(page, `${name} in ${language}`);
        await accessible(page, `${name} in ${language}`);
        await picture(page, `${name}-${language}`);
    }
}

/** A browser, and what its pages did that they must not. */
export class Browser {
    /** @type {string[]} */
    offences = [];
    /** What they complained about, to be read after a failure. @type {string[]} */
    errors = [];

    /** Besides the server, pages may ask the origins also. */
    static async launch({ also = [] } = {}) {
        const browser = new Browser();
        browser.allowed = [homeserver, ...also];
        browser.chromium = await chromium.launch({
            executablePath: process.env.CHROMIUM, timeout: 2 * patience,
            args: [
                "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
                "--disable-sync", "--use-fake-device-for-media-stream=fps=5", "--use-fake-ui-for-media-stream", "--autoplay-policy=no-user-gesture-required",
            ],
        });
        return browser;
    }

    /** A page of a profile of its own, watched. */
    async page(options = desktop) {
        const context = await this.chromium.newContext({ locale: "en", reducedMotion: "reduce", ...options });
        context.setDefaultTimeout(patience);
        await context.addInitScript(() => addEventListener("securitypolicyviolation", (event) => {
            console.error(`Content Security Policy: ${event.violatedDirective} ${event.blockedURI}`);
        }));
        context.on("page", (page) => this.#watch(page));
        return context.newPage();
    }

    #watch(page) {
        page.on("pageerror", (error) => this.offences.push(`page error: ${error.stack ?? error}`));
        page.on("console", (message) => {
            if (/Content.Security.Policy/i.test(message.text())) this.offences.push(message.text());
            else if (message.type() === "error") this.errors.push(message.text().slice(0, 500));
        });
        page.on("request", (request) => {
            const url = new URL(request.url());
            if (!["data:", "blob:"].includes(url.protocol) && !this.allowed.includes(url.origin)) this.offences.push(`asked ${url.origin}`);
            // LiveKit is given its tokens so; they are good for a minute, and for one meeting.
            if (/access_token/.test(url.search) && url.origin === homeserver) this.offences.push(`a token in an address: ${url.pathname}`);
        });
    }

    /** Fails if a page did what it must not. */
    behaved(what) {
        assert.deepEqual(this.offences.splice(0), [], what);
    }

    /** Keeps pictures of all pages, after a failure. */
    async failed() {
        for (const [i, page] of this.chromium.contexts().flatMap((context) => context.pages()).entries()) {
            console.log(`page ${i}: ${page.url()}\n${(await page.innerText("body").catch(() => "")).slice(0, 600)}`);
            await picture(page, `failed-${i}`).catch(() => {});
        }
        for (const offence of this.offences) console.log("offence:", offence);
        for (const error of this.errors.splice(0).slice(-20)) console.log("error:", error);
    }

    close() {
        return this.chromium.close();
    }
}

/** Waits until the page shows a text. */
export async function sees(page, text) {
    await page.waitForFunction((wanted) => document.body.innerText.includes(wanted), text, { timeout: patience });
}

/** Begins to look for what is shown for a moment only, which a busy machine looks at too late. What is returned waits until it was seen. */
export async function glimpse(page, selector, text = "") {
    const seen = await page.evaluateHandle(([selector, text]) => {
        const seen = { once: false };
        const look = () => { seen.once ||= [...document.querySelectorAll(selector)].some((one) => one.checkVisibility() && one.innerText.includes(text)); };
        new MutationObserver(look).observe(document, { subtree: true, childList: true, characterData: true, attributes: true });
        look();
        return seen;
    }, [selector, text]);
    return () => page.waitForFunction((seen) => seen.once, seen, { timeout: patience });
}

/** Asks until the answer is as wanted. */
export async function eventually(ask, wanted, what = "it did not come") {
    const until = Date.now() + patience;
    for (;;) {
        const answer = await ask();
        if (wanted(answer)) return answer;
        assert.ok(Date.now() < until, `${what}: ${JSON.stringify(answer)}`);
        await new Promise((resolve) => setTimeout(resolve, 100));
    }
}

/** Waits for a screen by its heading. */
export async function heading(page, text) {
    await page.getByRole("heading", { level: 1, name: text }).waitFor();
}

/** A room of somebody's. */
export async function makeRoom(account, name, encrypted = false) {
    const { room_id: room } = await api("POST", "/_matrix/client/v3/createRoom", {
        name, preset: "private_chat",
        initial_state: encrypted ? [{ type: "m.room.encryption", state_key: "", content: { algorithm: "m.megolm.v1.aes-sha2" } }] : [],
    }, account.token);
    return room;
}

let transaction = 0;
export async function say(account, room, body) {
    await api("PUT", `/_matrix/client/v3/rooms/${encodeURIComponent(room)}/send/m.room.message/page-${++transaction}`, { msgtype: "m.text", body }, account.token);
}

/** Invites; without an address the answer has a link. */
export function invite(account, room, invitation = {}) {
    return api("POST", `/_roomline/client/v1/rooms/${encodeURIComponent(room)}/invitations`, invitation, account.token);
}

/** The newest mail to an address that matches, as text. */
export async function mail(address, pattern) {
    const until = Date.now() + patience;
    while (Date.now() < until) {
        const { messages } = await (await fetch(`${process.env.MAIL_URL}/api/v1/search?query=${encodeURIComponent(`to:${address}`)}`)).json();
        for (const { ID } of messages) {
            const { Text } = await (await fetch(`${process.env.MAIL_URL}/api/v1/message/${ID}`)).json();
            const found = pattern.exec(Text);
            if (found) return found;
        }
        await new Promise((resolve) => setTimeout(resolve, 100));
    }
    return assert.fail(`no mail to ${address} that matches ${pattern}`);
}

/** Says one's name to an invitation. */
export async function redeem(page, link, name) {
    await page.goto(link);
    await page.fill("input[autocomplete=name]", name);
    await page.click("button[type=submit]");
}

/** Comes as a guest by a link, as somebody who clicks. */
export async function comeIn(page, link, name) {
    await redeem(page, link, name);
    await page.waitForSelector(".rl-room textarea, .rl-room [contenteditable]");
}

/** Signs a member in. */
export async function signIn(page, account) {
    await page.goto(`${homeserver}/i`);
    await page.fill("input[autocomplete=username]", account.user);
    await page.fill("input[autocomplete=current-password]", account.password);
    await page.click("button[type=submit]");
    await page.waitForSelector(".rooms");
}
