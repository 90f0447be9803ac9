import { useTranslation, type Translation } from "../i18n/index.tsx";

export type T = Translation["t"];
export const useWords = (): T => useTranslation().t;
