package recording

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/roomline/roomline/clientapi/meetings"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/sfu"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

// errNoRecorder is the code of an error that says that nothing records here.
const errNoRecorder matrix.ErrCode = "ORG.ROOMLINE.NO_RECORDER"

func noRecorder() *matrix.Error {
	return matrix.NewError(http.StatusNotImplemented, errNoRecorder, "no recorder is deployed")
}

type startRequest struct {
	// Recorder is "egress" or what the organisation calls an application service; empty for the only one that there is.
	Recorder string `json:"recorder"`
}

type startResponse struct {
	ID    string `json:"recording_id"`
	State string `json:"state"`
}

// start asks those who are in the call whether they agree, and has it recorded when they have.
func (s *Server) start(ctx context.Context, c *httpapi.Call, req *startRequest) (any, error) {
	room, a, p, err := s.govern(ctx, c)
	if err != nil {
		return nil, err
	}
	recorder, err := s.choose(ctx, room, p, req.Recorder)
	if err != nil {
		return nil, err
	}
	r := store.Recording{
		ID: rand.Text(), OrganisationID: room.OrganisationID, RoomNID: room.NID, RoomID: room.ID, Alias: s.cfg.Calls.AliasOf(room.ID, meetings.CallDefaultSlot),
		StartedBy: a.user, Recorder: recorder, State: store.RecordingAsking, CreatedTS: s.now(),
	}
	err = s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		ok, err := tx.InsertRecording(ctx, r)
		if err != nil {
			return err
		}
		if !ok {
			return errOn
		}
		if err := tx.PutRecordingConsent(ctx, r.ID, a.user, "yes", "start", r.CreatedTS); err != nil {
			return err
		}
		return s.audit(ctx, tx, &r, a.name, a.ip, "recording.start", map[string]any{"recorder": recorder, "to": s.destination(recorder)})
	})
	if errors.Is(err, errOn) {
		return s.startedAlready(ctx, room, recorder)
	}
	if err != nil {
		return nil, fmt.Errorf("start a recording: %w", err)
	}
	s.note(room.NID)
	if err := s.announce(ctx, &r); err != nil {
		// The room doesn't let it be said: then it is not done.
		_ = s.finish(context.WithoutCancel(ctx), &r, store.RecordingFailed, "the room could not be told", a)
		return nil, err
	}
	if err := s.advance(ctx, &r); err != nil {
		return nil, err
	}
	return startResponse{r.ID, r.State}, nil
}

var errOn = errors.New("recording: one is on")

// startedAlready answers who asks for what is on.
func (s *Server) startedAlready(ctx context.Context, room roomserver.Info, recorder string) (any, error) {
	on, err := s.cfg.Store.GetRecordingOn(ctx, room.NID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("look up a recording: %w", err)
	}
	if err != nil || on.Recorder != recorder || on.State == store.RecordingStopping {
		return nil, matrix.BadState("the meeting is being recorded already")
	}
	if err := s.advance(ctx, &on); err != nil {
		return nil, err
	}
	return startResponse{on.ID, on.State}, nil
}

// choose finds the recorder that is meant, among those that the organisation lets record.
func (s *Server) choose(ctx context.Context, room roomserver.Info, p Policy, wanted string) (string, error) {
	if !p.Egress && !p.Appservices {
		return "", matrix.Forbidden("the organisation has no meetings recorded").With("org.roomline.reason", "recording_off")
	}
	var services []Recorder
	if p.Appservices && s.cfg.Recorders != nil {
		services = s.cfg.Recorders(room.OrganisationID)
	}
	if wanted != "" && wanted != Egress {
		for _, r := range services {
			if r.Name == wanted || r.ID == wanted {
				return r.ID, nil
			}
		}
		return "", matrix.NotFound("there is no such recorder")
	}
	if wanted == "" && !p.Egress {
		if len(services) == 1 {
			return services[0].ID, nil
		}
		if len(services) > 1 {
			return "", matrix.MissingParam("recorder is missing: there are several")
		}
		return "", noRecorder()
	}
	if !p.Egress {
		return "", matrix.Forbidden("the organisation has no meetings recorded by LiveKit").With("org.roomline.reason", "recording_off")
	}
	if s.cfg.Files == nil {
		return "", noRecorder()
	}
	if err := s.cfg.SFU.CanRecord(ctx); err != nil {
		s.cfg.Log.Info("there is no Egress", "error", err)
		return "", noRecorder()
	}
	return Egress, nil
}

// destination is where a recording goes, for the audit log.
func (s *Server) destination(recorder string) string {
	if recorder == Egress && s.cfg.Files != nil {
		return "s3://" + s.cfg.Files.Bucket.Bucket
	}
	return "appservice:" + recorder
}

// advance begins to record when everybody who is in the call has answered.
func (s *Server) advance(ctx context.Context, r *store.Recording) error {
	if r.State != store.RecordingAsking {
		return nil
	}
	unanswered, err := s.unanswered(ctx, r)
	if err != nil || len(unanswered) > 0 {
		return err
	}
	now := s.now()
	moved := false
	err = s.cfg.Store.Write(ctx, func(tx *store.Tx) (err error) {
		moved, err = tx.MoveRecording(ctx, r.ID, store.RecordingAsking, store.RecordingOn, now)
		return err
	})
	if err != nil || !moved {
		return err
	}
	r.State, r.StartedTS = store.RecordingOn, now
	return s.begin(context.WithoutCancel(ctx), r)
}

// begin has the recorder begin, after those have been silenced at the SFU who came in this moment and have not agreed.
func (s *Server) begin(ctx context.Context, r *store.Recording) error {
	err := s.silence(ctx, r)
	if err == nil {
		err = s.cfg.CheckRoom(ctx, r.RoomNID)
	}
	if err == nil && r.Recorder == Egress {
		var e sfu.Egress
		if e, err = s.cfg.SFU.StartRoomEgress(ctx, sfu.EgressRequest{Alias: r.Alias, File: objectKey(r), S3: &s.cfg.Files.Bucket}); err == nil {
			err = s.cfg.Store.PutRecordingEgress(ctx, r.ID, e.ID)
		}
	}
	if err == nil {
		err = s.announce(ctx, r)
	}
	if err == nil {
		return nil
	}
	s.cfg.Log.Warn("a recording could not begin", "room", r.RoomID, "recorder", r.Recorder, "error", err)
	if err := s.finish(ctx, r, store.RecordingFailed, "it could not begin", actor{name: "server"}); err != nil {
		return err
	}
	if errors.Is(err, sfu.ErrUnavailable) {
		return meetings.Unavailable()
	}
	return err
}

// objectKey is where the file of a recording is. It tells nothing of the room.
func objectKey(r *store.Recording) string {
	return fmt.Sprintf("recordings/%d/%s.mp4", r.OrganisationID, strings.ToLower(r.ID))
}
