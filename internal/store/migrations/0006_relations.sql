-- +goose Up

-- Which event relates to which: content.m.relates_to of the events that have one, with a rel_type. The row of a redacted event is
-- gone with its content. The event that it relates to may be unknown, or redacted: its children stay. Edits that can never
-- be valid (by a state event, or without m.new_content) have no row.
CREATE TABLE relations (
    room_nid          bigint NOT NULL,
    relates_to        text   COLLATE "C" NOT NULL,
    rel_type          text   COLLATE "C" NOT NULL,
    -- The position, id, type, sender and time of the event that relates to the other.
    position          bigint NOT NULL,
    event_id          text   COLLATE "C" NOT NULL,
    type              text   COLLATE "C" NOT NULL,
    sender            text   COLLATE "C" NOT NULL,
    origin_server_ts  bigint NOT NULL,
    -- The key of an annotation.
    key               text   COLLATE "C",
    PRIMARY KEY (room_nid, relates_to, rel_type, position)
);
CREATE UNIQUE INDEX relations_position ON relations (position);
-- Who took part in a thread.
CREATE INDEX relations_thread_sender ON relations (room_nid, relates_to, sender) WHERE rel_type = 'm.thread';

-- The threads of a room by their latest reply. Kept by journal_append, so that neither the list nor a count reads every reply.
CREATE TABLE threads (
    room_nid       bigint NOT NULL,
    root_event_id  text   COLLATE "C" NOT NULL,
    -- Position of the latest reply, and how many there are.
    latest         bigint NOT NULL,
    replies        bigint NOT NULL,
    PRIMARY KEY (room_nid, root_event_id)
);
CREATE INDEX threads_latest ON threads (room_nid, latest);

-- Events that clients are given while they are sticky, wherever they stand in the timeline (MSC4354).
CREATE TABLE sticky_events (
    position      bigint PRIMARY KEY,
    room_nid      bigint NOT NULL,
    event_id      text   COLLATE "C" NOT NULL,
    sender        text   COLLATE "C" NOT NULL,
    -- When it stops, in ms.
    sticky_until  bigint NOT NULL
);
CREATE INDEX sticky_events_room ON sticky_events (room_nid, position);
CREATE INDEX sticky_events_until ON sticky_events (sticky_until);

-- The event nearest to a moment (timestamp_to_event).
CREATE INDEX events_room_ts ON events (room_nid, origin_server_ts, position);

-- What can be searched for: the words of messages, room names and topics, by the position of their event; of an edited message the
-- words of its latest edit. Filled by a follower of the journal (clientapi/search). Encrypted rooms have none.
CREATE TABLE search_documents (
    position  bigint   PRIMARY KEY,
    room_nid  bigint   NOT NULL,
    sender    text     COLLATE "C" NOT NULL,
    -- Which key was indexed: search.go.
    kind      smallint NOT NULL,
    has_url   boolean  NOT NULL,
    -- Position of the edit whose words these are, or null.
    edit      bigint,
    -- And four lexemes that no word can be: the room, its organisation, the stretch of positions twice. See search.go.
    words     tsvector NOT NULL
);
-- The list of what is not yet sorted in is read by every search, so it is kept short.
CREATE INDEX search_documents_words ON search_documents USING gin (words) WITH (gin_pending_list_limit = 512);
CREATE INDEX search_documents_edit ON search_documents (edit) WHERE edit IS NOT NULL;

-- Relations of the events that are there already. Text that PostgreSQL's JSON does not take has none.
-- +goose StatementBegin
DO $$
DECLARE
    e       record;
    content jsonb;
    rel     jsonb;
