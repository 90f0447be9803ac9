// Opus out of WebM into Ogg, without touching the sound: Chromium records the first, iPhones play only the second.
//
// Spec: RFC 9559 (Matroska), RFC 3533 (Ogg), RFC 7845 (Opus in Ogg)

const segment = 0x18538067, cluster = 0x1f43b675, tracks = 0x1654ae6b, trackEntry = 0xae, codecPrivate = 0x63a2;
const simpleBlock = 0xa3, blockGroup = 0xa0, block = 0xa1;
const containers = new Set([segment, cluster, tracks, trackEntry, blockGroup]);

/** Reads a number of variable length; with its marker for identifiers. */
function readNumber(data: Uint8Array, at: number, marker: boolean): { value: number; length: number } | undefined {
    const first = data[at];
    if (!first) return undefined;
    const length = Math.clz32(first) - 23;
    let value = marker ? first : first & (0xff >> length);
    let unknown = value === (0xff >> length);
    for (let i = 1; i < length; i++) {
        const byte = data[at + i] ?? 0;
        value = value * 256 + byte;
        unknown &&= byte === 0xff;
    }
    return { value: unknown && !marker ? Infinity : value, length };
}

interface Found {
    head?: Uint8Array;
    packets: Uint8Array[];
}

function walk(data: Uint8Array, from: number, to: number, found: Found): void {
    let at = from;
    while (at < to) {
        const id = readNumber(data, at, true);
        if (!id) return;
        const size = readNumber(data, at + id.length, false);
        if (!size) return;
        const start = at + id.length + size.length;
        const end = Math.min(to, size.value === Infinity ? to : start + size.value);
        if (containers.has(id.value)) {
            walk(data, start, end, found);
        } else if (id.value === codecPrivate) {
            found.head = data.subarray(start, end);
        } else if (id.value === simpleBlock || id.value === block) {
            const track = readNumber(data, start, false);
            if (track && ((data[start + track.length + 2]! >> 1) & 3) === 0) { // not laced
                found.packets.push(data.subarray(start + track.length + 3, end));
            }
        }
        at = end;
    }
}

/** How many samples at 48 kHz are in a packet. */
export function samples(packet: Uint8Array): number {
    const toc = packet[0] ?? 0, config = toc >> 3;
    const frame = config < 12 ? [480, 960, 1920, 2880][config & 3]! : config < 16 ? [480, 960][config & 1]! : [120, 240, 480, 960][config & 3]!;
    const code = toc & 3;
    return frame * (code === 0 ? 1 : code < 3 ? 2 : (packet[1] ?? 0) & 63);
}

const crcTable = Uint32Array.from({ length: 256 }, (_, i) => {
    let r = i << 24;
    for (let bit = 0; bit < 8; bit++) r = r & 0x80000000 ? (r << 1) ^ 0x04c11db7 : r << 1;
    return r >>> 0;
});

function page(packets: Uint8Array[], granule: number, flags: number, serial: number, sequence: number): Uint8Array {
    const lacing: number[] = [];
    for (const p of packets) {
        for (let left = p.length; ; left -= 255) {
            lacing.push(Math.min(255, left));
            if (left < 255) break;
        }
    }
    const body = packets.reduce((sum, p) => sum + p.length, 0);
    const out = new Uint8Array(27 + lacing.length + body);
    const view = new DataView(out.buffer);
    out.set([0x4f, 0x67, 0x67, 0x53, 0, flags]); // OggS
    view.setBigUint64(6, BigInt(granule), true);
    view.setUint32(14, serial, true);
    view.setUint32(18, sequence, true);
    out[26] = lacing.length;
    out.set(lacing, 27);
    let at = 27 + lacing.length;
    for (const p of packets) {
        out.set(p, at);
        at += p.length;
    }
    let crc = 0;
    for (const byte of out) crc = ((crc << 8) ^ crcTable[(crc >>> 24) ^ byte]!) >>> 0;
    view.setUint32(22, crc, true);
    return out;
}

const opusTags = new TextEncoder().encode("OpusTags\x08\0\0\0Roomline\0\0\0\0");

/** The Ogg file, or nothing if the WebM is not a single track of Opus. */
export function toOgg(webm: Uint8Array): Uint8Array<ArrayBuffer> | undefined {
    const found: Found = { packets: [] };
    walk(webm, 0, webm.length, found);
    if (!found.head || found.packets.length === 0 || new TextDecoder().decode(found.head.subarray(0, 8)) !== "OpusHead") return undefined;
    const serial = crypto.getRandomValues(new Uint32Array(1))[0]!;
    const pages = [page([found.head], 0, 2, serial, 0), page([opusTags], 0, 0, serial, 1)];
    let granule = 0, waiting: Uint8Array[] = [], laces = 0;
    const flush = (last: boolean) => {
        pages.push(page(waiting, granule, last ? 4 : 0, serial, pages.length));
        waiting = [];
        laces = 0;
    };
    found.packets.forEach((packet, i) => {
        const need = Math.floor(packet.length / 255) + 1;
        if (need > 255) return; // no packet of Opus is that long
        if (waiting.length >= 50 || laces + need > 255) flush(false);
        waiting.push(packet);
        laces += need;
        granule += samples(packet);
        if (i === found.packets.length - 1) flush(true);
    });
    const out = new Uint8Array(pages.reduce((sum, p) => sum + p.length, 0));
    let at = 0;
    for (const p of pages) {
        out.set(p, at);
        at += p.length;
    }
    return out;
}
