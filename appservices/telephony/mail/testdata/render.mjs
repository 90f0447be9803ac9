// Opens each page of a folder in Chromium, on a phone and on a desktop, in light and in dark, and prints what a reader would miss.
// Usage: node render.mjs FOLDER, with CHROMIUM and MODULES (where playwright-core is); pictures go to PICTURES if it is set.
import { createRequire } from "node:module";
import { readdirSync } from "node:fs";
import { join, resolve } from "node:path";

const { chromium } = createRequire(join(resolve(process.env.MODULES), "x.js"))("playwright-core");
const folder = resolve(process.argv[2]);
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox"], timeout: 120_000 });
const problems = [];

// look measures in the page: what sticks out, and text that can't be told from its ground.
function look() {
  const found = [];
  if (document.documentElement.scrollWidth > innerWidth) found.push(`is ${document.documentElement.scrollWidth} wide`);
  const parse = (c) => (c.match(/[\d.]+/g) ?? []).map(Number);
  const luminance = ([r, g, b]) =>
    [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim(), e = walker.currentNode.parentElement;
    if (!text || !e.checkVisibility({ opacityProperty: true, checkOpacity: true }) || e.closest("style,title") || !e.getBoundingClientRect().height) continue;
    if (getComputedStyle(e).opacity === "0") continue;
    const [a, b] = [luminance(parse(getComputedStyle(e).color)), luminance(ground(e))].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < 4.5) found.push(`contrast of ${contrast.toFixed(2)}: ${text.slice(0, 40)}`);
    if (parseFloat(getComputedStyle(e).fontSize) < 13) found.push(`small print: ${text.slice(0, 40)}`);
  }
  for (const a of document.querySelectorAll("a.button")) {
    const r = a.getBoundingClientRect();
    if (r.height < 44 || r.right > innerWidth || r.left < 0) found.push(`button of ${r.width}x${r.height} at ${r.left}`);
  }
  return found;
}

for (const scheme of ["light", "dark"]) {
  for (const [device, viewport] of Object.entries({ phone: { width: 375, height: 740 }, desktop: { width: 900, height: 800 } })) {
    const context = await browser.newContext({ viewport, colorScheme: scheme, deviceScaleFactor: device === "phone" ? 2 : 1, javaScriptEnabled: true });
    context.setDefaultTimeout(120_000);
    const page = await context.newPage();
    page.on("request", (r) => {
      if (!/^(file|data):/.test(r.url())) problems.push(`asks for ${r.url()}`);
    });
    for (const file of readdirSync(folder).filter((f) => f.endsWith(".html")).sort()) {
      await page.goto("file://" + join(folder, file));
      for (const found of await page.evaluate(look)) problems.push(`${file} on a ${device} (${scheme}) ${found}`);
      if (process.env.PICTURES) await page.screenshot({ path: join(process.env.PICTURES, `${file}.${device}.${scheme}.png`), fullPage: true });
    }
    await context.close();
  }
}
await browser.close();
console.log(JSON.stringify(problems));
