package voice

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
	"github.com/pion/rtp"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/hstest/freeport"
	"github.com/roomline/roomline/internal/hstest/whistle"
)

// handset is a carrier with a phone behind it, in Go, for what SIPp can't do: TLS, SRTP, G.722, and hearing.
type handset struct {
	t         *testing.T
	transport string
	address   string
	agent     *sipgo.UserAgent
	client    *sipgo.Client
	server    *sipgo.Server
	dialogs   *sipgo.DialogUA
	codecs    []*codec
	secure    bool

	media  *media
	local  local
	codec  *codec
	in     *sipgo.DialogServerSession
	out    *sipgo.DialogClientSession
	answer *description
	hungUp atomic.Bool
	stop   context.CancelFunc

	mu      sync.Mutex
	heard   []int16
	decoder coder
	tone    []int16
	at      int
	mute    bool
	keys    string
	// called are calls that came in, registered the contacts.
	called     chan *sip.Request
	registered []string
	// offered says of each call that came in whether its audio was to be encrypted.
	offered []bool
	// challenges are what is asked for a password with, shown what the password was shown by.
	challenges []string
	shown      []shown
	refuse     int // what the first INVITE is refused with
	// rings lets it ring and ring.
	rings bool
}

// shown is a password that was shown.
type shown struct {
	method      string
	credentials map[string]string
}

var credential = regexp.MustCompile(`([a-z]+)="?([^",]*)"?`)

// does changes what the handset does, which may be at it already.
func (h *handset) does(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
}

// asks asks for a password, until one is shown.
func (h *handset) asks(req *sip.Request, tx sip.ServerTransaction) bool {
	h.mu.Lock()
	challenges := h.challenges
	h.mu.Unlock()
	if len(challenges) == 0 {
		return false
	}
	if authorization := req.GetHeader("Authorization"); authorization != nil {
		c := map[string]string{}
		for _, m := range credential.FindAllStringSubmatch(authorization.Value(), -1) {
			c[m[1]] = m[2]
		}
		h.mu.Lock()
		h.shown = append(h.shown, shown{string(req.Method), c})
		h.mu.Unlock()
		return false
	}
	var list []sip.Header
	for _, c := range challenges {
		list = append(list, sip.NewHeader("WWW-Authenticate", c))
	}
	respond(tx, req, 401, "Unauthorized", list...)
	return true
}

func newHandset(t *testing.T, transport string, secret *tls.Config) *handset {
	t.Helper()
	h := &handset{t: t, transport: transport, codecs: codecs, called: make(chan *sip.Request, 4)}
	var err error
	if h.address, err = freeport.Address(); err != nil {
		t.Fatal(err)
	}
	if h.agent, err = sipgo.NewUA(sipgo.WithUserAgent("carrier"), sipgo.WithUserAgenTLSConfig(secret)); err != nil {
		t.Fatal(err)
	}
	if h.server, err = sipgo.NewServer(h.agent); err != nil {
		t.Fatal(err)
	}
	port := portOf(t, h.address)
	options := []sipgo.ClientOption{sipgo.WithClientHostname("127.0.0.1"), sipgo.WithClientPort(port)}
	if transport == "udp" {
		options = append(options, sipgo.WithClientConnectionAddr(h.address))
	}
	if h.client, err = sipgo.NewClient(h.agent, options...); err != nil {
		t.Fatal(err)
	}
	contact := sip.Uri{Scheme: "sip", User: "carrier", Host: "127.0.0.1", Port: port, UriParams: sip.NewParams()}
	if transport != "udp" {
		contact.UriParams.Add("transport", transport)
	}
	h.dialogs = &sipgo.DialogUA{Client: h.client, ContactHDR: sip.ContactHeader{Address: contact, Params: sip.NewParams()}}
	h.handle()
	ctx, cancel := context.WithCancel(context.Background())
	h.stop = cancel
	opened := make(chan struct{}, 1)
	go func() {
		//lint:ignore SA1029 the key is sipgo's
		ctx := context.WithValue(ctx, sipgo.ListenReadyCtxKey, sipgo.ListenReadyCtxValue(opened))
		if transport == "tls" {
			_ = h.server.ListenAndServeTLS(ctx, "tcp", h.address, secret)
		} else {
			_ = h.server.ListenAndServe(ctx, transport, h.address)
		}
	}()
	t.Cleanup(func() {
		cancel()
		if h.media != nil {
			h.media.close()
		}
		h.agent.Close()
	})
	<-opened
	if transport == "udp" { // what is sent goes out by the same socket
		hstest.Eventually(t, "the handset's socket", func() bool { return h.agent.TransportLayer().Pool("udp").Size() > 0 })
	}
	return h
}

