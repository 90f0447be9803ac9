package store

import (
	"context"
	"database/sql"
	"errors"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/matrix"
)

// Command is a command to a bot that somebody wrote into a room.
type Command struct {
	EventID matrix.EventID
	Sender  matrix.UserID
	// CreatedTS is when it was first taken. Answer is nil until it has been carried out.
	CreatedTS matrix.Timestamp
	Answer    []byte
	// ReplyRoom and Reply are the bot's message about it, if it has said where that is.
	ReplyRoom matrix.RoomID
	Reply     matrix.EventID
}

const commandColumns = `event_id, sender, created_ts, answer, coalesce(reply_room_id, ''), coalesce(reply_event_id, '')`

func scanCommand(r row) (Command, error) {
	var c Command
	err := r.Scan(&c.EventID, &c.Sender, &c.CreatedTS, &c.Answer, &c.ReplyRoom, &c.Reply)
	return c, err
}

// ClaimCommand takes a command that nobody has carried out, nor has taken since stale. mine is false when somebody else has: then its answer is
// there, or will be.
func (s *Store) ClaimCommand(ctx context.Context, event matrix.EventID, sender matrix.UserID, now, stale matrix.Timestamp) (c Command, mine bool, err error) {
	c, err = scanCommand(s.queryRow(ctx, `
		INSERT INTO commands (event_id, sender, created_ts, claimed_ts) VALUES ($1, $2, $3, $3)
		ON CONFLICT (event_id) DO UPDATE SET claimed_ts = $3 WHERE commands.answer IS NULL AND commands.claimed_ts < $4
		RETURNING `+commandColumns, string(event), string(sender), int64(now), int64(stale)))
	if err == nil {
		return c, true, nil
	}
	if !errors.Is(err, ErrNotFound) {
		return c, false, err
	}
	c, err = scanCommand(s.queryRow(ctx, `SELECT `+commandColumns+` FROM commands WHERE event_id = $1`, string(event)))
	return c, false, err
}

// PutCommandAnswer notes what a command has come to, and the invitations that this names.
func (s *Store) PutCommandAnswer(ctx context.Context, event matrix.EventID, answer []byte, invitations []string) error {
	_, err := s.exec(ctx, `UPDATE commands SET answer = $2, invitations = $3 WHERE event_id = $1`, string(event), answer, pq.Array(invitations))
	return err
}

// PutCommandReply notes the bot's message about a command.
func (s *Store) PutCommandReply(ctx context.Context, event matrix.EventID, room matrix.RoomID, reply matrix.EventID) error {
	_, err := s.exec(ctx, `UPDATE commands SET reply_room_id = $2, reply_event_id = $3 WHERE event_id = $1`, string(event), string(room), string(reply))
	return err
}

// GetCommandOf returns the last command whose answer names an invitation and was given, or ErrNotFound.
func (s *Store) GetCommandOf(ctx context.Context, invitation string) (Command, error) {
	return scanCommand(s.queryRow(ctx, `
		SELECT `+commandColumns+` FROM commands WHERE invitations @> ARRAY[$1]::text[] AND reply_event_id IS NOT NULL
		ORDER BY created_ts DESC LIMIT 1`, invitation))
}

// DeleteCommandsBefore removes commands that were taken before ts, at most limit.
func (s *Store) DeleteCommandsBefore(ctx context.Context, ts matrix.Timestamp, limit int) (int64, error) {
	return s.exec(ctx, `
		DELETE FROM commands WHERE event_id = ANY (ARRAY (SELECT event_id FROM commands WHERE created_ts < $1 LIMIT $2))`, int64(ts), limit)
}

// ReleaseCommand lets a command be taken at once that could not be carried out.
func (s *Store) ReleaseCommand(ctx context.Context, event matrix.EventID) error {
	_, err := s.exec(ctx, `UPDATE commands SET claimed_ts = 0 WHERE event_id = $1 AND answer IS NULL`, string(event))
	return err
}

// ListChats returns rooms that a user is joined to, another one is joined or invited to, and nobody else, the newest first, at most limit.
func (s *Store) ListChats(ctx context.Context, joined, other matrix.UserID, limit int) ([]int64, error) {
	rows, err := s.query(ctx, `
		SELECT x.room_nid FROM memberships x JOIN memberships y ON y.room_nid = x.room_nid
		WHERE x.user_id = $1 AND x.membership = 'join' AND y.user_id = $2 AND y.membership IN ('join', 'invite')
			AND NOT EXISTS (
				SELECT FROM memberships z WHERE z.room_nid = x.room_nid AND z.membership IN ('join', 'invite') AND z.user_id NOT IN ($1, $2))
		ORDER BY y.membership DESC, x.room_nid DESC LIMIT $3`, string(joined), string(other), limit)
	return scanAll(rows, err, func(rows *sql.Rows) (nid int64, err error) { return nid, rows.Scan(&nid) })
}
