package voice

import (
	"strings"
	"testing"

	"github.com/roomline/roomline/internal/phone"
)

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
