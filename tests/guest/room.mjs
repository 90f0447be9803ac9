// A guest and members use a room of the page. common.mjs says what it needs.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { after, afterEach, before, test } from "node:test";

import { accessible, accounts, api, Browser, comeIn, desktop, fits, glimpse, homeserver, invite, makeRoom, patience, picture, redeem, signIn } from "./common.mjs";

const [alice, bob] = accounts;
let browser;

before(async () => {
    browser = await Browser.launch();
    for (const [who, displayname] of [[alice, "Alice Martin"], [bob, "Bob Peeters"]]) {
        await api("PUT", `/_matrix/client/v3/profile/${encodeURIComponent(who.id)}/displayname`, { displayname }, who.token);
    }
});
after(() => browser.close());
afterEach(async (context) => {
    if (context.error ?? !context.passed) await browser.failed();
    for (const one of browser.chromium.contexts()) await one.close();
    browser.behaved(context.name);
});

const inRoom = (room, rest) => `/_matrix/client/v3/rooms/${encodeURIComponent(room)}/${rest}`;
let transactions = 0;
const send = (who, room, content, type = "m.room.message") => api("PUT", inRoom(room, `send/${type}/t${transactions++}`), content, who.token);
const history = async (who, room) => (await api("GET", inRoom(room, "messages?dir=b&limit=100"), undefined, who.token)).chunk;

/** An invitation of Alice's. Its link begins with public_base_url, and is opened at the process itself. */
async function inviteTo(room, options) {
    const invitation = await invite(alice, room, options);
    return { ...invitation, link: homeserver + invitation.link.replace(/^https:\/\/chat\.example\.org/, "") };
}

const link = async (room, options) => (await inviteTo(room, options)).link;

/** A room of Alice's and Bob's. */
async function createRoom(name, encrypted) {
    const room = await makeRoom(alice, name, encrypted);
    await api("POST", inRoom(room, "invite"), { user_id: bob.id }, alice.token);
    await api("POST", inRoom(room, "join"), {}, bob.token);
    return room;
}

async function guestOf(room) {
    const { joined } = await api("GET", inRoom(room, "joined_members"), undefined, alice.token);
    return Object.keys(joined).find((id) => id.startsWith("@guest-"));
}

const seat = { ...desktop, permissions: ["microphone", "clipboard-write"] };

async function memberOpens(who, name) {
    const page = await browser.page(seat);
    await signIn(page, who);
    await page.click(`.room-button:has-text("${name}")`);
    await page.waitForSelector(".rl-composer");
    return page;
}

async function guestOpens(address, name, options = seat) {
    const page = await browser.page(options);
    await comeIn(page, address, name);
    return page;
}

const says = async (page, text) => {
    await page.fill(".rl-field textarea", text);
    await page.press(".rl-field textarea", "Enter");
};
const message = (page, text) => page.locator("article", { hasText: text }).last();
const arrives = (page, text) => message(page, text).waitFor();

/** Presses a button of a message's toolbar, which is there while the mouse is on a message that has been sent: what comes meanwhile may move it away. */
async function does(page, text, label) {
    const button = message(page, text).getByRole("button", { name: label, exact: true });
    for (const until = Date.now() + patience; ;) {
        await message(page, text).hover();
        const shown = await button.waitFor({ timeout: 2000 }).then(() => true, () => false);
        if (shown) return button.click();
        assert.ok(Date.now() < until, `${label}: ${text}`);
    }
}

test("what a guest and a member do with each other", () => chat(false));
test("what a guest and a member do with each other, encrypted", () => chat(true));

