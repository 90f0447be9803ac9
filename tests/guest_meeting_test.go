package tests

import (
	"net/http"
	"testing"

	"github.com/roomline/roomline/internal/hstest"
)

// meetingInABrowser runs guest/meeting.mjs, which says what is tested. ROOMLINE_SCREENSHOTS is where pictures of what people see are
// kept.
func meetingInABrowser(t *testing.T) {
	lk := hstest.LiveKit(t)
	runGuestPage(t, guestPage{
		script: "meeting.mjs", configure: hstest.WithLiveKit(lk),
		started: func(dep *hstest.Deployment) { lk.WebhookTo(t, dep.BaseURL(0)+"/_roomline/livekit/webhook") },
		control: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/kill":
				lk.Kill9(t)
			case "/start":
				lk.Restart(t)
			}
			w.WriteHeader(http.StatusNoContent)
		}),
		env: []string{"SFU_URL=" + lk.URL},
	})
}
