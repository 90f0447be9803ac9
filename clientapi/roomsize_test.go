package clientapi_test

import (
	"testing"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/store/storetest"
)

func TestARoomThatIsFull(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	p := d.process()
	alice, bob, carol, dave := p.client("alice"), p.client("bob"), p.client("carol"), p.client("dave")
	id := alice.create(object{"preset": "public_chat", "invite": []string{dave.user}})
	carol.join(id)
	alice.set(id, "org.example", "present", object{"a": 1})
	db := storetest.DB(t, d.dsn)
	_, err := db.Exec(`INSERT INTO memberships (user_id, room_nid, membership, sender, position)
		SELECT '@m' || n || ':one.test', room_nid, 'join', '', 1 FROM rooms, generate_series(1, $2::int) n WHERE room_id = $1`, id, limits.RoomMembers-3)
	must(t, err)
	_, err = db.Exec(`INSERT INTO room_state (room_nid, type, state_key, since, event_position, event_id)
		SELECT room_nid, 'org.filler', n::text, 1, 1, 'e' FROM rooms, generate_series(1, $2::int) n WHERE room_id = $1`, id, limits.RoomState)
	must(t, err)
	// Another process, which has not counted before.
	q := d.process()
	for _, c := range []*client{alice, bob, carol, dave} {
		c.p = q
	}
	bob.refused(403, "M_FORBIDDEN", "POST", room(id)+"/join", object{})
	alice.refused(403, "M_FORBIDDEN", "POST", room(id)+"/invite", object{"user_id": bob.user})
	alice.refused(403, "M_FORBIDDEN", "PUT", room(id)+"/state/org.example/more", object{})
	alice.refused(403, "M_FORBIDDEN", "PUT", room(id)+"/state/m.room.member/"+esc(bob.user), object{"membership": "invite"})
	// What is there may change, and go.
	alice.set(id, "org.example", "present", object{"a": 2})
	alice.set(id, "m.room.member", alice.user, object{"membership": "join", "displayname": "A"})
	dave.join(id)
	carol.ok("POST", room(id)+"/leave", object{})
	bob.join(id)
	carol.refused(403, "M_FORBIDDEN", "POST", room(id)+"/join", object{})
}
