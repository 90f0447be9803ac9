package matrix

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxIdentifier bounds every identifier, with its sigil and its domain, in bytes.
//
// Spec: appendices v1.19 §common-identifier-format
const maxIdentifier = 255

// ServerNoticesLocalpart is the name under which the server itself writes to its users. Nobody can register it.
const ServerNoticesLocalpart = "_server"

// ServerNoticesUser is who writes to the users of a domain in the name of the server.
func ServerNoticesUser(domain ServerName) UserID {
	return UserID("@" + ServerNoticesLocalpart + ":" + string(domain))
}

// UserID is "@localpart:domain".
type UserID string

// NewUserID makes the id of a new account. The localpart must follow today's strict grammar; the message names the
// character that does not.
//
// Spec: appendices v1.19 §user-identifiers
func NewUserID(localpart string, domain ServerName) (UserID, error) {
	if localpart == "" {
		return "", InvalidUsername("username must not be empty")
	}
	for _, r := range localpart {
		if r > unicode.MaxASCII || !isUserChar(byte(r)) {
			return "", InvalidUsername("username may contain only a-z, 0-9 and . _ = - / +, not %q", r)
		}
	}
	id := "@" + localpart + ":" + string(domain)
	if len(id) > maxIdentifier {
		return "", InvalidUsername("username is too long: the user id would have %d bytes, %d are allowed", len(id), maxIdentifier)
	}
	return UserID(id), nil
}

// ParseUserID accepts every user id that may occur in a room, historical ones included: the localpart may be empty and
// may hold any character but ":" and control characters.
//
// Differs: the spec also tolerates control characters in historical localparts. At the client's edge they are refused;
// they can neither be typed nor shown.
//
// Spec: appendices v1.19 §historical-user-ids
func ParseUserID(s string) (UserID, error) {
	if err := checkIdentifier(s, '@', "user id"); err != nil {
		return "", err
	}
	if err := checkDomain(s, "user id"); err != nil {
		return "", err
	}
	return UserID(s), nil
}

// Localpart is the part between the sigil and the first colon.
func (u UserID) Localpart() string { return localpart(string(u)) }

// Domain is the server the user belongs to.
func (u UserID) Domain() ServerName { return domain(string(u)) }

// String returns the id as it stands on the wire.
func (u UserID) String() string { return string(u) }

// DeviceID names one device of a user. The spec leaves its form open; clients may choose it at login.
type DeviceID string

// ParseDeviceID checks a device id that a client has chosen: 1 to 255 bytes of text without control characters.
func ParseDeviceID(s string) (DeviceID, error) {
	if s == "" || len(s) > maxIdentifier {
		return "", InvalidParam("device id must have 1 to %d bytes", maxIdentifier)
	}
	if !plainText(s) {
		return "", InvalidParam("device id must be valid UTF-8 without control characters")
	}
	return DeviceID(s), nil
}

func isUserChar(c byte) bool {
	return 'a' <= c && c <= 'z' || isDigit(c) || strings.IndexByte("._=-/+", c) >= 0
}

// checkIdentifier checks what all identifiers have in common: sigil, length, text without control characters.
func checkIdentifier(s string, sigil byte, what string) error {
	switch {
	case s == "" || s[0] != sigil:
		return InvalidParam("%s must start with %q", what, sigil)
	case len(s) > maxIdentifier:
		return InvalidParam("%s must have at most %d bytes", what, maxIdentifier)
	case !plainText(s):
		return InvalidParam("%s must be valid UTF-8 without control characters", what)
	}
	return nil
}

// checkDomain checks the part behind the first colon.
func checkDomain(s, what string) error {
	colon := strings.IndexByte(s, ':')
	if colon < 0 {
		return InvalidParam("%s must have a domain after a colon", what)
	}
	if _, err := ParseServerName(s[colon+1:]); err != nil {
		return InvalidParam("%s has an invalid domain", what)
	}
	return nil
}

func localpart(s string) string {
	if s == "" {
		return ""
	}
	if i := strings.IndexByte(s, ':'); i >= 0 {
		return s[1:i]
	}
	return s[1:]
}

func domain(s string) ServerName {
	if i := strings.IndexByte(s, ':'); i >= 0 {
		return ServerName(s[i+1:])
	}
	return ""
}

// plainText reports valid UTF-8 without control characters (C0, DEL, C1).
func plainText(s string) bool {
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c < 0x20 || c == 0x7f {
				return false
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 || unicode.IsControl(r) {
			return false
		}
		i += n
	}
	return true
}
