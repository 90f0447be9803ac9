import assert from "node:assert/strict";
import { test } from "node:test";

import { brandProperties, contrast } from "./colour.ts";

test("contrast is as WCAG counts it", () => {
    assert.equal(contrast("#000000", "#ffffff"), 21);
    assert.equal(contrast("#777777", "#777777"), 1);
    assert.equal(contrast("#767676", "#ffffff").toFixed(2), "4.54");
});

test("whatever an organisation's colour is, it can be read", () => {
    const parts = ["00", "40", "80", "c0", "ff"];
    for (const r of parts) for (const g of parts) for (const b of parts) {
        const brand = brandProperties(`#${r}${g}${b}`);
        for (const [scheme, surface] of [["light", "#ffffff"], ["dark", "#181c25"]] as const) {
            const [fill, on, text, edge] = ["fill", "on", "text", "edge"].map((part) => brand[`--brand-${part}-${scheme}`]!) as [string, string, string, string];
            assert.ok(contrast(fill, on) >= 4.5, `#${r}${g}${b}: ${on} on ${fill}`);
            assert.ok(contrast(edge, surface) >= 3, `#${r}${g}${b}: ${edge} around ${fill} on ${surface}`);
            assert.ok(contrast(text, surface) >= 4.5, `#${r}${g}${b}: ${text} on ${surface}`);
        }
    }
});

test("what is no colour changes nothing", () => {
    for (const wrong of [undefined, "", "red", "#fff", "#12345g", "url(x)"]) assert.deepEqual(brandProperties(wrong), {});
});