async function chat(encrypted) {
    const kind = encrypted ? "encrypted" : "plain";
    const name = encrypted ? "Contract (secret)" : "Moving day";
    const room = await createRoom(name, encrypted);
    const member = await memberOpens(alice, name);
    const guest = await guestOpens(await link(room), "Anna Schmidt");
    await member.getByText("Anna Schmidt (guest) joined").waitFor(); // nobody writes for somebody of whom they have not heard

    await says(member, "Welcome! The plan is at https://example.org/plan_(final).");
    await arrives(guest, "Welcome!");
    assert.equal(await message(guest, "Welcome!").locator("a").getAttribute("href"), "https://example.org/plan_(final)");
    await guest.locator(".rl-field textarea").pressSequentially("I am", { delay: 20 });
    await member.locator(".rl-typing", { hasText: "Anna Schmidt" }).waitFor();
    await says(guest, "Hello! 👋");
    await arrives(member, "Hello! 👋");
    await member.locator(".rl-typing:not(:has(.rl-dots))").waitFor({ state: "attached" });
    await message(member, "Hello! 👋").locator(".rl-badge").waitFor();
    assert.equal(await message(member, "Hello! 👋").locator(".rl-badge").count(), 1, "the guest is marked");
    await guest.locator(".rl-readers").first().waitFor();

    await does(guest, "Welcome!", "Reply");
    await says(guest, "Thanks for the plan");
    await member.locator("article:has(.rl-quote)", { hasText: "Thanks for the plan" }).waitFor();
    await does(member, "Thanks for the plan", "React with ❤️");
    await message(guest, "Thanks for the plan").locator(".rl-reaction", { hasText: "❤️" }).click();
    await message(member, "Thanks for the plan").locator(".rl-reaction", { hasText: "2" }).waitFor();
    const mine = message(guest, "Thanks for the plan").locator(".rl-reaction[aria-pressed=true]");
    await mine.waitFor();
    for (const until = Date.now() + patience; await mine.count() > 0; await guest.waitForTimeout(100)) { // it is not taken back before it has come back by sync
        assert.ok(Date.now() < until, "a reaction is taken back");
        await mine.click({ timeout: 2000 }).catch(() => {});
    }
    await message(member, "Thanks for the plan").locator(".rl-reaction", { hasText: "1" }).waitFor();

    await guest.press(".rl-field textarea", "ArrowUp");
    await says(guest, "Thanks for the new plan");
    await message(member, "Thanks for the new plan").getByRole("button", { name: "edited" }).click();
    await member.locator("dialog .rl-versions li").nth(1).waitFor();
    await accessible(member, `${kind}: versions`);
    await picture(member, `${kind}-versions`);
    await member.keyboard.press("Escape");

    await says(member, "A mistake");
    await arrives(guest, "A mistake");
    await does(member, "A mistake", "Delete");
    await accessible(member, `${kind}: delete`);
    await member.locator("dialog").getByRole("button", { name: "Delete" }).click();
    await arrives(guest, "Message deleted");
    await guest.locator("article", { hasText: "Hello! 👋" }).hover();
    assert.equal(await message(guest, "Hello! 👋").getByRole("button", { name: "Delete" }).count(), 0, "text is the owner's to delete");

    await filesOf(member, guest, kind);
    await voice(member, guest, room, kind, encrypted);
    await accessible(guest, `${kind}: chat`);
    await picture(guest, `${kind}-guest`);
    await picture(member, `${kind}-member`);
    await byKeyboard(guest);

    const clear = (await history(alice, room)).filter((e) => e.type === "m.room.message");
    if (encrypted) assert.deepEqual(clear, [], "nothing went out in clear");
}

/** Files up and down, byte for byte; a picture with its viewer; deleting one's own. */
async function filesOf(member, guest, kind) {
    const bytes = randomBytes(300_000);
    await guest.setInputFiles("input[type=file]", { name: "plan ö.bin", mimeType: "application/octet-stream", buffer: bytes });
    await member.getByRole("button", { name: "Download plan ö.bin" }).waitFor();
    const [download] = await Promise.all([member.waitForEvent("download"), member.getByRole("button", { name: "Download plan ö.bin" }).click()]);
    assert.ok(readFileSync(await download.path()).equals(bytes), "the file arrives as it was");
    assert.equal(download.suggestedFilename(), "plan ö.bin");

    const shot = await guest.screenshot();
    await member.setInputFiles("input[type=file]", { name: "house.png", mimeType: "image/png", buffer: shot });
    await guest.locator(".rl-picture img").waitFor();
    await guest.click(".rl-picture");
    await guest.locator(".rl-viewer img").waitFor();
    const [saved] = await Promise.all([guest.waitForEvent("download"), guest.locator(".rl-viewer").getByRole("button", { name: "Download house.png" }).click()]);
    assert.ok(readFileSync(await saved.path()).equals(shot), "the picture arrives as it was");
    await accessible(guest, `${kind}: viewer`);
    await picture(guest, `${kind}-viewer`);
    await guest.keyboard.press("Escape");

    await does(guest, "plan ö.bin", "Delete");
    await guest.locator("dialog").getByRole("button", { name: "Delete" }).click();
    await member.getByRole("button", { name: "Download plan ö.bin" }).waitFor({ state: "detached" });
}

