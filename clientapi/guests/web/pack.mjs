// After vite build: compresses what it built into dist, which the server embeds, and fails if the first load weighs too much.

import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const limit = 500_000; // bytes by gzip, of all that a guest's browser loads before cryptography is needed
const from = "build", to = "dist";

const manifest = JSON.parse(readFileSync(path.join(from, "manifest.json"), "utf8"));

/** The files of some modules with all that they import, but not what they load when it is asked for. */
function loaded(modules) {
    const files = new Set(), seen = new Set();
    const visit = (name) => {
        if (seen.has(name)) return;
        seen.add(name);
        const chunk = manifest[name];
        if (!chunk) throw new Error(`page: the build has no ${name}`);
        for (const file of [chunk.file, ...(chunk.css ?? []), ...(chunk.assets ?? [])]) files.add(file);
        for (const other of chunk.imports ?? []) visit(other);
    };
    for (const name of modules) visit(name);
    return files;
}
// What the entry asks for later is the client and the room, which it fetches while the invitation is read.
const first = loaded(["index.html", ...manifest["index.html"].dynamicImports]).add("index.html");

for (const old of readdirSync(to)) if (old !== ".gitkeep") rmSync(path.join(to, old), { recursive: true });
const sums = { first: { br: 0, gz: 0 }, cryptography: { br: 0, gz: 0 }, other: { br: 0, gz: 0 } };
const files = readdirSync(from, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile() && entry.name !== "manifest.json")
    .map((entry) => path.posix.join(entry.parentPath, entry.name).slice(from.length + 1)).filter((file) => !file.startsWith("test/"));
for (const file of files) {
    const bytes = readFileSync(path.join(from, file));
    const gz = gzipSync(bytes, { level: 9 });
    const br = brotliCompressSync(bytes, {
        params: { [constants.BROTLI_PARAM_QUALITY]: bytes.length > 2_000_000 ? 10 : 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length },
    });
    mkdirSync(path.dirname(path.join(to, file)), { recursive: true });
    writeFileSync(path.join(to, file + ".gz"), gz);
    writeFileSync(path.join(to, file + ".br"), br);
    const sum = sums[first.has(file) ? "first" : /crypto/.test(file) ? "cryptography" : "other"];
    sum.br += br.length;
    sum.gz += gz.length;
}
const kB = (bytes) => `${Math.round(bytes / 1000)} kB`;
const both = (sum) => `${kB(sum.gz)} by gzip, ${kB(sum.br)} by brotli`;
console.log(`page: first load ${both(sums.first)}, at most ${kB(limit)}; cryptography ${both(sums.cryptography)}; what is asked for later ${both(sums.other)}`);
if (sums.first.gz > limit) {
    console.error("page: the first load is too heavy");
    process.exit(1);
}
