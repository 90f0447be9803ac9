package tests

import (
	"encoding/json"
	"strconv"
	"testing"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/hstest/freeport"
)

// TestNodeBridgeBridges runs bridge/bridge.test.mjs, which says what is tested.
func TestNodeBridgeBridges(t *testing.T) {
	t.Parallel()
	hstest.NodeModules(t, "bridge", "matrix-appservice-bridge")
	dep := hstest.Start(t, hstest.Options{})
	acme := dep.Organisation(t, "Acme", "acme.test")
	user := acme.User(t, "alice")
	alice, err := json.Marshal(map[string]string{"user": user.ID, "token": user.AccessToken})
	if err != nil {
		t.Fatal(err)
	}
	port, err := freeport.Claim()
	if err != nil {
		t.Fatal(err)
	}
	hstest.RunScript(t, "bridge", "bridge.test.mjs", hstest.NodeTests, []string{"ROOMLINE_URL=" + dep.BaseURL(0), "ROOMLINE_DOMAIN=acme.test",
		"ROOMLINE_OWNER=" + acme.Owner.AccessToken, "ROOMLINE_ALICE=" + string(alice), "ROOMLINE_PORT=" + strconv.Itoa(port)})
}