async function voice(member, guest, room, kind, encrypted) {
    const from = Date.now();
    await guest.getByRole("button", { name: "Record a voice message" }).click();
    await guest.locator(".rl-recorder-time", { hasText: /\d\d:(0[1-9]|[1-5]\d)/ }).waitFor();
    await accessible(guest, `${kind}: recording`);
    await picture(guest, `${kind}-recording`);
    await guest.getByRole("button", { name: "Stop and listen" }).click();
    await guest.locator(".rl-recorder").getByRole("button", { name: "Play" }).waitFor();
    const longest = (Date.now() - from) / 1000;
    await guest.getByRole("button", { name: "Send voice message" }).click();
    const player = member.locator(".rl-player").last();
    await member.evaluate(() => { // it is short, and may be over before anybody looks
        window.played = 0;
        addEventListener("timeupdate", ({ target }) => { if (target.currentTime > 0.3) window.played = target.duration; }, { capture: true });
    });
    const paused = await glimpse(member, ".rl-player button[aria-label=Pause]");
    await player.getByRole("button", { name: "Play" }).click();
    await paused();
    const length = await (await member.waitForFunction(() => window.played)).jsonValue();
    assert.ok(length > 1 && length < longest, `it is ${length} s long, and was recorded in ${longest} s`); // a WebM of Chromium's does not say
    if (encrypted) return;
    const { content } = (await history(alice, room)).find((e) => e.content["org.matrix.msc3245.voice"]);
    const file = await fetch(`${homeserver}/_matrix/client/v1/media/download/${content.url.slice("mxc://".length)}`, { headers: { authorization: `Bearer ${alice.token}` } });
    assert.equal(Buffer.from(await file.arrayBuffer()).subarray(0, 4).toString(), "OggS");
    const { duration, waveform } = content["org.matrix.msc1767.audio"];
    assert.ok(duration > 900 && content.info.duration === duration && content.info.mimetype === "audio/ogg");
    assert.ok(waveform.length > 10 && waveform.length <= 100 && waveform.every((l) => Number.isInteger(l) && l >= 0 && l <= 1024) && Math.max(...waveform) === 1024);
}

/** Everything without a mouse: to a message, its toolbar, the emoji, and back. */
async function byKeyboard(page) {
    await page.locator("article[tabindex='0']").focus();
    await page.keyboard.press("Home");
    await page.keyboard.press("End");
    await page.keyboard.press("ArrowUp");
    await page.keyboard.press("ArrowDown");
    const label = await page.evaluate(() => document.activeElement.getAttribute("aria-label"));
    assert.match(label, /\d\d:\d\d/);
    await page.locator("article:focus-within").getByRole("button", { name: "React", exact: true }).focus();
    await page.keyboard.press("Enter");
    await page.locator(".rl-emoji-grid button").first().waitFor();
    await accessible(page, "emoji");
    await page.keyboard.type("rocket");
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Enter");
    await page.locator(".rl-reaction", { hasText: "🚀" }).waitFor();
    assert.match(await page.evaluate(() => document.activeElement.getAttribute("aria-label") ?? ""), /React|\d\d:\d\d/, "the focus comes back");
}

test("a long history: what one looks at stays where it is, and the page keeps only a part", async () => {
    const room = await createRoom("Long history", false);
    const ids = [];
    for (let i = 0; i < 500; i += 10) {
        const some = Array.from({ length: 10 }, (_, k) => send((i + k) % 7 < 4 ? alice : bob, room, {
            msgtype: "m.text", body: `Message ${i + k}${k % 3 ? "" : " with a longer text that takes more than one line on a small screen, so that heights differ"}`,
        }));
        ids.push(...(await Promise.all(some)).map((answer) => answer.event_id));
    }
    await send(bob, room, { msgtype: "m.text", body: "About that", "m.relates_to": { "m.in_reply_to": { event_id: ids[40] } } });
    const page = await memberOpens(bob, "Long history");
    await page.locator("article", { hasText: "About that" }).hover();
    let moves = 0, most = 0;
    for (const until = Date.now() + 3 * patience; ;) {
        const before = await page.evaluate(() => {
            const row = [...document.querySelectorAll("[data-key]")].find((e) => e.getBoundingClientRect().top > 150);
            const scroller = document.querySelector(".rl-scroller");
            window.scrolled = scroller.scrollTop === 0; // there is nowhere to go before more is loaded
            scroller.addEventListener("scroll", () => { window.scrolled = true; }, { once: true });
            return { key: row?.dataset.key, top: row?.getBoundingClientRect().top };
        });
        await page.mouse.wheel(0, -600);
        await page.waitForTimeout(60);
        await page.evaluate(() => new Promise((resolve) => { // until it has come to rest, on a busy machine as well
            const scroller = document.querySelector(".rl-scroller");
            let last = NaN, same = 0;
            const began = performance.now();
            const look = () => {
                if (performance.now() - began > 30_000) window.scrolled = true; // it seems that there was nowhere to go
                same = window.scrolled && scroller.scrollTop === last ? same + 1 : 0;
                last = scroller.scrollTop;
                if (same > 3) resolve(); else requestAnimationFrame(look);
            };
            look();
        }));
        const after = await page.evaluate((key) => ({
            top: document.querySelector(`[data-key="${key}"]`)?.getBoundingClientRect().top, rows: document.querySelectorAll("[data-key]").length,
            beginning: document.querySelector(".rl-limit") && document.querySelector(".rl-scroller").scrollTop < 5,
        }), before.key);
        most = Math.max(most, after.rows);
        const moved = after.top - before.top;
        if (moved < -5 || moved > 640) moves++;
        if (after.beginning) break;
        assert.ok(Date.now() < until, "the beginning is reached");
    }
    assert.equal(moves, 0, "nothing jumps");
    assert.ok(most <= 300, `${most} rows in the page`);
    await picture(page, "history-beginning");
    await send(alice, room, { msgtype: "m.text", body: "Something new" });
    await page.getByRole("button", { name: "1 new message" }).click();
    await arrives(page, "Something new");
    const found = await glimpse(page, ".rl-found");
    await page.click(".rl-quote");
    await found();
    await picture(page, "history-jump");
});

