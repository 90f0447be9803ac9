package tests

import (
	"net/http"
	"strings"
	"testing"

	"github.com/roomline/roomline/internal/hstest"
)

// TestARecorderIsToldThatItRecords: an application service with the grant record, and a view of one type of events, is told by it when it is to
// record, gets its token then, and learns nothing else of the room.
func TestARecorderIsToldThatItRecords(t *testing.T) {
	t.Parallel()
	lk := hstest.LiveKit(t)
	dep := hstest.Start(t, hstest.Options{Configure: hstest.WithLiveKit(lk)})
	acme, other := dep.Organisation(t, "Acme", "acme.test"), dep.Organisation(t, "Other", "other.test")
	view := map[string]any{"grants": []string{"record"}, "view": map[string]any{"event_types": []string{"org.roomline.recording"}}}
	scribe, foreign := startService(t, "hs-token-of-scribe"), startService(t, "hs-token-of-foreign")
	as := register(t, dep, acme.Owner, ownServices, registrationOf("scribe", scribe, map[string]any{"namespaces": everyRoom(), "roomline": view}))
	register(t, dep, other.Owner, ownServices, registrationOf("foreign", foreign, map[string]any{"namespaces": everyRoom(), "roomline": view}))
	acme.Owner.MustDo(t, http.MethodPut, "/_roomline/admin/v1/policies/meetings", map[string]any{"recording": "appservice"})

	alice := acme.User(t, "alice")
	room := alice.MustCreateRoom(t, nil)
	said := alice.MustSendText(t, room, "nobody's business")
	ofRoom := strings.TrimPrefix(hstest.Path("rooms", room), "/_matrix/client/v3")
	meeting, token := "/_roomline/client/v1"+ofRoom+"/meeting", "/_roomline/record/v1"+ofRoom+"/token"
	if r := as.do(0, "", http.MethodPost, token, nil); r.Status != 403 {
		t.Fatalf("a token before the recording: %s", r)
	}
	alice.MustFail(t, 404, "M_NOT_FOUND", http.MethodPost, meeting+"/recording/start", map[string]any{"recorder": "foreign"})
	startRecording(t, alice, meeting)
	// At once: nobody is in the call, and the recording ends by itself after a while.
	if r := as.while503(token); r.Status != 200 || r.JSON().Get("jwt").String() == "" {
		t.Errorf("the token: %s", r)
	}
	event := alice.MustDo(t, http.MethodGet, hstest.Path("rooms", room, "state", "org.roomline.recording", "")+"?format=event", nil)
	if event.Get("content.state").String() != "recording" || event.Get("content.recorder").String() != "scribe" {
		t.Fatalf("the room says %s", event)
	}
	scribe.hasEvent(t, event.Get("event_id").String())
	scribe.hasNot(t, said, "of a type that is not in its view")
	foreign.hasNot(t, event.Get("event_id").String(), "of another organisation")
	for _, path := range []string{hstest.Path("rooms", room, "state"), hstest.Path("rooms", room, "messages") + "?dir=b", hstest.Path("rooms", room, "event", said), meeting} {
		if r := as.do(0, "", http.MethodGet, path, nil); r.Status != 403 && r.Status != 404 {
			t.Errorf("a recorder asks for %s: %s", path, r)
		}
	}
	if r := (actor{t, dep, "as-token-of-foreign"}).do(0, "", http.MethodPost, token, nil); r.Status == 200 {
		t.Errorf("a token for another organisation's service: %s", r)
	}
	alice.MustDo(t, http.MethodPost, meeting+"/recording/stop", nil)
	if r := as.do(0, "", http.MethodPost, token, nil); r.Status != 403 {
		t.Errorf("a token after the recording: %s", r)
	}
	stopped := alice.MustDo(t, http.MethodGet, hstest.Path("rooms", room, "state", "org.roomline.recording", "")+"?format=event", nil)
	scribe.hasEvent(t, stopped.Get("event_id").String())
}

// startRecording starts a recording, and waits until it is on. While the media server seems to be away it is asked again, as clients do: on a
// busy machine it may only be slow.
func startRecording(t *testing.T, u *hstest.User, meeting string) {
	t.Helper()
	hstest.Eventually(t, "the recording", func() bool {
		r, err := u.Do(t.Context(), http.MethodPost, meeting+"/recording/start", map[string]any{})
		if err != nil || r.Status != http.StatusOK && r.Status != http.StatusServiceUnavailable {
			t.Fatalf("start a recording: %v %s", err, r)
		}
		return r.JSON().Get("state").String() == "recording"
	})
}

// while503 posts again while the media server seems to be away.
func (a actor) while503(path string) (r hstest.Response) {
	a.t.Helper()
	hstest.Eventually(a.t, "an answer of the media server", func() bool {
		r = a.do(0, "", http.MethodPost, path, nil)
		return r.Status != http.StatusServiceUnavailable
	})
	return r
}
