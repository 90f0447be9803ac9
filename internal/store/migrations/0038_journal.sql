-- +goose Up

-- The journal

-- +goose StatementBegin
-- move_heads moves the heads of those rooms that are where they are expected, in the order of room_nid, and says how many they were. The
-- settings leave no plan that has another order: by the keys of the arrays, or by the key of the table.
CREATE FUNCTION move_heads(r_nid bigint[], r_head text[], r_last text[], r_depth bigint[]) RETURNS int LANGUAGE plpgsql
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off
AS $$
DECLARE
    n int;
BEGIN
    UPDATE rooms SET head_event_id = x.last, extremities = ARRAY[x.last], depth = x.depth
    FROM (SELECT * FROM unnest(r_nid, r_head, r_last, r_depth) AS y (nid, head, last, depth) ORDER BY y.nid) AS x
    WHERE rooms.room_nid = x.nid AND rooms.head_event_id = x.head;
    GET DIAGNOSTICS n = ROW_COUNT;
    RETURN n;
END
$$;
-- +goose StatementEnd

-- +goose StatementBegin
-- journal_append commits one batch: new rooms, events, redactions, transactions and updates, in one round trip.
--
-- The batch is made of units; a unit is the events of one room that belong together, or updates, or both. A unit is done
-- whole or not at all. For each room of the batch (r_*) the caller names the head that its first unit was built on, and the
-- head that its last unit makes. Positions follow from base: first the events in their order, then the updates in theirs.
-- outcomes is null when every unit was stored, which is nearly always. Otherwise it says of each unit: 'ok'; 'done' when it had
-- been stored before, its first event at stored_at (the batch was sent again after a lost answer); 'txn' when its
-- transaction made the event known before; 'moved' when the room's head is another one, or the value that an update
-- replaces (u_replaces), so that the unit has to be built again.
--
-- Facts that few events have come in arrays of their own: relations (l_*), stickiness (s_*) and the media that an event names (m_*);
-- l_event, s_event and m_event are indexes into the events. A batch without them gives null.
--
-- Locks are taken in the order rooms (by room_nid), clock: two batches can't deadlock. The clock comes as late as it can,
-- because it is held until the commit.
CREATE OR REPLACE FUNCTION journal_append(
    r_nid bigint[], r_head text[], r_last text[], r_depth bigint[], r_id text[], r_version text[], r_org bigint[],
    e_unit int[], e_room bigint[], e_id text[], e_type text[], e_state_key text[], e_sender text[], e_ts bigint[],
    e_depth bigint[], e_device text[], e_txn text[], e_membership text[], e_redacts text[], e_redacted_json bytea[], e_json bytea[],
    t_unit int[], t_user text[], t_device text[], t_scope text[], t_txn text[], t_event text[], t_now bigint,
    u_unit int[], u_kind smallint[], u_room bigint[], u_user text[], u_key text[], u_body bytea[], u_replaces bigint[],
    l_event int[], l_type text[], l_to text[], l_key text[], s_event int[], s_until bigint[], m_event int[], m_server text[], m_id text[], m_kind text[],
    units int, has_new boolean, has_state boolean, has_redactions boolean,
    OUT base bigint, OUT outcomes text[], OUT known text[], OUT stored_at bigint[]
) LANGUAGE plpgsql AS $$
DECLARE
    bad_rooms bigint[];  -- rooms in which no unit of the batch can be stored
    n_events  int := coalesce(array_length(e_id, 1), 0);
    n_updates int := coalesce(array_length(u_kind, 1), 0);
    n_txns    int := coalesce(array_length(t_unit, 1), 0);
    n         int := 0;
    gone      bigint[];  -- positions of the events that the batch redacts
    as_expected boolean := false;  -- heads and transactions are written
    r         record;
