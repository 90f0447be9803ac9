// The guest page in a browser, from a link to the room and all that may be in between, and as members use it. common.mjs says what it needs.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";

import {
    accessible, accounts, api, Browser, comeIn, control, desktop, eventually, fits, heading, homeserver, inLanguages, invite, mail, makeRoom, narrow, patience, phone,
    picture, say, sees, signIn,
} from "./common.mjs";

const [alice] = accounts;
let browser, room;

before(async () => {
    browser = await Browser.launch();
    room = await makeRoom(alice, "Project Horizon");
    await say(alice, room, "Good morning, the plans are ready");
});
after(() => browser.close());
afterEach(async (context) => {
    if (context.error ?? !context.passed) await browser.failed();
    for (const one of browser.chromium.contexts()) await one.close();
    browser.behaved(context.name);
});

const link = (options) => invite(alice, room, options);

/** All that a browser keeps for the page. */
const kept = (page) => page.evaluate(async () => [
    ...Object.keys(localStorage), ...Object.keys(sessionStorage), ...(await indexedDB.databases()).map(({ name }) => name),
].filter((name) => !["roomline.name", "roomline.language"].includes(name)));

test("a guest opens a link and is in the room, with the keyboard alone", async () => {
    const invitation = await link({ language: "en" });
    const page = await browser.page(desktop);
    const from = Date.now();
    await page.goto(invitation.link);
    await heading(page, "invites you to “Project Horizon”");
    const opened = Date.now();
    assert.equal(page.url(), `${homeserver}/i`, "the secret has left the address bar");
    assert.equal(await page.evaluate(() => history.length), 2, "and the history");
    await inLanguages(page, "invitation");
    await page.locator(".language select").selectOption("en");

    await page.reload();
    await heading(page, "invites you to");
    await page.waitForFunction(() => document.activeElement.matches("h1")); // the keyboard starts there
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await sees(page, "Please enter your name.");
    await accessible(page, "a name is missing");
    await page.keyboard.type("Anna Peeters");
    const typed = Date.now();
    await page.keyboard.press("Enter");
    await sees(page, "Good morning, the plans are ready");
    const seen = Date.now();
    console.log(`link opened to invitation ${opened - from} ms, name given to first message ${seen - typed} ms: ${opened - from + seen - typed} ms`);
    await page.waitForSelector(".rl-room textarea");
    await accessible(page, "the room");
    await picture(page, "room");

    await page.locator(".rl-room textarea").focus();
    await page.keyboard.type("Hello, I am Anna");
    await page.keyboard.press("Enter");
    const { chunk } = await eventually(() => api("GET", `/_matrix/client/v3/rooms/${encodeURIComponent(room)}/messages?dir=b&limit=20`, undefined, alice.token),
        ({ chunk }) => chunk.some(({ content }) => content.body === "Hello, I am Anna"));
    const { sender } = chunk.find(({ content }) => content.body === "Hello, I am Anna");
    assert.match(sender, /^@guest-/);

    await page.reload();
    await sees(page, "Hello, I am Anna");
    await page.goto("about:blank");
    await page.goto(invitation.link);
    await sees(page, "Hello, I am Anna"); // the link, opened again in this browser, leads to the same session
    assert.equal(page.url(), `${homeserver}/i`);
});

test("a warm start: from a link to the first message", async () => {
    const page = await browser.page(desktop);
    const times = [];
    for (let i = 0; i < 5; i++) {
        const { link: address } = await link({ language: "en" });
        await page.goto("about:blank");
        await page.goto(`${homeserver}/i/assets/none`).catch(() => {});
        await page.evaluate(() => {
            localStorage.clear();
            sessionStorage.clear();
        });
        const from = Date.now();
        await page.goto(address, { waitUntil: "commit" });
        await page.fill("input[autocomplete=name]", "Anna");
        await page.keyboard.press("Enter");
        await page.getByText("Good morning, the plans are ready").first().waitFor();
        times.push(Date.now() - from);
    }
    console.log(`link opened to first message visible, the name typed at once: ${times.join(", ")} ms (the first with an empty cache)`);
});

