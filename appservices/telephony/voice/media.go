package voice

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"

	"github.com/roomline/roomline/internal/limits"
)

// media is the audio between the phone and us: RTP and RTCP on two ports (RFC 3550), encrypted or not (RFC 3711).
//
// Packets are taken from where the network said that it would send from, and from the trunk's addresses; the first one tells where to send to,
// whatever is in between (symmetric RTP, RFC 4961). What is encrypted is taken from anywhere, as only the other side has the key.
type media struct {
	log       *slog.Logger
	rtp, rtcp *net.UDPConn
	allowed   func(netip.Addr) bool
	// audio is given each packet of audio, pressed each key.
	audio   func(c *codec, p *rtp.Packet)
	pressed func(key byte)
	now     func() time.Time

	// lastPacket is when anything came, in Unix nanoseconds.
	lastPacket atomic.Int64

	mu     sync.Mutex
	choice choice
	coder  coder
	// remote is where to send to, described where the other side said; learnt says that a packet has shown it.
	remote, described, remoteControl netip.AddrPort
	learnt                           bool
	lastFrom                         time.Time
	// sending is false while the other side wants to hear nothing.
	sending bool
	in, out *srtp.Context
	inKey   string
	sent    sent
	got     got
	events  events
	digits  []byte
}

// sent is what our packets carry.
type sent struct {
	ssrc      uint32
	sequence  uint16
	timestamp uint32
	marker    bool
	packets   uint32
	octets    uint32
	payload   []byte
}

// got is what is reported of the other side's packets (RFC 3550 §6.4).
type got struct {
	ssrc                    uint32
	began                   bool
	first, highest, packets uint32
	lastLost, lastExpected  uint32
	jitter, transit         float64
	second                  int64
	inSecond                int
}

// ports are those that media may use.
type ports struct{ first, last int }

var errNoPort = errors.New("no port is free for a call's audio")

// listenMedia takes a pair of ports, an even one for RTP and the next for RTCP.
func listenMedia(p ports, v6 bool) (rtpConn, rtcpConn *net.UDPConn, err error) {
	network, any := "udp4", net.IPv4zero
	if v6 {
		network, any = "udp6", net.IPv6unspecified
	}
	first := p.first + p.first&1
	pairs := (p.last - first + 1) / 2
	if pairs < 1 {
		return nil, nil, errNoPort
	}
	start := mathrand.IntN(pairs)
	for i := range pairs {
		port := first + 2*((start+i)%pairs)
		if rtpConn, err = net.ListenUDP(network, &net.UDPAddr{IP: any, Port: port}); err != nil {
			continue
		}
		if rtcpConn, err = net.ListenUDP(network, &net.UDPAddr{IP: any, Port: port + 1}); err == nil {
			return rtpConn, rtcpConn, nil
		}
		rtpConn.Close()
	}
	return nil, nil, errNoPort
}

func newMedia(p ports, v6 bool, log *slog.Logger) (*media, error) {
	m := &media{log: log, now: time.Now, allowed: func(netip.Addr) bool { return false }}
	var err error
	if m.rtp, m.rtcp, err = listenMedia(p, v6); err != nil {
		return nil, err
	}
	var b [10]byte
	rand.Read(b[:])
	m.sent = sent{ssrc: binary.BigEndian.Uint32(b[:]), sequence: binary.BigEndian.Uint16(b[4:]) &^ 0x8000, timestamp: binary.BigEndian.Uint32(b[6:]), marker: true}
	return m, nil
}

func (m *media) port() uint16 { return uint16(m.rtp.LocalAddr().(*net.UDPAddr).Port) }

// agree sets what both sides agreed on, at the beginning and whenever it changes.
func (m *media) agree(c choice, d *description, l *local) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.key != nil {
		if key := c.key.String(); key != m.inKey || m.choice.key == nil {
			in, err := c.key.context()
			if err != nil {
				return fmt.Errorf("the key of the other side: %w", err)
			}
			m.in, m.inKey = in, key
		}
		if m.out == nil || m.choice.key != nil && m.choice.key.suite != c.key.suite {
			out, err := l.keyFor(*c.key).context()
			if err != nil {
				return fmt.Errorf("our key: %w", err)
			}
			m.out = out
		}
	} else {
		m.in, m.out, m.inKey = nil, nil, ""
	}
	if m.coder == nil || m.choice.codec != c.codec {
		m.coder = c.codec.coder()
	}
	if d.rtp != m.described {
		m.remote, m.described, m.learnt = d.rtp, d.rtp, false
	}
	m.choice, m.remoteControl, m.sending = c, d.rtcp, !d.held()
	m.sent.marker = true
	m.lastPacket.Store(m.now().UnixNano())
	return nil
}

