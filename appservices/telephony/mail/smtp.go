package mail

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/wneessen/go-mail/smtp"

	"github.com/roomline/roomline/appservices/telephony"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbox"
)

// Security of the connection to a mail server.
type Security string

const (
	// StartTLS begins in the clear and goes on with TLS, or not at all.
	StartTLS Security = "starttls"
	// ImplicitTLS speaks TLS from the first byte.
	ImplicitTLS Security = "tls"
	// Plain is for a mail server on the same machine, or behind a tunnel.
	Plain Security = "none"
)

// Config of a Transport. Writer, Host and Log are required.
type Config struct {
	Writer *Writer
	Host   string
	// Port is 587 if it is 0, or 465 for ImplicitTLS.
	Port     int
	Security Security // StartTLS if it is empty
	// CAs are who may vouch for the mail server; nil: those that the system trusts.
	CAs *x509.CertPool
	// Username and Password are for mail servers that ask for them.
	Username, Password string
	// Hello is what we call ourselves; the sender's domain if it is empty.
	Hello string
	// Answer is how long the mail server may take over a command, Taken over a mail; 0 for those of limits.
	Answer, Taken time.Duration
	Clock         matrix.Clock
	Log           *slog.Logger
}

// Transport sends mails. It is safe for concurrent use.
type Transport struct {
	cfg   Config
	slots chan struct{} // one for each connection that is in use

	mu     sync.Mutex
	idle   []*connection
	paused time.Time // nothing is sent before
	closed bool
}

// connection is one to the mail server.
type connection struct {
	*smtp.Client
	raw   net.Conn
	since time.Time // idle since
	mails int
}

// New returns a Transport. It connects when there is something to send.
func New(cfg Config) (*Transport, error) {
	cfg.Security, cfg.Answer, cfg.Taken = cmp.Or(cfg.Security, StartTLS), cmp.Or(cfg.Answer, limits.MailAnswer), cmp.Or(cfg.Taken, limits.MailTaken)
	if cfg.Clock == nil {
		cfg.Clock = matrix.SystemClock{}
	}
	switch {
	case cfg.Host == "":
		return nil, errors.New("there is no mail server")
	case cfg.Security == ImplicitTLS:
		cfg.Port = cmp.Or(cfg.Port, 465)
	case cfg.Security == StartTLS || cfg.Security == Plain:
		cfg.Port = cmp.Or(cfg.Port, 587)
	default:
		return nil, fmt.Errorf("%q is no security that a connection can have", cfg.Security)
	}
	if cfg.Security == Plain && cfg.Username != "" && !loopback(cfg.Host) {
		return nil, errors.New("a password is not sent in the clear to another machine")
	}
	cfg.Hello = cmp.Or(cfg.Hello, cfg.Writer.cfg.Host())
	return &Transport{cfg: cfg, slots: make(chan struct{}, limits.MailConnections)}, nil
}

func loopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

// Run closes connections that nobody needs until ctx ends, and then all.
func (t *Transport) Run(ctx context.Context) error {
	tick := time.NewTicker(limits.MailIdle / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			t.mu.Lock()
			t.closed = true
			t.mu.Unlock()
			t.prune(0)
			return nil
		case <-tick.C:
			t.prune(limits.MailIdle)
		}
	}
}

// prune closes the connections that have been idle for so long.
func (t *Transport) prune(after time.Duration) {
	t.mu.Lock()
	var old, young []*connection
	for _, c := range t.idle {
		if t.cfg.Clock.Now().Sub(c.since) >= after {
			old = append(old, c)
		} else {
			young = append(young, c)
		}
	}
	t.idle = young
	t.mu.Unlock()
	for _, c := range old {
		c.bye()
	}
}

// bye is polite, and does not wait for an answer that is late.
func (c *connection) bye() {
	_ = c.raw.SetDeadline(time.Now().Add(time.Second))
	_ = c.Quit()
	_ = c.raw.Close()
}

// Send writes a mail and gives it to the mail server.
func (t *Transport) Send(ctx context.Context, m *outbox.Message, sending func(reference string) error) (telephony.Handed, error) {
	written, err := t.cfg.Writer.Write(m)
	if err != nil {
		t.cfg.Log.Error("a mail can't be written", "message", m.ID, "kind", m.Kind, "error", err)
		return telephony.Handed{}, &telephony.Refusal{Problem: "the mail can't be written"}
	}
	select {
	case t.slots <- struct{}{}:
		defer func() { <-t.slots }()
	case <-ctx.Done():
		return telephony.Handed{}, ctx.Err()
	}
	c, used := t.take()
	if c == nil {
		if c, err = t.connect(ctx); err != nil {
			return telephony.Handed{}, t.failed("connect", err)
		}
	}
	err = t.deliver(ctx, c, written, sending)
	if used && errors.Is(err, errGone) {
		// The mail server closed a connection that was idle. It has not been told of the mail.
		if c, err = t.connect(ctx); err != nil {
			return telephony.Handed{}, t.failed("connect", err)
		}
		err = t.deliver(ctx, c, written, sending)
	}
	if err != nil {
		return telephony.Handed{}, err
	}
	return telephony.Handed{Reference: written.ID}, nil
}

