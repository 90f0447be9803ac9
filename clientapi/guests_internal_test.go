package clientapi

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// A line that is no route would open nothing, and nobody would notice. Those of other packages are looked at by tests/tenancy.
func TestWhatGuestsMayDoIsOnTheRouteTable(t *testing.T) {
	t.Parallel()
	routes := map[string]bool{}
	for _, r := range (&Server{}).Routes() {
		routes[r.Method+" "+r.Path] = true
	}
	for _, name := range slices.Sorted(maps.Keys(whileGuest)) {
		elsewhere := strings.Contains(name, "/media/") || strings.Contains(name, "/sync") || strings.Contains(name, "/filter") || strings.Contains(name, "/rtc/") ||
			strings.Contains(name, " /_roomline/")
		if !routes[name] && !elsewhere {
			t.Errorf("%s is not on the route table", name)
		}
	}
}
