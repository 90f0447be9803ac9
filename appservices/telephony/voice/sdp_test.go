package voice

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
)

const offerOfAPhone = "v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\nm=video 5000 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n" +
	"m=audio 4000 RTP/AVP 0 8 9 96 13\r\na=rtpmap:96 telephone-event/8000\r\na=fmtp:96 0-15\r\na=rtcp:4007\r\na=sendrecv\r\n"

func TestOfferIsReadAndAnswered(t *testing.T) {
	d, err := parseSDP([]byte(offerOfAPhone))
	if err != nil {
		t.Fatal(err)
	}
	if d.rtp != netip.MustParseAddrPort("192.0.2.7:4000") || d.rtcp != netip.MustParseAddrPort("192.0.2.7:4007") || d.secure {
		t.Errorf("%+v", d)
	}
	c, err := choose(d, codecsNamed([]string{"g722", "pcma"}), securityOptional)
	if err != nil || c.codec != wide || c.audio != 9 || c.digits != 96 || c.key != nil {
		t.Errorf("%+v, %v", c, err)
	}
	l := local{address: netip.MustParseAddr("203.0.113.5"), port: 20000, keys: newKeys()}
	answer := string(l.answer(d, c))
	for _, want := range []string{"m=video 0 RTP/AVP 96\r\nm=audio 20000 RTP/AVP 9 96\r\n", "a=rtpmap:9 G722/8000\r\n", "a=rtpmap:96 telephone-event/8000\r\n", "c=IN IP4 203.0.113.5\r\n", "a=sendrecv\r\n"} {
		if !strings.Contains(answer, want) {
			t.Errorf("the answer has no %q:\n%s", want, answer)
		}
	}
	if back, err := parseSDP([]byte(answer)); err != nil || back.rtp != netip.MustParseAddrPort("203.0.113.5:20000") {
		t.Errorf("our answer is not understood by ourselves: %v", err)
	}
}

func TestDirectionsAreAnswered(t *testing.T) {
	for text, want := range map[string]struct {
		answer string
		held   bool
	}{"sendrecv": {"sendrecv", false}, "sendonly": {"recvonly", true}, "recvonly": {"sendonly", false}, "inactive": {"inactive", true}} {
		d, err := parseSDP([]byte(strings.Replace(offerOfAPhone, "a=sendrecv", "a="+text, 1)))
		if err != nil {
			t.Fatal(err)
		}
		c, err := choose(d, codecs, securityOff)
		if err != nil {
			t.Fatal(err)
		}
		l := local{address: netip.MustParseAddr("203.0.113.5"), port: 20000}
		if answer := string(l.answer(d, c)); !strings.Contains(answer, "a="+want.answer+"\r\n") || d.held() != want.held {
			t.Errorf("%s: held %v, answered\n%s", text, d.held(), answer)
		}
	}
	if d, err := parseSDP([]byte(strings.ReplaceAll(offerOfAPhone, "192.0.2.7", "0.0.0.0"))); err != nil || !d.held() {
		t.Errorf("the hold of old phones is not seen: %v", err)
	}
}

