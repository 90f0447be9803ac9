package tests

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/store/storetest"
)

// guestPageInABrowser runs guest/page.mjs, which says what is tested. ROOMLINE_SCREENSHOTS is where pictures of what people see are
// kept.
func guestPageInABrowser(t *testing.T) {
	runGuestPage(t, guestPage{script: "page.mjs"})
}

// guestPage is a script that tests the guest page, and what it needs besides.
type guestPage struct {
	script string
	// configure changes the configuration of the server; nil for nothing.
	configure func(process int, c map[string]any)
	// started is told of the server before the script runs; nil for nothing.
	started func(dep *hstest.Deployment)
	// control serves what no client can do; nil for invitations that time passes for.
	control http.Handler
	env     []string
}

// runGuestPage runs tests of the guest page in Node.js beside a server and a mail server.
func runGuestPage(t *testing.T, page guestPage) {
	t.Helper()
	hstest.NodeModules(t, "guest", "axe-core")
	mails := hstest.Mailpit(t, hstest.MailServerOptions{})
	dep := hstest.Start(t, hstest.Options{Configure: func(process int, c map[string]any) {
		listener := c["listeners"].([]any)[0].(map[string]any)
		c["public_base_url"] = "http://" + listener["address"].(string)
		c["telephony"] = map[string]any{
			"mode":  "in_process",
			"email": map[string]any{"smtp": map[string]any{"address": mails.SMTP, "tls": "none", "from": "invitations@hs.test"}},
		}
		if page.configure != nil {
			page.configure(process, c)
		}
	}})
	if resp, err := dep.Do(t.Context(), 0, "", http.MethodGet, "/i", nil); err != nil || resp.Status != http.StatusOK {
		t.Fatalf("the page: %v %s", err, resp)
	}
	if page.control == nil {
		page.control = guestControl(t, dep)
	}
	control := httptest.NewServer(page.control)
	defer control.Close()
	if page.started != nil {
		page.started(dep)
	}
	hstest.RunScript(t, "guest", page.script, hstest.NodeTests, append(page.env, "ROOMLINE_URL="+dep.BaseURL(0), hstest.AccountsOf(t, dep, "alice", "bob"),
		"CONTROL_URL="+control.URL, "MAIL_URL=http://"+mails.API))
}

// guestControl lets time pass for invitations, which no client can.
func guestControl(t *testing.T, dep *hstest.Deployment) http.Handler {
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
