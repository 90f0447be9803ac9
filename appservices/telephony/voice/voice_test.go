package voice

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/hstest/whistle"
	"github.com/roomline/roomline/internal/phone"
	"github.com/roomline/roomline/internal/sfu"
)

const ghost = "@phone_1:example.org:PHONE"

// TestCalls is the bridge between carriers and a real LiveKit. The calls go on beside each other.
func TestCalls(t *testing.T) {
	lk := hstest.LiveKit(t)
	for name, f := range map[string]func(*testing.T, *desk){
		"a phone in a meeting":                 aPhoneInAMeeting,
		"a carrier calls":                      aCarrierCalls,
		"a carrier is called":                  aCarrierIsCalled,
		"encrypted from end to end of the leg": encryptedLeg,
		"encrypted if the other side can":      encryptedIfPossible,
		"wrong PINs":                           wrongPINs,
		"a lobby and a recording":              lobbyAndRecording,
		"kicked, and ended":                    kickedAndEnded,
		"a phone that falls silent":            silentPhone,
		"time is over":                         timeIsOver,
		"who may call":                         whoMayCall,
		"two trunks":                           twoTrunks,
		"registered":                           registered,
		"cancelled":                            cancelled,
		"calls that do not come to be":         failedCalls,
		"rubbish":                              rubbish,
		"an offer that comes late":             lateOffer,
		"by IPv6":                              byIPv6,
		"called by IPv6":                       calledByIPv6,
		"early media":                          earlyMedia,
		"passwords by SHA-256":                 passwordsBySHA256,
		"sent elsewhere":                       sentElsewhere,
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			f(t, newDesk(t, lk))
		})
	}
}

func aPhoneInAMeeting(t *testing.T, d *desk) {
	d.room("alpha", "1234", ghost)
	address, b := started(t, d, nil)
	bob := d.person("alpha", "bob")
	bob.whistle(t)
	h := newHandset(t, "udp", nil)
	if status := h.calls(address, "022345678"); status != 200 {
		t.Fatalf("answered with %d", status)
	}
	if h.codec != wide {
		t.Errorf("the codec is %s", h.codec.name)
	}
	h.hearsSomething()
	h.presses("1234#")
	d.waitJoined()
	if s := d.starts[0]; s.Called != "+3222345678" || s.Caller != "+32475123456" || s.Trunk != "one" || s.Reference == "" {
		t.Errorf("the server was told %+v", s)
	}
	h.listens(700) // Opus from the room
	h.whistle(440)
	bob.hears(t, 440)

	h.presses("*6")
	_, e := d.wait("muted", func(_ string, e phone.Event) bool { return e.Muted != nil })
	if !*e.Muted {
		t.Error("star 6 did not mute")
	}
	hstest.Eventually(t, "a muted track in LiveKit", bob.muted.Load)
	h.presses("*6")
	d.wait("not muted", func(_ string, e phone.Event) bool { return e.Muted != nil && !*e.Muted })
	bob.hears(t, 440)
	h.presses("*9")
	if _, e = d.wait("a hand", func(_ string, e phone.Event) bool { return e.Hand != nil }); !*e.Hand {
		t.Error("star 9 did not raise a hand")
	}
	// A moderator mutes; the phone may take it back.
	if err := d.sfu.Mute(t.Context(), "alpha", ghost, sfu.Microphone, true); err != nil {
		t.Fatal(err)
	}
	hstest.Eventually(t, "a track that a moderator muted", bob.muted.Load)
	// The phone hears of it at a time of its own.
	hstest.Eventually(t, "a phone that knows that it is muted", func() bool { return allMuted(b) })
	h.forget()
	h.presses("*6")
	bob.hears(t, 440)

	// On hold: nothing of what the carrier plays then is for the meeting, and nothing of the meeting for it.
	if a := h.again(sendonly); a.direction != recvonly {
		t.Errorf("hold was answered with %s", a.direction)
	}
	// What is under way arrives, and then nothing does.
	hstest.Eventually(t, "a second of silence while the call is held", func() bool {
		h.forget()
		bob.Forget()
		time.Sleep(time.Second)
		h.mu.Lock()
		defer h.mu.Unlock()
		return bob.Silent() && len(h.heard) == 0
	})
	if a := h.again(sendrecv); a.direction != sendrecv {
		t.Errorf("taking up again was answered with %s", a.direction)
	}
	bob.hears(t, 440)
	h.listens(700)
	h.hangsUp()
	d.waitEnd(phone.CauseHangup)
	hstest.Eventually(t, "an empty place", func() bool { return !present(t, d, "alpha") })
}

