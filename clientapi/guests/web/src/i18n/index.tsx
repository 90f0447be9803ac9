// Texts in the languages of the page. Every language has every key, or the page does not compile.

import { createContext, use } from "react";

import { de as roomDe } from "../room/de.ts";
import { en as roomEn } from "../room/en.ts";
import { fr as roomFr } from "../room/fr.ts";
import { nl as roomNl } from "../room/nl.ts";
import { de } from "./de.ts";
import { en } from "./en.ts";
import { fr } from "./fr.ts";
import { nl } from "./nl.ts";

export type Language = "en" | "fr" | "nl" | "de";

/** The forms of a text with a {count}. */
export interface Plural {
    readonly one: string;
    readonly other: string;
}
type Like<T> = { readonly [K in keyof T]: T[K] extends string ? string : Plural };
/** What another language than English has to have. */
export type PageTexts = Like<typeof en>;
export type RoomTexts = Like<typeof roomEn>;
export type Key = keyof (typeof en & typeof roomEn);

const texts: Record<Language, PageTexts & RoomTexts> = {
    en: { ...en, ...roomEn }, fr: { ...fr, ...roomFr }, nl: { ...nl, ...roomNl }, de: { ...de, ...roomDe },
};

/** Each language in its own words. */
export const languages: Record<Language, string> = { en: "English", fr: "Français", nl: "Nederlands", de: "Deutsch" };

export type Values = Readonly<Record<string, string | number>>;

/** All that depends on the language. */
export interface Translation {
    readonly language: Language;
    /** The text of a key, with {names} in it replaced by values. */
    t(key: Key, values?: Values): string;
    date(ts: number, options?: Intl.DateTimeFormatOptions): string;
    /** "in 3 hours", "5 minutes ago" */
    ago(ts: number, now?: number): string;
    size(bytes: number): string;
}

/** A text in the form for its count, with {names} in it replaced by values. */
export function fill(language: Language, entry: string | Plural, values?: Values): string {
    const text = typeof entry === "string" ? entry : entry[new Intl.PluralRules(language).select(Number(values?.count)) === "one" ? "one" : "other"];
    return values ? text.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole)) : text;
}

/** What a date says of its year: something if it is not this one. */
export function yearOf(ts: number): "numeric" | undefined {
    return new Date(ts).getFullYear() === new Date().getFullYear() ? undefined : "numeric";
}

export function translation(language: Language): Translation {
    return {
        language,
        t: (key, values) => fill(language, texts[language][key], values),
        date: (ts, options = { weekday: "long", day: "numeric", month: "long", year: yearOf(ts), hour: "numeric", minute: "2-digit" }) => new Intl.DateTimeFormat(language, options).format(ts),
        ago(ts, now = Date.now()) {
            const relative = new Intl.RelativeTimeFormat(language, { numeric: "auto" });
            const minutes = Math.round((ts - now) / 60_000);
            if (Math.abs(minutes) < 60) return relative.format(minutes, "minute");
            if (Math.abs(minutes) < 36 * 60) return relative.format(Math.round(minutes / 60), "hour");
            return relative.format(Math.round(minutes / 1440), "day");
        },
        size(bytes) {
            const units = ["byte", "kilobyte", "megabyte", "gigabyte"];
            let unit = 0;
            for (; bytes >= 1000 && unit < units.length - 1; unit++) bytes /= 1000;
            return new Intl.NumberFormat(language, {
                style: "unit", unit: units[unit], unitDisplay: "short", maximumFractionDigits: unit === 0 || bytes >= 100 ? 0 : 1,
            }).format(bytes);
        },
    };
}

const Translations = createContext<Translation>(translation("en"));
export const TranslationProvider = Translations.Provider;
export const useTranslation = (): Translation => use(Translations);

export function isLanguage(value: unknown): value is Language {
    return typeof value === "string" && value in texts;
}

const chosenKey = "roomline.language";

/** The language the person chose, else the first of the browser's that there is, else the invitation's: who invites guesses, the browser was set. */
export function pickLanguage(invitation?: string, browser: readonly string[] = navigator.languages): Language {
    const wanted = [localStorage.getItem(chosenKey), ...browser, invitation];
    for (const tag of wanted) {
        const primary = tag?.toLowerCase().split("-")[0];
        if (isLanguage(primary)) return primary;
    }
    return "en";
}

export function keepLanguage(language: Language): void {
    localStorage.setItem(chosenKey, language);
}
