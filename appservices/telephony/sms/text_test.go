package sms

import (
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/linxGnu/gosmpp/data"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/outbox"
)

// secret is as long as those of links.
const secret = "AbCdEfGhIjKlMnOpQrStUv"

func invitation(language, inviter, brand string) *outbox.Message {
	return &outbox.Message{
		ID: 7, Kind: outbox.Invitation, Medium: outbox.Msisdn, Address: "32470123456", Language: language, Brand: outbox.Brand{Name: brand},
		Invitation: &outbox.InvitationText{ID: "i", Inviter: inviter, Room: "Secret plans", Link: "https://matrix.example.org/i#" + secret},
	}
}

// now is in the year of the meetings below.
var now = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func mustRender(t *testing.T, m *outbox.Message) string {
	t.Helper()
	text, err := render(m, now, false)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestTexts(t *testing.T) {
	t.Parallel()
	meeting := invitation("de", "Zoë Ďurišová", "Proximus")
	meeting.Invitation.Meeting = &outbox.Meeting{StartTS: 1796130000000, Timezone: "Europe/Brussels"} // 1 December 2026, 14:00 in Brussels
	phoned := invitation("de", "Anna", "")
	dials := *meeting.Invitation.Meeting
	dials.Phone = []outbox.DialIn{{Country: "BE", Number: "+3225550100", PIN: "1234567890"}}
	phoned.Invitation.Meeting = &dials
	long := invitation("de", "Zoë Ďurišová", "Proximus")
	long.Invitation.Meeting = &dials
	moved, newcomer := invitation("de", "Anna", ""), invitation("de", "Anna", "")
	later := *meeting.Invitation.Meeting
	later.Sequence = 1
	moved.Invitation.Meeting, newcomer.Invitation.Meeting, newcomer.Invitation.First = &later, &later, true
	cancelled := *meeting
	cancelled.Kind, cancelled.Language = outbox.Cancellation, "fr"
	withdrawn := invitation("nl", "Anna", "")
	withdrawn.Kind = outbox.Cancellation
	code := &outbox.Message{Kind: outbox.Code, Language: "en", Brand: outbox.Brand{Name: "Proximus"}, Code: &outbox.CodeText{Code: "123456", Purpose: "guest", Host: "matrix.example.org"}}
	for _, c := range []struct {
		m    *outbox.Message
		want string
	}{
		{invitation("en", "Anna", "Proximus"), "Invitation from Anna, Proximus. Tap to join, no account needed:\nhttps://matrix.example.org/i#" + secret},
		{invitation("en", "Andre\u0301 Wolfeschlegelsteinhausenbergerdorff", ""), "Invitation from André Wolfeschlegelsteinhausen. Tap to join, no account needed:\nhttps://matrix.example.org/i#" + secret},
		{invitation("xx", "", ""), "You are invited. Tap to join, no account needed:\nhttps://matrix.example.org/i#" + secret},
		{invitation("fr", "Anna Vandenberghe-Debruyne", "Proximus"), "Invitation de Anna, Proximus. Touchez pour participer, sans compte :\nhttps://matrix.example.org/i#" + secret},
		{meeting, "Besprechung am 01.12. 14:00 CET, Einladung von Zoe Durisova, Proximus. Tippen zum Teilnehmen:\nhttps://matrix.example.org/i#" + secret},
		{phoned, "Besprechung am 01.12. 14:00 CET, Einladung von Anna. Tippen zum Teilnehmen:\nhttps://matrix.example.org/i#" + secret + "\nTel. +3225550100 PIN 1234567890"},
		{long, "Besprechung am 01.12. 14:00 CET, Einladung von Zoe Durisova, Proximus. Tippen zum Teilnehmen:\nhttps://matrix.example.org/i#" + secret},
		{moved, "Geändert: Besprechung am 01.12. 14:00 CET, Einladung von Anna. Tippen zum Teilnehmen:\nhttps://matrix.example.org/i#" + secret},
		{newcomer, "Besprechung am 01.12. 14:00 CET, Einladung von Anna. Tippen zum Teilnehmen:\nhttps://matrix.example.org/i#" + secret},
		{&cancelled, "Annulée : la réunion du 01/12 14:00 CET, invitation de Zoe Durisova, Proximus."},
		{withdrawn, "Een uitnodiging die u kreeg is ingetrokken."},
		{code, "123456 is your code to join. Do not pass it on. Proximus\n\n@matrix.example.org #123456"},
	} {
		if got := mustRender(t, c.m); got != c.want {
			t.Errorf("%s", got)
		}
	}
}

// Of a name that somebody chose nothing is left that a phone makes a link or a number to call of, nothing that turns the text around, and no
// more than a name.
func TestHostileNamesDoNothing(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"http://evil.example/x", "evil.example", "www.evil.example", "evil。example", "evil．example", "evil․example", "ｅｖｉｌ.ｅｘａｍｐｌｅ", "a@evil.example", "EVIL.EXAMPLE/now",
		"Bank: call +32 900 123 456", "0900123456", "٠٩٠٠١٢٣٤٥٦", "line\nbreak\r\nhttps://x.yz", "\u202egnp.exe\u202c", "a\u200bb\u2066c\u2069", "tab\tand\x00null\x1b[31m",
		strings.Repeat("long ", 100), strings.Repeat("a\u0301", 200), "evil\u00ad.com", "t.me/x", "Заходи на evil.рф", "ⅰ.com", "①②③④⑤⑥⑦⑧", "https:/\u2044evil.com", "😀😀evil.com",
	} {
		for _, asWritten := range []bool{false, true} {
			m := invitation("en", name, name)
			text, err := render(m, now, asWritten)
			if err != nil {
				t.Fatal(err)
			}
			who, link, _ := strings.Cut(text, "\n")
			if link != m.Invitation.Link {
				t.Errorf("%q: the link is not alone in its line: %q", name, text)
			}
			rest := strings.TrimSuffix(strings.TrimSuffix(strings.TrimPrefix(who, "Invitation from "), " Tap to join, no account needed:"), ".")
			if utf8.RuneCountInString(rest) > limits.SMSName && !strings.HasPrefix(who, "You are invited") {
				t.Errorf("%q: too long: %q", name, rest)
			}
			digits := 0
			for i, r := range rest {
				if unicode.IsDigit(r) {
					digits++
				}
				if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || strings.ContainsRune(":/@#", r) || r == '.' && i+1 < len(rest) && rest[i+1] != ' ' {
					t.Errorf("%q: %q has %q", name, rest, r)
				}
			}
			if digits > 8 { // two names
				t.Errorf("%q: %q has a number", name, rest)
			}
		}
	}
}

