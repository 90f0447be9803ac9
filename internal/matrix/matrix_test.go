package matrix

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

const hash = "Rqnc-F-dvnEYJTyHq_iKxU2bZ1CI92-kuZq3a5lr5Zg"

func TestServerNames(t *testing.T) {
	t.Parallel()
	valid := []string{
		"matrix.org", "matrix.org:8888", "1.2.3.4", "1.2.3.4:1234", "[1234:5678::abcd]", "[1234:5678::abcd]:5678", "[::1]",
		"localhost", "hs1", "a-b.example", "xn--bcher-kva.example", "MATRIX.org", "1and1.com", "x:0", "[::ffff:1.2.3.4]",
	}
	for _, s := range valid {
		if n, err := ParseServerName(s); err != nil || string(n) != s {
			t.Errorf("ParseServerName(%q) = %q, %v", s, n, err)
		}
	}
	invalid := []string{
		"", ":80", "host:", "host:x", "host:123456", "host:65536", "host:-1", "host:80:80", "a..b", ".a", "a.", "a_b", "a b", "höst", "a/b",
		"300.1.1.1", "127.1", "1.2.3.4.5", "[::1", "::1", "[]", "[1.2.3.4]", "[::1]x", "[fe80::1%eth0]", "host\x00", "user@host",
		strings.Repeat("a", 64), strings.Repeat("a.", 128) + "a",
	}
	for _, s := range invalid {
		if n, err := ParseServerName(s); err == nil {
			t.Errorf("ParseServerName(%q) = %q, want an error", s, n)
		}
	}
	n := ServerName("[::1]:8448")
	if n.Host() != "[::1]" || n.Port() != "8448" || ServerName("a.b").Port() != "" {
		t.Errorf("host %q, port %q", n.Host(), n.Port())
	}
}

func TestNewUserIDsFollowTheStrictGrammar(t *testing.T) {
	t.Parallel()
	if u, err := NewUserID("alice._=-/+09", "example.org"); err != nil || u != "@alice._=-/+09:example.org" {
		t.Errorf("got %q, %v", u, err)
	}
	for _, localpart := range []string{"", "Alice", "älice", "a:b", "a b", "a\x00", "a*", strings.Repeat("a", 243), "\xff"} {
		_, err := NewUserID(localpart, "example.org")
		if e, ok := AsError(err); !ok || e.Code != ErrInvalidUsername || e.Status != http.StatusBadRequest {
			t.Errorf("NewUserID(%.20q): %v, want M_INVALID_USERNAME", localpart, err)
		}
	}
	if u, err := NewUserID(strings.Repeat("a", 242), "example.org"); err != nil || len(u) != 255 {
		t.Errorf("255 bytes: %v", err)
	}
}

func TestHistoricalUserIDsAreAccepted(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"@alice:example.org", "@Älice B.:example.org:8448", "@:example.org", "@*@#:[::1]:80", "@日本:hs1"} {
		u, err := ParseUserID(s)
		if err != nil || "@"+u.Localpart()+":"+string(u.Domain()) != s {
			t.Errorf("%q: %q %q, %v", s, u.Localpart(), u.Domain(), err)
		}
	}
	for _, s := range []string{
		"", "@", "alice:example.org", "#alice:example.org", "@alice", "@alice:", "@al\x00ice:example.org", "@al\nice:example.org",
		"@al\xffice:example.org", "@al\u0085ice:example.org", "@alice:exa mple.org", "@" + strings.Repeat("a", 255) + ":example.org",
	} {
		_, err := ParseUserID(s)
		if e, ok := AsError(err); !ok || e.Code != ErrInvalidParam {
			t.Errorf("%.30q: %v, want M_INVALID_PARAM", s, err)
		}
	}
}

func TestRoomIDsOfAllVersions(t *testing.T) {
	t.Parallel()
	for s, domain := range map[string]ServerName{"!abc:example.org": "example.org", "!a/b c:hs:80": "hs:80", "!" + hash: ""} {
		if r, err := ParseRoomID(s); err != nil || r.Domain() != domain {
			t.Errorf("%q: domain %q, %v", s, r.Domain(), err)
		}
	}
	for _, s := range []string{"", "!", "!abc", "!" + hash + "a", "!" + hash[1:], "!" + strings.Replace(hash, "-", "+", 1), "$" + hash, "!a:b c", "!a\x00:b", "#a:b"} {
		if r, err := ParseRoomID(s); err == nil {
			t.Errorf("%q is accepted as %q", s, r)
		}
	}
}

func TestEventIDsOfAllVersions(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"$abc:example.org", "$" + hash, "$" + strings.NewReplacer("-", "+", "_", "/").Replace(hash)} {
		if _, err := ParseEventID(s); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range []string{"", "$", "$abc", "$" + hash[1:], "$" + hash + "=", "$+" + hash[1:], "!" + hash, "$a:b c"} {
		if e, err := ParseEventID(s); err == nil {
			t.Errorf("%q is accepted as %q", s, e)
		}
	}
}

