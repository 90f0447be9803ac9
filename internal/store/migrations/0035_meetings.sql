-- +goose Up

-- What meets: rooms of the SFU, who is in them, and who has to go.

-- A MatrixRTC slot of a room, as the SFU knows it.
CREATE TABLE rtc_rooms (
    -- The name of the LiveKit room (livekit_alias). It is made of the room, the slot and random bits, and tells nothing.
    alias            text    COLLATE "C" PRIMARY KEY,
    room_nid         bigint  NOT NULL REFERENCES rooms ON DELETE CASCADE,
    slot_id          text    COLLATE "C" NOT NULL,
    created_ts       bigint  NOT NULL,
    -- The session that is on: since when, and what the SFU calls it; null when nobody is there.
    started_ts       bigint,
    sid              text    COLLATE "C" NOT NULL DEFAULT '',
    -- When it ends for want of more minutes; null without such a limit.
    ends_ts          bigint,
    UNIQUE (room_nid, slot_id)
);
CREATE INDEX rtc_rooms_on ON rtc_rooms (started_ts) WHERE started_ts IS NOT NULL;

-- Who may enter a room of the SFU, or is in it. A row is made when a token is minted.
CREATE TABLE rtc_participants (
    alias            text    COLLATE "C" NOT NULL REFERENCES rtc_rooms ON DELETE CASCADE,
    -- The LiveKit identity: user_id:device_id for older clients, the pseudonym of MSC4195 for newer ones.
    identity         text    COLLATE "C" NOT NULL,
    user_id          text    COLLATE "C" NOT NULL,
    -- Empty for a device of another server that did not name itself.
    device_id        text    COLLATE "C" NOT NULL,
    -- The member.id of m.rtc.member; empty for older clients.
    member_id        text    COLLATE "C" NOT NULL,
    -- What the last token, or the last change, allowed: as JSON, to see what changed.
    rights           bytea   NOT NULL,
    -- Until when the last token lets in.
    token_expires_ts bigint  NOT NULL,
    -- When the media came and went, by the SFU's word; null where they have not.
    joined_ts        bigint,
    left_ts          bigint,
    -- What the SFU calls this stay: words about an older one change nothing.
    sid              text    COLLATE "C" NOT NULL DEFAULT '',
    -- The delayed event that ends the membership, handed over by the client (MSC4195), and when it has to be restarted.
    delay_id         text    COLLATE "C",
    restart_ts       bigint,
    -- When it was seen to that the call membership has ended with the media, or because the media never came; null while that is to come.
    ended_ts         bigint,
    PRIMARY KEY (alias, identity)
);
CREATE INDEX rtc_participants_user ON rtc_participants (user_id, device_id);
CREATE INDEX rtc_participants_in ON rtc_participants (alias) WHERE joined_ts IS NOT NULL AND left_ts IS NULL;
CREATE INDEX rtc_participants_restart ON rtc_participants (restart_ts) WHERE delay_id IS NOT NULL;
CREATE INDEX rtc_participants_over ON rtc_participants (token_expires_ts) WHERE joined_ts IS NULL OR left_ts IS NOT NULL;
CREATE INDEX rtc_participants_due ON rtc_participants (coalesce(left_ts, token_expires_ts))
    WHERE ended_ts IS NULL AND (joined_ts IS NULL OR left_ts IS NOT NULL);

-- What the SFU has still to be told: it is asked again until it has answered.
CREATE TABLE rtc_orders (
    order_id         bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alias            text    COLLATE "C" NOT NULL,
    -- Whom it is about; empty for the whole room.
    identity         text    COLLATE "C" NOT NULL,
    -- 'check': look whether the person may be there, and with which rights. 'remove' and 'end' (the whole room): whatever is allowed now.
    action           text    COLLATE "C" NOT NULL CHECK (action IN ('check', 'remove', 'end')),
    next_ts          bigint  NOT NULL,
    attempts         int     NOT NULL DEFAULT 0,
    created_ts       bigint  NOT NULL
);
CREATE INDEX rtc_orders_next ON rtc_orders (next_ts);
CREATE UNIQUE INDEX rtc_orders_once ON rtc_orders (alias, identity, action) WHERE attempts = 0;

