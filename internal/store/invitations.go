package store

import (
	"context"
	"database/sql"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/matrix"
)

// Invitation is somebody outside asked into a room: by an address, or by a link that the inviter passes on.
type Invitation struct {
	// ID is the state key of m.room.third_party_invite, too.
	ID             string
	OrganisationID int64
	RoomNID        int64
	RoomID         matrix.RoomID
	Inviter        matrix.UserID
	// Medium and Address are empty for a link; the address is in canonical form.
	Medium, Address string
	SecretHash      []byte
	Language        string
	// Role is participant or observer.
	Role                 string
	Proof                bool
	UsesAllowed, Uses    int
	CreatedTS, ExpiresTS matrix.Timestamp
	GuestLifetime        int64 // ms
	Meeting              []byte
	OpensTS              matrix.Timestamp
	OpenedTS, RedeemedTS matrix.Timestamp
	EndedTS              matrix.Timestamp
	Ended                string
	Delivery             string
	DeliveryTS           matrix.Timestamp
	Sequence             int
}

// How invitations end, besides being used.
const (
	InvitationRevoked = "revoked"
	InvitationExpired = "expired"
	// InvitationMember: an account has the address now, and was invited itself.
	InvitationMember = "member"
)

// invitationColumns need invitations as i joined with rooms as r.
const invitationColumns = `i.invitation_id, i.organisation_id, i.room_nid, r.room_id, i.inviter, i.medium, i.address, i.secret_hash, i.language, i.role,
	i.proof, i.uses_allowed, i.uses, i.created_ts, i.expires_ts, i.guest_lifetime, i.meeting, i.opens_ts, coalesce(i.opened_ts, 0),
	coalesce(i.redeemed_ts, 0), coalesce(i.ended_ts, 0), i.ended, i.delivery, coalesce(i.delivery_ts, 0), i.sequence`

const invitationSelect = `SELECT ` + invitationColumns + ` FROM invitations i JOIN rooms r USING (room_nid) `

func scanInvitation(scan func(...any) error) (Invitation, error) {
	var i Invitation
	err := scan(&i.ID, &i.OrganisationID, &i.RoomNID, &i.RoomID, &i.Inviter, &i.Medium, &i.Address, &i.SecretHash, &i.Language, &i.Role,
		&i.Proof, &i.UsesAllowed, &i.Uses, &i.CreatedTS, &i.ExpiresTS, &i.GuestLifetime, &i.Meeting, &i.OpensTS, &i.OpenedTS,
		&i.RedeemedTS, &i.EndedTS, &i.Ended, &i.Delivery, &i.DeliveryTS, &i.Sequence)
	return i, err
}

func scanInvitationRow(rows *sql.Rows) (Invitation, error) { return scanInvitation(rows.Scan) }

// GetInvitation returns an invitation, or ErrNotFound.
func (s *Store) GetInvitation(ctx context.Context, id string) (Invitation, error) {
	return scanInvitation(s.queryRow(ctx, invitationSelect+`WHERE i.invitation_id = $1`, id).Scan)
}

// GetInvitationBySecret returns the invitation whose link's secret has the hash, or ErrNotFound.
func (s *Store) GetInvitationBySecret(ctx context.Context, hash []byte) (Invitation, error) {
	return scanInvitation(s.queryRow(ctx, invitationSelect+`WHERE i.secret_hash = $1`, hash).Scan)
}

// LockInvitation returns an invitation and keeps everybody else from changing it until the transaction ends; or ErrNotFound.
func (tx *Tx) LockInvitation(ctx context.Context, id string) (Invitation, error) {
	return scanInvitation(tx.queryRow(ctx, invitationSelect+`WHERE i.invitation_id = $1 FOR UPDATE OF i`, id).Scan)
}

// GetPendingInvitation returns the invitation by which an inviter has asked an address into a room and that still holds, or ErrNotFound.
func (s *Store) GetPendingInvitation(ctx context.Context, room int64, inviter matrix.UserID, medium, address string, now matrix.Timestamp) (Invitation, error) {
	return scanInvitation(s.queryRow(ctx, invitationSelect+`
		WHERE i.room_nid = $1 AND i.inviter = $2 AND i.medium = $3 AND i.address = $4 AND `+invitationHolds("$5")+`
		ORDER BY i.created_ts DESC, i.invitation_id LIMIT 1`, room, string(inviter), medium, address, int64(now)).Scan)
}