// start reads until the ports are closed. agree has been called.
func (m *media) start() {
	go m.read(m.rtp, m.readRTP)
	go m.read(m.rtcp, m.readRTCP)
}

func (m *media) close() {
	m.sayGoodbye()
	m.rtp.Close()
	m.rtcp.Close()
}

func (m *media) read(conn *net.UDPConn, one func(packet []byte, from netip.AddrPort)) {
	buffer := make([]byte, 2048)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an answer that nobody listens there
		}
		one(buffer[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
	}
}

// readRTP takes a packet. Everything in it is a stranger's.
func (m *media) readRTP(packet []byte, from netip.AddrPort) {
	c, p, ok := m.accept(packet, from)
	if !ok {
		return
	}
	switch {
	case p.PayloadType == c.audio:
		if m.audio != nil {
			m.audio(c.codec, p)
		}
	case p.PayloadType == c.digits && c.digits != 0:
		m.mu.Lock()
		key, pressed := m.events.read(p, m.now())
		m.mu.Unlock()
		if pressed && m.pressed != nil {
			m.pressed(key)
		}
	}
}

// accept says whether a packet is the other side's, decrypted, and learns where that is.
func (m *media) accept(packet []byte, from netip.AddrPort) (choice, *rtp.Packet, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	if second := now.Unix(); second != m.got.second {
		m.got.second, m.got.inSecond = second, 0
	}
	m.got.inSecond++
	if m.choice.codec == nil || m.got.inSecond > limits.VoicePackets {
		return choice{}, nil, false
	}
	if m.in != nil {
		plain, err := m.in.DecryptRTP(nil, packet, nil)
		if err != nil {
			return choice{}, nil, false
		}
		packet = plain
	} else if from.Addr() != m.described.Addr() && !m.allowed(from.Addr()) {
		return choice{}, nil, false
	}
	p := &rtp.Packet{}
	if p.Unmarshal(packet) != nil || p.Version != 2 {
		return choice{}, nil, false
	}
	// Who has shown where they are stays there, unless nothing comes from there any more.
	const moved = 2 * time.Second
	if from != m.remote {
		if m.learnt && now.Sub(m.lastFrom) < moved {
			return choice{}, nil, false
		}
		m.remote = from
		m.remoteControl = netip.AddrPortFrom(from.Addr(), min(from.Port(), 65534)+1)
	}
	m.learnt, m.lastFrom = true, now
	m.lastPacket.Store(now.UnixNano())
	m.got.count(&p.Header, now)
	return m.choice, p, true
}

func (m *media) readRTCP(packet []byte, from netip.AddrPort) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.in != nil {
		plain, err := m.in.DecryptRTCP(nil, packet, nil)
		if err != nil {
			return
		}
		packet = plain
	} else if from.Addr() != m.described.Addr() && !m.allowed(from.Addr()) {
		return
	}
	if _, err := rtcp.Unmarshal(packet); err == nil && from.Addr() == m.remote.Addr() {
		m.remoteControl = from
	}
}

// silent is for how long nothing has come.
func (m *media) silent() time.Duration {
	return m.now().Sub(time.Unix(0, m.lastPacket.Load()))
}

// run sends a frame every 20 ms until ctx ends: fill is asked for it.
func (m *media) run(ctx context.Context, fill func(frame []int16)) {
	const every = frameMS * time.Millisecond
	const report = 5 * time.Second / every
	next := m.now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		pcm := make([]int16, m.samples())
		fill(pcm)
		m.sendFrame(pcm)
		if n%int(report) == int(report)-1 {
			m.sendReport()
		}
		next = next.Add(every)
		if late := m.now().Sub(next); late > 5*every { // the machine slept: what is missed is not sent all at once
			missed := late / every
			next = next.Add(missed * every)
			m.skip(int(missed))
		}
		timer.Reset(next.Sub(m.now()))
	}
}

func (m *media) samples() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.choice.codec.samples()
}

func (m *media) skip(frames int) {
	m.mu.Lock()
	m.sent.timestamp += uint32(frames) * frameTime
	m.mu.Unlock()
}

// sendFrame sends 20 ms of audio, or of a key.
func (m *media) sendFrame(pcm []int16) {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer func() { m.sent.timestamp += frameTime }()
	if !m.sending || !m.remote.IsValid() || m.remote.Addr().IsUnspecified() {
		m.sent.marker = true
		return
	}
	if len(pcm) != m.choice.codec.samples() { // the codec has changed just now
		return
	}
	if m.choice.digits != 0 {
		if payload, start, ok := m.events.next(&m.digits, m.sent.timestamp); ok {
			m.send(&rtp.Packet{Header: m.header(m.choice.digits, start), Payload: payload})
			return
		}
	}
	m.sent.payload = m.coder.encode(m.sent.payload, pcm)
	m.send(&rtp.Packet{Header: m.header(m.choice.audio, m.sent.timestamp), Payload: m.sent.payload})
}

