package voice

import (
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/rtp"
)

func packet(t *testing.T, sequence uint16) []byte {
	t.Helper()
	b, err := (&rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: 0, SequenceNumber: sequence, SSRC: 7}, Payload: make([]byte, 160)}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAudioIsTakenFromTheNetworkAlone(t *testing.T) {
	m, err := newMedia(ports{32400, 32766}, false, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	now := time.Now()
	m.now = func() time.Time { return now }
	m.allowed = func(a netip.Addr) bool { return a == netip.MustParseAddr("198.51.100.9") }
	d := &description{rtp: netip.MustParseAddrPort("127.0.0.7:4000"), rtcp: netip.MustParseAddrPort("127.0.0.7:4001"), direction: sendrecv}
	ours := local{address: netip.MustParseAddr("127.0.0.1"), port: m.port(), keys: newKeys()}
	if err := m.agree(choice{codec: pcmu, audio: 0}, d, &ours); err != nil {
		t.Fatal(err)
	}
	n := uint16(0)
	taken := func(from string) bool {
		n++
		_, _, ok := m.accept(packet(t, n), netip.MustParseAddrPort(from))
		return ok
	}
	for _, step := range []struct {
		from string
		want bool
		to   string
	}{
		{"203.0.113.66:4000", false, "127.0.0.7:4000"}, // a stranger
		{"127.0.0.7:5555", true, "127.0.0.7:5555"},     // behind a NAT: answered where it comes from
		{"127.0.0.7:6666", false, "127.0.0.7:5555"},    // another port while the first one sends
		{"198.51.100.9:4000", false, "127.0.0.7:5555"}, // the network, too
		{"later", false, ""},
		{"198.51.100.9:4000", true, "198.51.100.9:4000"}, // but not for ever: the network has moved the call
		{"203.0.113.66:4000", false, "198.51.100.9:4000"},
	} {
		if step.from == "later" {
			now = now.Add(5 * time.Second)
			continue
		}
		if got := taken(step.from); got != step.want || m.remote.String() != step.to {
			t.Errorf("%s: taken %v, and sent to %s; want %v, %s", step.from, got, m.remote, step.want, step.to)
		}
	}
	many := 0
	for range 5000 { // in one second
		if taken("198.51.100.9:4000") {
			many++
		}
	}
	if many > 400 {
		t.Errorf("%d packets were taken in a second", many)
	}

	// Encrypted, only the key counts.
	now = now.Add(5 * time.Second)
	theirs := newKeys()
	if err := m.agree(choice{codec: pcmu, audio: 0, key: &theirs[1]}, d, &ours); err != nil {
		t.Fatal(err)
	}
	if taken("127.0.0.7:4000") {
		t.Error("a packet in the clear is taken")
	}
	with := func(key cryptoLine, from string) bool {
		out, err := key.context()
		if err != nil {
			t.Fatal(err)
		}
		n++
		b, err := out.EncryptRTP(nil, packet(t, n), nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _, ok := m.accept(b, netip.MustParseAddrPort(from))
		return ok
	}
	if with(newKeys()[1], "127.0.0.7:4000") || !with(theirs[1], "203.0.113.66:4000") {
		t.Error("the key does not decide")
	}
}
