package inbox_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/roomline/roomline/appservices/telephony"
	"github.com/roomline/roomline/appservices/telephony/inbox"
	"github.com/roomline/roomline/appservices/telephony/mail"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbox"
)

func open(t testing.TB, dir string) *inbox.Inbox {
	t.Helper()
	w, err := mail.NewWriter(mail.WriterConfig{From: "invitations@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	i, err := inbox.New(inbox.Config{
		Dir: dir, Mails: w, BaseURL: "http://chat.example.com:8008", Clock: matrix.SystemClock{}, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		SMS: func(m *outbox.Message) (string, error) {
			if m.Code != nil {
				return "Your code: " + m.Code.Code + "\n\n@" + m.Code.Host + " #" + m.Code.Code, nil
			}
			return "Anna Peeters invites you: " + m.Invitation.Link, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func serve(t testing.TB, i *inbox.Inbox) string {
	t.Helper()
	api := httpapi.New(httpapi.Config{Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Clock: matrix.SystemClock{}}, i.Routes())
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	return server.URL
}

func invitation(id int64, medium, address string) *outbox.Message {
	now := matrix.TimestampOf(time.Now())
	m := &outbox.Message{
		ID: id, Kind: outbox.Invitation, Medium: medium, Address: address, Language: "nl", CreatedTS: now, ExpiresTS: now.Add(time.Hour),
		Brand: outbox.Brand{Name: "Peeters & Zonen", Colour: "#0a7a5c"}, RefuseURL: "http://127.0.0.1:8008/_roomline/guest/v1/refuse/B",
		Invitation: &outbox.InvitationText{
			ID: "i", Inviter: "Anna Peeters", Room: "Project Zuid", Link: "http://127.0.0.1:8008/i#AAAAAAAAAAAAAAAAAAAAAA", LinkExpiresTS: now.Add(time.Hour),
		},
	}
	if id%3 == 0 {
		start := time.Now().Add(24 * time.Hour)
		m.Invitation.Meeting = &outbox.Meeting{
			UID: "u", Title: "Budget", StartTS: matrix.TimestampOf(start), EndTS: matrix.TimestampOf(start.Add(time.Hour)), Timezone: "Europe/Brussels",
		}
	}
	return m
}

func code(id int64, medium, address string) *outbox.Message {
	m := invitation(id, medium, address)
	m.Kind, m.Invitation, m.Code = outbox.Code, nil, &outbox.CodeText{Code: "482913", Purpose: "guest", Host: "chat.example.com"}
	return m
}

func send(t testing.TB, i *inbox.Inbox, m *outbox.Message) telephony.Handed {
	t.Helper()
	said := 0
	handed, err := i.Send(t.Context(), m, func(string) error { said++; return nil })
	if err != nil || said != 1 {
		t.Fatalf("send: %v, said %d times", err, said)
	}
	return handed
}

type listed struct {
	Messages []struct {
		ID, MessageID                       int64
		Medium, To, Subject, Text, HTML     string
		Link, Calendar, Source, Kind, Langu string
	}
}

func list(t testing.TB, url string) listed {
	t.Helper()
	_, body := get(t, url, "")
	var l listed
	if err := json.Unmarshal([]byte(body), &l); err != nil {
		t.Fatal(err)
	}
	return l
}

func get(t testing.TB, url, host string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestWhatWouldBeSentIsKept(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "inbox")
	i := open(t, dir)
	if handed := send(t, i, invitation(1, outbox.Email, "guest@example.org")); !handed.Delivered || handed.Reference == "" {
		t.Errorf("handed: %+v", handed)
	}
	send(t, i, invitation(2, outbox.Msisdn, "32470123456"))
	_, err := i.Send(t.Context(), invitation(3, outbox.Email, "guest@example.org"), func(string) error { return errors.New("away") })
	if err == nil {
		t.Error("what may not be sent was kept")
	}
	if _, err := i.Send(t.Context(), invitation(3, outbox.Email, "nobody"), func(string) error { return nil }); err == nil {
		t.Error("a mail to nobody was kept")
	}
	// Opened anew, as after a restart; a file that is none of its own does no harm.
	if err := os.WriteFile(filepath.Join(dir, "note.json"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	i = open(t, dir)
	url := serve(t, i)
	l := list(t, url+"/_roomline/dev/inbox.json")
	if len(l.Messages) != 2 || l.Messages[0].To != "32470123456" || l.Messages[1].Link != "http://127.0.0.1:8008/i#AAAAAAAAAAAAAAAAAAAAAA" {
		t.Fatalf("%+v", l)
	}
	if l := list(t, url+"/_roomline/dev/inbox.json?address=guest@example.org"); len(l.Messages) != 1 || !strings.Contains(l.Messages[0].Text, "Anna Peeters") {
		t.Errorf("%+v", l)
	}
	for n := range limits.Inbox + 20 {
		send(t, i, code(int64(n), outbox.Msisdn, "32470123456"))
	}
	if l := list(t, url+"/_roomline/dev/inbox.json"); len(l.Messages) != limits.Inbox {
		t.Errorf("%d messages are kept", len(l.Messages))
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "[0-9]*")); len(files) != limits.Inbox {
		t.Errorf("%d files are kept", len(files))
	}
}

func TestOthersCannotRead(t *testing.T) {
	t.Parallel()
	i := open(t, t.TempDir())
	send(t, i, invitation(1, outbox.Email, "guest@example.org"))
	url := serve(t, i)
	for path, policy := range map[string]string{
		"/_roomline/dev/inbox": "default-src 'none'; script-src 'sha256-", "/_roomline/dev/inbox.json": "default-src 'none'",
		"/_roomline/dev/inbox/1/mail": "sandbox", "/_roomline/dev/inbox/1/source": "default-src 'none'",
	} {
		resp, _ := get(t, url+path, "")
		if resp.StatusCode != http.StatusOK || !strings.Contains(resp.Header.Get("Content-Security-Policy"), policy) || resp.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %s %v", path, resp.Status, resp.Header)
		}
		for host, want := range map[string]int{"evil.example": 403, "evil.example:8008": 403, "chat.example.com:8008": 200, "localhost:8008": 200, "[::1]:8008": 200} {
			if resp, body := get(t, url+path, host); resp.StatusCode != want || want == 403 && strings.Contains(body, "guest") {
				t.Errorf("%s at %s: %s", path, host, resp.Status)
			}
		}
	}
	if resp, _ := get(t, url+"/_roomline/dev/inbox/2/mail", ""); resp.StatusCode != http.StatusNotFound {
		t.Errorf("a mail that is none: %s", resp.Status)
	}
}

// TestPageInABrowser opens the page on a desktop and a phone, sees a message come by itself, and opens a link.
func TestPageInABrowser(t *testing.T) {
	t.Parallel()
	i := open(t, t.TempDir())
	url := serve(t, i)
	for n := range int64(5) {
		send(t, i, invitation(2*n, outbox.Email, fmt.Sprintf("guest%d@example.org", n)))
		send(t, i, code(2*n+1, outbox.Msisdn, "32470123456"))
	}
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("chromium is missing: make chromium")
	}
	cmd := exec.Command("node", "testdata/page.mjs", url)
	cmd.Env = append(os.Environ(), "CHROMIUM="+chromium, "MODULES=../../../tests/hydrogen", "PICTURES="+os.Getenv("ROOMLINE_MAIL_PICTURES"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(out)
	for {
		var said struct{ Ready, Problem string }
		if err := decoder.Decode(&said); err != nil {
			break
		}
		if said.Problem != "" {
			t.Error(said.Problem)
		}
		if said.Ready != "" {
			send(t, i, invitation(99, outbox.Msisdn, said.Ready))
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
