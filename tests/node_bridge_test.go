package tests

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/hstest/freeport"
)

// TestNodeBridgeBridges runs bridge/bridge.test.mjs, which says what is tested.
func TestNodeBridgeBridges(t *testing.T) {
	node := program(t, "node", "nodejs npm")
	installNodeModules(t, "bridge", "matrix-appservice-bridge")
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
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, "--test", "--test-force-exit", "--test-reporter=spec", "bridge.test.mjs")
	cmd.Dir = "bridge"
	cmd.Env = append(os.Environ(), "ROOMLINE_URL="+dep.BaseURL(0), "ROOMLINE_DOMAIN=acme.test", "ROOMLINE_OWNER="+acme.Owner.AccessToken,
		"ROOMLINE_ALICE="+string(alice), "ROOMLINE_PORT="+strconv.Itoa(port))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("matrix-appservice-bridge: %v\n%s", err, out)
	}
	t.Logf("matrix-appservice-bridge:\n%s", out)
}
