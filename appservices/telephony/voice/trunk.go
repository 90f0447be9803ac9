package voice

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
	"github.com/nyaruka/phonenumbers"

	"github.com/roomline/roomline/internal/wake"
)

// Trunk is a provider that brings calls and takes them.
type Trunk struct {
	// Name is what the server knows it by.
	Name string
	// Server is where calls go to, host or host:port; Transport udp, tcp or tls.
	Server, Transport string
	// Username and Password are for networks that ask for them. Register tells the network where we are, as a phone does.
	Username, Password string
	Register           bool
	// Domain is behind the @ in our addresses; empty: the server's host.
	Domain string
	// Allowed are the addresses that calls may come from, besides the server's.
	Allowed []netip.Prefix
	Numbers []Number
	// Codecs are pcmu, pcma and g722, the favourite first.
	Codecs []string
	// SRTP is off, optional or required.
	SRTP string
	// Caller is the number that is shown if the server names none.
	Caller string
	// MaxCalls is how many there may be at a time, 0 for no bound of its own.
	MaxCalls int
	// LiveKit says that LiveKit SIP carries its calls; of the fields above it then has name, numbers, caller and MaxCalls. OutboundTrunk is what LiveKit SIP knows it by
	// for calls that go out, empty for none.
	LiveKit       bool
	OutboundTrunk string
}

// Number is one that a trunk brings calls to: E.164 with a plus, and its country, which says how numbers are dialled there.
type Number struct{ Number, Country string }

// trunk is a Trunk at work.
type trunk struct {
	cfg      Trunk
	bridge   *Bridge
	codecs   []*codec
	security security
	host     string
	client   *sipgo.Client
	dialogs  *sipgo.DialogUA
	address  netip.Addr
	// calls is guarded by the bridge.
	calls int
	// resolved are the server's addresses.
	resolved   atomic.Pointer[[]netip.Addr]
	registered atomic.Bool
	resolving  sync.Mutex
}

func hostOf(server string) string {
	if host, _, err := net.SplitHostPort(server); err == nil {
		return host
	}
	return strings.Trim(server, "[]")
}

// resolve looks up the server's addresses.
func (t *trunk) resolve(ctx context.Context) {
	t.resolving.Lock()
	defer t.resolving.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	names := []string{t.host}
	if _, records, err := net.DefaultResolver.LookupSRV(ctx, "sip", t.cfg.Transport, t.host); err == nil && !isAddress(t.host) {
		for _, r := range records {
			names = append(names, strings.TrimSuffix(r.Target, "."))
		}
	}
	var list []netip.Addr
	for _, name := range names {
		found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
		if err == nil {
			for _, a := range found {
				list = append(list, a.Unmap())
			}
		}
	}
	if len(list) > 0 {
		t.resolved.Store(&list)
	} else {
		t.bridge.log.Warn("voice: a trunk's server has no address", "trunk", t.cfg.Name, "server", t.host)
	}
}

func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// watch looks up the server's addresses again and again.
func (t *trunk) watch(ctx context.Context) {
	for ctx.Err() == nil && !isAddress(t.host) {
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Minute):
			t.resolve(ctx)
		}
	}
}

// allows reports whether something may come from an address.
func (t *trunk) allows(a netip.Addr) bool {
	a = a.Unmap()
	if slices.ContainsFunc(t.cfg.Allowed, func(p netip.Prefix) bool { return p.Contains(a) }) {
		return true
	}
	list := t.resolved.Load()
	return list != nil && slices.Contains(*list, a)
}

// works reports whether calls can be made over it.
func (t *trunk) works() bool { return !t.cfg.Register && !t.cfg.LiveKit || t.registered.Load() }

