// The words of arranging meetings. They come with the dialog, and not with the page.

import { useMemo } from "react";

import { fill, type Language, type Plural, useTranslation, type Values } from "../i18n/index.tsx";
import { de } from "./de.ts";
import { en } from "./en.ts";
import { fr } from "./fr.ts";
import { nl } from "./nl.ts";

export type PlanKey = keyof typeof en;
export type PlanTexts = { readonly [K in PlanKey]: (typeof en)[K] extends string ? string : Plural };

const texts: Record<Language, PlanTexts> = { en, fr, nl, de };

export function useWords(): (key: PlanKey, values?: Values) => string {
    const { language } = useTranslation();
    return useMemo(() => (key, values) => fill(language, texts[language][key], values), [language]);
}
