package store

import (
	"context"
	"database/sql"
	"errors"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/matrix"
)

// Media is what a content URI stands for.
type Media struct {
	URI            matrix.ContentURI
	OrganisationID int64
	UserID         matrix.UserID
	DeviceID       matrix.DeviceID
	// ObjectKey is empty for media that is announced and not uploaded.
	ObjectKey   string
	ContentType string
	FileName    string
	Size        int64
	// SHA256 is that of the content.
	SHA256 []byte
	// Kind is what the event that named it first says it is; see the schema.
	Kind       string
	Restricted bool
	CreatedTS  matrix.Timestamp
	// ExpiresTS is when it goes unless it is linked before; 0 for linked media.
	ExpiresTS matrix.Timestamp
	// QuarantinedBy is the administrator who withholds it, or empty.
	QuarantinedBy matrix.UserID
	Protected     bool
}

const mediaColumns = `m.server_name, m.media_id, m.organisation_id, m.user_id, m.device_id, coalesce(m.object_key, ''), m.content_type,
	m.file_name, m.size, o.sha256, m.kind, m.restricted, m.created_ts, coalesce(m.expires_ts, 0), coalesce(m.quarantined_by, ''), m.protected`

const mediaTables = `media m LEFT JOIN media_objects o USING (object_key)`

func scanMedia(rows *sql.Rows) (Media, error) { return scanMediaRow(rows.Scan) }

func scanMediaRow(scan func(...any) error) (m Media, err error) {
	err = scan(&m.URI.Server, &m.URI.MediaID, &m.OrganisationID, &m.UserID, &m.DeviceID, &m.ObjectKey, &m.ContentType, &m.FileName,
		&m.Size, &m.SHA256, &m.Kind, &m.Restricted, &m.CreatedTS, &m.ExpiresTS, &m.QuarantinedBy, &m.Protected)
	return m, err
}

// GetMedia returns the media, or ErrNotFound.
func (s *Store) GetMedia(ctx context.Context, uri matrix.ContentURI) (Media, error) {
	return scanMediaRow(s.queryRow(ctx, `
		SELECT `+mediaColumns+` FROM `+mediaTables+` WHERE m.server_name = $1 AND m.media_id = $2`,
		string(uri.Server), uri.MediaID).Scan)
}

// ListMedia returns those of the media that exist, in no order.
func (s *Store) ListMedia(ctx context.Context, uris []matrix.ContentURI) ([]Media, error) {
	servers, ids := splitURIs(uris)
	rows, err := s.query(ctx, `
		SELECT `+mediaColumns+` FROM `+mediaTables+` JOIN unnest($1::text[], $2::text[]) AS x (server, id)
			ON m.server_name = x.server AND m.media_id = x.id`, pq.Array(servers), pq.Array(ids))
	return scanAll(rows, err, scanMedia)
}

func splitURIs(uris []matrix.ContentURI) (servers, ids []string) {
	for _, u := range uris {
		servers, ids = append(servers, string(u.Server)), append(ids, u.MediaID)
	}
	return servers, ids
}

// MediaLink is something that media hangs on: an event, or the profile of UserID.
type MediaLink struct {
	RoomNID  int64
	Position int64
	UserID   matrix.UserID
	Presumed bool
	// EventType and StateKey are the event's. Current says that it is the room's present state.
	EventType string
	StateKey  *string
	Current   bool
}

// ListMediaLinks returns what the media hangs on: first profiles, then events in rooms that the user has to do with, the newest first;
// at most limit.
func (s *Store) ListMediaLinks(ctx context.Context, uri matrix.ContentURI, user matrix.UserID, limit int) ([]MediaLink, error) {
	rows, err := s.query(ctx, `
		SELECT l.room_nid, l.position, l.user_id, l.presumed, coalesce(e.type, ''), e.state_key,
			EXISTS (SELECT FROM room_state s WHERE s.room_nid = l.room_nid AND s.type = e.type AND s.state_key = e.state_key
				AND s.event_position = l.position AND s.until = 9223372036854775807)
		FROM media_links l LEFT JOIN events e ON e.position = l.position AND l.position > 0
		WHERE l.server_name = $1 AND l.media_id = $2
		ORDER BY l.user_id DESC, EXISTS (SELECT FROM memberships WHERE memberships.room_nid = l.room_nid AND memberships.user_id = $3) DESC,
			l.position DESC
		LIMIT $4`,
		string(uri.Server), uri.MediaID, string(user), limit)
	return scanAll(rows, err, func(rows *sql.Rows) (MediaLink, error) {
		var l MediaLink
		err := rows.Scan(&l.RoomNID, &l.Position, &l.UserID, &l.Presumed, &l.EventType, &l.StateKey, &l.Current)
		return l, err
	})
}

