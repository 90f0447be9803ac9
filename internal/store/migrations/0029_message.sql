-- +goose Up

-- The journal

-- +goose StatementBegin
-- journal_append_message is journal_append for the commonest batch: one message of one device's transaction, which relates to nothing.
-- What is not as it should be, the room's head or the transaction, is left to journal_append; nothing was changed by then. Locks
-- are taken in the same order. A transaction that another process stores meanwhile moves the head of its room, so that it is
-- enough to look for it once.
CREATE OR REPLACE FUNCTION journal_append_message(
    of_room bigint, head text, of_depth bigint, id text, of_type text, of_sender text, ts bigint, of_device text, txn text,
    content bytea, of_user text, of_scope text, t_now bigint,
    OUT base bigint, OUT outcomes text[], OUT known text[], OUT stored_at bigint[]
) LANGUAGE plpgsql AS $$
BEGIN
    UPDATE rooms SET head_event_id = id, extremities = ARRAY[id], depth = of_depth
    WHERE rooms.room_nid = of_room AND rooms.head_event_id = head AND NOT EXISTS (
        SELECT FROM transactions t WHERE t.user_id = of_user AND t.device_id = of_device AND t.scope = of_scope AND t.txn_id = txn);
    IF FOUND THEN
        INSERT INTO transactions (user_id, device_id, scope, txn_id, event_id, created_ts)
        VALUES (of_user, of_device, of_scope, txn, id, t_now);
        UPDATE clock SET position = clock.position + 1 RETURNING clock.position - 1 INTO base;
        INSERT INTO events (position, room_nid, event_id, type, sender, origin_server_ts, depth, txn_device_id, txn_id, json)
        VALUES (base + 1, of_room, id, of_type, of_sender, ts, of_depth, of_device, txn, content);
        RETURN;
    END IF;
    SELECT a.* INTO base, outcomes, known, stored_at
    FROM journal_append(
        ARRAY[of_room], ARRAY[head], ARRAY[id], ARRAY[of_depth], ARRAY[NULL::text], ARRAY[NULL::text], ARRAY[0::bigint],
        ARRAY[1], ARRAY[of_room], ARRAY[id], ARRAY[of_type], ARRAY[NULL::text], ARRAY[of_sender], ARRAY[ts],
        ARRAY[of_depth], ARRAY[of_device], ARRAY[txn], ARRAY[NULL::text], ARRAY[NULL::text], ARRAY[NULL::bytea], ARRAY[content],
        ARRAY[1], ARRAY[of_user], ARRAY[of_device], ARRAY[of_scope], ARRAY[txn], ARRAY[id], t_now,
        NULL, NULL, NULL, NULL, NULL, NULL, NULL,
        NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
        1, false, false, false) a;
END
$$;
-- +goose StatementEnd
