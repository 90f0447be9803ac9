package mail_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/roomline/roomline/appservices/telephony/mail"
)

func cleaned(name string) string { return mail.Name(name) }

func TestNames(t *testing.T) {
	for in, want := range map[string]string{
		"Anna Peeters":                        "Anna Peeters",
		"  Anna \t\r\n  Peeters ":             "Anna Peeters",
		"José Núñez-O’Brien":                  "José Núñez-O’Brien",
		"Jose\u0301":                          "José",
		"Dr. Müller":                          "Dr. Müller",
		"J.P. Morgan":                         "J.P. Morgan",
		"Release 2.0":                         "Release 2.0",
		"山田太郎":                                "山田太郎",
		"Booking.com":                         "Booking·com",
		"anna@evil.com":                       "anna@evil·com",
		"evil。com":                            "evil·com",
		"evil\u200b.\u2060com":                "evil·com",
		"See https://evil.example/x now":      "See now",
		"HTTP://EVIL.COM":                     "",
		"(https://evil.com)":                  "",
		"hxxp:https://evil.com":               "",
		"www.evil.com":                        "",
		"mailto:x@evil.com":                   "",
		"javascript:alert(1)":                 "",
		"tel:+32900123456":                    "",
		"пример.рф":                           "пример·рф",
		"xn--e1afmkfd.xn--p1ai":               "xn--e1afmkfd·xn--p1ai",
		"<b>Bold</b>":                         "<b>Bold</b>", // HTML is escaped where it is HTML
		"a\u202egnp.exe":                      "agnp.exe",
		"a\u0000b\u001bc\u0085d":              "abc d",
		"Bcc: x@evil.com\r\nSubject: You won": "Bcc: x@evil·com Subject: You won",
		"\u3164\u2800":                        "",
		"Z\u0300\u0301\u0302\u0303\u0304algo": "Z\u0300\u0301algo",
		"\xff\xfeAnna":                        "Anna",
		strings.Repeat("x", 61):               strings.Repeat("x", 59) + "…",
		strings.Repeat("x", 60):               strings.Repeat("x", 60),
	} {
		if got := mail.Name(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
	if got := mail.Name(strings.Repeat("漢", 10<<20)); utf8.RuneCountInString(got) != 60 || !utf8.ValidString(got) {
		t.Errorf("a name of 30 MB became %d characters", utf8.RuneCountInString(got))
	}
}

// TestStrangersSayNothing writes mails with what attackers call themselves. SEC-82
func TestStrangersSayNothing(t *testing.T) {
	attacks := []string{
		`<a href="https://evil.example">Click</a>`, `"><script>alert(1)</script>`, "https://evil.example/x", "evil.example.com", "Your account is closed, call +32 900 12 34 56",
		"x\r\nBcc: victim@example.org\r\n\r\nBody", "\u202ehttps://live.example", "www.evil.com", strings.Repeat("A very long name ", 1<<20), "{{.Link}}", "%s%n", "evil.com/path", "evil\uff0ecom",
		"=?utf-8?Q?=0D=0ABcc:_x@evil.com?=", "' onmouseover='x", "]]><!--",
	}
	for _, kind := range []string{"invitation", "meeting", "cancellation", "login"} {
		for _, attack := range attacks {
			m := message(kind, "en", "guest@example.org")
			m.Brand.Name = attack
			if m.Invitation != nil {
				m.Invitation.Inviter, m.Invitation.Room = attack, attack
				m.Invitation.InviterEmail = "x@evil.com\r\nBcc: victim"
				if meeting := m.Invitation.Meeting; meeting != nil {
					meeting.Title = attack
					if meeting.Check() != nil {
						meeting.Title = "ok"
					}
				}
			}
			written, err := writer(t).Write(m)
			if err != nil {
				t.Fatalf("%q: %v", attack, err)
			}
			head, _, _ := strings.Cut(string(written.Raw), "\r\n\r\n")
			for line := range strings.SplitSeq(head, "\r\n") {
				if name, _, _ := strings.Cut(strings.ToLower(line), ":"); name == "bcc" || name == "body" {
					t.Errorf("%q wrote a header: %q", attack, line)
				}
			}
			for _, link := range links(written.HTML) {
				if !strings.HasPrefix(link, "https://chat.example.com/") {
					t.Errorf("%q made a link: %s", attack, link)
				}
			}
			for _, dangerous := range []string{"https://evil", "https://live", "www.evil", "evil.com", "evil.example"} {
				if strings.Contains(strings.ToLower(written.HTML+written.Text+written.Subject+written.Calendar), dangerous) {
					t.Errorf("%q left %q in the mail", attack, dangerous)
				}
			}
			for _, dangerous := range []string{"<script", "onmouseover='", "<a href=\"https://evil"} {
				if strings.Contains(strings.ToLower(written.HTML), dangerous) {
					t.Errorf("%q left %q in the HTML", attack, dangerous)
				}
			}
			ours := map[string]string{"invitation": "You are invited", "meeting": "You are invited", "cancellation": "An online meeting", "login": "Your sign-in"}[kind]
			visible := written.HTML[strings.Index(written.HTML, "<h1"):]
			if !strings.HasPrefix(written.Text, ours) || !strings.HasPrefix(visible[strings.IndexByte(visible, '>')+1:], ours) {
				t.Errorf("%q speaks before us: %.100s", attack, written.Text)
			}
			if len(written.Raw) > 40_000 {
				t.Errorf("%.30q made a mail of %d bytes", attack, len(written.Raw))
			}
		}
	}
}

// links are what the attributes of a page lead to.
func links(html string) []string {
	var found []string
	for _, attribute := range []string{`href="`, `src="`, `action="`, "url("} {
		for rest := html; ; {
			_, after, ok := strings.Cut(rest, attribute)
			if !ok {
				break
			}
			link, _, _ := strings.Cut(after, `"`)
			found, rest = append(found, link), after
		}
	}
	return found
}