func TestOneShortMessageIsEnough(t *testing.T) {
	t.Parallel()
	for language := range languages {
		for _, kind := range []outbox.Kind{outbox.Invitation, outbox.Cancellation} {
			for _, meeting := range []*outbox.Meeting{nil, {StartTS: 1796130000000, Timezone: "America/Argentina/Buenos_Aires"}} {
				m := invitation(language, "Wolfeschlegelsteinhausenbergerdorff", "Koninklijke Maatschappij voor Diensten")
				m.Kind, m.Invitation.Meeting = kind, meeting
				m.Invitation.Link = "https://collaboration.telecom-operator.example/i#" + secret
				text := mustRender(t, m)
				if all := parts(text); len(all) != 1 || all[0].ucs2 {
					t.Errorf("%s: %d parts, UCS-2 %v: %s", language, len(all), all[0].ucs2, text)
				}
			}
		}
		for purpose := range languages["en"].purposes {
			m := &outbox.Message{Kind: outbox.Code, Language: language, Brand: outbox.Brand{Name: "Koninklijke Maatschappij voor Diensten"},
				Code: &outbox.CodeText{Code: "123456", Purpose: purpose, Host: "collaboration.telecom-operator.example"}}
			text := mustRender(t, m)
			if all := parts(text); len(all) != 1 || all[0].ucs2 || !strings.HasSuffix(text, "\n@collaboration.telecom-operator.example #123456") {
				t.Errorf("%s %s: %q", language, purpose, text)
			}
			if languages[language].purposes[purpose] == "" {
				t.Errorf("%s has no words for %s", language, purpose)
			}
		}
	}
}

func TestFixedTextsHaveLettersOfTheAlphabet(t *testing.T) {
	t.Parallel()
	for language, w := range languages {
		for _, text := range []string{w.invitation, w.invitationOfNobody, w.meeting, w.meetingOfNobody, w.cancelled, w.cancelledOfNobody, w.withdrawn, w.code, w.private, w.when} {
			if text == "" || len(data.ValidateGSM7String(text)) > 0 {
				t.Errorf("%s: %q", language, text)
			}
		}
	}
}

func TestWhatIsNoMessageIsNotWritten(t *testing.T) {
	t.Parallel()
	noLink := invitation("en", "Anna", "")
	noLink.Invitation.Link = "https://matrix.example.org/i#a\nhttps://evil.example"
	for _, m := range []*outbox.Message{
		noLink, {Kind: outbox.Invitation}, {Kind: "other"}, {Kind: outbox.Code},
		{Kind: outbox.Code, Code: &outbox.CodeText{Code: "12 34", Host: "example.org"}},
		{Kind: outbox.Code, Code: &outbox.CodeText{Code: "123456", Host: "example.org #999999"}},
	} {
		if text, err := Render(m); err == nil {
			t.Errorf("%q", text)
		}
	}
}

func TestNamesMayStayAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	text, err := render(invitation("en", "Иван Петров", ""), now, true)
	if err != nil || !strings.Contains(text, "Иван Петров") {
		t.Errorf("%q %v", text, err)
	}
	if text := mustRender(t, invitation("en", "Иван Петров", "")); !strings.Contains(text, "Ivan Petrov") {
		t.Errorf("%q", text)
	}
}

func TestTheYearIsSaidWhereItIsAnotherOne(t *testing.T) {
	t.Parallel()
	for language, want := range map[string]string{"en": "1 Dec 2026 14:00 CET", "fr": "01/12/2026 14:00 CET", "nl": "01/12/2026 14:00 CET", "de": "01.12.2026 14:00 CET"} {
		m := invitation(language, "Anna", "")
		m.Invitation.Meeting = &outbox.Meeting{StartTS: 1796130000000, Timezone: "Europe/Brussels"}
		before, err := render(m, now.AddDate(-1, 0, 0), false)
		if err != nil || !strings.Contains(before, want) {
			t.Errorf("a year before: %q, %v", before, err)
		}
		if text := mustRender(t, m); strings.Contains(text, "2026") {
			t.Errorf("in the same year: %q", text)
		}
		m.Kind = outbox.Cancellation
		if before, err = render(m, now.AddDate(-1, 0, 0), false); err != nil || !strings.Contains(before, want) {
			t.Errorf("cancelled: %q, %v", before, err)
		}
	}
}
