// Package hstest runs the real server for tests: `roomline serve` processes, built once a test run, on a throw-away database
// of a real PostgreSQL, and a small client to talk to them by HTTP.
//
// A test sees what a client sees and nothing else, so it can kill a process, run several on one database, or take the
// database away (Proxy, Cluster). After every test the logs of all processes are searched for access tokens and passwords
// that the test has used: one that is found fails the test.
//
// ROOMLINE_BINARY in the environment is a built roomline to use instead of building one.
//
// Start reading at Start; process.go is a process, user.go the client.
package hstest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/store/storetest"
)

// ServerName is the server name of a deployment whose options name none.
const ServerName = "hs.test"

// SharedSecret is the registration.shared_secret of every deployment.
const SharedSecret = "hstest-shared-secret"

// EncryptionKey encrypts what is secret in the database of every deployment, so that processes and restarts share them.
const EncryptionKey = "aHN0ZXN0LXNpZ25pbmcta2V5LWVuY3J5cHRpb24ta2U="

// Options of a Deployment. The zero value is one process on a new database.
type Options struct {
	// Processes is how many share the database, 1 if zero.
	Processes int
	// ServerName is the server's name, hs.test if empty.
	ServerName string
	// DSN is the database. If empty one with the schema of this tree is made for the test and dropped after it.
	DSN string
	// Configure changes a process's configuration before it is written; process counts from 0.
	Configure func(process int, config map[string]any)
	// Env is added to the processes' environment, as "NAME=value".
	Env []string
}

// Deployment is one or more server processes with one database.
type Deployment struct {
	ServerName string
	DSN        string
	dir        string
	processes  []*process
	client     *http.Client

	operatorOnce sync.Once
	operator     *User

	mu      sync.Mutex
	secrets map[string]string // text that must not be in a log → what it is
}

// Start starts a deployment, waits until every process answers, and stops it at the end of the test.
func Start(t testing.TB, opts Options) *Deployment {
	t.Helper()
	if opts.Processes == 0 {
		opts.Processes = 1
	}
	if opts.ServerName == "" {
		opts.ServerName = ServerName
	}
	binary := Binary(t)
	if opts.DSN == "" {
		opts.DSN = storetest.DSN(t)
	}
	d := &Deployment{
		ServerName: opts.ServerName,
		DSN:        opts.DSN,
		dir:        t.TempDir(),
		client:     newHTTPClient(),
		secrets:    map[string]string{SharedSecret: "the shared secret", EncryptionKey: "the key of the signing keys"},
	}
	for i := range opts.Processes {
		p, err := newProcess(binary, d.dir, i, opts)
		if err != nil {
			t.Fatalf("hstest: prepare process %d: %v", i, err)
		}
		d.processes = append(d.processes, p)
	}
	t.Cleanup(func() { d.finish(t) })
	for i := range d.processes {
		d.Restart(t, i)
	}
	return d
}

// finish stops the processes and looks at their logs.
func (d *Deployment) finish(t testing.TB) {
	for i, p := range d.processes {
		if err := p.stop(); err != nil {
			t.Errorf("hstest: process %d: %v", i, err)
		}
	}
	d.client.CloseIdleConnections()
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, p := range d.processes {
		for secret, what := range d.secrets {
			if line := p.logs.find(secret); line != "" {
				t.Errorf("hstest: process %d logged %s: %s", i, what, line)
			}
		}
		if line := p.logs.find("DATA RACE"); line != "" {
			t.Errorf("hstest: process %d: data race", i)
		}
		if t.Failed() {
			t.Logf("hstest: log of process %d:\n%s", i, p.logs.tail(64<<10))
		}
	}
}

// Processes is how many processes there are.
func (d *Deployment) Processes() int { return len(d.processes) }

// BaseURL is where a process serves the client API, without a slash at the end.
func (d *Deployment) BaseURL(process int) string { return "http://" + d.processes[process].address }

// AdminURL is where a process serves /healthz, /readyz and /metrics.
func (d *Deployment) AdminURL(process int) string { return "http://" + d.processes[process].admin }

// Log is what a process has logged so far, all its lives together.
func (d *Deployment) Log(process int) string { return d.processes[process].logs.tail(1 << 30) }

// PID is the process id of a running process.
func (d *Deployment) PID(process int) int { return d.processes[process].pid() }

// Kill9 ends a process at once, as a crash would, and returns when it is gone.
func (d *Deployment) Kill9(t testing.TB, process int) {
	t.Helper()
	if err := d.processes[process].kill(); err != nil {
		t.Fatalf("hstest: kill process %d: %v", process, err)
	}
}