func (h *handset) handle() {
	h.server.OnInvite(func(req *sip.Request, tx sip.ServerTransaction) {
		h.mu.Lock()
		status, rings := h.refuse, h.rings
		h.refuse = 0
		h.mu.Unlock()
		if status != 0 {
			respond(tx, req, status, "No")
			return
		}
		if h.asks(req, tx) {
			return
		}
		d, err := h.dialogs.ReadInvite(req, tx)
		if err != nil {
			h.t.Errorf("handset: %v", err)
			return
		}
		offer, err := parseSDP(req.Body())
		if err == nil {
			err = h.open(offer)
		}
		if err != nil {
			h.t.Errorf("handset: %v", err)
			_ = d.Respond(488, "No", nil)
			return
		}
		c, err := choose(offer, h.codecs, map[bool]security{true: securityRequired, false: securityOptional}[h.secure])
		if err != nil {
			_ = d.Respond(488, "No", nil)
			return
		}
		h.mu.Lock()
		h.offered = append(h.offered, offer.secure)
		h.mu.Unlock()
		_ = d.Respond(180, "Ringing", nil)
		if rings {
			h.called <- req
			<-d.Context().Done()
			h.hungUp.Store(true)
			return
		}
		h.in = d
		body := h.local.answer(offer, c)
		h.agree(c, offer)
		h.called <- req
		go func() { _ = d.RespondSDP(body) }()
		<-d.Context().Done()
		h.hungUp.Store(true)
	})
	h.server.OnAck(func(req *sip.Request, tx sip.ServerTransaction) {
		if h.in != nil {
			_ = h.in.ReadAck(req, tx)
		}
	})
	h.server.OnBye(func(req *sip.Request, tx sip.ServerTransaction) {
		switch {
		case h.in != nil:
			_ = h.in.ReadBye(req, tx)
		case h.out != nil:
			_ = h.out.ReadBye(req, tx)
		}
		h.hungUp.Store(true)
	})
	h.server.OnRegister(func(req *sip.Request, tx sip.ServerTransaction) {
		if h.asks(req, tx) {
			return
		}
		if req.GetHeader("Authorization") == nil {
			respond(tx, req, 401, "Unauthorized", sip.NewHeader("WWW-Authenticate", `Digest realm="carrier", nonce="n", algorithm=MD5, qop="auth"`))
			return
		}
		h.mu.Lock()
		h.registered = append(h.registered, req.Contact().Value()+" for "+req.GetHeader("Expires").Value()+" "+req.GetHeader("Authorization").Value())
		h.mu.Unlock()
		res := sip.NewResponseFromRequest(req, 200, "OK", nil)
		res.AppendHeader(sip.NewHeader("Expires", "10"))
		_ = tx.Respond(res)
	})
}

// open opens the handset's audio.
func (h *handset) open(*description) error {
	if h.media != nil {
		return nil
	}
	m, err := newMedia(ports{32400, 32766}, false, nil)
	if err != nil {
		return err
	}
	h.media = m
	h.local = local{address: netip.MustParseAddr("127.0.0.1"), port: m.port(), keys: newKeys(), id: 1}
	m.audio = func(c *codec, p *rtp.Packet) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.decoder == nil {
			h.decoder = c.coder()
		}
		h.heard = append(h.heard, h.decoder.decode(nil, p.Payload)...)
	}
	m.pressed = func(key byte) {
		h.mu.Lock()
		h.keys += string(key)
		h.mu.Unlock()
	}
	return nil
}

func (h *handset) agree(c choice, d *description) {
	if err := h.media.agree(c, d, &h.local); err != nil {
		h.t.Errorf("handset: %v", err)
		return
	}
	if h.codec == nil {
		h.codec = c.codec
		h.media.start()
		ctx, cancel := context.WithCancel(context.Background())
		h.t.Cleanup(cancel)
		go h.media.run(ctx, func(frame []int16) {
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.mute || len(h.tone) == 0 {
				return
			}
			for i := range frame {
				frame[i] = h.tone[h.at%len(h.tone)]
				h.at++
			}
		})
	}
}

// whistle lets the phone be spoken into with a tone.
func (h *handset) whistle(hertz float64) {
	h.mu.Lock()
	h.tone = sine(hertz, h.codec.rate, 1, 8000)
	h.mu.Unlock()
}

