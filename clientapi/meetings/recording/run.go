package recording

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/sfu"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/wake"
)

const leaseName = "recordings"

// Run looks after recordings, until ctx ends: on one process, under a lease.
func (s *Server) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := s.learn(ctx); err != nil && ctx.Err() == nil && !store.IsUnavailable(err) {
			s.cfg.Log.Warn("look which rooms are recorded", "err", err)
		}
		lease, ok, err := s.cfg.Store.TryLease(ctx, leaseName)
		if err == nil && ok {
			err = s.work(ctx, lease)
			lease.Release()
		}
		if err != nil && ctx.Err() == nil && !store.IsUnavailable(err) {
			s.cfg.Log.Warn("look after recordings", "err", err)
		}
		wake.PauseUntil(ctx, s.woken, limits.RecordingSweep)
	}
	return nil
}

func (s *Server) work(ctx context.Context, lease *store.Lease) error {
	since := make(map[string]time.Time)
	var forgot time.Time
	for ctx.Err() == nil {
		if err := s.learn(ctx); err != nil {
			return err
		}
		if err := s.lookAfter(ctx, since); err != nil {
			return err
		}
		if now := s.cfg.Clock.Now(); now.Sub(forgot) >= limits.RecordingForgotten {
			if err := s.forget(ctx); err != nil {
				return err
			}
			forgot = now
		}
		if err := s.deleteDue(ctx); err != nil {
			return err
		}
		wake.PauseUntil(ctx, s.woken, limits.RecordingSweep)
		if err := lease.Check(ctx); err != nil {
			return err
		}
	}
	return nil
}

