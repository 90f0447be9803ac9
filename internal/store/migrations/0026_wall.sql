-- +goose Up

-- The wall between organisations.

-- is_inside says whether a room is on a user's side of the wall: a room of the user's organisation, and the user is no guest.
-- +goose StatementBegin
CREATE FUNCTION is_inside(room bigint, who text) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM rooms JOIN users USING (organisation_id) WHERE room_nid = room AND user_id = who AND NOT guest)
$$;
-- +goose StatementEnd

-- may_know_room says whether a user may know that a room exists: who is inside, and who has or had a part in it.
-- +goose StatementBegin
CREATE FUNCTION may_know_room(room bigint, who text) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT is_inside(room, who) OR EXISTS (SELECT FROM memberships WHERE room_nid = room AND user_id = who)
$$;
-- +goose StatementEnd

-- keep_wall refuses members who came through the wall: who is not inside of a room joins it from an invite, and does not knock. Users of
-- other servers are those servers' business.
-- +goose StatementBegin
CREATE FUNCTION keep_wall() RETURNS trigger LANGUAGE plpgsql AS $$
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
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'wall: % has not been invited to % of another organisation', r.user_id, r.room_id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END
$$;
-- +goose StatementEnd

CREATE TRIGGER memberships_wall_insert AFTER INSERT ON memberships
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION keep_wall();
CREATE TRIGGER memberships_wall_update AFTER UPDATE ON memberships
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION keep_wall();

-- What belongs to an organisation refers to nothing of another: the keys carry its number.
ALTER TABLE users ADD CONSTRAINT users_organised UNIQUE (user_id, organisation_id);
ALTER TABLE rooms ADD CONSTRAINT rooms_organised UNIQUE (room_nid, organisation_id);
ALTER TABLE media_objects ADD CONSTRAINT media_objects_organised UNIQUE (object_key, organisation_id);
ALTER TABLE user_threepids ADD CONSTRAINT user_threepids_wall
    FOREIGN KEY (user_id, organisation_id) REFERENCES users (user_id, organisation_id) ON UPDATE CASCADE;
ALTER TABLE person_keys DROP CONSTRAINT person_keys_user_id_fkey;
ALTER TABLE person_keys ADD CONSTRAINT person_keys_wall
    FOREIGN KEY (user_id, organisation_id) REFERENCES users (user_id, organisation_id) ON UPDATE CASCADE;
ALTER TABLE published_rooms ADD CONSTRAINT published_rooms_wall
    FOREIGN KEY (room_nid, organisation_id) REFERENCES rooms (room_nid, organisation_id) ON DELETE CASCADE ON UPDATE CASCADE
    DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE media ADD CONSTRAINT media_wall
    FOREIGN KEY (object_key, organisation_id) REFERENCES media_objects (object_key, organisation_id);
