-- +goose Up

-- To-device messages, key backups, dehydrated devices

-- Messages that wait for a device, until the token that they were sent with comes back. A row has a position of the journal:
-- that of the KindToDevice update that was written with it.
CREATE TABLE to_device (
    user_id    text   COLLATE "C" NOT NULL,
    device_id  text   COLLATE "C" NOT NULL,
    position   bigint NOT NULL,
    -- The running number in the device's queue, and the bytes of content up to and with this message: the length of a queue
    -- is known from its first row and its last.
    number     bigint NOT NULL,
    total      bigint NOT NULL,
    sender     text   COLLATE "C" NOT NULL,
    type       text   COLLATE "C" NOT NULL,
    content    bytea  NOT NULL,
    PRIMARY KEY (user_id, device_id, position)
);
ALTER TABLE to_device ALTER COLUMN content SET COMPRESSION lz4;

-- to_device_append stores the messages of a batch, in the transaction of journal_append and after it: base is the position before
-- the batch's first update. s_* are the requests: each is a transaction of the sender's device, and only a new one is stored.
-- m_* are the messages: which request, and which update of the batch. Devices that are gone by now get nothing.
--
-- The clock is held here, so nobody else is between this and the commit: a transaction that is found has been committed, and
-- the last row of a queue stays the last.
-- +goose StatementBegin
CREATE FUNCTION to_device_append(
    base bigint, s_sender text[], s_device text[], s_type text[], s_txn text[], s_now bigint,
    m_send int[], m_update int[], m_user text[], m_device text[], m_content bytea[]
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    new_sends int[];
    stored    bigint;
BEGIN
    WITH sends AS (
        SELECT DISTINCT ON (x.sender, x.device, x.type, x.txn)
               x.sender, x.device, 'sendToDevice|' || x.type AS scope, x.txn, x.ord
        FROM unnest(s_sender, s_device, s_type, s_txn) WITH ORDINALITY AS x (sender, device, type, txn, ord)
        ORDER BY x.sender, x.device, x.type, x.txn, x.ord
    ), made AS (
        INSERT INTO transactions (user_id, device_id, scope, txn_id, event_id, created_ts)
        SELECT sender, device, scope, txn, '', s_now FROM sends
        ON CONFLICT DO NOTHING
        RETURNING user_id, device_id, scope, txn_id
    )
    SELECT array_agg(sends.ord) INTO new_sends
    FROM sends JOIN made ON made.user_id = sends.sender AND made.device_id = sends.device AND made.scope = sends.scope
        AND made.txn_id = sends.txn;
    IF new_sends IS NULL THEN
        RETURN 0;
    END IF;

    -- The end of a queue is looked up once for each queue, not once for each message: a plan made while the table was empty may read
    -- all of it for a look.
    WITH queues AS MATERIALIZED (
        SELECT d.user_id, d.device_id, last.number, last.total
        FROM (SELECT DISTINCT user_id, device_id FROM unnest(m_user, m_device) AS x (user_id, device_id)) x
        JOIN devices d ON d.user_id = x.user_id AND d.device_id = x.device_id
        LEFT JOIN LATERAL (
            SELECT q.number, q.total FROM to_device q
            WHERE q.user_id = d.user_id AND q.device_id = d.device_id ORDER BY q.position DESC LIMIT 1
        ) last ON true
    )
    INSERT INTO to_device (user_id, device_id, position, number, total, sender, type, content)
    SELECT x.user_id, x.device_id, base + x.up,
           coalesce(q.number, 0) + row_number() OVER w, coalesce(q.total, 0) + sum(octet_length(x.content)) OVER w,
           s_sender[x.send], s_type[x.send], x.content
    FROM unnest(m_send, m_update, m_user, m_device, m_content) AS x (send, up, user_id, device_id, content)
    JOIN queues q ON q.user_id = x.user_id AND q.device_id = x.device_id
    WHERE x.send = ANY (new_sends)
    WINDOW w AS (PARTITION BY x.user_id, x.device_id ORDER BY x.up);
    GET DIAGNOSTICS stored = ROW_COUNT;
    RETURN stored;
END
$$;
-- +goose StatementEnd

-- Backups of room keys: encrypted by the clients with a key that the server does not have. A version that was deleted keeps its
-- row, without keys, so that its number is never given out again.
CREATE TABLE key_backups (
    user_id    text    COLLATE "C" NOT NULL REFERENCES users,
    version    bigint  NOT NULL,
    algorithm  text    COLLATE "C" NOT NULL,
    auth_data  bytea   NOT NULL,
    -- Changes with every key that is stored, replaced or deleted.
    etag       bigint  NOT NULL,
    keys       bigint  NOT NULL,
    bytes      bigint  NOT NULL,
    deleted    boolean NOT NULL DEFAULT false,
    PRIMARY KEY (user_id, version)
) WITH (fillfactor = 70);

CREATE TABLE key_backup_sessions (
    user_id              text    COLLATE "C" NOT NULL,
    version              bigint  NOT NULL,
    room_id              text    COLLATE "C" NOT NULL,
    session_id           text    COLLATE "C" NOT NULL,
    first_message_index  bigint  NOT NULL,
    forwarded_count      bigint  NOT NULL,
    is_verified          boolean NOT NULL,
    session_data         bytea   NOT NULL,
    PRIMARY KEY (user_id, version, room_id, session_id),
    FOREIGN KEY (user_id, version) REFERENCES key_backups
);

-- A device without a session, kept encrypted for a later login. At most one a user.
CREATE TABLE dehydrated_devices (
    user_id      text  COLLATE "C" PRIMARY KEY,
    device_id    text  COLLATE "C" NOT NULL,
    device_data  bytea NOT NULL,
    FOREIGN KEY (user_id, device_id) REFERENCES devices ON DELETE CASCADE
);
