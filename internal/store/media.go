package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/limits"
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
	// CRC32C is that of the content, too; nil for what was stored before there were any.
	CRC32C *uint32
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
	m.file_name, m.size, o.sha256, o.crc32c, m.kind, m.restricted, m.created_ts, coalesce(m.expires_ts, 0), coalesce(m.quarantined_by, ''), m.protected`

const mediaTables = `media m LEFT JOIN media_objects o USING (object_key)`

func scanMedia(rows *sql.Rows) (Media, error) { return scanMediaRow(rows.Scan) }

func scanMediaRow(scan func(...any) error) (m Media, err error) {
	err = scan(&m.URI.Server, &m.URI.MediaID, &m.OrganisationID, &m.UserID, &m.DeviceID, &m.ObjectKey, &m.ContentType, &m.FileName,
		&m.Size, &m.SHA256, &m.CRC32C, &m.Kind, &m.Restricted, &m.CreatedTS, &m.ExpiresTS, &m.QuarantinedBy, &m.Protected)
	return m, err
}

const getMedia = `SELECT ` + mediaColumns + ` FROM ` + mediaTables + ` WHERE m.server_name = $1 AND m.media_id = $2`

// GetMedia returns the media, or ErrNotFound.
func (s *Store) GetMedia(ctx context.Context, uri matrix.ContentURI) (Media, error) {
	return scanMediaRow(row{s.getMedia.QueryRowContext(ctx, string(uri.Server), uri.MediaID)}.Scan)
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

// ServerLink is something that media hangs on which users of another server may see: an event, or a user's profile.
type ServerLink struct {
	EventID matrix.EventID
	UserID  matrix.UserID
}

// GetMediaLinkFor returns something on which media hangs and which users of another server may see, because they are or were in the room, or
// share one with the user; or ErrNotFound. Which of them may is for the other server to find out.
func (s *Store) GetMediaLinkFor(ctx context.Context, uri matrix.ContentURI, server matrix.ServerName) (ServerLink, error) {
	var l ServerLink
	err := s.queryRow(ctx, `
		SELECT coalesce(e.event_id, ''), l.user_id
		FROM media_links l LEFT JOIN events e ON e.position = l.position AND l.position > 0
		WHERE l.server_name = $1 AND l.media_id = $2 AND (
			EXISTS (
				SELECT FROM memberships m
				WHERE m.room_nid = l.room_nid AND substr(m.user_id, strpos(m.user_id, ':') + 1) = $3)
			OR EXISTS (
				SELECT FROM memberships own JOIN memberships m USING (room_nid)
				WHERE own.user_id = l.user_id AND own.membership = 'join' AND substr(m.user_id, strpos(m.user_id, ':') + 1) = $3))
		ORDER BY l.position DESC LIMIT 1`, string(uri.Server), uri.MediaID, string(server)).Scan(&l.EventID, &l.UserID)
	return l, err
}

// never is when media expires that is kept although it hangs on nothing: the last moment of the year 9999.
const never = 253402300799999

// KeepMedia keeps media that a user has uploaded although it hangs on nothing: the user's own data names it, such as a pack of stickers.
func (s *Store) KeepMedia(ctx context.Context, user matrix.UserID, uris []matrix.ContentURI) error {
	servers, ids := splitURIs(uris)
	_, err := s.exec(ctx, `
		UPDATE media SET expires_ts = $4 FROM unnest($2::text[], $3::text[]) AS x (server, id)
		WHERE user_id = $1 AND server_name = x.server AND media_id = x.id AND expires_ts IS NOT NULL`,
		string(user), pq.Array(servers), pq.Array(ids), int64(never))
	return err
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
						AND m.object_key IS NOT NULL AND m.created_ts BETWEEN $5::bigint - $7::bigint AND $5::bigint + $8::bigint
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
				users[i], devices[i], rooms[i], positions[i], times[i], within, maxAge, limits.MediaSkew.Milliseconds())
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

// PutLogo makes media hang on an organisation as its logo, in place of what did before; nil stands for none. Everybody will see it: it has to be the
// organisation's own, and nothing that was said in a room, else it is ErrNotFound. A link without a room and a user is that of a logo.
func (tx *Tx) PutLogo(ctx context.Context, org int64, before, now *matrix.ContentURI, at matrix.Timestamp) error {
	if now != nil {
		n, err := tx.exec(ctx, `
			WITH logo AS (
				SELECT server_name, media_id FROM media m
				WHERE server_name = $1 AND media_id = $2 AND organisation_id = $3 AND quarantined_by IS NULL AND object_key IS NOT NULL
					AND (expires_ts IS NOT NULL OR EXISTS (SELECT FROM media_links l WHERE l.server_name = $1 AND l.media_id = $2))
					AND NOT EXISTS (SELECT FROM media_links l WHERE l.server_name = $1 AND l.media_id = $2 AND l.room_nid > 0)
				FOR NO KEY UPDATE OF m
			), linked AS (
				INSERT INTO media_links (server_name, media_id) SELECT server_name, media_id FROM logo ON CONFLICT DO NOTHING
			)
			UPDATE media SET expires_ts = NULL, kind = CASE kind WHEN '' THEN 'avatar' ELSE kind END
			FROM logo WHERE media.server_name = logo.server_name AND media.media_id = logo.media_id`, string(now.Server), now.MediaID, org)
		if err != nil {
			return err
		}
		if n == 0 {
			return ErrNotFound
		}
	}
	if before == nil {
		return nil
	}
	_, err := tx.exec(ctx, `
		WITH lost AS (
			DELETE FROM media_links WHERE server_name = $1 AND media_id = $2 AND room_nid = 0 AND position = 0 AND user_id = '' RETURNING server_name, media_id
		)
		INSERT INTO media_unlinked (server_name, media_id, event_id, redacted_by, unlinked_ts)
		SELECT server_name, media_id, '', '', $3 FROM lost ON CONFLICT DO NOTHING`, string(before.Server), before.MediaID, int64(at))
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

// QuarantineBy withholds the media that f chooses from everybody, but for what is protected. It reports how many were changed.
func (s *Store) QuarantineBy(ctx context.Context, f MediaFilter, by matrix.UserID) (n int64, err error) {
	return s.execOnce(ctx, `
		UPDATE media m SET quarantined_by = $13 WHERE`+mediaFilter+` AND m.quarantined_by IS NULL AND NOT m.protected`,
		append(f.arguments(), string(by))...)
}

// ProtectMedia keeps media that was uploaded here from quarantine and from removal by age, or gives it free. ErrNotFound if the
// organisation has no such media.
func (s *Store) ProtectMedia(ctx context.Context, org int64, mediaID string, protected bool) error {
	n, err := s.exec(ctx, `
		UPDATE media SET protected = $3 FROM hosted_domains h
		WHERE media.organisation_id = $1 AND media.media_id = $2 AND h.server_name = media.server_name`, org, mediaID, protected)
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
	// KeepProfiles leaves out what hangs on a profile, or is a room's avatar or an organisation's logo, KeepProtected what is protected.
	KeepProfiles, KeepProtected bool
	// KeepHeld leaves out what somebody has uploaded who is held, and what hangs in a room that is.
	KeepHeld bool
	// Server is the server that the URI names; Hosted and Remote choose what was uploaded here and what was fetched from others.
	Server         matrix.ServerName
	Hosted, Remote bool
}

const mediaFilter = ` m.organisation_id = $1 AND ($2 = '' OR m.user_id = $2)
	AND ($3::bigint = 0 OR EXISTS (SELECT FROM media_links l WHERE l.server_name = m.server_name AND l.media_id = m.media_id AND l.room_nid = $3))
	AND ($4::bigint = 0 OR m.created_ts < $4) AND ($5::bigint = 0 OR m.size > $5)
	AND ($6::text[] IS NULL OR m.kind = ANY ($6))
	AND NOT ($7 AND EXISTS (SELECT FROM media_links l LEFT JOIN events e ON e.position = l.position AND l.position > 0
		WHERE l.server_name = m.server_name AND l.media_id = m.media_id AND (l.room_nid = 0 OR e.type IN ('m.room.avatar', 'm.room.member'))))
	AND NOT ($8 AND m.protected)
	AND ($9 = '' OR m.server_name = $9)
	AND (NOT ($10 OR $11) OR EXISTS (SELECT FROM hosted_domains h WHERE h.server_name = m.server_name) = $10)
	AND NOT ($12 AND (EXISTS (SELECT FROM legal_holds h WHERE h.user_id = m.user_id)
		OR EXISTS (SELECT FROM legal_holds h JOIN media_links l USING (room_nid) WHERE l.server_name = m.server_name AND l.media_id = m.media_id)))`

func (f *MediaFilter) arguments() []any {
	var kinds any
	if f.Kinds != nil {
		kinds = pq.Array(f.Kinds)
	}
	return []any{f.OrganisationID, string(f.UserID), f.RoomNID, int64(f.Before), f.LargerThan, kinds, f.KeepProfiles, f.KeepProtected,
		string(f.Server), f.Hosted, f.Remote, f.KeepHeld}
}

// MediaOrder is how a list of media is ordered: by a column, and then by the media id. Without a column the newest is first.
type MediaOrder struct {
	By         string
	Descending bool
}

// mediaOrders are the columns that lists may be ordered by.
var mediaOrders = map[string]string{
	"": "m.created_ts", "media_id": "m.media_id", "upload_name": "m.file_name", "created_ts": "m.created_ts", "media_length": "m.size",
	"media_type": "m.content_type", "quarantined_by": "m.quarantined_by", "safe_from_quarantine": "m.protected",
	// When media was last fetched is not noted.
	"last_access_ts": "m.created_ts",
}

// IsMediaOrder reports whether lists can be ordered by the column.
func IsMediaOrder(by string) bool { return mediaOrders[by] != "" }

func (o MediaOrder) sql() string {
	if o.Descending || o.By == "" {
		return mediaOrders[o.By] + ` DESC NULLS LAST, m.media_id`
	}
	return mediaOrders[o.By] + ` NULLS FIRST, m.media_id`
}

// ListMediaBy returns the media that f chooses from the from-th on, in an order; and how many there are in all.
func (s *Store) ListMediaBy(ctx context.Context, f MediaFilter, order MediaOrder, from, limit int) (media []Media, total int64, err error) {
	if !IsMediaOrder(order.By) {
		return nil, 0, fmt.Errorf("list media: no order by %q", order.By)
	}
	err = s.Read(ctx, func(tx *Tx) error {
		if err := tx.queryRow(ctx, `SELECT count(*) FROM media m WHERE`+mediaFilter, f.arguments()...).Scan(&total); err != nil {
			return err
		}
		rows, err := tx.query(ctx, `
			SELECT `+mediaColumns+` FROM `+mediaTables+` WHERE`+mediaFilter+`
			ORDER BY `+order.sql()+` OFFSET $13 LIMIT $14`, append(f.arguments(), from, limit)...)
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
	return s.mediaUsage(ctx, string(user))
}

// GetOrganisationMediaUsage returns the usage of an organisation.
func (s *Store) GetOrganisationMediaUsage(ctx context.Context, org int64) (MediaUsage, error) {
	return s.mediaUsage(ctx, strconv.FormatInt(org, 10))
}

func (s *Store) mediaUsage(ctx context.Context, owner string) (MediaUsage, error) {
	var u MediaUsage
	err := s.queryRow(ctx, `SELECT bytes, files FROM media_usage WHERE owner = $1`, owner).Scan(&u.Bytes, &u.Files)
	if errors.Is(err, ErrNotFound) {
		return MediaUsage{}, nil
	}
	return u, err
}

// UserMediaUsage is how much media a user has.
type UserMediaUsage struct {
	UserID      matrix.UserID
	DisplayName string
	MediaUsage
}

// UsageFilter chooses users of an organisation who have media, and what of it counts; zero values choose all.
type UsageFilter struct {
	OrganisationID int64
	// From and Until bound when the media was uploaded.
	From, Until matrix.Timestamp
	// Search is part of the user id or of the display name.
	Search string
}

var usageOrders = map[string]string{
	"": "user_id", "user_id": "user_id", "displayname": "name", "media_count": "files", "media_length": "bytes",
}

// IsUsageOrder reports whether usage can be ordered by the column.
func IsUsageOrder(by string) bool { return usageOrders[by] != "" }

// ListMediaUsage returns how much media users have from the from-th on, in an order; and how many users there are in all.
func (s *Store) ListMediaUsage(
	ctx context.Context, f UsageFilter, order MediaOrder, from, limit int,
) (users []UserMediaUsage, total int64, err error) {
	if !IsUsageOrder(order.By) {
		return nil, 0, fmt.Errorf("list media usage: no order by %q", order.By)
	}
	by := usageOrders[order.By]
	if order.Descending {
		by += " DESC"
	}
	const usage = `
		WITH used AS (
			SELECT m.user_id, count(*) AS files, sum(m.size)::bigint AS bytes FROM media m
			WHERE m.organisation_id = $1 AND m.user_id <> '' AND m.object_key IS NOT NULL
				AND ($2::bigint = 0 OR m.created_ts >= $2) AND ($3::bigint = 0 OR m.created_ts <= $3)
			GROUP BY m.user_id
		), named AS (
			SELECT used.*, coalesce(convert_from(p.value, 'UTF8')::jsonb #>> '{}', '') AS name
			FROM used LEFT JOIN profiles p ON p.user_id = used.user_id AND p.key = 'displayname'
		), chosen AS (
			SELECT * FROM named
			WHERE $4 = '' OR position(lower($4) IN lower(user_id)) > 0 OR position(lower($4) IN lower(name)) > 0
		)`
	arguments := []any{f.OrganisationID, int64(f.From), int64(f.Until), f.Search}
	err = s.Read(ctx, func(tx *Tx) error {
		if err := tx.queryRow(ctx, usage+` SELECT count(*) FROM chosen`, arguments...).Scan(&total); err != nil {
			return err
		}
		rows, err := tx.query(ctx, usage+` SELECT user_id, name, files, bytes FROM chosen ORDER BY `+by+`, user_id OFFSET $5 LIMIT $6`,
			append(arguments, from, limit)...)
		users, err = scanAll(rows, err, func(rows *sql.Rows) (UserMediaUsage, error) {
			var u UserMediaUsage
			err := rows.Scan(&u.UserID, &u.DisplayName, &u.Files, &u.Bytes)
			return u, err
		})
		return err
	})
	return users, total, err
}
