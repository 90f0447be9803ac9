package store

import (
	"context"
	"database/sql"

	"github.com/roomline/roomline/internal/matrix"
)

// Hold keeps everything of a user, or of a room, from being erased.
type Hold struct {
	ID             string
	OrganisationID int64
	// UserID or RoomNID, the other one is empty. RoomID is filled by reading.
	UserID  matrix.UserID
	RoomNID int64
	RoomID  matrix.RoomID
	Reason  string
	SetBy   string
	SetTS   matrix.Timestamp
}

// heldUser and heldRoom are the conditions that a user, or a room, is held.
const (
	heldUser = `EXISTS (SELECT FROM legal_holds h WHERE h.user_id = %s)`
	heldRoom = `EXISTS (SELECT FROM legal_holds h WHERE h.room_nid = %s)`
)

// InsertHold stores a hold. False: there is one already.
func (tx *Tx) InsertHold(ctx context.Context, h Hold) (bool, error) {
	n, err := tx.exec(ctx, `
		INSERT INTO legal_holds (hold_id, organisation_id, user_id, room_nid, reason, set_by, set_ts)
		VALUES ($1, $2, nullif($3, ''), nullif($4::bigint, 0), $5, $6, $7) ON CONFLICT DO NOTHING`,
		h.ID, h.OrganisationID, string(h.UserID), h.RoomNID, h.Reason, h.SetBy, int64(h.SetTS))
	return n > 0, err
}

const holdSelect = `SELECT h.hold_id, h.organisation_id, coalesce(h.user_id, ''), coalesce(h.room_nid, 0), coalesce(r.room_id, ''), h.reason, h.set_by, h.set_ts
	FROM legal_holds h LEFT JOIN rooms r USING (room_nid) `

func scanHold(rows *sql.Rows) (Hold, error) {
	var h Hold
	err := rows.Scan(&h.ID, &h.OrganisationID, &h.UserID, &h.RoomNID, &h.RoomID, &h.Reason, &h.SetBy, &h.SetTS)
	return h, err
}

// ListHolds returns the holds of an organisation, the newest first.
func (s *Store) ListHolds(ctx context.Context, org int64, limit int) ([]Hold, error) {
	rows, err := s.query(ctx, holdSelect+`WHERE h.organisation_id = $1 ORDER BY h.set_ts DESC, h.hold_id LIMIT $2`, org, limit)
	return scanAll(rows, err, scanHold)
}

// DeleteHold removes a hold of an organisation, and returns it, or ErrNotFound.
func (tx *Tx) DeleteHold(ctx context.Context, org int64, id string) (Hold, error) {
	rows, err := tx.query(ctx, holdSelect+`WHERE h.organisation_id = $1 AND h.hold_id = $2 FOR UPDATE OF h`, org, id)
	h, err := one(scanAll(rows, err, scanHold))
	if err != nil {
		return h, err
	}
	_, err = tx.exec(ctx, `DELETE FROM legal_holds WHERE hold_id = $1`, id)
	return h, err
}

// IsHeld reports whether a user is held.
func (tx *Tx) IsHeld(ctx context.Context, user matrix.UserID) (held bool, err error) {
	err = tx.queryRow(ctx, `SELECT EXISTS (SELECT FROM legal_holds WHERE user_id = $1)`, string(user)).Scan(&held)
	return held, err
}

// IsRoomHeld reports whether a room is held, be it that there is none.
func (tx *Tx) IsRoomHeld(ctx context.Context, room matrix.RoomID) (held bool, err error) {
	err = tx.queryRow(ctx, `SELECT EXISTS (SELECT FROM legal_holds h JOIN rooms r USING (room_nid) WHERE r.room_id = $1)`, string(room)).Scan(&held)
	return held, err
}

// CountHolds returns how many holds an organisation has.
func (tx *Tx) CountHolds(ctx context.Context, org int64) (n int, err error) {
	err = tx.queryRow(ctx, `SELECT count(*) FROM legal_holds WHERE organisation_id = $1`, org).Scan(&n)
	return n, err
}