// legsOf are the calls of a bridge.
func legsOf(b *Bridge) []*leg {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Values(b.legs))
}

func allMuted(b *Bridge) bool {
	for _, l := range legsOf(b) {
		l.mu.Lock()
		muted := l.muted
		l.mu.Unlock()
		if !muted {
			return false
		}
	}
	return true
}

func present(t *testing.T, d *desk, room string) bool {
	t.Helper()
	list, err := d.sfu.Participants(t.Context(), room)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list {
		if p.Identity == ghost {
			return true
		}
	}
	return false
}

// aCarrierCalls has SIPp send back what it hears: the tone of the room comes back as the phone's.
func aCarrierCalls(t *testing.T, d *desk) {
	d.room("beta", "1134", ghost)
	address, _ := started(t, d, func(c *Config) { c.Trunks[0].Codecs = []string{"pcma", "pcmu"} })
	bob := d.person("beta", "bob")
	bob.whistle(t)
	call := hstest.SIPp(t, hstest.SIPpOptions{Scenario: hstest.SIPpCallsAndHangsUp("1134#"), To: address, Number: "+3222345678", Echo: true})
	d.waitJoined()
	if s := d.starts[0]; s.Caller != "+32475123456" {
		t.Errorf("the server was told %+v", s)
	}
	bob.hears(t, 700)
	call.Tell(t, "INFO", d.starts[0].Reference) // hang up
	call.Wait(t)
	d.waitEnd(phone.CauseHangup)
}

func aCarrierIsCalled(t *testing.T, d *desk) {
	d.room("gamma", "none", ghost)
	call := hstest.SIPp(t, hstest.SIPpOptions{Scenario: hstest.SIPpAsksAndIsCalled, Echo: true})
	started(t, d, func(c *Config) { c.Trunks[0].Server = call.Address })
	bob := d.person("gamma", "bob")
	bob.whistle(t)
	d.call(phone.Call{CallID: "out1", Trunk: "one", Number: "+32475999999", Caller: "+3222345678", Language: "fr", By: "Bob", Title: "Gamma", SecondsAllowed: 300, RingSeconds: 600}, d.pins["none"])
	d.wait("ringing", func(call string, e phone.Event) bool { return call == "out1" && e.State == phone.Ringing })
	d.wait("an answer", func(call string, e phone.Event) bool { return call == "out1" && e.State == phone.Answered })
	d.waitJoined()
	bob.hears(t, 700)
	d.order(phone.Status{CallID: "out1", Hangup: phone.CauseEnded})
	call.Wait(t)
	d.waitEnd(phone.CauseEnded)
}

func encryptedLeg(t *testing.T, d *desk) {
	d.room("delta", "1234", ghost)
	server, client := certificate(t)
	h := newHandset(t, "tls", server)
	h.secure, h.codecs = true, []*codec{pcma}
	address, _ := started(t, d, func(c *Config) {
		c.Listen, c.TLS = []Listen{{Transport: "tls", Address: c.Listen[0].Address}}, client
		c.Trunks[0].Transport, c.Trunks[0].SRTP, c.Trunks[0].Server = "tls", "required", h.address
	})
	bob := d.person("delta", "bob")
	bob.whistle(t)
	if status := h.calls(address, "+3222345678"); status != 200 {
		t.Fatalf("answered with %d", status)
	}
	if !h.answer.secure || len(h.answer.keys) != 1 {
		t.Errorf("the audio is not encrypted: %+v", h.answer)
	}
	h.presses("1234#")
	d.waitJoined()
	h.listens(700)
	h.whistle(440)
	bob.hears(t, 440)
	h.hangsUp()
	d.waitEnd(phone.CauseHangup)

	// And out, where the certificate is checked.
	h.secure = true
	d.call(phone.Call{CallID: "out1", Trunk: "one", Number: "+32475999999", Caller: "+3222345678", Language: "nl", RingSeconds: 600}, d.pins["1234"])
	<-h.called
	d.wait("an answer", func(call string, e phone.Event) bool { return call == "out1" && e.State == phone.Answered })
	h.presses("1")
	d.wait("the called in the meeting", func(call string, e phone.Event) bool { return call == "out1" && e.Joined })
	h.listens(700)
	h.hangsUp()
}