-- +goose StatementBegin
-- The position of the event that is the present state of a room for a type with an empty state key.
CREATE FUNCTION rtc_state(room bigint, typ text) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT s.event_position FROM room_state s WHERE s.room_nid = room AND s.type = typ AND s.state_key = '' ORDER BY s.since DESC LIMIT 1
$$;
-- +goose StatementEnd

-- +goose StatementBegin
-- What is known of the device of a user and the calls of a room, for each of the questions. A function, because planning this takes ten times as
-- long as answering it.
CREATE FUNCTION rtc_facts(room_ids text[], user_ids text[], device_ids text[], aliases text[], identities text[], now_ts bigint) RETURNS TABLE (
    room_nid bigint, organisation_id bigint, room_version text, membership text,
    known boolean, machine boolean, guest boolean, suspended boolean, locked boolean, deactivated boolean,
    guest_role text, guest_expires_ts bigint, guest_ended_ts bigint, signed_in boolean,
    create_position bigint, levels_position bigint, meeting_position bigint, in_call boolean,
    started boolean, ends_ts bigint, holds boolean, places bigint, held_until bigint, held_rights bytea
) LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN QUERY
    SELECT coalesce(r.room_nid, 0), coalesce(r.organisation_id, 0), coalesce(r.room_version, ''), coalesce(m.membership, ''),
        u.user_id IS NOT NULL, coalesce(u.machine, false), coalesce(u.guest, false), coalesce(u.suspended, false),
        coalesce(u.locked OR o.state <> 'active', false), u.deactivated_ts IS NOT NULL,
        coalesce(g.role, ''), coalesce(g.expires_ts, 0), coalesce(g.ended_ts, 0),
        EXISTS (SELECT FROM sessions s WHERE s.user_id = q.user_id AND s.device_id = q.device_id AND s.revoked_ts IS NULL),
        coalesce(rtc_state(r.room_nid, 'm.room.create'), 0), coalesce(rtc_state(r.room_nid, 'm.room.power_levels'), 0),
        coalesce(rtc_state(r.room_nid, 'org.roomline.meeting'), 0),
        EXISTS (SELECT FROM rtc_participants p JOIN rtc_rooms c ON c.alias = p.alias AND c.room_nid = r.room_nid
            WHERE p.user_id = q.user_id AND p.device_id = q.device_id AND p.joined_ts IS NOT NULL AND p.left_ts IS NULL),
        call.started_ts IS NOT NULL, coalesce(call.ends_ts, 0),
        -- Who has a place: who is there, or has a token that lets in. Whoever has left has none.
        coalesce(own.left_ts IS NULL AND (own.joined_ts IS NOT NULL OR own.token_expires_ts > now_ts), false),
        coalesce(taken.n, 0),
        CASE WHEN own.left_ts IS NULL AND own.ended_ts IS NULL THEN coalesce(own.token_expires_ts, 0) ELSE 0 END, own.rights
    FROM unnest(room_ids, user_ids, device_ids, aliases, identities) WITH ORDINALITY AS q (room_id, user_id, device_id, alias, identity, n)
    LEFT JOIN rooms r ON r.room_id = q.room_id
    LEFT JOIN memberships m ON m.room_nid = r.room_nid AND m.user_id = q.user_id
    LEFT JOIN users u ON u.user_id = q.user_id
    LEFT JOIN organisations o ON o.organisation_id = u.organisation_id
    LEFT JOIN guests g ON g.user_id = q.user_id
    LEFT JOIN rtc_rooms call ON call.alias = q.alias
    LEFT JOIN rtc_participants own ON own.alias = q.alias AND own.identity = q.identity
    LEFT JOIN (
        SELECT p.alias, count(*) AS n FROM rtc_participants p
        WHERE p.alias = ANY (aliases) AND p.left_ts IS NULL AND (p.joined_ts IS NOT NULL OR p.token_expires_ts > now_ts) GROUP BY p.alias
    ) taken ON taken.alias = q.alias
    ORDER BY q.n;
END $$;
-- +goose StatementEnd

-- What the SFU has said: the same webhook is believed once.
CREATE TABLE rtc_webhooks (
    event_id         text    COLLATE "C" PRIMARY KEY,
    ts               bigint  NOT NULL
);
CREATE INDEX rtc_webhooks_ts ON rtc_webhooks (ts);

