package store

import (
	"context"
	"crypto/sha256"
	"database/sql"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/matrix"
)

// Guest is what an account has whose User.Guest is set.
type Guest struct {
	UserID         matrix.UserID
	OrganisationID int64
	// InvitationID is empty for visitors, and after the invitation was removed.
	InvitationID string
	// Inviter is empty for visitors, and after the inviter was erased.
	Inviter matrix.UserID
	// Medium and Address are empty where the guest came by a link that names nobody.
	Medium, Address string
	// Verified says that the guest gave a code that was sent to the address.
	Verified bool
	// Role is one of the constants below.
	Role string
	// AttemptHash is SHA-256 of what the browser calls its attempt.
	AttemptHash []byte
	CreatedTS   matrix.Timestamp
	// ExpiresTS is when the guest can do nothing any more.
	ExpiresTS matrix.Timestamp
	// EndedTS is when the guest had left every room, 0 before.
	EndedTS matrix.Timestamp
	// LinkedTo is the account that the guest has become, or empty.
	LinkedTo matrix.UserID
}

// Roles of guests.
const (
	GuestParticipant = "participant"
	// GuestObserver may not send.
	GuestObserver = "observer"
	// GuestVisitor was invited by nobody (client-server v1.19 §guest-access).
	GuestVisitor = "visitor"
)

// Active reports whether the guest can still do something.
func (g Guest) Active(now matrix.Timestamp) bool { return g.EndedTS == 0 && g.ExpiresTS > now }

const guestColumns = `g.user_id, g.organisation_id, coalesce(g.invitation_id, ''), g.inviter, g.medium, g.address, g.verified, g.role,
	g.attempt_hash, g.created_ts, g.expires_ts, coalesce(g.ended_ts, 0), coalesce(g.linked_to, '')`

func scanGuest(scan func(...any) error) (Guest, error) {
	var g Guest
	err := scan(&g.UserID, &g.OrganisationID, &g.InvitationID, &g.Inviter, &g.Medium, &g.Address, &g.Verified, &g.Role,
		&g.AttemptHash, &g.CreatedTS, &g.ExpiresTS, &g.EndedTS, &g.LinkedTo)
	return g, err
}

func scanGuestRow(rows *sql.Rows) (Guest, error) { return scanGuest(rows.Scan) }

// NewGuest is a guest with an account, a profile of a name and a mark (as JSON), and a session on a device.
type NewGuest struct {
	Guest
	Name, Mark []byte
	MarkKey    string
	Device     Device
	Session    Session
}

// InsertGuests makes guests.
//
// Why one statement for six tables: guests come all at once, when a meeting begins. Nobody finds a guest by name, so that there are no person_keys.
func (tx *Tx) InsertGuests(ctx context.Context, list []NewGuest) error {
	var texts [10][]string
	var bytes [4][][]byte
	var numbers [3][]int64
	verified := make([]bool, len(list))
	for i, g := range list {
		for j, v := range [...]string{
			string(g.UserID), g.InvitationID, string(g.Inviter), g.Medium, g.Address, g.Role, g.MarkKey, string(g.Device.DeviceID),
			g.Device.DisplayName, g.Device.LastSeenIP,
		} {
			texts[j] = append(texts[j], v)
		}
		for j, v := range [...][]byte{g.AttemptHash, g.Name, g.Mark, g.Session.AccessHash} {
			bytes[j] = append(bytes[j], v)
		}
		for j, v := range [...]int64{g.OrganisationID, int64(g.CreatedTS), int64(g.ExpiresTS)} {
			numbers[j] = append(numbers[j], v)
		}
		verified[i] = g.Verified
	}
	_, err := tx.exec(ctx, `
		WITH x AS (
			SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[],
				$11::bytea[], $12::bytea[], $13::bytea[], $14::bytea[], $15::bigint[], $16::bigint[], $17::bigint[], $18::boolean[])
			AS x (user_id, invitation_id, inviter, medium, address, role, mark_key, device_id, device_name, ip,
				attempt, name, mark, access, organisation_id, created_ts, expires_ts, verified)
		), account AS (
			INSERT INTO users (user_id, organisation_id, role, guest, machine, created_ts)
			SELECT x.user_id, x.organisation_id, '', true, false, x.created_ts FROM x
		), guest AS (
			INSERT INTO guests (user_id, organisation_id, invitation_id, inviter, medium, address, verified, role, attempt_hash, created_ts, expires_ts)
			SELECT x.user_id, x.organisation_id, nullif(x.invitation_id, ''), x.inviter, x.medium, x.address, x.verified, x.role, nullif(x.attempt, ''),
				x.created_ts, x.expires_ts FROM x
		), profile AS (
			INSERT INTO profiles (user_id, key, value)
			SELECT x.user_id, 'displayname', x.name FROM x UNION ALL SELECT x.user_id, x.mark_key, x.mark FROM x
		), device AS (
			INSERT INTO devices (user_id, device_id, display_name, created_ts, last_seen_ts, last_seen_ip)
			SELECT x.user_id, x.device_id, x.device_name, x.created_ts, x.created_ts, nullif(x.ip, '') FROM x
		)
		INSERT INTO sessions (user_id, device_id, created_ts, access_token_hash, access_expires_ts)
		SELECT x.user_id, x.device_id, x.created_ts, x.access, x.expires_ts FROM x`,
		pq.Array(texts[0]), pq.Array(texts[1]), pq.Array(texts[2]), pq.Array(texts[3]), pq.Array(texts[4]), pq.Array(texts[5]), pq.Array(texts[6]),
		pq.Array(texts[7]), pq.Array(texts[8]), pq.Array(texts[9]), pq.Array(bytes[0]), pq.Array(bytes[1]), pq.Array(bytes[2]), pq.Array(bytes[3]),
		pq.Array(numbers[0]), pq.Array(numbers[1]), pq.Array(numbers[2]), pq.Array(verified))
	return err
}

