// Package sfu speaks with the media server of meetings (a selective forwarding unit), which is LiveKit: it signs the tokens that people
// join with, asks for rooms and participants, takes people out, and checks what LiveKit says by webhook.
//
// A token gives the rights that it was asked for and nothing else; none of them can make, list or govern rooms. The API of LiveKit is
// governed by tokens, too: those are made for one question, live as long as one, and never leave this package.
//
// The clients of server-sdk-go bring an http.Client of their own, without bound. So the service is asked by the client that
// LiveKit's protocol generates, which is what that module wraps.
//
// Start reading at Client.
package sfu

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/livekit/protocol/auth"
	"github.com/livekit/protocol/livekit"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
)

// ErrUnavailable is in the chain of the error when LiveKit does not answer, or not in time.
var ErrUnavailable = errors.New("sfu: the media server does not answer")

// Source is what a track shows or lets hear.
type Source string

// The sources.
const (
	Microphone       Source = "microphone"
	Camera           Source = "camera"
	ScreenShare      Source = "screen_share"
	ScreenShareAudio Source = "screen_share_audio"
)

var sources = map[Source]livekit.TrackSource{
	Microphone: livekit.TrackSource_MICROPHONE, Camera: livekit.TrackSource_CAMERA,
	ScreenShare: livekit.TrackSource_SCREEN_SHARE, ScreenShareAudio: livekit.TrackSource_SCREEN_SHARE_AUDIO,
}

// Rights are what somebody may do in a call.
type Rights struct {
	// Publish are the sources that may be sent; none: nothing is.
	Publish []Source `json:"publish,omitempty"`
	// Data lets send messages through LiveKit.
	Data bool `json:"data,omitempty"`
	// Subscribe lets see and hear others.
	Subscribe bool `json:"subscribe,omitempty"`
	// Hidden participants are not shown to others: recorders.
	Hidden bool `json:"hidden,omitempty"`
	// Moderate is ours: LiveKit is not told of it, since it would let the holder govern the room past us.
	Moderate bool `json:"moderate,omitempty"`
}

// Key signs tokens. LiveKit has the same.
type Key struct{ Key, Secret string }

// Config of a Client.
type Config struct {
	// URL is where this process reaches LiveKit, PublicURL where clients do. http and ws mean the same.
	URL, PublicURL string
	// Keys are one or two. The first one signs; all are believed, so that a key can be replaced while meetings go on.
	Keys []Key
	HTTP *http.Client
	// Within is how long LiveKit may take to answer; 0: limits.SFUCall.
	Within time.Duration
	// Patient is HTTP with limits.SFUSIP to answer; nil: HTTP.
	Patient *http.Client
	Clock   matrix.Clock
}

// Client speaks with one LiveKit deployment. It is safe for concurrent use.
type Client struct {
	cfg    Config
	rooms  livekit.RoomService
	egress livekit.Egress
	sip    livekit.SIP
}

// New returns a client. Nothing is asked yet.
func New(cfg Config) (*Client, error) {
	if len(cfg.Keys) == 0 || len(cfg.Keys) > 2 {
		return nil, fmt.Errorf("sfu: one or two keys are needed, not %d", len(cfg.Keys))
	}
	for _, k := range cfg.Keys {
		if k.Key == "" || len(k.Secret) < limits.SFUSecret {
			return nil, fmt.Errorf("sfu: a key needs a name and a secret of at least %d bytes", limits.SFUSecret)
		}
	}
	asking, err := scheme(cfg.URL, "http")
	if err != nil {
		return nil, err
	}
	if cfg.PublicURL == "" {
		cfg.PublicURL = cfg.URL
	}
	if cfg.PublicURL, err = scheme(cfg.PublicURL, "ws"); err != nil {
		return nil, err
	}
	cfg.Within = cmp.Or(cfg.Within, limits.SFUCall)
	c := &Client{cfg: cfg}
	c.rooms = livekit.NewRoomServiceProtobufClient(asking, asker{cfg.HTTP})
	c.egress = livekit.NewEgressProtobufClient(asking, asker{cfg.HTTP})
	c.sip = livekit.NewSIPProtobufClient(asking, asker{cmp.Or(cfg.Patient, cfg.HTTP)})
	return c, nil
}

// PublicURL is where clients connect to, a ws or wss URL.
func (c *Client) PublicURL() string { return c.cfg.PublicURL }

// scheme gives a URL the scheme http or ws, or the one with s where it has one.
func scheme(text, plain string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return "", fmt.Errorf("sfu: %q is not a URL", text)
	}
	switch u.Scheme {
	case "http", "ws":
		u.Scheme = plain
	case "https", "wss":
		u.Scheme = plain + "s"
	default:
		return "", fmt.Errorf("sfu: %q is neither an http nor a ws URL", text)
	}
	return strings.TrimSuffix(u.String(), "/"), nil
}

// TokenRequest says for whom and for what a token is.
type TokenRequest struct {
	Room, Identity, Name string
	Rights
	// TTL is how long the holder may take to join, limits.SFUToken at most, and if zero.
	TTL        time.Duration
	Attributes map[string]string
}

// Token signs a token to join one room as one identity.
func (c *Client) Token(r TokenRequest) (string, error) {
	if r.Room == "" || r.Identity == "" {
		return "", errors.New("sfu: a token needs a room and an identity")
	}
	if r.TTL <= 0 || r.TTL > limits.SFUToken {
		r.TTL = limits.SFUToken
	}
	token := auth.NewAccessToken(c.cfg.Keys[0].Key, c.cfg.Keys[0].Secret).SetIdentity(r.Identity).SetName(r.Name).
		SetValidFor(r.TTL).SetAttributes(r.Attributes).SetVideoGrant(grant(r.Room, r.Rights))
	return token.ToJWT()
}

// grant says everything, since LiveKit takes what is not said for granted.
func grant(room string, rights Rights) *auth.VideoGrant {
	g := &auth.VideoGrant{RoomJoin: true, Room: room, Hidden: rights.Hidden}
	g.SetCanPublish(len(rights.Publish) > 0)
	g.SetCanSubscribe(rights.Subscribe)
	g.SetCanPublishData(rights.Data)
	g.SetCanUpdateOwnMetadata(false)
	for _, s := range rights.Publish {
		g.CanPublishSources = append(g.CanPublishSources, string(s))
	}
	return g
}

// permission is grant for somebody who is in the room.
func permission(rights Rights) *livekit.ParticipantPermission {
	p := &livekit.ParticipantPermission{
		CanPublish: len(rights.Publish) > 0, CanSubscribe: rights.Subscribe, CanPublishData: rights.Data, Hidden: rights.Hidden,
	}
	for _, s := range rights.Publish {
		p.CanPublishSources = append(p.CanPublishSources, sources[s])
	}
	return p
}

// Joins reports whether a token is one of ours, not expired, and for joining a room, and which.
func (c *Client) Joins(token string) (room, identity string, ok bool) {
	v, err := auth.ParseAPIToken(token)
	if err != nil {
		return "", "", false
	}
	claims, grants, err := v.Verify(c.secret(v.APIKey()))
	if err != nil || grants.Video == nil || !grants.Video.RoomJoin || claims.ExpiresAt == nil || c.cfg.Clock.Now().After(claims.ExpiresAt.Time) {
		return "", "", false
	}
	return grants.Video.Room, grants.Identity, true
}

// secret of a key, "" if it is none of ours.
func (c *Client) secret(key string) string {
	for _, k := range c.cfg.Keys {
		if k.Key == key {
			return k.Secret
		}
	}
	return ""
}
