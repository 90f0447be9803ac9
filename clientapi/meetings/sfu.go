package meetings

import (
	"context"
	"slices"
	"time"
)

// Source is what a participant publishes.
type Source string

// The sources.
const (
	Microphone       Source = "microphone"
	Camera           Source = "camera"
	ScreenShare      Source = "screen_share"
	ScreenShareAudio Source = "screen_share_audio"
)

// Rights are what a participant may do.
type Rights struct {
	Publish   []Source `json:"publish,omitempty"`
	Data      bool     `json:"data,omitempty"`
	Moderate  bool     `json:"moderate,omitempty"`
	Hidden    bool     `json:"hidden,omitempty"`
	Subscribe bool     `json:"subscribe,omitempty"`
}

// keep takes the right to publish anything but these away.
func (r *Rights) keep(sources ...Source) {
	r.Publish = slices.DeleteFunc(r.Publish, func(s Source) bool { return !slices.Contains(sources, s) })
}

// TokenRequest is what a token says.
type TokenRequest struct {
	Room, Identity, Name string
	Rights               Rights
	TTL                  time.Duration
	Attributes           map[string]string
}

// RoomOptions of a room of the SFU.
type RoomOptions struct {
	MaxParticipants                uint32
	EmptyTimeout, DepartureTimeout time.Duration
}

// SFU is what is asked of LiveKit here.
type SFU interface {
	Token(TokenRequest) (string, error)
	CreateRoom(ctx context.Context, alias string, o RoomOptions) (sid string, err error)
	PublicURL() string
}
