package recording

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

// stop ends a recording, or takes back that it was asked for. Who asked for it may, and whoever may have meetings recorded.
func (s *Server) stop(ctx context.Context, c *httpapi.Call, _ *struct{}) (any, error) {
	room, a, err := s.enter(ctx, c)
	if err != nil {
		return nil, err
	}
	r, err := s.cfg.Store.GetRecordingOn(ctx, room.NID)
	none := errors.Is(err, store.ErrNotFound)
	if err != nil && !none {
		return nil, fmt.Errorf("look up a recording: %w", err)
	}
	if none || r.StartedBy != a.user {
		if _, _, _, err := s.govern(ctx, c); err != nil {
			return nil, err
		}
	}
	if none {
		return nil, nil
	}
	return nil, s.Stop(ctx, &r, a.name, a.ip)
}

// StopRoom ends the recording of a room, if there is one.
func (s *Server) StopRoom(ctx context.Context, room roomserver.Info, by string) error {
	r, err := s.cfg.Store.GetRecordingOn(ctx, room.NID)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up a recording: %w", err)
	}
	return s.Stop(ctx, &r, by, "")
}

// Stop ends a recording: the recorder first, then what people may not do for its sake. What the recorder can't be told now it is told later.
func (s *Server) Stop(ctx context.Context, r *store.Recording, by, ip string) error {
	ctx = context.WithoutCancel(ctx)
	switch r.State {
	case store.RecordingAsking:
		return s.finish(ctx, r, store.RecordingStopped, "", actor{name: by, ip: ip})
	case store.RecordingOn:
		moved := false
		err := s.cfg.Store.Write(ctx, func(tx *store.Tx) (err error) {
			if moved, err = tx.MoveRecording(ctx, r.ID, r.State, store.RecordingStopping, s.now()); err != nil || !moved {
				return err
			}
			return s.audit(ctx, tx, r, by, ip, "recording.stop", map[string]any{"recorder": r.Recorder})
		})
		if err != nil || !moved {
			return err
		}
		r.State = store.RecordingStopping
	}
	if err := s.putOut(ctx, r); err != nil {
		s.cfg.Log.Warn("a recorder could not be stopped, and will be", "room", r.RoomID, "recorder", r.Recorder, "error", err)
		return nil
	}
	if r.Recorder == Egress {
		return nil // it says itself when the file is written
	}
	return s.finish(ctx, r, store.RecordingStopped, "", actor{name: "server"})
}

// putOut stops a recorder.
func (s *Server) putOut(ctx context.Context, r *store.Recording) error {
	if r.Recorder == Egress {
		_, err := s.cfg.SFU.StopEgress(ctx, r.EgressID)
		return err
	}
	rec, _ := s.recorder(r.OrganisationID, r.Recorder)
	places, err := s.cfg.Store.ListRTCPlaces(ctx, r.RoomNID)
	if err != nil {
		return fmt.Errorf("look where a recorder is: %w", err)
	}
	for _, p := range places {
		if p.MemberID != r.ID && p.UserID != rec.Sender {
			continue
		}
		if err := s.cfg.SFU.Remove(ctx, p.Alias, p.Identity); err != nil {
			return err
		}
	}
	return nil
}

// finish notes that a recording is over, and tells the room and those who may send again.
func (s *Server) finish(ctx context.Context, r *store.Recording, state, problem string, by actor) error {
	moved := false
	err := s.cfg.Store.Write(ctx, func(tx *store.Tx) (err error) {
		if moved, err = tx.MoveRecording(ctx, r.ID, r.State, state, s.now()); err != nil || !moved {
			return err
		}
		if problem != "" {
			if err := tx.PutRecordingFile(ctx, r.ID, r.ObjectKey, r.Bytes, problem, r.ExpiresTS); err != nil {
				return err
			}
		}
		if r.State == store.RecordingStopping {
			return nil // which was noted when somebody said so
		}
		action := map[string]string{store.RecordingStopped: "recording.stop", store.RecordingFailed: "recording.fail"}[state]
		return s.audit(ctx, tx, r, by.name, by.ip, action, map[string]any{"recorder": r.Recorder})
	})
	if err != nil || !moved {
		return err
	}
	r.State = state
	return s.over(ctx, r)
}

// over is what follows when a recording is over. It may be done again.
func (s *Server) over(ctx context.Context, r *store.Recording) error {
	if r.RoomNID == 0 {
		return nil
	}
	if err := s.cfg.CheckRoom(ctx, r.RoomNID); err != nil {
		return err
	}
	err := s.announce(ctx, r)
	if e, refused := matrix.AsError(err); refused && e.Status < http.StatusInternalServerError {
		return nil // nobody is there any more who could say it
	}
	return err
}
