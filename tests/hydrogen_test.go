package tests

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/roomline/roomline/internal/hstest"
)

// hydrogenInABrowser runs hydrogen/chat.mjs, which says what is tested. ROOMLINE_SCREENSHOTS is where pictures of what people
// see are kept.
func hydrogenInABrowser(t *testing.T) {
	hstest.NodeModules(t, "hydrogen", "hydrogen-view-sdk")
	dep := hstest.Start(t, hstest.Options{})
	control := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		dep.Kill9(t, 0)
		dep.Restart(t, 0)
		w.WriteHeader(http.StatusNoContent)
	}))
	defer control.Close()
	hstest.RunScript(t, "hydrogen", "chat.mjs", nil, []string{"ROOMLINE_URL=" + dep.BaseURL(0), hstest.AccountsOf(t, dep, "alice", "bob"), "RESTART_URL=" + control.URL})
}
