// Components whose code is fetched when they are needed, or before.

import { type ComponentType, type ReactNode, useLayoutEffect, useReducer, useState } from "react";

interface Loaded<Props> {
    (props: Props & { readonly fallback: ReactNode }): ReactNode;
    /** Fetches it, so that it is there when it is needed. */
    preload(): void;
}

/** Why not React's lazy: what has once shown that something is loading is left so for 300 ms, even if all is there at once. */
export function loaded<Props extends object>(load: () => Promise<{ default: ComponentType<Props> }>): Loaded<Props> {
    let Component: ComponentType<Props> | undefined;
    const fetched = () => load().then((module) => {
        Component = module.default;
    });
    function Loaded({ fallback, ...props }: Props & { readonly fallback: ReactNode }) {
        const [, redraw] = useReducer((count: number) => count + 1, 0);
        const [failed, setFailed] = useState<{ error: unknown }>();
        const Shown = Component;
        useLayoutEffect(() => {
            if (!Shown && !failed) fetched().then(redraw, (error: unknown) => setFailed({ error }));
        }, [Shown, failed]);
        if (failed) throw failed.error;
        return Shown ? <Shown {...(props as unknown as Props)} /> : fallback;
    }
    Loaded.preload = () => void fetched().catch(() => {});
    return Loaded;
}