// invitationHolds says whether anybody can still get in by an invitation at the moment that the parameter now names.
func invitationHolds(now string) string {
	return `i.ended_ts IS NULL AND i.ended = '' AND i.uses < i.uses_allowed AND i.expires_ts > ` + now
}

// InsertInvitation stores an invitation.
func (tx *Tx) InsertInvitation(ctx context.Context, i Invitation) error {
	_, err := tx.exec(ctx, `
		INSERT INTO invitations (invitation_id, organisation_id, room_nid, inviter, medium, address, secret_hash, language, role, proof, uses_allowed,
			created_ts, expires_ts, guest_lifetime, meeting, opens_ts)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)`,
		i.ID, i.OrganisationID, i.RoomNID, string(i.Inviter), i.Medium, i.Address, i.SecretHash, i.Language, i.Role, i.Proof, i.UsesAllowed,
		int64(i.CreatedTS), int64(i.ExpiresTS), i.GuestLifetime, i.Meeting, int64(i.OpensTS))
	return err
}

// CountPendingInvitations counts the invitations that hold, of a room and of an inviter.
func (tx *Tx) CountPendingInvitations(ctx context.Context, room int64, inviter matrix.UserID, now matrix.Timestamp) (ofRoom, ofInviter int, err error) {
	err = tx.queryRow(ctx, `
		SELECT (SELECT count(*) FROM invitations i WHERE i.room_nid = $1 AND `+invitationHolds("$3")+`),
			(SELECT count(*) FROM invitations i WHERE i.inviter = $2 AND `+invitationHolds("$3")+`)`,
		room, string(inviter), int64(now)).Scan(&ofRoom, &ofInviter)
	return ofRoom, ofInviter, err
}

// UseInvitation counts a use, if the invitation holds and its link is open. False otherwise, and nothing has changed: of many who come at once
// as many get in as may.
func (tx *Tx) UseInvitation(ctx context.Context, id string, now matrix.Timestamp) (Invitation, bool, error) {
	rows, err := tx.query(ctx, `
		UPDATE invitations i SET uses = i.uses + 1, opened_ts = coalesce(i.opened_ts, $2), redeemed_ts = coalesce(i.redeemed_ts, $2)
		FROM rooms r WHERE r.room_nid = i.room_nid AND i.invitation_id = $1 AND i.opens_ts <= $2 AND `+invitationHolds("$2")+`
		RETURNING `+invitationColumns, id, int64(now))
	list, err := scanAll(rows, err, scanInvitationRow)
	if err != nil || len(list) == 0 {
		return Invitation{}, false, err
	}
	return list[0], true, nil
}

// LockInvitationUses says how often invitations can still be used whose links are open, and keeps everybody else from using them until the
// transaction ends. Those that hold no more are not there.
func (tx *Tx) LockInvitationUses(ctx context.Context, ids []string, now matrix.Timestamp) (map[string]int, error) {
	rows, err := tx.query(ctx, `
		SELECT i.invitation_id, i.uses_allowed - i.uses FROM invitations i
		WHERE i.invitation_id = ANY ($1) AND i.opens_ts <= $2 AND `+invitationHolds("$2")+`
		ORDER BY i.invitation_id FOR NO KEY UPDATE`, pq.Array(ids), int64(now))
	left := make(map[string]int)
	_, err = scanAll(rows, err, func(rows *sql.Rows) (struct{}, error) {
		var id string
		var n int
		err := rows.Scan(&id, &n)
		left[id] = n
		return struct{}{}, err
	})
	return left, err
}

// UseInvitations counts a use for each time that an invitation is named. The caller has locked them.
func (tx *Tx) UseInvitations(ctx context.Context, ids []string, now matrix.Timestamp) error {
	_, err := tx.exec(ctx, `
		UPDATE invitations i SET uses = i.uses + x.n, opened_ts = coalesce(i.opened_ts, $2), redeemed_ts = coalesce(i.redeemed_ts, $2)
		FROM (SELECT id, count(*) AS n FROM unnest($1::text[]) AS id GROUP BY id) x WHERE i.invitation_id = x.id`, pq.Array(ids), int64(now))
	return err
}

