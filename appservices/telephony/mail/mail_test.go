package mail_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/roomline/roomline/appservices/telephony/mail"
	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbox"
)

const (
	secret    = "https://chat.example.com/i#AAAAAAAAAAAAAAAAAAAAAA"
	refuseURL = "https://chat.example.com/_roomline/guest/v1/refuse/BBBB"
)

func ts(t time.Time) matrix.Timestamp { return matrix.TimestampOf(t) }

// noon is when everything in these tests happens.
var noon = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

type clock struct{}

func (clock) Now() time.Time { return noon }

func writer(t testing.TB) *mail.Writer {
	t.Helper()
	brussels, err := time.LoadLocation("Europe/Brussels")
	if err != nil {
		t.Fatal(err)
	}
	w, err := mail.NewWriter(mail.WriterConfig{From: "invitations@telco.example", Product: "Telco Chat", Location: brussels, Clock: clock{}})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func newMeeting() *outbox.Meeting {
	start := time.Date(2026, 12, 1, 13, 0, 0, 0, time.UTC)
	return &outbox.Meeting{
		UID: "m7f3@chat.example.com", Title: "Budget 2027", Timezone: "Europe/Brussels",
		StartTS: ts(start), EndTS: ts(start.Add(90 * time.Minute)), Recurrence: "FREQ=WEEKLY;INTERVAL=2;COUNT=6",
		Phone: []outbox.DialIn{{Country: "BE", Number: "+3225550100", PIN: "1234567890"}, {Country: "FR", Number: "+33155501234", PIN: "1234567890"}},
	}
}

// message is one of each kind: invitation, meeting, changed, cancellation, withdrawn, or the purpose of a code.
func message(kind, language, address string) *outbox.Message {
	m := &outbox.Message{
		ID: 42, Kind: outbox.Invitation, Medium: outbox.Email, Address: address, Language: language, CreatedTS: ts(noon), ExpiresTS: ts(noon.Add(72 * time.Hour)),
		Brand:     outbox.Brand{Name: "Peeters & Zonen", Colour: "#0a7a5c"},
		RefuseURL: refuseURL,
		Invitation: &outbox.InvitationText{
			ID: "inv1", Inviter: "Anna Peeters", InviterEmail: "anna.peeters@peeters.example", Room: "Project Zuid",
			Link: secret, LinkExpiresTS: ts(noon.Add(72 * time.Hour)),
		},
	}
	switch kind {
	case "invitation":
	case "withdrawn":
		m.Kind = outbox.Cancellation
	case "meeting", "changed", "cancellation":
		m.Invitation.Meeting = newMeeting()
		if kind != "meeting" {
			m.Invitation.Meeting.Sequence = 2
		}
		if kind == "cancellation" {
			m.Kind = outbox.Cancellation
		}
	default:
		m.Kind, m.Invitation, m.ExpiresTS = outbox.Code, nil, ts(noon.Add(15*time.Minute))
		m.Code = &outbox.CodeText{Code: "482913", Purpose: kind, Host: "chat.example.com"}
		if kind != "guest" && kind != "login" {
			m.Code.Link = "https://chat.example.com/_roomline/verify#CCCC"
		}
	}
	return m
}

var (
	languages = []string{"en", "fr", "nl", "de"}
	kinds     = []string{"invitation", "meeting", "changed", "cancellation", "withdrawn", "add", "bind", "password", "register", "login", "guest"}
)

func transport(t testing.TB, s *hstest.MailServer, change func(*mail.Config)) *mail.Transport {
	t.Helper()
	c := mail.Config{Writer: writer(t), Security: mail.Plain, CAs: s.RootCAs, Username: s.Username, Password: s.Password, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	c.Host, c.Port = split(t, s.SMTP)
	change(&c)
	sender, err := mail.New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = sender.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return sender
}

func split(t testing.TB, address string) (string, int) {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return host, n
}

func send(t testing.TB, sender *mail.Transport, m *outbox.Message) (said string, err error) {
	t.Helper()
	_, err = sender.Send(t.Context(), m, func(reference string) error { said = reference; return nil })
	return said, err
}

// TestAllMailsArrive sends every kind in every language, and reads them as a mail program does.
func TestAllMailsArrive(t *testing.T) {
	server := hstest.Mailpit(t, hstest.MailServerOptions{StartTLS: true, Auth: true})
	sender := transport(t, server, func(c *mail.Config) { c.Security = mail.StartTLS })
	for i, kind := range kinds {
		for j, language := range languages {
			m := message(kind, language, kind+"."+language+"@example.org")
			m.ID = int64(100*i + j)
			said, err := send(t, sender, m)
			if err != nil {
				t.Fatalf("%s in %s: %v", kind, language, err)
			}
			if said == "" {
				t.Errorf("%s in %s was sent unsaid", kind, language)
			}
		}
	}
	mails := server.Mails(t, "")
	if want := len(kinds) * len(languages); len(mails) != want {
		t.Fatalf("%d mails arrived, %d were sent", len(mails), want)
	}
	for _, received := range mails {
		kind, rest, _ := strings.Cut(received.To[0].Address, ".")
		language, _, _ := strings.Cut(rest, "@")
		t.Run(kind+" "+language, func(t *testing.T) { check(t, server, kind, language, received) })
	}
}

func check(t *testing.T, server *hstest.MailServer, kind, language string, m hstest.ReceivedMail) {
	want := func(what string, ok bool) {
		if !ok {
			t.Errorf("%s\n%s\n%.3000s", what, m.Raw[:min(len(m.Raw), 1500)], m.Text)
		}
	}
	header := func(name string) string { return strings.Join(m.Headers[name], "|") }
	want("From", m.From.Address == "invitations@telco.example" && m.From.Name == "Peeters & Zonen via Telco Chat")
	want("Content-Language", header("Content-Language") == language)
	want("Subject", m.Subject != "" && !strings.Contains(m.Raw, "Subject:\r\n") && !strings.Contains(m.Raw, "Subject: \r\n") && m.Subject == strings.TrimSpace(m.Subject))
	if subject, ok := map[string]string{
		"invitation fr": "Invitation\u00a0: Anna Peeters – Project Zuid", "meeting de": "Einladung: Budget 2027, Di. 1. Dezember 2026, 14:00",
		"changed nl": "Gewijzigd: Budget 2027, di 1 december 2026, 14:00", "cancellation en": "Cancelled: Budget 2027, Tue 1 December 2026, 14:00",
		"login de": "Ihr Anmeldecode", "withdrawn fr": "Invitation retirée\u00a0: Anna Peeters – Project Zuid",
	}[kind+" "+language]; ok {
		want("the subject "+subject, m.Subject == subject)
	}
	want("Auto-Submitted", header("Auto-Submitted") == "auto-generated")
	want("List-Unsubscribe", header("List-Unsubscribe") == "<"+refuseURL+">" && header("List-Unsubscribe-Post") == "List-Unsubscribe=One-Click")
	want("Date", header("Date") == noon.Format(time.RFC1123Z))
	want("Message-Id", strings.HasSuffix(m.MessageID, "@telco.example") && len(m.MessageID) > 40)
	meeting := kind == "meeting" || kind == "changed" || kind == "cancellation"
	if invites := meeting || kind == "invitation" || kind == "withdrawn"; invites {
		want("Reply-To", len(m.ReplyTo) == 1 && m.ReplyTo[0].Address == "anna.peeters@peeters.example")
		want("inviter", strings.Contains(m.Text, "Anna Peeters") && strings.Contains(m.HTML, "Anna Peeters"))
		open := kind != "cancellation" && kind != "withdrawn"
		want("link", strings.Contains(m.Text, secret) == open && strings.Contains(m.HTML, `href="`+secret+`"`) == open)
	} else {
		want("code", strings.Contains(m.Text, "482913") && strings.Contains(m.HTML, "482913") && !strings.Contains(m.Subject, "482913"))
		want("Reply-To", len(m.ReplyTo) == 0)
		want("time", strings.Contains(m.Text, "15 "))
	}
	want("calendar", strings.Contains(m.Raw, "text/calendar; method=") == meeting && (len(m.Attachments) > 0) == meeting)
	want("refusal", strings.Contains(m.Text, refuseURL) && strings.Contains(m.HTML, refuseURL))
	want("formatting left over", !strings.Contains(m.Text+m.Subject, "%!") && !strings.Contains(m.HTML, "%!") && !strings.Contains(m.HTML, "ZgotmplZ"))
	for line := range strings.Lines(m.Raw) {
		if len(line) > 998 {
			t.Errorf("a line of %d bytes", len(line))
		}
	}
	for _, other := range languages {
		if w := map[string]string{"en": "You ", "fr": "Vous ", "nl": "U hebt", "de": "Sie "}[other]; other != language && strings.Contains(m.Text, w) {
			t.Errorf("%q in a mail in %s", w, language)
		}
	}
}

// TestNewcomersAreNotToldOfAChange: who is asked into a meeting that was changed before is told of it for the first time.
func TestNewcomersAreNotToldOfAChange(t *testing.T) {
	m := message("changed", "en", "guest@example.org")
	m.Invitation.First = true
	written, err := writer(t).Write(m)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(written.Text, "has changed") || !strings.Contains(written.Calendar, "SEQUENCE:2") {
		t.Errorf("a newcomer is told\n%s\n%s", written.Text, written.Calendar)
	}
}

// TestOneTimeOfASeriesChanges: the mail says which, and to when, and how often the meeting is otherwise.
func TestOneTimeOfASeriesChanges(t *testing.T) {
	for language, want := range map[string][4]string{
		"en": {"Wednesday 16 December 2026", "instead of Tuesday 15 December 2026, 14:00", "Does not take place", "every 2 weeks"},
		"fr": {"ercredi 16 décembre 2026", "au lieu du mardi 15 décembre 2026, 14:00", "N’a pas lieu", "toutes les 2 semaines"},
		"nl": {"oensdag 16 december 2026", "in plaats van dinsdag 15 december 2026, 14:00", "Gaat niet door", "elke 2 weken"},
		"de": {"Mittwoch, 16. Dezember 2026", "statt Dienstag, 15. Dezember 2026, 14:00", "Entfällt", "alle 2 Wochen"},
	} {
		m := message("changed", language, "guest@example.org")
		meeting := m.Invitation.Meeting
		second := meeting.StartTS.Add(14 * 24 * time.Hour)
		moved := outbox.Exception{StartTS: second, NewStartTS: second.Add(26 * time.Hour), NewEndTS: second.Add(27 * time.Hour)}
		meeting.Exceptions, meeting.Changed = []outbox.Exception{moved}, &moved
		written, err := writer(t).Write(m)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{want[0], "16:00–17:00", want[1], want[3]} {
			if !strings.Contains(written.Text, text) || !strings.Contains(written.HTML, text) {
				t.Errorf("%s: nothing of %q:\n%s", language, text, written.Text)
			}
		}
		if !strings.Contains(written.Subject, "16") {
			t.Errorf("%s: the subject is %q", language, written.Subject)
		}
		dropped := outbox.Exception{StartTS: second}
		meeting.Exceptions, meeting.Changed = []outbox.Exception{dropped}, &dropped
		if written, err = writer(t).Write(m); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(written.Text, want[2]) || !strings.Contains(written.Subject, "15") {
			t.Errorf("%s: of a time that is not %q: %s", language, written.Subject, written.Text)
		}
	}
}

// TestMeetingsSayHowToCallIn: in the mail and in the calendar, with the addressee's own PIN, in each language; nothing of it in what takes a meeting back.
func TestMeetingsSayHowToCallIn(t *testing.T) {
	for language, label := range map[string]string{"en": "By phone", "fr": "Par téléphone", "nl": "Per telefoon", "de": "Per Telefon"} {
		written, err := writer(t).Write(message("changed", language, "guest@example.org"))
		if err != nil {
			t.Fatal(err)
		}
		unfolded := strings.ReplaceAll(written.Calendar, "\r\n ", "")
		for name, text := range map[string]string{"the text": written.Text, "the page": written.HTML, "the calendar": unfolded} {
			for _, want := range []string{label, "+32 2 555 01 00 (BE)", "+33 1 55 50 12 34 (FR)", "123 456 7890"} {
				if !strings.Contains(strings.ReplaceAll(text, "&#43;", "+"), want) {
					t.Errorf("%s: %s has no %q:\n%s", language, name, want, text)
				}
			}
		}
		written, err = writer(t).Write(message("cancellation", language, "guest@example.org"))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(written.Text)+written.HTML+written.Calendar, "123 456 7890") {
			t.Errorf("%s: a meeting that is cancelled has a PIN", language)
		}
	}
}
