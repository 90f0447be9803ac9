import { createContext, use } from "react";

import type { Language } from "../i18n/index.tsx";

/** Changes the page's language; App provides it. */
export const LanguageChooser = createContext<(language: Language) => void>(() => {});
export const useLanguage = () => use(LanguageChooser);
