// Meetings in the guest page: a member and a guest of a link see and hear each other, over the real SFU. common.mjs says what it needs;
// besides, SFU_URL is where the SFU is, and CONTROL_URL kills and starts it.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";

import { accessible, accounts, api, Browser, comeIn, control, eventually, fits, glimpse, heading, homeserver, inLanguages, invite, mail, makeRoom, patience, picture, say, sees, signIn } from "./common.mjs";

const [alice, bob] = accounts;
const wide = { viewport: { width: 1280, height: 800 }, permissions: ["camera", "microphone"] };
const phone = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, permissions: ["camera", "microphone"] };

let browser;
before(async () => {
    browser = await Browser.launch({ also: [process.env.SFU_URL] });
    for (const [{ id: user, token }, displayname] of [[alice, "Alice Martin"], [bob, "Bob Janssens"]]) {
        await api("PUT", `/_matrix/client/v3/profile/${encodeURIComponent(user)}/displayname`, { displayname }, token);
    }
});
after(() => browser.close());
afterEach(async (context) => {
    if (context.error ?? !context.passed) await browser.failed();
    for (const one of browser.chromium.contexts()) await one.close();
    browser.behaved(context.name);
});

const id = (page, name) => page.getByTestId(name);

/** A page whose meeting can be asked for what it received. */
async function open(options) {
    const page = await browser.page(options);
    await page.addInitScript(() => localStorage.setItem("roomline.meeting.debug", "1"));
    return page;
}

/** Comes to the room as a member. */
async function asMember(page, account, room) {
    await signIn(page, account);
    await page.click(`.room-button:has-text('${room}')`);
    await page.waitForSelector(".rl-room textarea");
}

async function join(page) {
    await id(page, "meeting-open").click();
    await id(page, "meeting-check").waitFor();
    await id(page, "meeting-join").click();
    await id(page, "meeting-stage").waitFor();
}

const others = ".mt-tile:not(.mt-me) video";

/** Waits until pictures of a selector move. */
async function moves(page, selector, what) {
    await page.waitForFunction((wanted) => {
        const video = document.querySelector(wanted);
        if (!video?.videoWidth) return false;
        const frames = video.getVideoPlaybackQuality().totalVideoFrames;
        window.framesBefore ??= frames;
        return frames > window.framesBefore + 10;
    }, selector, { timeout: patience }).catch((error) => assert.fail(`${what}: no moving picture: ${error}`));
    await page.evaluate(() => delete window.framesBefore);
}

/** What came in from others: packets and energy of sound, decoded frames. */
const received = (page) => page.evaluate(async () => {
    const sum = { packets: 0, energy: 0, frames: 0 };
    for (const participant of window.roomlineMeeting?.remoteParticipants.values() ?? []) {
        for (const { track } of participant.trackPublications.values()) {
            for (const report of (await track?.getRTCStatsReport())?.values() ?? []) {
                if (report.type !== "inbound-rtp") continue;
                if (report.kind === "audio") {
                    sum.packets += report.packetsReceived;
                    sum.energy += report.totalAudioEnergy ?? 0;
                } else sum.frames += report.framesDecoded ?? 0;
            }
        }
    }
    return sum;
});

async function hears(page, what) {
    const before = await received(page);
    await eventually(() => received(page), (now) => now.packets > before.packets + 20 && now.energy > before.energy, `${what}: no sound`);
}

/** The memberships of the call that are not over, by their state keys. */
async function memberships(room) {
    const state = await api("GET", `/_matrix/client/v3/rooms/${encodeURIComponent(room)}/state`, undefined, alice.token);
    return state.filter(({ type, content }) => type === "org.matrix.msc3401.call.member" && content.device_id).map(({ state_key: key }) => key);
}

