package hstest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"syscall"
	"testing"

	"github.com/roomline/roomline/internal/hstest/freeport"
)

// LiveKitServer is a media server of the test's own, on the loopback: the hidden command livekit of the binary under test.
type LiveKitServer struct {
	URL, PublicURL string // http://host:port and ws://host:port
	Key, Secret    string

	address string
	binary  string
	config  map[string]any
	program
}

// LiveKit starts one and stops it at the end of the test. It tells nobody anything until WebhookTo.
func LiveKit(t testing.TB) *LiveKitServer {
	t.Helper()
	address, err := freeport.Address()
	if err != nil {
		t.Fatalf("hstest: %v", err)
	}
	udp, err := freeport.Claim()
	if err != nil {
		t.Fatalf("hstest: %v", err)
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatalf("hstest: %v", err)
	}
	l := &LiveKitServer{
		URL: "http://" + address, PublicURL: "ws://" + address, Key: "hstest", Secret: "hstest-livekit-secret-hstest-livekit-secret",
		address: address, binary: Binary(t),
	}
	l.config = map[string]any{
		"port": json.Number(port), "bind": "127.0.0.1", "udp_port": udp, "node_ip": "127.0.0.1", "loopback": true,
		"keys": map[string]string{l.Key: l.Secret}, "webhook_key": l.Key,
	}
	t.Cleanup(func() {
		_ = l.kill()
		if t.Failed() {
			t.Logf("hstest: log of LiveKit:\n%s", l.logs.tail(16<<10))
		}
		for _, secret := range []string{l.Secret, "access_token="} {
			if line := l.logs.find(secret); line != "" {
				t.Errorf("hstest: LiveKit logged a secret: %s", line)
			}
		}
	})
	l.Restart(t)
	return l
}

// Kill9 ends it at once, with all calls.
func (l *LiveKitServer) Kill9(t testing.TB) {
	t.Helper()
	if err := l.kill(); err != nil {
		t.Fatalf("hstest: kill LiveKit: %v", err)
	}
}

// Restart starts it when it is not running, and returns when it answers. It knows of no rooms then.
func (l *LiveKitServer) Restart(t testing.TB) {
	t.Helper()
	text, err := json.Marshal(l.config)
	if err != nil {
		t.Fatalf("hstest: %v", err)
	}
	cmd := exec.Command(l.binary, "livekit")
	cmd.Stdin = bytes.NewReader(text)
	if err := l.run(cmd); err != nil {
		t.Fatalf("hstest: start LiveKit: %v", err)
	}
	l.wait(t, func(ctx context.Context) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, l.URL+"/", nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d", resp.StatusCode)
		}
		return nil
	})
}

// WebhookTo starts it again so that it tells these addresses what happens; for each process of a deployment
// BaseURL(i) + "/_roomline/livekit/webhook", or one of them.
func (l *LiveKitServer) WebhookTo(t testing.TB, addresses ...string) {
	t.Helper()
	l.config["webhooks"] = addresses
	l.Kill9(t)
	l.Restart(t)
}

// AddKey starts it again with one more key, as when keys are rotated.
func (l *LiveKitServer) AddKey(t testing.TB, key, secret string) {
	t.Helper()
	l.config["keys"].(map[string]string)[key] = secret
	l.Kill9(t)
	l.Restart(t)
}

// WithLiveKit is for Options.Configure: the deployment's meetings are in l, which may be slow.
func WithLiveKit(l *LiveKitServer) func(process int, config map[string]any) {
	return func(_ int, config map[string]any) {
		config["meetings"] = map[string]any{"livekit": map[string]any{
			"url": l.URL, "public_url": l.PublicURL, "timeout": "30s", "keys": []any{map[string]any{"key": l.Key, "secret": l.Secret}},
		}}
	}
}

// Pause lets it do nothing until Resume; its sockets stay open.
func (l *LiveKitServer) Pause(t testing.TB) { l.signal(t, syscall.SIGSTOP) }

// Resume ends Pause.
func (l *LiveKitServer) Resume(t testing.TB) { l.signal(t, syscall.SIGCONT) }

func (l *LiveKitServer) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(l.pid(), s); err != nil {
		t.Fatalf("hstest: signal LiveKit: %v", err)
	}
}
