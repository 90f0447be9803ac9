package tests

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/roomline/roomline/internal/hstest"
)

// TestJSSDKClientsChatThroughTwoProcesses runs jssdk/chat.test.mjs, which says what is tested.
func TestJSSDKClientsChatThroughTwoProcesses(t *testing.T) {
	t.Parallel()
	runJSSDK(t, hstest.Start(t, hstest.Options{Processes: 2}), "chat.test.mjs")
}

// runJSSDK runs a file of jssdk with two accounts.
func runJSSDK(t *testing.T, dep *hstest.Deployment, file string, env ...string) {
	t.Helper()
	hstest.NodeModules(t, "jssdk", "matrix-js-sdk")
	hstest.RunScript(t, "jssdk", file, hstest.NodeTests, append(env, "ROOMLINE_URLS="+dep.BaseURL(0)+","+dep.BaseURL(1), hstest.AccountsOf(t, dep, "alice", "bob")))
}

// TestJSSDKUsesTheIdentityServer runs jssdk/identity.test.mjs, which says what is tested.
func TestJSSDKUsesTheIdentityServer(t *testing.T) {
	t.Parallel()
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
