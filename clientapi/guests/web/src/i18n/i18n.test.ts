import assert from "node:assert/strict";
import { test } from "node:test";

import { de as meetingDe } from "../meeting/de.ts";
import { en as meetingEn } from "../meeting/en.ts";
import { fr as meetingFr } from "../meeting/fr.ts";
import { nl as meetingNl } from "../meeting/nl.ts";
import { en as roomEn } from "../room/en.ts";
import { de as roomDe } from "../room/de.ts";
import { fr as roomFr } from "../room/fr.ts";
import { nl as roomNl } from "../room/nl.ts";
import { de } from "./de.ts";
import { en } from "./en.ts";
import { fr } from "./fr.ts";
import { type Key, type Language, pickLanguage, translation } from "./index.tsx";
import { nl } from "./nl.ts";

/** The texts of a meeting are asked by other keys than the page's. */
const meeting = (texts: object) => Object.fromEntries(Object.entries(texts).map(([key, entry]) => [`meeting.${key}`, entry as unknown]));
const all = {
    en: { ...en, ...roomEn, ...meeting(meetingEn) }, fr: { ...fr, ...roomFr, ...meeting(meetingFr) }, nl: { ...nl, ...roomNl, ...meeting(meetingNl) },
    de: { ...de, ...roomDe, ...meeting(meetingDe) },
};

/** The {names} in all forms of a text. */
const names = (entry: unknown): string[] => [...new Set([...JSON.stringify(entry).matchAll(/\{(\w+)\}/g)].map(([, name]) => name!))].sort();

test("texts in all languages have the same values in them, and none is empty", () => {
    for (const [language, texts] of Object.entries(all)) {
        for (const [key, entry] of Object.entries(texts)) {
            assert.deepEqual(names(entry), names(all.en[key as Key]), `${language} ${key}`);
            for (const form of typeof entry === "string" ? [entry] : Object.values(entry as object)) assert.match(String(form), /\S/, `${language} ${key}`);
        }
    }
});

test("people are addressed formally", () => {
    for (const [language, familiar] of [["fr", "tu|ton|ta|tes|toi"], ["nl", "je|jij|jouw|jou"], ["de", "du|deine?[mnrs]?|dir|dich"]] as const) {
        const word = new RegExp(`(?<!\\p{L})(${familiar})(?!\\p{L})`, "iu");
        for (const [key, entry] of Object.entries(all[language])) assert.doesNotMatch(JSON.stringify(entry), word, `${language} ${key}`);
    }
});

test("a text has its values and its plural form", () => {
    const english = translation("en"), french = translation("fr");
    assert.equal(english.t("rooms.unread", { count: 1 }), "1 unread message");
    assert.equal(english.t("rooms.unread", { count: 0 }), "0 unread messages");
    assert.equal(french.t("rooms.unread", { count: 0 }), "0 message non lu"); // as French counts
    assert.equal(english.t("invitation.title", { inviter: "A$&", what: "{inviter}" }), "A$& invites you to “{inviter}”");
});

test("the language is the chosen one, else the invitation's, else the browser's", () => {
    const kept = new Map<string, string>();
    globalThis.localStorage = { getItem: (key: string) => kept.get(key) ?? null } as Storage;
    const pick = (invitation: string | undefined, ...browser: string[]): Language => pickLanguage(invitation, browser);
    assert.equal(pick(undefined, "pt-BR", "nl-BE", "en"), "nl");
    assert.equal(pick("fr", "nl"), "nl");
    assert.equal(pick("fr", "pt-BR", "sv"), "fr");
    assert.equal(pick("sv", "de-AT"), "de");
    assert.equal(pick(undefined, "pt"), "en");
    kept.set("roomline.language", "de");
    assert.equal(pick("fr", "nl"), "de");
});

test("sizes and times are written as the language does", () => {
    assert.equal(translation("en").size(1_540_000), "1.5 MB");
    assert.equal(translation("de").size(1_540_000), "1,5 MB");
    assert.equal(translation("fr").ago(1000 * 60 * 20, 0), "dans 20 minutes");
    assert.equal(translation("en").ago(0, 1000 * 60 * 60 * 48), "2 days ago");
});
