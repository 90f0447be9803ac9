// Reads the development inbox in Chromium. Usage: node page.mjs URL, with CHROMIUM and MODULES (where playwright-core is); pictures go to PICTURES.
// Prints a line of JSON for each problem, and {"ready": ADDRESS} when a message to an address is to come.
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const { chromium } = createRequire(join(resolve(process.env.MODULES), "x.js"))("playwright-core");
const url = process.argv[2] + "/_roomline/dev/inbox";
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox"], timeout: 120_000 });
const say = (o) => console.log(JSON.stringify(o));

for (const [device, viewport, address] of [["desktop", { width: 1200, height: 860 }, "32470000001"], ["phone", { width: 375, height: 740 }, "32470000002"]]) {
  try {
    const context = await browser.newContext({ viewport, colorScheme: device === "phone" ? "dark" : "light" });
    const page = await context.newPage();
    context.setDefaultTimeout(120_000);
    page.on("console", (m) => m.type() === "error" && say({ problem: `${device}: ${m.text()}` }));
    page.on("pageerror", (e) => say({ problem: `${device}: ${e}` }));
    const picture = (name) => process.env.PICTURES && page.screenshot({ path: join(process.env.PICTURES, `inbox.${name}.${device}.png`) });
    await page.goto(url);
    await page.getByRole("button", { name: "guest4@example.org" }).waitFor();
    await picture("list");
    say({ ready: address });
    await page.getByRole("button", { name: "+" + address }).waitFor();
    await page.getByRole("button", { name: "guest3@example.org" }).click();
    const mail = page.frameLocator("iframe");
    await mail.getByText("Anna Peeters").waitFor();
    await picture("mail");
    const [popup] = await Promise.all([context.waitForEvent("page"), mail.locator("a.button").click()]);
    if (!popup.url().endsWith("/i#AAAAAAAAAAAAAAAAAAAAAA") && popup.url() !== "about:blank" && !popup.url().startsWith("chrome-error")) say({ problem: `${device}: the link opened ${popup.url()}` });
    await popup.close();
    await page.getByRole("button", { name: "Calendar" }).click();
    await page.getByText("BEGIN:VCALENDAR").waitFor();
    if (device === "phone") await page.getByRole("button", { name: "All messages" }).click();
    await page.getByRole("button", { name: "+" + address }).click();
    if ((await page.locator(".bubble a").getAttribute("href")) !== "http://127.0.0.1:8008/i#AAAAAAAAAAAAAAAAAAAAAA") say({ problem: `${device}: the short message has no link` });
    await picture("sms");
    const wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
    if (wide) say({ problem: `${device}: the page is too wide` });
    await context.close();
  } catch (e) {
    say({ problem: `${device}: ${e}` });
  }
}
await browser.close();
