package invitations_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/roomline/roomline/clientapi/invitations"
	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/store/storetest"
)

func TestAProcessThatDiedBeforeTheRoomKnewIsMadeUpFor(t *testing.T) {
	t.Parallel()
	d := start(t, 2)
	alice, bob := d.User(t, "alice"), d.User(t, "bob")
	room := alice.MustCreateRoom(t, nil)
	db := storetest.DB(t, d.DSN)
	revoked, _ := newLink(t, d, alice, room, nil)
	used, _ := newLink(t, d, alice, room, nil)
	// The rows as a process leaves them that is killed after its commit: ended, used up, and one that never came into the room.
	for _, statement := range []string{
		`UPDATE invitations SET ended = 'revoked' WHERE invitation_id = '` + revoked + `'`,
		`UPDATE invitations SET uses = 1, redeemed_ts = created_ts - 120000 WHERE invitation_id = '` + used + `'`,
		`INSERT INTO invitations (invitation_id, organisation_id, room_nid, inviter, medium, address, secret_hash, language, uses_allowed, created_ts, expires_ts, guest_lifetime)
			SELECT 'NEVERINTHEROOM', organisation_id, room_nid, inviter, medium, address, '\x01', language, 1, created_ts, expires_ts, guest_lifetime
			FROM invitations WHERE invitation_id = '` + used + `'`,
	} {
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	// Whoever has to do with invitations dies; the other takes over.
	d.Kill9(t, 0)
	d.Restart(t, 0)
	d.Kill9(t, 1)
	d.Restart(t, 1)
	for id, want := range map[string]string{revoked: "revoked", used: "redeemed"} {
		hstest.Eventually(t, "the room is told that an invitation is "+want, func() bool {
			return stateOf(t, alice, room, "org.roomline.invitation", id).Get("state").String() == want &&
				!stateOf(t, alice, room, "m.room.third_party_invite", id).Get("public_key").Exists()
		})
		hstest.Eventually(t, "it is noted that the room was told", func() bool {
			return alice.MustDo(t, http.MethodGet, client+"invitations/"+id, nil).Get("ended_ts").Int() > 0
		})
	}
	r, err := bob.Do(t.Context(), http.MethodPost, hstest.Path("rooms", room, "join"), map[string]any{"third_party_signed": signed(t, identityKey(), alice.ID, bob.ID, "NEVERINTHEROOM")})
	if err != nil || r.Status != http.StatusOK {
		t.Errorf("joining by an invitation that had not come into the room: %s, %v", r, err)
	}
}

func TestInvitationsThatEndedLongAgoGo(t *testing.T) {
	t.Parallel()
	d := start(t, 1)
	alice := d.User(t, "alice")
	room := alice.MustCreateRoom(t, nil)
	old, _ := newLink(t, d, alice, room, nil)
	young, _ := newLink(t, d, alice, room, nil)
	open, _ := newLink(t, d, alice, room, nil)
	for _, id := range []string{old, young} {
		alice.MustDo(t, http.MethodDelete, client+"invitations/"+id, nil)
	}
	d.Stop(t, 0) // which does the same now and then
	now := time.Now()
	if _, err := storetest.DB(t, d.DSN).Exec(`UPDATE invitations SET ended_ts = $2 WHERE invitation_id = $1`, old, now.Add(-limits.InvitationsKept-time.Second).UnixMilli()); err != nil {
		t.Fatal(err)
	}
	if _, err := storetest.DB(t, d.DSN).Exec(`INSERT INTO commands (event_id, sender, created_ts, claimed_ts) VALUES ('$old', $1, $2, 0), ('$young', $1, $3, 0)`,
		alice.ID, now.Add(-limits.CommandKept-time.Second).UnixMilli(), now.UnixMilli()); err != nil {
		t.Fatal(err)
	}
	for _, task := range invitations.Tasks(storetest.Open(t, d.DSN)) {
		if n, err := task.Run(context.Background(), now, 100); err != nil || n != 1 {
			t.Errorf("%s: removed %d, %v", task.Name, n, err)
		}
	}
	d.Restart(t, 0)
	alice.MustFail(t, http.StatusNotFound, "M_NOT_FOUND", http.MethodGet, client+"invitations/"+old, nil)
	if got := state(t, alice, young) + " " + state(t, alice, open); got != "revoked sent" {
		t.Errorf("those that are left are %s", got)
	}
}
