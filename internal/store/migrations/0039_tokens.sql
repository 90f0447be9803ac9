-- +goose Up

-- Tokens for calls are minted without planning anything, and without counting more than is asked.
CREATE INDEX rtc_participants_present ON rtc_participants (user_id, device_id) WHERE joined_ts IS NOT NULL AND left_ts IS NULL;
DROP FUNCTION rtc_facts(text[], text[], text[], text[], text[], bigint);
DROP FUNCTION rtc_state(bigint, text);
-- +goose StatementBegin
-- What is known of the device of a user and the calls of a room, for each of the questions. A function, because planning this takes ten times as
-- long as answering it.
-- Places are counted to no more than most: in a call of thousands that would take longer than all else.
CREATE FUNCTION rtc_facts(room_ids text[], user_ids text[], device_ids text[], aliases text[], identities text[], now_ts bigint, most bigint) RETURNS TABLE (
    room_nid bigint, organisation_id bigint, room_version text, membership text,
    known boolean, machine boolean, guest boolean, suspended boolean, locked boolean, deactivated boolean,
    guest_role text, guest_expires_ts bigint, guest_ended_ts bigint, signed_in boolean,
    create_position bigint, levels_position bigint, meeting_position bigint, in_call boolean,
    started boolean, ends_ts bigint, holds boolean, places bigint, held_until bigint, held_rights bytea, there boolean
) LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN QUERY
    SELECT coalesce(r.room_nid, 0), coalesce(r.organisation_id, 0), coalesce(r.room_version, ''), coalesce(m.membership, ''),
        u.user_id IS NOT NULL, coalesce(u.machine, false), coalesce(u.guest, false), coalesce(u.suspended, false),
        coalesce(u.locked OR o.state <> 'active', false), u.deactivated_ts IS NOT NULL,
        coalesce(g.role, ''), coalesce(g.expires_ts, 0), coalesce(g.ended_ts, 0),
        EXISTS (SELECT FROM sessions s WHERE s.user_id = q.user_id AND s.device_id = q.device_id AND s.revoked_ts IS NULL),
        coalesce((SELECT s.event_position FROM room_state s WHERE s.room_nid = r.room_nid AND s.type = 'm.room.create' AND s.state_key = ''
            ORDER BY s.since DESC LIMIT 1), 0),
        coalesce((SELECT s.event_position FROM room_state s WHERE s.room_nid = r.room_nid AND s.type = 'm.room.power_levels' AND s.state_key = ''
            ORDER BY s.since DESC LIMIT 1), 0),
        coalesce((SELECT s.event_position FROM room_state s WHERE s.room_nid = r.room_nid AND s.type = 'org.roomline.meeting' AND s.state_key = ''
            ORDER BY s.since DESC LIMIT 1), 0),
        EXISTS (SELECT FROM rtc_participants p JOIN rtc_rooms c ON c.alias = p.alias AND c.room_nid = r.room_nid
            WHERE p.user_id = q.user_id AND p.device_id = q.device_id AND p.joined_ts IS NOT NULL AND p.left_ts IS NULL),
        call.started_ts IS NOT NULL, coalesce(call.ends_ts, 0),
        -- Who has a place: who is there, or has a token that lets in. Whoever has left has none.
        coalesce(own.left_ts IS NULL AND (own.joined_ts IS NOT NULL OR own.token_expires_ts > now_ts), false),
        coalesce(taken.n, 0),
        CASE WHEN own.left_ts IS NULL AND own.ended_ts IS NULL THEN coalesce(own.token_expires_ts, 0) ELSE 0 END, own.rights,
        call.alias IS NOT NULL
    FROM unnest(room_ids, user_ids, device_ids, aliases, identities) WITH ORDINALITY AS q (room_id, user_id, device_id, alias, identity, n)
    LEFT JOIN rooms r ON r.room_id = q.room_id
    LEFT JOIN memberships m ON m.room_nid = r.room_nid AND m.user_id = q.user_id
    LEFT JOIN users u ON u.user_id = q.user_id
    LEFT JOIN organisations o ON o.organisation_id = u.organisation_id
    LEFT JOIN guests g ON g.user_id = q.user_id
    LEFT JOIN rtc_rooms call ON call.alias = q.alias
    LEFT JOIN rtc_participants own ON own.alias = q.alias AND own.identity = q.identity
    LEFT JOIN (
        SELECT x.alias, (SELECT count(*) FROM (
            SELECT FROM rtc_participants p
            WHERE p.alias = x.alias AND p.left_ts IS NULL AND (p.joined_ts IS NOT NULL OR p.token_expires_ts > now_ts) LIMIT most
        ) one) AS n FROM (SELECT DISTINCT unnest(aliases)) AS x (alias)
    ) taken ON taken.alias = q.alias
    ORDER BY q.n;
END $$;
-- +goose StatementEnd
-- +goose StatementBegin

-- rtc_take is rtc_facts for those who are given places by what it says: nobody else is in these rooms until the transaction ends. Rooms are locked in
-- the order of their aliases.
CREATE FUNCTION rtc_take(room_ids text[], user_ids text[], device_ids text[], aliases text[], identities text[], now_ts bigint, most bigint) RETURNS TABLE (
    room_nid bigint, organisation_id bigint, room_version text, membership text,
    known boolean, machine boolean, guest boolean, suspended boolean, locked boolean, deactivated boolean,
    guest_role text, guest_expires_ts bigint, guest_ended_ts bigint, signed_in boolean,
    create_position bigint, levels_position bigint, meeting_position bigint, in_call boolean,
    started boolean, ends_ts bigint, holds boolean, places bigint, held_until bigint, held_rights bytea, there boolean
) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM rtc_rooms c WHERE c.alias = ANY (aliases) ORDER BY c.alias FOR NO KEY UPDATE;
    RETURN QUERY SELECT * FROM rtc_facts(room_ids, user_ids, device_ids, aliases, identities, now_ts, most);
END $$;
-- +goose StatementEnd
