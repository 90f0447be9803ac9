package voice

import (
	"crypto/sha256"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/phone"
)

func twoTrunks(t *testing.T, d *desk) {
	d.room("mu", "1234", ghost)
	address, _ := started(t, d, func(c *Config) {
		second := c.Trunks[0]
		second.Name, second.Server, second.Allowed = "two", "127.0.0.8", []netip.Prefix{netip.MustParsePrefix("127.0.0.0/30")}
		second.Numbers, second.Codecs = []Number{{Number: "+31201234567", Country: "NL"}}, []string{"pcmu"}
		c.Trunks = append(c.Trunks, second)
	})
	first, second := newHandset(t, "udp", nil), newHandset(t, "udp", nil)
	if status := first.calls(address, "+3222345678"); status != 200 {
		t.Fatalf("answered with %d", status)
	}
	if status := second.calls(address, "0201234567", sip.NewHeader("P-Asserted-Identity", `"Jan" <sip:0612345678@carrier>`)); status != 200 {
		t.Fatalf("answered with %d", status)
	}
	first.hangsUp()
	second.hangsUp()
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.starts) != 2 || d.starts[0].Trunk != "one" || d.starts[1].Trunk != "two" || d.starts[1].Called != "+31201234567" || d.starts[1].Caller != "+31612345678" {
		t.Errorf("the server was told %+v", d.starts)
	}
	if second.codec != pcmu {
		t.Errorf("the second trunk's codec is %s", second.codec.name)
	}
}

func registered(t *testing.T, d *desk) {
	h := newHandset(t, "udp", nil)
	got := func() []string {
		h.mu.Lock()
		defer h.mu.Unlock()
		return append([]string(nil), h.registered...)
	}
	t.Cleanup(func() { // after the bridge
		if r := got(); !strings.Contains(r[len(r)-1], "for 0 ") {
			t.Errorf("last registered with %s", r[len(r)-1])
		}
	})
	_, b := started(t, d, func(c *Config) { c.Trunks[0].Server, c.Trunks[0].Register = h.address, true })
	hstest.Eventually(t, "a registration, and another before it ends", func() bool { return len(got()) >= 2 })
	for _, r := range got() {
		if !strings.Contains(r, "sip:roomline@127.0.0.1:") || !strings.Contains(r, `username="roomline"`) || !strings.Contains(r, "for 600") {
			t.Errorf("registered with %s", r)
		}
	}
	hstest.Eventually(t, "a trunk that works", func() bool { return b.trunks[0].works() })
	// A network that we registered with calls us by our account.
	if status := h.calls(b.sockets[0].packets.LocalAddr().String(), "roomline"); status != 200 {
		t.Errorf("answered with %d", status)
	}
	h.hangsUp()
}

// passwordsBySHA256: of a network's challenges the first is answered that can be (RFC 8760), when it registers us and when it is called.
func passwordsBySHA256(t *testing.T, d *desk) {
	d.room("sha", "none", ghost)
	h := newHandset(t, "udp", nil)
	challenges := []string{
		`Digest realm="carrier", nonce="n1", algorithm=AKAv1-MD5, qop="auth"`, `Digest realm="carrier", nonce="n2", algorithm=SHA-256, qop="auth"`,
		`Digest realm="carrier", nonce="n3", algorithm=MD5, qop="auth"`,
	}
	h.does(func() { h.challenges = challenges })
	started(t, d, func(c *Config) { c.Trunks[0].Server, c.Trunks[0].Register = h.address, true })
	hstest.Eventually(t, "a registration", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return len(h.registered) > 0 })
	d.call(phone.Call{CallID: "out1", Trunk: "one", Number: "+32475999999", Caller: "+3222345678", Language: "en", SecondsAllowed: 300, RingSeconds: 600}, d.pins["none"])
	<-h.called
	h.mu.Lock()
	if len(h.shown) < 2 {
		t.Errorf("%d passwords were shown", len(h.shown))
	}
	for _, one := range h.shown {
		if want := bySHA256(one.method, one.credentials, "roomline", "secret"); want == "" || one.credentials["response"] != want || one.credentials["nonce"] != "n2" {
			t.Errorf("%s: shown %v, want %s", one.method, one.credentials, want)
		}
	}
	h.mu.Unlock()
	d.order(phone.Status{CallID: "out1", Hangup: phone.CauseEnded})
	h.waitHungUp()
}

