// Opens files that were uploaded to do harm in a real browser, each as a document of its own. media_test.go starts the server,
// uploads them, and runs this; the environment says where they are (HOSTILE, a JSON list of {what, url, file, type}) and which browser to
// use (CHROMIUM). Each file has a script that says it ran. So that we know that it can, each is first served by a server that does not care.

import assert from "node:assert/strict";
import { createServer } from "node:http";

import { chromium } from "playwright-core";

const hostile = JSON.parse(process.env.HOSTILE);

/** What was asked for, by path; CANARY stands for this server's address in the files. */
const asked = [];
const careless = createServer((request, response) => {
    asked.push(request.url);
    const file = hostile[/^\/careless\/(\d+)$/.exec(request.url)?.[1]];
    response.setHeader("content-type", file ? file.type : "text/plain");
    response.end(file ? Buffer.from(file.file, "base64").toString().replaceAll("CANARY", address) : "canary");
});
await new Promise((listening) => careless.listen(Number(process.env.CANARY_PORT), "127.0.0.1", listening));
const address = `http://127.0.0.1:${careless.address().port}`;

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox"] });

/** Opens a URL, gives its scripts time, and says how one was seen to run. */
async function open(url) {
    const context = await browser.newContext();
    try {
        const page = await context.newPage();
        let ran = "";
        page.on("dialog", (dialog) => {
            ran ||= "dialog";
            dialog.dismiss().catch(() => {});
        });
        page.on("console", (message) => {
            if (message.text() === "canary") ran ||= "console";
        });
        const before = asked.length;
        await page.goto(url).catch((error) => assert.match(String(error), /Download is starting|ERR_ABORTED|interrupted/, url));
        await new Promise((resolve) => setTimeout(resolve, 700));
        if (asked.slice(before).some((path) => path.startsWith("/canary"))) ran ||= "request";
        if (await page.evaluate(() => window.canary === 1).catch(() => false)) ran ||= "variable";
        return ran;
    } finally {
        await context.close();
    }
}

try {
    for (const [n, file] of hostile.entries()) {
        if (file.runs) assert.notEqual(await open(`${address}/careless/${n}`), "", `${file.what} does no harm anywhere: it tests nothing`);
        for (const url of file.urls) assert.equal(await open(url), "", `${file.what} (${url.replace(/access_token=[^&]*/, "")}) ran its script`);
        console.log("harmless:", file.what);
    }
} finally {
    await browser.close();
    careless.close();
}
