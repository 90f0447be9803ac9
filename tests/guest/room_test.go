package guest

import (
	"testing"

	"github.com/roomline/roomline/internal/hstest"
)

// room runs room.mjs, which says what is tested.
func room(t *testing.T) {
	hstest.NodeModules(t, ".", "playwright-core")
	dep := hstest.Start(t, hstest.Options{Configure: func(_ int, c map[string]any) {
		c["public_base_url"] = "https://chat.example.org" // what links begin with; the page is opened at the process itself
	}})
	hstest.RunScript(t, ".", "room.mjs", hstest.NodeTests, []string{"ROOMLINE_URL=" + dep.BaseURL(0), hstest.AccountsOf(t, dep, "alice", "bob")})
}
