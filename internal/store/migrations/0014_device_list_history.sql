-- +goose Up

-- The changes before the last one, which stands in updates: up to 50 of a user's, or of a user's signatures of another.
CREATE TABLE device_list_history (
    position   bigint PRIMARY KEY,
    user_id    text   COLLATE "C" NOT NULL,
    key        text   COLLATE "C" NOT NULL,
    -- The newest change before this one that was forgotten, 0 if none was.
    forgotten  bigint NOT NULL DEFAULT 0
);
CREATE INDEX device_list_history_user ON device_list_history (user_id, key, position);
CREATE INDEX device_list_history_forgotten ON device_list_history (forgotten) WHERE forgotten > 0;

-- What came before the last change was not kept until now.
INSERT INTO device_list_history (position, user_id, key, forgotten)
SELECT position, user_id, key, position - 1 FROM updates WHERE kind = 6;

-- +goose StatementBegin
-- keep_device_list_change keeps the position of a change that another one replaces.
CREATE FUNCTION keep_device_list_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    dropped bigint;
BEGIN
    INSERT INTO device_list_history (position, user_id, key) VALUES (OLD.position, OLD.user_id, OLD.key) ON CONFLICT DO NOTHING;
    DELETE FROM device_list_history WHERE position = (
        SELECT h.position FROM device_list_history h WHERE h.user_id = OLD.user_id AND h.key = OLD.key
        ORDER BY h.position DESC OFFSET 50 LIMIT 1)
    RETURNING position INTO dropped;
    IF dropped IS NOT NULL THEN
        UPDATE device_list_history SET forgotten = dropped WHERE position = (
            SELECT min(h.position) FROM device_list_history h WHERE h.user_id = OLD.user_id AND h.key = OLD.key);
    END IF;
    RETURN NULL;
END
$$;
-- +goose StatementEnd

CREATE TRIGGER device_list_change AFTER UPDATE ON updates
    FOR EACH ROW WHEN (OLD.kind = 6) EXECUTE FUNCTION keep_device_list_change();
