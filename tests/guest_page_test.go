package tests

import (
	"context"
	"database/sql"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/hstest"
)

// TestGuestPageInABrowser runs guest/page.mjs, which says what is tested. ROOMLINE_SCREENSHOTS is where pictures of what people see are
// kept; they are thrown away otherwise.
func TestGuestPageInABrowser(t *testing.T) {
	runGuestPage(t, "page.mjs")
}

// runGuestPage runs tests of the guest page in Node.js beside a server and a mail server.
func runGuestPage(t *testing.T, script string) {
	node, chromium := program(t, "node", "nodejs npm"), program(t, "chromium", "chromium")
	installNodeModules(t, "guest", "axe-core")
	mails := hstest.Mailpit(t, hstest.MailServerOptions{})
	dep := hstest.Start(t, hstest.Options{Configure: func(_ int, c map[string]any) {
		listener := c["listeners"].([]any)[0].(map[string]any)
		c["public_base_url"] = "http://" + listener["address"].(string)
		c["telephony"] = map[string]any{
			"mode":  "in_process",
			"email": map[string]any{"smtp": map[string]any{"address": mails.SMTP, "tls": "none", "from": "invitations@hs.test"}},
		}
	}})
	if resp, err := dep.Do(t.Context(), 0, "", http.MethodGet, "/i", nil); err != nil || resp.Status != http.StatusOK {
		t.Fatalf("the page: %v %s", err, resp)
	}
	type account struct {
		ID       string `json:"id"`
		User     string `json:"user"`
		Password string `json:"password"`
		Token    string `json:"token"`
	}
	var accounts []account
	for _, name := range []string{"alice", "bob"} {
		u := dep.User(t, name)
		accounts = append(accounts, account{ID: u.ID, User: name, Password: u.Password, Token: u.AccessToken})
	}
	text, err := json.Marshal(accounts)
	if err != nil {
		t.Fatal(err)
	}
	control := guestControl(t, dep)
	defer control.Close()
	pictures := os.Getenv("ROOMLINE_SCREENSHOTS")
	if pictures == "" {
		pictures = t.TempDir()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, "--test", "--test-reporter=spec", script)
	cmd.Dir = "guest"
	cmd.Env = append(os.Environ(), "ROOMLINE_URL="+dep.BaseURL(0), "ROOMLINE_ACCOUNTS="+string(text), "CONTROL_URL="+control.URL, "MAIL_URL=http://"+mails.API,
		"SCREENSHOTS="+pictures, "CHROMIUM="+chromium)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	t.Logf("%s:\n%s", script, out)
}

// guestControl lets time pass for invitations, which no client can.
func guestControl(t *testing.T, dep *hstest.Deployment) *httptest.Server {
	t.Helper()
	db, err := sql.Open("postgres", dep.DSN)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	statements := map[string]string{
		"/expire": `UPDATE invitations SET expires_ts = $2 WHERE invitation_id = $1`,
		"/begin":  `UPDATE invitations SET opens_ts = $2 WHERE invitation_id = $1`,
	}
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := db.ExecContext(r.Context(), statements[r.URL.Path], r.FormValue("invitation"), time.Now().Add(-time.Second).UnixMilli())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
}
