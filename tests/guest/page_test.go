package guest

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/store/storetest"
)

// page runs page.mjs, which says what is tested, beside a server and a mail server.
func page(t *testing.T) {
	hstest.NodeModules(t, ".", "axe-core")
	mails := hstest.Mailpit(t, hstest.MailServerOptions{})
	dep := hstest.Start(t, hstest.Options{Configure: func(_ int, c map[string]any) {
		c["public_base_url"] = "http://" + c["listeners"].([]any)[0].(map[string]any)["address"].(string)
		c["telephony"] = map[string]any{
			"mode":  "in_process",
			"email": map[string]any{"smtp": map[string]any{"address": mails.SMTP, "tls": "none", "from": "invitations@hs.test"}},
		}
	}})
	if resp, err := dep.Do(t.Context(), 0, "", http.MethodGet, "/i", nil); err != nil || resp.Status != http.StatusOK {
		t.Fatalf("the page: %v %s", err, resp)
	}
	control := httptest.NewServer(timePasses(t, dep))
	defer control.Close()
	hstest.RunScript(t, ".", "page.mjs", hstest.NodeTests, []string{"ROOMLINE_URL=" + dep.BaseURL(0), hstest.AccountsOf(t, dep, "alice", "bob"),
		"CONTROL_URL=" + control.URL, "MAIL_URL=http://" + mails.API})
}

// timePasses lets time pass for invitations, which no client can.
func timePasses(t *testing.T, dep *hstest.Deployment) http.Handler {
	t.Helper()
	db := storetest.DB(t, dep.DSN)
	statements := map[string]string{
		"/expire": `UPDATE invitations SET expires_ts = $2 WHERE invitation_id = $1`,
		"/begin":  `UPDATE invitations SET opens_ts = $2 WHERE invitation_id = $1`,
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := db.ExecContext(r.Context(), statements[r.URL.Path], r.FormValue("invitation"), time.Now().Add(-time.Second).UnixMilli())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
}
