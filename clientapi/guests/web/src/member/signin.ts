// Signing in as a member: with a password, or through an identity provider that sends the browser back with a token for one use.

import { request } from "../api.ts";
import { keepSession, type Session } from "../session.ts";

export interface IdentityProvider {
    readonly id: string;
    readonly name: string;
}

interface Flow {
    type: string;
    identity_providers?: IdentityProvider[];
}

export interface WaysIn {
    readonly password: boolean;
    readonly providers: readonly IdentityProvider[];
}

export async function waysIn(): Promise<WaysIn> {
    const { flows } = await request<{ flows: Flow[] }>("GET", "/_matrix/client/v3/login");
    return {
        password: flows.some(({ type }) => type === "m.login.password"),
        providers: flows.flatMap((flow) => (flow.type === "m.login.sso" ? flow.identity_providers ?? [] : [])),
    };
}

interface LoginAnswer {
    user_id: string;
    device_id: string;
    access_token: string;
    refresh_token?: string;
}

async function login(how: object): Promise<Session> {
    const answer = await request<LoginAnswer>("POST", "/_matrix/client/v3/login", {
        ...how, refresh_token: true, initial_device_display_name: deviceName(),
    });
    const session = {
        userId: answer.user_id, deviceId: answer.device_id, accessToken: answer.access_token, refreshToken: answer.refresh_token,
    };
    keepSession(session);
    return session;
}

export const signInWithPassword = (user: string, password: string) => login({ type: "m.login.password", identifier: identifier(user), password });
export const signInWithToken = (token: string) => login({ type: "m.login.token", token });

/** What somebody typed to say who they are: @user:server, user, or an e-mail address. */
export function identifier(typed: string): object {
    const user = typed.trim();
    return /^[^@\s]+@[^@\s]+\.[^@\s]+$/.test(user)
        ? { type: "m.id.thirdparty", medium: "email", address: user }
        : { type: "m.id.user", user };
}

/** Where an identity provider is asked; it comes back to this page with ?loginToken=. */
export function providerAddress(provider: IdentityProvider): string {
    const back = location.origin + location.pathname;
    return `/_matrix/client/v3/login/sso/redirect/${encodeURIComponent(provider.id)}?redirectUrl=${encodeURIComponent(back)}`;
}

/** The login token that the page was opened with. It leaves the address bar and the history at once. */
export function takeLoginToken(): string | undefined {
    const token = new URLSearchParams(location.search).get("loginToken");
    if (token !== null) history.replaceState(null, "", location.pathname);
    return token ?? undefined;
}

/** How this session is called in the list of one's devices. */
function deviceName(): string {
    const agent = navigator.userAgent;
    const browser = [["Edg/", "Edge"], ["Firefox/", "Firefox"], ["Chrome/", "Chrome"], ["Safari/", "Safari"]].find(([mark]) => agent.includes(mark!))?.[1];
    return `Roomline ${browser ?? "browser"}`;
}