// MarkInvitationOpened notes that the link was opened. False: it had been before, or the invitation has ended.
func (tx *Tx) MarkInvitationOpened(ctx context.Context, id string, now matrix.Timestamp) (bool, error) {
	n, err := tx.exec(ctx, `UPDATE invitations SET opened_ts = $2 WHERE invitation_id = $1 AND opened_ts IS NULL AND ended = '' AND ended_ts IS NULL`,
		id, int64(now))
	return n > 0, err
}

// PutInvitationDelivery notes what became of the last message about an invitation: a state of the outbox.
func (tx *Tx) PutInvitationDelivery(ctx context.Context, id, state string, now matrix.Timestamp) error {
	_, err := tx.exec(ctx, `UPDATE invitations SET delivery = $2, delivery_ts = $3 WHERE invitation_id = $1 AND delivery <> $2`, id, state, int64(now))
	return err
}

// EndInvitation ends an invitation: from the commit on nobody gets in by it. It reports false when it had ended before. One that is used up can
// be revoked still, so that its guest does not come in a second time; used says that those are meant too.
func (tx *Tx) EndInvitation(ctx context.Context, id, how string, used bool) (Invitation, bool, error) {
	rows, err := tx.query(ctx, `
		UPDATE invitations i SET ended = $2, ended_ts = NULL FROM rooms r
		WHERE r.room_nid = i.room_nid AND i.invitation_id = $1 AND i.ended = '' AND ($3 OR i.uses < i.uses_allowed)
		RETURNING `+invitationColumns, id, how, used)
	list, err := scanAll(rows, err, scanInvitationRow)
	if err != nil || len(list) == 0 {
		return Invitation{}, false, err
	}
	return list[0], true, nil
}

// RenewInvitation gives an invitation another secret and another end: the link that was sent before is dead from the commit on. It reports
// false when nobody could have got in by it any more.
func (tx *Tx) RenewInvitation(ctx context.Context, id string, secretHash []byte, expires, now matrix.Timestamp) (Invitation, bool, error) {
	rows, err := tx.query(ctx, `
		UPDATE invitations i SET secret_hash = $2, expires_ts = $3, opened_ts = NULL, delivery = '', delivery_ts = NULL, sequence = i.sequence + 1
		FROM rooms r WHERE r.room_nid = i.room_nid AND i.invitation_id = $1 AND `+invitationHolds("$4")+`
		RETURNING `+invitationColumns, id, secretHash, int64(expires), int64(now))
	list, err := scanAll(rows, err, scanInvitationRow)
	if err != nil || len(list) == 0 {
		return Invitation{}, false, err
	}
	return list[0], true, nil
}

// HasInvitationWork reports whether there is something for ListExpiredInvitations or ListNewThreePIDs.
func (s *Store) HasInvitationWork(ctx context.Context, now matrix.Timestamp) (some bool, err error) {
	err = s.queryRow(ctx, `
		SELECT EXISTS (SELECT FROM invitations WHERE ended_ts IS NULL AND expires_ts <= $1) OR EXISTS (SELECT FROM new_threepids)`, int64(now)).Scan(&some)
	return some, err
}

// ListExpiredInvitations returns invitations whose time is over and whose room has not been told so, in the order of their ends, at most limit.
func (s *Store) ListExpiredInvitations(ctx context.Context, now matrix.Timestamp, limit int) ([]Invitation, error) {
	rows, err := s.query(ctx, invitationSelect+`
		WHERE i.ended_ts IS NULL AND i.expires_ts <= $1 ORDER BY i.expires_ts LIMIT $2`, int64(now), limit)
	return scanAll(rows, err, scanInvitationRow)
}

// ListUnsettledInvitations returns invitations that were ended, or used up before a moment, and whose room has not been told so, at most limit.
// It looks at all that have not expired: for now and then.
func (s *Store) ListUnsettledInvitations(ctx context.Context, usedBefore matrix.Timestamp, limit int) ([]Invitation, error) {
	rows, err := s.query(ctx, invitationSelect+`
		WHERE i.ended_ts IS NULL AND (i.ended <> '' OR i.uses = i.uses_allowed AND i.redeemed_ts < $1)
		ORDER BY i.expires_ts LIMIT $2`, int64(usedBefore), limit)
	return scanAll(rows, err, scanInvitationRow)
}