// take is an idle connection, or nil.
func (t *Transport) take() (c *connection, used bool) {
	t.prune(limits.MailIdle)
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.idle); n > 0 {
		c, t.idle = t.idle[n-1], t.idle[:n-1]
	}
	return c, c != nil
}

// keep keeps a connection for the next mail.
func (t *Transport) keep(c *connection) {
	c.mails++
	c.since = t.cfg.Clock.Now()
	t.mu.Lock()
	if t.closed || c.mails >= limits.MailsPerConnection {
		t.mu.Unlock()
		c.bye()
		return
	}
	t.idle = append(t.idle, c)
	t.mu.Unlock()
}

// errNoTLS: the mail server does not offer what the configuration requires.
var errNoTLS = errors.New("the mail server offers no TLS")

// errNoAuth: it offers no way to sign in that is safe.
var errNoAuth = errors.New("the mail server offers no way to sign in")

// errPaused: the sign-in was refused a moment ago.
var errPaused = errors.New("the mail server refused the sign-in a moment ago")

// stage is an error with the stage at which it came.
type stage struct {
	name string
	error
}

func (s *stage) Unwrap() error { return s.error }

// connect makes a connection on which mails can be sent.
func (t *Transport) connect(ctx context.Context) (_ *connection, err error) {
	t.mu.Lock()
	paused := t.cfg.Clock.Now().Before(t.paused)
	t.mu.Unlock()
	if paused {
		return nil, errPaused
	}
	ctx, cancel := context.WithTimeout(ctx, t.cfg.Answer)
	defer cancel()
	encrypted := &tls.Config{ServerName: t.cfg.Host, RootCAs: t.cfg.CAs, MinVersion: tls.VersionTLS12}
	var dial interface {
		DialContext(ctx context.Context, network, address string) (net.Conn, error)
	} = &net.Dialer{}
	if t.cfg.Security == ImplicitTLS {
		dial = &tls.Dialer{Config: encrypted}
	}
	raw, err := dial.DialContext(ctx, "tcp", net.JoinHostPort(t.cfg.Host, strconv.Itoa(t.cfg.Port)))
	if err != nil {
		return nil, err
	}
	// Whatever hangs, in greetings or in TLS, ends with the connection.
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer func() {
		if !stop() && err == nil {
			err = ctx.Err()
		}
		if err != nil {
			raw.Close()
		}
	}()
	client, err := smtp.NewClient(raw, t.cfg.Host)
	if err != nil {
		return nil, &stage{"greeting", err}
	}
	// It would say SMTPUTF8 of every mail, and a mail server may know another that does not.
	client.SkipSMTPUTF8(true)
	if err := client.Hello(t.cfg.Hello); err != nil {
		return nil, &stage{"greeting", err}
	}
	if t.cfg.Security == StartTLS {
		if offered, _ := client.Extension("STARTTLS"); !offered {
			return nil, errNoTLS
		}
		if err := client.StartTLS(encrypted); err != nil {
			return nil, &stage{"STARTTLS", err}
		}
	}
	if err := t.signIn(client); err != nil {
		return nil, &stage{"sign-in", err}
	}
	return &connection{Client: client, raw: raw}, nil
}

// signIn signs in by the best way that the mail server offers.
func (t *Transport) signIn(client *smtp.Client) error {
	if t.cfg.Username == "" {
		return nil
	}
	_, offered := client.Extension("AUTH")
	ways := strings.Fields(strings.ToUpper(offered))
	user, password := t.cfg.Username, t.cfg.Password
	// New has made sure that in the clear they go to this machine only.
	for _, way := range []struct {
		name string
		auth smtp.Auth
	}{
		{"SCRAM-SHA-256", smtp.ScramSHA256Auth(user, password)},
		{"PLAIN", smtp.PlainAuth("", user, password, t.cfg.Host, true)},
		{"LOGIN", smtp.LoginAuth(user, password, t.cfg.Host, true)},
	} {
		for _, name := range ways {
			if name == way.name {
				return client.Auth(way.auth)
			}
		}
	}
	return errNoAuth
}

// errGone: the mail server has closed a connection that had been used before.
var errGone = errors.New("the mail server closed the connection")

