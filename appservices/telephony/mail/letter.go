package mail

import (
	"bytes"
	"embed"
	"fmt"
	html "html/template"
	"strings"
	text "text/template"
	"time"

	"github.com/nyaruka/phonenumbers"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbox"
)

//go:embed templates
var files embed.FS

var (
	htmlTemplate = html.Must(html.ParseFS(files, "templates/letter.html"))
	textTemplate = text.Must(text.ParseFS(files, "templates/letter.txt"))
)

// letter is what a mail says, in the order in which it says it: our own sentences come first.
type letter struct {
	Subject, Language, Heading, Lead string
	Code, CodeLabel                  string
	Rows                             []row
	Instead, Button, Link            string
	LinkInstead                      string
	Notes                            []string
	Organisation, SentBy, Logo       string
	For                              string // label of the organisation
	Ignore, Refuse, RefuseURL        string
	Colon, ColonEnd                  string // between label and name, and at the end of a line
	// Colours: of the band above and the button, what is readable on it, links and edges on light and dark ground.
	Band, OnBand, LinkColour, LinkDark, Edge, EdgeDark html.CSS
}

// row is a name with its label, in one line or more, and what is to be said beside it.
type row struct {
	Label, Value string
	Further      []string
	More         string
}

// letterOf is what to say in a message.
func (w *Writer) letterOf(m *outbox.Message) (*letter, error) {
	tag, lang := language(m.Language)
	band := parseColour(m.Brand.Colour)
	l := &letter{
		Language: tag, Colon: lang.colon, ColonEnd: strings.TrimRight(lang.colon, " "), Organisation: Name(m.Brand.Name), For: lang.organisation, SentBy: lang.sentBy, Refuse: lang.refuse, LinkInstead: lang.linkInstead,
		Band: html.CSS(band.String()), OnBand: html.CSS(band.on().String()),
		LinkColour: html.CSS(band.legible(white, ink).String()), LinkDark: html.CSS(band.legible(night, white).String()), Edge: html.CSS(band.String()),
	}
	l.EdgeDark = l.LinkDark
	if contrast(band, white) < visibleEdge {
		l.Edge = l.LinkColour
	}
	if l.Organisation == "" {
		l.Organisation = w.cfg.Host()
	}
	if webAddress(m.Brand.LogoURL) {
		l.Logo = m.Brand.LogoURL
	}
	if webAddress(m.RefuseURL) {
		l.RefuseURL = m.RefuseURL
	}
	switch {
	case m.Kind == outbox.Code && m.Code != nil:
		return l, l.code(lang, m)
	case (m.Kind == outbox.Invitation || m.Kind == outbox.Cancellation) && m.Invitation != nil:
		return l, l.invitation(lang, m, w.cfg.Location)
	}
	return nil, fmt.Errorf("no mail can be written of kind %q", m.Kind)
}

func (l *letter) take(k letterWords) {
	l.Subject, l.Heading, l.Lead, l.Button = k.subject, k.heading, k.lead, k.button
}

// invitation writes an invitation, or takes one back.
func (l *letter) invitation(lang *words, m *outbox.Message, location *time.Location) error {
	inv := m.Invitation
	inviter, room := Name(inv.Inviter), Name(inv.Room)
	l.Ignore = lang.ignoreInvitation
	if inv.Meeting != nil {
		if err := inv.Meeting.Check(); err != nil {
			return fmt.Errorf("meeting: %w", err)
		}
		zone, err := inv.Meeting.Location()
		if err != nil {
			return err
		}
		location = zone
	}
	switch {
	case m.Kind == outbox.Cancellation && inv.Meeting != nil:
		l.take(lang.cancelled)
	case m.Kind == outbox.Cancellation:
		l.take(lang.withdrawn)
	case inv.Meeting == nil:
		l.take(lang.invitation)
	case inv.Meeting.Sequence > 0 && !inv.First:
		l.take(lang.meetingMoved)
	default:
		l.take(lang.meetingNew)
	}
	if m.Kind == outbox.Invitation {
		if !webAddress(inv.Link) {
			return fmt.Errorf("the link leads nowhere")
		}
		l.Link = inv.Link
		if inv.LinkExpiresTS > 0 {
			l.Notes = append(l.Notes, fmt.Sprintf(lang.expires, lang.moment(inv.LinkExpiresTS.Time().In(location)))+" "+lang.personal)
		}
	}
	if meeting := inv.Meeting; meeting != nil {
		title := Name(meeting.Title)
		l.add(lang.meeting, title)
		start := l.times(lang, meeting, m.Kind, location)
		if m.Kind == outbox.Invitation {
			l.phone(lang, meeting.Phone)
		}
		l.about(lang.subjectAbout, title, lang.brief(start))
		if room == title {
			room = ""
		}
	} else {
		l.about(lang.subjectFrom, inviter)
		if inviter == "" {
			l.about(lang.subjectAbout, room)
		} else {
			l.about(lang.subjectRoom, room)
		}
	}
	l.add(lang.from, inviter)
	l.add(lang.room, room)
	return nil
}

