// What the page says. Keys are named after where they are seen; the other languages are typed after this one.
export const en = {
    "app.name": "Roomline",
    "app.loading": "Loading…",
    "app.language": "Language",
    "app.close": "Close",
    "app.cancel": "Cancel",
    "app.retry": "Try again",
    "app.back": "Back",
};
