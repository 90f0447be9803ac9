package store

import (
	"context"
	"database/sql"

	"github.com/roomline/roomline/internal/matrix"
)

// PhonePIN is what lets a phone into a room: of an invitation, or of a user.
type PhonePIN struct {
	Hash           []byte
	OrganisationID int64
	RoomNID        int64
	// Sealed are the digits, to show them to whom they belong.
	Sealed []byte
	// InvitationID or UserID, the other one is empty.
	InvitationID string
	UserID       matrix.UserID
	CreatedTS    matrix.Timestamp
	ExpiresTS    matrix.Timestamp
}

const pinColumns = `pin_hash, organisation_id, room_nid, sealed, coalesce(invitation_id, ''), coalesce(user_id, ''), created_ts, expires_ts`

func scanPIN(scan func(...any) error) (PhonePIN, error) {
	var p PhonePIN
	err := scan(&p.Hash, &p.OrganisationID, &p.RoomNID, &p.Sealed, &p.InvitationID, &p.UserID, &p.CreatedTS, &p.ExpiresTS)
	return p, err
}

// EnsurePhonePIN stores a PIN for whoever it belongs to, unless there is one that has not expired: that is given a later end if this one's is later, and
// returned. It reports false when the digits are another one's.
func (tx *Tx) EnsurePhonePIN(ctx context.Context, p PhonePIN) (PhonePIN, bool, error) {
	owner, conflict := any(p.InvitationID), `(room_nid, invitation_id) WHERE invitation_id IS NOT NULL`
	if p.InvitationID == "" {
		owner, conflict = string(p.UserID), `(room_nid, user_id) WHERE user_id IS NOT NULL`
	}
	if _, err := tx.exec(ctx, `
		DELETE FROM phone_pins WHERE room_nid = $1 AND (invitation_id = $2 OR user_id = $2) AND expires_ts <= $3`, p.RoomNID, owner, int64(p.CreatedTS)); err != nil {
		return PhonePIN{}, false, err
	}
	stored, err := scanPIN(tx.queryRow(ctx, `
		INSERT INTO phone_pins AS p (pin_hash, organisation_id, room_nid, sealed, invitation_id, user_id, created_ts, expires_ts)
		SELECT $1::bytea, $2::bigint, $3::bigint, $4::bytea, nullif($5::text, ''), nullif($6::text, ''), $7::bigint, $8::bigint
		WHERE NOT EXISTS (SELECT FROM phone_pins WHERE pin_hash = $1)
		ON CONFLICT `+conflict+` DO UPDATE SET expires_ts = greatest(p.expires_ts, excluded.expires_ts)
		RETURNING `+pinColumns,
		p.Hash, p.OrganisationID, p.RoomNID, p.Sealed, p.InvitationID, string(p.UserID), int64(p.CreatedTS), int64(p.ExpiresTS)).Scan)
	if err == ErrNotFound || IsUniqueViolation(err) {
		return PhonePIN{}, false, nil
	}
	return stored, err == nil, err
}

// GetPhonePIN returns the PIN with a hash, or ErrNotFound.
func (s *Store) GetPhonePIN(ctx context.Context, hash []byte) (PhonePIN, error) {
	return scanPIN(s.queryRow(ctx, `SELECT `+pinColumns+` FROM phone_pins WHERE pin_hash = $1`, hash).Scan)
}

// ListPhonePINsOpen are PINs that open something now, at most limit: the newest.
func (s *Store) ListPhonePINsOpen(ctx context.Context, now matrix.Timestamp, limit int) ([]PhonePIN, error) {
	rows, err := s.query(ctx, `
		SELECT `+pinColumns+` FROM (
			SELECT p.* FROM phone_pins p LEFT JOIN invitations i USING (invitation_id)
			WHERE p.expires_ts > $1 AND (p.invitation_id IS NULL OR i.ended_ts IS NULL AND i.expires_ts > $1 AND i.opens_ts <= $1)
			ORDER BY p.created_ts DESC LIMIT $2) p`, int64(now), limit)
	return scanAll(rows, err, func(rows *sql.Rows) (PhonePIN, error) { return scanPIN(rows.Scan) })
}

// DeletePhonePINs removes the PINs that expired before, at most limit.
func (s *Store) DeletePhonePINs(ctx context.Context, before matrix.Timestamp, limit int) (int64, error) {
	return s.exec(ctx, `
		DELETE FROM phone_pins WHERE pin_hash IN (SELECT pin_hash FROM phone_pins WHERE expires_ts < $1 LIMIT $2)`, int64(before), limit)
}

// PhoneInvitee is an invitee of a meeting in a room, as far as a phone needs to know.
type PhoneInvitee struct {
	Medium, Address, Name, Language, InvitationID string
	UserID                                        matrix.UserID
}

// GetPhoneInvitee returns an invitee of a meeting that is in a room and not cancelled, or ErrNotFound.
func (s *Store) GetPhoneInvitee(ctx context.Context, room int64, invitee string) (PhoneInvitee, error) {
	var i PhoneInvitee
	err := s.queryRow(ctx, `
		SELECT i.medium, i.address, i.name, i.language, coalesce(i.invitation_id, ''), coalesce(i.user_id, '')
		FROM meeting_invitees i JOIN meetings m USING (meeting_id)
		WHERE m.room_nid = $1 AND i.invitee_id = $2 AND i.removed_ts IS NULL AND m.cancelled_ts IS NULL`, room, invitee).Scan(
		&i.Medium, &i.Address, &i.Name, &i.Language, &i.InvitationID, &i.UserID)
	return i, err
}

// GetPhoneInviteeName returns what the organiser calls the person of an invitation, or nothing.
func (s *Store) GetPhoneInviteeName(ctx context.Context, invitation string) (string, error) {
	var name string
	err := s.queryRow(ctx, `SELECT coalesce((SELECT name FROM meeting_invitees WHERE invitation_id = $1 AND name <> '' LIMIT 1), '')`, invitation).Scan(&name)
	return name, err
}

// LockPhoneOwner keeps others from using the same PIN, or calling the same number in a room, until the transaction ends.
func (tx *Tx) LockPhoneOwner(ctx context.Context, room int64, owner string) error {
	_, err := tx.exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('phone ' || $1::text || ' ' || $2, 0))`, room, owner)
	return err
}
