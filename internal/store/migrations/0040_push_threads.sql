-- +goose Up

-- keep_push_thread notes in which thread a redacted event was, if push has not looked at it yet: what it related to goes with its content,
-- but that its sender has read the thread up to it does not.
-- +goose StatementBegin
CREATE FUNCTION keep_push_thread() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO push_facts (room_nid, position, sender, thread, hops, mask, state, redacted)
    SELECT NEW.room_nid, NEW.position, NEW.sender, r.relates_to, 1, 0, NEW.state_key IS NOT NULL, true
    FROM relations r WHERE r.position = NEW.position AND r.rel_type = 'm.thread'
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
-- +goose StatementEnd

CREATE TRIGGER event_redacted AFTER UPDATE OF redacted_by ON events
    FOR EACH ROW WHEN (OLD.redacted_by IS NULL AND NEW.redacted_by IS NOT NULL) EXECUTE FUNCTION keep_push_thread();
