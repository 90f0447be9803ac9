package store_test

import (
	"strings"
	"testing"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/store/storetest"
)

// TestTheDatabaseKeepsTheWall does what the server's own checks would have refused, as if they were gone: the store is called directly, or the
// tables are.
func TestTheDatabaseKeepsTheWall(t *testing.T) {
	t.Parallel()
	dsn := storetest.DSN(t)
	st := storetest.Open(t, dsn)
	db := storetest.DB(t, dsn)
	exec := func(query string, args ...any) error {
		_, err := db.Exec(query, args...)
		return err
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(exec(`
		INSERT INTO organisations (organisation_id, name, created_ts) VALUES (2, 'A', 0), (3, 'B', 0);
		INSERT INTO users (user_id, organisation_id, guest, created_ts) VALUES ('@anna:a', 2, false, 0), ('@gast:a', 2, true, 0), ('@bob:b', 3, false, 0);
		INSERT INTO rooms (room_nid, room_id, room_version, organisation_id, head_event_id, extremities, depth) VALUES (5, '!r:a', '11', 2, '$1', '{}', 1);
		INSERT INTO events (position, room_nid, event_id, type, state_key, sender, origin_server_ts, depth, json)
		VALUES (1, 5, '$1', 'm.room.history_visibility', '', '@anna:a', 0, 1, '{"content":{"history_visibility":"world_readable"}}');
		INSERT INTO room_state (room_nid, type, state_key, since, event_position, event_id) VALUES (5, 'm.room.history_visibility', '', 1, 1, '$1');
		INSERT INTO room_aliases (alias, room_nid, creator, created_ts) VALUES ('#r:a', 5, '@anna:a', 0);
		INSERT INTO media_objects (object_key, organisation_id, state, since_ts) VALUES ('a', 2, 'stored', 0)`))

	member := func(user, membership string) error {
		return exec(`INSERT INTO memberships (user_id, room_nid, membership, sender, position) VALUES ($1, 5, $2, $1, 10)
			ON CONFLICT (user_id, room_nid) DO UPDATE SET membership = excluded.membership`, user, membership)
	}
	state := func(user, membership string) error {
		return exec(`INSERT INTO room_state (room_nid, type, state_key, since, event_position, event_id, membership)
			VALUES (5, 'm.room.member', $1, 2, 2, '', $2)`, user, membership)
	}
	refused := func(what string, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), "wall") {
			t.Errorf("%s: %v", what, err)
		}
	}
	visibility := func(user matrix.UserID) string {
		t.Helper()
		spans, err := st.ListVisibilityHistories(t.Context(), []int64{5}, user)
		must(err)
		for _, s := range spans {
			if s.Type != "m.room.member" {
				return string(s.JSON)
			}
		}
		return "none"
	}
	for _, outside := range []string{"@bob:b", "@gast:a"} {
		refused(outside+" joins", member(outside, "join"))
		refused(outside+" knocks", member(outside, "knock"))
		if _, err := st.GetAlias(t.Context(), "#r:a", matrix.UserID(outside)); err != store.ErrNotFound {
			t.Errorf("%s finds the room by its alias: %v", outside, err)
		}
		if got := visibility(matrix.UserID(outside)); got != "" {
			t.Errorf("%s is told that the world may read: %s", outside, got)
		}
	}
	if got := visibility("@anna:a"); got == "" {
		t.Error("anna is not told that the world may read")
	}
	must(member("@anna:a", "join"))
	must(state("@bob:b", "invite"))
	must(member("@bob:b", "invite"))
	must(member("@bob:b", "join"))
	if a, err := st.GetAlias(t.Context(), "#r:a", "@bob:b"); err != nil || a.RoomNID != 5 {
		t.Errorf("the alias, for a member: %v %v", a, err)
	}

	// A guest whose invitation has been used knocks on its room, and on no other.
	must(exec(`
		INSERT INTO rooms (room_nid, room_id, room_version, organisation_id, head_event_id, extremities, depth) VALUES (6, '!other:a', '11', 2, '$2', '{}', 1);
		INSERT INTO invitations (invitation_id, organisation_id, room_nid, inviter, medium, address, secret_hash, language, role, uses_allowed, uses, created_ts, expires_ts, guest_lifetime)
		VALUES ('i', 2, 5, '@anna:a', '', '', 'x', 'en', 'participant', 2, 1, 0, 1, 1);
		INSERT INTO guests (user_id, organisation_id, invitation_id, inviter, medium, address, role, created_ts, expires_ts)
		VALUES ('@gast:a', 2, 'i', '@anna:a', '', '', 'participant', 0, 1)`))
	knock := func(room int) error {
		return exec(`INSERT INTO memberships (user_id, room_nid, membership, sender, position) VALUES ('@gast:a', $1, 'knock', '@gast:a', 10)
			ON CONFLICT (user_id, room_nid) DO UPDATE SET membership = excluded.membership`, room)
	}
	refused("a guest knocks on another room", knock(6))
	for what, change := range map[string]string{
		"an invitation that nobody has used": `UPDATE invitations SET uses = 0`,
		"a revoked invitation":               `UPDATE invitations SET ended = 'revoked'`,
		"an invitation of a member":          `UPDATE invitations SET ended = 'member'`,
		"a guest who has ended":              `UPDATE guests SET ended_ts = 1`,
		"an account that is no guest's":      `UPDATE users SET guest = false, organisation_id = 3 WHERE user_id = '@gast:a'`,
	} {
		tx, err := db.Begin()
		must(err)
		if _, err := tx.Exec(`SET LOCAL session_replication_role = replica; ` + change + `; SET LOCAL session_replication_role = origin`); err != nil {
			t.Fatal(err)
		}
		_, err = tx.Exec(`INSERT INTO memberships (user_id, room_nid, membership, sender, position) VALUES ('@gast:a', 5, 'knock', '@gast:a', 10)`)
		refused(what, err)
		must(tx.Rollback())
	}
	must(knock(5))
	refused("a guest who knocked joins without an invite", member("@gast:a", "join"))

	refused("an address of another's account", exec(`INSERT INTO user_threepids (organisation_id, medium, address, user_id, added_ts, validated_ts)
		VALUES (3, 'email', 'x@y', '@anna:a', 0, 0)`))
	refused("a search key of another's account", exec(`INSERT INTO person_keys (user_id, kind, key, organisation_id) VALUES ('@anna:a', 1, 'anna', 3)`))
	refused("another's room in the directory", exec(`INSERT INTO published_rooms (room_nid, organisation_id) VALUES (5, 3)`))
	refused("another's content", exec(`INSERT INTO media (server_name, media_id, organisation_id, user_id, device_id, object_key, content_type, file_name, size, restricted, created_ts)
		VALUES ('b', 'x', 3, '@bob:b', '', 'a', '', '', 0, false, 0)`))
}