BEGIN
    FOR e IN
        SELECT room_nid, position, event_id, type, state_key, sender, origin_server_ts, json FROM events
        WHERE redacted_by IS NULL AND position('"m.relates_to":{'::bytea in json) > 0
    LOOP
        BEGIN
            content := convert_from(e.json, 'UTF8')::jsonb -> 'content';
        EXCEPTION WHEN data_exception THEN
            CONTINUE;
        END;
        rel := content -> 'm.relates_to';
        CONTINUE WHEN jsonb_typeof(rel -> 'rel_type') IS DISTINCT FROM 'string'
            OR jsonb_typeof(rel -> 'event_id') IS DISTINCT FROM 'string'
            OR octet_length(rel ->> 'rel_type') NOT BETWEEN 1 AND 255
            OR octet_length(rel ->> 'event_id') NOT BETWEEN 2 AND 255 OR rel ->> 'event_id' NOT LIKE '$%'
            OR rel ->> 'rel_type' = 'm.replace' AND (e.state_key IS NOT NULL
                OR e.type <> 'm.room.encrypted' AND jsonb_typeof(content -> 'm.new_content') IS DISTINCT FROM 'object');
        INSERT INTO relations (room_nid, relates_to, rel_type, position, event_id, type, sender, origin_server_ts, key)
        VALUES (e.room_nid, rel ->> 'event_id', rel ->> 'rel_type', e.position, e.event_id, e.type, e.sender, e.origin_server_ts,
            CASE WHEN rel ->> 'rel_type' = 'm.annotation' AND jsonb_typeof(rel -> 'key') = 'string'
                AND octet_length(rel ->> 'key') <= 255 THEN rel ->> 'key' END);
    END LOOP;
    INSERT INTO threads (room_nid, root_event_id, latest, replies)
    SELECT room_nid, relates_to, max(position), count(*) FROM relations WHERE rel_type = 'm.thread' GROUP BY 1, 2;
END
$$;
-- +goose StatementEnd

DROP FUNCTION journal_append(
    bigint[], text[], text[], bigint[], text[], text[], bigint[],
    int[], bigint[], text[], text[], text[], text[], bigint[],
    bigint[], text[], text[], text[], text[], bytea[], bytea[],
    int[], text[], text[], text[], text[], text[], bigint,
    int[], smallint[], bigint[], text[], text[], bytea[], bigint[],
    int, boolean, boolean, boolean);

-- What is new in it: l_* and s_*.
-- +goose StatementBegin
CREATE FUNCTION journal_append(
    r_nid bigint[], r_head text[], r_last text[], r_depth bigint[], r_id text[], r_version text[], r_org bigint[],
    e_unit int[], e_room bigint[], e_id text[], e_type text[], e_state_key text[], e_sender text[], e_ts bigint[],
    e_depth bigint[], e_device text[], e_txn text[], e_membership text[], e_redacts text[], e_redacted_json bytea[], e_json bytea[],
    t_unit int[], t_user text[], t_device text[], t_scope text[], t_txn text[], t_event text[], t_now bigint,
    u_unit int[], u_kind smallint[], u_room bigint[], u_user text[], u_key text[], u_body bytea[], u_replaces bigint[],
    l_event int[], l_type text[], l_to text[], l_key text[], s_event int[], s_until bigint[],
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
    r         record;
BEGIN
    IF n_events > 0 THEN
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

        UPDATE rooms SET head_event_id = x.last, extremities = ARRAY[x.last], depth = x.depth
        FROM unnest(r_nid, r_last, r_depth) AS x (nid, last, depth)
        WHERE rooms.room_nid = x.nid AND (bad_rooms IS NULL OR x.nid <> ALL (bad_rooms));

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

        IF has_redactions THEN
            WITH redacted AS (
                UPDATE events SET json = x.json, redacted_by = x.id
                FROM unnest(e_unit, e_room, e_id, e_redacts, e_redacted_json) AS x (unit, room, id, redacts, json)
                WHERE x.redacts IS NOT NULL AND (outcomes IS NULL OR outcomes[x.unit] = 'ok')
                    AND events.event_id = x.redacts AND events.room_nid = x.room AND events.redacted_by IS NULL
                RETURNING events.position
            )
            SELECT array_agg(redacted.position) INTO gone FROM redacted;
            -- What a redacted event related to, and that it was sticky, went with its content.
            DELETE FROM sticky_events WHERE position = ANY (gone);
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
