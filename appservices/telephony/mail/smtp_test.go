package mail_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/roomline/roomline/appservices/telephony"
	"github.com/roomline/roomline/appservices/telephony/mail"
	"github.com/roomline/roomline/internal/hstest"
)

// logs is what a transport logs.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func logTo(l *logs) *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// outcome is what an error says: sent, refused, later or unknown.
func outcome(err error) (word, problem string) {
	if r, ok := errors.AsType[*telephony.Refusal](err); ok {
		return "refused", r.Problem
	}
	if l, ok := errors.AsType[*telephony.Later](err); ok {
		if l.Unknown {
			return "unknown", l.Problem
		}
		return "later", l.Problem
	}
	if err != nil {
		return "another", err.Error()
	}
	return "sent", ""
}

// TestMailServersThatFail: whatever goes wrong wherever, it is known whether to try again, nothing counts as under way before it is, and afterwards the
// same mail arrives. No address gets into logs or reports.
func TestMailServersThatFail(t *testing.T) {
	type want struct{ at, say, do, outcome, problem string }
	const words = " 5.1.1 <guest@example.org>: we do not like guest@example.org"
	var table []want
	for _, at := range []string{greeting, "EHLO", "AUTH", "MAIL", "RCPT", "DATA", dot} {
		for _, code := range []string{"421", "450", "550"} {
			w := want{at: at, say: code + words, outcome: "later", problem: "the mail server asks to come back (" + code + " 5.1.1)"}
			switch {
			case at == "AUTH":
				w.problem = "the mail server refuses the sign-in"
			case code == "550" && at != greeting && at != "EHLO":
				w.outcome = "refused"
				w.problem = "the mail server refused the " + map[string]string{"MAIL": "sender", "RCPT": "addressee", "DATA": "mail", dot: "mail"}[at] + " (550 5.1.1)"
			}
			table = append(table, w)
		}
		cut := want{at: at, do: "cut", outcome: "later", problem: "the connection to the mail server broke"}
		if at == dot {
			cut.outcome, cut.problem = "unknown", "the mail server did not answer"
		}
		hang := cut
		hang.do = "hang"
		table = append(table, cut, hang)
	}
	table = append(table,
		want{body, "", "cut", "unknown", "the mail server did not answer"}, want{"MAIL", "530" + words, "", "later", "the mail server asks to come back (530 5.1.1)"})
	server := hstest.Mailpit(t, hstest.MailServerOptions{Auth: true})
	for i, tc := range table {
		t.Run(fmt.Sprintf("%s %.3s%s", tc.at, tc.say, tc.do), func(t *testing.T) {
			t.Parallel()
			between, logged, now := newFaults(t, server.SMTP), &logs{}, &moving{now: noon}
			patience := time.Minute
			if tc.do == "hang" {
				patience = 8 * time.Second // long enough for a server that is only busy
			}
			sender := transport(t, server, func(c *mail.Config) {
				c.Host, c.Port = split(t, between.listener.Addr().String())
				c.Answer, c.Taken, c.Clock, c.Log = patience, patience, now, logTo(logged)
			})
			m := message("invitation", "en", fmt.Sprintf("guest%d@example.org", i))
			m.ID = int64(i)
			between.set(tc.at, tc.say, tc.do)
			said, err := send(t, sender, m)
			if word, problem := outcome(err); word != tc.outcome || problem != tc.problem {
				t.Errorf("it was %s: %q, want %s: %q", word, problem, tc.outcome, tc.problem)
			}
			if late := tc.at == "DATA" || tc.at == dot || tc.at == body; (said != "") != late {
				t.Errorf("it said that it sends: %q", said)
			}
			arrived := 0
			if tc.at == dot && tc.outcome == "unknown" {
				arrived = 1
			}
			if mails := server.Mails(t, m.Address); len(mails) != arrived {
				t.Errorf("%d mails arrived", len(mails))
			}
			between.set("", "", "")
			now.add(time.Minute)
			if _, err := send(t, sender, m); err != nil {
				t.Fatalf("when all was well: %v", err)
			}
			mails := server.Mails(t, m.Address)
			if len(mails) != arrived+1 || mails[0].MessageID != mails[arrived].MessageID {
				t.Errorf("afterwards %d mails had arrived", len(mails))
			}
			for _, leak := range []string{"guest", "example.org", "do not like", "Anna", secret[len(secret)-22:]} {
				if strings.Contains(logged.String(), leak) {
					t.Errorf("the log has %q:\n%s", leak, logged)
				}
			}
		})
	}
}

