// What the tests with matrix-js-sdk have in common. The environment says where the server is (ROOMLINE_URLS, base URLs of its processes) and
// who there is (ROOMLINE_ACCOUNTS, as JSON).

import assert from "node:assert/strict";

import { logger } from "matrix-js-sdk/lib/logger.js";

// Why: the SDK asks for Node 22 because of this one function; with it, it works on Node 20 as well.
Promise.withResolvers ??= function () {
    const made = {};
    made.promise = new this((resolve, reject) => Object.assign(made, { resolve, reject }));
    return made;
};

logger.setLevel("silent");
export const silent = { trace() {}, debug() {}, info() {}, warn() {}, error() {}, getChild: () => silent };

export const urls = process.env.ROOMLINE_URLS.split(",");
export const accounts = JSON.parse(process.env.ROOMLINE_ACCOUNTS);

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A function that waits until a condition holds, for so many milliseconds at most; the client is busy elsewhere meanwhile. */
export function waiting(patience) {
    return async (what, condition) => {
        const deadline = Date.now() + patience;
        for (;;) {
            const value = await condition();
            if (value) return value;
            assert.ok(Date.now() < deadline, `${what} did not happen within ${patience} ms`);
            await sleep(20);
        }
    };
}
