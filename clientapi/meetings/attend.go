package meetings

import (
	"context"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// Attendance says whether somebody may be in the calls of a room without being in the room, and with which rights: who records them.
type Attendance func(ctx context.Context, room, org int64, user matrix.UserID) (Rights, bool, error)

// Attend adds people who may be in calls of rooms that they are not in. It is called before anything is served.
func (s *Server) Attend(a Attendance) { s.attend = append(s.attend, a) }

// attending are the rights of somebody who is not in the room.
func (s *Server) attending(ctx context.Context, f store.RTCFacts, user matrix.UserID) (Rights, error) {
	for _, attend := range s.attend {
		if r, may, err := attend(ctx, f.RoomNID, f.OrganisationID, user); may || err != nil {
			return r, err
		}
	}
	return Rights{}, notThere()
}
