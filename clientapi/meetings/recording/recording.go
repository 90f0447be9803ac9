// Package recording has meetings recorded, with the consent of those who are in them.
//
// A recorder is LiveKit Egress, which writes a file, or an application service with the grant record, which takes part as a participant that
// everybody sees and that hears and sees only. Nobody can be cut out of what either of them gets. So:
//
//   - A recording is asked for, then it runs. It runs when everybody who is in the call has answered: those who agreed may send, those who did
//     not may not, for as long as it is on. Whoever comes later may send when they have agreed. Whoever takes the consent back may send no more.
//   - The database says what is on, and the rights at the SFU follow from it (Restrict). A recorder begins after those have been set.
//   - Everybody in the room sees what is recorded, by what, and since when: org.roomline.recording. The audit log has it, too.
//   - An application service gets a token while its recording runs, and is out of the call when it stops.
//
// Start reading at start.go; then consent.go and stop.go.
package recording

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/clientapi/meetings"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/sfu"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

// Egress is the recorder that is LiveKit's own.
const Egress = "egress"

// Policy is what an organisation says of recordings.
type Policy struct {
	// Off: there are none. Egress and Appservices say which recorders there may be.
	Egress, Appservices bool
	// Level is the power that starting one needs.
	Level int64
	// Keep is for how long it is known that there was one, and who agreed to it, and a file is kept at most; 0 for ever.
	Keep time.Duration
}

// Recorder is an application service that records.
type Recorder struct {
	// ID is its id in the deployment, Name what its organisation calls it. Sender is who it is in the call.
	ID, Name string
	Sender   matrix.UserID
}

// SFU is what is asked of the media server.
type SFU interface {
	Participants(ctx context.Context, alias string) ([]sfu.Participant, error)
	Update(ctx context.Context, alias, identity string, rights sfu.Rights) error
	Remove(ctx context.Context, alias, identity string) error
	CanRecord(ctx context.Context) error
	StartRoomEgress(ctx context.Context, r sfu.EgressRequest) (sfu.Egress, error)
	StopEgress(ctx context.Context, id string) (sfu.Egress, error)
}

// Files are where recordings of Egress are kept.
type Files struct {
	// Bucket is told to Egress. Delete removes a file.
	Bucket sfu.S3
	Delete func(ctx context.Context, key string) error
	// KeepFor is how long they are kept.
	KeepFor time.Duration
}

// Config of a Server. Everything up to CheckUser is required but SFU.
type Config struct {
	Store   *store.Store
	Journal *journal.Journal
	Rooms   *roomserver.Server
	Calls   *meetings.Server
	Clock   matrix.Clock
	Log     *slog.Logger
	// IsLocal says which domains are ours.
	IsLocal func(matrix.ServerName) bool
	// SFU is nil where there are no meetings.
	SFU SFU
	// CheckRoom and CheckUser have those in calls looked at whose rights may have changed.
	CheckRoom func(ctx context.Context, roomNID int64) error
	CheckUser func(ctx context.Context, user matrix.UserID) error

	// Policy is an organisation's; nil: nothing is recorded.
	Policy func(ctx context.Context, org int64) (Policy, error)
	// Recorders are the application services that an organisation may have record.
	Recorders func(org int64) []Recorder
	// Files is nil where Egress has nowhere to write to.
	Files *Files
}

// Server has meetings recorded. It is safe for concurrent use.
type Server struct {
	cfg Config
	// woken says that a recording may have something to do.
	woken chan struct{}

	mu sync.Mutex
	// rooms are those of which a recording is on, as far as this process knows; nil: not known.
	rooms map[int64]bool
	// told counts what the journal said of recordings.
	told int
}

// New returns a Server; it must be made before the journal runs.
func New(cfg Config) (*Server, error) {
	if cfg.Store == nil || cfg.Journal == nil || cfg.Rooms == nil || cfg.Calls == nil || cfg.Clock == nil || cfg.Log == nil || cfg.IsLocal == nil || cfg.CheckRoom == nil || cfg.CheckUser == nil {
		return nil, errors.New("recording: a field of Config is missing")
	}
	s := &Server{cfg: cfg, woken: make(chan struct{}, 1)}
	cfg.Journal.Observe(s.observe)
	cfg.Calls.Restrict(s.restrict)
	cfg.Calls.Attend(s.attend)
	return s, nil
}

func (s *Server) now() matrix.Timestamp { return matrix.TimestampOf(s.cfg.Clock.Now()) }

