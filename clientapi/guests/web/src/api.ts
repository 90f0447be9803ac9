// Requests to the server besides those of the SDK: what happens before there is a session, and Roomline's own routes.

/** The server's no. */
export class Refused extends Error {
    constructor(readonly status: number, readonly code: string, readonly body: Readonly<Record<string, unknown>>) {
        super(`${code} (${status})`);
    }

    /** Seconds until it is worth asking again; 0 if the server did not say. */
    get retryAfter(): number {
        return typeof this.body.retry_after_ms === "number" ? Math.ceil(this.body.retry_after_ms / 1000) : 0;
    }
}

/** No answer: no network, or the server is away. */
export class Unreachable extends Error {}

const patience = 30_000; // ms

/** Asks the server. A token goes into the header, and a secret into the body: neither is ever in an address. */
export async function request<T>(method: "GET" | "POST" | "PUT" | "DELETE", path: string, body?: unknown, token?: string): Promise<T> {
    let response: Response, answer: unknown;
    try {
        response = await fetch(path, {
            method,
            headers: {
                ...(body === undefined ? {} : { "Content-Type": "application/json" }),
                ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }),
            },
            body: body === undefined ? undefined : JSON.stringify(body),
            credentials: "same-origin",
            cache: "no-store",
            referrerPolicy: "no-referrer",
            signal: AbortSignal.timeout(patience),
        });
        answer = await response.json();
    } catch (error) {
        throw new Unreachable(String(error));
    }
    if (response.ok) return answer as T;
    const refusal = (answer ?? {}) as Record<string, unknown>;
    if (response.status >= 502 && typeof refusal.errcode !== "string") throw new Unreachable(`status ${response.status}`);
    throw new Refused(response.status, typeof refusal.errcode === "string" ? refusal.errcode : "M_UNKNOWN", refusal);
}

/** Whether an error, of ours or of the SDK, says that no answer came. */
export function isUnreachable(error: unknown): boolean {
    return error instanceof Unreachable || (error as { name?: string } | null)?.name === "ConnectionError";
}
