package tenancy

import (
	"net/http"
	"strings"
	"testing"
)

// TestGuestsMayDoWhatIsListed asks every route with a guest's token: those that are open to guests are named in clientapi/guests.go, and
// all others that look at a token refuse, whatever else is wrong with the request.
func TestGuestsMayDoWhatIsListed(t *testing.T) {
	d := start(t)
	given, _ := table(t)
	s := d.side(t)
	a := d.asker(t, theirs, guest) // of the organisation itself
	open, closed := 0, 0
	for _, r := range d.routes(t) {
		asked := r.make(t, requestsOf(t, r, given)[0], s.subjects[0], a.own)
		if r.access == "token, guests too" {
			if answer := a.ask(t, asked); answer.ErrCode() == "M_GUEST_ACCESS_FORBIDDEN" && !strings.Contains(r.path, "{keyName}") {
				t.Errorf("%s refuses a guest: %s", r.name(), answer)
			}
			open++
			continue
		}
		if r.access == "anyone" || r.access == "secret" {
			// Who says who they are and need not is refused, too; some look at no token at all.
			continue
		}
		if r.access == appPassword || r.access == identityToken {
			// Guests have none: the route where they are made is closed to them.
			if answer := a.ask(t, asked); answer.Status != http.StatusUnauthorized {
				t.Errorf("%s lets a guest in: %.300s", r.name(), answer)
			}
			continue
		}
		closed++
		if answer := a.ask(t, asked); answer.Status != http.StatusForbidden || answer.ErrCode() != "M_GUEST_ACCESS_FORBIDDEN" {
			t.Errorf("%s lets a guest in: %.300s", r.name(), answer)
		}
	}
	if open > 64 || closed < 150 {
		t.Errorf("%d routes are open to guests, %d are closed", open, closed)
	}
	t.Logf("%d routes are open to guests, %d are closed", open, closed)

	// In the organisation itself there is nothing beyond the rooms of the invitation.
	for _, subject := range s.subjects {
		for _, asked := range []sent{
			{"POST", "/_matrix/client/v3/join/" + escaped(subject["roomIdOrAlias"]), "{}", ""},
			{"GET", "/_matrix/client/v3/rooms/" + escaped(subject["roomId"]) + "/state", "", ""},
			{"GET", "/_matrix/client/v3/rooms/" + escaped(subject["roomId"]) + "/messages?dir=b", "", ""},
			{"GET", "/_matrix/client/v1/media/download/" + subject["serverName"] + "/" + subject["mediaId"] + "?timeout_ms=0", "", ""},
		} {
			if answer := a.ask(t, asked); answer.Status < 400 || s.revealed(asked, answer) != "" {
				t.Errorf("a guest of the organisation is told by %s %s: %.300s", asked.method, asked.path, answer)
			}
		}
	}
}
