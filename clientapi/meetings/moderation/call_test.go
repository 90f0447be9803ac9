package moderation_test

import (
	"testing"

	"github.com/livekit/protocol/livekit"
	lksdk "github.com/livekit/server-sdk-go/v2"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/hstest/caller"
)

// call joins the call of the room.
func (s *side) call(t *testing.T, u *hstest.User) *caller.Listener {
	t.Helper()
	return caller.Listen(t, u, s.room)
}

// participant is what the media server says of somebody.
func participant(t *testing.T, l *hstest.LiveKitServer, c *caller.Listener) *livekit.ParticipantInfo {
	t.Helper()
	answer, err := lksdk.NewRoomServiceClient(l.URL, l.Key, l.Secret).GetParticipant(t.Context(), &livekit.RoomParticipantIdentity{Room: c.Call.Name(), Identity: c.Identity()})
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// isMuted is what the media server says of what somebody sends.
func isMuted(t *testing.T, l *hstest.LiveKitServer, c *caller.Listener, source livekit.TrackSource) bool {
	t.Helper()
	for _, track := range participant(t, l, c).Tracks {
		if track.Source == source {
			return track.Muted
		}
	}
	t.Fatalf("%s sends no %s", c.ID, source)
	return false
}
