// Opens files that were uploaded to do harm in a real browser, each as a document of its own. media_test.go starts the server,
// uploads them, and runs this; the environment says where they are (HOSTILE, a JSON list of {what, url, file, type}) and which browser to
// use (CHROMIUM). Each file has a script that says it ran. So that we know that it can, each is first served by a server that does not care.

import assert from "node:assert/strict";
import { createServer } from "node:http";

import { chromium } from "playwright-core";

const hostile = JSON.parse(process.env.HOSTILE);

/** The files whose scripts have asked for something; CANARY stands for where in the files. */
const asked = new Set();
const careless = createServer((request, response) => {
    const [, file, n] = /^\/(careless|canary)\/(\w+)$/.exec(request.url) ?? [];
    if (file === "canary") asked.add(n);
    const served = file === "careless" ? hostile[n] : undefined;
    response.setHeader("content-type", served ? served.type : "text/plain");
    response.end(served ? Buffer.from(served.file, "base64").toString().replaceAll("CANARY", `${address}/canary/careless${n}`) : "canary");
});
await new Promise((listening) => careless.listen(Number(process.env.CANARY_PORT), "127.0.0.1", listening));
const address = `http://127.0.0.1:${careless.address().port}`;

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, timeout: 120_000, args: ["--no-sandbox", "--disable-gpu"] });

/** Opens a URL and says how a script was seen to run: at once, or when there was time for it, which is longer where one is expected. */
async function open(context, url, canary, time) {
    const page = await context.newPage();
    try {
        let ran = "";
        page.on("dialog", (dialog) => {
            ran ||= "dialog";
            dialog.dismiss().catch(() => {});
        });
        page.on("console", (message) => {
            if (message.text() === "canary") ran ||= "console";
        });
        await page.goto(url).catch((error) => assert.match(String(error), /Download is starting|ERR_ABORTED|interrupted/, url));
        for (const until = Date.now() + time; ran === "" && Date.now() < until;) {
            await new Promise((resolve) => setTimeout(resolve, 100));
            if (asked.has(canary)) ran ||= "request";
            if (await page.evaluate(() => window.canary === 1).catch(() => false)) ran ||= "variable";
        }
        return ran;
    } finally {
        await page.close();
    }
}

try {
    const files = [...hostile.entries()];
    const some = async () => {
        const context = await browser.newContext();
        context.setDefaultTimeout(120_000);
        for (let next; (next = files.shift());) {
            const [n, file] = next;
            if (file.runs) assert.notEqual(await open(context, `${address}/careless/${n}`, `careless${n}`, 60_000), "", `${file.what} does no harm anywhere: it tests nothing`);
            for (const url of file.urls) {
                assert.equal(await open(context, url, `${n}`, 1000), "", `${file.what} (${url.replace(/access_token=[^&]*/, "")}) ran its script`);
            }
            console.log("harmless:", file.what);
        }
    };
    await Promise.all(Array.from({ length: 4 }, some));
} finally {
    await browser.close();
    careless.close();
}