// SettleInvitation notes that the room has been told that nobody gets in by an invitation any more. One that nobody has ended and that is not
// used up has expired; false if it holds again, because it was sent again meanwhile.
func (tx *Tx) SettleInvitation(ctx context.Context, id string, now matrix.Timestamp) (bool, error) {
	n, err := tx.exec(ctx, `
		UPDATE invitations i SET ended_ts = $2, ended = CASE WHEN i.ended = '' AND i.uses < i.uses_allowed THEN 'expired' ELSE i.ended END
		WHERE i.invitation_id = $1 AND i.ended_ts IS NULL AND NOT (`+invitationHolds("$2")+`)`, id, int64(now))
	return n > 0, err
}

// InvitationFilter chooses invitations; what is zero chooses all.
type InvitationFilter struct {
	OrganisationID int64
	RoomNID        int64
	Inviter        matrix.UserID
	Medium         string
	Address        string
	// Holding chooses those by which somebody can still get in at the moment Now.
	Holding bool
	Now     matrix.Timestamp
	// Before is the place of the last invitation of the page before.
	BeforeTS matrix.Timestamp
	BeforeID string
}

// ListInvitations returns invitations, the newest first, at most limit.
func (s *Store) ListInvitations(ctx context.Context, f InvitationFilter, limit int) ([]Invitation, error) {
	rows, err := s.query(ctx, invitationSelect+`
		WHERE ($1::bigint = 0 OR i.organisation_id = $1) AND ($2::bigint = 0 OR i.room_nid = $2) AND ($3 = '' OR i.inviter = $3)
			AND ($4 = '' OR i.medium = $4 AND i.address = $5)
			AND (NOT $6 OR `+invitationHolds("$7")+`)
			AND ($8::bigint = 0 OR (i.created_ts, i.invitation_id) < ($8, $9))
		ORDER BY i.created_ts DESC, i.invitation_id DESC LIMIT $10`,
		f.OrganisationID, f.RoomNID, string(f.Inviter), f.Medium, f.Address, f.Holding, int64(f.Now), int64(f.BeforeTS), f.BeforeID, limit)
	return scanAll(rows, err, scanInvitationRow)
}

// DeleteInvitationsBefore removes invitations that ended before ts, at most limit. Guests who came by them stay what they are.
func (s *Store) DeleteInvitationsBefore(ctx context.Context, ts matrix.Timestamp, limit int) (int64, error) {
	return s.exec(ctx, `
		DELETE FROM invitations WHERE invitation_id = ANY (ARRAY (
			SELECT invitation_id FROM invitations WHERE ended_ts < $1 LIMIT $2))`, int64(ts), limit)
}

// AddressOwner is an account that has an address.
type AddressOwner struct {
	UserID         matrix.UserID
	OrganisationID int64
}

// ListAddressOwners returns the accounts of the organisations that have an address and can be invited: at most one of each organisation.
func (s *Store) ListAddressOwners(ctx context.Context, medium, address string, organisations []int64) ([]AddressOwner, error) {
	rows, err := s.query(ctx, `
		SELECT t.user_id, t.organisation_id FROM user_threepids t JOIN users u USING (user_id)
		WHERE t.medium = $1 AND t.address = $2 AND t.organisation_id = ANY ($3) AND u.deactivated_ts IS NULL AND NOT u.locked
		ORDER BY t.organisation_id`, medium, address, int8Array(organisations))
	return scanAll(rows, err, func(rows *sql.Rows) (AddressOwner, error) {
		var o AddressOwner
		err := rows.Scan(&o.UserID, &o.OrganisationID)
		return o, err
	})
}

// NewThreePID is an address that an account has got and that nobody has looked at yet.
type NewThreePID struct {
	ID int64
	ThreePID
}

// ListNewThreePIDs returns the addresses that accounts got, oldest first, at most limit.
func (s *Store) ListNewThreePIDs(ctx context.Context, limit int) ([]NewThreePID, error) {
	rows, err := s.query(ctx, `SELECT id, organisation_id, medium, address, user_id FROM new_threepids ORDER BY id LIMIT $1`, limit)
	return scanAll(rows, err, func(rows *sql.Rows) (NewThreePID, error) {
		var t NewThreePID
		err := rows.Scan(&t.ID, &t.OrganisationID, &t.Medium, &t.Address, &t.UserID)
		return t, err
	})
}

// DeleteNewThreePID says that an address has been looked at.
func (s *Store) DeleteNewThreePID(ctx context.Context, id int64) error {
	_, err := s.exec(ctx, `DELETE FROM new_threepids WHERE id = $1`, id)
	return err
}
