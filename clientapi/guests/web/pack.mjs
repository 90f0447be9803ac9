// After vite build: compresses what it built into dist, which the server embeds, and fails if the first load weighs too much.

import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const limit = 500_000; // bytes by gzip, of all that is loaded before cryptography is needed
const from = "build", to = "dist";

const files = readdirSync(from, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
    .map((entry) => path.posix.join(entry.parentPath, entry.name).slice(from.length + 1));

for (const old of readdirSync(to)) if (old !== ".gitkeep") rmSync(path.join(to, old), { recursive: true });
let first = { br: 0, gz: 0 }, later = { br: 0, gz: 0 };
for (const file of files) {
    const bytes = readFileSync(path.join(from, file));
    const gz = gzipSync(bytes, { level: 9 });
    const br = brotliCompressSync(bytes, {
        params: { [constants.BROTLI_PARAM_QUALITY]: bytes.length > 2_000_000 ? 10 : 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length },
    });
    mkdirSync(path.dirname(path.join(to, file)), { recursive: true });
    writeFileSync(path.join(to, file + ".gz"), gz);
    writeFileSync(path.join(to, file + ".br"), br);
    const sum = /crypto/.test(file) ? later : first;
    sum.br += br.length;
    sum.gz += gz.length;
}
const kB = (bytes) => `${Math.round(bytes / 1000)} kB`;
console.log(`page: first load ${kB(first.gz)} (gzip), ${kB(first.br)} (br), at most ${kB(limit)}; cryptography ${kB(later.gz)}, ${kB(later.br)}`);
if (first.gz > limit) {
    console.error("page: the first load is too heavy");
    process.exit(1);
}
