package phones_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/livekit/protocol/livekit"
	"github.com/livekit/protocol/logger"
	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"
	"github.com/tidwall/gjson"
	"go.yaml.in/yaml/v4"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/store/storetest"
)

func TestMain(m *testing.M) {
	lksdk.SetLogger(logger.GetDiscardLogger())
	hstest.Main(m)
}

const (
	ourNumber   = "+3225550100"
	otherNumber = "+3225550199"
	caller      = "+32470123456"
	callee      = "+32470654321"
	memberType  = "org.matrix.msc3401.call.member"
)

// side is a deployment with a media server, two trunks, a host with a room, and the token of a bridge.
type side struct {
	*hstest.Deployment
	db    *sql.DB
	host  *hstest.User
	room  string
	token string
}

// options of a side.
type options struct {
	processes int
	limits    map[string]any
	// deaf: there is no media server.
	deaf bool
}

func start(t *testing.T, o options) *side {
	t.Helper()
	var media func(int, map[string]any)
	if !o.deaf {
		media = hstest.WithLiveKit(hstest.LiveKit(t))
	}
	d := hstest.Start(t, hstest.Options{Processes: o.processes, Configure: func(process int, c map[string]any) {
		c["public_base_url"] = "https://matrix.example.org"
		if media != nil {
			media(process, c)
		}
		voice := map[string]any{"trunks": []any{
			map[string]any{"name": "carrier", "out": true, "numbers": []any{map[string]any{"number": ourNumber, "country": "BE", "language": "nl"}}},
			map[string]any{"name": "other", "organisations": []any{"other.test"}, "numbers": []any{map[string]any{"number": otherNumber, "country": "BE"}}},
		}}
		if o.limits != nil {
			voice["limits"] = o.limits
		}
		c["telephony"] = map[string]any{"mode": "external", "voice": voice}
	}})
	s := openSide(t, d)
	s.token = register(t, d)
	for process := range d.Processes() { // each hears of the registration
		hstest.Eventually(t, "the bridge is known", func() bool {
			r, err := s.bridge(process).try(context.Background(), "lease", map[string]any{"trunks": []string{}, "max": 0, "wait_ms": 0, "calls": []any{}})
			return err == nil && r.Status == http.StatusOK
		})
	}
	s.room = s.host.MustCreateRoom(t, map[string]any{"name": "Our Room", "preset": "private_chat"})
	return s
}

// openSide is a deployment with a host.
func openSide(t *testing.T, d *hstest.Deployment) *side {
	t.Helper()
	db := storetest.DB(t, d.DSN)
	for _, number := range []string{caller[1:], callee[1:]} {
		d.Secret(number, "a number")
	}
	s := &side{Deployment: d, db: db, host: d.User(t, "host")}
	// Whatever is slow: a bridge keeps its calls until the test takes them from it.
	s.exec(t, `CREATE FUNCTION keeps() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.lease_ts := NEW.lease_ts + 3600000; RETURN NEW; END $$`)
	s.exec(t, `CREATE TRIGGER keeps BEFORE INSERT OR UPDATE OF lease_ts ON phone_calls FOR EACH ROW WHEN (NEW.lease_ts > 1) EXECUTE FUNCTION keeps()`)
	return s
}

// register registers a bridge, and returns its as_token.
func register(t *testing.T, d *hstest.Deployment) string {
	t.Helper()
	text, err := exec.Command(hstest.Binary(t), "telephony", "registration").Output()
	if err != nil {
		t.Fatalf("telephony registration: %v", err)
	}
	var registration map[string]any
	if err := yaml.Unmarshal(text, &registration); err != nil {
		t.Fatal(err)
	}
	d.Operator(t).MustDo(t, http.MethodPost, "/_roomline/operator/v1/appservices", registration)
	for _, token := range []string{"as_token", "hs_token"} {
		d.Secret(registration[token].(string), "a token of the bridge")
	}
	return registration["as_token"].(string)
}

