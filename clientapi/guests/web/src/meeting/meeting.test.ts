import assert from "node:assert/strict";
import { test } from "node:test";

import { devicesOf } from "./devices.ts";
import { clock, gap, grid } from "./layout.ts";
import { ownAddress } from "./sfu.ts";

test("tiles are as large as they can be, and all fit", () => {
    for (const [width, height] of [[1280, 640], [390, 640], [900, 500]] as const) {
        for (let count = 1; count <= 9; count++) {
            const { columns, width: w, height: h } = grid(count, width, height);
            const rows = Math.ceil(count / columns);
            assert.ok(columns * w + (columns - 1) * gap <= width && rows * h + (rows - 1) * gap <= height, `${count} in ${width}x${height}`);
            assert.ok(w / h <= 16 / 9 + 0.02, `${count} in ${width}x${height} are not wider than a camera's picture`);
        }
    }
    assert.equal(grid(2, 1280, 640).columns, 2);
    assert.equal(grid(2, 390, 640).columns, 1, "on a phone, two are above each other");
    assert.ok(grid(40, 390, 640).width >= 150, "many are scrolled to, and not made too small");
});

test("time in a meeting", () => {
    assert.deepEqual([0, 61_000, 3_723_999].map(clock), ["0:00", "1:01", "1:02:03"]);
});

test("our own way to the SFU has the name that the page was opened with; another has its own", () => {
    assert.equal(ownAddress("wss://chat.example.org/_roomline/livekit/", "http://127.0.0.1:8008"), "ws://127.0.0.1:8008/_roomline/livekit/");
    assert.equal(ownAddress("wss://sfu.example.org", "https://chat.example.org"), "wss://sfu.example.org");
});

test("that there is no camera is said when that is known, and not while the browser tells nothing yet", () => {
    const all = [{ kind: "videoinput", deviceId: "", label: "" }, { kind: "audioinput", deviceId: "a", label: "Desk" }] as MediaDeviceInfo[];
    assert.deepEqual(devicesOf("videoinput", undefined), { list: [], none: false }, "nobody has answered");
    assert.deepEqual(devicesOf("videoinput", all), { list: [], none: false }, "there is one that has no name before it is allowed");
    assert.deepEqual(devicesOf("videoinput", [all[1]!]), { list: [], none: true });
    assert.deepEqual(devicesOf("audioinput", all), { list: [all[1]], none: false });
});
