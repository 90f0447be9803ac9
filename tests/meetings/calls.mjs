// People meet with Element Call: they see and hear each other, one shows a screen, loses the network, another starts again, more come, and one is
// sent away. common.mjs says what it needs.

import { after, afterEach, before, test } from "node:test";

import { accounts, api, elementCall, eventually, failed, inside, launch, livekit, makeRoom, patience, picture, received, sees, serve } from "./common.mjs";

const [alice, bob, ...others] = accounts;
let browser, site, room;
const pages = {};

before(async () => {
    site = await serve();
    browser = await launch();
    room = await makeRoom(accounts, "Weekly meeting");
});
after(async () => {
    await browser.close();
    site.close();
});
afterEach(async (context) => {
    if (!context.passed) await failed(browser);
});

/**
 * What everybody sends, by LiveKit's word: [["camera", "microphone"], …]. What people are called there is not always who they are. Who gave up
 * before the connection was made, as Element Call does when it begins anew, is in LiveKit's list for a while and sends nothing.
 */
const sources = async () => Object.values(await livekit()).filter((one) => one.length > 0).map((one) => one.toSorted());
const everybodySends = (count) => eventually(sources, (all) => all.length === count && all.every((one) => String(one) === "camera,microphone"), `LiveKit has ${count} people`);

test("two people see and hear each other", async () => {
    pages.alice = await elementCall(browser, site.url, alice, room);
    await sees(pages.alice, 1);
    pages.bob = await elementCall(browser, site.url, bob, room);
    await Promise.all([sees(pages.alice, 2), sees(pages.bob, 2)]);
    for (const page of [pages.alice, pages.bob]) {
        const first = await received(page);
        await eventually(() => received(page), (now) => now.packets > first.packets + 20 && now.frames > first.frames + 3 && now.sound > first.sound, "pictures and sound go on coming");
    }
    await everybodySends(2);
    await picture(pages.alice, "element-call-two");
});

test("a screen is shown", async () => {
    await inside(pages.bob).getByTestId("incall_screenshare").click();
    await eventually(sources, (all) => all.some((one) => one.includes("screen_share")), "LiveKit has a screen");
    await sees(pages.alice, 3);
    await picture(pages.alice, "element-call-screen");
    await inside(pages.bob).getByTestId("incall_screenshare").click();
    await everybodySends(2);
    await sees(pages.alice, 2);
});

test("the network goes away and comes back", async () => {
    await pages.bob.context().setOffline(true);
    await new Promise((resolve) => setTimeout(resolve, 4000));
    await pages.bob.context().setOffline(false);
    await Promise.all([sees(pages.alice, 2), sees(pages.bob, 2)]);
});

test("somebody starts the page again", async () => {
    await pages.alice.reload();
    await Promise.all([sees(pages.alice, 2), sees(pages.bob, 2)]);
    await everybodySends(2); // nobody is there twice
});

test("five people see each other", async () => {
    await Promise.all(others.slice(0, 3).map(async (one) => { pages[one.user] = await elementCall(browser, site.url, one, room); }));
    await Promise.all(Object.values(pages).map((page) => sees(page, 5, 3 * patience)));
    await picture(pages.alice, "element-call-five");
    await everybodySends(5);
});

test("whom a moderator sends away is gone", async () => {
    await api("POST", `/_matrix/client/v3/rooms/${encodeURIComponent(room)}/kick`, { user_id: bob.id }, alice.token);
    await everybodySends(4);
    await eventually(() => inside(pages.bob).locator("body").innerText(), (text) => /disconnected|left|lost|reconnect|removed|error/i.test(text), "the person is told");
    await picture(pages.bob, "element-call-kicked");
    await pages.bob.context().close();
    await sees(pages.alice, 4);
});
