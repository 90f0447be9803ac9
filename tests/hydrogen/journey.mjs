// The journey of two guests: alice invites a mail address and a phone number with matrix-js-sdk, each guest opens the link of the message in a
// browser, one on a phone and in French, and they write with bob, who reads in Hydrogen. journey_test.go starts the server and runs this; the environment
// says where (ROOMLINE_URL, ROOMLINE_URLS), who (ROOMLINE_ACCOUNTS, as JSON), where to keep pictures of what people see (SCREENSHOTS, a folder, if they are wanted), and, where
// messages are sent and not kept in the development inbox, who tells the link of the message to an address (LINKS_URL).

import assert from "node:assert/strict";

import { accounts, silent } from "../jssdk/common.mjs";
import { createClient } from "../jssdk/node_modules/matrix-js-sdk/lib/index.js";

import { accept, launch, patience, picture, sees, send, serveClient, signIn } from "./client.mjs";

const homeserver = process.env.ROOMLINE_URL;
const [alice, bob] = accounts;
const mail = "anna@example.com", phone = "+32470123456";

/** Alice's client, which has this server as its identity server, as a client does that knows what the server says of itself. */
async function clientOf(account) {
    const known = await (await fetch(new URL("/.well-known/matrix/client", homeserver))).json();
    const identityServer = known["m.identity_server"].base_url;
    const client = createClient({ baseUrl: homeserver, logger: silent });
    const login = await client.loginRequest({ type: "m.login.password", identifier: { type: "m.id.user", user: account.id }, password: account.password });
    let token;
    const signedIn = createClient({
        baseUrl: homeserver, userId: login.user_id, deviceId: login.device_id, accessToken: login.access_token, idBaseUrl: identityServer, logger: silent,
        identityServer: { getAccessToken: async () => token },
    });
    token = (await signedIn.registerWithIdentityServer(await signedIn.getOpenIdToken())).access_token;
    return signedIn;
}

/** Opens the link of the message to an address: as somebody does who looks into the development inbox, or as it was sent. */
async function openLink({ context, inbox }, to, name) {
    if (process.env.LINKS_URL) {
        const link = await (await fetch(`${process.env.LINKS_URL}?to=${encodeURIComponent(to)}`)).text();
        const page = await context.newPage();
        page.setDefaultTimeout(patience);
        await page.goto(link);
        return page;
    }
    await inbox.fill("#search", "");
    await inbox.locator("nav button", { hasText: to }).first().click({ timeout: patience });
    await picture(inbox, `inbox-${name}`);
    const [page] = await Promise.all([
        context.waitForEvent("page"),
        inbox.locator("main .tools a.first, main .bubble a").first().click(),
    ]);
    page.setDefaultTimeout(patience);
    return page;
}

/** A guest's browser: its inbox, and whatever goes wrong in its pages. */
async function guestBrowser(browser, options) {
    const context = await browser.newContext(options);
    context.setDefaultTimeout(patience);
    const problems = [];
    context.on("page", (page) => {
        page.on("pageerror", (error) => problems.push(`page error: ${error.message}`));
        page.on("console", (message) => message.type() === "error" && problems.push(`${message.text()} ${message.location().url}`));
        page.on("request", (request) => {
            const url = new URL(request.url());
            if (/^(https?|wss?):$/.test(url.protocol) && url.origin !== new URL(homeserver).origin) problems.push(`asked ${url.origin}`);
        });
    });
    const inbox = await context.newPage();
    inbox.setDefaultTimeout(patience);
    if (!process.env.LINKS_URL) await inbox.goto(new URL("/_roomline/dev/inbox", homeserver).href);
    return { context, inbox, problems };
}

/** Comes in with a name, and returns once the room is there. */
async function comeIn(page, name, words, as) {
    await page.getByLabel(words.name, { exact: true }).fill(name);
    await picture(page, `${as}-invitation`);
    await page.getByRole("button", { name: words.join, exact: true }).click();
    await page.getByRole("textbox", { name: "Message" }).waitFor({ timeout: patience });
    assert.equal(new URL(page.url()).hash, "", "the secret is not left in the address bar");
}

async function write(page, text) {
    const composer = page.getByRole("textbox", { name: "Message" });
    await composer.fill(text);
    await composer.press("Enter");
}

const english = { name: "Your name", join: "Join" }, french = { name: "Votre nom", join: "Rejoindre" };

const { server, address } = await serveClient();
const browser = await launch();
try {
    const a = await clientOf(alice);
    const { room_id: room } = await a.createRoom({ name: "Planning", preset: "private_chat", invite: [bob.id] });
    const b = await signIn(browser, address, bob);
    await accept(b, "Planning");
    await send(b, "before the guests came");
    await a.inviteByEmail(room, mail);
    await a.inviteByThreePid(room, "msisdn", phone);
    console.log("alice has invited an address and a number");

    const desk = await guestBrowser(browser, { viewport: { width: 1280, height: 800 }, locale: "en-GB" });
    const anna = await openLink(desk, mail, "mail");
    await anna.getByText("Planning").first().waitFor();
    await comeIn(anna, "Anna", english, "anna");
    await write(anna, "good morning from Anna");
    await sees(b, "good morning from Anna");
    await sees(b, "Anna (guest)");
    console.log("anna is in");

    const hand = await guestBrowser(browser, { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true, locale: "fr-FR" });
    const luc = await openLink(hand, phone.slice(1), "phone");
    await luc.getByText("Planning").first().waitFor();
    await comeIn(luc, "Luc", french, "luc");
    await write(luc, "bonjour de Luc");
    await sees(b, "bonjour de Luc");
    await sees(anna, "bonjour de Luc");
    await send(b, "welcome to both of you");
    await sees(luc, "welcome to both of you");
    await sees(anna, "welcome to both of you");
    console.log("luc is in, and all have read each other");
    for (const [page, name] of [[anna, "anna-chats"], [luc, "luc-chats"], [b, "bob-chats-with-guests"]]) await picture(page, name);

    for (const [name, { problems }] of [["anna", desk], ["luc", hand]]) assert.deepEqual(problems, [], `nothing went wrong in ${name}'s browser`);
    const states = (await a.roomState(room)).filter((e) => e.type === "org.roomline.invitation").map((e) => e.content.state);
    assert.deepEqual(states, ["redeemed", "redeemed"], "the room says what became of the invitations");
    await a.logout(true);
} catch (error) {
    for (const [i, context] of browser.contexts().entries()) {
        for (const [j, page] of context.pages().entries()) await picture(page, `failed-${i}-${j}`).catch(() => {});
    }
    throw error;
} finally {
    await browser.close();
    server.close();
}