test("what others write is text, whatever it says", async () => {
    const room = await createRoom("Strange messages", false);
    await send(bob, room, {
        msgtype: "m.text", body: "x", format: "org.matrix.custom.html",
        formatted_body: `<p>Some <b>bold</b> text, <a href="javascript:alert(1)">no link</a>, <a href="https://example.org/">a link</a>
            <img src="https://elsewhere.example/x.png" alt="no picture"><img src=x onerror="window.broken=1"><script>window.broken=1</script>
            <style>body{display:none}</style><svg onload="window.broken=1"></svg><iframe srcdoc="<script>parent.broken=1</script>"></iframe>
            <span data-mx-spoiler="the end">They lived</span></p><ul><li>one</li></ul><pre><code>let x = 1;</code></pre>`,
    });
    await send(bob, room, { msgtype: "m.image", body: "page.html", url: "mxc://hs.test/nothing", info: { mimetype: "text/html", w: -5, h: "x" } });
    await send(bob, room, { msgtype: "m.audio", body: "noise", "org.matrix.msc3245.voice": {}, "org.matrix.msc1767.audio": { waveform: ["x", -1, 1e9], duration: "long" }, url: "mxc://hs.test/nothing" });
    await send(bob, room, { msgtype: "m.text", body: { not: "text" } });
    await send(bob, room, { msgtype: 7 });
    await send(bob, room, {}, "m.room.message");
    await send(bob, room, { "m.relates_to": { rel_type: "m.annotation", event_id: "$nothing", key: { not: "text" } } }, "m.reaction");
    const page = await memberOpens(alice, "Strange messages");
    const rich = page.locator(".rl-rich");
    await rich.waitFor();
    assert.equal(await rich.locator("script, style, svg, iframe, img, [onerror], [style]").count(), 0);
    assert.deepEqual(await rich.locator("a").evaluateAll((all) => all.map((a) => a.href)), ["https://example.org/"]);
    assert.equal(await page.evaluate(() => window.broken), undefined);
    await page.getByRole("button", { name: "Show hidden text: the end" }).click();
    await rich.getByText("They lived").waitFor();
    await page.getByText("This page cannot show this kind of message.").nth(2).waitFor();
    assert.equal(await page.getByText("This page cannot show this kind of message.").count(), 3);
    await accessible(page, "strange messages");
    await picture(page, "strange");
});