test("a member and a guest meet by link", async () => {
    const room = await makeRoom(alice, "Weekly review");
    const { link } = await invite(alice, room, { language: "en" });
    const member = await open(wide), guest = await open(phone);
    await asMember(member, alice, "Weekly review");
    await id(member, "meeting-open").click();
    await id(member, "meeting-check").waitFor();
    await member.locator(".mt-preview video").waitFor();
    await member.waitForFunction(() => Number(document.querySelector("[role=meter]").getAttribute("aria-valuenow")) > 0); // the fake microphone beeps
    await accessible(member, "the check of the devices");
    await fits(member, "the check of the devices");
    await picture(member, "meeting-check");
    await id(member, "check-microphone").click();
    await member.locator("[data-testid=check-microphone][aria-pressed=false]").waitFor();
    await id(member, "check-microphone").click();
    await member.locator("[data-testid=check-microphone][aria-pressed=true]").waitFor();
    await id(member, "meeting-join").click();
    await id(member, "meeting-stage").waitFor();
    await sees(member, "You are the only one here.");
    await accessible(member, "alone in a meeting");
    await picture(member, "meeting-alone");

    await comeIn(guest, link, "Anna Peeters");
    await sees(guest, "is in a meeting here");
    await accessible(guest, "a room in which there is a meeting");
    await picture(guest, "meeting-card-phone");
    await id(guest, "meeting-open").click();
    await id(guest, "meeting-check").waitFor();
    await guest.locator(".mt-preview video").waitFor();
    await fits(guest, "the check on a phone");
    await accessible(guest, "the check on a phone");
    await picture(guest, "meeting-check-phone");
    await id(guest, "meeting-join").click();
    await id(guest, "meeting-stage").waitFor();

    for (const [page, who] of [[member, "the member"], [guest, "the guest"]]) {
        await moves(page, others, who);
        await hears(page, who);
        await eventually(() => page.locator("[data-testid=meeting-tile]").count(), (count) => count === 2, `tiles of ${who}`);
        await fits(page, `the meeting of ${who}`);
        await accessible(page, `the meeting of ${who}`);
    }
    await picture(member, "meeting");
    await picture(guest, "meeting-phone");
    await eventually(() => memberships(room), (keys) => keys.length === 2, "a membership each");

    // Chat beside, and unread messages where it is closed.
    await id(guest, "meeting-chat").click();
    await guest.fill(".rl-room textarea", "Can you see my screen?");
    await guest.keyboard.press("Enter");
    await fits(guest, "the chat on a phone");
    await picture(guest, "meeting-chat-phone");
    await member.locator("[data-testid=meeting-chat] .mt-count").waitFor();
    await id(member, "meeting-chat").click();
    await sees(member, "Can you see my screen?");
    await moves(member, others, "beside the chat");
    await accessible(member, "the chat beside a meeting");
    await picture(member, "meeting-chat");
    await id(member, "meeting-chat").click();
    await guest.locator(".mt-chat-head button").click();

    // A hand, a reaction, who is there.
    await id(guest, "meeting-more").click();
    await accessible(guest, "the menu on a phone");
    await picture(guest, "meeting-more-phone");
    const told = await glimpse(member, "[data-testid=meeting-notice]", "Anna Peeters (guest) raised a hand.");
    await guest.getByRole("button", { name: "Raise hand" }).click();
    await member.locator("[data-testid=meeting-tile][data-hand=true]").waitFor();
    await told();
    await id(member, "meeting-react").click();
    const reacted = await glimpse(guest, "[data-testid=meeting-reaction]");
    await member.getByRole("button", { name: "React with 🎉" }).click();
    await reacted();
    await picture(guest, "meeting-reaction-phone");
    await id(member, "meeting-people").click();
    await member.locator("[data-testid=meeting-people-list] li").nth(1).waitFor();
    await accessible(member, "who is in the meeting");
    await picture(member, "meeting-people");
    await id(member, "meeting-people").click();
    await id(member, "meeting-more").click();
    await accessible(member, "the menu");
    await picture(member, "meeting-more");
    await member.keyboard.press("Escape");

    // The screen of one is seen by the other.
    await id(member, "meeting-share").click();
    await moves(guest, "[data-testid=meeting-screen] video", "the screen, at the guest");
    await picture(guest, "meeting-screen-phone");
    await picture(member, "meeting-screen-own");
    await id(member, "meeting-share").click();
    await guest.locator("[data-testid=meeting-screen]").waitFor({ state: "detached" });

    // Muted, by the keyboard; a reload; leaving.
    await member.keyboard.press("Control+d");
    await guest.locator(".mt-tile:not(.mt-me) .mt-muted").waitFor();
    await guest.reload();
    await id(guest, "meeting-stage").waitFor();
    await moves(guest, others, "the guest, after a reload");
    await moves(member, others, "the member, after the other's reload");
    await eventually(() => memberships(room), (keys) => keys.length === 2, "one membership each after a reload");
    await id(guest, "meeting-leave").click();
    await id(guest, "meeting-over").waitFor();
    await accessible(guest, "a meeting that one left");
    await picture(guest, "meeting-left-phone");
    await eventually(() => memberships(room), (keys) => keys.length === 1, "no membership after leaving");
    await id(guest, "meeting-rejoin").click();
    await moves(guest, others, "the guest, who came back");
});