-- How long people were in meetings, by day: the sum of all of them.
CREATE TABLE rtc_spending (
    organisation_id  bigint  NOT NULL REFERENCES organisations,
    day              date    NOT NULL,
    seconds          bigint  NOT NULL DEFAULT 0,
    PRIMARY KEY (organisation_id, day)
);

-- Meetings

-- A meeting that was arranged, or is somebody's own. Its room is an ordinary room.
CREATE TABLE meetings (
    meeting_id       text    COLLATE "C" PRIMARY KEY,
    organisation_id  bigint  NOT NULL REFERENCES organisations,
    room_nid         bigint  NOT NULL REFERENCES rooms ON DELETE CASCADE,
    organiser        text    COLLATE "C" NOT NULL REFERENCES users,
    -- 'instant': somebody met in a room. 'personal': the organiser's own room, one each.
    kind             text    COLLATE "C" NOT NULL CHECK (kind IN ('instant', 'scheduled', 'personal')),
    title            text    NOT NULL,
    -- The first time; 0 for those without.
    start_ts         bigint  NOT NULL,
    end_ts           bigint  NOT NULL,
    timezone         text    COLLATE "C" NOT NULL,
    -- An RRULE without its name, or empty.
    recurrence       text    COLLATE "C" NOT NULL DEFAULT '',
    -- iCalendar's UID and SEQUENCE.
    uid              text    COLLATE "C" NOT NULL UNIQUE,
    sequence         int     NOT NULL DEFAULT 0,
    -- The next time, or the one that is on: its start and end; null when there is none any more.
    next_start_ts    bigint,
    next_end_ts      bigint,
    created_ts       bigint  NOT NULL,
    cancelled_ts     bigint,
    -- When people were last told that it begins.
    reminded_ts      bigint,
    -- Times of the recurrence that were moved or cancelled, as JSON.
    exceptions       bytea   NOT NULL DEFAULT '[]',
    -- The link that anybody may pass on. Its secret is made of the meeting's id and the generation, so that it can be shown again.
    link_id          text    COLLATE "C" REFERENCES invitations ON DELETE SET NULL,
    link_generation  int     NOT NULL DEFAULT 0,
    -- When something is to be done about it next: people reminded, or the next time taken; null when nothing is.
    due_ts           bigint
);
CREATE UNIQUE INDEX meetings_personal ON meetings (organiser) WHERE kind = 'personal' AND cancelled_ts IS NULL;
CREATE INDEX meetings_room ON meetings (room_nid);
CREATE INDEX meetings_organiser ON meetings (organiser, created_ts);
CREATE INDEX meetings_organisation ON meetings (organisation_id, created_ts);
CREATE INDEX meetings_link ON meetings (link_id) WHERE link_id IS NOT NULL;
CREATE INDEX meetings_due ON meetings (due_ts) WHERE due_ts IS NOT NULL;

