-- +goose Up

-- What was stored before has none, and is checked by its SHA-256.
ALTER TABLE media_objects ADD COLUMN crc32c bigint;

-- +goose StatementBegin
-- media_begin notes an object before its first byte is written, and charges its bytes to the organisation and to the user, in one round
-- trip. Rows of media_usage are locked in this order by everybody.
CREATE FUNCTION media_begin(
    key text, org bigint, who text, of_size bigint, org_most bigint, user_most bigint, files_most bigint, t_now bigint
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    has media_usage;
BEGIN
    INSERT INTO media_usage AS u (owner, bytes, files) VALUES (org::text, of_size, 1)
    ON CONFLICT (owner) DO UPDATE SET bytes = u.bytes + excluded.bytes, files = u.files + excluded.files
    RETURNING u.* INTO has;
    IF org_most > 0 AND of_size > 0 AND has.bytes > org_most THEN
        RAISE EXCEPTION USING ERRCODE = 'RLMQO', MESSAGE = 'the organisation has used up its quota of media';
    END IF;
    IF who <> '' THEN
        INSERT INTO media_usage AS u (owner, bytes, files) VALUES (who, of_size, 1)
        ON CONFLICT (owner) DO UPDATE SET bytes = u.bytes + excluded.bytes, files = u.files + excluded.files
        RETURNING u.* INTO has;
        IF user_most > 0 AND of_size > 0 AND has.bytes > user_most OR files_most > 0 AND has.files > files_most THEN
            RAISE EXCEPTION USING ERRCODE = 'RLMQU', MESSAGE = 'the user has used up the quota of media';
        END IF;
    END IF;
    INSERT INTO media_objects (object_key, organisation_id, state, size, user_id, since_ts)
    VALUES (key, org, 'writing', of_size, who, t_now);
END
$$;
-- +goose StatementEnd

-- +goose StatementBegin
-- media_finish makes a written object the content of media, in one round trip. If the organisation has the same content already the media
-- gets that, and the object is to be removed. Sent again after a lost answer it finds that all is done.
CREATE FUNCTION media_finish(
    key text, hash bytea, checksum bigint, of_size bigint, announced boolean,
    server text, id text, org bigint, who text, device text, of_type text, name text, of_kind text, is_restricted boolean,
    created bigint, expires bigint, t_now bigint
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    charged bigint;
    content text;
BEGIN
    SELECT size INTO charged FROM media_objects WHERE object_key = key AND state = 'writing' FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM FROM media m JOIN media_objects o USING (object_key)
        WHERE m.server_name = server AND m.media_id = id AND m.user_id = who AND o.sha256 = hash;
        IF NOT FOUND THEN
            RAISE EXCEPTION USING ERRCODE = 'RLMGO', MESSAGE = 'the object is not being written any more';
        END IF;
        RETURN;
    END IF;
    SELECT object_key INTO content FROM media_objects
    WHERE organisation_id = org AND sha256 = hash AND state = 'stored' AND thumbnail_of IS NULL FOR UPDATE;
    IF FOUND THEN
        UPDATE media_objects SET state = 'gone', since_ts = t_now WHERE object_key = key;
        UPDATE media_objects SET crc32c = checksum WHERE object_key = content AND crc32c IS NULL;
    ELSE
        content := key;
        UPDATE media_objects SET state = 'stored', sha256 = hash, crc32c = checksum, size = of_size, user_id = '', since_ts = t_now
        WHERE object_key = key;
    END IF;
    IF of_size <> charged THEN
        UPDATE media_usage SET bytes = greatest(bytes + of_size - charged, 0) WHERE owner = org::text;
        UPDATE media_usage SET bytes = greatest(bytes + of_size - charged, 0) WHERE owner = who;
    END IF;
    IF announced THEN
        -- Events may have named it already: then it stays for ever.
        UPDATE media SET object_key = content, content_type = of_type, file_name = name, size = of_size, device_id = device,
            expires_ts = CASE WHEN expires_ts IS NULL THEN NULL ELSE nullif(expires, 0) END
        WHERE server_name = server AND media_id = id AND object_key IS NULL;
        IF NOT FOUND THEN
            RAISE EXCEPTION USING ERRCODE = 'RLMTA', MESSAGE = 'the media has content already';
        END IF;
    ELSE
        INSERT INTO media (server_name, media_id, organisation_id, user_id, device_id, object_key, content_type, file_name, size, kind,
            restricted, created_ts, expires_ts)
        VALUES (server, id, org, who, device, content, of_type, name, of_size, of_kind, is_restricted, created, nullif(expires, 0));
    END IF;
END
$$;
-- +goose StatementEnd