// encryptedIfPossible calls a network that can't encrypt, and one whose certificate nobody vouches for.
func encryptedIfPossible(t *testing.T, d *desk) {
	d.room("epsilon", "1234", ghost)
	server, client := certificate(t)
	h := newHandset(t, "tls", server)
	h.does(func() { h.refuse = 488 })
	other := newHandset(t, "tls", server)
	started(t, d, func(c *Config) {
		c.Listen, c.TLS = []Listen{{Transport: "tls", Address: c.Listen[0].Address}}, client
		c.Trunks[0].Transport, c.Trunks[0].SRTP, c.Trunks[0].Server = "tls", "optional", h.address
		stranger := c.Trunks[0]
		stranger.Name, stranger.Server, stranger.Numbers = "stranger", strings.Replace(other.address, "127.0.0.1", "localhost", 1), nil
		c.Trunks = append(c.Trunks, stranger)
	})
	d.call(phone.Call{CallID: "out1", Trunk: "one", Number: "+32475999999", Caller: "+3222345678", Language: "de", RingSeconds: 600}, d.pins["1234"])
	<-h.called
	h.mu.Lock()
	if len(h.offered) != 1 || h.offered[0] {
		t.Errorf("offered %v: want no encryption the second time", h.offered)
	}
	h.mu.Unlock()
	d.wait("an answer", func(call string, e phone.Event) bool { return call == "out1" && e.State == phone.Answered })
	h.hangsUp()
	d.waitEnd(phone.CauseHangup)
	d.call(phone.Call{CallID: "out2", Trunk: "stranger", Number: "+32475999999", Caller: "+3222345678", Language: "de", RingSeconds: 600}, d.pins["1234"])
	d.wait("a failure", func(call string, e phone.Event) bool {
		return call == "out2" && e.State == phone.Failed && e.Cause == phone.CauseTrunk
	})
	select {
	case <-other.called:
		t.Error("a network whose certificate is for another name was called")
	default:
	}
}

func wrongPINs(t *testing.T, d *desk) {
	d.room("zeta", "1234", ghost)
	address, _ := started(t, d, nil)
	h := newHandset(t, "udp", nil)
	h.codecs = []*codec{pcmu}
	if status := h.calls(address, "+3222345678"); status != 200 {
		t.Fatalf("answered with %d", status)
	}
	h.hearsSomething()
	h.presses("99*9876#") // a star begins anew
	hstest.Eventually(t, "the first try", func() bool { d.mu.Lock(); defer d.mu.Unlock(); return d.tries["callb"] == 2 })
	// Keys as messages, with no hash key: the length is known.
	for _, key := range "0000" {
		info := sip.NewRequest(sip.INFO, h.out.InviteResponse.Contact().Address)
		info.AppendHeader(sip.NewHeader("Content-Type", "application/dtmf-relay"))
		info.SetBody([]byte("Signal=" + string(key) + "\r\nDuration=160\r\n"))
		if res, err := h.out.Do(t.Context(), info); err != nil || res.StatusCode != 200 {
			t.Fatalf("INFO: %v, %v", res, err)
		}
	}
	hstest.Eventually(t, "the second try", func() bool { d.mu.Lock(); defer d.mu.Unlock(); return d.tries["callb"] == 1 })
	h.presses("5555#")
	h.waitHungUp()
	d.waitEnd(phone.CausePIN)

	d.edit("1234", func(j *phone.Join) { j.Problem = phone.EncryptedMeeting })
	h2 := newHandset(t, "udp", nil)
	if status := h2.calls(address, "+3222345678"); status != 200 {
		t.Fatalf("answered with %d", status)
	}
	h2.presses("1234")
	h2.waitHungUp()
	d.wait("an ending for the encryption", func(_ string, e phone.Event) bool { return e.State == phone.Ended && e.Cause == phone.CauseEncrypted })
}

