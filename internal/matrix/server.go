package matrix

import (
	"net/netip"
	"net/url"
	"strings"
)

// ServerName is the name of a homeserver: a DNS name, an IPv4 address or a bracketed IPv6 address, with an optional port.
type ServerName string

const (
	maxServerName = 255 // a longer one cannot be part of any identifier
	maxLabel      = 63  // RFC 1035 §2.3.4
)

// ParseServerName checks the grammar. Names are case-sensitive and returned as they came.
//
// Why: a name of digits and dots that is not a dotted quad ("127.1", "300.1.1.1") is refused although the DNS grammar
// would let it pass: resolvers disagree about what address it means.
//
// Spec: appendices v1.19 §server-name
func ParseServerName(s string) (ServerName, error) {
	if s == "" || len(s) > maxServerName {
		return "", InvalidParam("server name must have 1 to %d bytes", maxServerName)
	}
	host, port, ok := splitPort(s)
	if !ok || !validPort(port) {
		return "", InvalidParam("server name has an invalid port")
	}
	if !validHost(host) {
		return "", InvalidParam("server name is neither a host name nor an IP address")
	}
	return ServerName(s), nil
}

// Host is the name without its port; an IPv6 address keeps its brackets.
func (n ServerName) Host() string {
	host, _, _ := splitPort(string(n))
	return host
}

// Port is the explicit port, "" when there is none.
func (n ServerName) Port() string {
	_, port, _ := splitPort(string(n))
	return strings.TrimPrefix(port, ":")
}

// splitPort cuts "host:8448" into "host" and ":8448"; the port is "" when there is none.
func splitPort(s string) (host, port string, ok bool) {
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return s, "", false
		}
		return s[:end+1], s[end+1:], true
	}
	if i := strings.IndexByte(s, ':'); i >= 0 {
		return s[:i], s[i:], true
	}
	return s, "", true
}

func validPort(port string) bool {
	if port == "" {
		return true
	}
	digits := port[1:]
	if port[0] != ':' || digits == "" || len(digits) > 5 {
		return false
	}
	n := 0
	for i := range len(digits) {
		if !isDigit(digits[i]) {
			return false
		}
		n = n*10 + int(digits[i]-'0')
	}
	return n <= 65535
}

func validHost(host string) bool {
	if strings.HasPrefix(host, "[") {
		inner := host[1 : len(host)-1]
		addr, err := netip.ParseAddr(inner)
		return err == nil && addr.Is6() && addr.Zone() == ""
	}
	lastNumeric := false
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > maxLabel {
			return false
		}
		lastNumeric = true
		for i := range len(label) {
			if !isDNSChar(label[i]) {
				return false
			}
			lastNumeric = lastNumeric && isDigit(label[i])
		}
	}
	if lastNumeric {
		addr, err := netip.ParseAddr(host)
		return err == nil && addr.Is4()
	}
	return true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isAlpha(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func isDNSChar(c byte) bool { return isDigit(c) || isAlpha(c) || c == '-' }

// InstanceID is what clients call a third-party network of an application service: what tells the networks of all of them apart, whatever
// the ids are.
func InstanceID(appservice, network string) string { return url.PathEscape(appservice) + "|" + network }
