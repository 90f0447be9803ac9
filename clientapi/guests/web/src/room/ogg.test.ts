import assert from "node:assert/strict";
import test from "node:test";

import { samples, toOgg } from "./ogg.ts";

const bytes = (...parts: (number[] | string | Uint8Array)[]) =>
    new Uint8Array(parts.flatMap((part) => (typeof part === "string" ? [...new TextEncoder().encode(part)] : [...part])));
const element = (id: number[], body: Uint8Array) => bytes(id, [0x10 | (body.length >> 24), (body.length >> 16) & 255, (body.length >> 8) & 255, body.length & 255], body);
const unknown = [0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];

const head = bytes("OpusHead", [1, 1, 0, 0, 0x80, 0xbb, 0, 0, 0, 0, 0]);
const packet = (n: number) => bytes([0xfc], new Uint8Array(n)); // 20 ms
const webm = (packets: Uint8Array[]) => bytes([0x18, 0x53, 0x80, 0x67], unknown,
    element([0x16, 0x54, 0xae, 0x6b], element([0xae], element([0x63, 0xa2], head))),
    [0x1f, 0x43, 0xb6, 0x75], unknown, ...packets.map((p) => element([0xa3], bytes([0x81, 0, 0, 0x80], p))));

test("the packets of a WebM are those of the Ogg", () => {
    const sizes = [10, 254, 255, 300, 1200, ...new Array<number>(200).fill(80)];
    const ogg = toOgg(webm(sizes.map(packet)))!;
    const view = new DataView(ogg.buffer);
    const found: number[] = [];
    let at = 0, granule = 0n, pages = 0, open = 0;
    while (at < ogg.length) {
        assert.equal(new TextDecoder().decode(ogg.subarray(at, at + 4)), "OggS");
        assert.equal(view.getUint32(at + 18, true), pages++);
        granule = view.getBigUint64(at + 6, true);
        const count = ogg[at + 26]!;
        let body = 0;
        for (let i = 0; i < count; i++) {
            const lace = ogg[at + 27 + i]!;
            body += lace;
            open += lace;
            if (lace < 255) {
                found.push(open);
                open = 0;
            }
        }
        at += 27 + count + body;
    }
    assert.deepEqual(found.slice(2), sizes.map((n) => n + 1));
    assert.equal(granule, BigInt(sizes.length * 960));
    assert.equal(found[0], head.length);
});

test("what is no WebM of Opus stays what it is", () => {
    assert.equal(toOgg(bytes("nothing of the kind")), undefined);
    assert.equal(toOgg(new Uint8Array()), undefined);
    assert.equal(toOgg(webm([])), undefined);
});

test("a packet says how long it is", () => {
    assert.equal(samples(bytes([0xfc])), 960);
    assert.equal(samples(bytes([0x00])), 480);
    assert.equal(samples(bytes([0xff, 3])), 2880);
});