func (s *Server) wake() {
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

// observe notices which rooms are recorded.
func (s *Server) observe(entries []journal.Entry, lost bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if lost {
		s.rooms = nil
	}
	for _, e := range entries {
		if e.Event == nil || e.Event.Type != roomserver.RecordingType || e.Event.StateKey == nil {
			continue
		}
		s.wake()
		s.told++
		if s.rooms == nil {
			continue
		}
		switch gjson.GetBytes(e.Event.JSON, "content.state").String() {
		case store.RecordingStopped, store.RecordingFailed:
			delete(s.rooms, e.Event.RoomNID)
		default:
			s.rooms[e.Event.RoomNID] = true
		}
	}
}

// learn loads which rooms are recorded.
func (s *Server) learn(ctx context.Context) error {
	s.mu.Lock()
	known, told := s.rooms != nil, s.told
	s.mu.Unlock()
	if known {
		return nil
	}
	list, err := s.cfg.Store.ListRecordingsOn(ctx, maxKnown)
	if err != nil {
		return fmt.Errorf("list recordings: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// What was said meanwhile may not be in the list.
	if s.told != told || len(list) == maxKnown {
		return nil
	}
	s.rooms = make(map[int64]bool, len(list))
	for _, r := range list {
		s.rooms[r.RoomNID] = true
	}
	return nil
}

// maxKnown bounds the rooms that a process remembers; if there are more it asks the database each time.
const maxKnown = 10_000

// mayBeOn is false for a room of which no recording is on for sure.
func (s *Server) mayBeOn(room int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rooms == nil || s.rooms[room]
}

func (s *Server) note(room int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rooms != nil {
		s.rooms[room] = true
	}
}

// consent is the state of the recording of a room that is on, and what a user said to it. state is "" if none is on.
func (s *Server) consent(ctx context.Context, room int64, user matrix.UserID) (state, recorder, answer string, err error) {
	if !s.mayBeOn(room) {
		return "", "", "", nil
	}
	state, recorder, answer, err = s.cfg.Store.GetRecordingConsent(ctx, room, user)
	if errors.Is(err, store.ErrNotFound) {
		return "", "", "", nil
	}
	if err != nil {
		err = fmt.Errorf("look up a consent: %w", err)
	}
	return state, recorder, answer, err
}

// withheld says whether somebody may not send, by what they said to a recording in a state.
func withheld(state, answer string) bool {
	switch state {
	case store.RecordingAsking:
		return answer == "no"
	case store.RecordingOn, store.RecordingStopping:
		return answer != "yes"
	}
	return false
}

// Withheld reports whether somebody may not send in a room because they have not agreed to its recording.
func (s *Server) Withheld(ctx context.Context, room int64, user matrix.UserID) (bool, error) {
	state, _, answer, err := s.consent(ctx, room, user)
	return withheld(state, answer), err
}

// Asked reports whether somebody is to be asked whether they agree.
func (s *Server) Asked(ctx context.Context, room int64, user matrix.UserID) (bool, error) {
	state, _, answer, err := s.consent(ctx, room, user)
	return state != "" && state != store.RecordingStopping && answer == "", err
}

// restrict takes the right to send from whoever has not agreed.
func (s *Server) restrict(ctx context.Context, room int64, user matrix.UserID, r *sfu.Rights) error {
	silent, err := s.Withheld(ctx, room, user)
	if silent {
		r.Publish, r.Data = nil, false
	}
	return err
}

// attend lets the recorder into the call, while it records.
func (s *Server) attend(ctx context.Context, room, org int64, user matrix.UserID) (sfu.Rights, bool, error) {
	state, recorder, _, err := s.consent(ctx, room, user)
	if err != nil || state != store.RecordingOn {
		return sfu.Rights{}, false, err
	}
	r, ok := s.recorder(org, recorder)
	return sfu.Rights{Subscribe: true}, ok && r.Sender == user, nil
}

// recorder is the application service of an id.
func (s *Server) recorder(org int64, id string) (Recorder, bool) {
	if s.cfg.Recorders == nil {
		return Recorder{}, false
	}
	for _, r := range s.cfg.Recorders(org) {
		if r.ID == id || r.Name == id {
			return r, true
		}
	}
	return Recorder{}, false
}

// nameOf is what people are told that records.
func (s *Server) nameOf(org int64, recorder string) string {
	if r, ok := s.recorder(org, recorder); ok {
		return r.Name
	}
	return Egress
}

// You is what GET …/meeting tells of a recording.
type You struct {
	State     string           `json:"state"`
	ID        string           `json:"recording_id"`
	Recorder  string           `json:"recorder"`
	By        matrix.UserID    `json:"by"`
	StartedTS matrix.Timestamp `json:"started_ts,omitempty"`
	// Consent is what the asker said: yes, no, or nothing yet.
	Consent string `json:"consent"`
	// Unanswered are those in the call who have not answered, for moderators.
	Unanswered []matrix.UserID `json:"unanswered,omitempty"`
}

// Status is what is recorded of a room, for somebody in it; nil for nothing.
func (s *Server) Status(ctx context.Context, c *httpapi.Call, room roomserver.Info) (any, error) {
	r, err := s.cfg.Store.GetRecordingOn(ctx, room.NID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up a recording: %w", err)
	}
	said, err := s.cfg.Store.ListRecordingConsents(ctx, r.ID)
	if err != nil {
		return nil, fmt.Errorf("list consents: %w", err)
	}
	y := You{State: r.State, ID: r.ID, Recorder: s.nameOf(room.OrganisationID, r.Recorder), By: r.StartedBy, StartedTS: r.StartedTS, Consent: said[c.Requester.User]}
	rules, err := s.cfg.Rooms.Rules(ctx, room)
	if err != nil || c.Requester.Guest || rules.UserLevel(c.Requester.User) < meetings.Moderator {
		return y, err
	}
	present, err := s.cfg.Calls.Present(ctx, room.NID)
	if err != nil {
		return nil, fmt.Errorf("list who is in a call: %w", err)
	}
	rec, _ := s.recorder(room.OrganisationID, r.Recorder)
	for _, p := range present {
		if said[p.UserID] == "" && p.UserID != rec.Sender && s.cfg.IsLocal(p.UserID.Domain()) {
			y.Unanswered = append(y.Unanswered, p.UserID)
		}
	}
	return y, nil
}

// audit notes what was done, in the log of the room's organisation.
func (s *Server) audit(ctx context.Context, tx *store.Tx, r *store.Recording, by, ip, action string, detail map[string]any) error {
	detail["room_id"] = r.RoomID
	raw, err := json.Marshal(detail)
	if err != nil {
		return err
	}
	return tx.AppendAudit(ctx, store.AuditEntry{OrganisationID: r.OrganisationID, TS: s.now(), Actor: by, IP: ip, Action: action, Target: r.ID, Detail: raw})
}
