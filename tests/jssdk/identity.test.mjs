// A matrix-js-sdk client adds addresses to an account, finds people by them through the identity server that the server names, and sets a
// forgotten password anew, as users of a client do. jssdk_test.go starts the server and runs this with node --test. Codes that were sent are
// asked for at ROOMLINE_CODES: they stand in for the mail.

import assert from "node:assert/strict";
import { test } from "node:test";

import { AutoDiscovery, createClient, InteractiveAuth, SERVICE_TYPES } from "matrix-js-sdk";
import { accounts, silent, urls, waiting } from "./common.mjs";

const [alice, bob] = accounts;

const eventually = waiting(180_000);

/** The code that was sent to an address last. */
const code = (address) => eventually(`a code for ${address}`, async () => {
    const answer = await fetch(`${process.env.ROOMLINE_CODES}?address=${encodeURIComponent(address.toLowerCase())}`);
    return answer.ok && answer.json();
});

async function signIn(account, url = urls[0]) {
    const answer = await createClient({ baseUrl: url, logger: silent }).loginRequest({
        type: "m.login.password", identifier: account.identifier ?? { type: "m.id.user", user: account.user }, password: account.password,
    });
    return createClient({
        baseUrl: url, idBaseUrl: urls[0], userId: answer.user_id, deviceId: answer.device_id, accessToken: answer.access_token, logger: silent,
    });
}

const password = (client, account) => ({
    type: "m.login.password", password: account.password, identifier: { type: "m.id.user", user: client.getUserId() },
});

/** Does what needs the password: the first attempt is refused with the flows. */
async function withPassword(client, account, request) {
    const auth = new InteractiveAuth({
        matrixClient: client, doRequest: request, stateUpdated: (stage) => {
            if (stage === "m.login.password") void auth.submitAuthDict(password(client, account));
        }, requestEmailToken: async () => assert.fail("no code is needed"),
    });
    return auth.attemptAuth();
}

async function addEmail(client, account, address) {
    const secret = client.generateClientSecret();
    const { sid, submit_url: submit } = await client.requestAdd3pidEmailToken(address, secret, 1);
    await client.submitMsisdnTokenOtherUrl(submit, sid, secret, (await code(address)).code);
    await withPassword(client, account, (auth) => client.addThreePidOnly({ sid, client_secret: secret, auth: auth ?? undefined }));
}

test("the server names itself as its identity server", async () => {
    const known = await AutoDiscovery.fromDiscoveryConfig(await (await fetch(`${urls[0]}/.well-known/matrix/client`)).json());
    assert.equal(known["m.identity_server"].state, "SUCCESS");
    assert.equal(known["m.identity_server"].base_url, urls[0]);
});