// lookAfter does for recordings that are on, and for those that have just ended, what nobody has done who should have.
func (s *Server) lookAfter(ctx context.Context, since map[string]time.Time) error {
	ending := s.now().Add(-limits.RecordingIdle)
	some, err := s.cfg.Store.HasRecordings(ctx, ending)
	if err != nil {
		return fmt.Errorf("look for recordings: %w", err)
	}
	if !some {
		clear(since)
		return nil
	}
	list, err := s.cfg.Store.ListRecordingsOn(ctx, limits.RecordingBatch)
	if err != nil {
		return fmt.Errorf("list recordings: %w", err)
	}
	for i := range list {
		if err := s.look(ctx, &list[i], since); err != nil && ctx.Err() == nil && !store.IsUnavailable(err) {
			s.cfg.Log.Warn("look after a recording", "room", list[i].RoomID, "err", err)
		}
	}
	if len(list) == 0 {
		clear(since)
	}
	ended, err := s.cfg.Store.ListRecordingsEnded(ctx, ending, limits.RecordingBatch)
	if err != nil {
		return fmt.Errorf("list recordings that have ended: %w", err)
	}
	for i := range ended {
		told, err := s.announced(ctx, &ended[i])
		if err == nil && !told {
			err = s.over(ctx, &ended[i])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// look begins what waits for nobody any more, ends what records nobody any more, and brings to an end what is being stopped. since is when
// something was first seen to be so.
func (s *Server) look(ctx context.Context, r *store.Recording, since map[string]time.Time) error {
	now := s.cfg.Clock.Now()
	// lasts reports whether something has been so for a while.
	lasts := func(what string, is bool) bool {
		key := r.ID + what
		first, seen := since[key]
		switch {
		case !is:
			delete(since, key)
		case !seen:
			since[key] = now
		}
		return is && seen && now.Sub(first) >= limits.RecordingIdle
	}
	if r.State == store.RecordingStopping {
		if r.Recorder == Egress && lasts("stopping", true) {
			return s.finish(ctx, r, store.RecordingStopped, "LiveKit has not said what became of the file", actor{name: "server"})
		}
		return s.Stop(ctx, r, "server", "")
	}
	if r.Recorder == Egress && lasts("begins", r.State == store.RecordingOn && r.EgressID == "") {
		return s.finish(ctx, r, store.RecordingFailed, "it could not begin", actor{name: "server"})
	}
	if told, err := s.announced(ctx, r); err != nil || !told {
		if err == nil {
			err = s.announce(ctx, r)
		}
		return err
	}
	there, err := s.inCall(ctx, r)
	if err != nil {
		return err // while the SFU is away what is on stays on
	}
	rec, _ := s.recorder(r.OrganisationID, r.Recorder)
	nobody := !slices.ContainsFunc(there, func(p store.RTCParticipant) bool { return p.UserID != rec.Sender })
	if lasts("empty", nobody) {
		return s.Stop(ctx, r, "server", "")
	}
	if nobody {
		return nil
	}
	return s.advance(ctx, r)
}

// Written is told by LiveKit what has become of a recording of Egress.
func (s *Server) Written(ctx context.Context, e sfu.Egress) error {
	switch e.Status {
	case "EGRESS_COMPLETE", "EGRESS_FAILED", "EGRESS_ABORTED", "EGRESS_LIMIT_REACHED":
	default:
		return nil
	}
	r, err := s.cfg.Store.GetRecordingOfEgress(ctx, e.ID)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up a recording: %w", err)
	}
	if r.EndedTS != 0 {
		return nil
	}
	state := store.RecordingStopped
	if e.Bytes == 0 && e.Status != "EGRESS_COMPLETE" {
		state = store.RecordingFailed
	}
	keep := time.Duration(0)
	if s.cfg.Policy != nil {
		p, err := s.cfg.Policy(ctx, r.OrganisationID)
		if err != nil {
			return err
		}
		keep = p.Keep
	}
	moved := false
	err = s.cfg.Store.Write(ctx, func(tx *store.Tx) (err error) {
		if moved, err = tx.MoveRecording(ctx, r.ID, r.State, state, s.now()); err != nil || !moved {
			return err
		}
		object, expires := "", matrix.Timestamp(0)
		if e.Bytes > 0 && s.cfg.Files != nil {
			object, expires = objectKey(&r), s.now().Add(s.cfg.Files.KeepFor)
			if keep > 0 && keep < s.cfg.Files.KeepFor {
				expires = s.now().Add(keep)
			}
		}
		if err := tx.PutRecordingFile(ctx, r.ID, object, e.Bytes, e.Problem, expires); err != nil {
			return err
		}
		return s.audit(ctx, tx, &r, "server", "", "recording.written", map[string]any{"recorder": Egress, "to": s.destination(Egress), "object": object, "bytes": e.Bytes})
	})
	if err != nil || !moved {
		return err
	}
	r.State = state
	return s.over(ctx, &r)
}

// forget removes what is known of recordings for longer than their organisation keeps it. One that has a file waits until that is deleted.
func (s *Server) forget(ctx context.Context) error {
	if s.cfg.Policy == nil {
		return nil
	}
	const least = 24 * time.Hour
	now := s.now()
	list, err := s.cfg.Store.ListRecordingOrganisations(ctx, now.Add(-least))
	if err != nil {
		return fmt.Errorf("list who has recordings: %w", err)
	}
	for _, org := range list {
		p, err := s.cfg.Policy(ctx, org)
		if err != nil {
			return err
		}
		if p.Keep < least {
			continue
		}
		for n := int64(limits.RecordingBatch); n == limits.RecordingBatch; {
			if n, err = s.cfg.Store.DeleteRecordingsBefore(ctx, org, now.Add(-p.Keep), now, limits.RecordingBatch); err != nil {
				return fmt.Errorf("forget recordings: %w", err)
			}
		}
	}
	return nil
}

// deleteDue deletes files whose time is over.
func (s *Server) deleteDue(ctx context.Context) error {
	if s.cfg.Files == nil {
		return nil
	}
	due, err := s.cfg.Store.ListRecordingsDue(ctx, s.now(), limits.RecordingBatch)
	if err != nil {
		return fmt.Errorf("list recordings whose time is over: %w", err)
	}
	for i := range due {
		r := &due[i]
		if err := s.cfg.Files.Delete(ctx, r.ObjectKey); err != nil {
			s.cfg.Log.Warn("delete a recording", "recording", r.ID, "err", err)
			continue
		}
		err := s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
			if err := tx.PutRecordingFile(ctx, r.ID, "", 0, r.Problem, 0); err != nil {
				return err
			}
			return s.audit(ctx, tx, r, "server", "", "recording.delete", map[string]any{"object": r.ObjectKey})
		})
		if err != nil {
			return fmt.Errorf("note that a recording was deleted: %w", err)
		}
	}
	return nil
}