test("what goes wrong is said in words, and mends itself", async () => {
    const room = await makeRoom(alice, "Standup");
    await api("POST", `/_matrix/client/v3/rooms/${encodeURIComponent(room)}/invite`, { user_id: bob.id }, alice.token);
    await api("POST", `/_matrix/client/v3/rooms/${encodeURIComponent(room)}/join`, {}, bob.token);
    const first = await open(wide), second = await open(phone);
    await asMember(first, alice, "Standup");
    await signIn(second, bob);
    // It rings for as long as a page lets it, so that there is time to look at it.
    await first.route("**/send/org.matrix.msc4075.rtc.notification/**", (route) => route.continue({ postData: { ...route.request().postDataJSON(), lifetime: 90_000 } }));
    await join(first);
    await sees(second, "Alice Martin is calling in “Standup”"); // there are two in the room
    await sees(second, "Meeting");
    await accessible(second, "somebody rings");
    await picture(second, "meeting-ring-phone");
    await second.getByRole("button", { name: "Answer" }).click();
    await second.waitForSelector(".rl-room textarea");
    await join(second);
    await moves(first, others, "the first");
    await moves(second, others, "the second");

    // The network is cut.
    await second.context().setOffline(true);
    await sees(second, "There is no network.");
    await second.evaluate(() => void window.roomlineMeeting.simulateScenario("full-reconnect").catch(() => {}));
    await picture(second, "meeting-offline-phone");
    await second.context().setOffline(false);
    await moves(second, others, "after the network came back");
    await moves(first, others, "the other, after the network came back");

    // The SFU is gone: it is said, chat goes on, and both come back.
    await control("kill");
    for (const page of [first, second]) await id(page, "meeting-lost").waitFor();
    await accessible(first, "the SFU is away");
    await accessible(second, "the SFU is away, on a phone");
    await picture(first, "meeting-lost");
    await picture(second, "meeting-lost-phone");
    await id(first, "meeting-chat").click();
    await first.fill(".rl-room textarea", "Are you still there?");
    await first.keyboard.press("Enter");
    await second.locator("[data-testid=meeting-chat] .mt-count").waitFor();
    await id(first, "meeting-chat").click();
    await control("start");
    for (const page of [first, second]) {
        await moves(page, others, "after the SFU came back");
        await hears(page, "after the SFU came back");
    }
    await eventually(() => memberships(room), (keys) => keys.length === 2, "a membership each after the SFU came back");

    // Somebody is put out of the room: for them the meeting is over.
    await api("POST", `/_matrix/client/v3/rooms/${encodeURIComponent(room)}/kick`, { user_id: bob.id }, alice.token);
    await id(second, "meeting-over").waitFor();
    assert.equal(await id(second, "meeting-over").getAttribute("data-how"), "removed");
    await accessible(second, "somebody was removed");
    await picture(second, "meeting-removed-phone");
    await first.locator(others).waitFor({ state: "detached" });
    await id(second, "meeting-back").click();
    await second.waitForSelector(".rooms-search");
});

