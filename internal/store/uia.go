package store

import (
	"context"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/matrix"
)

// InteractiveSession is user-interactive authentication that has begun.
type InteractiveSession struct {
	SessionID string
	// Operation is what is being authenticated; UserID is who is, empty before there is a user.
	Operation string
	UserID    matrix.UserID
	// Completed are the stages done, in order.
	Completed []string
	// RegistrationToken was given in stage m.login.registration_token.
	RegistrationToken string
	// Validation is the sid of the validation whose address was proved in a stage.
	Validation string
	ExpiresTS  matrix.Timestamp
}

// GetInteractiveSession returns a session that has not expired, or ErrNotFound.
func (s *Store) GetInteractiveSession(ctx context.Context, id string, now matrix.Timestamp) (InteractiveSession, error) {
	session := InteractiveSession{SessionID: id}
	err := s.queryRow(ctx, `
		SELECT operation, user_id, completed, coalesce(registration_token, ''), coalesce(validation, ''), expires_ts FROM uia_sessions
		WHERE session_id = $1 AND expires_ts > $2`, id, int64(now)).
		Scan(&session.Operation, &session.UserID, pq.Array(&session.Completed), &session.RegistrationToken, &session.Validation, &session.ExpiresTS)
	return session, err
}

// InsertInteractiveSession begins a session and forgets those that expired.
func (s *Store) InsertInteractiveSession(ctx context.Context, session InteractiveSession, now matrix.Timestamp) error {
	_, err := s.exec(ctx, `
		WITH expired AS (DELETE FROM uia_sessions WHERE expires_ts <= $5)
		INSERT INTO uia_sessions (session_id, operation, user_id, expires_ts) VALUES ($1, $2, $3, $4)
		ON CONFLICT DO NOTHING`,
		session.SessionID, session.Operation, string(session.UserID), int64(session.ExpiresTS), int64(now))
	return err
}

// PutInteractiveStage adds a completed stage, and the registration token or the validation if the stage was about one.
func (s *Store) PutInteractiveStage(ctx context.Context, id, stage, registrationToken, validation string) error {
	_, err := s.exec(ctx, `
		UPDATE uia_sessions SET completed = array_append(completed, $2::text),
			registration_token = coalesce(nullif($3, ''), registration_token), validation = coalesce(nullif($4, ''), validation)
		WHERE session_id = $1 AND NOT $2::text = ANY (completed)`, id, stage, registrationToken, validation)
	return err
}

// DeleteInteractiveSession ends a session whose operation is about to be done. It reports false when another request has
// ended it.
func (s *Store) DeleteInteractiveSession(ctx context.Context, id string) (bool, error) {
	n, err := s.execOnce(ctx, `DELETE FROM uia_sessions WHERE session_id = $1`, id)
	return n == 1, err
}
