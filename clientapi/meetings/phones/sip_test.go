package phones_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/livekit/protocol/auth"
	"github.com/livekit/protocol/livekit"
	"github.com/livekit/protocol/rpc"
	"github.com/livekit/protocol/sip"
	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/pion/webrtc/v4"
	"github.com/twitchtv/twirp"
	"google.golang.org/protobuf/proto"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/hstest/whistle"
)

// sipService is LiveKit SIP as the rest of LiveKit sees it: the API in front of it, whose rules are judged by LiveKit's own code, and the participants that it
// brings into a real LiveKit. The program itself can't be had here; what it does to SIP and RTP is not shown.
type sipService struct {
	livekit.SIP // what nobody asks
	*httptest.Server
	t  *testing.T
	lk *hstest.LiveKitServer

	// What is kept is nobody else's: LiveKit's own code writes into what it is handed, and answers are encoded after their handler has returned.
	mu     sync.Mutex
	trunks []*livekit.SIPInboundTrunkInfo
	rules  []*livekit.SIPDispatchRuleInfo
	made   int
	// called are those who were called.
	called chan *sipPhone
	away   atomic.Bool
}

const outTrunk = "ST_out"

func newSIPService(t *testing.T, lk *hstest.LiveKitServer) *sipService {
	t.Helper()
	s := &sipService{t: t, lk: lk, called: make(chan *sipPhone, 4)}
	livekitURL, err := url.Parse(lk.URL)
	if err != nil {
		t.Fatal(err)
	}
	service, rest := livekit.NewSIPServer(s), httputil.NewSingleHostReverseProxy(livekitURL)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, service.PathPrefix()) {
			rest.ServeHTTP(w, r)
			return
		}
		if s.away.Load() {
			_ = twirp.WriteError(w, twirp.NewError(twirp.Unavailable, "no response from servers"))
			return
		}
		s.check(r)
		service.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// check is what LiveKit checks of a request for SIP.