// request is an INVITE of the handset.
func (h *handset) request(to, number string, body []byte, headers ...sip.Header) *sip.Request {
	host, port := "127.0.0.1", portOf(h.t, to)
	uri := sip.Uri{Scheme: "sip", User: number, Host: host, Port: port, UriParams: sip.NewParams()}
	req := sip.NewRequest(sip.INVITE, uri)
	req.SetTransport(strings.ToUpper(h.transport))
	from := &sip.FromHeader{Address: sip.Uri{Scheme: "sip", User: "+32475123456", Host: "127.0.0.1"}, Params: sip.NewParams()}
	from.Params.Add("tag", sip.GenerateTagN(12))
	req.AppendHeader(from)
	for _, one := range headers {
		req.AppendHeader(one)
	}
	if body != nil {
		req.AppendHeader(sip.NewHeader("Content-Type", "application/sdp"))
		req.SetBody(body)
	}
	return req
}

// calls calls a number, and returns the status that it was answered with.
func (h *handset) calls(to, number string, headers ...sip.Header) int {
	h.t.Helper()
	if err := h.open(nil); err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Minute)
	defer cancel()
	d, err := h.dialogs.WriteInvite(ctx, h.request(to, number, h.local.offer(h.codecs, h.secure), headers...))
	if err != nil {
		h.t.Fatal(err)
	}
	if err := d.WaitAnswer(ctx, sipgo.AnswerOptions{}); err != nil {
		if d.InviteResponse == nil {
			h.t.Fatal(err)
		}
		return d.InviteResponse.StatusCode
	}
	h.out = d
	answer, err := parseSDP(d.InviteResponse.Body())
	if err != nil {
		h.t.Fatalf("the answer: %v\n%s", err, d.InviteResponse.Body())
	}
	h.answer = answer
	c, err := choose(answer, h.codecs, map[bool]security{true: securityRequired, false: securityOff}[h.secure])
	if err != nil {
		h.t.Fatal(err)
	}
	h.agree(c, answer)
	if err := d.Ack(ctx); err != nil {
		h.t.Fatal(err)
	}
	return 200
}

// again offers the audio anew within the call, and returns the answer.
func (h *handset) again(d direction) *description {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Minute)
	defer cancel()
	h.local.version++
	body := strings.Replace(string(h.local.offer([]*codec{h.codec}, h.secure)), "a=sendrecv", "a="+string(d), 1)
	req := sip.NewRequest(sip.INVITE, h.out.InviteResponse.Contact().Address)
	req.AppendHeader(sip.NewHeader("Content-Type", "application/sdp"))
	req.SetBody([]byte(body))
	res, err := h.out.Do(ctx, req)
	if err != nil {
		h.t.Fatal(err)
	}
	if res.StatusCode != 200 {
		h.t.Fatalf("a description within the call is answered with %d %s", res.StatusCode, res.Reason)
	}
	ack := sip.NewRequest(sip.ACK, h.out.InviteResponse.Contact().Address)
	ack.AppendHeader(sip.HeaderClone(req.Via()))
	cseq := *req.CSeq()
	cseq.MethodName = sip.ACK
	ack.AppendHeader(&cseq)
	ack.RemoveHeader("Via")
	if err := h.out.WriteRequest(ack); err != nil {
		h.t.Fatal(err)
	}
	answer, err := parseSDP(res.Body())
	if err != nil {
		h.t.Fatal(err)
	}
	return answer
}

// presses presses keys.
func (h *handset) presses(keys string) { h.media.dial(keys) }

// listens waits until the last half second that the phone heard is a tone.
func (h *handset) listens(hertz float64) {
	h.t.Helper()
	h.forget()
	hstest.Eventually(h.t, fmt.Sprintf("%.0f Hz at the phone", hertz), func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return whistle.IsTone(h.heard, h.codec.rate, hertz)
	})
}

// hearsSomething waits until anything is heard.
func (h *handset) hearsSomething() {
	h.t.Helper()
	hstest.Eventually(h.t, "a sound at the phone", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return whistle.Loudness(h.heard[max(0, len(h.heard)-h.codec.rate/10):]) > 300
	})
}

func (h *handset) forget() {
	h.mu.Lock()
	h.heard = nil
	h.mu.Unlock()
}

func (h *handset) hangsUp() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Minute)
	defer cancel()
	var err error
	if h.out != nil {
		err = h.out.Bye(ctx)
	} else {
		err = h.in.Bye(ctx)
	}
	if err != nil {
		h.t.Errorf("BYE: %v", err)
	}
}

func (h *handset) waitHungUp() {
	h.t.Helper()
	hstest.Eventually(h.t, "a BYE", h.hungUp.Load)
}
