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

// TestJSSDKClientsChatThroughTwoProcesses runs jssdk/chat.test.mjs, which says what is tested.
func TestJSSDKClientsChatThroughTwoProcesses(t *testing.T) {
	runJSSDK(t, hstest.Start(t, hstest.Options{Processes: 2}), "chat.test.mjs")
}

// runJSSDK runs a file of jssdk with two accounts.
func runJSSDK(t *testing.T, dep *hstest.Deployment, file string, env ...string) {
	t.Helper()
	node := program(t, "node", "nodejs npm")
	installNodeModules(t, "jssdk", "matrix-js-sdk")
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
	cmd := exec.CommandContext(ctx, node, "--test", "--test-force-exit", "--test-reporter=spec", file)
	cmd.Dir = "jssdk"
	cmd.Env = append(os.Environ(), "ROOMLINE_URLS="+dep.BaseURL(0)+","+dep.BaseURL(1), "ROOMLINE_ACCOUNTS="+string(text))
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("matrix-js-sdk: %v\n%s", err, out)
	}
	t.Logf("matrix-js-sdk:\n%s", out)
}

// TestJSSDKUsesTheIdentityServer runs jssdk/identity.test.mjs, which says what is tested.
func TestJSSDKUsesTheIdentityServer(t *testing.T) {
	d, m := withMail(t, hstest.Options{Processes: 2})
	allowSMS(t, d)
	codes := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		code, err := m.find(r.URL.Query().Get("address"))
		if err != nil {
			http.NotFound(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(code)
	}))
	t.Cleanup(codes.Close)
	runJSSDK(t, d, "identity.test.mjs", "ROOMLINE_CODES="+codes.URL)
}