func (s *side) exec(t *testing.T, query string, args ...any) {
	t.Helper()
	if _, err := s.db.Exec(query, args...); err != nil {
		t.Fatal(err)
	}
}

func (s *side) number(t *testing.T, query string, args ...any) (n int64) {
	t.Helper()
	if err := s.db.QueryRow(query, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func (s *side) text(t *testing.T, query string, args ...any) (text string) {
	t.Helper()
	if err := s.db.QueryRow(query, args...).Scan(&text); err != nil {
		t.Fatal(err)
	}
	return text
}

// policy has the organisation decide.
func (s *side) policy(t *testing.T, value map[string]any) {
	t.Helper()
	s.Operator(t).MustDo(t, http.MethodPut, "/_roomline/admin/v1/policies/phones", value)
}

// path is one below the room's meeting/phone.
func (s *side) path(more string) string {
	return "/_roomline/client/v1" + strings.TrimPrefix(hstest.Path("rooms", s.room), "/_matrix/client/v3") + "/meeting/phone" + more
}

// pin is a user's own PIN of the room.
func (s *side) pin(t *testing.T, u *hstest.User) string {
	t.Helper()
	answer := u.MustDo(t, http.MethodGet, s.path(""), nil)
	pin := answer.Get("pin").String()
	if len(pin) != 10 || answer.Get("numbers.0.number").String() != ourNumber || answer.Get("numbers.0.country").String() != "BE" {
		t.Fatalf("numbers and PIN: %s", answer)
	}
	s.Secret(pin, "a PIN")
	return pin
}

// invitation is one of somebody outside, with a PIN.
func (s *side) invitation(t *testing.T, address string) (id, pin string) {
	t.Helper()
	var b [16]byte
	rand.Read(b[:])
	hash := sha256.Sum256(b[:])
	id = rand.Text()
	s.exec(t, `
		INSERT INTO invitations (invitation_id, organisation_id, room_nid, inviter, medium, address, secret_hash, language, role, proof, uses_allowed,
			created_ts, expires_ts, guest_lifetime, opens_ts)
		SELECT $1, u.organisation_id, r.room_nid, u.user_id, 'email', $4, $5, 'fr', 'participant', false, 1, $6, $7, 3600000, 0
		FROM users u, rooms r WHERE u.user_id = $2 AND r.room_id = $3`,
		id, s.host.ID, s.room, address, hash[:], time.Now().UnixMilli(), time.Now().Add(time.Hour).UnixMilli())
	return id, ""
}

// member is a user who has been invited to the room and has joined it.
func (s *side) member(t *testing.T, name string) *hstest.User {
	t.Helper()
	u := s.User(t, name)
	s.host.MustInvite(t, s.room, u)
	u.MustJoin(t, s.room)
	return u
}

// bridge is what speaks the API of telephony bridges.
type bridge struct {
	*side
	name    string
	process int
}

func (s *side) bridge(process int) *bridge {
	return &bridge{side: s, name: "bridge-" + rand.Text(), process: process}
}

func (b *bridge) try(ctx context.Context, path string, body map[string]any) (hstest.Response, error) {
	if body == nil {
		body = map[string]any{}
	}
	body["bridge"] = b.name
	return b.Do(ctx, b.process, b.token, http.MethodPost, "/_roomline/telephony/v1/calls/"+path, body)
}

func (b *bridge) must(t *testing.T, path string, body map[string]any) gjson.Result {
	t.Helper()
	r, err := b.try(context.Background(), path, body)
	if err != nil || r.Status != http.StatusOK {
		t.Fatalf("%s: %s %v", path, r, err)
	}
	return r.JSON()
}

// rings begins a call in, and returns its id.
func (b *bridge) rings(t *testing.T, from string) string {
	t.Helper()
	answer := b.must(t, "start", map[string]any{"trunk": "carrier", "called": ourNumber, "caller": from, "reference": rand.Text()})
	id := answer.Get("call_id").String()
	if id == "" || answer.Get("language").String() != "nl" || answer.Get("pin_digits").Int() != 10 || answer.Get("problem").Exists() {
		t.Fatalf("a call in: %s", answer)
	}
	return id
}

// types has a caller type a PIN.
func (b *bridge) types(t *testing.T, call, pin string) gjson.Result {
	t.Helper()
	return b.must(t, call+"/pin", map[string]any{"pin": pin})
}

// comesIn has a caller come in.
func (b *bridge) comesIn(t *testing.T, pin string) (call string, join gjson.Result) {
	t.Helper()
	call = b.rings(t, caller)
	join = b.types(t, call, pin)
	if join.Get("problem").Exists() {
		t.Fatalf("a caller does not come in: %s", join)
	}
	b.Secret(join.Get("jwt").String(), "a token of the SFU")
	return call, join
}

// leases asks once for news, and says that it has the calls.
func (b *bridge) leases(t *testing.T, max int, calls ...map[string]any) gjson.Result {
	t.Helper()
	if calls == nil {
		calls = []map[string]any{}
	}
	return b.must(t, "lease", map[string]any{"trunks": []string{"carrier"}, "max": max, "wait_ms": 0, "calls": calls})
}

func known(call string) map[string]any { return map[string]any{"call_id": call, "waiting": false} }

// order waits until the bridge is told to hang up.
func (b *bridge) order(t *testing.T, call string) string {
	t.Helper()
	cause := ""
	hstest.Eventually(t, "an order to hang up", func() bool {
		cause = b.leases(t, 0, known(call)).Get(`orders.#(call_id=="` + call + `").hangup`).String()
		return cause != ""
	})
	return cause
}

// content is the content of state of the room, as the host sees it.
func (s *side) content(t *testing.T, typ, key string) gjson.Result {
	t.Helper()
	return s.host.MustDo(t, http.MethodGet, hstest.Path("rooms", s.room, "state", typ, key), nil)
}

func memberKey(ghost string) string { return "_" + ghost + "_PHONE_m.call" }

// gone waits until a ghost is neither in the call nor in the room.
func (s *side) gone(t *testing.T, ghost string) {
	t.Helper()
	hstest.Eventually(t, "the ghost leaves", func() bool { return s.content(t, "m.room.member", ghost).Get("membership").String() != "join" })
	if c := s.content(t, memberType, memberKey(ghost)); len(c.Map()) != 0 {
		t.Errorf("a ghost that has gone is in the call: %s", c)
	}
}

// listens joins the SFU's room with a token, and says whose audio comes.
func listens(t *testing.T, url, jwt string) (*lksdk.Room, <-chan string) {
	t.Helper()
	audio := make(chan string, 10)
	room, err := lksdk.ConnectToRoomWithToken(url, jwt, &lksdk.RoomCallback{ParticipantCallback: lksdk.ParticipantCallback{
		OnTrackSubscribed: func(track *webrtc.TrackRemote, _ *lksdk.RemoteTrackPublication, from *lksdk.RemoteParticipant) {
			for range 10 {
				if _, _, err := track.ReadRTP(); err != nil {
					return
				}
			}
			audio <- from.Identity()
		},
	}}, lksdk.WithConnectTimeout(time.Minute))
	if err != nil {
		t.Fatalf("connect to the SFU: %v", err)
	}
	t.Cleanup(room.Disconnect)
	return room, audio
}

// speaks publishes silence.
func speaks(t *testing.T, room *lksdk.Room, source livekit.TrackSource) error {
	t.Helper()
	track, err := lksdk.NewLocalTrack(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := room.LocalParticipant.PublishTrack(track, &lksdk.TrackPublicationOptions{Name: "sound", Source: source}); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	t.Cleanup(func() { cancel(); done.Wait() })
	done.Go(func() {
		for ctx.Err() == nil {
			_ = track.WriteSample(media.Sample{Data: []byte{0xfc, 0xff, 0xfe}, Duration: 20 * time.Millisecond}, nil)
			time.Sleep(20 * time.Millisecond)
		}
	})
	return nil
}
