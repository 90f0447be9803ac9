package tests

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/hstest"
)

// TestHydrogenInABrowser runs hydrogen/chat.mjs, which says what is tested. ROOMLINE_SCREENSHOTS is where pictures of what people
// see are kept; they are thrown away otherwise.
func TestHydrogenInABrowser(t *testing.T) {
	node, chromium := program(t, "node", "nodejs npm"), program(t, "chromium", "chromium")
	installNodeModules(t, "hydrogen", "hydrogen-view-sdk")
	dep := hstest.Start(t, hstest.Options{})
	type account struct {
		ID       string `json:"id"`
		User     string `json:"user"`
		Password string `json:"password"`
	}
	var accounts []account
	for _, name := range []string{"alice", "bob"} {
		u := dep.User(t, name)
		accounts = append(accounts, account{ID: u.ID, User: name, Password: u.Password})
	}
	text, err := json.Marshal(accounts)
	if err != nil {
		t.Fatal(err)
	}
	control := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		dep.Kill9(t, 0)
		dep.Restart(t, 0)
		w.WriteHeader(http.StatusNoContent)
	}))
	defer control.Close()
	pictures := os.Getenv("ROOMLINE_SCREENSHOTS")
	if pictures == "" {
		pictures = t.TempDir()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, "chat.mjs")
	cmd.Dir = "hydrogen"
	cmd.Env = append(os.Environ(), "ROOMLINE_URL="+dep.BaseURL(0), "ROOMLINE_ACCOUNTS="+string(text), "RESTART_URL="+control.URL,
		"SCREENSHOTS="+pictures, "CHROMIUM="+chromium)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("hydrogen: %v\n%s", err, out)
	}
	t.Logf("hydrogen:\n%s", out)
}
