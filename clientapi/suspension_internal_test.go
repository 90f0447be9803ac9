package clientapi

import (
	"strings"
	"testing"
)

// A line that is no route would allow nothing, and nobody would notice.
func TestWhatSuspendedUsersMayDoIsOnTheRouteTable(t *testing.T) {
	t.Parallel()
	routes := map[string]bool{}
	for _, r := range (&Server{}).Routes() {
		routes[r.Method+" "+strings.TrimPrefix(r.Path, "/_matrix/client")] = true
	}
	for name := range whileSuspended {
		if !routes[name] {
			t.Errorf("%s is not on the route table", name)
		}
	}
}
