-- +goose Up

-- What a connection of sliding sync has told its client, in the form of clientapi/sync/slidingstate.go. A connection has a few
-- rows: the state that the client's last request named, and those that came of it, of which the client may have received one. A row is
-- written when something was told that has to be remembered, never for a request with nothing new. A lost row costs a
-- client a fresh start and nothing else, so the commit does not wait for the disk.
CREATE TABLE sliding_states (
    user_id    text   COLLATE "C" NOT NULL,
    device_id  text   COLLATE "C" NOT NULL,
    conn_id    text   COLLATE "C" NOT NULL,
    version    bigint NOT NULL,
    -- The version that this one was made from, 0 for the first of a connection.
    base       bigint NOT NULL,
    -- Hours late: refreshed now and then while the connection is used.
    used_ts    bigint NOT NULL,
    state      bytea  NOT NULL,
    PRIMARY KEY (user_id, device_id, conn_id, version)
);
ALTER TABLE sliding_states ALTER COLUMN state SET COMPRESSION lz4;
CREATE INDEX sliding_states_used ON sliding_states (used_ts);

-- +goose StatementBegin
-- sliding_put stores a state that was made from base (0: from nothing), in one round trip. It is false, and nothing is stored,
-- when base is gone. Of what the connection had, base stays, and the newest of those that were made from it: a client that
-- gave up a request may get its answer all the same. A new connection beyond most ends that which was unused for longest.
CREATE FUNCTION sliding_put(
    of_user text, of_device text, of_conn text, made_from bigint, made bigint, at bigint, content bytea, siblings int, most int
) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    IF made_from <> 0 AND NOT EXISTS (
        SELECT FROM sliding_states
        WHERE user_id = of_user AND device_id = of_device AND conn_id = of_conn AND version = made_from
    ) THEN
        RETURN false;
    END IF;
    DELETE FROM sliding_states s
    WHERE s.user_id = of_user AND s.device_id = of_device AND s.conn_id = of_conn AND s.version <> made_from
        AND (s.base <> made_from OR s.version NOT IN (
            SELECT k.version FROM sliding_states k
            WHERE k.user_id = of_user AND k.device_id = of_device AND k.conn_id = of_conn AND k.base = made_from
            ORDER BY k.used_ts DESC, k.version LIMIT siblings));
    INSERT INTO sliding_states (user_id, device_id, conn_id, version, base, used_ts, state)
    VALUES (of_user, of_device, of_conn, made, made_from, at, content);
    IF made_from = 0 THEN
        DELETE FROM sliding_states s
        WHERE s.user_id = of_user AND s.device_id = of_device AND s.conn_id IN (
            SELECT k.conn_id FROM sliding_states k WHERE k.user_id = of_user AND k.device_id = of_device
            GROUP BY k.conn_id ORDER BY max(k.used_ts) DESC, k.conn_id = of_conn DESC, k.conn_id OFFSET most);
    END IF;
    RETURN true;
END
$$;
-- +goose StatementEnd
