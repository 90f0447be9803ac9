// The files of this room that are on their way, one after the other.

import { useCallback, useEffect, useRef, useState } from "react";
import type { MatrixClient, Room } from "matrix-js-sdk";

import { problemOf, sendFile, type Upload } from "./upload.ts";

let nextId = 1;

export function useUploads(client: MatrixClient, room: Room, sent: () => void) {
    const [list, setList] = useState<Upload[]>([]);
    const current = useRef<Upload[]>([]), relations = useRef(new Map<number, Record<string, unknown>>());
    const running = useRef(false), limit = useRef<number | undefined>(undefined), done = useRef(sent);
    done.current = sent;

    useEffect(() => {
        client.getMediaConfig(true).then((c) => { limit.current = c["m.upload.size"]; }, () => {}); // the server says no by itself
    }, [client]);
    useEffect(() => () => current.current.forEach((u) => u.abort.abort()), []);

    const change = useCallback((f: (before: Upload[]) => Upload[]) => {
        current.current = f(current.current);
        setList(current.current);
    }, []);
    const patch = useCallback((id: number, fields: Partial<Upload>) => change((all) => all.map((u) => (u.id === id ? { ...u, ...fields } : u))), [change]);

    const run = useCallback(async () => {
        if (running.current) return;
        running.current = true;
        for (let next = current.current.find((u) => u.state === "waiting"); next; next = current.current.find((u) => u.state === "waiting")) {
            const { id, abort } = next;
            patch(id, { state: "running" });
            try {
                await sendFile(client, room, next, relations.current.get(id), (progress) => patch(id, { progress }));
                change((all) => all.filter((u) => u.id !== id));
                relations.current.delete(id);
                done.current();
            } catch (error) {
                if (abort.signal.aborted) change((all) => all.filter((u) => u.id !== id));
                else patch(id, { state: "failed", problem: problemOf(error) });
            }
        }
        running.current = false;
    }, [client, room, change, patch]);

    return {
        list,
        add(files: Iterable<File>, relation: Record<string, unknown>, extra?: Record<string, unknown>) {
            const added = [...files].map((file, i): Upload => {
                const large = limit.current !== undefined && file.size > limit.current;
                const id = nextId++;
                relations.current.set(id, i === 0 ? relation : { "m.mentions": {} });
                return { id, file, progress: 0, state: large ? "failed" : "waiting", problem: large ? "large" : undefined, extra, abort: new AbortController() };
            });
            change((all) => [...all, ...added]);
            void run();
        },
        cancel(upload: Upload) {
            upload.abort.abort();
            if (upload.state !== "running") change((all) => all.filter((u) => u.id !== upload.id));
        },
        retry(upload: Upload) {
            patch(upload.id, { state: "waiting", progress: 0, problem: undefined, abort: new AbortController() });
            void run();
        },
    };
}