func (m *media) header(payloadType uint8, timestamp uint32) rtp.Header {
	m.sent.sequence++
	h := rtp.Header{Version: 2, PayloadType: payloadType, Marker: m.sent.marker, SequenceNumber: m.sent.sequence, Timestamp: timestamp, SSRC: m.sent.ssrc}
	m.sent.marker = false
	return h
}

func (m *media) send(p *rtp.Packet) {
	b, err := p.Marshal()
	if err != nil {
		return
	}
	if m.out != nil {
		if b, err = m.out.EncryptRTP(nil, b, nil); err != nil {
			return
		}
	}
	if _, err = m.rtp.WriteToUDPAddrPort(b, m.remote); err == nil {
		m.sent.packets++
		m.sent.octets += uint32(len(p.Payload))
	}
}

// dial sends keys to the phone, one after the other (RFC 4733).
func (m *media) dial(keys string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range len(keys) {
		if _, ok := eventOf(keys[i]); ok && len(m.digits) < limits.VoiceDigits {
			m.digits = append(m.digits, keys[i])
		}
	}
}

// sendReport tells the other side what has come of its packets, and what we have sent.
func (m *media) sendReport() {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	const since1900 = 2208988800
	ntp := uint64(now.Unix()+since1900)<<32 | uint64(now.Nanosecond())<<32/1e9
	report := &rtcp.SenderReport{SSRC: m.sent.ssrc, NTPTime: ntp, RTPTime: m.sent.timestamp, PacketCount: m.sent.packets, OctetCount: m.sent.octets}
	if m.got.began {
		report.Reports = []rtcp.ReceptionReport{m.got.report()}
	}
	m.sendControl(report, m.name())
}

func (m *media) sayGoodbye() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sendControl(&rtcp.ReceiverReport{SSRC: m.sent.ssrc}, m.name(), &rtcp.Goodbye{Sources: []uint32{m.sent.ssrc}})
}

// name is how RTCP calls us: by nothing that means something elsewhere.
func (m *media) name() rtcp.Packet {
	return &rtcp.SourceDescription{Chunks: []rtcp.SourceDescriptionChunk{{
		Source: m.sent.ssrc, Items: []rtcp.SourceDescriptionItem{{Type: rtcp.SDESCNAME, Text: fmt.Sprintf("%08x", m.sent.ssrc)}},
	}}}
}

func (m *media) sendControl(packets ...rtcp.Packet) {
	if !m.remoteControl.IsValid() || m.remoteControl.Addr().IsUnspecified() {
		return
	}
	b, err := rtcp.Marshal(packets)
	if err != nil {
		return
	}
	if m.out != nil {
		if b, err = m.out.EncryptRTCP(nil, b, nil); err != nil {
			return
		}
	}
	_, _ = m.rtcp.WriteToUDPAddrPort(b, m.remoteControl) // nobody has to listen there
}

// count takes note of a packet.
func (g *got) count(h *rtp.Header, now time.Time) {
	if !g.began || h.SSRC != g.ssrc {
		*g = got{ssrc: h.SSRC, began: true, first: uint32(h.SequenceNumber), highest: uint32(h.SequenceNumber), second: g.second, inSecond: g.inSecond}
	}
	if ahead := int16(h.SequenceNumber - uint16(g.highest)); ahead > 0 {
		g.highest += uint32(ahead)
	}
	transit := float64(now.UnixNano())*clock/1e9 - float64(h.Timestamp)
	if g.packets > 0 {
		if d := max(transit-g.transit, g.transit-transit); d < 60*clock { // what is more is a new beginning
			g.jitter += (d - g.jitter) / 16
		}
	}
	g.transit = transit
	g.packets++
}

func (g *got) report() rtcp.ReceptionReport {
	expected := g.highest - g.first + 1
	lost := max(0, int64(expected)-int64(g.packets))
	r := rtcp.ReceptionReport{SSRC: g.ssrc, LastSequenceNumber: g.highest, TotalLost: uint32(min(lost, 1<<23-1)), Jitter: uint32(g.jitter)}
	if span := expected - g.lastExpected; span > 0 && uint32(lost) > g.lastLost {
		r.FractionLost = uint8(min(255, uint64(uint32(lost)-g.lastLost)*256/uint64(span)))
	}
	g.lastExpected, g.lastLost = expected, uint32(lost)
	return r
}
