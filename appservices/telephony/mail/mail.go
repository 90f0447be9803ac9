// Package mail writes invitations and codes as mails, and gives them to a mail server.
//
// Spec: RFC 5321, RFC 5322, RFC 3834, RFC 8058; RFC 5545, RFC 5546, RFC 6047, RFC 7986
//
// What is promised:
//   - The same message has the same Message-ID however often it is sent: who gets it twice can tell.
//   - Names that people chose are never believed (names.go): they stand behind our own sentences, they are short, and there is no link but ours.
//   - Neither addresses nor what a mail says reach a log or a report. Of what a mail server says only the numbers are told on.
//   - Before the mail server has said that it will take a mail for the addressee, nothing counts as sent.
//
// A Writer writes a mail (letter.go says what, words.go in which words, calendar.go for calendars), a Transport sends it (smtp.go).
//
// Start reading at Writer.Write.
package mail

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	netmail "net/mail"
	"strings"
	"time"
	"unicode/utf8"

	gomail "github.com/wneessen/go-mail"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbox"
)

// WriterConfig says for whom mails are written. From is required.
type WriterConfig struct {
	// From is the address of the sender; Product, if it is not empty, is named beside the organisation.
	From, Product string
	// Location is the time zone of times that belong to no meeting; nil for UTC.
	Location *time.Location
	Clock    matrix.Clock
}

// Host is the part of the sender's address that says who is responsible.
func (c *WriterConfig) Host() string { return c.From[strings.LastIndexByte(c.From, '@')+1:] }

// Writer writes mails.
type Writer struct{ cfg WriterConfig }

// NewWriter returns a Writer.
func NewWriter(cfg WriterConfig) (*Writer, error) {
	if !plainAddress(cfg.From) {
		return nil, fmt.Errorf("%q is no e-mail address that mails can be from", cfg.From)
	}
	if cfg.Location == nil {
		cfg.Location = time.UTC
	}
	if cfg.Clock == nil {
		cfg.Clock = matrix.SystemClock{}
	}
	return &Writer{cfg}, nil
}

// Mail is a mail that is written.
type Mail struct {
	ID       string // with its angle brackets
	From, To string // addresses only
	Subject  string
	Text     string
	HTML     string
	Calendar string // iCalendar, or empty
	Raw      []byte // what the mail server gets
}

// Write writes a message. It fails if the message is none that a mail can be written of, now or later.
func (w *Writer) Write(m *outbox.Message) (*Mail, error) {
	if !plainAddress(m.Address) {
		return nil, fmt.Errorf("the addressee has no address that mails can be sent to")
	}
	l, err := w.letterOf(m)
	if err != nil {
		return nil, err
	}
	written := &Mail{ID: w.messageID(m), From: w.cfg.From, To: m.Address, Subject: l.Subject}
	if written.Text, written.HTML, err = l.render(); err != nil {
		return nil, err
	}
	msg, err := w.headers(m, l, written)
	if err != nil {
		return nil, err
	}
	msg.SetBodyString(gomail.TypeTextPlain, written.Text)
	msg.AddAlternativeString(gomail.TypeTextHTML, written.HTML)
	if m.Invitation != nil && m.Invitation.Meeting != nil {
		_, lang := language(m.Language)
		calendar, method, err := w.calendar(m, l, lang)
		if err != nil {
			return nil, err
		}
		written.Calendar = string(calendar)
		// Some programs look at the part, others at the attachment.
		msg.AddAlternativeString(gomail.ContentType("text/calendar; method="+method), written.Calendar, gomail.WithPartEncoding(gomail.EncodingB64))
		if err := msg.AttachReader("invite.ics", bytes.NewReader(calendar), gomail.WithFileContentType("application/ics")); err != nil {
			return nil, fmt.Errorf("attach a calendar: %w", err)
		}
	}
	var raw bytes.Buffer
	if _, err := msg.WriteTo(&raw); err != nil {
		return nil, fmt.Errorf("write a mail: %w", err)
	}
	written.Raw = raw.Bytes()
	return written, nil
}

// headers begins a mail.
func (w *Writer) headers(m *outbox.Message, l *letter, written *Mail) (*gomail.Msg, error) {
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	from := l.Organisation
	if product := Name(w.cfg.Product); product != "" {
		from += " via " + product
	}
	msg.FromMailAddress(&netmail.Address{Name: from, Address: w.cfg.From})
	msg.ToMailAddress(&netmail.Address{Address: m.Address})
	if inv := m.Invitation; inv != nil && plainAddress(inv.InviterEmail) {
		msg.ReplyToMailAddress(&netmail.Address{Name: Name(inv.Inviter), Address: inv.InviterEmail})
	}
	msg.SetGenHeaderPreformatted(gomail.HeaderSubject, encodedWords(l.Subject))
	msg.SetGenHeader(gomail.HeaderMessageID, written.ID)
	msg.SetDateWithValue(w.cfg.Clock.Now())
	msg.SetGenHeader("Content-Language", l.Language)
	// Nobody's holiday notice is to come back, nor to the inviter.
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	msg.SetGenHeader("X-Auto-Response-Suppress", "OOF, AutoReply")
	if l.RefuseURL != "" {
		msg.SetGenHeaderPreformatted("List-Unsubscribe", "<"+l.RefuseURL+">")
		if strings.HasPrefix(l.RefuseURL, "https:") {
			msg.SetListUnsubscribePost()
		}
	}
	return msg, nil
}

// encodedWords writes a subject in lines that are short enough, the first beside its name: mail programs show what is before a first line that is empty.
//
// Spec: RFC 2047 §2
func encodedWords(subject string) string {
	const most = 39 // bytes, which make 64 characters
	var lines []string
	for subject != "" {
		end := min(most, len(subject))
		for end < len(subject) && !utf8.RuneStart(subject[end]) {
			end--
		}
		lines = append(lines, "=?UTF-8?B?"+base64.StdEncoding.EncodeToString([]byte(subject[:end]))+"?=")
		subject = subject[end:]
	}
	return strings.Join(lines, "\r\n ")
}

// messageID names a message for good. It tells nobody how many there are.
func (w *Writer) messageID(m *outbox.Message) string {
	hash := sha256.Sum256(fmt.Appendf(nil, "mail %d %d", m.ID, m.CreatedTS))
	return fmt.Sprintf("<%x@%s>", hash[:16], w.cfg.Host())
}

// plainAddress is an address that needs no quotes.
func plainAddress(address string) bool {
	if len(address) > 254 || strings.ContainsAny(address, " \t\r\n\"<>(),:;\\[]") {
		return false
	}
	parsed, err := netmail.ParseAddress(address)
	return err == nil && parsed.Address == address
}
