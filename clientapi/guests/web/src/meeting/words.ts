// A meeting's words. They come with the meeting, and not with the page.

import { useMemo } from "react";

import { fill, type Language, type Plural, useTranslation, type Values } from "../i18n/index.tsx";
import { de } from "./de.ts";
import { en } from "./en.ts";
import { fr } from "./fr.ts";
import { nl } from "./nl.ts";

export type MeetingKey = keyof typeof en;
export type MeetingTexts = { readonly [K in MeetingKey]: (typeof en)[K] extends string ? string : Plural };
export type Say = (key: MeetingKey, values?: Values) => string;

const texts: Record<Language, MeetingTexts> = { en, fr, nl, de };

export function useWords(): Say {
    const { language } = useTranslation();
    return useMemo(() => (key, values) => fill(language, texts[language][key], values), [language]);
}

/** Whether there are words for what a server said. */
export const isKey = (key: string): key is MeetingKey => key in en;
