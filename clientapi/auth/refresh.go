package auth

import (
	"context"
	"errors"
	"fmt"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// Refresh exchanges a refresh token for new tokens.
//
// The replaced tokens stay good until one of the new ones is used, and until then the same exchange can be repeated, with the
// same result, on any process. After that the replaced refresh token is a copy in somebody's hands: whose, we can't
// know, so the session ends for both, and its owner signs in again.
//
// Spec: client-server v1.19 §refreshing-access-tokens
func (s *Sessions) Refresh(ctx context.Context, token string) (Tokens, error) {
	secret, ok := parseToken(refreshPrefix, refreshBytes, token)
	if !ok {
		return Tokens{}, matrix.UnknownToken(false)
	}
	r := refresh{sessions: s, presented: secrets{family: secret[:familyBytes], generation: secret[familyBytes:]}}
	err := s.cfg.Journal.Write(ctx, func(tx *store.Tx) ([]store.Update, error) { return r.run(ctx, tx) })
	switch {
	case errors.Is(err, store.ErrNotFound):
		return Tokens{}, matrix.UnknownToken(false)
	case err != nil:
		return Tokens{}, fmt.Errorf("refresh: %w", err)
	case r.reused:
		return Tokens{}, matrix.UnknownToken(true)
	}
	return r.tokens, nil
}

// refresh is one exchange. run may be called more than once.
type refresh struct {
	sessions  *Sessions
	presented secrets

	tokens Tokens
	reused bool
}

func (r *refresh) run(ctx context.Context, tx *store.Tx) ([]store.Update, error) {
	family := digestOf(r.presented.family)
	session, err := tx.LockSessionByFamily(ctx, family[:])
	if err != nil {
		return nil, err
	}
	user, err := tx.GetUser(ctx, session.UserID)
	switch {
	case err != nil:
		return nil, err
	case user.Deactivated():
		return nil, matrix.UnknownToken(false)
	case user.Locked:
		return nil, userLocked()
	case session.RevokedTS != 0:
		return nil, matrix.UnknownToken(true)
	}
	generation := digestOf(r.presented.generation)
	switch string(generation[:]) {
	case string(session.RefreshHash):
		return r.rotate(ctx, tx, session)
	case string(session.PreviousRefresh):
		return nil, r.repeat(ctx, tx, session)
	}
	r.reused = true
	if err := tx.PutSessionRevoked(ctx, session.SessionID, matrix.TimestampOf(r.sessions.cfg.Clock.Now())); err != nil {
		return nil, err
	}
	r.sessions.cfg.Log.Warn("a replaced refresh token was used again; the session has been ended",
		"user", string(session.UserID), "device", string(session.DeviceID))
	entry := r.sessions.entry(user, addressOf(ctx), "session.revoke", map[string]any{"device_id": session.DeviceID})
	entry.Actor = "server"
	return sessionChanged(session.UserID), tx.AppendAudit(ctx, entry)
}

// rotate replaces the session's present tokens.
func (r *refresh) rotate(ctx context.Context, tx *store.Tx, session store.Session) ([]store.Update, error) {
	salt, err := randomBytes(r.sessions.cfg.Rand, rotationSaltBytes)
	if err != nil {
		return nil, err
	}
	// The tokens before the present ones end here, if the present access token was never used.
	ended := session.PreviousAccess != nil
	session.PreviousAccess, session.PreviousExpiresTS = session.AccessHash, session.AccessExpiresTS
	session.PreviousRefresh, session.RotationSalt = session.RefreshHash, salt
	if err := r.put(ctx, tx, session); err != nil || !ended {
		return nil, err
	}
	return sessionChanged(session.UserID), nil
}

// repeat answers an exchange again whose result has not been used.
func (r *refresh) repeat(ctx context.Context, tx *store.Tx, session store.Session) error {
	return r.put(ctx, tx, session)
}

// put derives the tokens that follow the presented one and makes them the session's present ones.
func (r *refresh) put(ctx context.Context, tx *store.Tx, session store.Session) error {
	next, err := r.presented.next(session.RotationSalt)
	if err != nil {
		return err
	}
	cfg := &r.sessions.cfg
	access, generation := digestOf(next.access), digestOf(next.generation)
	session.AccessHash, session.RefreshHash = access[:], generation[:]
	session.AccessExpiresTS = matrix.TimestampOf(cfg.Clock.Now().Add(cfg.AccessTokenLifetime))
	r.tokens = Tokens{Device: session.DeviceID, Access: next.accessToken(), Refresh: next.refreshToken(), ExpiresIn: cfg.AccessTokenLifetime}
	return tx.PutSessionTokens(ctx, session)
}
