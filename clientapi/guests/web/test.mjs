// Runs the tests of src/**/*.test.ts in Node.js.

import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import path from "node:path";

import { build } from "esbuild";

const tests = readdirSync("src", { recursive: true }).filter((file) => file.endsWith(".test.ts")).map((file) => path.join("src", file));
await build({ entryPoints: tests, outdir: "build/test", outExtension: { ".js": ".mjs" }, bundle: true, platform: "node", format: "esm", packages: "external", jsx: "automatic" });
const { status } = spawnSync(process.execPath, ["--test", ...tests.map((file) => path.join("build/test", path.relative("src", file).replace(/ts$/, "mjs")))], { stdio: "inherit" });
process.exit(status ?? 1);
