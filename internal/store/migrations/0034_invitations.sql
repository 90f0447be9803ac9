-- +goose Up

-- Invitations by address or by link, and guests

-- People outside who were asked into a room: by e-mail, by phone, or by a link that the inviter passes on.
CREATE TABLE invitations (
    -- Names it in the API; in the room it is the state key of m.room.third_party_invite, and of org.roomline.invitation.
    invitation_id    text    COLLATE "C" PRIMARY KEY,
    organisation_id  bigint  NOT NULL REFERENCES organisations,
    room_nid         bigint  NOT NULL REFERENCES rooms ON DELETE CASCADE,
    inviter          text    COLLATE "C" NOT NULL REFERENCES users,
    -- 'email' or 'msisdn' and the address in canonical form; both empty for a link.
    medium           text    COLLATE "C" NOT NULL CHECK (medium IN ('', 'email', 'msisdn')),
    address          text    COLLATE "C" NOT NULL CHECK ((address = '') = (medium = '')),
    -- SHA-256 of the link's secret.
    secret_hash      bytea   NOT NULL UNIQUE,
    -- ISO 639-1: what the invitation is written in.
    language         text    COLLATE "C" NOT NULL,
    -- What the guest is in the room: an observer may not send.
    role             text    COLLATE "C" NOT NULL DEFAULT 'participant' CHECK (role IN ('participant', 'observer')),
    -- A code, sent to the address, has to be given as well.
    proof            boolean NOT NULL DEFAULT false,
    uses_allowed     int     NOT NULL CHECK (uses_allowed > 0),
    uses             int     NOT NULL DEFAULT 0,
    created_ts       bigint  NOT NULL,
    -- When the link ends, and how long after redeeming the guest may stay.
    expires_ts       bigint  NOT NULL,
    guest_lifetime   bigint  NOT NULL,
    -- What it is to, when it is a meeting, as JSON; the link opens at opens_ts.
    meeting          bytea,
    opens_ts         bigint  NOT NULL DEFAULT 0,
    -- How far it has come; null where it has not. ended_ts: revoked, or seen to be expired, or given to an account that has the address.
    opened_ts        bigint,
    redeemed_ts      bigint,
    ended_ts         bigint,
    ended            text    COLLATE "C" NOT NULL DEFAULT '' CHECK (ended IN ('', 'revoked', 'expired', 'member')),
    -- What became of the last message about it: '', or a state of outbox.
    delivery         text    COLLATE "C" NOT NULL DEFAULT '',
    delivery_ts      bigint,
    -- Counts what was told to calendars.
    sequence         int     NOT NULL DEFAULT 0,
    CHECK (uses <= uses_allowed)
);
CREATE INDEX invitations_room ON invitations (room_nid, created_ts);
CREATE INDEX invitations_inviter ON invitations (inviter, created_ts);
CREATE INDEX invitations_organisation ON invitations (organisation_id, created_ts);
CREATE INDEX invitations_address ON invitations (organisation_id, medium, address) WHERE ended_ts IS NULL AND medium <> '';
CREATE INDEX invitations_open ON invitations (expires_ts) WHERE ended_ts IS NULL;

-- What an account has beyond those of users.guest.
CREATE TABLE guests (
    user_id          text    COLLATE "C" PRIMARY KEY REFERENCES users,
    organisation_id  bigint  NOT NULL REFERENCES organisations,
    invitation_id    text    COLLATE "C" REFERENCES invitations ON DELETE SET NULL,
    inviter          text    COLLATE "C" NOT NULL,
    medium           text    COLLATE "C" NOT NULL,
    address          text    COLLATE "C" NOT NULL,
    -- The guest gave a code that was sent to the address.
    verified         boolean NOT NULL DEFAULT false,
    -- As in invitations, or 'visitor': nobody has invited the guest, who comes into rooms that let guests in.
    role             text    COLLATE "C" NOT NULL,
    -- SHA-256 of what the browser called its attempt: an answer that was lost is given again to the same browser.
    attempt_hash     bytea,
    created_ts       bigint  NOT NULL,
    expires_ts       bigint  NOT NULL,
    ended_ts         bigint,
    -- The account that the guest has become.
    linked_to        text    COLLATE "C" REFERENCES users
);
-- One guest for each attempt of an invitation.
CREATE UNIQUE INDEX guests_attempt ON guests (invitation_id, attempt_hash);
CREATE INDEX guests_organisation ON guests (organisation_id, created_ts);
CREATE INDEX guests_address ON guests (organisation_id, medium, address) WHERE ended_ts IS NULL;
CREATE INDEX guests_expiry ON guests (expires_ts) WHERE ended_ts IS NULL;

