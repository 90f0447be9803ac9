import { lazy, Suspense } from "react";

import { pickLanguage, translation, TranslationProvider } from "./i18n/index.tsx";

const RoomView = lazy(() => import("./room/RoomView.tsx"));
const startClient = () => import("./client.ts");

export function App() {
    return (
        <TranslationProvider value={translation(pickLanguage())}>
            <Suspense fallback={<span className="spinner" />}>
                <RoomView {...({} as any)} />
                <button type="button" onClick={() => void startClient()}>…</button>
            </Suspense>
        </TranslationProvider>
    );
}
