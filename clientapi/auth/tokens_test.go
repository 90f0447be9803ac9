package auth

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
)

func TestTokenParsesAndNothingElseDoes(t *testing.T) {
	t.Parallel()
	s, err := newSecrets(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	access, refresh := s.accessToken(), s.refreshToken()
	if got, ok := parseToken(accessPrefix, accessBytes, access); !ok || !bytes.Equal(got, s.access) {
		t.Errorf("access token %q does not parse", access)
	}
	if got, ok := parseToken(refreshPrefix, refreshBytes, refresh); !ok || !bytes.Equal(got, append(s.family, s.generation...)) {
		t.Errorf("refresh token %q does not parse", refresh)
	}
	for i := range access {
		changed := []byte(access)
		changed[i] ^= 1
		if _, ok := parseToken(accessPrefix, accessBytes, string(changed)); ok {
			t.Errorf("a token with letter %d changed parses", i)
		}
	}
	for _, bad := range []string{"", accessPrefix, access + "A", access[1:], refresh, strings.ToUpper(access), access + "\n", "syt_abc_def"} {
		if _, ok := parseToken(accessPrefix, accessBytes, bad); ok {
			t.Errorf("%q parses as an access token", bad)
		}
	}
	// The last letter of 32 bytes in base64 has two bits that mean nothing.
	body := access[:len(accessPrefix)+base64.RawURLEncoding.EncodedLen(accessBytes)]
	for _, last := range base64Alphabet {
		other := body[:len(body)-1] + string(last) + access[len(body):]
		if _, ok := parseToken(accessPrefix, accessBytes, other); ok && other != access {
			t.Errorf("a second spelling of the same token parses: %q", other)
		}
	}
}

const base64Alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

func TestRotationFollowsFromTokenAndSaltAlone(t *testing.T) {
	t.Parallel()
	s, _ := newSecrets(rand.Reader)
	a, err := s.next([]byte("salt one"))
	if err != nil {
		t.Fatal(err)
	}
	b, _ := s.next([]byte("salt one"))
	if a.accessToken() != b.accessToken() || a.refreshToken() != b.refreshToken() {
		t.Error("the same exchange gives different tokens")
	}
	other, _ := s.next([]byte("salt two"))
	if a.accessToken() == other.accessToken() || a.refreshToken() == other.refreshToken() {
		t.Error("another salt gives the same tokens")
	}
	if !bytes.Equal(a.family, s.family) || bytes.Equal(a.generation, s.generation) || bytes.Equal(a.access, a.generation) {
		t.Error("family must stay, generation must change, access and refresh must differ")
	}
}

func TestDeviceIDsAreTenCapitals(t *testing.T) {
	t.Parallel()
	seen := make(map[matrix.DeviceID]bool)
	for range 1000 {
		id, err := newDeviceID(rand.Reader)
		if err != nil || len(id) != 10 || strings.Trim(string(id), "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" || seen[id] {
			t.Fatalf("device id %q, %v, seen %v", id, err, seen[id])
		}
		seen[id] = true
	}
}

func TestCacheIsBoundedAndForgetsWhatChanged(t *testing.T) {
	t.Parallel()
	c := newCache(3)
	entry := func(n byte, user matrix.UserID) *cached {
		return &cached{token: digest{n}, requester: &httpapi.Requester{User: user}}
	}
	for n := range byte(3) {
		c.put(entry(n, "@a:x"), c.dropCount())
	}
	c.get(digest{0})
	c.put(entry(3, "@b:x"), c.dropCount())
	if _, ok := c.get(digest{1}); ok || len(c.tokens) != 3 {
		t.Errorf("the token used longest ago is still there, or %d are", len(c.tokens))
	}
	if _, ok := c.get(digest{0}); !ok {
		t.Error("the token used last is gone")
	}
	before := c.dropCount()
	c.dropUser("@a:x")
	if len(c.tokens) != 1 || len(c.users) != 1 {
		t.Errorf("%d tokens of %d users are left", len(c.tokens), len(c.users))
	}
	// A row read before the drop may be older than the change.
	c.put(entry(9, "@a:x"), before)
	if _, ok := c.get(digest{9}); ok {
		t.Error("what was read before a change was remembered after it")
	}
}

func TestPhoneNumbersBecomeE164(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ country, phone, want string }{
		{"GB", "07700 900123", "447700900123"},
		{"GB", "+44 7700 900123", "447700900123"},
		{"DE", "0151/23456789", "4915123456789"},
		{"DE", "0044 7700 900123", "447700900123"},
		{"US", "(415) 555-0123", "14155550123"},
		{"US", "1-415-555-0123", "14155550123"},
		{"IT", "06 6982 1234", "390669821234"},
		{"HU", "06 1 234 5678", "3612345678"},
		{"RU", "8 912 345-67-89", "79123456789"},
		{"", "+4915123456789", "4915123456789"},
	} {
		if got, ok := canonicalPhone(test.country, test.phone); !ok || got != test.want {
			t.Errorf("canonicalPhone(%q, %q) = %q, %v; want %q", test.country, test.phone, got, ok, test.want)
		}
	}
	for _, test := range [][2]string{{"ZZ", "07700900123"}, {"GB", ""}, {"GB", "abc"}, {"GB", "12"}, {"", "07700900123"}, {"GB", strings.Repeat("1", 40)}, {"GB", "0770\x00900123"}} {
		if got, ok := canonicalPhone(test[0], test[1]); ok {
			t.Errorf("canonicalPhone(%q, %q) = %q", test[0], test[1], got)
		}
	}
}