// HasMediaLink reports whether media hangs on the event, be it presumed.
func (s *Store) HasMediaLink(ctx context.Context, position int64) (bool, error) {
	var linked bool
	err := s.queryRow(ctx, `SELECT EXISTS (SELECT FROM media_links WHERE position = $1 AND position > 0)`, position).Scan(&linked)
	return linked, err
}

// MayKnow reports whether a user may know another of: the two are in one room, or the user is invited to one by the other.
func (s *Store) MayKnow(ctx context.Context, user, other matrix.UserID) (bool, error) {
	var shares bool
	err := s.queryRow(ctx, `
		SELECT EXISTS (
			SELECT FROM memberships mine JOIN memberships theirs USING (room_nid)
			WHERE mine.user_id = $1 AND theirs.user_id = $2 AND theirs.membership = 'join'
				AND (mine.membership = 'join' OR mine.membership = 'invite' AND mine.sender = $2))`, string(user), string(other)).Scan(&shares)
	return shares, err
}

// OpaqueEvent is an encrypted event of a device of ours.
type OpaqueEvent struct {
	RoomNID  int64
	Position int64
	UserID   matrix.UserID
	DeviceID matrix.DeviceID
	TS       matrix.Timestamp
}

// PresumeMedia links encrypted events to the media that they may name: what the same device uploaded within the time before, and what it
// uploaded earlier (at most maxAge ago) and has not been linked to anything. Media that has lost its last link is left to the sweeper. Doing it
// again changes nothing.
func (s *Store) PresumeMedia(ctx context.Context, events []OpaqueEvent, within, maxAge int64) error {
	var rooms, positions, times []int64
	var users, devices []string
	for _, e := range events {
		rooms, positions, times = append(rooms, e.RoomNID), append(positions, e.Position), append(times, int64(e.TS))
		users, devices = append(users, string(e.UserID)), append(devices, string(e.DeviceID))
	}
	return s.Write(ctx, func(tx *Tx) error {
		// In the order of the events: the first one that finds unlinked media takes it, the next one only within the time.
		for i := range events {
			_, err := tx.exec(ctx, `
				WITH meant AS (
					SELECT server_name, media_id FROM media m
					WHERE m.user_id = $1 AND m.device_id = $2 AND m.content_type = 'application/octet-stream' AND NOT m.restricted
						AND m.object_key IS NOT NULL AND m.created_ts BETWEEN $5::bigint - $7::bigint AND $5::bigint + $6::bigint
						AND (m.expires_ts IS NOT NULL OR m.created_ts >= $5::bigint - $6::bigint AND EXISTS (
							SELECT FROM media_links l WHERE l.server_name = m.server_name AND l.media_id = m.media_id))
					FOR NO KEY UPDATE
				), linked AS (
					INSERT INTO media_links (server_name, media_id, room_nid, position, presumed)
					SELECT server_name, media_id, $3, $4, true FROM meant
					WHERE EXISTS (SELECT FROM events WHERE position = $4 AND redacted_by IS NULL)
					ON CONFLICT DO NOTHING
				)
				UPDATE media SET expires_ts = NULL, kind = CASE kind WHEN '' THEN 'encrypted' ELSE kind END
				FROM meant WHERE media.server_name = meant.server_name AND media.media_id = meant.media_id`,
				users[i], devices[i], rooms[i], positions[i], times[i], within, maxAge)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// PutProfileMedia makes media hang on a user's profile, in place of what the field named before. What the user may not link stays as it
// is. Call it in the transaction that changes the profile.
func (tx *Tx) PutProfileMedia(ctx context.Context, user matrix.UserID, before, now []matrix.ContentURI, at matrix.Timestamp) error {
	servers, ids := splitURIs(now)
	_, err := tx.exec(ctx, `
		WITH mine AS (
			SELECT server_name, media_id FROM media JOIN unnest($2::text[], $3::text[]) AS x (server, id)
				ON server_name = x.server AND media_id = x.id
			WHERE media_linkable(server_name, media_id, $1)
			FOR NO KEY UPDATE OF media
		), linked AS (
			INSERT INTO media_links (server_name, media_id, user_id) SELECT server_name, media_id, $1 FROM mine ON CONFLICT DO NOTHING
		)
		UPDATE media SET expires_ts = NULL, kind = CASE kind WHEN '' THEN 'avatar' ELSE kind END
		FROM mine WHERE media.server_name = mine.server_name AND media.media_id = mine.media_id`,
		string(user), pq.Array(servers), pq.Array(ids))
	if err != nil {
		return err
	}
	oldServers, oldIDs := splitURIs(before)
	_, err = tx.exec(ctx, `
		WITH lost AS (
			DELETE FROM media_links l USING unnest($2::text[], $3::text[]) AS x (server, id)
			WHERE l.user_id = $1 AND l.server_name = x.server AND l.media_id = x.id
				AND NOT EXISTS (SELECT FROM unnest($4::text[], $5::text[]) AS y (server, id) WHERE y.server = x.server AND y.id = x.id)
			RETURNING l.server_name, l.media_id
		)
		INSERT INTO media_unlinked (server_name, media_id, event_id, redacted_by, unlinked_ts)
		SELECT server_name, media_id, '', '', $6 FROM lost ON CONFLICT DO NOTHING`,
		string(user), pq.Array(oldServers), pq.Array(oldIDs), pq.Array(servers), pq.Array(ids), int64(at))
	return err
}

// Quarantine withholds media from everybody, or gives it back when by is empty. It reports how many were changed. Protected media is
// left alone.
func (s *Store) Quarantine(ctx context.Context, org int64, uris []matrix.ContentURI, by matrix.UserID) (n int64, err error) {
	servers, ids := splitURIs(uris)
	return s.execOnce(ctx, `
		UPDATE media SET quarantined_by = nullif($2, '') FROM unnest($3::text[], $4::text[]) AS x (server, id)
		WHERE server_name = x.server AND media_id = x.id AND organisation_id = $1 AND (quarantined_by IS NULL) = ($2 <> '')
			AND NOT (protected AND $2 <> '')`, org, string(by), pq.Array(servers), pq.Array(ids))
}

// ProtectMedia keeps media from quarantine and from removal by age, or gives it free. ErrNotFound if the organisation has no such media.
func (s *Store) ProtectMedia(ctx context.Context, org int64, uri matrix.ContentURI, protected bool) error {
	n, err := s.exec(ctx, `
		UPDATE media SET protected = $4 WHERE organisation_id = $1 AND server_name = $2 AND media_id = $3`,
		org, string(uri.Server), uri.MediaID, protected)
	if err == nil && n == 0 {
		return ErrNotFound
	}
	return err
}

// MediaFilter chooses media of an organisation.
type MediaFilter struct {
	OrganisationID int64
	// UserID is the uploader, RoomNID a room in which it hangs; zero values choose all.
	UserID  matrix.UserID
	RoomNID int64
	// Before chooses what was uploaded earlier, LargerThan what has more bytes; Kinds what it is.
	Before     matrix.Timestamp
	LargerThan int64
	Kinds      []string
	// KeepProfiles leaves out what hangs on a profile or is a room's avatar, KeepProtected what is protected.
	KeepProfiles, KeepProtected bool
}

const mediaFilter = ` m.organisation_id = $1 AND ($2 = '' OR m.user_id = $2)
	AND ($3::bigint = 0 OR EXISTS (SELECT FROM media_links l WHERE l.server_name = m.server_name AND l.media_id = m.media_id AND l.room_nid = $3))
	AND ($4::bigint = 0 OR m.created_ts < $4) AND m.size > $5
	AND ($6::text[] IS NULL OR m.kind = ANY ($6))
	AND NOT ($7 AND EXISTS (SELECT FROM media_links l LEFT JOIN events e ON e.position = l.position AND l.position > 0
		WHERE l.server_name = m.server_name AND l.media_id = m.media_id AND (l.user_id <> '' OR e.type IN ('m.room.avatar', 'm.room.member'))))
	AND NOT ($8 AND m.protected)`

func (f *MediaFilter) arguments() []any {
	var kinds any
	if f.Kinds != nil {
		kinds = pq.Array(f.Kinds)
	}
	return []any{f.OrganisationID, string(f.UserID), f.RoomNID, int64(f.Before), f.LargerThan - 1, kinds, f.KeepProfiles, f.KeepProtected}
}

// ListMediaBy returns the media that f chooses, the newest first, from the from-th on; and how many there are in all.
func (s *Store) ListMediaBy(ctx context.Context, f MediaFilter, from, limit int) (media []Media, total int64, err error) {
	err = s.Read(ctx, func(tx *Tx) error {
		if err := tx.queryRow(ctx, `SELECT count(*) FROM media m WHERE`+mediaFilter, f.arguments()...).Scan(&total); err != nil {
			return err
		}
		rows, err := tx.query(ctx, `
			SELECT `+mediaColumns+` FROM `+mediaTables+` WHERE`+mediaFilter+`
			ORDER BY m.created_ts DESC, m.media_id OFFSET $9 LIMIT $10`, append(f.arguments(), from, limit)...)
		media, err = scanAll(rows, err, scanMedia)
		return err
	})
	return media, total, err
}

// MediaUsage is how much media an owner has.
type MediaUsage struct {
	Bytes, Files int64
}

// GetMediaUsage returns the usage of a user.
func (s *Store) GetMediaUsage(ctx context.Context, user matrix.UserID) (MediaUsage, error) {
	var u MediaUsage
	err := s.queryRow(ctx, `SELECT bytes, files FROM media_usage WHERE owner = $1`, string(user)).Scan(&u.Bytes, &u.Files)
	if errors.Is(err, ErrNotFound) {
		return MediaUsage{}, nil
	}
	return u, err
}
