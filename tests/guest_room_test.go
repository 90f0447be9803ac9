package tests

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/hstest"
)

// TestRoomInABrowser runs guest/room.mjs, which says what is tested. ROOMLINE_SCREENSHOTS is where pictures of what people see are
// kept; they are thrown away otherwise.
func TestRoomInABrowser(t *testing.T) {
	node, chromium := program(t, "node", "nodejs npm"), program(t, "chromium", "chromium")
	installNodeModules(t, "guest", "playwright-core")
	dep := hstest.Start(t, hstest.Options{Configure: func(_ int, config map[string]any) {
		config["public_base_url"] = "https://chat.example.org" // what links begin with; the page is opened at the process itself
	}})
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
	pictures := os.Getenv("ROOMLINE_SCREENSHOTS")
	if pictures == "" {
		pictures = t.TempDir()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, "room.mjs")
	cmd.Dir = "guest"
	cmd.Env = append(os.Environ(), "ROOMLINE_URL="+dep.BaseURL(0), "ROOMLINE_ACCOUNTS="+string(text), "SCREENSHOTS="+pictures, "CHROMIUM="+chromium)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("room: %v\n%s", err, out)
	}
	t.Logf("room:\n%s", out)
}