test("end-to-end encrypted: those with keys see each other, and one without keys does not", async () => {
    const room = await makeRoom(alice, "Board", true);
    const { link } = await invite(alice, room, { language: "fr" });
    const member = await open(wide), guest = await open({ ...phone, locale: "fr-BE" });
    await asMember(member, alice, "Board");
    await join(member);
    await comeIn(guest, link, "Anne Dubois");
    await join(guest);
    for (const [page, who] of [[member, "the member"], [guest, "the guest"]]) {
        await moves(page, others, who);
        await hears(page, who);
    }
    await picture(guest, "meeting-encrypted-phone");
    assert.ok(await member.evaluate(() => [...window.roomlineMeeting.remoteParticipants.values()].every((one) => one.isEncrypted)));

    // Who has a token but no keys: connected as somebody who says nothing to the others, so that nobody gives a key.
    await api("POST", `/_matrix/client/v3/rooms/${encodeURIComponent(room)}/invite`, { user_id: bob.id }, alice.token);
    await api("POST", `/_matrix/client/v3/rooms/${encodeURIComponent(room)}/join`, {}, bob.token);
    const openid = await api("POST", `/_matrix/client/v3/user/${encodeURIComponent(bob.id)}/openid/request_token`, {}, bob.token);
    const { device_id: device } = await api("GET", "/_matrix/client/v3/account/whoami", undefined, bob.token);
    const ticket = await api("POST", "/_roomline/rtc/sfu/get", { room, openid_token: openid, device_id: device });
    const seen = await member.evaluate(async ({ url, jwt, patience }) => {
        const keyless = new window.roomlineMeeting.constructor({ adaptiveStream: false });
        const seen = { audio: { encrypted: 0, clear: 0 }, video: { encrypted: 0, clear: 0 } };
        // What is encrypted ends with how long its nonce is, 12 bytes, and with the number of a key, as LiveKit has it.
        const count = async ({ kind, receiver }) => {
            const reader = receiver.createEncodedStreams().readable.getReader();
            for (let next; !(next = await reader.read()).done;) {
                const [nonce, key] = new Uint8Array(next.value.data).slice(-2);
                seen[kind][nonce === 12 && key < 16 ? "encrypted" : "clear"]++;
            }
        };
        keyless.on("trackSubscribed", (track) => void count(track));
        await keyless.connect(url, jwt, { rtcConfig: { encodedInsertableStreams: true } });
        const enough = () => seen.audio.encrypted >= 100 && seen.video.encrypted >= 40;
        for (const until = Date.now() + patience; !enough() && Date.now() < until;) await new Promise((resolve) => setTimeout(resolve, 100));
        await keyless.disconnect();
        return seen;
    }, { ...ticket, patience });
    assert.ok(seen.audio.encrypted >= 100 && seen.video.encrypted >= 40, `it receives sound and pictures: ${JSON.stringify(seen)}`);
    assert.equal(seen.audio.clear + seen.video.clear, 0, `and all of it is encrypted: ${JSON.stringify(seen)}`);
});

test("devices that are refused, or not there, are said in words, and one joins all the same", async () => {
    const room = await makeRoom(alice, "Without devices");
    const page = await open({ ...phone, permissions: [] });
    await page.addInitScript(() => {
        const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        navigator.mediaDevices.getUserMedia = (wanted) => {
            if (wanted.audio) return Promise.reject(new DOMException("no", "NotAllowedError"));
            if (window.camera !== true) return Promise.reject(new DOMException("none", "NotFoundError"));
            return ask(wanted);
        };
    });
    await asMember(page, alice, "Without devices");
    await id(page, "meeting-open").click();
    await sees(page, "This page may not use the microphone.");
    await sees(page, "No camera was found.");
    await accessible(page, "no devices");
    await fits(page, "no devices");
    await picture(page, "meeting-no-devices-phone");
    await id(page, "meeting-join").click();
    await id(page, "meeting-stage").waitFor();
    await page.locator(".mt-muted").waitFor();
    await picture(page, "meeting-no-devices-in-phone");
    assert.equal((await eventually(() => memberships(room), (keys) => keys.length === 1)).length, 1);
});

test("other languages fit a phone, too", async () => {
    await makeRoom(alice, "Languages");
    for (const locale of ["nl-BE", "de-AT"]) {
        const page = await open({ ...phone, locale });
        await asMember(page, alice, "Languages");
        await id(page, "meeting-open").click();
        await id(page, "meeting-check").waitFor();
        await fits(page, `the check, ${locale}`);
        await picture(page, `meeting-check-${locale}`);
        await id(page, "meeting-join").click();
        await id(page, "meeting-stage").waitFor();
        await id(page, "meeting-more").click();
        await fits(page, `the menu, ${locale}`);
        await accessible(page, `the menu, ${locale}`);
        assert.doesNotMatch(await page.innerText("body"), /\{\w+\}|undefined|NaN/, locale);
        await picture(page, `meeting-more-${locale}`);
        await page.keyboard.press("Escape");
        await id(page, "meeting-leave").click();
        await page.locator("[data-testid=meeting-over], [data-testid=meeting-leave-now]").first().waitFor();
        await picture(page, `meeting-left-${locale}`);
        await page.context().close();
    }
});