// GuestAttempt is an attempt at an invitation.
type GuestAttempt struct {
	InvitationID string
	Hash         [sha256.Size]byte
}

// ListGuestAttempts returns those of the attempts that have made a guest.
func (tx *Tx) ListGuestAttempts(ctx context.Context, attempts []GuestAttempt) ([]GuestAttempt, error) {
	ids, hashes := make([]string, len(attempts)), make([][]byte, len(attempts))
	for i := range attempts {
		ids[i], hashes[i] = attempts[i].InvitationID, attempts[i].Hash[:]
	}
	rows, err := tx.query(ctx, `
		SELECT g.invitation_id, g.attempt_hash FROM unnest($1::text[], $2::bytea[]) AS x (id, hash)
		JOIN guests g ON g.invitation_id = x.id AND g.attempt_hash = x.hash`, pq.Array(ids), pq.Array(hashes))
	return scanAll(rows, err, func(rows *sql.Rows) (GuestAttempt, error) {
		var a GuestAttempt
		var hash []byte
		err := rows.Scan(&a.InvitationID, &hash)
		copy(a.Hash[:], hash)
		return a, err
	})
}

// GetGuest returns a guest, or ErrNotFound.
func (s *Store) GetGuest(ctx context.Context, user matrix.UserID) (Guest, error) {
	return scanGuest(s.queryRow(ctx, `SELECT `+guestColumns+` FROM guests g WHERE g.user_id = $1`, string(user)).Scan)
}

// LockGuest returns a guest and keeps everybody else from changing it until the transaction ends.
func (tx *Tx) LockGuest(ctx context.Context, user matrix.UserID) (Guest, error) {
	return scanGuest(tx.queryRow(ctx, `SELECT `+guestColumns+` FROM guests g WHERE g.user_id = $1 FOR UPDATE`, string(user)).Scan)
}

// GetGuestByAttempt returns the guest whom an attempt at an invitation has made, or ErrNotFound.
func (s *Store) GetGuestByAttempt(ctx context.Context, invitation string, attempt []byte) (Guest, error) {
	return scanGuest(s.queryRow(ctx, `
		SELECT `+guestColumns+` FROM guests g WHERE g.invitation_id = $1 AND g.attempt_hash = $2`, invitation, attempt).Scan)
}

// GetGuestOfInvitation returns the guest of an invitation who is here still, the first one of several, or ErrNotFound.
func (s *Store) GetGuestOfInvitation(ctx context.Context, invitation string, now matrix.Timestamp) (Guest, error) {
	return scanGuest(s.queryRow(ctx, `
		SELECT `+guestColumns+` FROM guests g WHERE g.invitation_id = $1 AND g.ended_ts IS NULL AND g.expires_ts > $2
		ORDER BY g.created_ts, g.user_id LIMIT 1`, invitation, int64(now)).Scan)
}

