package store

import (
	"context"
	"database/sql"
	"errors"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/matrix"
)

// Deletion is media that was deleted: what it was, who did it and why. It is the content of a deletion receipt.
type Deletion struct {
	ID             int64
	OrganisationID int64
	URI            matrix.ContentURI
	// UserID is who had uploaded it.
	UserID matrix.UserID
	Size   int64
	SHA256 []byte
	// DeletedBy is empty for what the server does by itself.
	DeletedBy matrix.UserID
	// Rule is under which rule it was deleted.
	Rule string
	// EventID is the event that went with it, or empty.
	EventID matrix.EventID
	// Objects are what was removed from the store: the content and its thumbnails. None if other media has the same content.
	Objects   []string
	DeletedTS matrix.Timestamp
	// Receipt is the signed receipt, nil as long as objects are not removed.
	Receipt []byte
}

// Deleting says who deletes media, and why.
type Deleting struct {
	By      matrix.UserID
	Rule    string
	EventID matrix.EventID
	At      matrix.Timestamp
}

// DeleteMedia deletes media of an organisation. What it hung on stays as it is. Those are returned that there were; their objects are marked
// to be removed.
func (s *Store) DeleteMedia(ctx context.Context, org int64, uris []matrix.ContentURI, d Deleting) (deleted []matrix.ContentURI, err error) {
	for _, uri := range uris {
		err := s.Write(ctx, func(tx *Tx) error {
			m, err := tx.lockMedia(ctx, uri)
			if err == nil && m.OrganisationID != org {
				err = ErrNotFound
			}
			if err != nil {
				return err
			}
			return tx.deleteMedia(ctx, &m, d)
		})
		switch {
		case err == nil:
			deleted = append(deleted, uri)
		case !errors.Is(err, ErrNotFound):
			return deleted, err
		}
	}
	return deleted, nil
}

// lockMedia keeps everybody else from linking or deleting media until the transaction ends.
func (tx *Tx) lockMedia(ctx context.Context, uri matrix.ContentURI) (Media, error) {
	return scanMediaRow(tx.queryRow(ctx, `
		SELECT `+mediaColumns+` FROM `+mediaTables+` WHERE m.server_name = $1 AND m.media_id = $2 FOR UPDATE OF m`,
		string(uri.Server), uri.MediaID).Scan)
}

