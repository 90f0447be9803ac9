package meetings_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/livekit/protocol/livekit"
	"github.com/livekit/protocol/logger"
	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"
	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/hstest/caller"
	"github.com/roomline/roomline/internal/store/storetest"
)

func TestMain(m *testing.M) {
	lksdk.SetLogger(logger.GetDiscardLogger())
	caller.Main()
	hstest.Main(m)
}

const (
	transportsPath = "/_matrix/client/v1/rtc/transports"
	tokenPath      = "/_matrix/client/v1/rtc/livekit/get_token"
	sfuGetPath     = "/_roomline/rtc/sfu/get"
	getTokenPath   = "/_roomline/rtc/get_token"
	slot           = "m.call#ROOM"
	baseURL        = "https://matrix.example.org"
)

// side is a deployment with a media server, and a room with somebody in it.
type side struct {
	*hstest.Deployment
	lk   *hstest.LiveKitServer
	db   *sql.DB
	host *hstest.User
	room string
}

func start(t *testing.T, opts hstest.Options) *side {
	t.Helper()
	return startWith(t, opts, func(*hstest.LiveKitServer) {})
}

// startWith is start with something done to the media server before.
func startWith(t *testing.T, opts hstest.Options, prepare func(*hstest.LiveKitServer)) *side {
	t.Helper()
	lk := hstest.LiveKit(t)
	prepare(lk)
	more := opts.Configure
	opts.Configure = func(process int, config map[string]any) {
		config["public_base_url"] = baseURL
		hstest.WithLiveKit(lk)(process, config)
		if more != nil {
			more(process, config)
		}
	}
	d := hstest.Start(t, opts)
	db := storetest.DB(t, d.DSN)
	s := &side{Deployment: d, lk: lk, db: db, host: d.User(t, "host")}
	s.room = s.host.MustCreateRoom(t, map[string]any{"name": "Our Room", "preset": "private_chat"})
	return s
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

// member is a user who has been invited to the room and has joined it.
func (s *side) member(t *testing.T, name string) *hstest.User {
	t.Helper()
	u := s.User(t, name)
	s.host.MustInvite(t, s.room, u)
	u.MustJoin(t, s.room)
	return u
}

// guest comes by an invitation, with a role.
func (s *side) guest(t *testing.T, role string) *hstest.User {
	t.Helper()
	var b [16]byte
	rand.Read(b[:])
	hash := sha256.Sum256(b[:])
	secret := base64.RawURLEncoding.EncodeToString(b[:])
	s.Secret(secret, "an invitation's secret")
	s.exec(t, `
		INSERT INTO invitations (invitation_id, organisation_id, room_nid, inviter, medium, address, secret_hash, language, role, proof, uses_allowed,
			created_ts, expires_ts, guest_lifetime, opens_ts)
		SELECT $1, u.organisation_id, r.room_nid, u.user_id, '', '', $4, 'en', $5, false, 1, $6, $7, 3600000, 0
		FROM users u, rooms r WHERE u.user_id = $2 AND r.room_id = $3`,
		rand.Text(), s.host.ID, s.room, hash[:], role, time.Now().UnixMilli(), time.Now().Add(time.Hour).UnixMilli())
	rand.Read(b[:])
	r, err := s.Do(context.Background(), 0, "", http.MethodPost, "/_roomline/guest/v1/redeem",
		map[string]any{"secret": secret, "name": "Anna", "attempt": base64.RawURLEncoding.EncodeToString(b[:])})
	if err != nil || r.Status != 200 {
		t.Fatalf("redeem: %s %v", r, err)
	}
	j := r.JSON()
	s.Secret(j.Get("access_token").String(), "an access token")
	return s.Session(hstest.NewUser(j.Get("user_id").String(), j.Get("device_id").String(), j.Get("access_token").String()))
}

// asking is the body of get_token of a user's device.
func asking(u *hstest.User, room string) map[string]any {
	return map[string]any{"room_id": room, "slot_id": slot, "member": map[string]any{"id": "m1", "claimed_device_id": u.DeviceID}}
}

// token asks as newer clients do.
func (s *side) token(t *testing.T, u *hstest.User) hstest.Response {
	t.Helper()
	return s.ask(t, u, tokenPath, asking(u, s.room))
}

func (s *side) ask(t *testing.T, u *hstest.User, path string, body any) hstest.Response {
	t.Helper()
	r, err := u.Do(context.Background(), http.MethodPost, path, body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// openID is a user's OpenID token.
func openID(t *testing.T, u *hstest.User) json.RawMessage {
	t.Helper()
	return json.RawMessage(u.MustDo(t, http.MethodPost, hstest.Path("user", u.ID, "openid", "request_token"), map[string]any{}).Raw)
}

// sfuGet asks as older clients do.
func (s *side) sfuGet(t *testing.T, process int, u *hstest.User, device string) hstest.Response {
	t.Helper()
	r, err := s.Do(context.Background(), process, "", http.MethodPost, sfuGetPath,
		map[string]any{"room": s.room, "device_id": device, "openid_token": openID(t, u)})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// claims are what a token says.
func claims(t *testing.T, r hstest.Response) gjson.Result {
	t.Helper()
	if r.Status != http.StatusOK {
		t.Fatalf("no token: %s", r)
	}
	parts := strings.Split(r.JSON().Get("jwt").String(), ".")
	if len(parts) != 3 {
		t.Fatalf("no token: %s", r)
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	return gjson.ParseBytes(raw)
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawStdEncoding.EncodeToString(sum[:])
}

// participant is a client at the SFU, and what it has been told.
type participant struct {
	*lksdk.Room
	data, audio  chan string
	disconnected chan struct{}
}

// connect joins with the token of an answer.
func connect(t *testing.T, r hstest.Response) (*participant, error) {
	t.Helper()
	p := &participant{data: make(chan string, 10), audio: make(chan string, 10), disconnected: make(chan struct{}, 1)}
	var err error
	p.Room, err = lksdk.ConnectToRoomWithToken(r.JSON().Get("url").String(), r.JSON().Get("jwt").String(), &lksdk.RoomCallback{
		OnDisconnected: func() {
			select {
			case p.disconnected <- struct{}{}:
			default:
			}
		},
		ParticipantCallback: lksdk.ParticipantCallback{
			OnDataPacket: func(d lksdk.DataPacket, params lksdk.DataReceiveParams) {
				if u, ok := d.(*lksdk.UserDataPacket); ok {
					p.data <- params.SenderIdentity + " " + string(u.Payload)
				}
			},
			OnTrackSubscribed: func(track *webrtc.TrackRemote, _ *lksdk.RemoteTrackPublication, from *lksdk.RemoteParticipant) {
				for range 10 {
					if _, _, err := track.ReadRTP(); err != nil {
						return
					}
				}
				p.audio <- from.Identity()
			},
		},
	}, lksdk.WithConnectTimeout(time.Minute))
	if err == nil {
		t.Cleanup(p.Disconnect)
	}
	return p, err
}

func mustConnect(t *testing.T, r hstest.Response) *participant {
	t.Helper()
	if r.Status != http.StatusOK {
		t.Fatalf("no token: %s", r)
	}
	p, err := connect(t, r)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	return p
}

// speak publishes silence from a source, until the test ends.
func (p *participant) speak(t *testing.T, source livekit.TrackSource) error {
	t.Helper()
	track, err := lksdk.NewLocalTrack(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.LocalParticipant.PublishTrack(track, &lksdk.TrackPublicationOptions{Name: "sound", Source: source}); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go func() {
		for ctx.Err() == nil {
			_ = track.WriteSample(media.Sample{Data: []byte{0xfc, 0xff, 0xfe}, Duration: 20 * time.Millisecond}, nil)
			time.Sleep(20 * time.Millisecond)
		}
	}()
	return nil
}

// comes waits for something on a channel.
func comes(t *testing.T, what string, from <-chan string) string {
	t.Helper()
	select {
	case got := <-from:
		return got
	case <-time.After(time.Minute):
		t.Fatalf("it did not come: %s", what)
		return ""
	}
}

func userData(text string) *lksdk.UserDataPacket { return lksdk.UserData([]byte(text)) }

func reliably() lksdk.DataPublishOption { return lksdk.WithDataPublishReliable(true) }

var rawBase64 = base64.RawStdEncoding