// HasSession reports whether a device has a session with this access token.
func (tx *Tx) HasSession(ctx context.Context, user matrix.UserID, device matrix.DeviceID, access []byte) (bool, error) {
	var has bool
	err := tx.queryRow(ctx, `
		SELECT EXISTS (SELECT FROM sessions WHERE user_id = $1 AND device_id = $2 AND access_token_hash = $3)`,
		string(user), string(device), access).Scan(&has)
	return has, err
}

// PutGuestExpiry changes when a guest ends, and the guest's sessions with it.
func (tx *Tx) PutGuestExpiry(ctx context.Context, user matrix.UserID, expires matrix.Timestamp) error {
	if _, err := tx.exec(ctx, `UPDATE guests SET expires_ts = $2 WHERE user_id = $1`, string(user), int64(expires)); err != nil {
		return err
	}
	_, err := tx.exec(ctx, `UPDATE sessions SET access_expires_ts = $2 WHERE user_id = $1`, string(user), int64(expires))
	return err
}

// PutGuestVerified notes that a guest has shown to have the address.
func (tx *Tx) PutGuestVerified(ctx context.Context, user matrix.UserID) error {
	_, err := tx.exec(ctx, `UPDATE guests SET verified = true WHERE user_id = $1`, string(user))
	return err
}

// PutGuestLinked notes which account a guest has become.
func (tx *Tx) PutGuestLinked(ctx context.Context, user, account matrix.UserID) error {
	_, err := tx.exec(ctx, `UPDATE guests SET linked_to = $2 WHERE user_id = $1`, string(user), string(account))
	return err
}

// PutGuestEnded notes that a guest has left every room.
func (tx *Tx) PutGuestEnded(ctx context.Context, user matrix.UserID, now matrix.Timestamp) error {
	_, err := tx.exec(ctx, `UPDATE guests SET ended_ts = coalesce(ended_ts, $2) WHERE user_id = $1`, string(user), int64(now))
	return err
}

// ListDueGuests returns guests whose time is over and who have not left yet, those first who have been so for longest, without some, at most limit.
func (s *Store) ListDueGuests(ctx context.Context, now matrix.Timestamp, without []matrix.UserID, limit int) ([]Guest, error) {
	rows, err := s.query(ctx, `
		SELECT `+guestColumns+` FROM guests g WHERE g.ended_ts IS NULL AND g.expires_ts <= $1 AND g.user_id <> ALL ($2) ORDER BY g.expires_ts LIMIT $3`,
		int64(now), stringArray(without), limit)
	return scanAll(rows, err, scanGuestRow)
}

// GetGuestExpiry reports whether some guest's time is over (ListDueGuests), and when it is the next one's, 0 if there is none.
func (s *Store) GetGuestExpiry(ctx context.Context, now matrix.Timestamp, without []matrix.UserID) (due bool, next matrix.Timestamp, err error) {
	err = s.queryRow(ctx, `
		SELECT EXISTS (SELECT FROM guests WHERE ended_ts IS NULL AND expires_ts <= $1 AND user_id <> ALL ($2)),
		       (SELECT coalesce(min(expires_ts), 0) FROM guests WHERE ended_ts IS NULL AND expires_ts > $1)`,
		int64(now), stringArray(without)).Scan(&due, &next)
	return due, next, err
}

// LostGuest is a guest who has nothing to stand on any more, and why.
type LostGuest struct {
	UserID matrix.UserID
	Why    string
}

// ListLostGuests returns guests whose time is not over and who have to go all the same: the organisation is not active, the invitation was revoked,
// the account was closed, a room that they are in belongs to an organisation that theirs is not linked with any more, or they are in
// no room any more. Who has not been in a room yet is not lost before young. At most limit.
func (s *Store) ListLostGuests(ctx context.Context, now, young matrix.Timestamp, limit int) ([]LostGuest, error) {
	rows, err := s.query(ctx, `
		SELECT user_id, why FROM (
			SELECT g.user_id, CASE
				WHEN o.state <> 'active' THEN 'organisation'
				WHEN u.deactivated_ts IS NOT NULL THEN 'account'
				WHEN i.ended = 'revoked' THEN 'invitation'
				WHEN NOT EXISTS (SELECT FROM memberships m WHERE m.user_id = g.user_id AND m.membership IN ('join', 'invite', 'knock'))
					AND g.role <> 'visitor'
					AND (g.created_ts < $1 OR EXISTS (SELECT FROM memberships m WHERE m.user_id = g.user_id)) THEN 'rooms'
				WHEN EXISTS (
					SELECT FROM memberships m JOIN rooms r USING (room_nid)
					WHERE m.user_id = g.user_id AND m.membership = 'join' AND r.organisation_id <> g.organisation_id
						AND NOT EXISTS (SELECT FROM organisation_sharings l WHERE l.viewer_id = g.organisation_id AND l.owner_id = r.organisation_id)) THEN 'link'
				ELSE '' END AS why
			FROM guests g JOIN users u ON u.user_id = g.user_id JOIN organisations o ON o.organisation_id = g.organisation_id
			LEFT JOIN invitations i ON i.invitation_id = g.invitation_id
			WHERE g.ended_ts IS NULL AND g.expires_ts > $2
		) x WHERE why <> '' LIMIT $3`, int64(young), int64(now), limit)
	return scanAll(rows, err, func(rows *sql.Rows) (LostGuest, error) {
		var l LostGuest
		err := rows.Scan(&l.UserID, &l.Why)
		return l, err
	})
}