func lobbyAndRecording(t *testing.T, d *desk) {
	d.room("eta", "1234", ghost)
	d.edit("1234", func(j *phone.Join) { j.Waiting = true })
	address, _ := started(t, d, nil)
	bob := d.person("eta", "bob")
	h := newHandset(t, "udp", nil)
	if status := h.calls(address, "+3222345678"); status != 200 {
		t.Fatalf("answered with %d", status)
	}
	h.presses("1234#")
	call := ""
	hstest.Eventually(t, "somebody waiting", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		for one := range d.joins {
			call = one
		}
		return call != ""
	})
	h.whistle(440)
	if present(t, d, "eta") {
		t.Error("who waits is in the meeting already")
	}
	d.mu.Lock()
	j := d.joins[call]
	j.Waiting, j.Recording = false, phone.Asking
	d.joins[call] = j
	d.mu.Unlock()
	d.order(phone.Status{CallID: call, Recording: phone.Asking})
	hstest.Eventually(t, "the phone at the door", func() bool { return present(t, d, "eta") })
	h.presses("1")
	if _, e := d.wait("a consent", func(_ string, e phone.Event) bool { return e.Consent != "" }); e.Consent != "yes" {
		t.Errorf("the answer was %q", e.Consent)
	}
	d.waitJoined()
	bob.hears(t, 440)
	d.order(phone.Status{CallID: call})
	d.order(phone.Status{CallID: call, Recording: phone.Asking}) // another recording
	hstest.Eventually(t, "a refusal", func() bool {
		h.presses("2") // as long as the question has not come, it is the answer to nothing
		time.Sleep(300 * time.Millisecond)
		return d.told(func(e phone.Event) bool { return e.Consent == "no" })
	})
	h.hangsUp()
	d.waitEnd(phone.CauseHangup)
}

func kickedAndEnded(t *testing.T, d *desk) {
	d.room("theta", "1234", ghost)
	d.room("iota", "4321", ghost)
	address, _ := started(t, d, nil)
	var phones []*handset
	for _, pin := range []string{"1234", "4321"} {
		h := newHandset(t, "udp", nil)
		if status := h.calls(address, "+3222345678"); status != 200 {
			t.Fatalf("answered with %d", status)
		}
		h.presses(pin + "#")
		phones = append(phones, h)
	}
	hstest.Eventually(t, "both in their meetings", func() bool { return d.joinedTimes() >= 2 })
	if err := d.sfu.Remove(t.Context(), "theta", ghost); err != nil {
		t.Fatal(err)
	}
	if err := d.sfu.DeleteRoom(t.Context(), "iota"); err != nil {
		t.Fatal(err)
	}
	for _, h := range phones {
		h.waitHungUp()
	}
	d.wait("removed", func(_ string, e phone.Event) bool { return e.Cause == phone.CauseRemoved })
	d.wait("ended", func(_ string, e phone.Event) bool { return e.Cause == phone.CauseEnded })
}

func silentPhone(t *testing.T, d *desk) {
	d.room("kappa", "1234", ghost)
	const silent = time.Hour
	address, b := started(t, d, func(c *Config) { c.MediaTimeout = silent })
	h := newHandset(t, "udp", nil)
	if status := h.calls(address, "+3222345678"); status != 200 {
		t.Fatalf("answered with %d", status)
	}
	h.presses("1234#")
	d.waitJoined()
	h.media.mu.Lock()
	h.media.sending = false
	h.media.mu.Unlock()
	// What it has sent before arrives, and an hour passes.
	hstest.Eventually(t, "the end of a call of which nothing is heard", func() bool {
		for _, l := range legsOf(b) {
			l.media.lastPacket.Store(time.Now().Add(-silent - time.Second).UnixNano())
		}
		return h.hungUp.Load()
	})
	d.waitEnd(phone.CauseTrunk)
}