-- Who was asked to a meeting.
CREATE TABLE meeting_invitees (
    invitee_id       text    COLLATE "C" PRIMARY KEY,
    meeting_id       text    COLLATE "C" NOT NULL REFERENCES meetings ON DELETE CASCADE,
    -- A user, or else an address.
    user_id          text    COLLATE "C",
    medium           text    COLLATE "C" NOT NULL DEFAULT '' CHECK (medium IN ('', 'email', 'msisdn')),
    address          text    COLLATE "C" NOT NULL DEFAULT '',
    name             text    NOT NULL DEFAULT '',
    language         text    COLLATE "C" NOT NULL DEFAULT '',
    -- What they are in the meeting.
    role             text    COLLATE "C" NOT NULL DEFAULT 'attendee' CHECK (role IN ('attendee', 'presenter', 'moderator')),
    invitation_id    text    COLLATE "C" REFERENCES invitations ON DELETE SET NULL,
    created_ts       bigint  NOT NULL,
    -- What the invitee said: '', 'accepted', 'tentative', 'declined'.
    answer           text    COLLATE "C" NOT NULL DEFAULT '',
    answer_ts        bigint,
    removed_ts       bigint,
    CHECK ((user_id IS NULL) = (medium <> ''))
);
CREATE INDEX meeting_invitees_meeting ON meeting_invitees (meeting_id);
CREATE INDEX meeting_invitees_user ON meeting_invitees (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX meeting_invitees_invitation ON meeting_invitees (invitation_id) WHERE invitation_id IS NOT NULL;

-- Recordings that were asked for, run, or are kept.
CREATE TABLE recordings (
    recording_id     text    COLLATE "C" PRIMARY KEY,
    organisation_id  bigint  NOT NULL REFERENCES organisations,
    -- Null when the room is not there any more: then the file goes as well.
    room_nid         bigint  REFERENCES rooms ON DELETE SET NULL,
    alias            text    COLLATE "C" NOT NULL,
    started_by       text    COLLATE "C" NOT NULL,
    -- 'egress': LiveKit writes a file. Otherwise the id of the application service that records.
    recorder         text    COLLATE "C" NOT NULL,
    egress_id        text    COLLATE "C" NOT NULL DEFAULT '',
    state            text    COLLATE "C" NOT NULL CHECK (state IN ('asking', 'recording', 'stopping', 'stopped', 'failed')),
    -- Where the file is, in the store of recordings.
    object_key       text    COLLATE "C" NOT NULL DEFAULT '',
    bytes            bigint  NOT NULL DEFAULT 0,
    problem          text    COLLATE "C" NOT NULL DEFAULT '',
    created_ts       bigint  NOT NULL,
    started_ts       bigint,
    ended_ts         bigint,
    -- When the file is deleted; null when there is none.
    expires_ts       bigint
);
CREATE UNIQUE INDEX recordings_on ON recordings (room_nid) WHERE state IN ('asking', 'recording', 'stopping');
CREATE INDEX recordings_organisation ON recordings (organisation_id, created_ts);
CREATE INDEX recordings_ended ON recordings (ended_ts) WHERE ended_ts IS NOT NULL;
CREATE INDEX recordings_expiry ON recordings (expires_ts) WHERE expires_ts IS NOT NULL;

-- What those who are in a meeting said to its recording.
CREATE TABLE recording_consents (
    recording_id     text    COLLATE "C" NOT NULL REFERENCES recordings ON DELETE CASCADE,
    user_id          text    COLLATE "C" NOT NULL,
    -- 'yes' or 'no'; by clicking, or by a key of a phone.
    answer           text    COLLATE "C" NOT NULL CHECK (answer IN ('yes', 'no')),
    means            text    COLLATE "C" NOT NULL,
    ts               bigint  NOT NULL,
    PRIMARY KEY (recording_id, user_id)
);
CREATE INDEX recording_consents_user ON recording_consents (user_id);

-- Phones

-- What a caller types to be let in: one for each invitee, so that the phone has a name.
CREATE TABLE phone_pins (
    -- A keyed hash of the digits.
    pin_hash         bytea   PRIMARY KEY,
    organisation_id  bigint  NOT NULL REFERENCES organisations,
    room_nid         bigint  NOT NULL REFERENCES rooms ON DELETE CASCADE,
    -- The digits, encrypted, to show them to the invitee again.
    sealed           bytea   NOT NULL,
    -- Whose it is: an invitation's, or a user's.
    invitation_id    text    COLLATE "C" REFERENCES invitations ON DELETE CASCADE,
    user_id          text    COLLATE "C" REFERENCES users,
    created_ts       bigint  NOT NULL,
    expires_ts       bigint  NOT NULL,
    CHECK ((invitation_id IS NULL) <> (user_id IS NULL))
);
CREATE UNIQUE INDEX phone_pins_invitation ON phone_pins (room_nid, invitation_id) WHERE invitation_id IS NOT NULL;
CREATE UNIQUE INDEX phone_pins_user ON phone_pins (room_nid, user_id) WHERE user_id IS NOT NULL;
CREATE INDEX phone_pins_expiry ON phone_pins (expires_ts);

-- Calls of phones into meetings and out of them.
CREATE TABLE phone_calls (
    call_id          text    COLLATE "C" PRIMARY KEY,
    organisation_id  bigint  NOT NULL REFERENCES organisations,
    room_nid         bigint  NOT NULL REFERENCES rooms ON DELETE CASCADE,
    direction        text    COLLATE "C" NOT NULL CHECK (direction IN ('in', 'out')),
    trunk            text    COLLATE "C" NOT NULL,
    -- The other end's number, E.164 with +; empty if it is withheld.
    number           text    COLLATE "C" NOT NULL,
    name             text    NOT NULL DEFAULT '',
    -- The ghost that is in the room for the phone, and its device.
    user_id          text    COLLATE "C" NOT NULL DEFAULT '',
    device_id        text    COLLATE "C" NOT NULL DEFAULT '',
    identity         text    COLLATE "C" NOT NULL DEFAULT '',
    -- Who asked for it: the member who has a number called.
    requested_by     text    COLLATE "C" NOT NULL DEFAULT '',
    invitation_id    text    COLLATE "C" REFERENCES invitations ON DELETE SET NULL,
    language         text    COLLATE "C" NOT NULL DEFAULT '',
    state            text    COLLATE "C" NOT NULL CHECK (state IN ('queued', 'dialling', 'ringing', 'waiting', 'answered', 'ended', 'failed')),
    -- Why it ended, in a word.
    cause            text    COLLATE "C" NOT NULL DEFAULT '',
    -- What it may last at most.
    seconds_allowed  int     NOT NULL DEFAULT 0,
    -- What the bridge calls it, where that is not call_id.
    reference        text    COLLATE "C" NOT NULL DEFAULT '',
    -- The bridge that has it, until lease_ts.
    lease            text    COLLATE "C",
    lease_ts         bigint,
    -- Somebody wants it to end.
    hangup_ts        bigint,
    created_ts       bigint  NOT NULL,
    answered_ts      bigint,
    ended_ts         bigint,
    -- In millionths of the currency of the configuration.
    cost             bigint  NOT NULL DEFAULT 0
);
CREATE INDEX phone_calls_room ON phone_calls (room_nid, created_ts);
CREATE INDEX phone_calls_organisation ON phone_calls (organisation_id, created_ts);
CREATE INDEX phone_calls_on ON phone_calls (lease_ts) WHERE state IN ('queued', 'dialling', 'ringing', 'waiting', 'answered');
CREATE INDEX phone_calls_user ON phone_calls (user_id) WHERE user_id <> '';
CREATE INDEX phone_calls_own ON phone_calls (requested_by) WHERE requested_by <> '' AND state = 'answered';
CREATE INDEX phone_calls_number ON phone_calls (number, created_ts) WHERE direction = 'out';
-- Those that are over, and whose ghost has still to leave.
CREATE INDEX phone_calls_left ON phone_calls (ended_ts) WHERE identity <> '' AND state IN ('ended', 'failed');

-- What calls have cost, and how long they were, by day.
CREATE TABLE phone_spending (
    organisation_id  bigint  NOT NULL REFERENCES organisations,
    day              date    NOT NULL,
    seconds          bigint  NOT NULL DEFAULT 0,
    cost             bigint  NOT NULL DEFAULT 0,
    PRIMARY KEY (organisation_id, day)
);

-- A meeting is its organiser's organisation's, and so is a number that lets somebody in.
ALTER TABLE meetings ADD CONSTRAINT meetings_wall
    FOREIGN KEY (organiser, organisation_id) REFERENCES users (user_id, organisation_id) ON UPDATE CASCADE;
ALTER TABLE phone_pins ADD CONSTRAINT phone_pins_wall
    FOREIGN KEY (user_id, organisation_id) REFERENCES users (user_id, organisation_id) ON UPDATE CASCADE;

-- A lobby is a knock, and guests knock on the room of their invitation.
-- +goose StatementBegin
-- keep_wall refuses members who came through the wall: who is not inside of a room joins it from an invite, and does not knock. Users of
-- other servers are those servers' business. A visitor, whom nobody has invited, joins rooms of the own organisation that let guests in. A
-- guest whose invitation has been used and not revoked knocks on the room that it is to: where a meeting has a lobby.
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
        AND NOT (new_rows.membership = 'knock' AND users.guest
            AND EXISTS (
                SELECT FROM guests g JOIN invitations i ON i.invitation_id = g.invitation_id
                WHERE g.user_id = users.user_id AND g.ended_ts IS NULL
                    AND i.room_nid = new_rows.room_nid AND i.uses > 0 AND i.ended IN ('', 'expired')))
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'wall: % has not been invited to % of another organisation', r.user_id, r.room_id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END
$$;
-- +goose StatementEnd