// GuestInRoom is a guest who is in a room, invited to it or waiting at its door.
type GuestInRoom struct {
	UserID matrix.UserID
	RoomID matrix.RoomID
}

// ListEndedGuestsInRooms returns guests who have ended since a moment and are in rooms all the same, at most limit.
func (s *Store) ListEndedGuestsInRooms(ctx context.Context, since matrix.Timestamp, limit int) ([]GuestInRoom, error) {
	rows, err := s.query(ctx, `
		SELECT g.user_id, r.room_id FROM guests g JOIN memberships m ON m.user_id = g.user_id JOIN rooms r ON r.room_nid = m.room_nid
		WHERE g.ended_ts > $1 AND m.membership IN ('join', 'invite', 'knock') LIMIT $2`, int64(since), limit)
	return scanAll(rows, err, func(rows *sql.Rows) (GuestInRoom, error) {
		var g GuestInRoom
		err := rows.Scan(&g.UserID, &g.RoomID)
		return g, err
	})
}

// ListRoomGuests returns the guests who are in a room, invited to it or waiting at its door, the first first.
func (s *Store) ListRoomGuests(ctx context.Context, room int64) ([]Guest, error) {
	rows, err := s.query(ctx, `
		SELECT `+guestColumns+` FROM memberships m JOIN guests g ON g.user_id = m.user_id
		WHERE m.room_nid = $1 AND m.membership IN ('join', 'invite', 'knock') ORDER BY g.created_ts, g.user_id`, room)
	return scanAll(rows, err, scanGuestRow)
}

// ListGuests returns guests of an organisation, newest first, from the one before the given on (0, "": from the newest), at most limit.
func (s *Store) ListGuests(ctx context.Context, org int64, before matrix.Timestamp, beforeUser matrix.UserID, limit int) ([]Guest, error) {
	rows, err := s.query(ctx, `
		SELECT `+guestColumns+` FROM guests g
		WHERE g.organisation_id = $1 AND ($2::bigint = 0 OR (g.created_ts, g.user_id) < ($2, $3)) ORDER BY g.created_ts DESC, g.user_id DESC LIMIT $4`,
		org, int64(before), string(beforeUser), limit)
	return scanAll(rows, err, scanGuestRow)
}

// ListGuestsOfAddress returns the guests of an organisation who came by an address and have not left.
func (s *Store) ListGuestsOfAddress(ctx context.Context, org int64, medium, address string) ([]Guest, error) {
	rows, err := s.query(ctx, `
		SELECT `+guestColumns+` FROM guests g
		WHERE g.organisation_id = $1 AND g.medium = $2 AND g.address = $3 AND g.ended_ts IS NULL ORDER BY g.created_ts, g.user_id`, org, medium, address)
	return scanAll(rows, err, scanGuestRow)
}

// ListGuestsOfInvitation returns the guests of an invitation who have not left.
func (s *Store) ListGuestsOfInvitation(ctx context.Context, invitation string) ([]Guest, error) {
	rows, err := s.query(ctx, `
		SELECT `+guestColumns+` FROM guests g WHERE g.invitation_id = $1 AND g.ended_ts IS NULL ORDER BY g.created_ts, g.user_id`, invitation)
	return scanAll(rows, err, scanGuestRow)
}

// CountVisitors returns how many visitors an organisation has, counting to limit.
func (tx *Tx) CountVisitors(ctx context.Context, org int64, limit int) (int, error) {
	var n int
	err := tx.queryRow(ctx, `
		SELECT count(*) FROM (SELECT FROM guests WHERE organisation_id = $1 AND role = 'visitor' AND ended_ts IS NULL LIMIT $2) x`, org, limit).Scan(&n)
	return n, err
}