// moving is a clock that the test moves.
type moving struct {
	mu  sync.Mutex
	now time.Time
}

func (m *moving) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

func (m *moving) add(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = m.now.Add(d)
}

// TestTheMailServerItselfRefuses: as the real one says it, by its own faults.
func TestTheMailServerItselfRefuses(t *testing.T) {
	server := hstest.Mailpit(t, hstest.MailServerOptions{StartTLS: true, Auth: true})
	now := &moving{now: noon}
	sender := transport(t, server, func(c *mail.Config) { c.Security, c.Clock = mail.StartTLS, now })
	for _, tc := range []struct {
		sender, recipient, signIn int
		want                      string
	}{
		{421, 0, 0, "later"}, {451, 0, 0, "later"}, {550, 0, 0, "refused"}, {0, 452, 0, "later"}, {0, 550, 0, "refused"}, {0, 0, 535, "later"}, {0, 0, 454, "later"},
	} {
		server.Refuse(t, tc.sender, tc.recipient, tc.signIn)
		if tc.signIn != 0 { // on a connection of its own
			now.add(time.Minute)
		}
		_, err := send(t, sender, message("login", "en", "guest@example.org"))
		if word, problem := outcome(err); word != tc.want {
			t.Errorf("%+v: %s: %s", tc, word, problem)
		}
		server.Refuse(t, 0, 0, 0)
		now.add(time.Minute)
		if _, err := send(t, sender, message("login", "en", "guest@example.org")); err != nil {
			t.Errorf("after %+v: %v", tc, err)
		}
	}
}

func TestSecurityIsKept(t *testing.T) {
	plain := hstest.Mailpit(t, hstest.MailServerOptions{})
	starttls := hstest.Mailpit(t, hstest.MailServerOptions{StartTLS: true})
	implicit := hstest.Mailpit(t, hstest.MailServerOptions{TLS: true, Auth: true})
	for name, tc := range map[string]struct {
		server  *hstest.MailServer
		change  func(*mail.Config)
		problem string
	}{
		"STARTTLS is required":      {plain, func(c *mail.Config) { c.Security = "" }, "the mail server offers no TLS"},
		"STARTTLS":                  {starttls, func(c *mail.Config) { c.Security = "" }, ""},
		"STARTTLS and a stranger":   {starttls, func(c *mail.Config) { c.Security, c.CAs = mail.StartTLS, x509.NewCertPool() }, "the mail server's certificate is not trusted"},
		"the server requires it":    {starttls, func(*mail.Config) {}, "the mail server asks to come back (530 5.7.0)"},
		"TLS":                       {implicit, func(c *mail.Config) { c.Security = mail.ImplicitTLS }, ""},
		"TLS and a stranger":        {implicit, func(c *mail.Config) { c.Security, c.CAs = mail.ImplicitTLS, nil }, "the mail server's certificate is not trusted"},
		"TLS and a wrong name":      {implicit, func(c *mail.Config) { c.Security, c.Host = mail.ImplicitTLS, "localhost" }, "the mail server's certificate is not trusted"},
		"TLS and a wrong password":  {implicit, func(c *mail.Config) { c.Security, c.Password = mail.ImplicitTLS, "guess" }, "the mail server refuses the sign-in"},
		"TLS where there is none":   {plain, func(c *mail.Config) { c.Security = mail.ImplicitTLS }, "the mail server can't be reached"},
		"a password and no sign-in": {plain, func(c *mail.Config) { c.Username, c.Password = "a", "b" }, "the mail server refuses the sign-in"},
	} {
		t.Run(name, func(t *testing.T) {
			sender := transport(t, tc.server, func(c *mail.Config) { tc.change(c); c.Answer = time.Minute })
			_, err := send(t, sender, message("invitation", "en", "guest@example.org"))
			if word, problem := outcome(err); problem != tc.problem || (word != "sent" && word != "later") {
				t.Errorf("%s: %q", word, problem)
			}
		})
	}
	_, err := mail.New(mail.Config{Writer: writer(t), Host: "mail.example.org", Security: mail.Plain, Username: "a", Password: "b"})
	if err == nil {
		t.Error("a password is sent in the clear to another machine")
	}
}