test("on a phone, in French", async () => {
    const invitation = await link({ language: "fr" });
    const page = await browser.page({ ...phone, locale: "fr-BE" });
    await page.goto(invitation.link);
    await heading(page, "vous invite à");
    await fits(page, "the invitation");
    await picture(page, "phone-invitation");
    await page.fill("input", "https://example.org");
    await page.tap("button[type=submit]");
    await sees(page, "Ce nom ne peut pas être utilisé");
    await accessible(page, "a name that is refused");
    await page.fill("input", "Anne Dubois");
    await page.tap("button[type=submit]");
    await sees(page, "Good morning, the plans are ready");
    await fits(page, "the room");
    await accessible(page, "the room on a phone");
    await picture(page, "phone-room");
});

test("320 pixels are enough, in the dark, too", async () => {
    const page = await browser.page({ ...narrow, colorScheme: "dark" });
    await page.goto((await link({})).link);
    await heading(page, "invites you to");
    await inLanguages(page, "narrow-invitation");
    await comeIn(page, (await link({})).link, "Anna");
    await fits(page, "the room");
    await accessible(page, "the room in the dark");
    await picture(page, "narrow-room");
});

test("an answer that was lost is asked for again, and there is one guest", async () => {
    const invitation = await link({});
    const page = await browser.page(desktop);
    await page.goto(invitation.link);
    let lost = 0;
    await page.route("**/guest/v1/redeem", async (route) => {
        if (lost++ > 0) return route.continue();
        await route.fetch({ timeout: patience }); // the server has done it
        await route.abort();
    });
    await page.fill("input", "Anna");
    await page.click("button[type=submit]");
    await sees(page, "The server can’t be reached");
    await page.reload();
    await sees(page, "Good morning, the plans are ready");
    const { invitations } = await api("GET", `/_roomline/client/v1/rooms/${encodeURIComponent(room)}/invitations`, undefined, alice.token);
    assert.equal(invitations.find(({ invitation_id }) => invitation_id === invitation.invitation_id).uses, 1);
});

test("pages for invitations that do not let one in, and for a browser without scripts", async () => {
    const without = await browser.page({ ...desktop, javaScriptEnabled: false });
    await without.goto(`${homeserver}/i`); // says so after some seconds, in which scripts would have begun
    const page = await browser.page(desktop);
    const bad = async (name, address, title) => {
        await page.goto("about:blank");
        await page.goto(address);
        await page.locator(".language select").selectOption("en");
        await heading(page, title);
        await inLanguages(page, name);
        await page.locator(".language select").selectOption("en");
    };
    const expired = await link({});
    await control("expire", { invitation: expired.invitation_id });
    await bad("expired", expired.link, "This invitation has expired");

    const revoked = await link({});
    await api("DELETE", `/_roomline/client/v1/invitations/${revoked.invitation_id}`, undefined, alice.token);
    await bad("revoked", revoked.link, "This invitation was withdrawn");

    const used = await link({ uses: 1 });
    const other = await browser.page(desktop);
    await comeIn(other, used.link, "Anna");
    await bad("used", used.link, "This invitation has already been used");

    await bad("unknown", `${homeserver}/i#AAAAAAAAAAAAAAAAAAAAAA`, "This link does not work");
    await bad("unknown", `${homeserver}/i#half-a-lin`, "This link does not work");

    const start = Date.now() + 3 * 3_600_000;
    const early = await link({ meeting: { uid: "early@example.org", title: "Quarterly review", start_ts: start, end_ts: start + 3_600_000, timezone: "Europe/Brussels" } });
    await bad("early", early.link, "The meeting has not begun yet");
    await sees(page, "Quarterly review");
    assert.match(await page.innerText("[role=timer]"), /^\d:\d\d:\d\d$/);
    await control("begin", { invitation: early.invitation_id });
    await page.goto("about:blank");
    await page.goto(early.link);
    await heading(page, "invites you to “Quarterly review”");
    await without.getByText("This page needs a current browser").waitFor();
});

