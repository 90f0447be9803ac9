package hstest

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/hstest/freeport"
)

// MailServer is a Mailpit of the test's own: it takes every mail and delivers none.
type MailServer struct {
	SMTP, API string // host:port
	// RootCAs vouch for its certificate, if it has one; CAFile is a file with them.
	RootCAs *x509.CertPool
	CAFile  string
	// Username and Password are set if it asks for them.
	Username, Password string

	program
	client  http.Client
	command func() *exec.Cmd
}

// MailServerOptions say what a MailServer is like.
type MailServerOptions struct {
	// StartTLS offers and requires it, TLS speaks it from the first byte; without both it is spoken in the clear.
	StartTLS, TLS bool
	// Auth asks for a user name and a password.
	Auth bool
}

// Mailpit starts a mail server and stops it at the end of the test.
func Mailpit(t testing.TB, o MailServerOptions) *MailServer {
	t.Helper()
	binary, dir := tool(t, "mailpit"), t.TempDir()
	m := &MailServer{}
	var err error
	if m.SMTP, err = freeport.Address(); err == nil {
		m.API, err = freeport.Address()
	}
	if err != nil {
		t.Fatalf("hstest: %v", err)
	}
	args := []string{"--smtp", m.SMTP, "--listen", m.API, "--database", filepath.Join(dir, "mails"), "--enable-chaos", "--disable-version-check", "--smtp-disable-rdns",
		"--smtp-strict-rfc-headers"}
	if o.StartTLS || o.TLS {
		m.CAFile = filepath.Join(dir, "public.crt")
		key := filepath.Join(dir, "private.key")
		m.RootCAs = Certificate(t, m.CAFile, key)
		args = append(args, "--smtp-tls-cert", m.CAFile, "--smtp-tls-key", key)
	}
	switch {
	case o.TLS:
		args = append(args, "--smtp-require-tls")
	case o.StartTLS:
		args = append(args, "--smtp-require-starttls")
	}
	if o.Auth {
		m.Username, m.Password = "roomline", "correct-horse"
		file := filepath.Join(dir, "passwords")
		if err := os.WriteFile(file, []byte(m.Username+":"+m.Password+"\n"), 0o600); err != nil {
			t.Fatalf("hstest: %v", err)
		}
		args = append(args, "--smtp-auth-file", file)
		if !o.TLS && !o.StartTLS {
			args = append(args, "--smtp-auth-allow-insecure")
		}
	}
	m.command = func() *exec.Cmd {
		cmd := exec.Command(binary, args...)
		cmd.Dir = dir
		return cmd
	}
	t.Cleanup(func() {
		_ = m.kill()
		m.client.CloseIdleConnections()
		if t.Failed() {
			t.Logf("hstest: log of mailpit:\n%s", m.logs.tail(8<<10))
		}
	})
	m.Restart(t)
	return m
}

// Kill9 ends the server at once.
func (m *MailServer) Kill9(t testing.TB) {
	t.Helper()
	if err := m.kill(); err != nil {
		t.Fatalf("hstest: kill mailpit: %v", err)
	}
}

// Restart starts a server that is not running and returns when it answers; the mails are still there.
func (m *MailServer) Restart(t testing.TB) {
	t.Helper()
	if err := m.run(m.command()); err != nil {
		t.Fatalf("hstest: start mailpit: %v", err)
	}
	m.wait(t, func(ctx context.Context) error {
		_, err := m.ask(ctx, http.MethodGet, "/readyz", nil)
		return err
	})
}

func (m *MailServer) ask(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+m.API+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := m.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, answer)
	}
	return answer, err
}

func (m *MailServer) must(t testing.TB, method, path string, body []byte) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	answer, err := m.ask(ctx, method, path, body)
	if err != nil {
		t.Fatalf("hstest: mailpit: %v", err)
	}
	return answer
}

// Refuse answers each sender, or each recipient, or each sign-in, with a code; 0 takes them again.
func (m *MailServer) Refuse(t testing.TB, sender, recipient, signIn int) {
	t.Helper()
	type trigger struct{ ErrorCode, Probability int }
	of := func(code int) trigger {
		if code == 0 {
			return trigger{451, 0}
		}
		return trigger{code, 100}
	}
	body, err := json.Marshal(map[string]trigger{"Sender": of(sender), "Recipient": of(recipient), "Authentication": of(signIn)})
	if err != nil {
		t.Fatal(err)
	}
	m.must(t, http.MethodPut, "/api/v1/chaos", body)
}

// ReceivedMail is a mail as the server read it.
type ReceivedMail struct {
	ID, MessageID, Subject, Text, HTML string
	From                               struct{ Name, Address string }
	To, ReplyTo                        []struct{ Name, Address string }
	Attachments                        []struct{ PartID, FileName, ContentType string }
	// Headers are all of them, Raw is what came.
	Headers map[string][]string
	Raw     string
}

// Mails are all mails to an address, or all if it is empty, the newest first.
func (m *MailServer) Mails(t testing.TB, to string) []ReceivedMail {
	t.Helper()
	var list struct{ Messages []struct{ ID string } }
	path := "/api/v1/messages?limit=500"
	if err := json.Unmarshal(m.must(t, http.MethodGet, path, nil), &list); err != nil {
		t.Fatalf("hstest: mailpit: %v", err)
	}
	var mails []ReceivedMail
	for _, one := range list.Messages {
		var mail ReceivedMail
		if err := json.Unmarshal(m.must(t, http.MethodGet, "/api/v1/message/"+one.ID, nil), &mail); err != nil {
			t.Fatalf("hstest: mailpit: %v", err)
		}
		if to != "" && (len(mail.To) == 0 || !strings.EqualFold(mail.To[0].Address, to)) {
			continue
		}
		if err := json.Unmarshal(m.must(t, http.MethodGet, "/api/v1/message/"+one.ID+"/headers", nil), &mail.Headers); err != nil {
			t.Fatalf("hstest: mailpit: %v", err)
		}
		mail.Raw = string(m.must(t, http.MethodGet, "/api/v1/message/"+one.ID+"/raw", nil))
		mails = append(mails, mail)
	}
	return mails
}

// Part is a part or an attachment of a mail.
func (m *MailServer) Part(t testing.TB, id, part string) string {
	t.Helper()
	return string(m.must(t, http.MethodGet, "/api/v1/message/"+id+"/part/"+part, nil))
}

// WaitForMail waits for a mail to an address, and returns the newest.
func (m *MailServer) WaitForMail(t testing.TB, to string) ReceivedMail {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if mails := m.Mails(t, to); len(mails) > 0 {
			return mails[0]
		}
	}
	t.Fatalf("hstest: no mail came to %s", to)
	return ReceivedMail{}
}
