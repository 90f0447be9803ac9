package keys

import (
	"context"
	"fmt"
	"time"

	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/wake"
)

// epochInterval is how often a running process looks whether the database has become another one under it, by a failover.
const epochInterval = time.Minute

// Run looks after the one-time keys until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := s.CheckEpoch(ctx); err != nil && ctx.Err() == nil && !store.IsUnavailable(err) {
			s.cfg.Log.Error("keys: check the epoch of one-time keys", "error", err)
		}
		wake.Pause(ctx, epochInterval)
	}
	return nil
}

// CheckEpoch drops all one-time keys if the database is not the one any more that they were uploaded to: a copy that was restored
// may hold keys which were given away after the copy was made. Their devices are told that they have none left, and upload others.
//
// Fallback keys stay, flagged used: who wants to talk to a device that is not there has nothing else, and the device replaces them
// when it comes.
func (s *Server) CheckEpoch(ctx context.Context) error {
	in, err := s.incarnation(ctx)
	if err != nil {
		return err
	}
	begun := false
	err = s.cfg.Journal.Write(ctx, func(tx *store.Tx) ([]store.Update, error) {
		begun = false
		same, err := tx.SameEpoch(ctx, in)
		if err != nil || same {
			return nil, err
		}
		if begun, err = tx.BeginEpoch(ctx, in); err != nil || !begun {
			return nil, err
		}
		return []store.Update{{Kind: store.KindKeyCount, Body: []byte("{}")}}, nil
	})
	if err != nil {
		return fmt.Errorf("check the epoch of one-time keys: %w", err)
	}
	if begun {
		s.cfg.Log.Warn("the database was restored or failed over: all one-time keys were dropped, and devices will upload others")
	}
	return nil
}

// incarnation is how the database is named; what the server tells of itself is asked once.
func (s *Server) incarnation(ctx context.Context) (store.Incarnation, error) {
	if in := s.named.Load(); in != nil {
		return *in, nil
	}
	in, err := s.cfg.Store.Incarnation(ctx)
	if err == nil {
		s.named.Store(&in)
	}
	return in, err
}
