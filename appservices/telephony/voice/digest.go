package voice

import (
	"regexp"
	"slices"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// digests are the algorithms that a password is shown by.
var digests = []string{"", "MD5", "SHA-256", "SHA-512-256"}

var algorithmOf = regexp.MustCompile(`(?i)[\s,]algorithm\s*=\s*"?([A-Za-z0-9-]*)`)

// chooseDigest leaves of a network's challenges the first one that we can answer: the network names its favourite first. A network that knows of old ones only names
// none but those.
//
// Spec: RFC 8760 §2.4
func chooseDigest(res *sip.Response) {
	for _, name := range []string{"WWW-Authenticate", "Proxy-Authenticate"} {
		list := res.GetHeaders(name)
		if len(list) < 2 {
			continue
		}
		i := slices.IndexFunc(list, func(h sip.Header) bool {
			algorithm := ""
			if m := algorithmOf.FindStringSubmatch(h.Value()); m != nil {
				algorithm = strings.ToUpper(m[1])
			}
			return slices.Contains(digests, algorithm)
		})
		if i <= 0 {
			continue
		}
		for range list {
			res.RemoveHeader(name)
		}
		res.AppendHeader(list[i])
	}
}