-- Addresses that accounts got and that nobody has looked at yet: invitations to them and guests who have them become the account's.
CREATE TABLE new_threepids (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id  bigint NOT NULL REFERENCES organisations,
    medium           text   COLLATE "C" NOT NULL,
    address          text   COLLATE "C" NOT NULL,
    user_id          text   COLLATE "C" NOT NULL REFERENCES users
);

-- Codes that were sent to an address to see whose it is.
CREATE TABLE validations (
    -- The sid of the specification.
    sid              text    COLLATE "C" PRIMARY KEY,
    organisation_id  bigint  NOT NULL REFERENCES organisations,
    -- What it is for: a code that was asked for one purpose is good for no other.
    purpose          text    COLLATE "C" NOT NULL,
    medium           text    COLLATE "C" NOT NULL CHECK (medium IN ('email', 'msisdn')),
    address          text    COLLATE "C" NOT NULL,
    -- Who asked; null before there is an account.
    user_id          text    COLLATE "C" REFERENCES users,
    client_secret_hash bytea NOT NULL,
    send_attempt     bigint  NOT NULL,
    -- Keyed hash of the code.
    code_hash        bytea   NOT NULL,
    next_link        text    NOT NULL DEFAULT '',
    wrong            int     NOT NULL DEFAULT 0,
    created_ts       bigint  NOT NULL,
    expires_ts       bigint  NOT NULL,
    validated_ts     bigint,
    UNIQUE (purpose, medium, address, client_secret_hash)
);
CREATE INDEX validations_expiry ON validations (expires_ts);

-- The validation (its sid) whose address was proved in a stage.
ALTER TABLE uia_sessions ADD COLUMN validation text COLLATE "C";

-- Tokens of the identity service.
CREATE TABLE identity_tokens (
    token_hash       bytea  PRIMARY KEY,
    user_id          text   COLLATE "C" NOT NULL REFERENCES users,
    created_ts       bigint NOT NULL,
    expires_ts       bigint NOT NULL
);
CREATE INDEX identity_tokens_user ON identity_tokens (user_id);
CREATE INDEX identity_tokens_expiry ON identity_tokens (expires_ts);

-- Mails and short messages that are to be sent, or were. The telephony bridge takes them with a lease.
CREATE TABLE outbox (
    message_id       bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id  bigint  NOT NULL REFERENCES organisations,
    kind             text    COLLATE "C" NOT NULL,
    medium           text    COLLATE "C" NOT NULL CHECK (medium IN ('email', 'msisdn')),
    address          text    COLLATE "C" NOT NULL,
    -- The user that it is sent for; empty when nobody asked.
    sender           text    COLLATE "C" NOT NULL DEFAULT '',
    invitation_id    text    COLLATE "C" REFERENCES invitations ON DELETE SET NULL,
    -- What it says, encrypted; null when it is over.
    payload          bytea,
    -- 'held': waits for the end of quiet hours or of a pause. 'sending': handed to the network at sending_ts; whether it went is not known.
    state            text    COLLATE "C" NOT NULL CHECK (state IN ('held', 'queued', 'sending', 'sent', 'delivered', 'failed', 'cancelled')),
    attempts         int     NOT NULL DEFAULT 0,
    -- When it may be taken next.
    next_ts          bigint  NOT NULL,
    -- After this it is worth nothing.
    expires_ts       bigint  NOT NULL,
    -- Who has it may report, until lease_ts when others may take it.
    lease            text    COLLATE "C",
    lease_ts         bigint,
    sending_ts       bigint,
    -- What the network calls it: receipts name it.
    reference        text    COLLATE "C",
    -- A short word for what went wrong, without addresses.
    problem          text    COLLATE "C" NOT NULL DEFAULT '',
    -- In millionths of the currency of the configuration.
    cost             bigint  NOT NULL DEFAULT 0,
    created_ts       bigint  NOT NULL,
    sent_ts          bigint,
    done_ts          bigint,
    -- The last state that the invitation was told of.
    told             text    COLLATE "C" NOT NULL DEFAULT ''
);
CREATE INDEX outbox_untold ON outbox (message_id)
    WHERE invitation_id IS NOT NULL AND state IN ('sent', 'delivered', 'failed') AND told <> state;
