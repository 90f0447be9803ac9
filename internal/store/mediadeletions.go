package store

import (
	"cmp"
	"context"
	"database/sql"
	"maps"
	"slices"
	"strings"

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
	for some := range slices.Chunk(uris, deletedAtOnce) {
		var gone []matrix.ContentURI
		err := s.Write(ctx, func(tx *Tx) error {
			gone = nil
			media, err := tx.lockMedia(ctx, some)
			if err != nil {
				return err
			}
			var all []doomed
			for i := range media {
				if media[i].OrganisationID == org {
					all, gone = append(all, doomed{&media[i], d}), append(gone, media[i].URI)
				}
			}
			return tx.deleteMedia(ctx, all)
		})
		if err != nil {
			return deleted, err
		}
		deleted = append(deleted, gone...)
	}
	return deleted, nil
}

// deletedAtOnce is how much media one transaction deletes: its organisations' uploads wait for it.
const deletedAtOnce = 200

// lockMedia keeps everybody else from linking or deleting media until the transaction ends, and returns those that there are.
func (tx *Tx) lockMedia(ctx context.Context, uris []matrix.ContentURI) ([]Media, error) {
	servers, ids := splitURIs(uris)
	rows, err := tx.query(ctx, `
		SELECT `+mediaColumns+` FROM `+mediaTables+`
		WHERE (m.server_name, m.media_id) IN (SELECT * FROM unnest($1::text[], $2::text[]))
		ORDER BY m.server_name, m.media_id FOR UPDATE OF m`, pq.Array(servers), pq.Array(ids))
	return scanAll(rows, err, scanMedia)
}

// doomed is locked media that is to be deleted, and why.
type doomed struct {
	media *Media
	why   Deleting
}

// deleteMedia deletes locked media. Locks are taken in one order: media, objects, usage.
func (tx *Tx) deleteMedia(ctx context.Context, all []doomed) error {
	var uris []matrix.ContentURI
	for _, d := range all {
		uris = append(uris, d.media.URI)
	}
	servers, ids := splitURIs(uris)
	_, err := tx.exec(ctx, `
		DELETE FROM media USING unnest($1::text[], $2::text[]) AS x (server, id) WHERE server_name = x.server AND media_id = x.id`,
		pq.Array(servers), pq.Array(ids))
	// What was announced only has nothing else.
	all = slices.DeleteFunc(all, func(d doomed) bool { return d.media.ObjectKey == "" })
	if err != nil || len(all) == 0 {
		return err
	}
	var keys []string
	for _, d := range all {
		keys = append(keys, d.media.ObjectKey)
	}
	objects, err := tx.releaseObjects(ctx, keys, all[0].why.At)
	if err == nil {
		err = tx.refund(ctx, all)
	}
	if err != nil {
		return err
	}
	return tx.noteDeletions(ctx, all, objects)
}

// releaseObjects marks objects and their thumbnails as gone, unless media has them as its content. It returns what is gone, by the object.
func (tx *Tx) releaseObjects(ctx context.Context, keys []string, now matrix.Timestamp) (gone map[string][]string, err error) {
	rows, err := tx.query(ctx, `SELECT object_key FROM media_objects WHERE object_key = ANY ($1) ORDER BY object_key FOR UPDATE`, pq.Array(keys))
	if _, err = scanAll(rows, err, scanString); err != nil {
		return nil, err
	}
	rows, err = tx.query(ctx, `
		SELECT key FROM unnest($1::text[]) AS key WHERE NOT EXISTS (SELECT FROM media WHERE object_key = key)`, pq.Array(keys))
	unused, err := scanAll(rows, err, scanString)
	if err != nil {
		return nil, err
	}
	gone = map[string][]string{}
	rows, err = tx.query(ctx, `
		UPDATE media_objects SET state = $2, since_ts = $3 WHERE (object_key = ANY ($1) OR thumbnail_of = ANY ($1)) AND state = $4
		RETURNING coalesce(thumbnail_of, object_key), object_key`, pq.Array(unused), objectGone, int64(now), objectStored)
	_, err = scanAll(rows, err, func(rows *sql.Rows) (key string, err error) {
		var of string
		err = rows.Scan(&of, &key)
		gone[of] = append(gone[of], key)
		return key, err
	})
	return gone, err
}

