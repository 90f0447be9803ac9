package store

import (
	"context"
	"encoding/json"

	"github.com/roomline/roomline/internal/matrix"
)

// Export is an archive that was asked for: of a person or of a room.
type Export struct {
	TokenHash      []byte
	OrganisationID int64
	UserID         matrix.UserID
	RoomID         matrix.RoomID
	RequestedBy    string
	ExpiresTS      matrix.Timestamp
}

// Target is the person or the room.
func (e *Export) Target() string {
	if e.RoomID != "" {
		return string(e.RoomID)
	}
	return string(e.UserID)
}

// InsertExport stores an archive that was asked for, and forgets those that have expired.
func (tx *Tx) InsertExport(ctx context.Context, e Export, now matrix.Timestamp) error {
	if _, err := tx.exec(ctx, `DELETE FROM exports WHERE expires_ts <= $1`, int64(now)); err != nil {
		return err
	}
	_, err := tx.exec(ctx, `
		INSERT INTO exports (token_hash, organisation_id, user_id, room_id, requested_by, expires_ts)
		VALUES ($1, $2, nullif($3, ''), nullif($4, ''), $5, $6)`,
		e.TokenHash, e.OrganisationID, string(e.UserID), string(e.RoomID), e.RequestedBy, int64(e.ExpiresTS))
	return err
}

// TakeExport returns an archive that was asked for and forgets it, or ErrNotFound.
func (tx *Tx) TakeExport(ctx context.Context, hash []byte, now matrix.Timestamp) (Export, error) {
	e := Export{TokenHash: hash}
	err := tx.queryRow(ctx, `
		DELETE FROM exports WHERE token_hash = $1 AND expires_ts > $2
		RETURNING organisation_id, coalesce(user_id, ''), coalesce(room_id, ''), requested_by, expires_ts`, hash, int64(now)).
		Scan(&e.OrganisationID, &e.UserID, &e.RoomID, &e.RequestedBy, &e.ExpiresTS)
	return e, err
}

// RoomInventory is what a room's archive has: rows of which each becomes a JSON object, by the name of the file.
var RoomInventory = map[string]string{
	"events": `SELECT convert_from(e.json, 'UTF8')::json AS event, e.event_id, e.redacted_by FROM events e WHERE e.room_nid = $1 ORDER BY e.position`,
	"state": `SELECT s.type, s.state_key, s.event_id FROM room_state s WHERE s.room_nid = $1 AND s.until = 9223372036854775807
		ORDER BY s.type, s.state_key`,
	"members": `SELECT user_id, membership, sender FROM memberships WHERE room_nid = $1 ORDER BY user_id`,
	"aliases": `SELECT alias, creator, created_ts FROM room_aliases WHERE room_nid = $1 ORDER BY alias`,
	"receipts": `SELECT user_id, key, convert_from(body, 'UTF8')::json AS content FROM updates WHERE room_nid = $1 AND kind = 2 AND key NOT LIKE 'm.read.private%'
		ORDER BY position`,
	"media": `SELECT DISTINCT 'mxc://' || m.server_name || '/' || m.media_id AS uri, m.content_type, m.file_name, m.size, m.user_id, m.created_ts
		FROM media_links l JOIN media m USING (server_name, media_id) WHERE l.room_nid = $1 ORDER BY 1`,
}

// ExportRoomRows writes what a room's archive has of a query of RoomInventory, row by row.
func (s *Store) ExportRoomRows(ctx context.Context, query string, room int64, row func(json.RawMessage) error) error {
	return s.exportRows(ctx, query, room, row)
}
