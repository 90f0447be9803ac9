// Two people use Hydrogen, a whole web client by others, in a real browser. hydrogen_test.go starts the server and runs this;
// the environment says where (ROOMLINE_URL), who (ROOMLINE_ACCOUNTS, as JSON), how to restart the server (RESTART_URL, a POST)
// and where to keep pictures of what people see (SCREENSHOTS, a folder, if they are wanted).

import assert from "node:assert/strict";

import { accept, launch, patience, picture, sees, send, serveClient, signIn } from "./client.mjs";

const [alice, bob] = JSON.parse(process.env.ROOMLINE_ACCOUNTS);

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

/** Opens the menu of the message with a text. */
async function openMenu(page, text) {
    const message = page.locator(".Timeline_message", { hasText: text }).last(), options = message.locator(".Timeline_messageOptions");
    for (const until = Date.now() + patience; ;) { // what comes meanwhile may move it away from the mouse
        await message.hover();
        if (await options.waitFor({ timeout: 2000 }).then(() => true, () => false)) return options.click();
        assert.ok(Date.now() < until, `the menu of: ${text}`);
    }
}

async function restartServer() {
    const response = await fetch(process.env.RESTART_URL, { method: "POST" });
    assert.equal(response.status, 204, "the server was restarted");
}

const { server, address } = await serveClient();
const browser = await launch();
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