// number is the one of ours that was called, and its country.
func (t *trunk) number(candidates ...string) (Number, bool) {
	for _, user := range candidates {
		for _, n := range t.cfg.Numbers {
			if user != "" && e164(user, n.Country) == n.Number {
				return n, true
			}
		}
	}
	// A network that we have registered with calls us by our account.
	if t.cfg.Register && len(t.cfg.Numbers) == 1 && len(candidates) > 0 && candidates[0] == t.cfg.Username {
		return t.cfg.Numbers[0], true
	}
	return Number{}, false
}

// e164 is a number with a plus, as it is dialled in a country: with a plus, with 00, with the country's code and no plus, or as a national one.
// It is empty if it is none.
func e164(user, country string) string {
	user, _, _ = strings.Cut(user, ";")
	const longest = 32
	if user == "" || len(user) > longest || strings.Trim(user, "+0123456789-.() ") != "" {
		return ""
	}
	for _, text := range []string{user, "+" + strings.TrimLeft(user, "+")} {
		if n, err := phonenumbers.Parse(text, country); err == nil && phonenumbers.IsPossibleNumber(n) && phonenumbers.IsValidNumber(n) {
			return phonenumbers.Format(n, phonenumbers.E164)
		}
	}
	// Ranges that no library knows are taken as they stand.
	if strings.HasPrefix(user, "+") && len(user) >= 8 && strings.Trim(user[1:], "0123456789") == "" {
		return user
	}
	return ""
}

// caller is who calls, if the network says it and they do not mind.
func caller(req *sip.Request, country string) string {
	if h := req.GetHeader("Privacy"); h != nil && strings.ToLower(strings.TrimSpace(h.Value())) != "none" {
		return ""
	}
	if h := req.GetHeader("P-Asserted-Identity"); h != nil {
		if number := e164(userIn(h.Value()), country); number != "" {
			return number
		}
	}
	if from := req.From(); from != nil {
		return e164(from.Address.User, country)
	}
	return ""
}

// userIn is the user in the first address of a header: "Name" <sip:+3222345678@host;user=phone>, or <tel:+3222345678>.
func userIn(value string) string {
	for _, scheme := range []string{"sip:", "sips:", "tel:"} {
		if i := strings.Index(strings.ToLower(value), scheme); i >= 0 {
			rest := value[i+len(scheme):]
			if end := strings.IndexAny(rest, "@;>,"); end >= 0 {
				rest = rest[:end]
			}
			return rest
		}
	}
	return ""
}

// local is where the way to the trunk begins, or what the configuration says.
func (t *trunk) local(configured netip.Addr) netip.Addr {
	if configured.IsValid() {
		return configured
	}
	far := netip.MustParseAddr("192.0.2.1") // an address that nobody has: the way there is that to the world
	if list := t.resolved.Load(); list != nil {
		far = (*list)[0]
	}
	if conn, err := net.Dial("udp", netip.AddrPortFrom(far, 5060).String()); err == nil { // which sends nothing
		defer conn.Close()
		return conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
	}
	return netip.MustParseAddr("127.0.0.1")
}

// target is the address of a user at the trunk.
func (t *trunk) target(user string) sip.Uri {
	u := sip.Uri{Scheme: "sip", User: user, Host: t.host, UriParams: sip.NewParams()}
	if a, err := netip.ParseAddr(t.host); err == nil && a.Is6() {
		u.Host = "[" + t.host + "]"
	}
	if _, port, err := net.SplitHostPort(t.cfg.Server); err == nil {
		u.Port, _ = strconv.Atoi(port) // the configuration has checked it
	}
	if t.cfg.Transport != "udp" {
		u.UriParams.Add("transport", t.cfg.Transport)
	}
	return u
}

func (t *trunk) domain() string {
	if t.cfg.Domain != "" {
		return t.cfg.Domain
	}
	return t.host
}

// backoff is a pause that grows, and is never quite the same.
type backoff struct{ first, most, next time.Duration }

func (b *backoff) wait(ctx context.Context) {
	b.next = min(max(b.first, 2*b.next), b.most)
	wake.Pause(ctx, b.next/2+rand.N(b.next/2+1))
}