BEGIN
    -- Nearly always every room's head is the expected one and every transaction is new: then it is enough to write. Otherwise what was
    -- written is taken back, and looked at below.
    IF n_events > 0 AND NOT has_new THEN
        BEGIN
            IF move_heads(r_nid, r_head, r_last, r_depth) < array_length(r_nid, 1) THEN
                RAISE SQLSTATE 'RL001';
            END IF;
            IF n_txns > 0 THEN
                INSERT INTO transactions (user_id, device_id, scope, txn_id, event_id, created_ts)
                SELECT x.user_id, x.device_id, x.scope, x.txn_id, x.event_id, t_now
                FROM unnest(t_user, t_device, t_scope, t_txn, t_event) AS x (user_id, device_id, scope, txn_id, event_id);
            END IF;
            as_expected := true;
        EXCEPTION WHEN SQLSTATE 'RL001' OR unique_violation THEN
            NULL;
        END;
    END IF;

    IF n_events > 0 AND NOT as_expected THEN
        -- A new room (r_id given) has no row to lock; its unique room_id makes a second attempt wait for the first.
        IF has_new THEN
            INSERT INTO rooms (room_nid, room_id, room_version, organisation_id, head_event_id, extremities, depth)
            SELECT x.nid, x.id, x.version, x.org, x.head, '{}', 0
            FROM unnest(r_nid, r_head, r_id, r_version, r_org) AS x (nid, head, id, version, org)
            WHERE x.id IS NOT NULL
            ORDER BY x.nid
            ON CONFLICT DO NOTHING;
        END IF;
        SELECT array_agg(l.nid) FILTER (WHERE l.is <> l.expected) INTO bad_rooms
        FROM (
            SELECT rooms.room_nid AS nid, rooms.head_event_id AS is, x.head AS expected
            FROM unnest(r_nid, r_head) AS x (nid, head) JOIN rooms ON rooms.room_nid = x.nid
            ORDER BY rooms.room_nid
            FOR UPDATE OF rooms
        ) l;
        IF has_new THEN
            -- The room id exists under another number: this is not the room that begins.
            SELECT bad_rooms || array_agg(x.nid) INTO bad_rooms
            FROM unnest(r_nid) AS x (nid) WHERE NOT EXISTS (SELECT FROM rooms WHERE rooms.room_nid = x.nid);
        END IF;
        IF n_txns > 0 THEN
            INSERT INTO transactions (user_id, device_id, scope, txn_id, event_id, created_ts)
            SELECT x.user_id, x.device_id, x.scope, x.txn_id, x.event_id, t_now
            FROM unnest(t_user, t_device, t_scope, t_txn, t_event) AS x (user_id, device_id, scope, txn_id, event_id)
            ON CONFLICT DO NOTHING;
            GET DIAGNOSTICS n = ROW_COUNT;
        END IF;
        IF bad_rooms IS NOT NULL OR n < n_txns THEN
            outcomes := array_fill('ok'::text, ARRAY[units]);
            known := array_fill(NULL::text, ARRAY[units]);
            stored_at := array_fill(0::bigint, ARRAY[units]);
            FOR r IN
                SELECT x.unit, min(events.position) AS first
                FROM unnest(e_unit, e_id) AS x (unit, id) JOIN events ON events.event_id = x.id
                GROUP BY x.unit
            LOOP
                outcomes[r.unit] := 'done';
                stored_at[r.unit] := r.first;
            END LOOP;
            -- A transaction that another unit of this batch has just claimed made no event yet: its unit is built again.
            FOR r IN
                SELECT x.unit, (SELECT events.event_id FROM events WHERE events.event_id = tr.event_id) AS event_id, e.room
                FROM unnest(t_unit, t_user, t_device, t_scope, t_txn, t_event) AS x (unit, user_id, device_id, scope, txn_id, event)
                JOIN transactions tr USING (user_id, device_id, scope, txn_id)
                JOIN LATERAL (
                    SELECT y.room FROM unnest(e_unit, e_room) AS y (unit, room) WHERE y.unit = x.unit LIMIT 1
                ) e ON true
                WHERE tr.event_id <> x.event
            LOOP
                bad_rooms := bad_rooms || r.room;
                IF outcomes[r.unit] = 'ok' AND r.event_id IS NOT NULL THEN
                    outcomes[r.unit] := 'txn';
                    known[r.unit] := r.event_id;
                END IF;
            END LOOP;
            FOR r IN
                SELECT DISTINCT x.unit FROM unnest(e_unit, e_room) AS x (unit, room) WHERE x.room = ANY (bad_rooms)
            LOOP
                IF outcomes[r.unit] = 'ok' THEN
                    outcomes[r.unit] := 'moved';
                END IF;
            END LOOP;
            DELETE FROM transactions tr
            USING unnest(t_unit, t_user, t_device, t_scope, t_txn, t_event) AS x (unit, user_id, device_id, scope, txn_id, event)
            WHERE tr.user_id = x.user_id AND tr.device_id = x.device_id AND tr.scope = x.scope AND tr.txn_id = x.txn_id
                AND tr.event_id = x.event AND outcomes[x.unit] = 'moved';
        END IF;
    END IF;

    UPDATE clock SET position = clock.position + n_events + n_updates RETURNING clock.position INTO base;
    base := base - n_events - n_updates;

    -- u_replaces names the position of the value that an update was made from: 0 is any, -1 is none. Whoever writes to
    -- updates holds the clock, so what is compared here can't change any more.
    IF n_updates > 0 AND 0 <> ANY (u_replaces) THEN
        FOR r IN
            WITH x AS (
                SELECT unnest.unit, kind, room, user_id, key, replaces, ord
                FROM unnest(u_unit, u_kind, u_room, u_user, u_key, u_replaces)
                    WITH ORDINALITY AS unnest (unit, kind, room, user_id, key, replaces, ord)
            )
            SELECT x.unit FROM x
            LEFT JOIN updates u ON u.kind = x.kind AND u.room_nid = x.room AND u.user_id = x.user_id AND u.key = x.key
            WHERE x.replaces <> 0 AND coalesce(u.position, -1) <> x.replaces
            UNION
            SELECT later.unit FROM x AS later JOIN x AS earlier USING (kind, room, user_id, key)
            WHERE later.replaces <> 0 AND earlier.ord < later.ord
        LOOP
            outcomes := coalesce(outcomes, array_fill('ok'::text, ARRAY[units]));
            IF outcomes[r.unit] = 'ok' THEN
                outcomes[r.unit] := 'moved';
            END IF;
        END LOOP;
    END IF;

    IF n_events > 0 THEN
        INSERT INTO events (position, room_nid, event_id, type, state_key, sender, origin_server_ts, depth,
                            txn_device_id, txn_id, json)
        SELECT base + x.ord, x.room, x.id, x.type, x.state_key, x.sender, x.ts, x.depth, x.device, x.txn, x.json
        FROM unnest(e_unit, e_room, e_id, e_type, e_state_key, e_sender, e_ts, e_depth, e_device, e_txn, e_json)
            WITH ORDINALITY AS x (unit, room, id, type, state_key, sender, ts, depth, device, txn, json, ord)
        WHERE outcomes IS NULL OR outcomes[x.unit] = 'ok';

        IF NOT as_expected THEN
            UPDATE rooms SET head_event_id = x.last, extremities = ARRAY[x.last], depth = x.depth
            FROM unnest(r_nid, r_last, r_depth) AS x (nid, last, depth)
            WHERE rooms.room_nid = x.nid AND (bad_rooms IS NULL OR x.nid <> ALL (bad_rooms));
        END IF;

        IF has_state THEN
            WITH new AS (
                SELECT x.room, x.type, x.state_key, base + x.ord AS since, x.id, x.membership,
                       coalesce(lead(base + x.ord) OVER w, 9223372036854775807) AS until,
                       row_number() OVER w = 1 AS first
                FROM unnest(e_unit, e_room, e_id, e_type, e_state_key, e_membership)
                    WITH ORDINALITY AS x (unit, room, id, type, state_key, membership, ord)
                WHERE x.state_key IS NOT NULL AND (outcomes IS NULL OR outcomes[x.unit] = 'ok')
                WINDOW w AS (PARTITION BY x.room, x.type, x.state_key ORDER BY x.ord)
            ), ended AS (
                UPDATE room_state s SET until = new.since
                FROM new
                WHERE new.first AND s.room_nid = new.room AND s.type = new.type AND s.state_key = new.state_key
                    AND s.until = 9223372036854775807
            )
            INSERT INTO room_state (room_nid, type, state_key, since, until, event_position, event_id, membership)
            SELECT new.room, new.type, new.state_key, new.since, new.until, new.since, new.id, new.membership FROM new;

            INSERT INTO memberships (user_id, room_nid, membership, sender, position)
            SELECT DISTINCT ON (x.state_key, x.room) x.state_key, x.room, x.membership, x.sender, base + x.ord
            FROM unnest(e_unit, e_room, e_state_key, e_membership, e_sender)
                WITH ORDINALITY AS x (unit, room, state_key, membership, sender, ord)
            WHERE x.membership IS NOT NULL AND (outcomes IS NULL OR outcomes[x.unit] = 'ok')
            ORDER BY x.state_key, x.room, x.ord DESC
            ON CONFLICT (user_id, room_nid) DO UPDATE
            SET membership = excluded.membership, sender = excluded.sender, position = excluded.position, forgotten = false;
        END IF;

        IF l_event IS NOT NULL THEN
            INSERT INTO relations (room_nid, relates_to, rel_type, position, event_id, type, sender, origin_server_ts, key)
            SELECT e_room[x.e], x.relates_to, x.rel_type, base + x.e, e_id[x.e], e_type[x.e], e_sender[x.e], e_ts[x.e], x.key
            FROM unnest(l_event, l_type, l_to, l_key) AS x (e, rel_type, relates_to, key)
            WHERE outcomes IS NULL OR outcomes[e_unit[x.e]] = 'ok';

            IF 'm.thread' = ANY (l_type) THEN
                INSERT INTO threads (room_nid, root_event_id, latest, replies)
                SELECT e_room[x.e], x.relates_to, max(base + x.e), count(*)
                FROM unnest(l_event, l_type, l_to) AS x (e, rel_type, relates_to)
                WHERE x.rel_type = 'm.thread' AND (outcomes IS NULL OR outcomes[e_unit[x.e]] = 'ok')
                GROUP BY 1, 2
                ON CONFLICT (room_nid, root_event_id) DO UPDATE
                SET latest = excluded.latest, replies = threads.replies + excluded.replies;
            END IF;
        END IF;

        IF s_event IS NOT NULL THEN
            INSERT INTO sticky_events (room_nid, position, event_id, sender, sticky_until)
            SELECT e_room[x.e], base + x.e, e_id[x.e], e_sender[x.e], x.until
            FROM unnest(s_event, s_until) AS x (e, until)
            WHERE outcomes IS NULL OR outcomes[e_unit[x.e]] = 'ok';
        END IF;

        IF m_event IS NOT NULL THEN
            PERFORM media_link(e_room[x.e], base + x.e, e_sender[x.e], x.server, x.id, x.kind)
            FROM unnest(m_event, m_server, m_id, m_kind) AS x (e, server, id, kind)
            WHERE outcomes IS NULL OR outcomes[e_unit[x.e]] = 'ok';
        END IF;

        IF has_redactions THEN
            WITH redacted AS (
                UPDATE events SET json = x.json, redacted_by = x.id
                FROM unnest(e_unit, e_room, e_id, e_redacts, e_redacted_json) AS x (unit, room, id, redacts, json)
                WHERE x.redacts IS NOT NULL AND (outcomes IS NULL OR outcomes[x.unit] = 'ok')
                    AND events.event_id = x.redacts AND events.room_nid = x.room AND events.redacted_by IS NULL
                RETURNING events.position
            )
            SELECT array_agg(redacted.position) INTO gone FROM redacted;
            -- What a redacted event related to, that it was sticky, and the media that it named, went with its content.
            DELETE FROM sticky_events WHERE position = ANY (gone);
            WITH lost AS (
                DELETE FROM media_links WHERE position = ANY (gone) RETURNING server_name, media_id, position
            )
            INSERT INTO media_unlinked (server_name, media_id, event_id, redacted_by, unlinked_ts)
            SELECT lost.server_name, lost.media_id, events.event_id, events.redacted_by, t_now
            FROM lost JOIN events USING (position)
            ON CONFLICT DO NOTHING;
            FOR r IN DELETE FROM relations WHERE position = ANY (gone) RETURNING room_nid, relates_to, rel_type LOOP
                IF r.rel_type = 'm.thread' THEN
                    UPDATE threads SET replies = replies - 1, latest = coalesce((
                        SELECT max(relations.position) FROM relations
                        WHERE relations.room_nid = r.room_nid AND relations.relates_to = r.relates_to AND relations.rel_type = 'm.thread'), 0)
                    WHERE threads.room_nid = r.room_nid AND threads.root_event_id = r.relates_to;
                    DELETE FROM threads WHERE room_nid = r.room_nid AND root_event_id = r.relates_to AND replies <= 0;
                END IF;
            END LOOP;
        END IF;
    END IF;

    IF n_updates > 0 THEN
        INSERT INTO updates (kind, room_nid, user_id, key, position, body)
        SELECT DISTINCT ON (x.kind, x.room, x.user_id, x.key)
               x.kind, x.room, x.user_id, x.key, base + n_events + x.ord, x.body
        FROM unnest(u_unit, u_kind, u_room, u_user, u_key, u_body)
            WITH ORDINALITY AS x (unit, kind, room, user_id, key, body, ord)
        WHERE outcomes IS NULL OR outcomes[x.unit] = 'ok'
        ORDER BY x.kind, x.room, x.user_id, x.key, x.ord DESC
        ON CONFLICT (kind, room_nid, user_id, key) DO UPDATE SET position = excluded.position, body = excluded.body;
    END IF;
