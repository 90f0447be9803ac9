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
		script: "meeting.mjs",
		configure: func(process int, c map[string]any) {
			hstest.WithLiveKit(lk)(process, c)
			// Nobody carries the calls of this trunk: they ring until they are hung up.
			c["telephony"].(map[string]any)["voice"] = map[string]any{
				"limits": map[string]any{"budget_per_day": "20"},
				"trunks": []any{map[string]any{"name": "carrier", "out": true, "numbers": []any{map[string]any{"number": "+3225550100", "country": "BE", "language": "nl"}}}},
			}
		},
		started: func(dep *hstest.Deployment) {
			lk.WebhookTo(t, dep.BaseURL(0)+"/_roomline/livekit/webhook")
			dep.Operator(t).MustDo(t, http.MethodPut, "/_roomline/admin/v1/policies/phones", map[string]any{"dial_out": true, "countries": []string{"BE"}})
		},
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