// refund takes deleted media off what its owners are charged with.
func (tx *Tx) refund(ctx context.Context, all []doomed) error {
	type owner struct {
		org  int64
		user matrix.UserID
	}
	sums := map[owner]MediaUsage{}
	for _, d := range all {
		o := owner{d.media.OrganisationID, d.media.UserID}
		sums[o] = MediaUsage{sums[o].Bytes + d.media.Size, sums[o].Files + 1}
	}
	owners := slices.SortedFunc(maps.Keys(sums), func(a, b owner) int {
		return cmp.Or(cmp.Compare(a.org, b.org), cmp.Compare(a.user, b.user))
	})
	for _, o := range owners {
		if err := tx.charge(ctx, o.org, o.user, -sums[o].Bytes, -sums[o].Files, MediaQuota{}); err != nil {
			return err
		}
	}
	return nil
}

// noteDeletions notes what the receipts will say. Of media with one content the first in the list is noted with its objects.
func (tx *Tx) noteDeletions(ctx context.Context, all []doomed, objects map[string][]string) error {
	var orgs, sizes []int64
	var servers, ids, users, by, rules, events, gone []string
	var hashes [][]byte
	for _, d := range all {
		m := d.media
		orgs, sizes, hashes = append(orgs, m.OrganisationID), append(sizes, m.Size), append(hashes, m.SHA256)
		servers, ids, users = append(servers, string(m.URI.Server)), append(ids, m.URI.MediaID), append(users, string(m.UserID))
		by, rules, events = append(by, string(d.why.By)), append(rules, d.why.Rule), append(events, string(d.why.EventID))
		gone = append(gone, strings.Join(objects[m.ObjectKey], " "))
		delete(objects, m.ObjectKey)
	}
	_, err := tx.exec(ctx, `
		INSERT INTO media_deletions (organisation_id, server_name, media_id, user_id, size, sha256, deleted_by, rule, event_id, objects, deleted_ts)
		SELECT x.org, x.server, x.id, x.who, x.size, x.sha256, x.by, x.rule, x.event, string_to_array(x.objects, ' '), $11
		FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bytea[], $7::text[], $8::text[], $9::text[], $10::text[])
			WITH ORDINALITY AS x (org, server, id, who, size, sha256, by, rule, event, objects, n)
		ORDER BY x.n`,
		pq.Array(orgs), pq.Array(servers), pq.Array(ids), pq.Array(users), pq.Array(sizes), pq.ByteaArray(hashes), pq.Array(by),
		pq.Array(rules), pq.Array(events), pq.Array(gone), int64(all[0].why.At))
	return err
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

// erased says that the account of its uploader was erased.
func (u *unlinkedMedia) erased() bool { return u.eventID == "" && u.redactedBy != "" }

// HasMediaToSweep reports whether there is work for DeleteUnlinkedMedia, ListGoneObjects or ListUnsignedDeletions: one question where those
// are three.
func (s *Store) HasMediaToSweep(ctx context.Context) (some bool, err error) {
	err = s.queryRow(ctx, `
		SELECT EXISTS (SELECT FROM media_unlinked) OR EXISTS (SELECT FROM media_objects WHERE state = $1)
			OR EXISTS (SELECT FROM media_deletions d WHERE `+unsigned+`)`, objectGone).Scan(&some)
	return some, err
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
	for some := range slices.Chunk(waiting, deletedAtOnce) {
		if err := s.Write(ctx, func(tx *Tx) error { return tx.deleteUnlinked(ctx, some, now, rules) }); err != nil {
			return n, err
		}
		n += len(some)
	}
	return n, nil
}

func (tx *Tx) deleteUnlinked(ctx context.Context, waiting []unlinkedMedia, now matrix.Timestamp, rules UnlinkRules) error {
	var uris []matrix.ContentURI
	var events []string
	first := map[matrix.ContentURI]unlinkedMedia{}
	for _, u := range waiting {
		uris, events = append(uris, u.uri), append(events, string(u.eventID))
		if _, ok := first[u.uri]; !ok || u.erased() {
			first[u.uri] = u
		}
	}
	media, err := tx.lockMedia(ctx, uris)
	if err != nil {
		return err
	}
	servers, ids := splitURIs(uris)
	linked, err := tx.linked(ctx, servers, ids)
	if err != nil {
		return err
	}
	var all []doomed
	for i := range media {
		u := first[media[i].URI]
		if linked[media[i].URI] && !u.erased() {
			continue
		}
		d := Deleting{EventID: u.eventID, At: now}
		if d.By, d.Rule, err = tx.unlinker(ctx, u, rules); err != nil {
			return err
		}
		all = append(all, doomed{&media[i], d})
	}
	if err := tx.deleteMedia(ctx, all); err != nil {
		return err
	}
	_, err = tx.exec(ctx, `
		DELETE FROM media_unlinked m USING unnest($1::text[], $2::text[], $3::text[]) AS x (server, id, event)
		WHERE m.server_name = x.server AND m.media_id = x.id AND m.event_id = x.event`, pq.Array(servers), pq.Array(ids), pq.Array(events))
	return err
}

// linked are those of the media that hang on something.
func (tx *Tx) linked(ctx context.Context, servers, ids []string) (map[matrix.ContentURI]bool, error) {
	rows, err := tx.query(ctx, `
		SELECT DISTINCT l.server_name, l.media_id FROM media_links l
		JOIN unnest($1::text[], $2::text[]) AS x (server, id) ON l.server_name = x.server AND l.media_id = x.id`,
		pq.Array(servers), pq.Array(ids))
	linked := map[matrix.ContentURI]bool{}
	_, err = scanAll(rows, err, func(rows *sql.Rows) (uri matrix.ContentURI, err error) {
		err = rows.Scan(&uri.Server, &uri.MediaID)
		linked[uri] = true
		return uri, err
	})
	return linked, err
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

// DeleteEventDeletionsBefore forgets notes of deletions that were carried out before ts, at most limit.
func (s *Store) DeleteEventDeletionsBefore(ctx context.Context, ts matrix.Timestamp, limit int) (int64, error) {
	return s.exec(ctx, `
		DELETE FROM event_deletions WHERE ctid = ANY (ARRAY (
			SELECT ctid FROM event_deletions WHERE deleted_ts < $1 LIMIT $2))`, int64(ts), limit)
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

// unlinker is who took the last link away, and under which rule.
func (tx *Tx) unlinker(ctx context.Context, u unlinkedMedia, rules UnlinkRules) (by matrix.UserID, rule string, err error) {
	switch {
	case u.erased():
		return matrix.UserID(u.redactedBy), rules.Erased, nil
	case u.eventID == "":
		return "", rules.Replaced, nil
	}
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
	for some := range slices.Chunk(uris, deletedAtOnce) {
		err := s.Write(ctx, func(tx *Tx) error {
			media, err := tx.lockMedia(ctx, some)
			if err != nil {
				return err
			}
			var all []doomed
			for i := range media {
				// It may have been linked, or given content, since.
				if m := &media[i]; m.ExpiresTS > 0 && m.ExpiresTS <= now {
					all = append(all, doomed{m, Deleting{Rule: rule, At: now}})
				}
			}
			return tx.deleteMedia(ctx, all)
		})
		if err != nil {
			return n, err
		}
		n += int64(len(some))
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

// unsigned is the condition that a deletion has no receipt, and that its bytes are gone.
const unsigned = `d.receipt IS NULL AND NOT EXISTS (SELECT FROM media_objects o WHERE o.object_key = ANY (d.objects))`

// ListUnsignedDeletions returns deletions without a receipt whose objects are all removed, the oldest first; at most limit.
func (s *Store) ListUnsignedDeletions(ctx context.Context, limit int) ([]Deletion, error) {
	rows, err := s.query(ctx, `
		SELECT `+deletionColumns+` FROM media_deletions d
		WHERE `+unsigned+` ORDER BY deletion_id LIMIT $1`, limit)
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