// Stop ends a process in good order and returns when it is gone.
func (d *Deployment) Stop(t testing.TB, process int) {
	t.Helper()
	if err := d.processes[process].stop(); err != nil {
		t.Fatalf("hstest: stop process %d: %v", process, err)
	}
}

// Restart starts a process that is not running and returns when it answers. Its address stays the same.
func (d *Deployment) Restart(t testing.TB, process int) {
	t.Helper()
	p := d.processes[process]
	if err := p.start(); err != nil {
		t.Fatalf("hstest: start process %d: %v", process, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := p.waitReady(ctx, d.client); err != nil {
		t.Fatalf("hstest: process %d did not become ready: %v\n%s", process, err, p.logs.tail(8<<10))
	}
}

// Secret adds a text that must not appear in any log; what names it in the message.
func (d *Deployment) Secret(secret, what string) {
	if secret == "" {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.secrets[secret] = what
}

// Command runs another command of roomline with the configuration of a process, beside it, and returns what it printed.
func (d *Deployment) Command(t testing.TB, process int, args ...string) (code int, output string) {
	t.Helper()
	cmd := d.processes[process].command(args...)
	out, err := cmd.CombinedOutput()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		t.Fatalf("hstest: roomline %v: %v", args, err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// configuration is the configuration of one process. JSON is YAML, so it is written as such.
func configuration(p *process, opts Options) ([]byte, error) {
	c := map[string]any{
		"server_name":    opts.ServerName,
		"hosted_domains": []string{opts.ServerName},
		"database":       map[string]any{"url": opts.DSN},
		"listeners": []any{
			map[string]any{"address": p.address, "serve": []string{"client", "federation"}},
			map[string]any{"address": p.admin, "serve": []string{"admin"}},
		},
		"registration": map[string]any{"mode": "open", "shared_secret": SharedSecret},
		"rate_limits":  map[string]any{"enabled": false},
		"accounts":     map[string]any{"self_deactivate": true},
		// What is sent waits for the test to take it.
		"telephony": map[string]any{"mode": "external"},
		// Gateways and application services of tests are on this machine.
		"outbound":     map[string]any{"allowed_addresses": []string{"127.0.0.0/8"}},
		"signing_keys": map[string]any{"encryption_key": EncryptionKey},
		"data_dir":     filepath.Join(filepath.Dir(p.config), "data"),
	}
	if opts.Configure != nil {
		opts.Configure(p.index, c)
	}
	return json.MarshalIndent(c, "", "  ")
}

var build struct {
	once   sync.Once
	binary string
	err    error
}

// Binary is the path of a roomline built from this tree, once for all tests of a run.
func Binary(t testing.TB) string {
	t.Helper()
	build.once.Do(func() { build.binary, build.err = buildBinary() })
	if build.err != nil {
		t.Fatalf("hstest: build roomline: %v", build.err)
	}
	return build.binary
}

// buildBinary leaves the work to the go tool, whose build cache makes a second run quick.
func buildBinary() (string, error) {
	if b := os.Getenv("ROOMLINE_BINARY"); b != "" {
		return filepath.Abs(b)
	}
	_, here, _, ok := runtime.Caller(0)
	if !ok {
		return "", errors.New("the source is not here")
	}
	root := filepath.Join(filepath.Dir(here), "..", "..")
	dir, err := os.MkdirTemp("", "roomline-hstest-")
	if err != nil {
		return "", err
	}
	// A test may run it as another user.
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "roomline")
	cmd := exec.Command("go", "build", "-o", binary, "./cmd/roomline")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return binary, nil
}

// Main runs a package's tests, and ends and removes what was started and built for all of them:
// func TestMain(m *testing.M) { hstest.Main(m) }.
func Main(m *testing.M) {
	code := m.Run()
	sharedMinIO.end()
	sharedVersityGW.end()
	if build.binary != "" && os.Getenv("ROOMLINE_BINARY") == "" {
		_ = os.RemoveAll(filepath.Dir(build.binary))
	}
	os.Exit(code)
}

// newHTTPClient has a connection for everybody who waits in a long poll.
func newHTTPClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			MaxIdleConnsPerHost: 512,
			DisableCompression:  true,
			DialContext:         (&net.Dialer{Timeout: 30 * time.Second}).DialContext,
		},
		Timeout: 90 * time.Second,
	}
}
