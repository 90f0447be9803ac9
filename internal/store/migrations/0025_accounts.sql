-- +goose Up

-- What directories say of people (SCIM)

-- Accounts that a directory has made or taken over, and what it says of them beyond what has its place elsewhere.
CREATE TABLE scim_users (
    user_id          text   COLLATE "C" PRIMARY KEY REFERENCES users,
    organisation_id  bigint NOT NULL,
    -- In lower case.
    user_name        text   COLLATE "C" NOT NULL,
    external_id      text   COLLATE "C",
    modified_ts      bigint NOT NULL,
    -- The attributes as they were given, but for the password.
    resource         jsonb  NOT NULL
);
CREATE UNIQUE INDEX scim_users_name ON scim_users (organisation_id, user_name);
CREATE INDEX scim_users_external ON scim_users (external_id, organisation_id) WHERE external_id IS NOT NULL;

-- scim_resource is what a directory is told of an account that it has not taken over.
-- +goose StatementBegin
CREATE FUNCTION scim_resource(who text) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_strip_nulls(jsonb_build_object(
        'userName', substr(who, 2, strpos(who, ':') - 2) || '@' || substr(who, strpos(who, ':') + 1),
        'displayName', (SELECT convert_from(value, 'UTF8')::jsonb FROM profiles WHERE user_id = who AND key = 'displayname'),
        'emails', (SELECT jsonb_agg(jsonb_build_object('value', address, 'type', 'work') ORDER BY added_ts, address)
            FROM user_threepids WHERE user_id = who AND medium = 'email'),
        'phoneNumbers', (SELECT jsonb_agg(jsonb_build_object('value', '+' || address, 'type', 'work') ORDER BY added_ts, address)
            FROM user_threepids WHERE user_id = who AND medium = 'msisdn')))
$$;
-- +goose StatementEnd

-- Groups of people, and the room or space that stands for each.
CREATE TABLE scim_groups (
    group_id         text    COLLATE "C" PRIMARY KEY,
    organisation_id  bigint  NOT NULL REFERENCES organisations,
    display_name     text    NOT NULL,
    external_id      text    COLLATE "C",
    -- room, space or none
    kind             text    COLLATE "C" NOT NULL,
    -- Null until it is made.
    room_id          text    COLLATE "C",
    created_ts       bigint  NOT NULL,
    modified_ts      bigint  NOT NULL,
    -- The group has changed, or is gone, and its room does not know yet.
    pending          boolean NOT NULL,
    deleted          boolean NOT NULL DEFAULT false,
    -- Until when the process that works on it need not be looked after; by the database's clock.
    leased_until     timestamptz NOT NULL DEFAULT '-infinity'
);
CREATE INDEX scim_groups_organisation ON scim_groups (organisation_id, group_id);
CREATE INDEX scim_groups_pending ON scim_groups (leased_until) WHERE pending;

CREATE TABLE scim_group_members (
    group_id  text COLLATE "C" NOT NULL REFERENCES scim_groups ON DELETE CASCADE,
    user_id   text COLLATE "C" NOT NULL REFERENCES users,
    -- Whether the group has put the person into its room, so that the person leaves it with the group.
    enrolled  boolean NOT NULL DEFAULT false,
    -- The person has left the group, and is still to leave the room.
    leaving   boolean NOT NULL DEFAULT false,
    PRIMARY KEY (group_id, user_id)
);
CREATE INDEX scim_group_members_user ON scim_group_members (user_id);

-- Erasure and export

-- Accounts that are erased. The rows stay: they say that it was done.
CREATE TABLE erasures (
    user_id          text        COLLATE "C" PRIMARY KEY REFERENCES users,
    organisation_id  bigint      NOT NULL,
    requested_by     text        COLLATE "C" NOT NULL,
    requested_ts     bigint      NOT NULL,
    messages         boolean     NOT NULL,
    media            boolean     NOT NULL,
    -- The last room that is done.
    room_nid         bigint      NOT NULL DEFAULT 0,
    leased_until     timestamptz NOT NULL DEFAULT '-infinity',
    done_ts          bigint
);
CREATE INDEX erasures_pending ON erasures (leased_until) WHERE done_ts IS NULL;

-- Archives that were asked for: of a person (user_id) or of a room (room_id). Whoever has the token, whose SHA-256 is here, fetches it once.
CREATE TABLE exports (
    token_hash       bytea  PRIMARY KEY,
    organisation_id  bigint NOT NULL,
    user_id          text   COLLATE "C",
    room_id          text   COLLATE "C",
    requested_by     text   COLLATE "C" NOT NULL,
    expires_ts       bigint NOT NULL
);
CREATE INDEX exports_expires ON exports (expires_ts);

-- Rooms that nobody may join any more.
CREATE TABLE blocked_rooms (
    room_id          text   COLLATE "C" NOT NULL,
    organisation_id  bigint NOT NULL,
    blocked_by       text   COLLATE "C" NOT NULL,
    blocked_ts       bigint NOT NULL,
    PRIMARY KEY (room_id, organisation_id)
);

-- Rooms that an administrator deletes.
CREATE TABLE room_deletions (
    delete_id        text        COLLATE "C" PRIMARY KEY,
    organisation_id  bigint      NOT NULL,
    room_id          text        COLLATE "C" NOT NULL,
    requested_by     text        COLLATE "C" NOT NULL,
    requested_ts     bigint      NOT NULL,
    -- JSON: what was asked for, and how far it has come.
    request          bytea       NOT NULL,
    status           bytea       NOT NULL DEFAULT '{}',
    error            text,
    leased_until     timestamptz NOT NULL DEFAULT '-infinity',
    done_ts          bigint
);
CREATE INDEX room_deletions_room ON room_deletions (room_id);
CREATE INDEX room_deletions_pending ON room_deletions (leased_until) WHERE done_ts IS NULL;