test("an invitation that ends while it is looked at", async () => {
    const invitation = await link({});
    const page = await browser.page(desktop);
    await page.goto(invitation.link);
    await page.fill("input", "Anna");
    await api("DELETE", `/_roomline/client/v1/invitations/${invitation.invitation_id}`, undefined, alice.token);
    await page.click("button[type=submit]");
    await heading(page, "This invitation was withdrawn");
});

test("without a network, and with it again", async () => {
    const { link: address } = await link({});
    const page = await browser.page(phone);
    await page.route("**/_roomline/**", (route) => route.abort());
    await page.goto(address);
    await heading(page, "No connection");
    await inLanguages(page, "offline", ["de", "en"]);
    await page.unroute("**/_roomline/**");
    await page.click("text=Try again");
    await heading(page, "invites you to");
});

test("a browser that is too old", async () => {
    const old = await browser.page(desktop);
    await old.addInitScript(() => Object.defineProperty(Navigator.prototype, "locks", { value: undefined }));
    await old.goto(`${homeserver}/i#AAAAAAAAAAAAAAAAAAAAAA`);
    await heading(old, "This browser is too old");
    await inLanguages(old, "too-old", ["fr", "en"]);
});

test("a session is in one tab at a time", async () => {
    const page = await browser.page(desktop);
    await comeIn(page, (await link({})).link, "Anna");
    const second = await page.context().newPage();
    await second.goto(`${homeserver}/i`);
    await heading(second, "Open in another tab");
    await inLanguages(second, "other-tab", ["nl", "en"]);
    await second.click("text=Go on here");
    await sees(second, "Good morning, the plans are ready");
    await heading(page, "Open in another tab");
});

/** Has a guest's time end soon, and not before the guest's page has heard of it. */
async function endSoon(user) {
    for (let soon = 8000; ; soon *= 2) {
        const response = await fetch(`${homeserver}/_roomline/client/v1/guests/${encodeURIComponent(user)}`, {
            method: "PUT", headers: { "content-type": "application/json", authorization: `Bearer ${alice.token}` }, body: JSON.stringify({ expires_ts: Date.now() + soon }),
        });
        const text = await response.text();
        if (response.ok) return;
        // Only a machine so busy that it was in the past by then is asked again.
        assert.ok(response.status === 400 && soon < patience, `${response.status} ${text}`);
    }
}

test("a guest who is removed, one whose time is over, one who signs out: nothing is left in the browser", async () => {
    const guests = () => api("GET", `/_roomline/client/v1/rooms/${encodeURIComponent(room)}/guests`, undefined, alice.token);
    for (const [how, title] of [["removed", "You were removed from the room"], ["expired", "Your access has ended"], ["signed-out", "You are signed out"]]) {
        const page = await browser.page(desktop);
        await comeIn(page, (await link({})).link, `Guest ${how}`);
        assert.notEqual((await kept(page)).length, 0);
        const guest = (await guests()).guests.find(({ displayname }) => displayname === `Guest ${how} (guest)`);
        assert.ok(guest, "the guest is in the list");
        if (how === "removed") await api("DELETE", `/_roomline/client/v1/guests/${encodeURIComponent(guest.user_id)}`, undefined, alice.token);
        if (how === "expired") await endSoon(guest.user_id);
        if (how === "signed-out") {
            await page.click(".rl-menu > button");
            await page.getByRole("button", { name: "Sign out" }).last().click();
            const dialog = page.getByRole("dialog");
            await dialog.waitFor();
            await accessible(page, "the question before signing out");
            await dialog.getByRole("button", { name: "Sign out" }).click();
        }
        await heading(page, title);
        await inLanguages(page, `ended-${how}`, ["de", "en"]);
        await eventually(() => kept(page), (left) => left.length === 0, how); // a database goes when nobody has it open any more
        await page.reload();
        await heading(page, "Sign in");
    }
});