// TestConnectionsAreUsedAgain, and one that the mail server closed meanwhile costs nothing.
func TestConnectionsAreUsedAgain(t *testing.T) {
	server := hstest.Mailpit(t, hstest.MailServerOptions{})
	between := newFaults(t, server.SMTP)
	sender := transport(t, server, func(c *mail.Config) {
		c.Host, c.Port = split(t, between.listener.Addr().String())
		c.Clock = &moving{now: noon} // no connection is idle for long
	})
	for range 3 {
		if _, err := send(t, sender, message("invitation", "en", "guest@example.org")); err != nil {
			t.Fatal(err)
		}
	}
	if n := between.count(); n != 1 {
		t.Errorf("three mails took %d connections", n)
	}
	between.cut()
	if _, err := send(t, sender, message("invitation", "en", "guest@example.org")); err != nil {
		t.Errorf("after the mail server closed the connection: %v", err)
	}
	if n := between.count(); n != 2 {
		t.Errorf("four mails took %d connections", n)
	}
	server.Kill9(t)
	if word, _ := outcome(second(send(t, sender, message("invitation", "en", "guest@example.org")))); word != "later" {
		t.Errorf("without a mail server it was %s", word)
	}
	server.Restart(t)
	if _, err := send(t, sender, message("invitation", "en", "guest@example.org")); err != nil {
		t.Errorf("when the mail server was back: %v", err)
	}
	if n := len(server.Mails(t, "")); n != 5 {
		t.Errorf("%d mails arrived, want 5", n)
	}
	var all sync.WaitGroup
	for range 40 {
		all.Go(func() {
			if _, err := send(t, sender, message("meeting", "nl", "many@example.org")); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := len(server.Mails(t, "many@example.org")); n != 40 {
		t.Errorf("%d of 40 mails arrived", n)
	}
}

func second(_ string, err error) error { return err }

// TestWhatMayNotBeSentIsNotSent: the server did not hear that a mail is under way, or the bridge stops.
func TestWhatMayNotBeSentIsNotSent(t *testing.T) {
	server := hstest.Mailpit(t, hstest.MailServerOptions{})
	between := newFaults(t, server.SMTP)
	sender := transport(t, server, func(c *mail.Config) { c.Host, c.Port = split(t, between.listener.Addr().String()) })
	away := errors.New("the server is away")
	_, err := sender.Send(t.Context(), message("invitation", "en", "guest@example.org"), func(string) error { return away })
	if !errors.Is(err, away) {
		t.Errorf("it was %v", err)
	}
	stopped, cancel := context.WithCancel(t.Context())
	_, err = sender.Send(stopped, message("invitation", "en", "guest@example.org"), func(string) error { cancel(); return nil })
	if err == nil {
		t.Error("a mail was sent after the bridge stopped")
	}
	if n := len(server.Mails(t, "")); n != 0 {
		t.Errorf("%d mails arrived", n)
	}
	for _, address := range []string{"", "nobody", "a@b\r\nRCPT TO:<x@y.z>", "a b@example.org", `"a b"@example.org`, "<a@example.org>", strings.Repeat("a", 300) + "@example.org"} {
		_, err := send(t, sender, message("invitation", "en", address))
		if word, _ := outcome(err); word != "refused" {
			t.Errorf("%.40q: %s", address, word)
		}
	}
	if _, err := send(t, sender, message("invitation", "de", "jörg@example.org")); err != nil {
		t.Errorf("an address with an umlaut: %v", err)
	}
	if n := len(server.Mails(t, "jörg@example.org")); n != 1 {
		t.Errorf("%d mails arrived", n)
	}
	if _, err := send(t, sender, message("invitation", "de", "joerg@example.org")); err != nil {
		t.Error(err)
	}
	between.mu.Lock()
	defer between.mu.Unlock()
	for i, said := range between.senders {
		if umlaut := i == len(between.senders)-2; strings.Contains(said, "SMTPUTF8") != umlaut {
			t.Errorf("%d of %d: %s", i, len(between.senders), said)
		}
	}
}
