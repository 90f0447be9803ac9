import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { address } from "./member/invitations.ts";
import { identifier } from "./member/signin.ts";
import { takeLink } from "./invitation/link.ts";
import { forgetSession, keepSession, loadSessions, storePrefix } from "./session.ts";

class MemoryStorage {
    #kept = new Map<string, string>();
    get length() { return this.#kept.size; }
    key(i: number) { return [...this.#kept.keys()][i] ?? null; }
    getItem(key: string) { return this.#kept.get(key) ?? null; }
    setItem(key: string, value: string) { this.#kept.set(key, value); }
    removeItem(key: string) { this.#kept.delete(key); }
}

const deleted: string[] = [];
let replaced = "";
beforeEach(() => {
    deleted.length = 0;
    replaced = "";
    Object.assign(globalThis, {
        localStorage: new MemoryStorage(), sessionStorage: new MemoryStorage(),
        location: { hash: "", pathname: "/i", search: "" },
        history: { replaceState: (_state: unknown, _title: string, url: string) => (replaced = url) },
        indexedDB: {
            databases: async () => [{ name: "roomline:@a:x/ONE::crypto" }, { name: "roomline:@b:x/TWO::crypto" }],
            deleteDatabase: (name: string) => {
                deleted.push(name);
                const request: { onsuccess?(): void } = {};
                queueMicrotask(() => request.onsuccess?.());
                return request;
            },
        },
    });
});

const one = { userId: "@a:x", deviceId: "ONE", accessToken: "1" }, two = { userId: "@b:x", deviceId: "TWO", accessToken: "2" };

test("the session used last comes first, and is kept once", () => {
    keepSession(one);
    keepSession(two);
    keepSession({ ...one, accessToken: "3" });
    assert.deepEqual(loadSessions().map(({ accessToken }) => accessToken), ["3", "2"]);
});

test("what was kept and cannot be read is no session", () => {
    for (const broken of ["{", "{}", "[1, null, {\"userId\": 1}]"]) {
        localStorage.setItem("roomline.sessions", broken);
        assert.deepEqual(loadSessions(), []);
    }
});

test("a session that is forgotten leaves nothing, and the other one stays", async () => {
    keepSession(one);
    keepSession(two);
    localStorage.setItem(`${storePrefix(one)}/draft`, "secret");
    localStorage.setItem(`${storePrefix(two)}/draft`, "mine");
    await forgetSession(one);
    assert.deepEqual(loadSessions(), [two]);
    assert.equal(localStorage.getItem(`${storePrefix(one)}/draft`), null);
    assert.equal(localStorage.getItem(`${storePrefix(two)}/draft`), "mine");
    assert.deepEqual(deleted, ["roomline:@a:x/ONE::crypto"]);
});

test("a link's secret leaves the address, and is there again after a reload", () => {
    location.hash = "#AAAAAAAAAAAAAAAAAAAAAA";
    const link = takeLink();
    assert.equal(replaced, "/i");
    location.hash = "";
    assert.deepEqual(takeLink(), link);
    location.hash = "#AAAAAAAAAAAAAAAAAAAAAA";
    assert.deepEqual(takeLink(), link, "the same link, opened again, is the same attempt");
    location.hash = "#BBBBBBBBBBBBBBBBBBBBBB";
    assert.notDeepEqual(takeLink(), link);
    location.hash = "#short";
    assert.equal(takeLink(), "unknown");
});

test("what is typed at sign-in is a user or an e-mail address", () => {
    assert.deepEqual(identifier(" anna@example.com "), { type: "m.id.thirdparty", medium: "email", address: "anna@example.com" });
    for (const user of ["anna", "@anna:example.com", "@anna:example.com:8448"]) assert.deepEqual(identifier(user), { type: "m.id.user", user });
});

test("whom to invite is an e-mail address or a number", () => {
    assert.deepEqual(address("anna@example.com"), { medium: "email", address: "anna@example.com" });
    assert.deepEqual(address("+32 470 12 34 56"), { medium: "msisdn", address: "+32470123456" });
    assert.deepEqual(address("0470/12.34.56"), { medium: "msisdn", address: "0470123456" });
    for (const wrong of ["", "anna", "anna@example", "+32", "@anna:example.com", "tel:1"]) assert.equal(address(wrong), undefined);
});
