-- +goose Up

-- What an event means for notifications, whoever the user is: one row an event, however many members the room has. The follower
-- "push" writes them; how far it has come is in push_progress.
CREATE TABLE push_facts (
    room_nid  bigint   NOT NULL,
    position  bigint   NOT NULL,
    sender    text     COLLATE "C" NOT NULL,
    -- The root of the thread that the event is in, or '', and how many relations away the event is from it.
    thread    text     COLLATE "C" NOT NULL,
    hops      smallint NOT NULL,
    -- The predefined rules that match, a bit each in the order of clientapi/push/predefined.go.
    mask      int      NOT NULL,
    state     boolean  NOT NULL,
    redacted  boolean  NOT NULL,
    -- The users whom the event mentions, if any.
    mentions  text[]   COLLATE "C",
    PRIMARY KEY (room_nid, position)
);

-- What rules that a user made did with an event, for the few events that such a rule decided about.
CREATE TABLE push_own (
    user_id    text    COLLATE "C" NOT NULL,
    position   bigint  NOT NULL,
    notify     boolean NOT NULL,
    highlight  boolean NOT NULL,
    -- The rule's actions at the time.
    actions    bytea   NOT NULL,
    PRIMARY KEY (user_id, position)
);

-- One row: everything up to position is in push_facts, push_own and push_queue. It changes in the transaction that writes them.
CREATE TABLE push_progress (
    one       boolean PRIMARY KEY DEFAULT true CHECK (one),
    position  bigint  NOT NULL
);
INSERT INTO push_progress (position) VALUES (0);

-- The users who changed their push rules.
CREATE INDEX updates_push_rules ON updates (user_id) WHERE kind = 1 AND room_nid = 0 AND key = 'm.push_rules';

-- Where notifications are sent. A pusher ends with the device that made it.
CREATE TABLE pushers (
    pusher_id            bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id              text    COLLATE "C" NOT NULL,
    device_id            text    COLLATE "C" NOT NULL,
    app_id               text    COLLATE "C" NOT NULL,
    pushkey              text    COLLATE "C" NOT NULL,
    app_display_name     text    NOT NULL,
    device_display_name  text    NOT NULL,
    profile_tag          text    NOT NULL,
    lang                 text    NOT NULL,
    -- The object as the client gave it, url included.
    data                 bytea   NOT NULL,
    url                  text    NOT NULL,
    enabled              boolean NOT NULL,
    disable_badge_count  boolean NOT NULL,
    -- When the client last set it, in ms.
    pushkey_ts           bigint  NOT NULL,
    -- The badge that the gateway was told last; -1 when nothing is known.
    badge                int     NOT NULL DEFAULT -1,
    -- Failures in a row, and when to try again, in ms.
    failures             int     NOT NULL DEFAULT 0,
    retry_ts             bigint  NOT NULL DEFAULT 0,
    UNIQUE (user_id, app_id, pushkey),
    FOREIGN KEY (user_id, device_id) REFERENCES devices ON DELETE CASCADE
);
CREATE INDEX pushers_pushkey ON pushers (app_id, pushkey);
CREATE INDEX pushers_device ON pushers (user_id, device_id);

-- What gateways have not been told yet. position is the event's; 0 tells of the badge alone.
CREATE TABLE push_queue (
    pusher_id  bigint NOT NULL REFERENCES pushers ON DELETE CASCADE,
    position   bigint NOT NULL,
    tweaks     bytea  NOT NULL,
    queued_ts  bigint NOT NULL,
    PRIMARY KEY (pusher_id, position)
);