test("a moderator lets somebody in, mutes, records, and ends the meeting", async () => {
    const room = await makeRoom(alice, "Town hall");
    const { link } = await invite(alice, room, { language: "en" });
    await api("POST", `/_roomline/client/v1/rooms/${encodeURIComponent(room)}/meeting/lobby`, { who: "guests" }, alice.token);
    const member = await open(wide), guest = await open(phone);
    await asMember(member, alice, "Town hall");
    await join(member);
    await guest.goto(link);
    await guest.fill("input[autocomplete=name]", "Carla Rossi");
    await guest.click("button[type=submit]");
    await id(guest, "meeting-waiting").waitFor();
    await heading(guest, "Please wait");
    await inLanguages(guest, "meeting-waiting", ["fr", "en"]);
    await member.locator("[data-testid=meeting-people] .mt-count").waitFor();
    await id(member, "meeting-people").click();
    await sees(member, "1 person waits to be let in");
    await accessible(member, "somebody waits");
    await picture(member, "meeting-people-waiting");
    await member.getByRole("button", { name: /^Let in: Carla/ }).click();
    await join(guest);
    await moves(guest, others, "a guest who was let in");

    const row = member.locator("[data-testid=meeting-people-list] li", { hasText: "Carla" }).first();
    await row.getByRole("button", { name: /^More for/ }).click();
    await accessible(member, "what a moderator may do");
    await picture(member, "meeting-moderate");
    const muted = await glimpse(guest, "[data-testid=meeting-notice]", "A moderator muted you.");
    await member.getByRole("button", { name: "Mute", exact: true }).click();
    await muted();
    await picture(guest, "meeting-muted-phone");
    await guest.locator("[data-testid=meeting-microphone][aria-pressed=false]").waitFor();

    // What the server says of a recording.
    const recording = (state) => api("PUT", `/_matrix/client/v3/rooms/${encodeURIComponent(room)}/state/org.roomline.recording`,
        { state, recording_id: "r1", by: alice.id, recorder: "egress" }, alice.token);
    await recording("recording");
    await guest.getByRole("dialog").waitFor();
    await accessible(guest, "the question before recording");
    await picture(guest, "meeting-consent-phone");
    await id(guest, "consent-yes").click();
    await id(guest, "meeting-recording").waitFor();
    await id(member, "consent-yes").click();
    await picture(member, "meeting-recording");
    await recording("stopped");
    await id(guest, "meeting-recording").waitFor({ state: "detached" });

    await id(member, "meeting-leave").click();
    await accessible(member, "leave or end");
    await picture(member, "meeting-end");
    await member.getByRole("button", { name: "End for everybody" }).click();
    for (const page of [member, guest]) {
        await id(page, "meeting-over").waitFor();
        assert.equal(await id(page, "meeting-over").getAttribute("data-how"), "ended");
    }
    await accessible(guest, "a meeting that was ended");
    await picture(guest, "meeting-ended-phone");
    await picture(member, "meeting-ended");
    await id(guest, "meeting-back").click();
    await guest.waitForSelector(".rl-room textarea");
});

