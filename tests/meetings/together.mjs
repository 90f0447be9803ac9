// A guest with nothing but a link, in the page that comes with the server, and a member with Element Call are in one call and see each other: in a
// room that is not encrypted, and in one that is, where each gets the other's keys. common.mjs says what it needs.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";

import { accounts, api, elementCall, eventually, failed, launch, makeRoom, patience, picture, received, sees, serve, watchConnections } from "./common.mjs";

const [alice] = accounts;
let browser, site;

before(async () => {
    site = await serve();
    browser = await launch();
});
after(async () => {
    await browser.close();
    site.close();
});
afterEach(async (context) => {
    if (!context.passed) await failed(browser);
    for (const one of browser.contexts()) await one.close();
});

/** Comes by a link, and joins the meeting with camera and microphone. */
async function guest(room, name) {
    const { link } = await api("POST", `/_roomline/client/v1/rooms/${encodeURIComponent(room)}/invitations`, { language: "en" }, alice.token);
    const context = await browser.newContext({ permissions: ["camera", "microphone"], viewport: { width: 1280, height: 800 }, locale: "en" });
    context.setDefaultTimeout(patience);
    await watchConnections(context);
    const page = await context.newPage();
    page.said = [];
    page.on("console", (message) => page.said.push(`${message.type()}: ${message.text()}`.slice(0, 400)));
    page.on("pageerror", (error) => page.said.push(`page error: ${error.stack ?? error}`));
    await page.goto(link);
    await page.fill("input[autocomplete=name]", name);
    await page.click("button[type=submit]");
    await page.getByTestId("meeting-open").click();
    await page.getByTestId("meeting-check").waitFor();
    await page.locator(".mt-preview video").waitFor();
    await page.getByTestId("meeting-join").click();
    await page.getByTestId("meeting-stage").waitFor();
    return page;
}

for (const encrypted of [false, true]) {
    test(`a guest in the page and a member with Element Call see each other${encrypted ? ", encrypted" : ""}`, async () => {
        const room = await makeRoom([alice], "With a guest", encrypted);
        const member = await elementCall(browser, site.url, alice, room, { encrypted });
        await sees(member, 1);
        const page = await guest(room, "Greta Guest");
        await Promise.all([sees(member, 2), sees(page, 2)]);
        for (const one of [member, page]) {
            const first = await received(one);
            await eventually(() => received(one), (now) => now.packets > first.packets + 20 && now.frames > first.frames + 3 && now.sound > first.sound, "pictures and sound go on coming");
        }
        const { sent } = await member.evaluate(() => window.host);
        const keys = sent.filter((what) => what.includes("encryption_keys"));
        if (encrypted) {
            assert.ok(keys.includes("io.element.call.encryption_keys, encrypted") && keys.includes("received io.element.call.encryption_keys"), `keys went both ways, and only encrypted: ${keys}`);
        } else assert.deepEqual(keys, []);
        await picture(member, `together-member${encrypted ? "-encrypted" : ""}`);
        await picture(page, `together-guest${encrypted ? "-encrypted" : ""}`);
    });
}
