package voice

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/pion/sdp/v3"

	"github.com/roomline/roomline/internal/limits"
)

// direction is who may send, from the point of view of the side that says so.
type direction string

const (
	sendrecv direction = "sendrecv"
	sendonly direction = "sendonly"
	recvonly direction = "recvonly"
	inactive direction = "inactive"
)

// sends reports whether the side that says so sends, receives whether it listens.
func (d direction) sends() bool    { return d == sendrecv || d == sendonly }
func (d direction) receives() bool { return d == sendrecv || d == recvonly }

// answered is what the other side may say to it.
func (d direction) answered() direction {
	switch d {
	case sendonly:
		return recvonly
	case recvonly:
		return sendonly
	}
	return d
}

// description is what one side says of its audio (RFC 4566, RFC 3264).
type description struct {
	// rtp and rtcp are where it wants packets.
	rtp, rtcp netip.AddrPort
	// formats are the payload types, the favourite first.
	formats   []format
	direction direction
	// secure says that the profile is RTP/SAVP: packets are encrypted, with one of keys (RFC 4568).
	secure bool
	keys   []cryptoLine
	// feedback says that the profile is RTP/AVPF or RTP/SAVPF.
	feedback bool
	// media are all streams that were offered, and audio the place of the one that this is about. Each of them has to be answered.
	media []*sdp.MediaDescription
	audio int
}

// format is a payload type.
type format struct {
	number uint8
	name   string // in capitals, without the rate
	clock  int
}

// errNoAudio says that a description has no stream that telephone audio could go through.
var errNoAudio = errors.New("no audio stream")

// parseSDP reads a description. Everything in it is a stranger's.
func parseSDP(body []byte) (*description, error) {
	if len(body) == 0 || len(body) > limits.VoiceSDP {
		return nil, fmt.Errorf("a description of %d bytes", len(body))
	}
	var s sdp.SessionDescription
	if err := s.Unmarshal(body); err != nil {
		return nil, err
	}
	d := &description{direction: sendrecv, media: s.MediaDescriptions, audio: -1}
	for i, m := range s.MediaDescriptions {
		if m.MediaName.Media == "audio" && m.MediaName.Port.Value > 0 && d.profile(m.MediaName.Protos) {
			d.audio = i
			break
		}
	}
	if d.audio < 0 {
		return nil, errNoAudio
	}
	m := s.MediaDescriptions[d.audio]
	if err := d.readAddress(&s, m); err != nil {
		return nil, err
	}
	d.readDirection(s.Attributes)
	d.readDirection(m.Attributes)
	if err := d.readFormats(m); err != nil {
		return nil, err
	}
	for _, a := range m.Attributes {
		if a.Key == "crypto" {
			if line, err := parseCrypto(a.Value); err == nil {
				d.keys = append(d.keys, line)
			}
		}
	}
	return d, nil
}

// profile reports whether a profile is one of those that telephones have.
func (d *description) profile(protos []string) bool {
	if len(protos) != 2 || protos[0] != "RTP" {
		return false
	}
	switch protos[1] {
	case "AVP", "AVPF", "SAVP", "SAVPF":
		d.secure, d.feedback = protos[1][0] == 'S', protos[1][len(protos[1])-1] == 'F'
		return true
	}
	return false
}

func (d *description) readAddress(s *sdp.SessionDescription, m *sdp.MediaDescription) error {
	c := m.ConnectionInformation
	if c == nil {
		c = s.ConnectionInformation
	}
	if c == nil || c.Address == nil {
		return errors.New("a description without an address")
	}
	addr, err := netip.ParseAddr(c.Address.Address)
	if err != nil || addr.Zone() != "" || addr.IsMulticast() {
		return fmt.Errorf("the address %.60q of a description", c.Address.Address)
	}
	port := m.MediaName.Port.Value
	if port < 1 || port > 65535 {
		return fmt.Errorf("the port %d of a description", port)
	}
	d.rtp = netip.AddrPortFrom(addr.Unmap(), uint16(port))
	d.rtcp = netip.AddrPortFrom(d.rtp.Addr(), uint16(min(port+1, 65535)))
	// a=rtcp:port (RFC 3605); an address of its own there is not believed.
	if value, ok := m.Attribute("rtcp"); ok {
		text, _, _ := strings.Cut(value, " ")
		if n, err := strconv.ParseUint(text, 10, 16); err == nil && n > 0 {
			d.rtcp = netip.AddrPortFrom(d.rtp.Addr(), uint16(n))
		}
	}
	return nil
}

func (d *description) readDirection(attributes []sdp.Attribute) {
	for _, a := range attributes {
		switch one := direction(a.Key); one {
		case sendrecv, sendonly, recvonly, inactive:
			d.direction = one
		}
	}
}

func (d *description) readFormats(m *sdp.MediaDescription) error {
	named := map[string]string{}
	for _, a := range m.Attributes {
		if a.Key == "rtpmap" {
			number, name, _ := strings.Cut(a.Value, " ")
			named[number] = strings.TrimSpace(name)
		}
	}
	for _, text := range m.MediaName.Formats {
		number, err := strconv.ParseUint(text, 10, 7)
		if err != nil {
			return fmt.Errorf("the payload type %.10q of a description", text)
		}
		f := format{number: uint8(number), clock: clock}
		if name, ok := named[text]; ok {
			parts := strings.Split(name, "/")
			f.name = strings.ToUpper(parts[0])
			if len(parts) > 1 {
				if f.clock, err = strconv.Atoi(parts[1]); err != nil {
					return fmt.Errorf("the rate of %.40q in a description", name)
				}
			}
		} else if i := slices.IndexFunc(codecs, func(c *codec) bool { return c.number == f.number }); i >= 0 {
			f.name = codecs[i].name
		}
		d.formats = append(d.formats, f)
	}
	return nil
}