test("a member arranges a meeting, calls a phone into it, and cancels it", async () => {
    const page = await open(wide);
    await signIn(page, alice);
    await page.getByRole("button", { name: "Meetings" }).click();
    const dialog = page.getByRole("dialog", { name: "Meetings" });
    await dialog.getByText("No meetings are coming up.").waitFor();
    await dialog.getByRole("tab", { name: "New" }).click();
    await dialog.getByRole("button", { name: "Arrange the meeting" }).click();
    await dialog.getByText("Please give the meeting a title.").waitFor();
    await dialog.getByLabel("Title").fill("Budget");
    await dialog.getByLabel("Date").fill("2020-01-01");
    await dialog.getByRole("button", { name: "Arrange the meeting" }).click();
    await dialog.getByText("This time is in the past.").waitFor();
    await dialog.getByLabel("Date").fill("2030-03-25"); // a Monday
    await dialog.getByLabel("Begins at").fill("09:00");
    await dialog.getByLabel("Repeats").selectOption("On working days");
    await dialog.getByLabel("How many times").fill("4");
    await dialog.getByLabel("Who is invited").fill(`${bob.id}\nanna@example.com, anybody`);
    await dialog.getByRole("button", { name: "Arrange the meeting" }).click();
    await dialog.getByText("This is nobody: anybody").waitFor();
    await accessible(page, "a meeting that cannot be arranged");
    await picture(page, "plan-wrong");
    await dialog.getByLabel("Who is invited").fill(`${bob.id}\nanna@example.com`);
    await dialog.getByText("Make a link that I can pass on").click();
    await dialog.getByRole("button", { name: "Arrange the meeting" }).click();
    await dialog.getByText("“Budget” is arranged.").waitFor();
    assert.match(await dialog.getByLabel("Link", { exact: true }).inputValue(), /\/i\b/);
    await picture(page, "plan-arranged");
    const [meeting] = (await api("GET", "/_roomline/client/v1/meetings?when=upcoming", undefined, alice.token)).meetings;
    assert.equal(meeting.recurrence, "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR;COUNT=4");
    assert.equal(meeting.end_ts - meeting.start_ts, 3_600_000);
    const guest = await open(phone);
    const [link] = await mail("anna@example.com", /https?:\/\/\S+\/i#[A-Za-z0-9_-]{22}/);
    await guest.goto(link);
    await guest.getByText("Will you come?").waitFor();
    await accessible(guest, "whether one comes");
    await fits(guest, "whether one comes");
    await guest.getByRole("button", { name: "Yes" }).click();
    await guest.getByText("The organiser sees your answer.").waitFor();
    await picture(guest, "coming-phone");
    await guest.reload();
    await guest.locator("button[aria-pressed=true]", { hasText: "Yes" }).waitFor();
    const { invitees } = await api("GET", `/_roomline/client/v1/meetings/${meeting.meeting_id}`, undefined, alice.token);
    assert.equal(invitees.find(({ medium }) => medium === "email").answer, "accepted");
    await dialog.getByRole("tab", { name: "Coming up" }).click();
    await dialog.getByText("On working days").waitFor();
    await accessible(page, "the meetings that come up");
    await picture(page, "plan-upcoming");
    await dialog.getByRole("button", { name: "Open: Budget" }).click();
    await page.waitForSelector(".rl-room textarea");
    await join(page);
    await id(page, "meeting-people").click();
    await page.getByText("Join by phone").click();
    await page.getByText("+3225550100").waitFor();
    await id(page, "meeting-call").click();
    const calling = page.getByRole("dialog", { name: "Call a phone" });
    await calling.getByLabel("Phone number").fill("abc");
    await calling.getByRole("button", { name: "Call", exact: true }).click();
    await calling.getByText("This number can’t be called.").waitFor();
    await calling.getByLabel("Phone number").fill("+33 1 99 00 12 34");
    await calling.getByRole("button", { name: "Call", exact: true }).click();
    await calling.getByText("does not have this number called").waitFor();
    await calling.getByLabel("Phone number").fill("+32 470 65 43 21");
    await calling.getByLabel("Name in the meeting").fill("Mia");
    await accessible(page, "calling a phone");
    await picture(page, "phone-call");
    await calling.getByRole("button", { name: "Call", exact: true }).click();
    await page.getByText("is being called…").waitFor();
    await picture(page, "phone-ringing");
    await page.getByRole("button", { name: "Hang up: Mia" }).click();
    await page.getByText("is being called…").waitFor({ state: "detached" });
    await id(page, "meeting-leave").click();
    await page.getByRole("button", { name: "Back to the room" }).click();
    await page.getByRole("button", { name: "Meetings" }).click();
    await dialog.getByRole("button", { name: "Cancel: Budget" }).click();
    await page.getByRole("button", { name: "Cancel the meeting" }).click();
    await dialog.getByText("No meetings are coming up.").waitFor();
    assert.deepEqual((await api("GET", "/_roomline/client/v1/meetings?when=upcoming", undefined, alice.token)).meetings, []);
    await dialog.getByRole("tab", { name: "My room" }).click();
    await dialog.getByRole("button", { name: "My meeting room" }).click();
    await dialog.getByText("It stays the same until you have it renewed.").waitFor();
    await dialog.getByRole("button", { name: "Open", exact: true }).click();
    await page.waitForSelector(".rl-room textarea");
});

test("arranging a meeting fits a phone in every language", async () => {
    for (const [locale, meetings, another] of [["fr-BE", "Réunions", "Nouvelle"], ["nl-BE", "Vergaderingen", "Nieuw"], ["de-AT", "Besprechungen", "Neu"]]) {
        const page = await open({ ...phone, locale });
        await signIn(page, alice);
        await page.getByRole("button", { name: meetings }).click();
        await page.getByRole("tab", { name: another }).click();
        await fits(page, `arranging, ${locale}`);
        await accessible(page, `arranging, ${locale}`);
        assert.doesNotMatch(await page.innerText("body"), /\{\w+\}|undefined|NaN/, locale);
        await picture(page, `plan-${locale}`);
        await page.context().close();
    }
});