func timeIsOver(t *testing.T, d *desk) {
	d.room("lambda", "1234", ghost)
	d.edit("1234", func(j *phone.Join) { j.SecondsAllowed = 2 })
	address, _ := started(t, d, nil)
	h := newHandset(t, "udp", nil)
	if status := h.calls(address, "+3222345678"); status != 200 {
		t.Fatalf("answered with %d", status)
	}
	h.presses("1234#")
	h.waitHungUp()
	d.waitEnd(phone.CauseTime)
}

func whoMayCall(t *testing.T, d *desk) {
	address, _ := started(t, d, func(c *Config) { c.Trunks[0].MaxCalls = 1 })
	h := newHandset(t, "udp", nil)
	if status := h.calls(address, "+3222222222"); status != 404 {
		t.Errorf("a number of nobody is answered with %d", status)
	}
	if status := h.calls(address, "+3222345678", sip.NewHeader("Require", "100rel")); status != 420 {
		t.Errorf("an extension that we don't have is answered with %d", status)
	}
	if status := h.calls(address, "+3222345678", sip.NewHeader("Session-Expires", "20")); status != 422 {
		t.Errorf("a session of 20 seconds is answered with %d", status)
	}
	if status := h.calls(address, "+3222345678"); status != 200 {
		t.Fatalf("answered with %d", status)
	}
	if status := newHandset(t, "udp", nil).calls(address, "+3222345678"); status != 486 {
		t.Errorf("a call too many is answered with %d", status)
	}
	h.hangsUp()
	// The server is away: the caller pays nothing.
	d.down.Store(true)
	again := newHandset(t, "udp", nil)
	hstest.Eventually(t, "503 while the server is away", func() bool { return again.calls(address, "+3222345678") == 503 })
	d.down.Store(false)

	elsewhere, _ := started(t, d, func(c *Config) { c.Trunks[0].Server = "127.0.0.9" })
	if status := newHandset(t, "udp", nil).calls(elsewhere, "+3222345678"); status != 403 {
		t.Errorf("a call from an address that nobody knows is answered with %d", status)
	}
	byTCP, _ := started(t, d, func(c *Config) {
		c.Listen[0].Transport, c.Trunks[0].Transport, c.Trunks[0].Server = "tcp", "tcp", "127.0.0.9"
	})
	conn, err := net.Dial("tcp", byTCP)
	if err == nil {
		defer conn.Close()
		_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err = conn.Read(make([]byte, 1)); err == nil {
			t.Error("a connection from an address that nobody knows is spoken with")
		}
	}
}

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

func cancelled(t *testing.T, d *desk) {
	d.room("nu", "1234", ghost)
	h := newHandset(t, "udp", nil)
	h.does(func() { h.rings = true })
	started(t, d, func(c *Config) { c.Trunks[0].Server = h.address })
	d.call(phone.Call{CallID: "out1", Trunk: "one", Number: "+32475999999", Caller: "+3222345678", Language: "de", RingSeconds: 600}, d.pins["1234"])
	<-h.called
	d.wait("ringing", func(call string, e phone.Event) bool { return call == "out1" && e.State == phone.Ringing })
	d.order(phone.Status{CallID: "out1", Hangup: phone.CauseCancelled})
	h.waitHungUp()
	d.waitEnd(phone.CauseCancelled)
}