// bySHA256 is what a password is shown by (RFC 7616 §3.4.1).
func bySHA256(method string, c map[string]string, user, password string) string {
	hash := func(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }
	if c["algorithm"] != "SHA-256" || c["username"] != user {
		return ""
	}
	return hash(strings.Join([]string{hash(user + ":" + c["realm"] + ":" + password), c["nonce"], c["nc"], c["cnonce"], c["qop"], hash(method + ":" + c["uri"])}, ":"))
}

// onLoopback6 has a bridge listen at ::1.
func onLoopback6(c *Config) {
	_, port, _ := net.SplitHostPort(c.Listen[0].Address)
	c.Listen[0].Address, c.Address = net.JoinHostPort("::1", port), netip.IPv6Loopback()
	c.Trunks[0].Server, c.Trunks[0].Codecs = "[::1]:9", []string{"pcma", "pcmu"}
}

// byIPv6 is a call in, of which nothing is IPv4.
func byIPv6(t *testing.T, d *desk) {
	d.room("six", "1134", ghost)
	address := ""
	started(t, d, func(c *Config) { onLoopback6(c); address = c.Listen[0].Address })
	bob := d.person("six", "bob")
	bob.whistle(t)
	call := hstest.SIPp(t, hstest.SIPpOptions{Scenario: hstest.SIPpCallsAndHangsUp("1134#"), To: address, Number: "+3222345678", Echo: true, V6: true})
	d.waitJoined()
	bob.hears(t, 700)
	call.Tell(t, "INFO", d.starts[0].Reference) // hang up
	call.Wait(t)
	d.waitEnd(phone.CauseHangup)
}

// calledByIPv6 is a call out from a bridge that listens by both; the network's way is IPv6.
func calledByIPv6(t *testing.T, d *desk) {
	d.room("seven", "none", ghost)
	call := hstest.SIPp(t, hstest.SIPpOptions{Scenario: hstest.SIPpAsksAndIsCalled, Echo: true, V6: true})
	started(t, d, func(c *Config) {
		both := c.Listen[0]
		onLoopback6(c)
		c.Listen, c.Trunks[0].Server, c.Trunks[0].Codecs, c.Address = []Listen{both, c.Listen[0]}, call.Address, []string{"pcmu"}, netip.Addr{}
	})
	bob := d.person("seven", "bob")
	bob.whistle(t)
	d.call(phone.Call{CallID: "out1", Trunk: "one", Number: "+32475999999", Caller: "+3222345678", Language: "fr", By: "Bob", Title: "Seven", SecondsAllowed: 300, RingSeconds: 600}, d.pins["none"])
	d.waitJoined()
	bob.hears(t, 700)
	d.order(phone.Status{CallID: "out1", Hangup: phone.CauseEnded})
	call.Wait(t)
	d.waitEnd(phone.CauseEnded)
}

func TestNumbersAsTheyAreDialled(t *testing.T) {
	for _, one := range []struct{ user, country, want string }{
		{"+3222345678", "BE", "+3222345678"}, {"003222345678", "BE", "+3222345678"}, {"022345678", "BE", "+3222345678"}, {"3222345678", "BE", "+3222345678"},
		{"+3222345678;npdi", "BE", "+3222345678"}, {"anonymous", "BE", ""}, {"", "BE", ""}, {"alice", "BE", ""}, {"1' OR 1", "BE", ""}, {"030123456", "DE", "+4930123456"},
	} {
		if got := e164(one.user, one.country); got != one.want {
			t.Errorf("%q in %s is %q, want %q", one.user, one.country, got, one.want)
		}
	}
	for value, want := range map[string]string{`"Anna" <sip:+3222345678@example.org;user=phone>`: "+3222345678", "<tel:+3222345678>": "+3222345678", "nonsense": "", "sip:": ""} {
		if got := userIn(value); got != want {
			t.Errorf("%q has %q, want %q", value, got, want)
		}
	}
}
