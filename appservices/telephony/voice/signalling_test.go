package voice

import (
	"context"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/phone"
)

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
