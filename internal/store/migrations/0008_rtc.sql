-- +goose Up

-- Delayed events, OpenID tokens and login tokens

-- Events that are sent later (MSC4140). Whoever sends one holds its row locked meanwhile. Times are those of the database's clock, the
-- one that all processes share, except origin_server_ts.
CREATE TABLE delayed_events (
    -- Whoever knows it may send, restart and cancel the event.
    delay_id          text   COLLATE "C" PRIMARY KEY,
    user_id           text   COLLATE "C" NOT NULL REFERENCES users,
    -- The request that scheduled it; txn_id is null for one that has none.
    device_id         text   COLLATE "C" NOT NULL,
    scope             text   COLLATE "C" NOT NULL,
    txn_id            text   COLLATE "C",
    room_id           text   COLLATE "C" NOT NULL,
    type              text   COLLATE "C" NOT NULL,
    state_key         text   COLLATE "C",
    content           bytea  NOT NULL,
    -- What an application service set as the event's time; 0: the time when it is sent.
    origin_server_ts  bigint NOT NULL,
    -- For how long the event is sticky (MSC4354), 0 for not at all.
    sticky_ms         bigint NOT NULL,
    delay_ms          bigint NOT NULL,
    -- When it was scheduled, or restarted last.
    scheduled_ts      bigint NOT NULL,
    due_ts            bigint NOT NULL GENERATED ALWAYS AS (scheduled_ts + delay_ms) STORED,
    -- When it was sent or cancelled; null until then. It was sent if there is an event_id, could not be sent if there is an error
    -- (the body of an error answer), and was cancelled otherwise.
    finalised_ts      bigint,
    event_id          text   COLLATE "C",
    error             bytea
);
CREATE UNIQUE INDEX delayed_events_txn ON delayed_events (user_id, device_id, scope, txn_id);
CREATE INDEX delayed_events_due ON delayed_events (due_ts) WHERE finalised_ts IS NULL;
CREATE INDEX delayed_events_user ON delayed_events (user_id, due_ts) WHERE finalised_ts IS NULL;
CREATE INDEX delayed_events_finalised ON delayed_events (finalised_ts) WHERE finalised_ts IS NOT NULL;

-- What a user shows to a service to prove who they are. It ends with the session that asked for it.
CREATE TABLE openid_tokens (
    -- SHA-256
    token_hash  bytea  PRIMARY KEY,
    user_id     text   COLLATE "C" NOT NULL REFERENCES users,
    -- Null for a user of an application service.
    session_id  bigint REFERENCES sessions ON DELETE CASCADE,
    expires_ts  bigint NOT NULL
);
CREATE INDEX openid_tokens_session ON openid_tokens (session_id);
CREATE INDEX openid_tokens_expires ON openid_tokens (expires_ts);

-- What signs another device of a user in, once. It ends with the session that asked for it.
CREATE TABLE login_tokens (
    -- SHA-256
    token_hash  bytea  PRIMARY KEY,
    user_id     text   COLLATE "C" NOT NULL REFERENCES users,
    session_id  bigint NOT NULL REFERENCES sessions ON DELETE CASCADE,
    expires_ts  bigint NOT NULL
);
CREATE INDEX login_tokens_session ON login_tokens (session_id);
CREATE INDEX login_tokens_expires ON login_tokens (expires_ts);
