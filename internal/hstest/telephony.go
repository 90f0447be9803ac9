package hstest

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/tidwall/gjson"
)

// TelephonyBridge is the telephony bridge as a program of its own.
type TelephonyBridge struct {
	program
	command func() *exec.Cmd
}

// Telephony starts a telephony bridge with a configuration and stops it at the end of the test. It is built beside roomline (make build).
func Telephony(t testing.TB, config map[string]any) *TelephonyBridge {
	t.Helper()
	binary := filepath.Join(filepath.Dir(Binary(t)), "roomline-telephony")
	if _, err := os.Stat(binary); err != nil {
		t.Fatal("hstest: the telephony bridge is not built: make build")
	}
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatalf("hstest: %v", err)
	}
	file := filepath.Join(t.TempDir(), "telephony.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatalf("hstest: %v", err)
	}
	b := &TelephonyBridge{command: func() *exec.Cmd { return exec.Command(binary, "--config", file) }}
	t.Cleanup(func() {
		if err := b.stop(); err != nil {
			t.Errorf("hstest: telephony bridge: %v", err)
		}
		if t.Failed() {
			t.Logf("hstest: log of the telephony bridge:\n%s", b.logs.tail(16<<10))
		}
	})
	b.Restart(t)
	return b
}

// Kill9 ends the bridge at once.
func (b *TelephonyBridge) Kill9(t testing.TB) {
	t.Helper()
	if err := b.kill(); err != nil {
		t.Fatalf("hstest: kill the telephony bridge: %v", err)
	}
}

// Restart starts a bridge that is not running.
func (b *TelephonyBridge) Restart(t testing.TB) {
	t.Helper()
	if err := b.run(b.command()); err != nil {
		t.Fatalf("hstest: start the telephony bridge: %v", err)
	}
}

// Log is what it has written.
func (b *TelephonyBridge) Log() string { return b.logs.tail(1 << 30) }

const bridgeToken = "as-token-of-the-telephony-bridge"

// WithBridge is for Options.Configure: an application service may take messages as the telephony bridge does, by AskAsBridge.
func WithBridge(t testing.TB) func(config map[string]any) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "telephony.yaml")
	registration := "{id: telephony, url: null, as_token: " + bridgeToken +
		", hs_token: hs-token-of-the-bridge, sender_localpart: _telephony, namespaces: {}, roomline: {organisation: '*', grants: [telephony]}}"
	if err := os.WriteFile(file, []byte(registration), 0o600); err != nil {
		t.Fatalf("hstest: %v", err)
	}
	return func(config map[string]any) { config["appservices"] = map[string]any{"registrations": []string{file}} }
}

// AskAsBridge asks what the telephony bridge asks: lease, outcomes.
func (d *Deployment) AskAsBridge(t testing.TB, process int, what string, body any) gjson.Result {
	t.Helper()
	r, err := d.Do(t.Context(), process, bridgeToken, http.MethodPost, "/_roomline/telephony/v1/"+what, body)
	if err != nil || r.Status != http.StatusOK {
		t.Fatalf("hstest: the bridge's %s: %s %v", what, r, err)
	}
	return r.JSON()
}
