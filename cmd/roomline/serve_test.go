package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/roomline/roomline/config"
	"github.com/roomline/roomline/internal/store/storetest"
)

// running is a server inside the test.
type running struct {
	t    *testing.T
	cfg  *config.Config
	out  buffer
	stop context.CancelFunc
	done chan error
	url  string
}

// buffer is written by the server and read by the test.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// developmentConfig is what roomline serve --dev --data dir --listen 127.0.0.1:0 means.
func developmentConfig(dir string) *config.Config {
	cfg := config.Development()
	cfg.DataDir = dir
	cfg.Listeners[0].Address = "127.0.0.1:0"
	return cfg
}

// start runs a server in dev mode until its summary is complete.
func start(t *testing.T, cfg *config.Config) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{t: t, cfg: cfg, stop: cancel, done: make(chan error, 1)}
	log, err := newLogger(config.Log{Level: "info", Format: "text"}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	go func() { r.done <- runServer(ctx, cfg, log, &r.out) }()
	t.Cleanup(func() { cancel() })
	for !strings.Contains(r.out.String(), "Ctrl-C") {
		select {
		case err := <-r.done:
			t.Fatalf("the server ended: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	r.url = r.summary(`Homeserver +(\S+)`)
	return r
}

// end stops the server in good order.
func (r *running) end() {
	r.t.Helper()
	r.stop()
	select {
	case err := <-r.done:
		if err != nil {
			r.t.Fatalf("stop: %v", err)
		}
	case <-time.After(5 * time.Minute):
		r.t.Fatal("the server does not stop")
	}
}

// summary finds something in what the server has printed.
func (r *running) summary(pattern string) string {
	r.t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(r.out.String())
	if m == nil {
		r.t.Fatalf("%s is not in the summary:\n%s", pattern, r.out.String())
	}
	return m[1]
}

func (r *running) get(path, token string) (int, string) {
	r.t.Helper()
	return r.ask(http.MethodGet, path, token, "")
}

func (r *running) ask(method, path, token, body string) (int, string) {
	r.t.Helper()
	req, err := http.NewRequest(method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(answer)
}

// login signs a user of the summary in and returns the access token.
func (r *running) login(user string) string {
	r.t.Helper()
	password := r.summary(`@` + user + `:localhost +password +(\S+)`)
	body := fmt.Sprintf(`{"type": "m.login.password", "identifier": {"type": "m.id.user", "user": %q}, "password": %q}`, user, password)
	resp, err := http.Post(r.url+"/_matrix/client/v3/login", "application/json", strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.AccessToken == "" {
		r.t.Fatalf("login as %s: %d, %v", user, resp.StatusCode, err)
	}
	return answer.AccessToken
}

// command runs a roomline command beside the server.
func (r *running) command(stdin string, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(append(args, "--dev", "--data", r.cfg.DataDir), strings.NewReader(stdin), &out, &errs)
	return code, out.String(), errs.String()
}

// TestTryingItOut follows the summary of serve --dev.
func TestTryingItOut(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first := start(t, developmentConfig(dir))
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/metrics": 200, "/_matrix/client/versions": 200, "/_matrix/key/v2/server": 200, "/nonsense": 404} {
		if got, _ := first.get(path, ""); got != want {
			t.Errorf("GET %s: %d, want %d", path, got, want)
		}
	}
	if _, doc := first.get("/.well-known/matrix/client", ""); !strings.Contains(doc, first.url) {
		t.Errorf("/.well-known/matrix/client: %s", doc)
	}
	_, rooms := first.get("/_matrix/client/v3/sync", first.login("bob"))
	if !strings.Contains(rooms, "#welcome:localhost") || !strings.Contains(rooms, "Hello Bob!") {
		t.Errorf("bob's room is missing: %s", rooms)
	}
	if _, found := first.ask(http.MethodPost, "/_matrix/client/v3/user_directory/search", first.login("alice"), `{"search_term":"+44 20 7946 0002"}`); !strings.Contains(found, "@erin.obrien:partner.localhost") {
		t.Errorf("the linked organisation's people are not found: %s", found)
	}
	if info, err := os.Stat(filepath.Join(dir, "dev-users.txt")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("dev-users.txt: %v, %v", info.Mode(), err)
	}

	code, out, errs := first.command("", "user", "create", "carol", "--admin")
	if code != 0 || !strings.Contains(out, "made @carol:localhost, password ") {
		t.Errorf("user create: %d %s%s", code, out, errs)
	}
	if code, _, errs := first.command("", "user", "create", "carol"); code != 1 || !strings.Contains(errs, "taken") {
		t.Errorf("user create again: %d %s", code, errs)
	}
	if code, out, errs := first.command("a new password\n", "user", "password", "@alice:localhost", "--password-stdin"); code != 0 {
		t.Errorf("user password: %d %s%s", code, out, errs)
	}
	if _, out, _ := first.command("", "user", "list"); !regexp.MustCompile(`(?m)^@carol:localhost +\S+ +owner`).MatchString(out) {
		t.Errorf("user list:\n%s", out)
	}
	if code, out, errs := first.command("", "database", "restored"); code != 0 || !strings.Contains(out, "dropped") {
		t.Errorf("database restored: %d %s%s", code, out, errs)
	}
	first.end()

	second := start(t, developmentConfig(dir))
	second.login("bob")
	second.summary(`@alice:localhost +(password changed)`)
	second.end()
}

func TestWaitingRequestsAreAnsweredWhenTheServerStops(t *testing.T) {
	r := start(t, developmentConfig(filepath.Join(t.TempDir(), "data")))
	token := r.login("bob")
	// Nothing of this filter happens by itself.
	quiet := "filter=" + url.QueryEscape(`{"presence":{"not_types":["*"]},"account_data":{"not_types":["*"]}}`) + "&set_presence=offline"
	_, body := r.get("/_matrix/client/v3/sync?"+quiet, token)
	var answer struct {
		NextBatch string `json:"next_batch"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatal(err)
	}
	type result struct {
		status int
		body   string
	}
	answered := make(chan result, 1)
	go func() {
		status, body := r.get("/_matrix/client/v3/sync?timeout=300000&since="+answer.NextBatch+"&"+quiet, token)
		answered <- result{status, body}
	}()
	for !runs("clientapi/sync.(*Server).answer(") {
		time.Sleep(10 * time.Millisecond)
	}
	r.end()
	if got := <-answered; got.status != 200 || !strings.Contains(got.body, "next_batch") {
		t.Fatalf("the waiting request got %d %s", got.status, got.body)
	}
}

// runs reports whether a function is being run in this process, where the server is as well.
func runs(function string) bool {
	stacks := make([]byte, 16<<20)
	return strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), function)
}

// onDatabase is a configuration for a database that the test has, with a data directory of its own.
func onDatabase(t *testing.T, dsn string) *config.Config {
	cfg := developmentConfig(t.TempDir())
	cfg.Database.URL = config.Secret(dsn)
	return cfg
}

func TestStartIsRefused(t *testing.T) {
	dsn := storetest.EmptyDSN(t)
	first := onDatabase(t, dsn)
	start(t, first).end()

	otherName := onDatabase(t, dsn)
	otherName.ServerName, otherName.DataDir = "other.test", first.DataDir
	noKey := onDatabase(t, dsn)
	wrongKey := onDatabase(t, dsn)
	wrongKey.SigningKeys.EncryptionKey = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	for name, tc := range map[string]struct {
		cfg  *config.Config
		want string
	}{
		"with another server name":        {otherName, `belongs to the server name "localhost"`},
		"when the encryption key is gone": {noKey, "signing_keys.encryption_key"},
		"with another encryption key":     {wrongKey, "cannot be opened with the configured seal key"},
	} {
		t.Run(name, func(t *testing.T) {
			log, err := newLogger(config.Log{Level: "info", Format: "text"}, t.Output())
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			err = runServer(ctx, tc.cfg, log, io.Discard)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want …%s…", err, tc.want)
			}
		})
	}
}
