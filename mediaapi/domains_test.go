package mediaapi

import (
	"net/url"
	"testing"
)

func TestDomainsOfPreviews(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		domains Domains
		yes, no []string
	}{
		{Domains{}, []string{"http://example.org/"}, nil},
		{
			Domains{Deny: []string{"Example.com", "bücher.example"}},
			[]string{"https://example.org", "https://badexample.com", "https://example.com.example.org", "https://192.0.2.1"},
			[]string{
				"https://example.com", "https://www.example.com:8443/x", "https://EXAMPLE.COM.", "https://xn--bcher-kva.example", "https://bÜcher.example",
				"https://a_b.example.com", "https://ｅxample.com", "https://example。com",
			},
		},
		{Domains{Deny: []string{"192.0.2.1", "2001:db8::1"}}, []string{"http://192.0.2.2"}, []string{"http://192.0.2.1:80", "http://[2001:db8::1]/"}},
		{
			Domains{Allow: []string{"example.org"}, Deny: []string{"secret.example.org"}},
			[]string{"https://example.org", "https://www.example.org"},
			[]string{"https://example.com", "https://secret.example.org", "https://x.secret.example.org", "https://example.org.evil.example"},
		},
	} {
		for _, one := range []struct {
			urls []string
			want bool
		}{{c.yes, true}, {c.no, false}} {
			for _, raw := range one.urls {
				u, err := url.Parse(raw)
				if err != nil {
					t.Fatal(err)
				}
				if got := c.domains.allowed(u); got != one.want {
					t.Errorf("%+v, %s: %v", c.domains, raw, got)
				}
			}
		}
	}
}