// held reports whether the other side wants to hear nothing: with a direction, or as it was said before there were directions.
func (d *description) held() bool {
	return !d.direction.receives() || d.rtp.Addr().IsUnspecified()
}

// choice is what two sides agreed on.
type choice struct {
	codec *codec
	// audio and digits are the payload types that are sent and expected; digits is 0 if keys are not sent as events (RFC 4733).
	audio, digits uint8
	// key is the other side's key, and suite what both encrypt with; nil: nothing is encrypted.
	key *cryptoLine
}

var (
	errNoCodec  = errors.New("no codec in common")
	errSecurity = errors.New("the audio has to be encrypted, and can't be, or must not be, and is")
)

// security is whether audio is encrypted.
type security string

const (
	securityOff      security = "off"
	securityOptional security = "optional"
	securityRequired security = "required"
)

// choose finds what both sides can: the first of our codecs that the other side has.
func choose(d *description, ours []*codec, s security) (choice, error) {
	var c choice
	for _, one := range ours {
		if i := slices.IndexFunc(d.formats, func(f format) bool { return f.name == one.name && f.clock == clock }); i >= 0 {
			c.codec, c.audio = one, d.formats[i].number
			break
		}
	}
	if c.codec == nil {
		return c, errNoCodec
	}
	for _, f := range d.formats {
		if f.name == "TELEPHONE-EVENT" && f.clock == clock && f.number != c.audio {
			c.digits = f.number
			break
		}
	}
	if s != securityOff && len(d.keys) > 0 {
		c.key = &d.keys[0]
	}
	if c.key == nil && (d.secure || s == securityRequired) {
		return c, errSecurity
	}
	return c, nil
}

// local is our side of a call's audio.
type local struct {
	address netip.Addr
	port    uint16 // of RTP; RTCP is one above
	id      uint64
	version uint64
	// keys are those that we encrypt with, if packets are encrypted.
	keys []cryptoLine
}

// offer says all that we can. secure: packets are to be encrypted.
func (l *local) offer(ours []*codec, secure bool) []byte {
	var b strings.Builder
	l.session(&b)
	numbers, maps := []string{}, ""
	for _, c := range ours {
		numbers = append(numbers, strconv.Itoa(int(c.number)))
		maps += fmt.Sprintf("a=rtpmap:%d %s/%d\r\n", c.number, c.name, clock)
	}
	const digits = 101
	profile := "RTP/AVP"
	if secure {
		profile = "RTP/SAVP"
	}
	fmt.Fprintf(&b, "m=audio %d %s %s %d\r\n%s", l.port, profile, strings.Join(numbers, " "), digits, maps)
	l.stream(&b, digits, sendrecv)
	if secure {
		for _, k := range l.keys {
			fmt.Fprintf(&b, "a=crypto:%s\r\n", k)
		}
	}
	return []byte(b.String())
}

// answer says what we have chosen of what d has. Other streams are refused.
func (l *local) answer(d *description, c choice) []byte {
	var b strings.Builder
	l.session(&b)
	for i, m := range d.media {
		profile := strings.Join(m.MediaName.Protos, "/")
		if i != d.audio {
			fmt.Fprintf(&b, "m=%s 0 %s %s\r\n", m.MediaName.Media, profile, strings.Join(m.MediaName.Formats, " "))
			continue
		}
		fmt.Fprintf(&b, "m=audio %d %s %d", l.port, profile, c.audio)
		if c.digits != 0 {
			fmt.Fprintf(&b, " %d", c.digits)
		}
		fmt.Fprintf(&b, "\r\na=rtpmap:%d %s/%d\r\n", c.audio, c.codec.name, clock)
		l.stream(&b, c.digits, d.direction.answered())
		if c.key != nil {
			fmt.Fprintf(&b, "a=crypto:%s\r\n", l.keyFor(*c.key))
		}
	}
	return []byte(b.String())
}

// keyFor is our key for a suite that the other side offered, under its tag.
func (l *local) keyFor(offered cryptoLine) cryptoLine {
	for _, k := range l.keys {
		if k.suite == offered.suite {
			k.tag = offered.tag
			return k
		}
	}
	return cryptoLine{} // parseCrypto knows no suite that we have no key for
}

func (l *local) session(b *strings.Builder) {
	family := "IP4"
	if l.address.Is6() {
		family = "IP6"
	}
	fmt.Fprintf(b, "v=0\r\no=- %d %d IN %s %s\r\ns=-\r\nc=IN %s %s\r\nt=0 0\r\n", l.id, l.version, family, l.address, family, l.address)
}

func (l *local) stream(b *strings.Builder, digits uint8, d direction) {
	if digits != 0 {
		fmt.Fprintf(b, "a=rtpmap:%d telephone-event/%d\r\na=fmtp:%d 0-16\r\n", digits, clock, digits)
	}
	fmt.Fprintf(b, "a=ptime:%d\r\na=%s\r\n", frameMS, d)
}
