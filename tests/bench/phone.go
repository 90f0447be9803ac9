package main

import (
	"errors"
	"fmt"
	"net"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/livekit/media-sdk/g711"

	"github.com/roomline/roomline/internal/hstest/freeport"
)

const (
	// phoneCalls are the calls that are measured, one after the other, and phoneGoal within what time of being answered 99 of 100 hear something.
	phoneCalls = 40
	phoneGoal  = time.Second
)

// firstAudio measures the time from the answer to a phone call until the caller hears something, beside that until the first packet comes at all,
// which is silence.
func (b *bench) firstAudio() ([]figure, error) {
	address, err := freeport.Address()
	if err != nil {
		return nil, err
	}
	udp, err := freeport.Claim()
	if err != nil {
		return nil, err
	}
	sip := map[string]any{"listen": []any{map[string]any{"transport": "udp", "address": address}}, "address": "127.0.0.1", "first_port": 32002, "last_port": 32399}
	if _, err := exec.LookPath("espeak-ng"); err == nil {
		sip["speech"] = []string{"espeak-ng", "-v", "{language}", "--stdin", "--stdout"}
	}
	if err := b.server.configure(map[string]any{
		"meetings": map[string]any{"livekit": map[string]any{"embedded": true, "udp_port": udp, "tcp_port": 0, "node_ip": "127.0.0.1"}},
		"telephony": map[string]any{"voice": map[string]any{"sip": sip, "trunks": []any{map[string]any{
			"name": "carrier", "numbers": []any{map[string]any{"number": "+3225550100", "country": "BE", "language": "nl"}},
			"sip": map[string]any{"server": "127.0.0.1", "transport": "udp"},
		}}}},
	}); err != nil {
		return nil, err
	}
	if _, err := b.server.restart(); err != nil {
		return nil, err
	}
	first, heard := make([]time.Duration, phoneCalls), make([]time.Duration, phoneCalls)
	for i := range heard {
		if first[i], heard[i], err = callAndListen(address, i); err != nil {
			return nil, fmt.Errorf("call %d: %w", i, err)
		}
	}
	p99, packet := percentile(heard, 0.99), percentile(first, 0.99)
	return []figure{{
		what: "phone: answer to first audio, p99", measured: fmt.Sprintf("%s, p50 %s", short(p99), short(percentile(heard, 0.5))),
		yardstick: short(packet) + " to the first packet", ratio: fmt.Sprintf("%.1f ×", float64(p99)/float64(max(packet, 1))),
		goal: "≤ " + phoneGoal.String(), met: p99 <= phoneGoal,
	}}, nil
}

// callAndListen calls, and returns how long after the answer the first packet came, and the first sound.
func callAndListen(address string, n int) (first, heard time.Duration, err error) {
	conn, err := net.Dial("udp", address)
	if err != nil {
		return 0, 0, err
	}
	defer conn.Close()
	audio, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return 0, 0, err
	}
	defer audio.Close()
	c := &phoneCall{conn: conn, id: fmt.Sprintf("bench%d.%d", n, time.Now().UnixNano())}
	sdp := fmt.Sprintf("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio %d RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n",
		audio.LocalAddr().(*net.UDPAddr).Port)
	if err := c.send("INVITE", 1, "", sdp); err != nil {
		return 0, 0, err
	}
	tag, err := c.answered()
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	if err := c.send("ACK", 1, tag, ""); err != nil {
		return 0, 0, err
	}
	packet := make([]byte, 2048)
	for heard == 0 {
		_ = audio.SetReadDeadline(began.Add(20 * time.Second))
		n, _, err := audio.ReadFromUDP(packet)
		if err != nil {
			return 0, 0, err
		}
		if first == 0 {
			first = time.Since(began)
		}
		if n > 12 && sounds(packet[12:n]) {
			heard = time.Since(began)
		}
	}
	if err := c.send("BYE", 2, tag, ""); err != nil {
		return 0, 0, err
	}
	_, err = c.answered()
	return first, heard, err
}

// sounds reports whether there is a sound in a packet of G.711.
func sounds(payload []byte) bool {
	pcm := make([]int16, len(payload))
	g711.DecodeULawTo(pcm, payload)
	const soft = 100
	for _, v := range pcm {
		if v > soft || v < -soft {
			return true
		}
	}
	return false
}

// phoneCall is a caller, with as much of SIP as it takes.
type phoneCall struct {
	conn net.Conn
	id   string
}

func (c *phoneCall) send(method string, n int, tag, sdp string) error {
	here := c.conn.LocalAddr().String()
	kind := ""
	if sdp != "" {
		kind = "Content-Type: application/sdp\r\n"
	}
	_, err := fmt.Fprintf(c.conn, "%s sip:+3225550100@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bK%s%s%d\r\nFrom: <sip:+32470123456@127.0.0.1>;tag=b\r\n"+
		"To: <sip:+3225550100@127.0.0.1>%s\r\nCall-ID: %s\r\nCSeq: %d %s\r\nContact: <sip:b@%s>\r\nMax-Forwards: 70\r\n%sContent-Length: %d\r\n\r\n%s",
		method, here, c.id, method, n, tag, c.id, n, method, here, kind, len(sdp), sdp)
	return err
}

var (
	statusLine = regexp.MustCompile(`^SIP/2\.0 ([0-9]{3})`)
	toTag      = regexp.MustCompile(`(?im)^To:.*(;tag=[^;\r]+)`)
)

// answered waits for the answer, and returns the other side's tag.
func (c *phoneCall) answered() (tag string, err error) {
	buffer := make([]byte, 65536)
	for {
		_ = c.conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		n, err := c.conn.Read(buffer)
		if err != nil {
			return "", err
		}
		text := string(buffer[:n])
		status := statusLine.FindStringSubmatch(text)
		if status == nil {
			continue // a request, such as a BYE
		}
		switch code, _ := strconv.Atoi(status[1]); {
		case code < 200:
		case code != 200:
			return "", errors.New(strings.SplitN(text, "\r\n", 2)[0])
		default:
			if m := toTag.FindStringSubmatch(text); m != nil {
				tag = m[1]
			}
			return tag, nil
		}
	}
}
