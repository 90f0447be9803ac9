package tests

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/roomline/roomline/internal/hstest"
)

// meetingInABrowser runs guest/meeting.mjs, which says what is tested. ROOMLINE_SCREENSHOTS is where pictures of what people see are
// kept.
func meetingInABrowser(t *testing.T) {
	hstest.NodeModules(t, "guest", "axe-core")
	lk, mails := hstest.LiveKit(t), hstest.Mailpit(t, hstest.MailServerOptions{})
	dep := hstest.Start(t, hstest.Options{Configure: func(process int, c map[string]any) {
		hstest.WithLiveKit(lk)(process, c)
		c["public_base_url"] = "http://" + c["listeners"].([]any)[0].(map[string]any)["address"].(string)
		c["telephony"] = map[string]any{
			"mode":  "in_process",
			"email": map[string]any{"smtp": map[string]any{"address": mails.SMTP, "tls": "none", "from": "invitations@hs.test"}},
			// Nobody carries the calls of this trunk: they ring until they are hung up.
			"voice": map[string]any{
				"limits": map[string]any{"budget_per_day": "20"},
				"trunks": []any{map[string]any{"name": "carrier", "out": true, "numbers": []any{map[string]any{"number": "+3225550100", "country": "BE", "language": "nl"}}}},
			},
		}
	}})
	lk.WebhookTo(t, dep.BaseURL(0)+"/_roomline/livekit/webhook")
	dep.Operator(t).MustDo(t, http.MethodPut, "/_roomline/admin/v1/policies/phones", map[string]any{"dial_out": true, "countries": []string{"BE"}})
	control := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/kill":
			lk.Kill9(t)
		case "/start":
			lk.Restart(t)
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	defer control.Close()
	hstest.RunScript(t, "guest", "meeting.mjs", hstest.NodeTests, []string{"ROOMLINE_URL=" + dep.BaseURL(0), hstest.AccountsOf(t, dep, "alice", "bob"),
		"CONTROL_URL=" + control.URL, "MAIL_URL=http://" + mails.API, "SFU_URL=" + lk.URL})
}
