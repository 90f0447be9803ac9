import assert from "node:assert/strict";
import test from "node:test";

import { after, inviteesOf, rhythmOf, rhythms, ruleOf } from "./meetings.ts";

test("who is invited is read from lines and lists", () => {
    const { invitees, wrong } = inviteesOf("@bob:example.org, anna@example.com\n+32 470 12 34 56; nobody\n\n @x ", "fr");
    assert.deepEqual(invitees, [
        { user_id: "@bob:example.org" }, { medium: "email", address: "anna@example.com", language: "fr" }, { medium: "msisdn", address: "+32470123456", language: "fr" },
    ]);
    assert.deepEqual(wrong, ["nobody", "@x"]);
});

test("a rhythm is known again in its rule", () => {
    assert.equal(ruleOf("once", 10), undefined);
    for (const rhythm of rhythms.slice(1)) assert.equal(rhythmOf(ruleOf(rhythm, 12)!), rhythm);
    assert.equal(rhythmOf("FREQ=YEARLY"), undefined);
    assert.equal(rhythmOf("FREQ=DAILY;UNTIL=20300101T000000Z"), "daily");
});

test("a meeting ends when the clock says so, also after midnight", () => {
    assert.equal(after("2030-03-25", "09:30", 45), "2030-03-25T10:15");
    assert.equal(after("2030-12-31", "23:30", 60), "2031-01-01T00:30");
});