// deliver gives a mail to the mail server, and the connection back if it may be used again.
//
// Spec: RFC 5321 §3.3
func (t *Transport) deliver(ctx context.Context, c *connection, m *Mail, sending func(string) error) error {
	stop := context.AfterFunc(ctx, func() { c.raw.Close() })
	usable := false
	defer func() {
		if stop() && usable {
			t.keep(c)
		} else {
			c.raw.Close()
		}
	}()
	if offered, _ := c.Extension("SMTPUTF8"); !isASCII(m.To) {
		if !offered {
			usable = true
			return &telephony.Refusal{Problem: "the mail server takes no such address"}
		}
		c.SkipSMTPUTF8(false)
		defer c.SkipSMTPUTF8(true)
	}
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"sender", func() error { return c.Mail("<" + m.From + ">") }},
		{"addressee", func() error { return c.Rcpt("<" + m.To + ">") }},
	} {
		if err := t.step(c, step.name, step.do); err != nil {
			if step.name == "sender" && c.mails > 0 && isGone(err) {
				return errGone
			}
			usable = refusedPolitely(err) && t.step(c, "reset", c.Reset) == nil
			return t.failed(step.name, err)
		}
	}
	if err := sending(m.ID); err != nil {
		usable = t.step(c, "reset", c.Reset) == nil
		return err
	}
	if err := t.data(c, m); err != nil {
		usable = refusedPolitely(err)
		return t.failed("mail", err)
	}
	usable = true
	return nil
}

func (t *Transport) step(c *connection, name string, do func() error) error {
	_ = c.UpdateDeadline(t.cfg.Answer)
	if err := do(); err != nil {
		return &stage{name, err}
	}
	return nil
}

// errUnanswered: the mail server got the whole mail and never said whether it took it.
var errUnanswered = errors.New("the mail server did not answer")

// data sends what the mail says.
func (t *Transport) data(c *connection, m *Mail) error {
	_ = c.UpdateDeadline(t.cfg.Answer)
	w, err := c.Data()
	if err != nil {
		return &stage{"mail", err}
	}
	if _, err := w.Write(m.Raw); err != nil {
		// The last line has not been sent, so that the mail server can't have taken it for whole.
		return &stage{"mail", err}
	}
	_ = c.UpdateDeadline(t.cfg.Taken)
	if err := w.Close(); err != nil {
		if _, answered := errors.AsType[*textproto.Error](err); !answered {
			err = errors.Join(errUnanswered, err)
		}
		return &stage{"mail", err}
	}
	return nil
}

// refusedPolitely: the mail server said no and goes on listening.
func refusedPolitely(err error) bool {
	e, ok := errors.AsType[*textproto.Error](err)
	return ok && e.Code != 421
}

// isGone: the connection broke, or the mail server said that it is about to.
func isGone(err error) bool {
	e, ok := errors.AsType[*textproto.Error](err)
	return !ok || e.Code == 421
}

// failed says what an error means for a mail. What a mail server says in words may hold addresses, and is not told on.
func (t *Transport) failed(where string, err error) error {
	if s, ok := errors.AsType[*stage](err); ok {
		where = s.name
	}
	later := &telephony.Later{Problem: "the mail server can't be reached"}
	answer, answered := errors.AsType[*textproto.Error](err)
	_, unverified := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case errors.Is(err, errNoTLS):
		later.Problem = "the mail server offers no TLS"
	case unverified:
		later.Problem = "the mail server's certificate is not trusted"
	case errors.Is(err, errPaused), errors.Is(err, errNoAuth), answered && where == "sign-in":
		later.Problem, later.After = "the mail server refuses the sign-in", limits.MailAgain
		if !errors.Is(err, errPaused) {
			t.mu.Lock()
			t.paused = t.cfg.Clock.Now().Add(limits.MailAgain)
			t.mu.Unlock()
		}
	case answered && answer.Code >= 500 && aboutMail(where, answer.Code):
		t.cfg.Log.Info("the mail server refused a mail", "at", where, "code", answer.Code)
		return &telephony.Refusal{Problem: "the mail server refused the " + where + numbers(answer)}
	case answered:
		later.Problem = "the mail server asks to come back" + numbers(answer)
	case errors.Is(err, errUnanswered):
		later.Problem, later.Unknown = "the mail server did not answer", true
	case where != "connect":
		later.Problem = "the connection to the mail server broke"
	}
	t.cfg.Log.Warn("the mail server did not take a mail", "at", where, "problem", later.Problem)
	return later
}

// aboutMail: a refusal is of this mail. One of the greeting, or one that asks for TLS or a password, is of us, and ends when the configuration is right.
func aboutMail(where string, code int) bool {
	switch code {
	case 530, 534, 535, 538:
		return false
	}
	return where == "sender" || where == "addressee" || where == "mail"
}

// numbers are what may be told of an answer: its code, and the enhanced one if there is one.
//
// Spec: RFC 3463 §2
func numbers(e *textproto.Error) string {
	word, _, _ := strings.Cut(e.Msg, " ")
	parts := strings.Split(word, ".")
	for _, p := range parts {
		if n, err := strconv.Atoi(p); len(parts) != 3 || err != nil || n < 0 || n > 999 {
			return fmt.Sprintf(" (%d)", e.Code)
		}
	}
	return fmt.Sprintf(" (%d %s)", e.Code, word)
}