test("a guest on a small phone, in French, in the dark; then as an observer", async () => {
    const room = await createRoom("Déménagement", false);
    await send(alice, room, { msgtype: "m.text", body: "Bonjour, tout est prêt pour samedi ?" });
    const small = { viewport: { width: 320, height: 640 }, isMobile: true, hasTouch: true, locale: "fr-FR", colorScheme: "dark", deviceScaleFactor: 2 };
    const page = await guestOpens(await link(room, { language: "fr" }), "Anna", small);
    await says(page, "Presque ! Je vous envoie le plan.");
    await message(page, "Presque").getByRole("img", { name: "Envoyé" }).waitFor();
    await accessible(page, "phone");
    await picture(page, "phone");
    await message(page, "Presque").tap();
    await page.getByRole("toolbar", { name: "Actions possibles" }).waitFor();
    await picture(page, "phone-actions");
    await page.getByRole("button", { name: "Réagir", exact: true }).tap();
    await page.locator(".rl-emoji-grid button").first().waitFor();
    await picture(page, "phone-emoji");
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "Menu" }).tap();
    await accessible(page, "phone: menu");
    await picture(page, "phone-menu");
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: /membres/ }).tap();
    await page.locator(".rl-member").nth(2).waitFor();
    await accessible(page, "phone: members");
    await picture(page, "phone-members");
    await fits(page, "the room");

    const observer = await browser.page(small);
    await redeem(observer, await link(room, { role: "observer" }), "Otto");
    await observer.locator(".rl-silent").waitFor();
    await accessible(observer, "observer");
    await picture(observer, "phone-observer");
});

test("without a network a message is kept, shown as not sent, and goes out when the network is back", async () => {
    const room = await createRoom("On the train", false);
    const page = await guestOpens(await link(room), "Tom");
    // The answer is waited for: it comes after the event has come by sync.
    const answered = page.waitForResponse((response) => response.request().method() === "PUT" && response.url().includes("/send/m.room.message/"));
    await says(page, "Before the tunnel");
    await (await answered).finished();
    await message(page, "Before the tunnel").getByRole("img", { name: "Sent" }).waitFor();
    await page.context().setOffline(true);
    await says(page, "In the tunnel");
    await page.locator(".rl-offline").waitFor();
    await message(page, "In the tunnel").getByRole("button", { name: "Try again" }).waitFor();
    await accessible(page, "offline");
    await picture(page, "offline");
    await page.context().setOffline(false);
    await message(page, "In the tunnel").getByRole("img", { name: "Sent" }).waitFor();
    assert.ok((await history(alice, room)).some((e) => e.content.body === "In the tunnel"));

    await page.fill(".rl-field textarea", "Not yet sen");
    await page.reload();
    await page.waitForSelector(".rl-composer");
    assert.equal(await page.inputValue(".rl-field textarea"), "Not yet sen", "the draft is kept");
    await api("POST", inRoom(room, "kick"), { user_id: await guestOf(room) }, alice.token);
    await page.locator(".rl-composer").waitFor({ state: "detached" });
    await picture(page, "removed");
});

test("a guest whose device nobody can write for yet is not in an encrypted room: what others write meanwhile would be lost", async () => {
    const room = await createRoom("Before one comes", true);
    /** Whose keys the server hears of when the test lets it. */
    const opens = async (name, address) => {
        const page = await browser.page(seat);
        let release;
        const gate = new Promise((go) => { release = go; });
        await page.route("**/keys/upload", (route) => gate.then(() => route.continue()).catch(() => {})); // a reload ends those before it
        const uploads = () => page.waitForRequest("**/keys/upload");
        await Promise.all([uploads(), redeem(page, address, name)]);
        return { page, uploads, release };
    };
    const member = await memberOpens(alice, "Before one comes");
    const { page: guest, uploads, release } = await opens("Anna Schmidt", await link(room));
    assert.equal(await guestOf(room), undefined, "a guest without keys is not in the room");
    await guest.getByText("The room is being opened…").waitFor();
    await Promise.all([uploads(), guest.reload()]); // in the middle of it
    assert.equal(await guestOf(room), undefined, "nor after a reload");
    let asked = 0;
    await guest.route("**/guest/v1/redeem", (route) => { // too many come at once, and then the network goes away
        if (++asked === 1) return route.fulfill({ status: 429, json: { errcode: "M_LIMIT_EXCEEDED", error: "too many", retry_after_ms: 500 } });
        return asked === 2 ? route.abort() : route.continue();
    });
    release();
    await guest.getByRole("heading", { name: "No connection" }).waitFor();
    await guest.getByRole("button", { name: "Try again" }).click();
    await member.getByText("Anna Schmidt (guest) joined").waitFor();
    await says(member, "Written as soon as you came");
    await arrives(guest, "Written as soon as you came");

    const { link: address, invitation_id: id } = await inviteTo(room);
    const { page: late, release: goOn } = await opens("Anna Late", address);
    await api("DELETE", `/_roomline/client/v1/invitations/${id}`, undefined, alice.token);
    goOn();
    await late.getByRole("heading", { name: "This invitation was withdrawn" }).waitFor();
    assert.deepEqual(await late.evaluate(() => localStorage.getItem("roomline.sessions")), null, "nothing is kept of who did not come in");
});
