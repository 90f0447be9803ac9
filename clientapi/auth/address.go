package auth

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/people"
)

// CanonicalAddress is the one form in which an address is stored, looked up and written to, and whether it is one that something can be sent
// to. Phone numbers without a country code are those of the region (ISO 3166 alpha-2); without a region they are digits of E.164, with or
// without the plus. Clients leave the plus out in both cases, so that digits that are a mobile phone's with it, and none in the region, are E.164.
//
// Spec: appendices v1.19 §3pid-types
func CanonicalAddress(medium, address, region string) (string, bool) {
	switch medium {
	case "email":
		if len(address) > limits.Mailbox || !utf8.ValidString(address) {
			return "", false
		}
		address = CanonicalEmail(address)
		return address, isEmail(address)
	case "msisdn":
		return canonicalNumber(address, region)
	}
	return "", false
}

func canonicalNumber(number, region string) (string, bool) {
	number = strings.TrimSpace(number)
	switch {
	case region != "" && !people.IsRegion(region):
		return "", false
	case region == "" && strings.HasPrefix(number, "00"):
		number = "+" + number[2:]
	case region == "" && !strings.HasPrefix(number, "+"):
		number = "+" + number
	}
	if strings.Trim(number, "0123456789 +-./()\u00a0") != "" {
		return "", false
	}
	digits, ok := people.PublicPhone(number, region)
	if strings.Trim(number, "0123456789") == "" && !(ok && people.IsMobile(digits)) && people.IsMobile(number) {
		return number, true
	}
	return digits, ok
}

// isEmail reports an address in the form of RFC 5321's Mailbox: a dot-string, an at sign and a domain of at least two labels. Quoted strings
// and addresses of hosts are left out: no provider gives them away, and programs disagree about what they mean. Letters of all scripts are
// in (RFC 6531).
func isEmail(address string) bool {
	local, domain, ok := strings.Cut(address, "@")
	return ok && len(address) <= limits.Mailbox && len(local) <= 64 && isDotString(local) && isMailDomain(domain)
}

func isDotString(local string) bool {
	for atom := range strings.SplitSeq(local, ".") {
		if atom == "" || strings.ContainsFunc(atom, func(r rune) bool { return !isAtext(r) }) {
			return false
		}
	}
	return true
}

func isAtext(r rune) bool {
	switch {
	case r < utf8.RuneSelf:
		return 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r)
	case r == utf8.RuneError:
		return false
	}
	return unicode.In(r, unicode.L, unicode.M, unicode.N)
}

func isMailDomain(domain string) bool {
	ascii, err := idna.Lookup.ToASCII(domain)
	if err != nil || len(ascii) > 253 || strings.HasSuffix(domain, ".") {
		return false
	}
	labels := strings.Split(ascii, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	// A name of digits alone is an address of a host.
	return len(labels) > 1 && strings.Trim(labels[len(labels)-1], "0123456789") != ""
}