END
$$;
-- +goose StatementEnd

DROP FUNCTION journal_append_message(bigint, text, bigint, text, text, text, bigint, text, text, bytea, text, text, bigint);

-- +goose StatementBegin
-- journal_append_message is journal_append for the commonest batch: one message of one device's transaction, which relates to nothing.
-- It returns base, or null when something is not as it should be, the room's head or the transaction: nothing was changed then, and
-- journal_append has to look at it. Locks are taken in the same order.
CREATE FUNCTION journal_append_message(
    of_room bigint, head text, of_depth bigint, id text, of_type text, of_sender text, ts bigint, of_device text, txn text,
    content bytea, of_user text, of_scope text, t_now bigint
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    base bigint;
BEGIN
    UPDATE rooms SET head_event_id = id, extremities = ARRAY[id], depth = of_depth
    WHERE rooms.room_nid = of_room AND rooms.head_event_id = head;
    IF FOUND THEN
        INSERT INTO transactions (user_id, device_id, scope, txn_id, event_id, created_ts)
        VALUES (of_user, of_device, of_scope, txn, id, t_now);
        UPDATE clock SET position = clock.position + 1 RETURNING clock.position - 1 INTO base;
        INSERT INTO events (position, room_nid, event_id, type, sender, origin_server_ts, depth, txn_device_id, txn_id, json)
        VALUES (base + 1, of_room, id, of_type, of_sender, ts, of_depth, of_device, txn, content);
    END IF;
    RETURN base;
EXCEPTION WHEN unique_violation THEN
    RETURN NULL;
END
$$;
-- +goose StatementEnd

-- A check is read from the catalogue and prepared again for every statement that updates the row, which is every batch.
ALTER TABLE clock DROP CONSTRAINT clock_one_check;
