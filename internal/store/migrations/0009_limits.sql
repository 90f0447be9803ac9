-- +goose Up

-- Signing in through an OpenID provider

-- A token that follows such a sign-in comes from no session.
ALTER TABLE login_tokens ALTER COLUMN session_id DROP NOT NULL;

-- Sign-ins that were sent to a provider and have not come back. The answer may reach any process. Neither the state nor the browser's
-- cookie is here, only their SHA-256; the nonce and the PKCE verifier are made from both again.
CREATE TABLE sso_logins (
    state_hash    bytea  PRIMARY KEY,
    browser_hash  bytea  NOT NULL,
    provider      text   COLLATE "C" NOT NULL,
    -- Where the client is told the login token.
    redirect_url  text   COLLATE "C" NOT NULL,
    expires_ts    bigint NOT NULL
);
CREATE INDEX sso_logins_expires ON sso_logins (expires_ts);

-- Which account a provider's subject is.
CREATE TABLE sso_subjects (
    provider    text   COLLATE "C" NOT NULL,
    subject     text   COLLATE "C" NOT NULL,
    user_id     text   COLLATE "C" NOT NULL REFERENCES users,
    created_ts  bigint NOT NULL,
    PRIMARY KEY (provider, subject)
);
CREATE INDEX sso_subjects_user ON sso_subjects (user_id);
