package tests

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"testing"
	"time"
)

// TestGuestsComeInFromTheInbox runs hydrogen/journey.mjs, which says what is tested, on the server that make run starts. ROOMLINE_SCREENSHOTS is
// where pictures of what people see are kept; they are thrown away otherwise.
func TestGuestsComeInFromTheInbox(t *testing.T) {
	node, chromium := program(t, "node", "nodejs npm"), program(t, "chromium", "chromium")
	installNodeModules(t, "hydrogen", "hydrogen-view-sdk")
	installNodeModules(t, "jssdk", "matrix-js-sdk")
	dir, err := os.MkdirTemp("", "roomline-journey-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	summary, stop := serveDev(t, dir, nil)
	defer stop()
	type account struct {
		ID       string `json:"id"`
		User     string `json:"user"`
		Password string `json:"password"`
	}
	var accounts []account
	passwords := summaryPasswords(t, summary)
	for _, name := range []string{"alice", "bob"} {
		id := "@" + name + ":localhost"
		if passwords[id] == "" {
			t.Fatalf("the summary has no password of %s:\n%s", id, summary)
		}
		accounts = append(accounts, account{ID: id, User: id, Password: passwords[id]})
	}
	text, err := json.Marshal(accounts)
	if err != nil {
		t.Fatal(err)
	}
	pictures := os.Getenv("ROOMLINE_SCREENSHOTS")
	if pictures == "" {
		pictures = t.TempDir()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	url := summaryURL(t, summary)
	cmd := exec.CommandContext(ctx, node, "journey.mjs")
	cmd.Dir = "hydrogen"
	cmd.Env = append(os.Environ(), "ROOMLINE_URL="+url, "ROOMLINE_URLS="+url, "ROOMLINE_ACCOUNTS="+string(text), "SCREENSHOTS="+pictures, "CHROMIUM="+chromium)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("journey: %v\n%s", err, out)
	}
	t.Logf("journey:\n%s", out)
}
