package appservices

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/roomline/roomline/internal/matrix"
)

const good = `
id: irc
url: http://127.0.0.1:9999/base/
as_token: as-token-of-irc
hs_token: hs-token-of-irc
sender_localpart: _irc_bot
rate_limited: false
receive_ephemeral: true
org.example.extension: {x: 1}
protocols: [irc]
namespaces:
  users: [{exclusive: true, regex: '@_irc_.*:one\.test'}, {exclusive: false, regex: '@shared_'}]
  aliases: [{exclusive: true, regex: '#_irc_.*'}]
  rooms: []
`

func TestRegistrationIsRead(t *testing.T) {
	t.Parallel()
	as, err := parse([]byte(good), "one.test")
	if err != nil {
		t.Fatal(err)
	}
	if as.ID != "irc" || as.URL != "http://127.0.0.1:9999/base" || as.Sender != "@_irc_bot:one.test" || as.RateLimited || !as.ReceiveEphemeral ||
		len(as.Users) != 2 || len(as.Aliases) != 1 || len(as.Rooms) != 0 || len(as.Protocols) != 1 {
		t.Errorf("read as %+v", as)
	}
	for user, covered := range map[matrix.UserID]bool{
		"@_irc_bot:one.test": true, "@_irc_x:one.test": true, "@shared_x:one.test": true,
		"@_irc_x:two.test": false, "@alice:one.test": false, "@x@_irc_x:one.test": false, "@shared_x:two.test": false,
	} {
		if as.Covers(user) != covered {
			t.Errorf("%s is covered: %v", user, !covered)
		}
	}
	minimal, err := parse([]byte("{id: a, url: null, as_token: aaaaaaaa, hs_token: bbbbbbbb, sender_localpart: a, namespaces: {}}"), "one.test")
	if err != nil || minimal.URL != "" || !minimal.RateLimited || minimal.Covers("@b:one.test") {
		t.Errorf("the least that is needed: %+v, %v", minimal, err)
	}
}

func TestWrongRegistrationsAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ from, to, want string }{
		"empty":            {good, "", "is empty"},
		"no YAML":          {good, "id: [", "is not YAML"},
		"a list":           {good, "[1]", "is not YAML"},
		"no id":            {"id: irc", "x: y", "id: must be"},
		"a long id":        {"id: irc", "id: " + strings.Repeat("x", 300), "id: must be"},
		"a file as URL":    {"http://127.0.0.1:9999/base/", "file:///etc", "url: must be"},
		"a URL with query": {"/base/", "/base?x=1", "url: must be"},
		"a password":       {"http://127", "http://a:b@127", "url: must be"},
		"no as_token":      {"as_token: as-token-of-irc", "x: y", "as_token: must be"},
		"a short hs_token": {"hs-token-of-irc", "short", "hs_token: must be"},
		"a space":          {"as-token-of-irc", "as token of irc", "as_token: must be"},
		"one token":        {"hs-token-of-irc", "as-token-of-irc", "hs_token: must not be"},
		"no sender":        {"sender_localpart: _irc_bot", "x: y", "sender_localpart: must be"},
		"a whole user id":  {"_irc_bot", "'@irc:one.test'", "sender_localpart: must be"},
		"no namespaces":    {"namespaces:", "spaces:", "namespaces: is missing"},
		"no exclusive":     {"exclusive: false, ", "", "namespaces.users[1]: exclusive is missing"},
		"no regex":         {", regex: '@shared_'", "", "namespaces.users[1]: regex is missing"},
		"a broken regex":   {"@shared_", "@(shared_", "namespaces.users[1]: regex: "},
		"a look-ahead":     {"@shared_", "@(?!x)shared_", "namespaces.users[1]: regex: "},
		"an empty name":    {"[irc]", "['']", "protocols[0]: must be"},
	} {
		_, err := parse([]byte(strings.Replace(good, c.from, c.to, 1)), "one.test")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "token-of") {
			t.Errorf("%s: a token is in the message: %v", name, err)
		}
	}
}

func TestRegistrationsMustNotCollide(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	first := write("first", good)
	other := strings.NewReplacer("id: irc", "id: other", "as-token-of-irc", "as-token-of-other", "_irc_bot", "_other_bot").Replace(good)
	for name, c := range map[string]struct{ second, want string }{
		"id":     {strings.Replace(other, "id: other", "id: irc", 1), "id: "},
		"token":  {strings.Replace(other, "as-token-of-other", "as-token-of-irc", 1), "as_token: "},
		"sender": {strings.Replace(other, "_other_bot", "_irc_bot", 1), "sender_localpart: "},
		"large":  {other + "#" + strings.Repeat("x", 1<<20), "more than"},
	} {
		if _, err := Load([]string{first, write(name, c.second)}, "one.test"); err == nil || !strings.Contains(err.Error(), name+": "+c.want) && !strings.Contains(err.Error(), c.want) {
			t.Errorf("the same %s: %v", name, err)
		}
	}
	if _, err := Load([]string{filepath.Join(dir, "nothing")}, "one.test"); err == nil {
		t.Error("a file that is not there")
	}
	r, err := Load([]string{first, write("good", other)}, "one.test")
	if err != nil {
		t.Fatal(err)
	}
	if !r.Exclusive("@_irc_x:one.test") || !r.Exclusive("@_other_bot:one.test") || r.Exclusive("@shared_x:one.test") || r.Exclusive("@_irc_x:two.test") {
		t.Error("the registry mistakes what belongs to whom")
	}
	if r.ofToken("as-token-of-other").ID != "other" || r.ofToken("hs-token-of-irc") != nil || r.ofToken("") != nil {
		t.Error("the registry mistakes tokens")
	}
}
