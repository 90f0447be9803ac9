import type { PageTexts } from "./index.tsx";

export const nl: PageTexts = {
    "app.name": "Roomline",
    "app.loading": "…",
    "app.language": "…",
    "app.close": "…",
    "app.cancel": "…",
    "app.retry": "…",
    "app.back": "…",
};
