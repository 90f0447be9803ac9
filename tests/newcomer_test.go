package tests

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/child"
	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/hstest/freeport"
)

// TestNewcomerStartsServerAndSignsIn does what the README tells first: roomline serve --dev in an empty folder, and then
// what the summary says.
func TestNewcomerStartsServerAndSignsIn(t *testing.T) {
	t.Parallel()
	t.Run("as this user", func(t *testing.T) { newcomer(t, nil) })
	if os.Getuid() != 0 {
		return // only root may become another user, and the run above was as an ordinary one
	}
	t.Run("as another user", func(t *testing.T) {
		nobody, err := user.Lookup("nobody")
		if err != nil {
			t.Fatal(err)
		}
		uid, uidErr := strconv.Atoi(nobody.Uid)
		gid, gidErr := strconv.Atoi(nobody.Gid)
		if uidErr != nil || gidErr != nil {
			t.Fatalf("the user nobody has the ids %s and %s", nobody.Uid, nobody.Gid)
		}
		newcomer(t, &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)})
	})
}

func newcomer(t *testing.T, as *syscall.Credential) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "roomline-new-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if as != nil {
		if err := os.Chown(dir, int(as.Uid), int(as.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	first, stop := serveDev(t, dir, as)
	passwords := summaryPasswords(t, first)
	tokens := map[string]string{}
	for name, password := range passwords {
		tokens[name] = signIn(t, summaryURL(t, first), name, password)
	}
	chatInWelcome(t, summaryURL(t, first), tokens)
	runSummaryCurl(t, first)
	for _, path := range []string{"/readyz", "/metrics"} {
		resp, err := http.Get(summaryURL(t, first) + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s: got %d", path, resp.StatusCode)
		}
	}
	stop()
	if pids, _ := filepath.Glob(filepath.Join(dir, "data", "*", "data", "postmaster.pid")); len(pids) > 0 {
		t.Errorf("PostgreSQL was left behind: %s", pids)
	}

	second, stop := serveDev(t, dir, as)
	defer stop()
	for name, password := range summaryPasswords(t, second) {
		if password != passwords[name] {
			t.Errorf("the second start shows another password for %s", name)
		}
		signIn(t, summaryURL(t, second), name, password)
	}
}

// serveDev runs roomline serve --dev until stop is called, and returns the summary that it prints.
func serveDev(t *testing.T, dir string, as *syscall.Credential) (summary string, stop func()) {
	t.Helper()
	address, err := freeport.Address()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(hstest.Binary(t), "serve", "--dev", "--data", filepath.Join(dir, "data"), "--listen", address)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as, Pdeathsig: syscall.SIGTERM}
	var out, log syncBuffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := child.Start(cmd); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	deadline := time.After(5 * time.Minute)
	for !strings.Contains(out.String(), "Ctrl-C") {
		select {
		case err := <-ended:
			t.Fatalf("roomline serve --dev ended: %v\n%s%s", err, out.String(), log.String())
		case <-deadline:
			_ = cmd.Process.Signal(syscall.SIGTERM)
			t.Fatalf("roomline serve --dev printed no summary\n%s%s", out.String(), log.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
	return out.String(), func() {
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Errorf("after Ctrl-C: %v\n%s", err, log.String())
		}
	}
}

// syncBuffer is a buffer that a process writes into while a test reads.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func summaryURL(t *testing.T, summary string) string {
	t.Helper()
	m := regexp.MustCompile(`Homeserver\s+(http://\S+)`).FindStringSubmatch(summary)
	if m == nil {
		t.Fatalf("the summary names no homeserver:\n%s", summary)
	}
	return m[1]
}

func summaryPasswords(t *testing.T, summary string) map[string]string {
	t.Helper()
	passwords := map[string]string{}
	for _, m := range regexp.MustCompile(`User\s+(@\S+)\s+password\s+(\S+)`).FindAllStringSubmatch(summary, -1) {
		passwords[m[1]] = m[2]
	}
	if len(passwords) != 3 {
		t.Fatalf("the summary shows %d users with passwords, want 3:\n%s", len(passwords), summary)
	}
	return passwords
}

// request asks as any HTTP client would.
func request(t *testing.T, method, url, token string, body any) gjson.Result {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %d %s, %v", method, url, resp.StatusCode, answer, err)
	}
	return gjson.ParseBytes(answer)
}

func signIn(t *testing.T, url, name, password string) (token string) {
	t.Helper()
	return request(t, http.MethodPost, url+"/_matrix/client/v3/login", "", map[string]any{
		"type": "m.login.password", "password": password, "identifier": map[string]any{"type": "m.id.user", "user": name},
	}).Get("access_token").String()
}

// chatInWelcome has alice write in the room that is there, and bob read it.
func chatInWelcome(t *testing.T, url string, tokens map[string]string) {
	t.Helper()
	room := request(t, http.MethodGet, url+"/_matrix/client/v3/joined_rooms", tokens["@alice:localhost"], nil).Get("joined_rooms.0").String()
	if room == "" {
		t.Fatal("alice is in no room")
	}
	sent := request(t, http.MethodPut, url+hstest.Path("rooms", room, "send", "m.room.message", "1"), tokens["@alice:localhost"],
		map[string]any{"msgtype": "m.text", "body": "Hello again"}).Get("event_id").String()
	got := request(t, http.MethodGet, url+hstest.Path("rooms", room, "messages")+"?dir=b&limit=1", tokens["@bob:localhost"], nil)
	if got.Get("chunk.0.event_id").String() != sent {
		t.Errorf("bob does not see what alice wrote: %s", got.Raw)
	}
}

// runSummaryCurl runs the command with curl that the summary shows, in a shell.
func runSummaryCurl(t *testing.T, summary string) {
	t.Helper()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Log("curl is not installed: the summary's command was not tried")
		return
	}
	m := regexp.MustCompile(`(?s)(curl .*?)\n\s+The directory`).FindStringSubmatch(summary)
	if m == nil {
		t.Fatalf("the summary shows no command with curl:\n%s", summary)
	}
	out, err := exec.CommandContext(t.Context(), "sh", "-c", m[1]).Output()
	if err != nil || !gjson.GetBytes(out, "access_token").Exists() {
		t.Errorf("the summary's command\n%s\ngave %s, %v", m[1], out, err)
	}
}
