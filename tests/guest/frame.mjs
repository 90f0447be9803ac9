// How long it takes from a link that is opened to the first picture of somebody else, for tests/bench. ROOMLINE_URL is the server, LINKS has
// links of invitations to one room (JSON, the first is for who is in the meeting already), CHROMIUM is the browser. Prints milliseconds, as JSON.

import { chromium } from "playwright-core";

const [first, ...links] = JSON.parse(process.env.LINKS);
const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM,
    args: [
        "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--autoplay-policy=no-user-gesture-required",
    ],
});

/** Comes by a link and joins the room's meeting as fast as a machine presses the buttons. */
async function come(link, name) {
    const context = await browser.newContext({ locale: "en", viewport: { width: 1280, height: 800 }, permissions: ["camera", "microphone"] });
    const page = await context.newPage();
    const began = performance.now();
    await page.goto(link, { waitUntil: "commit" });
    await page.fill("input[autocomplete=name]", name);
    await page.keyboard.press("Enter");
    await page.getByTestId("meeting-open").click();
    await page.getByTestId("meeting-join").click();
    await page.getByTestId("meeting-stage").waitFor();
    return { page, context, began };
}

try {
    await come(first, "Alice");
    const times = [];
    for (const link of links) {
        const { page, context, began } = await come(link, "Anna");
        await page.waitForFunction(() => document.querySelector(".mt-tile:not(.mt-me) video")?.getVideoPlaybackQuality().totalVideoFrames > 0, undefined, { polling: "raf" });
        times.push(Math.round(performance.now() - began));
        await context.close();
    }
    console.log(JSON.stringify(times));
} finally {
    await browser.close();
}
