package tests

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/hstest"
)

// TestJSSDKClientsChatThroughTwoProcesses runs jssdk/chat.test.mjs, which says what is tested.
func TestJSSDKClientsChatThroughTwoProcesses(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal("node is missing: install Node.js 20 or newer (Debian: apt-get install nodejs npm)")
	}
	installJSSDK(t)
	dep := hstest.Start(t, hstest.Options{Processes: 2})
	type account struct {
		User     string `json:"user"`
		Password string `json:"password"`
	}
	var accounts []account
	for _, name := range []string{"alice", "bob"} {
		accounts = append(accounts, account{User: name, Password: dep.User(t, name).Password})
	}
	text, err := json.Marshal(accounts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, "--test", "--test-force-exit", "--test-reporter=spec", "chat.test.mjs")
	cmd.Dir = "jssdk"
	cmd.Env = append(os.Environ(), "ROOMLINE_URLS="+dep.BaseURL(0)+","+dep.BaseURL(1), "ROOMLINE_ACCOUNTS="+string(text))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("matrix-js-sdk: %v\n%s", err, out)
	}
	t.Logf("matrix-js-sdk:\n%s", out)
}

// installJSSDK installs what package-lock.json names, if make test has not.
func installJSSDK(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(filepath.Join("jssdk", "node_modules", "matrix-js-sdk", "package.json")); err == nil {
		return
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		t.Fatal("npm is missing: install it (Debian: apt-get install npm)")
	}
	cmd := exec.CommandContext(t.Context(), npm, "ci", "--no-audit", "--no-fund")
	cmd.Dir = "jssdk"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
}
