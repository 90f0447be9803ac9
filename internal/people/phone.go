package people

import (
	"strconv"
	"strings"

	"github.com/nyaruka/phonenumbers"

	"github.com/roomline/roomline/internal/limits"
)

// Phone turns a phone number in any notation into the digits of E.164, without the plus. A number without a country code is one of the
// region. What can't be a public number, such as an extension, stays as its digits.
func Phone(text, region string) (digits string, ok bool) {
	if text = strings.TrimSpace(text); text == "" || len(text) > limits.PhoneNumber {
		return "", false
	}
	if digits, ok = public(text, region); ok {
		return digits, true
	}
	digits = onlyDigits(text)
	return digits, digits != ""
}

// PublicPhone is Phone for numbers that the whole world can call, and no others.
func PublicPhone(text, region string) (digits string, ok bool) {
	if len(text) > limits.PhoneNumber {
		return "", false
	}
	return public(text, region)
}

// IsMobile reports whether digits of E.164, without the plus, can be the number of a mobile phone.
func IsMobile(digits string) bool {
	n, err := phonenumbers.Parse("+"+digits, "")
	if err != nil || !phonenumbers.IsValidNumber(n) {
		return false
	}
	kind := phonenumbers.GetNumberType(n)
	return kind == phonenumbers.MOBILE || kind == phonenumbers.FIXED_LINE_OR_MOBILE
}

// shortestPublic is the fewest digits, with the country code, of a number that is called from anywhere.
const shortestPublic = 7

// public is the E.164 of a number that the whole world can call.
func public(text, region string) (string, bool) {
	n, err := phonenumbers.Parse(text, region)
	if err != nil || phonenumbers.IsPossibleNumberWithReason(n) != phonenumbers.IS_POSSIBLE {
		return "", false
	}
	digits := phonenumbers.Format(n, phonenumbers.E164)[1:]
	return digits, len(digits) >= shortestPublic
}

// IsRegion reports whether numbers can be in the notation of a country (ISO 3166 alpha-2).
func IsRegion(region string) bool { return phonenumbers.GetSupportedRegions()[region] }

// isDialled reports a text that is made of what people write phone numbers with.
func isDialled(text string) bool {
	return onlyDigits(text) != "" && strings.Trim(text, "0123456789 +-./()\u00a0") == ""
}

func onlyDigits(text string) string {
	return strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, text)
}

// phoneStarts are the beginnings of E.164 that a number may have whose beginning was dialled like this.
func phoneStarts(text, region string) []string {
	digits := onlyDigits(text)
	if strings.HasPrefix(strings.TrimSpace(text), "+") {
		return []string{digits}
	}
	if rest, ok := strings.CutPrefix(digits, "00"); ok {
		return []string{rest}
	}
	starts := []string{digits}
	if region == "" {
		return starts
	}
	if whole, ok := public(text, region); ok {
		starts = append(starts, whole)
	}
	if code := phonenumbers.GetCountryCodeForRegion(region); code != 0 {
		starts = append(starts, strconv.Itoa(code)+withoutTrunk(digits, region))
	}
	return starts
}

// withoutTrunk takes off what is dialled before national numbers only.
func withoutTrunk(digits, region string) string {
	if prefix := phonenumbers.GetNddPrefixForRegion(region, true); prefix != "" {
		return strings.TrimPrefix(digits, prefix)
	}
	return digits
}

func backwards(digits string) string {
	b := []byte(digits)
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
	return string(b)
}
