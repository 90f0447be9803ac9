package hstest

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
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