test("members sign in, find a room, invite, and see what became of it", async () => {
    const page = await browser.page(desktop);
    await page.goto(`${homeserver}/i`);
    await heading(page, "Sign in");
    await inLanguages(page, "sign-in");
    await page.locator(".language select").selectOption("en");
    await page.fill("input[autocomplete=username]", alice.user);
    await page.fill("input[autocomplete=current-password]", "wrong");
    await page.keyboard.press("Enter");
    await sees(page, "User name or password is not right.");
    await accessible(page, "a wrong password");
    await page.fill("input[autocomplete=current-password]", alice.password);
    await page.keyboard.press("Enter");
    await page.waitForSelector(".room-button");
    await inLanguages(page, "rooms", ["fr", "en"]);

    await page.getByRole("searchbox").fill("nothing like it");
    await sees(page, "No room matches");
    await page.getByRole("searchbox").fill("horiz");
    await page.click(".room-button");
    await sees(page, "Good morning, the plans are ready");
    await page.getByRole("button", { name: "Invite" }).first().click();
    const dialog = page.getByRole("dialog");
    await dialog.waitFor();
    await accessible(page, "the invite dialog");
    await picture(page, "invite");
    await dialog.getByLabel("E-mail address or phone number").fill("nobody");
    await dialog.getByRole("button", { name: "Send the invitation" }).click();
    await sees(page, "neither an e-mail address nor a phone number");
    await dialog.getByLabel("E-mail address or phone number").fill("bert@example.org");
    await dialog.getByRole("button", { name: "Send the invitation" }).click();
    await sees(page, "The invitation for bert@example.org is on its way.");
    await accessible(page, "an invitation was sent");

    await dialog.getByRole("tab", { name: "By address" }).focus();
    await page.keyboard.press("ArrowRight");
    await dialog.getByRole("button", { name: "Make a link" }).click();
    const made = await dialog.getByLabel("Link", { exact: true }).inputValue();
    assert.match(made, new RegExp(`^${homeserver}/i#[A-Za-z0-9_-]{22}$`));
    await accessible(page, "a link was made");
    await picture(page, "invite-link");
    const guest = await browser.page(desktop);
    await comeIn(guest, made, "Carla");

    await dialog.getByRole("tab", { name: "Invitations" }).click();
    await dialog.getByText("accepted").first().waitFor();
    await accessible(page, "the list of invitations");
    await picture(page, "invite-sent");
    await dialog.getByRole("button", { name: /Withdraw: b/ }).first().click();
    await dialog.getByText("withdrawn").first().waitFor();
    await dialog.getByRole("tab", { name: "Guests" }).click();
    await dialog.getByText("Carla (guest)").waitFor();
    await accessible(page, "the list of guests");
    await picture(page, "invite-guests");
    await dialog.getByRole("button", { name: "Extend by a week: Carla (guest)" }).click();
    await dialog.getByRole("button", { name: "Remove: Carla (guest)" }).click();
    await heading(guest, "You were removed from the room"); // and not: your time is over
    await page.keyboard.press("Escape");
    await dialog.waitFor({ state: "hidden" });

    await page.reload();
    await page.waitForSelector(".room-button"); // signed in still
});

test("members come back from an identity provider with a token for one use", async () => {
    const page = await browser.page(phone);
    await page.route("**/_matrix/client/v3/login", (route) => route.request().method() !== "GET" ? route.continue() : route.fulfill({
        json: { flows: [{ type: "m.login.password" }, { type: "m.login.sso", identity_providers: [{ id: "corp", name: "Corporate" }] }] },
    }));
    await page.goto(`${homeserver}/i`);
    const link = page.getByRole("link", { name: "Continue with Corporate" });
    assert.equal(await link.getAttribute("href"), `/_matrix/client/v3/login/sso/redirect/corp?redirectUrl=${encodeURIComponent(`${homeserver}/i`)}`);
    await inLanguages(page, "sign-in-provider", ["nl", "en"]);

    await page.goto(`${homeserver}/i?loginToken=nonsense`);
    await sees(page, "Signing in did not work");
    assert.equal(page.url(), `${homeserver}/i`);

    const ask = (auth, expected) => api("POST", "/_matrix/client/v1/login/get_token", { auth }, alice.token, expected);
    const { session } = await ask(undefined, 401);
    const { login_token: token } = await ask({ type: "m.login.password", identifier: { type: "m.id.user", user: alice.user }, password: alice.password, session });
    await page.goto(`${homeserver}/i?loginToken=${token}`);
    await page.waitForSelector(".rooms");
    assert.equal(page.url(), `${homeserver}/i`);
});