CREATE INDEX outbox_done ON outbox (done_ts) WHERE done_ts IS NOT NULL;
CREATE INDEX outbox_next ON outbox (medium, next_ts) WHERE state IN ('held', 'queued', 'sending');
CREATE INDEX outbox_reference ON outbox (reference) WHERE reference IS NOT NULL;
CREATE INDEX outbox_address ON outbox (medium, address, created_ts);
CREATE INDEX outbox_sender ON outbox (sender, created_ts);
CREATE INDEX outbox_organisation ON outbox (organisation_id, created_ts);
CREATE INDEX outbox_invitation ON outbox (invitation_id);

-- What an organisation has spent on a day (of UTC), the messages that are still to be sent included.
CREATE TABLE outbox_spending (
    organisation_id  bigint NOT NULL REFERENCES organisations,
    day              date   NOT NULL,
    medium           text   COLLATE "C" NOT NULL,
    messages         bigint NOT NULL,
    cost             bigint NOT NULL,
    PRIMARY KEY (organisation_id, day, medium)
);

-- Organisations whose invitations by short message have stopped, because too few of them were used, or had. An administrator lets them go on.
CREATE TABLE outbox_pauses (
    organisation_id  bigint PRIMARY KEY REFERENCES organisations,
    -- Null when they go on; only what was sent after resumed_ts counts then.
    paused_ts        bigint,
    resumed_ts       bigint NOT NULL DEFAULT 0
);

-- Addresses that want nothing any more from anybody here, as keyed hashes.
CREATE TABLE outbox_refusals (
    address_hash     bytea  PRIMARY KEY,
    created_ts       bigint NOT NULL
);

-- Commands to the telephony bridge's bot that were carried out, or are being: each once, however often it is told.
CREATE TABLE commands (
    -- The message that says it.
    event_id         text   COLLATE "C" PRIMARY KEY,
    sender           text   COLLATE "C" NOT NULL REFERENCES users,
    created_ts       bigint NOT NULL,
    -- When a process last took it; what it came to is null until then.
    claimed_ts       bigint NOT NULL,
    answer           bytea,
    -- The invitations that the answer names, and the bot's message that says it.
    invitations      text[] COLLATE "C" NOT NULL DEFAULT '{}',
    reply_room_id    text   COLLATE "C",
    reply_event_id   text   COLLATE "C"
);
CREATE INDEX commands_sender ON commands (sender);
CREATE INDEX commands_created ON commands (created_ts);
CREATE INDEX commands_invitations ON commands USING gin (invitations) WHERE reply_event_id IS NOT NULL;

-- An invitation is its inviter's organisation's, whose ever the room is, and a guest is the inviting organisation's.
ALTER TABLE invitations ADD CONSTRAINT invitations_wall
    FOREIGN KEY (inviter, organisation_id) REFERENCES users (user_id, organisation_id) ON UPDATE CASCADE;
ALTER TABLE guests ADD CONSTRAINT guests_wall
    FOREIGN KEY (user_id, organisation_id) REFERENCES users (user_id, organisation_id) ON UPDATE CASCADE;

-- keep_wall refuses members who came through the wall: who is not inside of a room joins it from an invite, and does not knock. Users of
-- other servers are those servers' business. A visitor, whom nobody has invited, joins rooms of the own organisation that let guests in.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION keep_wall() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    r record;
BEGIN
    SELECT new_rows.user_id, rooms.room_id INTO r
    FROM new_rows
    JOIN rooms ON rooms.room_nid = new_rows.room_nid
    JOIN users ON users.user_id = new_rows.user_id
    WHERE new_rows.membership IN ('join', 'knock') AND (users.organisation_id <> rooms.organisation_id OR users.guest)
        AND (new_rows.membership = 'knock' OR coalesce((
            SELECT s.membership FROM room_state s
            WHERE s.room_nid = new_rows.room_nid AND s.type = 'm.room.member' AND s.state_key = new_rows.user_id
                AND s.since < new_rows.position
            ORDER BY s.since DESC LIMIT 1), '') NOT IN ('invite', 'join'))
        AND NOT (new_rows.membership = 'join' AND users.guest AND users.organisation_id = rooms.organisation_id
            AND EXISTS (SELECT FROM guests g WHERE g.user_id = users.user_id AND g.role = 'visitor')
            AND 'can_join' = (
                SELECT convert_from(e.json, 'UTF8')::json #>> '{content,guest_access}'
                FROM room_state s JOIN events e ON e.position = s.event_position
                WHERE s.room_nid = new_rows.room_nid AND s.type = 'm.room.guest_access' AND s.state_key = '' AND s.until = 9223372036854775807))
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'wall: % has not been invited to % of another organisation', r.user_id, r.room_id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END
$$;
-- +goose StatementEnd