// times says when a meeting is, or which of its times has changed, and to when. It returns what the subject names.
func (l *letter) times(lang *words, m *outbox.Meeting, kind outbox.Kind, location *time.Location) time.Time {
	in := func(ts matrix.Timestamp) time.Time { return ts.Time().In(location) }
	add := func(label, more string, lines []string) {
		l.Rows = append(l.Rows, row{label, strings.ToUpper(lines[0][:1]) + lines[0][1:], lines[1:], more})
	}
	start, label := in(m.StartTS), lang.when
	named := start
	if x := m.Changed; x != nil && kind == outbox.Invitation {
		original := in(x.StartTS)
		if x.Cancelled() {
			named = original
			add(lang.dropped, "", []string{lang.both(original)})
		} else {
			named = in(x.NewStartTS)
			add(lang.when, fmt.Sprintf(lang.insteadOf, lang.both(original)), lang.span(named, in(x.NewEndTS)))
		}
		label = lang.repeats
	}
	more := zoneOf(start)
	if often := lang.recurrence(m.Recurrence); often != "" {
		more = often + ", " + more
	}
	add(label, more, lang.span(start, in(m.EndTS)))
	return named
}

// phone says how to call in: the numbers, and what to type.
func (l *letter) phone(lang *words, numbers []outbox.DialIn) {
	var lines []string
	for _, n := range numbers {
		lines = append(lines, dialled(n))
	}
	if len(lines) > 0 {
		l.Rows = append(l.Rows, row{lang.phone, lines[0], lines[1:], lang.pin + lang.colon + grouped(numbers[0].PIN)})
	}
}

// dialled is a number as people read it.
func dialled(n outbox.DialIn) string {
	text := n.Number
	if parsed, err := phonenumbers.Parse(n.Number, ""); err == nil {
		text = phonenumbers.Format(parsed, phonenumbers.INTERNATIONAL)
	}
	if n.Country != "" {
		text += " (" + n.Country + ")"
	}
	return text
}

// grouped are digits in groups that one can read out: three, three, and the rest.
func grouped(pin string) string {
	if len(pin) < 7 {
		return pin
	}
	return pin[:3] + " " + pin[3:6] + " " + pin[6:]
}

func (l *letter) add(label, value string) {
	if value != "" {
		l.Rows = append(l.Rows, row{Label: label, Value: value})
	}
}

// about adds names to the subject, behind what we say.
func (l *letter) about(format string, names ...string) {
	for i, name := range names {
		switch {
		case name == "":
		case i > 0:
			l.Subject += ", " + name
		default:
			l.Subject = fmt.Sprintf(format, l.Subject, name)
		}
	}
}

// code writes a code.
func (l *letter) code(lang *words, m *outbox.Message) error {
	k, ok := lang.codes[m.Code.Purpose]
	if !ok {
		return fmt.Errorf("no mail can be written for the purpose %q", m.Code.Purpose)
	}
	l.take(k)
	l.Code, l.CodeLabel, l.Ignore = m.Code.Code, lang.codeLabel, lang.ignoreCode
	if m.Code.Link != "" {
		if !webAddress(m.Code.Link) {
			return fmt.Errorf("the link leads nowhere")
		}
		l.Link, l.Instead = m.Code.Link, lang.codeInstead
	}
	note := lang.codeNobody
	if m.Code.Host != "" {
		note = fmt.Sprintf(lang.codeHost, m.Code.Host) + " " + note
	}
	if minutes := (m.ExpiresTS - m.CreatedTS) / 60_000; minutes > 0 && minutes <= 24*60 {
		note = fmt.Sprintf(lang.codeMinutes, minutes) + " " + note
	}
	l.Notes = append(l.Notes, note)
	return nil
}

func (l *letter) render() (plain, rich string, err error) {
	var p, r bytes.Buffer
	if err := textTemplate.Execute(&p, l); err != nil {
		return "", "", err
	}
	if err := htmlTemplate.Execute(&r, l); err != nil {
		return "", "", err
	}
	return p.String(), r.String(), nil
}