func (s *sipService) check(r *http.Request) {
	v, err := auth.ParseAPIToken(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	if err != nil {
		s.t.Errorf("%s: %v", r.URL.Path, err)
		return
	}
	_, grants, err := v.Verify(s.lk.Secret)
	calls := strings.HasSuffix(r.URL.Path, "/CreateSIPParticipant")
	if err != nil || v.APIKey() != s.lk.Key || grants.SIP == nil || grants.SIP.Call != calls || grants.SIP.Admin == calls || grants.Video != nil {
		s.t.Errorf("%s with the token of %s, %+v: %v", r.URL.Path, v.APIKey(), grants, err)
	}
}

func (s *sipService) id(kind string) string {
	s.made++
	return fmt.Sprintf("%s_%d", kind, s.made)
}

func copies[M proto.Message](kept []M) []M {
	own := make([]M, len(kept))
	for i, m := range kept {
		own[i] = proto.CloneOf(m)
	}
	return own
}

func (s *sipService) ListSIPInboundTrunk(context.Context, *livekit.ListSIPInboundTrunkRequest) (*livekit.ListSIPInboundTrunkResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &livekit.ListSIPInboundTrunkResponse{Items: copies(s.trunks)}, nil
}

func (s *sipService) CreateSIPInboundTrunk(_ context.Context, r *livekit.CreateSIPInboundTrunkRequest) (*livekit.SIPInboundTrunkInfo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := r.Validate(); err != nil {
		return nil, twirp.InvalidArgumentError("trunk", err.Error())
	}
	r.Trunk.SipTrunkId = s.id("ST")
	s.trunks = append(s.trunks, proto.CloneOf(r.Trunk))
	return r.Trunk, nil
}

func (s *sipService) ListSIPOutboundTrunk(context.Context, *livekit.ListSIPOutboundTrunkRequest) (*livekit.ListSIPOutboundTrunkResponse, error) {
	return &livekit.ListSIPOutboundTrunkResponse{Items: []*livekit.SIPOutboundTrunkInfo{{SipTrunkId: outTrunk}}}, nil
}

func (s *sipService) ListSIPDispatchRule(context.Context, *livekit.ListSIPDispatchRuleRequest) (*livekit.ListSIPDispatchRuleResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &livekit.ListSIPDispatchRuleResponse{Items: copies(s.rules)}, nil
}

func (s *sipService) CreateSIPDispatchRule(_ context.Context, r *livekit.CreateSIPDispatchRuleRequest) (*livekit.SIPDispatchRuleInfo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rule := r.DispatchRuleInfo()
	rule.SipDispatchRuleId = s.id("SDR")
	//lint:ignore SA1019 what is in its place wants iterators of another module
	if err := sip.ValidateDispatchRules(append([]*livekit.SIPDispatchRuleInfo{rule}, s.rules...)); err != nil {
		return nil, err
	}
	s.rules = append(s.rules, proto.CloneOf(rule))
	return rule, nil
}

func (s *sipService) DeleteSIPDispatchRule(_ context.Context, r *livekit.DeleteSIPDispatchRuleRequest) (*livekit.SIPDispatchRuleInfo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, rule := range s.rules {
		if rule.SipDispatchRuleId == r.SipDispatchRuleId {
			s.rules = append(s.rules[:i:i], s.rules[i+1:]...)
			return rule, nil
		}
	}
	return nil, twirp.NotFoundError("no rule")
}

// CreateSIPParticipant calls somebody, who does nothing by themselves.
func (s *sipService) CreateSIPParticipant(_ context.Context, r *livekit.CreateSIPParticipantRequest) (*livekit.SIPParticipantInfo, error) {
	if r.SipTrunkId != outTrunk || r.SipNumber != ourNumber || !r.HidePhoneNumber || r.RingingTimeout.AsDuration() < 5*time.Second || r.MaxCallDuration.AsDuration() < time.Minute {
		s.t.Errorf("a call by LiveKit SIP: %v", r)
	}
	p, err := s.join(r.RoomName, r.ParticipantIdentity, r.ParticipantName, map[string]string{livekit.AttrSIPCallStatus: "dialing"})
	if err != nil {
		return nil, twirp.InternalErrorWith(err)
	}
	p.number = r.SipCallTo
	s.called <- p
	return &livekit.SIPParticipantInfo{ParticipantIdentity: r.ParticipantIdentity, RoomName: r.RoomName}, nil
}

// sipPhone is a phone that LiveKit SIP has brought into a room.
type sipPhone struct {
	t      *testing.T
	number string
	room   *lksdk.Room
	// voices counts packets with a voice in them.
	voices atomic.Int64
	over   chan struct{}
}

func (s *sipService) join(room, identity, name string, attributes map[string]string) (*sipPhone, error) {
	token, err := sip.BuildSIPToken(sip.SIPTokenParams{
		APIKey: s.lk.Key, APISecret: s.lk.Secret, RoomName: room, ParticipantIdentity: identity, ParticipantName: name, ParticipantAttributes: attributes,
	})
	if err != nil {
		return nil, err
	}
	p := &sipPhone{t: s.t, over: make(chan struct{})}
	callbacks := lksdk.NewRoomCallback()
	callbacks.OnTrackSubscribed = func(track *webrtc.TrackRemote, _ *lksdk.RemoteTrackPublication, _ *lksdk.RemoteParticipant) {
		for {
			packet, _, err := track.ReadRTP()
			if err != nil {
				return
			}
			// LiveKit sends silence for those who send nothing.
			if silent := bytes.HasPrefix(packet.Payload, []byte{0xf8, 0xff, 0xfe}); len(packet.Payload) > 3 && !silent && strings.EqualFold(track.Codec().MimeType, webrtc.MimeTypeOpus) {
				p.voices.Add(1)
			}
		}
	}
	var once sync.Once
	callbacks.OnDisconnected = func() { once.Do(func() { close(p.over) }) }
	if p.room, err = lksdk.ConnectToRoomWithToken(s.lk.PublicURL, token, callbacks, lksdk.WithConnectTimeout(time.Minute)); err != nil {
		return nil, err
	}
	s.t.Cleanup(p.room.Disconnect)
	return p, nil
}

// rings has a phone call a number and type a PIN; nil: it does not get in.
func (s *sipService) rings(called, from, pin string) *sipPhone {
	s.t.Helper()
	s.mu.Lock()
	trunks, rules := copies(s.trunks), copies(s.rules)
	s.mu.Unlock()
	call := &rpc.EvaluateSIPDispatchRulesRequest{Pin: pin, SipTrunkId: trunks[0].SipTrunkId, Call: &rpc.SIPCall{
		LkCallId: "SCL_" + from, From: &livekit.SIPUri{User: from}, To: &livekit.SIPUri{User: called},
	}}
	//lint:ignore SA1019 what is in its place wants iterators of another module
	rule, err := sip.MatchDispatchRule(trunks[0], rules, call)
	if err != nil {
		s.t.Logf("no rule: %v", err)
		return nil
	}
	where, err := sip.EvaluateDispatchRule("", trunks[0], rule, call)
	if err != nil || where.Result != rpc.SIPDispatchResult_ACCEPT {
		s.t.Logf("not accepted: %v %v", where, err)
		return nil
	}
	p, err := s.join(where.RoomName, where.ParticipantIdentity, where.ParticipantName, where.ParticipantAttributes)
	if err != nil {
		s.t.Fatalf("LiveKit does not let LiveKit SIP in: %v", err)
	}
	return p
}

func (p *sipPhone) is(status string) {
	p.room.LocalParticipant.SetAttributes(map[string]string{livekit.AttrSIPCallStatus: status})
}

func (p *sipPhone) presses(keys string) {
	p.t.Helper()
	for _, key := range keys {
		if err := p.room.LocalParticipant.PublishDataPacket(&livekit.SipDTMF{Digit: string(key)}, lksdk.WithDataPublishReliable(true)); err != nil {
			p.t.Fatal(err)
		}
	}
}

func (p *sipPhone) waitOver() {
	p.t.Helper()
	select {
	case <-p.over:
	case <-time.After(time.Minute):
		p.t.Fatal("the phone is not hung up")
	}
}

// sipSide is a deployment whose trunk LiveKit SIP has.
func sipSide(t *testing.T, lk *hstest.LiveKitServer) (*side, *sipService) {
	t.Helper()
	service := newSIPService(t, lk)
	d := hstest.Start(t, hstest.Options{Configure: func(_ int, c map[string]any) {
		c["public_base_url"] = "https://matrix.example.org"
		c["meetings"] = map[string]any{"livekit": map[string]any{
			"url": service.URL, "public_url": lk.PublicURL, "timeout": "30s", "keys": []any{map[string]any{"key": lk.Key, "secret": lk.Secret}},
		}}
		c["telephony"] = map[string]any{"mode": "in_process", "voice": map[string]any{"trunks": []any{map[string]any{
			"name": "carrier", "out": true, "numbers": []any{map[string]any{"number": ourNumber, "country": "BE", "language": "nl"}},
			"sip":     map[string]any{"allowed_addresses": []string{"198.51.100.0/28"}},
			"livekit": map[string]any{"inbound_trunk": "create", "outbound_trunk": outTrunk},
		}}}}
	}})
	lk.WebhookTo(t, d.BaseURL(0)+"/_roomline/livekit/webhook")
	s := openSide(t, d)
	s.room = s.host.MustCreateRoom(t, map[string]any{"name": "Our Room", "preset": "private_chat"})
	return s, service
}

// joinsCall brings the host into the call.
func (s *side) joinsCall(t *testing.T) (*lksdk.Room, <-chan string) {
	t.Helper()
	token := s.host.MustDo(t, http.MethodPost, "/_matrix/client/v1/rtc/livekit/get_token", map[string]any{
		"room_id": s.room, "slot_id": "m.call#ROOM", "member": map[string]any{"id": "m1", "claimed_device_id": s.host.DeviceID}})
	s.Secret(token.Get("jwt").String(), "a token of the SFU")
	return listens(t, token.Get("url").String(), token.Get("jwt").String())
}

// ghostIn waits for a ghost in the call, and returns it.
func (s *side) ghostIn(t *testing.T) (ghost string) {
	t.Helper()
	hstest.Eventually(t, "a phone in the call", func() bool {
		_ = s.db.QueryRow(`
			SELECT user_id FROM phone_calls c JOIN rtc_participants p USING (user_id)
			WHERE c.state = 'answered' AND c.device_id <> '' AND p.joined_ts IS NOT NULL AND p.left_ts IS NULL`).Scan(&ghost)
		return ghost != ""
	})
	return ghost
}

// TestPhonesOfLiveKitSIP: a phone that LiveKit SIP brings is in the meeting like any other: by its PIN, with its name, heard and hearing; it raises its hand, and
// is hung up on when it is put out.
func TestPhonesOfLiveKitSIP(t *testing.T) {
	s, service := sipSide(t, hstest.LiveKit(t))
	anna := s.member(t, "anna")
	anna.MustDo(t, http.MethodPut, hstest.Path("profile", anna.ID, "displayname"), map[string]any{"displayname": "Anna"})
	pin := s.pin(t, anna)
	rules := func() int {
		service.mu.Lock()
		defer service.mu.Unlock()
		return len(service.rules)
	}
	hstest.Eventually(t, "LiveKit SIP knows the PIN", func() bool { return rules() == 1 })
	if tr := service.trunks; len(tr) != 1 || tr[0].Numbers[0] != ourNumber || tr[0].AllowedAddresses[0] != "198.51.100.0/28" {
		t.Errorf("trunks of LiveKit SIP: %v", tr)
	}
	if service.rings(ourNumber, caller, "1111111111") != nil {
		t.Error("a wrong PIN gets in")
	}
	p := service.rings(ourNumber, caller, pin)
	if p == nil {
		t.Fatal("the right PIN gets nobody in")
	}
	whistle.Publish(t, p.room)
	ghost := s.ghostIn(t)
	if name := s.content(t, "m.room.member", ghost).Get("displayname").String(); name != "Anna (telefoon)" {
		t.Errorf("the phone is called %q", name)
	}
	if c := s.content(t, memberType, memberKey(ghost)); c.Get("device_id").String() != "PHONE" {
		t.Errorf("the membership of the call: %s", c)
	}
	if got := s.text(t, `SELECT number || ' ' || trunk || ' ' || requested_by FROM phone_calls`); got != caller+" carrier "+anna.ID {
		t.Errorf("the call: %s", got)
	}
	call, audio := s.joinsCall(t)
	select {
	case who := <-audio:
		if who != ghost+":PHONE" {
			t.Errorf("heard %s", who)
		}
	case <-time.After(time.Minute):
		t.Fatal("the phone is not heard")
	}
	// What it hears of the meeting is more than the announcements, which are over.
	var before int64
	hstest.Eventually(t, "a phone in a silent meeting hears nothing for a second", func() bool {
		before = p.voices.Load()
		time.Sleep(time.Second)
		return p.voices.Load()-before <= 5
	})
	before = p.voices.Load()
	whistle.Publish(t, call)
	hstest.Eventually(t, "the phone hears the meeting", func() bool { return p.voices.Load()-before > 60 })

	p.presses("*9")
	hstest.Eventually(t, "a hand", func() bool {
		return s.number(t, `SELECT count(*) FROM events WHERE type = 'm.reaction' AND sender = $1`, ghost) == 1
	})
	s.host.MustDo(t, http.MethodPost, hstest.Path("rooms", s.room, "kick"), map[string]any{"user_id": ghost})
	p.waitOver()
	hstest.Eventually(t, "the call is over", func() bool { return s.text(t, `SELECT state || ' ' || cause FROM phone_calls`) == "ended removed" })

	anna.MustLeave(t, s.room)
	hstest.Eventually(t, "a PIN that opens nothing is forgotten", func() bool {
		s.exec(t, `UPDATE phone_pins SET expires_ts = 1`)
		return rules() == 0
	})
}

// TestCallsOutByLiveKitSIP: who is called presses 1 before anything is heard; what became of other calls is known; when LiveKit SIP is away it is said so.
func TestCallsOutByLiveKitSIP(t *testing.T) {
	s, service := sipSide(t, hstest.LiveKit(t))
	s.policy(t, map[string]any{"dial_out": true, "countries": []string{"BE"}})
	call, _ := s.joinsCall(t)
	whistle.Publish(t, call)
	s.host.MustSetState(t, s.room, memberType, "_"+s.host.ID+"_D", map[string]any{
		"application": "m.call", "call_id": "", "device_id": s.host.DeviceID, "expires": 3600_000, "scope": "m.room", "focus_active": map[string]any{"type": "livekit"},
	})
	dial := func() *sipPhone {
		t.Helper()
		hstest.Eventually(t, "the call may be made", func() bool {
			r, err := s.host.Do(context.Background(), http.MethodPost, s.path("/call"), map[string]any{"number": callee, "name": "Ben", "language": "en"})
			return err == nil && r.Status == http.StatusOK
		})
		select {
		case p := <-service.called:
			if p.number != callee {
				t.Errorf("called %s", p.number)
			}
			return p
		case <-time.After(time.Minute):
			t.Fatal("LiveKit SIP calls nobody")
		}
		return nil
	}
	over := func(want string) {
		t.Helper()
		hstest.Eventually(t, want, func() bool {
			return s.text(t, `SELECT state || ' ' || cause FROM phone_calls ORDER BY created_ts DESC LIMIT 1`) == want
		})
	}
	rings := func(p *sipPhone) {
		t.Helper()
		p.is("ringing")
		hstest.Eventually(t, "it rings", func() bool {
			return s.text(t, `SELECT state FROM phone_calls ORDER BY created_ts DESC LIMIT 1`) == "ringing"
		})
	}
	p := dial()
	rings(p)
	p.is("active")
	hstest.Eventually(t, "an announcement", func() bool { return p.voices.Load() > 10 })
	if n := s.number(t, `SELECT count(*) FROM rtc_participants WHERE user_id LIKE '@phone%'`); n != 0 {
		t.Error("the phone is in the meeting before anybody pressed 1")
	}
	p.presses("1")
	ghost := s.ghostIn(t)
	if name := s.content(t, "m.room.member", ghost).Get("displayname").String(); name != "Ben (phone)" {
		t.Errorf("the phone is called %q", name)
	}
	p.room.Disconnect()
	over("ended hangup")
	s.gone(t, ghost)

	// By the bot, guarded alike.
	s.host.MustSendText(t, s.room, "!call "+callee)
	select {
	case p = <-service.called:
		if p.number != callee {
			t.Errorf("the bot has %s called", p.number)
		}
		rings(p)
		p.room.Disconnect()
		over("failed hangup")
	case <-time.After(time.Minute):
		t.Fatal("the bot has nobody called")
	}
	s.host.MustSendText(t, s.room, "!call +33 6 12 34 56 78") // a country that is not allowed
	hstest.Eventually(t, "the bot's answer", func() bool {
		return s.number(t, `SELECT count(*) FROM commands WHERE convert_from(answer, 'utf8') LIKE '%denied%'`) == 1
	})
	if n := s.number(t, `SELECT count(*) FROM phone_calls WHERE number LIKE '+33%'`); n != 0 {
		t.Error("the bot calls where nobody may be called")
	}

	p = dial()
	rings(p)
	p.room.DisconnectWithReason(livekit.DisconnectReason_USER_REJECTED)
	over("failed busy")
	p = dial()
	p.room.Disconnect() // before anybody has seen it
	hstest.Eventually(t, "the end of a call that was none", func() bool {
		return s.text(t, `SELECT state FROM phone_calls ORDER BY created_ts DESC LIMIT 1`) == "failed"
	})

	service.away.Store(true)
	r, err := s.host.Do(context.Background(), http.MethodPost, s.path("/call"), map[string]any{"number": callee})
	if err != nil || r.Status != http.StatusServiceUnavailable || r.JSON().Get(`org\.roomline\.reason`).String() != "no_sip" {
		t.Errorf("LiveKit SIP is away: %s", r)
	}
}
