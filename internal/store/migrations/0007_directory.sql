-- +goose Up

-- The room directory

-- Rooms that their members have published. What is listed of a room is read from its state, and again whenever that changes.
CREATE TABLE published_rooms (
    room_nid         bigint  PRIMARY KEY,
    organisation_id  bigint  NOT NULL,
    -- The clock's position when the room was read: an older reading does not replace a newer one.
    position         bigint  NOT NULL DEFAULT 0,
    -- False for a room that everybody has left; it is not shown.
    listed           boolean NOT NULL DEFAULT false,
    -- The number of joined members, negative: the directory begins with the largest rooms.
    rank             int     NOT NULL DEFAULT 0,
    -- The type in m.room.create, empty if it has none.
    room_type        text    COLLATE "C" NOT NULL DEFAULT '',
    -- The room as it stands in the answer of /publicRooms.
    entry            bytea   NOT NULL DEFAULT '',
    -- The words of name, topic and alias in the form of words.go.
    words            tsvector NOT NULL DEFAULT ''
);
CREATE INDEX published_rooms_listed ON published_rooms (organisation_id, rank, room_nid) WHERE listed;
CREATE INDEX published_rooms_words ON published_rooms USING gin (words) WITH (fastupdate = off);

-- The user directory

-- The words of each account's display name and user id in the form of words.go, for searches by their beginnings. Closed
-- accounts have none.
CREATE TABLE user_directory (
    user_id          text   COLLATE "C" NOT NULL REFERENCES users,
    word             text   COLLATE "C" NOT NULL,
    organisation_id  bigint NOT NULL,
    PRIMARY KEY (user_id, word)
);
CREATE INDEX user_directory_words ON user_directory (organisation_id, word, user_id);

-- Accounts that are older than this table get the words that SQL can find in their names; with the next change of the profile
-- they are exact.
INSERT INTO user_directory (user_id, word, organisation_id)
SELECT DISTINCT u.user_id, left(w.word, 64), u.organisation_id
FROM users u
-- The name is looked at as JSON text, because PostgreSQL refuses some strings that JSON allows; one with escapes waits for its next change.
LEFT JOIN LATERAL (
    SELECT convert_from(value, 'UTF8') AS name FROM profiles
    WHERE profiles.user_id = u.user_id AND key = 'displayname' AND position('\\'::bytea in value) = 0
) p ON true
CROSS JOIN LATERAL regexp_split_to_table(
    lower(regexp_replace(normalize(
        split_part(substr(u.user_id, 2), ':', 1) || ' ' || coalesce(p.name, ''), NFKD),
        '[\u0300-\u036f]', '', 'g')),
    '[^[:alnum:]]+') AS w (word)
WHERE u.deactivated_ts IS NULL AND w.word <> '';

-- Rooms in which users of more than one organisation are or were: the only ones through which a user can know somebody of
-- another organisation.
CREATE TABLE mixed_rooms (
    room_nid  bigint PRIMARY KEY
);

-- Spaces

-- Walks through a space that a client has not finished, so that any process can go on. A row is good for one page.
CREATE TABLE space_walks (
    token       text   COLLATE "C" PRIMARY KEY,
    user_id     text   COLLATE "C" NOT NULL,
    room_nid    bigint NOT NULL,
    -- JSON: the request's parameters, the rooms that come next and the rooms that have been.
    walk        bytea  NOT NULL,
    expires_ts  bigint NOT NULL
);
CREATE INDEX space_walks_user ON space_walks (user_id, expires_ts);
CREATE INDEX space_walks_expires ON space_walks (expires_ts);

-- Reports and notices

-- What users have reported to the operator. Which columns are empty says what: a room (room_id), an event (room_id, event_id)
-- or a user (reported_user_id).
CREATE TABLE reports (
    report_id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id   bigint NOT NULL,
    reporter          text   COLLATE "C" NOT NULL,
    room_id           text   COLLATE "C" NOT NULL,
    event_id          text   COLLATE "C" NOT NULL,
    reported_user_id  text   COLLATE "C" NOT NULL,
    reason            text   NOT NULL,
    received_ts       bigint NOT NULL
);
CREATE INDEX reports_organisation ON reports (organisation_id, report_id);
CREATE INDEX reports_reporter ON reports (reporter, report_id);

-- The one room in which the server speaks to a user.
CREATE TABLE server_notice_rooms (
    user_id   text   COLLATE "C" PRIMARY KEY REFERENCES users,
    room_nid  bigint NOT NULL
);