// deleteMedia deletes locked media.
func (tx *Tx) deleteMedia(ctx context.Context, m *Media, d Deleting) error {
	_, err := tx.exec(ctx, `DELETE FROM media WHERE server_name = $1 AND media_id = $2`, string(m.URI.Server), m.URI.MediaID)
	if err != nil || m.ObjectKey == "" {
		return err
	}
	objects, err := tx.releaseObject(ctx, m.ObjectKey, d.At)
	if err != nil {
		return err
	}
	if err := tx.charge(ctx, m.OrganisationID, m.UserID, -m.Size, -1, MediaQuota{}); err != nil {
		return err
	}
	_, err = tx.exec(ctx, `
		INSERT INTO media_deletions (organisation_id, server_name, media_id, user_id, size, sha256, deleted_by, rule, event_id, objects, deleted_ts)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
		m.OrganisationID, string(m.URI.Server), m.URI.MediaID, string(m.UserID), m.Size, m.SHA256, string(d.By), d.Rule, string(d.EventID),
		pq.Array(notNilStrings(objects)), int64(d.At))
	return err
}

func notNilStrings(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// releaseObject marks an object and its thumbnails as gone, unless media has it as its content.
func (tx *Tx) releaseObject(ctx context.Context, key string, now matrix.Timestamp) (gone []string, err error) {
	err = tx.queryRow(ctx, `SELECT object_key FROM media_objects WHERE object_key = $1 FOR UPDATE`, key).Scan(new(string))
	if err != nil {
		return nil, err
	}
	var used bool
	if err := tx.queryRow(ctx, `SELECT EXISTS (SELECT FROM media WHERE object_key = $1)`, key).Scan(&used); err != nil || used {
		return nil, err
	}
	rows, err := tx.query(ctx, `
		UPDATE media_objects SET state = $2, since_ts = $3 WHERE (object_key = $1 OR thumbnail_of = $1) AND state = $4 RETURNING object_key`,
		key, objectGone, int64(now), objectStored)
	return scanAll(rows, err, scanString)
}

// UnlinkRules are the names of the rules under which media lost its last link: its event was redacted by who sent it, by who owns the room,
// or for an administrator; other media took its place in a profile, or the profile is gone; or its uploader's account was erased.
type UnlinkRules struct{ Sender, Owner, Admin, Replaced, Erased string }

// unlinkedMedia is media that has lost a link.
type unlinkedMedia struct {
	uri        matrix.ContentURI
	eventID    matrix.EventID
	redactedBy string
}

// DeleteUnlinkedMedia deletes media whose last link went, and says how much it has looked at; at most limit.
func (s *Store) DeleteUnlinkedMedia(ctx context.Context, now matrix.Timestamp, limit int, rules UnlinkRules) (n int, err error) {
	rows, err := s.query(ctx, `
		SELECT server_name, media_id, event_id, redacted_by FROM media_unlinked ORDER BY unlinked_ts LIMIT $1`, limit)
	waiting, err := scanAll(rows, err, func(rows *sql.Rows) (unlinkedMedia, error) {
		var u unlinkedMedia
		err := rows.Scan(&u.uri.Server, &u.uri.MediaID, &u.eventID, &u.redactedBy)
		return u, err
	})
	if err != nil {
		return 0, err
	}
	for _, u := range waiting {
		if err := s.Write(ctx, func(tx *Tx) error { return tx.deleteUnlinked(ctx, u, now, rules) }); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func (tx *Tx) deleteUnlinked(ctx context.Context, u unlinkedMedia, now matrix.Timestamp, rules UnlinkRules) error {
	m, err := tx.lockMedia(ctx, u.uri)
	if err == nil {
		err = tx.deleteIfUnlinked(ctx, &m, u, now, rules)
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	_, err = tx.exec(ctx, `
		DELETE FROM media_unlinked WHERE server_name = $1 AND media_id = $2 AND event_id = $3`,
		string(u.uri.Server), u.uri.MediaID, string(u.eventID))
	return err
}

func (tx *Tx) deleteIfUnlinked(ctx context.Context, m *Media, u unlinkedMedia, now matrix.Timestamp, rules UnlinkRules) error {
	if u.eventID == "" && u.redactedBy != "" {
		return tx.deleteMedia(ctx, m, Deleting{By: matrix.UserID(u.redactedBy), Rule: rules.Erased, At: now})
	}
	var linked bool
	err := tx.queryRow(ctx, `
		SELECT EXISTS (SELECT FROM media_links WHERE server_name = $1 AND media_id = $2)`, string(m.URI.Server), m.URI.MediaID).Scan(&linked)
	if err != nil || linked {
		return err
	}
	d := Deleting{Rule: rules.Replaced, EventID: u.eventID, At: now}
	if u.eventID != "" {
		if d.By, d.Rule, err = tx.redactor(ctx, u, rules); err != nil {
			return err
		}
	}
	return tx.deleteMedia(ctx, m, d)
}

// unlinkUser takes media off the profile of a user whose account is closed. With erase all that the user uploaded is to go, whatever it
// hangs on.
func (tx *Tx) unlinkUser(ctx context.Context, user matrix.UserID, erase bool, now matrix.Timestamp) error {
	_, err := tx.exec(ctx, `
		WITH lost AS (
			DELETE FROM media_links WHERE user_id = $1 RETURNING server_name, media_id
		)
		INSERT INTO media_unlinked (server_name, media_id, event_id, redacted_by, unlinked_ts)
		SELECT server_name, media_id, '', '', $2 FROM lost ON CONFLICT DO NOTHING`, string(user), int64(now))
	if err != nil || !erase {
		return err
	}
	_, err = tx.exec(ctx, `
		INSERT INTO media_unlinked (server_name, media_id, event_id, redacted_by, unlinked_ts)
		SELECT server_name, media_id, '', user_id, $2 FROM media WHERE user_id = $1
		ON CONFLICT (server_name, media_id, event_id) DO UPDATE SET redacted_by = excluded.redacted_by`, string(user), int64(now))
	return err
}

// PutEventDeletions notes that an administrator is about to delete events.
func (s *Store) PutEventDeletions(ctx context.Context, ids []matrix.EventID, by matrix.UserID, now matrix.Timestamp) error {
	_, err := s.exec(ctx, `
		INSERT INTO event_deletions (event_id, deleted_by, deleted_ts) SELECT DISTINCT x.id, $2, $3::bigint FROM unnest($1::text[]) AS x (id)
		ON CONFLICT (event_id) DO UPDATE SET deleted_by = excluded.deleted_by, deleted_ts = excluded.deleted_ts`,
		stringArray(ids), string(by), int64(now))
	return err
}

// DeleteEventDeletions takes the note back of events that were not deleted after all.
func (s *Store) DeleteEventDeletions(ctx context.Context, ids []matrix.EventID) error {
	_, err := s.exec(ctx, `
		DELETE FROM event_deletions d WHERE event_id = ANY ($1)
			AND NOT EXISTS (SELECT FROM events WHERE events.event_id = d.event_id AND redacted_by IS NOT NULL)`, stringArray(ids))
	return err
}

// DeletableEvent is an event that can be deleted: a message that was not redacted.
type DeletableEvent struct {
	Position int64
	EventID  matrix.EventID
	Sender   matrix.UserID
}

// ListDeletableEvents returns a room's messages after a position, of one sender if that is not empty, sent before a time if that is not 0;
// oldest first, at most limit. Redactions are not among them.
func (s *Store) ListDeletableEvents(
	ctx context.Context, room int64, sender matrix.UserID, before matrix.Timestamp, after int64, limit int,
) ([]DeletableEvent, error) {
	rows, err := s.query(ctx, `
		SELECT position, event_id, sender FROM events
		WHERE room_nid = $1 AND position > $2 AND state_key IS NULL AND redacted_by IS NULL AND type <> 'm.room.redaction'
			AND ($3 = '' OR sender = $3) AND ($4::bigint = 0 OR origin_server_ts < $4)
		ORDER BY position LIMIT $5`, room, after, string(sender), int64(before), limit)
	return scanAll(rows, err, func(rows *sql.Rows) (DeletableEvent, error) {
		var e DeletableEvent
		err := rows.Scan(&e.Position, &e.EventID, &e.Sender)
		return e, err
	})
}

// ListRoomsOf returns the rooms that a user has or had to do with, those of one organisation if org is not 0.
func (s *Store) ListRoomsOf(ctx context.Context, user matrix.UserID, org int64) ([]Room, error) {
	rows, err := s.query(ctx, `
		SELECT `+roomColumns+` FROM memberships JOIN rooms USING (room_nid)
		WHERE user_id = $1 AND ($2::bigint = 0 OR organisation_id = $2) ORDER BY room_nid`, string(user), org)
	return scanAll(rows, err, func(rows *sql.Rows) (Room, error) { return scanRoom(rows.Scan) })
}

// noteHolds is within how many milliseconds of an administrator's note the redaction has to be made: a process that died between the two
// leaves a note that is of no redaction.
const noteHolds = 5 * 60 * 1000

// redactor is who deleted an event, and under which rule.
func (tx *Tx) redactor(ctx context.Context, u unlinkedMedia, rules UnlinkRules) (by matrix.UserID, rule string, err error) {
	var admin, sender matrix.UserID
	err = tx.queryRow(ctx, `
		SELECT coalesce((
				SELECT d.deleted_by FROM event_deletions d JOIN events r ON r.event_id = $1
				WHERE d.event_id = $2 AND r.origin_server_ts BETWEEN d.deleted_ts - $3::bigint AND d.deleted_ts + $3::bigint), ''),
			coalesce((SELECT sender FROM events WHERE event_id = $1), ''), coalesce((SELECT sender FROM events WHERE event_id = $2), '')`,
		u.redactedBy, string(u.eventID), noteHolds).Scan(&admin, &by, &sender)
	switch {
	case err != nil:
		return "", "", err
	case admin != "":
		return admin, rules.Admin, nil
	case by == sender:
		return by, rules.Sender, nil
	}
	return by, rules.Owner, nil
}

// DeleteExpiredMedia deletes media that was not linked in time; at most limit. It says how much that was.
func (s *Store) DeleteExpiredMedia(ctx context.Context, now matrix.Timestamp, limit int, rule string) (n int64, err error) {
	rows, err := s.query(ctx, `
		SELECT server_name, media_id FROM media WHERE expires_ts <= $1 AND NOT protected ORDER BY expires_ts LIMIT $2`, int64(now), limit)
	uris, err := scanAll(rows, err, func(rows *sql.Rows) (matrix.ContentURI, error) {
		var u matrix.ContentURI
		err := rows.Scan(&u.Server, &u.MediaID)
		return u, err
	})
	if err != nil {
		return 0, err
	}
	for _, uri := range uris {
		err := s.Write(ctx, func(tx *Tx) error {
			m, err := tx.lockMedia(ctx, uri)
			// It may have been linked, or given content, since.
			if err != nil || m.ExpiresTS == 0 || m.ExpiresTS > now {
				return err
			}
			return tx.deleteMedia(ctx, &m, Deleting{Rule: rule, At: now})
		})
		if err != nil && !errors.Is(err, ErrNotFound) {
			return n, err
		}
		n++
	}
	return n, nil
}

const deletionColumns = `deletion_id, organisation_id, server_name, media_id, user_id, size, sha256, deleted_by, rule, event_id, objects,
	deleted_ts, receipt`

func scanDeletion(rows *sql.Rows) (Deletion, error) {
	var d Deletion
	err := rows.Scan(&d.ID, &d.OrganisationID, &d.URI.Server, &d.URI.MediaID, &d.UserID, &d.Size, &d.SHA256, &d.DeletedBy, &d.Rule, &d.EventID,
		pq.Array(&d.Objects), &d.DeletedTS, &d.Receipt)
	return d, err
}

// ListUnsignedDeletions returns deletions without a receipt whose objects are all removed, the oldest first; at most limit.
func (s *Store) ListUnsignedDeletions(ctx context.Context, limit int) ([]Deletion, error) {
	rows, err := s.query(ctx, `
		SELECT `+deletionColumns+` FROM media_deletions d
		WHERE receipt IS NULL AND NOT EXISTS (SELECT FROM media_objects o WHERE o.object_key = ANY (d.objects))
		ORDER BY deletion_id LIMIT $1`, limit)
	return scanAll(rows, err, scanDeletion)
}

// PutDeletionReceipts stores signed receipts by the deletions' numbers.
func (s *Store) PutDeletionReceipts(ctx context.Context, ids []int64, receipts [][]byte) error {
	_, err := s.exec(ctx, `
		UPDATE media_deletions SET receipt = x.receipt FROM unnest($1::bigint[], $2::bytea[]) AS x (id, receipt) WHERE deletion_id = x.id`,
		pq.Array(ids), pq.ByteaArray(receipts))
	return err
}

// ListDeletions returns an organisation's deletions with numbers below before (0: the newest), newest first; at most limit.
func (s *Store) ListDeletions(ctx context.Context, org, before int64, limit int) ([]Deletion, error) {
	rows, err := s.query(ctx, `
		SELECT `+deletionColumns+` FROM media_deletions
		WHERE organisation_id = $1 AND ($2::bigint = 0 OR deletion_id < $2) ORDER BY deletion_id DESC LIMIT $3`, org, before, limit)
	return scanAll(rows, err, scanDeletion)
}
