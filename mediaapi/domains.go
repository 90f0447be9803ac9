package mediaapi

import (
	"net/url"
	"strings"

	"golang.org/x/net/idna"

	"github.com/roomline/roomline/internal/matrix"
)

// Domains are those that previews may be fetched of, with what is below them: those of Allow, or all if it is empty, without those of Deny.
type Domains struct {
	Allow, Deny []string
}

func (d *Domains) allowed(u *url.URL) bool {
	host, ok := domainOf(u.Hostname())
	return ok && (len(d.Allow) == 0 || within(host, d.Allow)) && !within(host, d.Deny)
}

// within reports whether a host is one of the domains, or below one.
func within(host string, domains []string) bool {
	for _, domain := range domains {
		domain, ok := domainOf(domain)
		if ok && (host == domain || strings.HasSuffix(host, "."+domain)) {
			return true
		}
	}
	return false
}

// domainOf is a name in the form in which names are compared and asked for.
func domainOf(name string) (string, bool) {
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	if strings.Contains(name, ":") { // an address
		return name, true
	}
	ascii, err := idna.Lookup.ToASCII(name)
	if err != nil { // such as names with underscores, which resolve all the same
		ascii = name
	}
	ascii = strings.TrimSuffix(ascii, ".")
	return ascii, ascii != ""
}

// maxDomains bounds each of an organisation's lists.
const maxDomains = 1000

// checkDomains refuses what is no domain.
func checkDomains(field string, domains []string) error {
	if len(domains) > maxDomains {
		return matrix.BadJSON("%s has more than %d domains", field, maxDomains)
	}
	for _, domain := range domains {
		if len(domain) > 255 || domain == "" || strings.ContainsAny(domain, "/*@ \t\r\n") {
			return matrix.BadJSON("%s: %q is no domain", field, domain)
		}
		if _, ok := domainOf(domain); !ok {
			return matrix.BadJSON("%s: %q is no domain", field, domain)
		}
	}
	return nil
}
