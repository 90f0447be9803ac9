package commands

import (
	"reflect"
	"strings"
	"testing"
)

func email(text string) Address { return Address{"email", text} }
func phone(text string) Address { return Address{"msisdn", text} }

func TestCommands(t *testing.T) {
	t.Parallel()
	anna := []Address{email("anna@example.com")}
	for _, c := range []struct {
		text   string
		direct bool
		want   Command
	}{
		{"!invite anna@example.com", false, Command{Action: Invite, Addresses: anna}},
		{"  !INVITE <anna@example.com>.", false, Command{Action: Invite, Addresses: anna}},
		{"!invite mailto:anna@example.com, +32 470 12 34 56; bob@example.org", false,
			Command{Action: Invite, Addresses: []Address{email("anna@example.com"), phone("+32 470 12 34 56"), email("bob@example.org")}}},
		{"!invite +32 470 12 34 56 +33 6 12 34 56 78", false, Command{Action: Invite, Addresses: []Address{phone("+32 470 12 34 56"), phone("+33 6 12 34 56 78")}}},
		{"!invite 0470/12.34.56 0471 22 33 44 0032470123456", false,
			Command{Action: Invite, Addresses: []Address{phone("0470/12.34.56"), phone("0471 22 33 44"), phone("0032470123456")}}},
		{"!invite +44 (0)20 7946 0018", false, Command{Action: Invite, Addresses: []Address{phone("+44 (0)20 7946 0018")}}},
		{"!invite +32 470 12 34 56 0032 471 00 00 01 0470 12 00 00 0471 00 11 22", false,
			Command{Action: Invite, Addresses: []Address{phone("+32 470 12 34 56"), phone("0032 471 00 00 01"), phone("0470 12 00 00"), phone("0471 00 11 22")}}},
		{"!invite tel:+32470123456 fr", false, Command{Action: Invite, Addresses: []Address{phone("+32470123456")}, Language: "fr"}},
		{"!invite anna@example.com in French", false, Command{Action: Invite, Addresses: anna, Language: "fr"}},
		{"!invite link", false, Command{Action: Invite, Link: true}},
		{"!inviter anna@example.com en néerlandais", false, Command{Action: Invite, Words: "fr", Addresses: anna, Language: "nl"}},
		{"!uitnodigen anna@example.com in het Frans", false, Command{Action: Invite, Words: "nl", Addresses: anna, Language: "fr"}},
		{"!einladen anna@example.com auf Englisch", false, Command{Action: Invite, Words: "de", Addresses: anna, Language: "en"}},
		{"!invite anna@example.com to #sales:example.org", false, Command{Action: Invite, Addresses: anna, Room: "#sales:example.org"}},
		{"!invite !abc:example.org anna@example.com", false, Command{Action: Invite, Addresses: anna, Room: "!abc:example.org"}},
		{"invite anna@example.com to Sales", true, Command{Action: Invite, Addresses: anna, Room: "Sales"}},
		{"Please invite anna@example.com and +32 470 12 34 56 to the Sales 2026 team", true,
			Command{Action: Invite, Addresses: []Address{email("anna@example.com"), phone("+32 470 12 34 56")}, Room: "Sales 2026 team"}},
		{"invite to Sales team anna@example.com", true, Command{Action: Invite, Addresses: anna, Room: "Sales team"}},
		{"inviter anna@example.com dans La Direction", true, Command{Action: Invite, Words: "fr", Addresses: anna, Room: "Direction"}},
		{"Nodig anna@example.com uit voor Verkoop", true, Command{Action: Invite, Words: "nl", Addresses: anna, Room: "Verkoop"}},
		{"nodig anna@example.com voor Verkoop uit", true, Command{Action: Invite, Words: "nl", Addresses: anna, Room: "Verkoop"}},
		{"Lade anna@example.com in den Vertrieb ein", true, Command{Action: Invite, Words: "de", Addresses: anna, Room: "Vertrieb"}},
		{"bitte lade anna@example.com zu Vertrieb auf Englisch ein!", true, Command{Action: Invite, Words: "de", Addresses: anna, Room: "Vertrieb", Language: "en"}},
		{"invite link to Sales", true, Command{Action: Invite, Link: true, Room: "Sales"}},
		{"!invitations", false, Command{Action: List}},
		{"invitations in Sales", true, Command{Action: List, Room: "Sales"}},
		{"!Einladungen", false, Command{Action: List, Words: "de"}},
		{"!revoke anna@example.com", false, Command{Action: Revoke, Words: "en", Addresses: anna}},
		{"!révoquer ABCDEF", false, Command{Action: Revoke, Words: "fr", IDs: []string{"ABCDEF"}}},
		{"!re\u0301voquer ABCDEF", false, Command{Action: Revoke, Words: "fr", IDs: []string{"ABCDEF"}}},
		{"!resend 0470123456", false, Command{Action: Resend, Words: "en", Addresses: []Address{phone("0470123456")}}},
		{"!erneut anna@example.com senden", false, Command{Action: Resend, Words: "de", Addresses: anna}},
		{"!help", false, Command{Action: Help}},
		{"!hulp?", false, Command{Action: Help, Words: "nl"}},
		{"!meet", false, Command{Action: Meet, Meeting: Meeting{Minutes: 60}}},
		{"!Vergader", false, Command{Action: Meet, Words: "nl", Meeting: Meeting{Minutes: 60}}},
		{"!meet 2026-12-01 14:00 Budget 2027 with anna@example.com, @bob:example.org +32 470 12 34 56", false,
			Command{Action: Meet, Addresses: []Address{email("anna@example.com"), phone("+32 470 12 34 56")},
				Meeting: Meeting{Start: "2026-12-01T14:00", Minutes: 60, Title: "Budget 2027", Users: []string{"@bob:example.org"}}}},
		{"!réunir le 1/12/2026 à 14h30 1h30 Le budget avec anna@example.com", false,
			Command{Action: Meet, Words: "fr", Addresses: anna, Meeting: Meeting{Start: "2026-12-01T14:30", Minutes: 90, Title: "Le budget"}}},
		{"!besprechen am 1.12.2026 um 9.05 45min Europe/Berlin Haushalt", false,
			Command{Action: Meet, Words: "de", Meeting: Meeting{Start: "2026-12-01T09:05", Minutes: 45, Timezone: "Europe/Berlin", Title: "Haushalt"}}},
		{"!meetings", false, Command{Action: Meetings, Words: "en"}},
		{"!meet cancel ABCDEF", false, Command{Action: CallOff, Words: "en", IDs: []string{"ABCDEF"}, Meeting: Meeting{Minutes: 60}}},
		{"!meet cancel 2", false, Command{Action: CallOff, Words: "en", Unknown: "2", Meeting: Meeting{Minutes: 60}}},
		{"!vergader annuleren ABCDEF", false, Command{Action: CallOff, Words: "nl", IDs: []string{"ABCDEF"}, Meeting: Meeting{Minutes: 60}}},
		{"!call +32 470 12 34 56", false, Command{Action: Call, Words: "en", Addresses: []Address{phone("+32 470 12 34 56")}}},
		{"!bel 0470 12 34 56", false, Command{Action: Call, Words: "nl", Addresses: []Address{phone("0470 12 34 56")}}},
		{"!meet Budget", false, Command{Action: Meet, Unknown: "Budget", Meeting: Meeting{Minutes: 60}}},
		{"!meet 2026-13-01 14:00 Budget", false, Command{Action: Meet, Unknown: "2026-13-01", Meeting: Meeting{Minutes: 60}}},
		{"!meet 2026-12-01 Budget", false, Command{Action: Meet, Unknown: "2026-12-01", Meeting: Meeting{Minutes: 60}}},
		{"!meet 2026-12-01 25:00 Budget", false, Command{Action: Meet, Unknown: "2026-12-01", Meeting: Meeting{Minutes: 60}}},
		{"!meet 2026-12-01 14:00 Budget anna@example.com Bob", false,
			Command{Action: Meet, Addresses: anna, Unknown: "Bob", Meeting: Meeting{Start: "2026-12-01T14:00", Minutes: 60, Title: "Budget"}}},
		{"!meet cancel", false, Command{Action: CallOff, Words: "en", Unknown: "…", Meeting: Meeting{Minutes: 60}}},
		{"!call Anna", false, Command{Action: Call, Words: "en", Unknown: "Anna"}},
		{"!call 0470 12 34 56 +33 6 12 34 56 78", false,
			Command{Action: Call, Words: "en", Addresses: []Address{phone("0470 12 34 56"), phone("+33 6 12 34 56 78")}, Unknown: "+33 6 12 34 56 78"}},
		// What makes no sense is named.
		{"!invite Anna", false, Command{Action: Invite, Unknown: "Anna"}},
		{"!invite anna@example.com bob", false, Command{Action: Invite, Addresses: anna, Unknown: "bob"}},
		{"!invite 12", false, Command{Action: Invite, Unknown: "12"}},
		{"!invite 02 899 11 00 00 00 0000", false, Command{Action: Invite, Addresses: []Address{phone("02 899 11 00")}, Unknown: "00 00 0000"}},
		{"!invite anna@localhost", false, Command{Action: Invite, Unknown: "anna@localhost"}},
		{"!invite anna@example.com #a:x #b:x", false, Command{Action: Invite, Addresses: anna, Room: "#a:x", Unknown: "#b:x"}},
		{"!revoke short", false, Command{Action: Revoke, Words: "en", Unknown: "short"}},
	} {
		if got, ok := Parse(c.text, c.direct); !ok || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s:\n  %+v, want\n  %+v", c.text, got, c.want)
		}
		if !c.direct && !IsCommand(c.text) {
			t.Errorf("%s: is no command", c.text)
		}
	}
}