func TestAliasesAndDeviceIDs(t *testing.T) {
	t.Parallel()
	if a, err := ParseRoomAlias("#Größe & more:example.org"); err != nil || a.Localpart() != "Größe & more" || a.Domain() != "example.org" {
		t.Errorf("alias: %q %q, %v", a.Localpart(), a.Domain(), err)
	}
	for _, s := range []string{"", "#a", "a:b", "#a\x00:b", "#" + strings.Repeat("a", 255) + ":b"} {
		if _, err := ParseRoomAlias(s); err == nil {
			t.Errorf("alias %.20q is accepted", s)
		}
	}
	if _, err := ParseDeviceID("My phone"); err != nil {
		t.Error(err)
	}
	for _, s := range []string{"", "a\x00", "a\xff", strings.Repeat("a", 256)} {
		if _, err := ParseDeviceID(s); err == nil {
			t.Errorf("device id %.20q is accepted", s)
		}
	}
}

func TestTimestampsAreMilliseconds(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 5, 4, 3, 2, 1, 987_654_321, time.UTC)
	if ts := TimestampOf(at); ts != 1777863721987 || !ts.Time().Equal(at.Truncate(time.Millisecond)) {
		t.Errorf("%d, %s", ts, ts.Time())
	}
}

func TestErrorsAreFoundThroughWrapping(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("join: %w", Forbidden("user %s is banned", "@a:b"))
	e, ok := AsError(err)
	if !ok || e.Status != http.StatusForbidden || e.Code != "M_FORBIDDEN" || e.Message != "user @a:b is banned" {
		t.Errorf("%+v", e)
	}
	if _, ok := AsError(errors.New("x")); ok {
		t.Error("a plain error is not a client's mistake")
	}
	if e := UnknownToken(true); e.Fields["soft_logout"] != true || e.Status != http.StatusUnauthorized {
		t.Errorf("%+v", e)
	}
	if e := LimitExceeded(0); e.RetryAfter <= 0 {
		t.Error("a refusal without waiting time invites to a busy loop")
	}
	if e := BadJSON("100% wrong"); e.Message != "100% wrong" {
		t.Errorf("message %q", e.Message)
	}
}

// fuzzParser checks what holds for every parser: what it accepts comes back unchanged, also from its parts, is short, and
// is clean text.
func fuzzParser[T ~string](f *testing.F, parse func(string) (T, error), join func(T) string, seeds ...string) {
	for _, s := range append(seeds, "", "\x00", "@:", "[::1]:80", "@a:b\xff") {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := parse(s)
		if err != nil {
			if e, ok := AsError(err); !ok || e.Status != http.StatusBadRequest || v != "" {
				t.Fatalf("%q: %v, value %q", s, err, v)
			}
			return
		}
		if string(v) != s || len(s) > 255 || s == "" || !utf8.ValidString(s) || strings.ContainsAny(s, "\x00\n\r\x7f") {
			t.Fatalf("%q was accepted as %q", s, v)
		}
		if join(v) != s {
			t.Fatalf("the parts of %q make %q", s, join(v))
		}
	})
}

func FuzzParseServerName(f *testing.F) {
	fuzzParser(f, ParseServerName, func(n ServerName) string {
		if n.Port() == "" {
			return n.Host()
		}
		return n.Host() + ":" + n.Port()
	}, "example.org:8448", "1.2.3.4", "[::1]", "127.1")
}

func FuzzParseUserID(f *testing.F) {
	fuzzParser(f, ParseUserID, func(u UserID) string { return "@" + u.Localpart() + ":" + string(u.Domain()) }, "@alice:example.org", "@:hs:80")
}

func FuzzNewUserID(f *testing.F) {
	f.Add("alice")
	f.Add("Älice")
	f.Fuzz(func(t *testing.T, localpart string) {
		u, err := NewUserID(localpart, "example.org")
		if err != nil {
			return
		}
		if again, err := ParseUserID(string(u)); err != nil || again.Localpart() != localpart {
			t.Fatalf("new user id %q does not parse: %v", u, err)
		}
	})
}

func FuzzParseRoomID(f *testing.F) {
	fuzzParser(f, ParseRoomID, RoomID.String, "!abc:example.org", "!"+hash)
}

func FuzzParseEventID(f *testing.F) {
	fuzzParser(f, ParseEventID, EventID.String, "$abc:example.org", "$"+hash)
}

func FuzzParseRoomAlias(f *testing.F) {
	fuzzParser(f, ParseRoomAlias, func(a RoomAlias) string { return "#" + a.Localpart() + ":" + string(a.Domain()) }, "#room:example.org")
}

func FuzzParseDeviceID(f *testing.F) {
	fuzzParser(f, ParseDeviceID, func(d DeviceID) string { return string(d) }, "PHONE")
}