func failedCalls(t *testing.T, d *desk) {
	h := newHandset(t, "udp", nil)
	started(t, d, func(c *Config) { c.Trunks[0].Server = h.address })
	for status, want := range map[int]phone.Cause{486: phone.CauseBusy, 603: phone.CauseRejected, 404: phone.CauseUnreachable, 500: phone.CauseTrunk, 487: phone.CauseNoAnswer} {
		h.does(func() { h.refuse = status })
		id := "out" + want
		d.call(phone.Call{CallID: string(id), Trunk: "one", Number: "+32475999999", Caller: "+3222345678", Language: "de", RingSeconds: 600}, phone.Join{})
		d.wait(string(want), func(call string, e phone.Event) bool {
			return call == string(id) && e.State == phone.Failed && e.Cause == want
		})
	}
	d.call(phone.Call{CallID: "nowhere", Trunk: "none", Number: "+32475999999"}, phone.Join{})
	d.wait("no such trunk", func(call string, e phone.Event) bool { return call == "nowhere" && e.State == phone.Failed })
	// Somebody who answers and presses nothing is in no meeting; who hangs up is out.
	d.call(phone.Call{CallID: "mailbox", Trunk: "one", Number: "+32475999999", Caller: "+3222345678", RingSeconds: 600}, phone.Join{})
	<-h.called
	h.presses("23")
	h.hearsSomething()
	h.hangsUp()
	d.wait("hung up", func(call string, e phone.Event) bool {
		return call == "mailbox" && e.State == phone.Ended && e.Cause == phone.CauseHangup
	})
}

// rubbish is thrown at all ports of a call, which goes on.
func rubbish(t *testing.T, d *desk) {
	d.room("xi", "1234", ghost)
	address, _ := started(t, d, nil)
	bob := d.person("xi", "bob")
	h := newHandset(t, "udp", nil)
	if status := h.calls(address, "+3222345678"); status != 200 {
		t.Fatalf("answered with %d", status)
	}
	h.presses("1234#")
	d.waitJoined()
	h.whistle(440)
	bob.hears(t, 440)
	send := func(to string, packets ...string) {
		conn, err := net.Dial("udp", to)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for _, p := range packets {
			_, _ = conn.Write([]byte(p))
		}
	}
	callID := h.out.InviteRequest.CallID().Value()
	via := "Via: SIP/2.0/UDP 127.0.0.1:1;branch=z9hG4bK"
	send(address, "", "\r\n\r\n", "\x00\x00\x00", strings.Repeat("A", 9000), "INVITE", "INVITE sip: SIP/2.0\r\n\r\n", "SIP/2.0 200 OK\r\n\r\n", "BYE sip:x@y SIP/2.0\r\n"+via+"1\r\n\r\n",
		"INVITE sip:+3222345678@x SIP/2.0\r\n"+via+"2\r\nContent-Length: -1\r\n\r\n", "INVITE sip:+3222345678@x SIP/2.0\r\n"+via+"3\r\nFrom: <sip:a@b>\r\nTo: <sip:c@d>\r\nCall-ID: z\r\nCSeq: 1 INVITE\r\n\r\n",
		"BYE sip:x@y SIP/2.0\r\n"+via+"4\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=wrong\r\nCall-ID: "+callID+"\r\nCSeq: 9 BYE\r\n\r\n",
		"INVITE sip:+3222345678@x SIP/2.0\r\n"+via+"5\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: y\r\nCSeq: 1 INVITE\r\nContact: <sip:a@b>\r\nContent-Type: application/sdp\r\nContent-Length: 3\r\n\r\nv=0",
		"CANCEL sip:x SIP/2.0\r\n"+via+"6\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: y\r\nCSeq: 1 CANCEL\r\n\r\n")
	send(h.answer.rtp.String(), "", "\x80", "\x80\x00\x00", strings.Repeat("\xff", 1400), strings.Repeat("\x80", 12), "\x90\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x01\xbe\xde\xff\xff")
	send(h.answer.rtcp.String(), "", "\x81\xc8", strings.Repeat("\x81\xc8\x00\x06", 9))
	bob.hears(t, 440)
	options := sip.NewRequest(sip.OPTIONS, h.out.InviteResponse.Contact().Address)
	if res, err := h.client.Do(t.Context(), options); err != nil || res.StatusCode != 200 || res.GetHeader("Allow") == nil {
		t.Errorf("OPTIONS: %v, %v", res, err)
	}
	// The same request again is the same call.
	d.mu.Lock()
	n := len(d.starts)
	d.mu.Unlock()
	if n != 1 {
		t.Errorf("%d calls began", n)
	}
	h.hangsUp()
	d.waitEnd(phone.CauseHangup)
}

