-- +goose Up

-- Application services

-- Those that were registered while the server runs; the others stand in files of the configuration.
CREATE TABLE appservices (
    appservice_id    text   COLLATE "C" PRIMARY KEY,
    organisation_id  bigint NOT NULL REFERENCES organisations,
    -- SHA-256
    as_token_hash    bytea  NOT NULL UNIQUE,
    -- Encrypted with the key of the configuration.
    hs_token_sealed  bytea  NOT NULL,
    -- The registration as JSON, without its tokens.
    registration     bytea  NOT NULL,
    -- Registered by the operator, and not by an owner of the organisation.
    operator         boolean NOT NULL,
    created_by       text   COLLATE "C" NOT NULL,
    created_ts       bigint NOT NULL
);

-- The accounts that application services made for themselves.
CREATE TABLE appservice_users (
    user_id        text COLLATE "C" PRIMARY KEY REFERENCES users,
    appservice_id  text COLLATE "C" NOT NULL
);
CREATE INDEX appservice_users_appservice ON appservice_users (appservice_id, user_id);

-- How far each application service has been told of what happened, and the transaction that it has not acknowledged yet: the exact bytes,
-- which are sent again until it has. Everything up to position was delivered; the transaction reaches from there to body_position.
-- One process has a row at a time, until lease_until by the database's clock; whoever takes it over counts fence up, and with that
-- the former holder can write to it no more.
CREATE TABLE appservice_delivery (
    appservice_id  text        COLLATE "C" PRIMARY KEY,
    position       bigint      NOT NULL,
    -- The number of the last transaction, and the id that it has on the wire.
    txn            bigint      NOT NULL DEFAULT 0,
    txn_id         text        COLLATE "C" NOT NULL DEFAULT '',
    -- Null: acknowledged.
    body           bytea,
    body_position  bigint      NOT NULL DEFAULT 0,
    -- JSON: up to where messages to devices are in the transaction, and of which devices there are more.
    to_device      bytea       NOT NULL DEFAULT '[]',
    holder         text        COLLATE "C" NOT NULL DEFAULT '',
    fence          bigint      NOT NULL DEFAULT 0,
    lease_until    timestamptz NOT NULL DEFAULT '-infinity',
    -- Attempts that failed since the last one that did not, when the first of them was, and how the last one went.
    failures       int         NOT NULL DEFAULT 0,
    failing_since  bigint      NOT NULL DEFAULT 0,
    last_error     text        NOT NULL DEFAULT '',
    delivered_ts   bigint      NOT NULL DEFAULT 0
);
ALTER TABLE appservice_delivery ALTER COLUMN body SET COMPRESSION lz4;

-- What application services did with their tokens, and what they were told, counted by the hour. When the hour is over it becomes a line of
-- the audit log.
CREATE TABLE appservice_access (
    appservice_id    text   COLLATE "C" NOT NULL,
    organisation_id  bigint NOT NULL,
    class            text   COLLATE "C" NOT NULL,
    hour_ts          bigint NOT NULL,
    requests         bigint NOT NULL,
    refused          bigint NOT NULL,
    PRIMARY KEY (hour_ts, appservice_id, class)
);