func TestWhatIsNoCommand(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "!", "! invite anna@example.com", "invite anna@example.com", "!invited anna@example.com", "hello", "!!invite a@b.c", "> !invite a@b.c", "!ban @x:y", "please"} {
		if got, ok := Parse(text, false); ok || IsCommand(text) {
			t.Errorf("%q: %+v", text, got)
		}
	}
	for _, text := range []string{"", "hello", "please", "thank you", "anna@example.com"} {
		if got, ok := Parse(text, true); ok {
			t.Errorf("%q: %+v", text, got)
		}
	}
	if _, ok := Parse("!invite "+strings.Repeat("a", 5000), false); ok {
		t.Error("a message of any length is read")
	}
}

func TestAddressesAreBounded(t *testing.T) {
	t.Parallel()
	got, _ := Parse("!invite "+strings.Repeat("anna@example.com ", 21), false)
	if len(got.Addresses) != 20 || got.Unknown == "" {
		t.Errorf("%d, %q", len(got.Addresses), got.Unknown)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"!invite anna@example.com to #a:b", "lade anna@x.de in Vertrieb ein", "!invite +32 470 (0) 1 00", "!invite to in auf", "nodig uit", "!revoke \xff"} {
		f.Add(text, true)
		f.Add(text, false)
	}
	f.Fuzz(func(t *testing.T, text string, direct bool) {
		c, ok := Parse(text, direct)
		for _, a := range c.Addresses {
			if a.Text == "" || a.Medium != "email" && a.Medium != "msisdn" {
				t.Errorf("%q: %+v", text, c)
			}
		}
		if IsCommand(text) && !ok || !ok && c.Action != "" {
			t.Errorf("%q: %+v %v", text, c, ok)
		}
	})
}