func TestKeysOfPacketsAreAgreedOn(t *testing.T) {
	ours := local{address: netip.MustParseAddr("203.0.113.5"), port: 20000, keys: newKeys()}
	theirs := local{address: netip.MustParseAddr("192.0.2.7"), port: 4000, keys: newKeys()}
	offer, err := parseSDP(theirs.offer(codecs, true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := choose(offer, codecs, securityOff); err != errSecurity {
		t.Errorf("an encrypted call is taken where none is wanted: %v", err)
	}
	c, err := choose(offer, codecs, securityRequired)
	if err != nil || c.key == nil || c.key.suite != suites[0] || !bytes.Equal(c.key.key, theirs.keys[0].key) {
		t.Fatalf("%+v, %v", c, err)
	}
	answer := ours.answer(offer, c)
	if !strings.Contains(string(answer), "RTP/SAVP 0 101\r\n") || !strings.Contains(string(answer), "a=crypto:1 AES_256_CM_HMAC_SHA1_80 inline:") {
		t.Errorf("answer:\n%s", answer)
	}
	back, err := parseSDP(answer)
	if err != nil || len(back.keys) != 1 || !bytes.Equal(back.keys[0].key, ours.keys[0].key) {
		t.Errorf("the answer's key: %v", err)
	}
	plain, err := parseSDP([]byte(offerOfAPhone))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := choose(plain, codecs, securityRequired); err != errSecurity {
		t.Errorf("a call that is not encrypted is taken where it has to be: %v", err)
	}
	for _, bad := range []string{"", "1 AES_CM_128_HMAC_SHA1_80", "1 NULL inline:AAAA", "x AES_CM_128_HMAC_SHA1_80 inline:" + strings.Repeat("A", 40),
		"1 AES_CM_128_HMAC_SHA1_80 inline:" + strings.Repeat("A", 40) + " UNENCRYPTED_SRTP", "1 AES_CM_128_HMAC_SHA1_80 inline:" + strings.Repeat("A", 36),
		"1 AES_CM_128_HMAC_SHA1_80 inline:" + strings.Repeat("A", 40) + "|1:4"} {
		if _, err := parseCrypto(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	if _, err := parseCrypto("2 AES_CM_128_HMAC_SHA1_32 inline:" + strings.Repeat("A", 40) + "|2^31 WSH=64"); err != nil {
		t.Errorf("a key with a lifetime: %v", err)
	}
}

func TestDescriptionsThatAreNoUse(t *testing.T) {
	for _, bad := range []string{"", "v=0", strings.Repeat("a", 10000), strings.Replace(offerOfAPhone, "192.0.2.7\r\nt", "example.org\r\nt", 1),
		strings.Replace(offerOfAPhone, "192.0.2.7\r\nt", "224.0.0.1\r\nt", 1), strings.Replace(offerOfAPhone, "audio 4000", "audio 0", 1),
		strings.Replace(offerOfAPhone, "4000 RTP/AVP", "4000 UDP/TLS/RTP/SAVPF", 1), strings.Replace(offerOfAPhone, "audio 4000 RTP/AVP 0", "audio 4000 RTP/AVP 200", 1)} {
		if d, err := parseSDP([]byte(bad)); err == nil {
			t.Errorf("%.60q was taken: %+v", bad, d)
		}
	}
	d, err := parseSDP([]byte(strings.Replace(offerOfAPhone, "0 8 9 96 13", "18 96", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := choose(d, codecs, securityOff); err != errNoCodec {
		t.Errorf("a codec that nobody has: %v", err)
	}
}

// FuzzSDP reads what strangers say of their audio. Whatever is agreed on must be answered with something that can be read.
func FuzzSDP(f *testing.F) {
	f.Add([]byte(offerOfAPhone))
	l := local{address: netip.MustParseAddr("203.0.113.5"), port: 20000, keys: newKeys()}
	f.Add(l.offer(codecs, true))
	f.Add([]byte(strings.Replace(offerOfAPhone, "sendrecv", "inactive", 1)))
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := parseSDP(body)
		if err != nil {
			return
		}
		for _, s := range []security{securityOff, securityOptional, securityRequired} {
			c, err := choose(d, codecs, s)
			if err != nil {
				continue
			}
			if s == securityRequired && c.key == nil {
				t.Fatal("not encrypted")
			}
			_ = l.answer(d, c)
		}
	})
}

// FuzzStranger is a message from an address that nobody knows.
func FuzzStranger(f *testing.F) {
	f.Add([]byte("INVITE sip:+3222345678@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKx;rport\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"))
	f.Add([]byte("SIP/2.0 200 OK\r\n\r\n"))
	f.Add([]byte(" :00 SIP\r\nViA://000 00000\r\n\r\n"))
	g := strangers()
	f.Fuzz(func(t *testing.T, message []byte) {
		g.second, g.count = 0, 0
		if text := g.refusal(message); text != nil && !bytes.HasPrefix(text, []byte("SIP/2.0 403 ")) {
			t.Fatalf("answered %q", text)
		}
	})
}

func strangers() *guardedPackets {
	return &guardedPackets{known: func(netip.Addr) bool { return false }, parser: sip.NewParser()}
}