// lateOffer is a caller who says nothing of audio before we do.
func lateOffer(t *testing.T, d *desk) {
	address, _ := started(t, d, nil)
	h := newHandset(t, "udp", nil)
	if err := h.open(nil); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	head := func(method, tag string, n string) string {
		return method + " sip:+3222345678@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP " + conn.LocalAddr().String() + ";branch=z9hG4bK" + method + n + "\r\nFrom: <sip:+32475123456@127.0.0.1>;tag=late\r\nTo: <sip:+3222345678@127.0.0.1>" + tag +
			"\r\nCall-ID: late\r\nCSeq: " + n + " " + method + "\r\nContact: <sip:x@" + conn.LocalAddr().String() + ">\r\nMax-Forwards: 70\r\n"
	}
	buffer := make([]byte, 65536)
	exchange := func(request string, retransmit bool) *sip.Response {
		t.Helper()
		for range 2 { // as who has heard nothing sends it again
			_, _ = conn.Write([]byte(request))
			if !retransmit {
				break
			}
		}
		for {
			_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
			n, err := conn.Read(buffer)
			if err != nil {
				t.Fatal(err)
			}
			message, err := sip.NewParser().ParseSIP(buffer[:n])
			if err != nil {
				t.Fatal(err)
			}
			if res, ok := message.(*sip.Response); ok && res.StatusCode >= 200 && strings.Contains(request, "branch="+res.Via().Params.GetOr("branch", "none")+"\r\n") {
				return res
			}
		}
	}
	res := exchange(head("INVITE", "", "1")+"Content-Length: 0\r\n\r\n", true)
	// The same by another way is no second call.
	if res := exchange(strings.Replace(head("INVITE", "", "1"), "branch=", "branch=z9hG4bKother", 1)+"Content-Length: 0\r\n\r\n", false); res.StatusCode != 482 {
		t.Errorf("a second copy is answered with %d", res.StatusCode)
	}
	offer, err := parseSDP(res.Body())
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("answered with %d %s, and no offer: %v", res.StatusCode, res.Reason, err)
	}
	c, err := choose(offer, codecs, securityOff)
	if err != nil {
		t.Fatal(err)
	}
	body := string(h.local.answer(offer, c))
	tag := ";tag=" + res.To().Params.GetOr("tag", "")
	h.agree(c, offer)
	_, _ = conn.Write([]byte(head("ACK", tag, "1") + "Content-Type: application/sdp\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body))
	h.hearsSomething()
	if res := exchange(head("BYE", tag, "2")+"Content-Length: 0\r\n\r\n", true); res.StatusCode != 200 {
		t.Errorf("BYE is answered with %d", res.StatusCode)
	}
	d.waitEnd(phone.CauseHangup)
	if n := len(d.starts); n != 1 {
		t.Errorf("%d calls began", n)
	}
}

// TestLiveKitIsAwayForAWhile has its own, which is killed.
func TestLiveKitIsAwayForAWhile(t *testing.T) {
	t.Parallel()
	d := newDesk(t, hstest.LiveKit(t))
	d.room("omega", "1234", ghost)
	address, _ := started(t, d, nil)
	h := newHandset(t, "udp", nil)
	if status := h.calls(address, "+3222345678"); status != 200 {
		t.Fatalf("answered with %d", status)
	}
	h.presses("1234#")
	d.waitJoined()
	d.lk.Kill9(t)
	hstest.Eventually(t, "another way in to be asked for", func() bool { d.mu.Lock(); defer d.mu.Unlock(); return d.tokens > 0 })
	d.lk.Restart(t)
	d.room("omega", "1234", ghost)
	hstest.Eventually(t, "the phone in the meeting again", func() bool { return d.joinedTimes() >= 2 })
	bob := d.person("omega", "bob")
	bob.whistle(t)
	h.whistle(440)
	bob.hears(t, 440)
	h.listens(700)
	h.hangsUp()
	d.waitEnd(phone.CauseHangup)
}

func TestAnnouncementsAreSpoken(t *testing.T) {
	if _, err := exec.LookPath("espeak-ng"); err != nil {
		t.Fatal("espeak-ng is not installed: make sipp")
	}
	a, err := newAnnouncer(nil, []string{"espeak-ng", "-v", "{language}", "--stdin", "--stdout"}, discard)
	if err != nil {
		t.Fatal(err)
	}
	for _, language := range languages {
		s := a.sound(t.Context(), language, phJoined, "--help; Anna <x>", "")
		if n := len(s.narrow); n < 8000 || whistle.Loudness(s.narrow) < 300 || len(s.wide) < 2*n-2 {
			t.Errorf("%s: %d samples of loudness %.0f", language, n, whistle.Loudness(s.narrow))
		}
	}
	a.speech = []string{"false"} // what was spoken is remembered, and what can't be is a tone
	if s := a.sound(t.Context(), "en", phJoined, "--help; Anna <x>", ""); len(s.narrow) < 8000 {
		t.Error("the text is not remembered")
	}
	if s := a.sound(t.Context(), "en", phHelp, "", ""); len(s.narrow) != len(tonesOf(phHelp).narrow) {
		t.Error("no tones in place of what can't be spoken")
	}
	for p := range words["en"] {
		for _, language := range languages {
			if words[language][p] == "" || strings.Count(words[language][p], "%s") != strings.Count(words["en"][p], "%s") {
				t.Errorf("%s has no %s", language, p)
			}
		}
	}
}

var discard = slog.New(slog.DiscardHandler)

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

// earlyMedia is a network that describes its audio before anybody answers: it counts as ringing, and the call is as any other.
func earlyMedia(t *testing.T, d *desk) {
	d.room("early", "none", ghost)
	const ringing = "SIP/2.0 180 Ringing"
	head, tail, _ := strings.Cut(hstest.SIPpAsksAndIsCalled, ringing)
	early := strings.Replace(tail, "Content-Length: 0\n", hstest.SIPpAudio, 1)
	call := hstest.SIPp(t, hstest.SIPpOptions{Scenario: head + "SIP/2.0 183 Session Progress" + early, Echo: true})
	started(t, d, func(c *Config) { c.Trunks[0].Server = call.Address })
	bob := d.person("early", "bob")
	bob.whistle(t)
	d.call(phone.Call{CallID: "out1", Trunk: "one", Number: "+32475999999", Caller: "+3222345678", Language: "fr", By: "Bob", Title: "Early", SecondsAllowed: 300, RingSeconds: 600}, d.pins["none"])
	d.wait("ringing", func(call string, e phone.Event) bool { return call == "out1" && e.State == phone.Ringing })
	d.waitJoined()
	bob.hears(t, 700)
	d.order(phone.Status{CallID: "out1", Hangup: phone.CauseEnded})
	call.Wait(t)
	d.waitEnd(phone.CauseEnded)
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

// sentElsewhere is a network that wants to hand a call on (REFER): it is refused, and the call goes on.
func sentElsewhere(t *testing.T, d *desk) {
	d.room("refer", "1234", ghost)
	address, _ := started(t, d, nil)
	h := newHandset(t, "udp", nil)
	if status := h.calls(address, "022345678"); status != 200 {
		t.Fatalf("answered with %d", status)
	}
	h.presses("1234#")
	d.waitJoined()
	bob := d.person("refer", "bob")
	bob.whistle(t)
	ask := func(req *sip.Request) int {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		req.AppendHeader(sip.NewHeader("Refer-To", "<sip:+3290012345@127.0.0.1>"))
		res, err := h.out.Do(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode
	}
	if status := ask(sip.NewRequest(sip.REFER, h.out.InviteResponse.Contact().Address)); status != 603 {
		t.Errorf("REFER is answered with %d", status)
	}
	h.listens(700)
	h.hangsUp()
	d.waitEnd(phone.CauseHangup)
	// Of a call that is none nothing is known.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	stray := h.request(address, "+3222345678", nil)
	stray.Method = sip.REFER
	if res, err := h.client.Do(ctx, stray); err != nil || res.StatusCode != 481 {
		t.Errorf("REFER outside a call: %v %v", res, err)
	}
}