test("addresses are added, found, and taken away", async () => {
    const client = await signIn(alice);
    const capabilities = await client.getCapabilities();
    assert.equal(capabilities["m.3pid_changes"].enabled, true);
    await addEmail(client, alice, "Alice@Example.com");

    const secret = client.generateClientSecret();
    const phone = await client.requestAdd3pidMsisdnToken("BE", "0470 12 34 56", secret, 1);
    const sent = await code("32470123456");
    await assert.rejects(client.submitMsisdnTokenOtherUrl(phone.submit_url, phone.sid, secret, "wrong!"), { errcode: "M_TOKEN_INCORRECT" });
    await client.submitMsisdnTokenOtherUrl(phone.submit_url, phone.sid, secret, sent.code);
    await withPassword(client, alice, (auth) => client.addThreePidOnly({ sid: phone.sid, client_secret: secret, auth: auth ?? undefined }));
    const { threepids } = await client.getThreePids();
    assert.deepEqual(threepids.map((t) => [t.medium, t.address]), [["email", "alice@example.com"], ["msisdn", "32470123456"]]);

    // A colleague finds both, by hashes.
    const other = await signIn(bob, urls[1]);
    const { token } = await other.registerWithIdentityServer(await other.getOpenIdToken());
    assert.equal((await other.getIdentityAccount(token)).user_id, other.getUserId());
    const details = await other.getIdentityHashDetails(token);
    assert.ok(details.algorithms.includes("sha256"));
    const hashed = await other.identityHashedLookup([["alice@example.com", "email"], ["32470123456", "msisdn"], ["nobody@example.com", "email"]], token);
    assert.deepEqual(hashed.map((h) => [h.address, h.mxid]).sort(), [["32470123456", client.getUserId()], ["alice@example.com", client.getUserId()]]);
    assert.equal((await other.lookupThreePid("email", "alice@example.com", token)).mxid, client.getUserId());
    const bulk = await other.bulkLookupThreePids([["email", "alice@example.com"], ["email", "nobody@example.com"]], token);
    assert.deepEqual(bulk.threepids, [["email", "alice@example.com", client.getUserId()]]);
    await assert.rejects(other.getIdentityAccount("rli_wrong"), { httpStatus: 401, errcode: "M_UNAUTHORIZED" });

    // Sharing an address of the account with the identity server.
    const { token: own } = await client.registerWithIdentityServer(await client.getOpenIdToken());
    const share = client.generateClientSecret();
    const { sid } = await client.requestEmailToken("alice@example.com", share, 1, undefined, own);
    const link = new URL((await code("alice@example.com")).link);
    assert.equal((await fetch(link)).status, 200);
    const pressed = await fetch(link.origin + link.pathname, { method: "POST", body: new URLSearchParams(link.searchParams) });
    assert.equal(pressed.status, 200);
    await client.bindThreePid({ sid, client_secret: share, id_server: new URL(urls[0]).host, id_access_token: own });
    await client.unbindThreePid("email", "alice@example.com");

    await client.deleteThreePid("msisdn", "32470123456");
    assert.equal((await other.identityHashedLookup([["32470123456", "msisdn"]], token)).length, 0);
    const terms = await client.getTerms(SERVICE_TYPES.IS, urls[0]);
    assert.deepEqual(terms.policies, {});
});

test("a forgotten password is set anew", async () => {
    const client = createClient({ baseUrl: urls[1], logger: silent });
    const secret = client.generateClientSecret();
    const { sid } = await client.requestPasswordEmailToken("alice@example.com", secret, 1);
    const creds = { type: "m.login.email.identity", threepid_creds: { sid, client_secret: secret }, threepidCreds: { sid, client_secret: secret } };
    await assert.rejects(client.setPassword(creds, "quite another one", true), { httpStatus: 401, errcode: "M_UNAUTHORIZED" });
    const link = new URL((await code("alice@example.com")).link);
    await fetch(link.origin + link.pathname, { method: "POST", body: new URLSearchParams(link.searchParams) });
    await client.setPassword(creds, "quite another one", true);
    const again = await signIn({ identifier: { type: "m.id.thirdparty", medium: "email", address: "alice@example.com" }, password: "quite another one" });
    assert.equal(again.getUserId(), (await again.whoami()).user_id);
    await assert.rejects(signIn(alice), { errcode: "M_FORBIDDEN" });
});

test("an account is made with an address", async () => {
    const client = createClient({ baseUrl: urls[0], logger: silent });
    const secret = client.generateClientSecret();
    const request = (auth) => client.registerRequest({ username: "newcomer", password: "correct horse newcomer", auth: auth ?? undefined });
    let confirmed = false;
    const auth = new InteractiveAuth({
        matrixClient: client, clientSecret: secret, inputs: { emailAddress: "newcomer@example.com" }, doRequest: request,
        requestEmailToken: (email, secret, attempt) => client.requestRegisterEmailToken(email, secret, attempt),
        stateUpdated: async (stage) => {
            if (stage !== "m.login.email.identity" || confirmed) return;
            confirmed = true;
            const link = new URL((await code("newcomer@example.com")).link);
            await fetch(link.origin + link.pathname, { method: "POST", body: new URLSearchParams(link.searchParams) });
            await auth.poll();
        },
    });
    const made = await auth.attemptAuth();
    assert.match(made.user_id, /^@newcomer:/);
    const { threepids } = await (await signIn({ user: made.user_id, password: "correct horse newcomer" })).getThreePids();
    assert.deepEqual(threepids.map((t) => t.address), ["newcomer@example.com"]);
});