test("members are asked into rooms, on a phone", async () => {
    const [, bob] = accounts;
    const meeting = await makeRoom(alice, "Lunch");
    await api("POST", `/_matrix/client/v3/rooms/${encodeURIComponent(meeting)}/invite`, { user_id: bob.id }, alice.token);
    const page = await browser.page(phone);
    await signIn(page, bob);
    await page.getByRole("heading", { name: "Invitations" }).waitFor();
    await accessible(page, "an invitation in the list");
    await picture(page, "phone-rooms");
    await page.getByRole("button", { name: "Accept" }).click();
    await page.waitForSelector(".rl-room textarea");
    await fits(page, "a member's room");
    await say(alice, meeting, "Sandwiches?");
    await sees(page, "Sandwiches?");
    await page.locator(".rl-header > button").first().click();
    await page.waitForSelector(".rooms-search");
});

test("encrypted: what a member writes here a guest reads here, and the other way round", async () => {
    const secret = await makeRoom(alice, "Budget", true);
    const invitation = await invite(alice, secret, { language: "fr" });
    const guest = await browser.page({ ...phone, locale: "de-AT" });
    await guest.goto(invitation.link);
    await sees(guest, "Ende-zu-Ende-verschlüsselt");
    await picture(guest, "encrypted-invitation");
    const from = Date.now();
    await comeIn(guest, invitation.link, "Änne");
    console.log(`into an encrypted room ${Date.now() - from} ms`);
    const member = await browser.page(desktop);
    await signIn(member, alice);
    await member.click(".room-button:has-text('Budget')");
    await member.waitForSelector(".rl-room textarea");
    await member.fill(".rl-room textarea", "ten million");
    await member.keyboard.press("Enter");
    await sees(guest, "ten million");
    await guest.fill(".rl-room textarea", "zwölf");
    await guest.keyboard.press("Enter");
    await sees(member, "zwölf");
    const { chunk } = await api("GET", `/_matrix/client/v3/rooms/${encodeURIComponent(secret)}/messages?dir=b&limit=10`, undefined, alice.token);
    assert.ok(chunk.some(({ type }) => type === "m.room.encrypted") && !chunk.some(({ content }) => content.body));
    await guest.reload();
    await sees(guest, "ten million");
});

test("a code proves that the invitation is one's own, and lets one in again", async () => {
    await invite(alice, room, { medium: "email", address: "dora@example.org", language: "fr", proof: true });
    const [address] = await mail("dora@example.org", /https?:\/\/\S+\/i#[A-Za-z0-9_-]{22}/);
    const page = await browser.page({ ...phone, locale: "fr" });
    await page.goto(address);
    await page.fill("input[autocomplete=name]", "Dora");
    await page.tap("button[type=submit]");
    await heading(page, "Saisissez le code");
    await inLanguages(page, "code");
    await page.locator(".language select").selectOption("fr");
    const [, code] = await mail("dora@example.org", /(?<!\d)(\d{6})(?!\d)/);
    const wrong = code === "123456" ? "654321" : "123456";
    await page.fill("input.code", wrong);
    await page.tap("button[type=submit]");
    await sees(page, "Ce code n’est pas correct");
    await accessible(page, "a wrong code");
    await picture(page, "code-wrong");
    await page.reload(); // the code that was sent still counts
    await page.fill("input.code", code);
    await page.tap("button[type=submit]");
    await sees(page, "Good morning, the plans are ready");

    const second = await browser.page(desktop);
    await second.goto(address);
    await second.locator(".language select").selectOption("en");
    await heading(second, "This invitation has already been used");
    await inLanguages(second, "used-prove", ["fr", "en"]);
    await second.click("text=Send me a code");
    await heading(second, "Enter the code");
    const [, again] = await mail("dora@example.org", new RegExp(`(?<!\\d)(?!${code})(\\d{6})(?!\\d)`));
    await second.fill("input.code", again);
    await second.click("button[type=submit]");
    await sees(second, "Good morning, the plans are ready");
});
