package auth

import (
	"strings"
	"testing"
)

func TestCanonicalAddress(t *testing.T) {
	long := strings.Repeat("a", 64)
	for _, tc := range []struct{ medium, address, region, want string }{
		{"email", "Anna@Example.COM", "", "anna@example.com"},
		{"email", " anna@example.com ", "", "anna@example.com"},
		{"email", "Strauß@Example.com", "", "strauss@example.com"},
		{"email", "o'neil+tag@mail.example.co.uk", "", "o'neil+tag@mail.example.co.uk"},
		{"email", "Ána@Bücher.example", "", "ána@bücher.example"},
		{"email", "anna@xn--bcher-kva.example", "", "anna@xn--bcher-kva.example"},
		{"email", long + "@example.com", "", long + "@example.com"},
		{"email", "a" + long + "@example.com", "", ""},
		{"email", long + "@" + strings.Repeat(long[:60]+".", 4) + "com", "", ""},
		{"email", "anna", "", ""},
		{"email", "@example.com", "", ""},
		{"email", "anna@", "", ""},
		{"email", "anna@localhost", "", ""},
		{"email", "anna@[127.0.0.1]", "", ""},
		{"email", "anna@127.0.0.1", "", ""},
		{"email", "anna@example..com", "", ""},
		{"email", "anna@example.com.", "", ""},
		{"email", "anna@-example.com", "", ""},
		{"email", ".anna@example.com", "", ""},
		{"email", "an..na@example.com", "", ""},
		{"email", "anna@bob@example.com", "", ""},
		{"email", `"anna b"@example.com`, "", ""},
		{"email", "Anna <anna@example.com>", "", ""},
		{"email", "anna@example.com\r\nBcc: bob@example.com", "", ""},
		{"email", "an\x00na@example.com", "", ""},
		{"email", "an\u202ena@example.com", "", ""},
		{"email", "anna@exam\u200bple.com\x7f", "", ""},
		{"email", "an\xffna@example.com", "", ""},
		{"email", "anna,bob@example.com", "", ""},
		{"email", "", "", ""},

		{"msisdn", "0470 12 34 56", "BE", "32470123456"},
		{"msisdn", "+32 (470) 12.34.56", "", "32470123456"},
		{"msisdn", "+32 470 12 34 56", "DE", "32470123456"},
		{"msisdn", "32470123456", "DE", "32470123456"},
		{"msisdn", "491701234567", "DE", "491701234567"},
		{"msisdn", "01701234567", "DE", "491701234567"},
		{"msisdn", "0470123456", "BE", "32470123456"},
		{"msisdn", "4155550123", "US", "14155550123"},
		{"msisdn", "0032470123456", "", "32470123456"},
		{"msisdn", "0032470123456", "BE", "32470123456"},
		{"msisdn", "32470123456", "", "32470123456"},
		{"msisdn", "07700900001", "GB", "447700900001"},
		{"msisdn", "06 12345678", "IT", "390612345678"},
		{"msisdn", "112", "BE", ""},
		{"msisdn", "4711", "", ""},
		{"msisdn", "0470 12 34 56", "ZZ", ""},
		{"msisdn", "0470 12 34 56", "be", ""},
		{"msisdn", "+32470123456 ext. 5", "", ""},
		{"msisdn", "1-800-FLOWERS", "US", ""},
		{"msisdn", "+999123456789012345", "", ""},
		{"msisdn", strings.Repeat("1", 200), "US", ""},
		{"msisdn", "", "BE", ""},
		{"pigeon", "anna@example.com", "", ""},
	} {
		got, ok := CanonicalAddress(tc.medium, tc.address, tc.region)
		if !ok {
			got = ""
		}
		if got != tc.want || ok != (tc.want != "") {
			t.Errorf("%s %q in %q: got %q, want %q", tc.medium, tc.address, tc.region, got, tc.want)
		}
		if ok {
			if again, ok := CanonicalAddress(tc.medium, got, ""); !ok || again != got {
				t.Errorf("%s %q: its canonical form %q is not canonical: %q", tc.medium, tc.address, got, again)
			}
		}
	}
}
