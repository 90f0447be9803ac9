package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/matrix"
)

// States of an object; see the schema.
const (
	objectWriting = "writing"
	objectStored  = "stored"
	objectGone    = "gone"
)

// MediaQuota bounds what a user and an organisation may have: bytes, and files of the user. 0 is no bound.
type MediaQuota struct {
	UserBytes, UserFiles, OrganisationBytes int64
}

// ErrUserQuota and ErrOrganisationQuota say that there would be more media than a quota allows.
var (
	ErrUserQuota         = errors.New("store: the user's media quota")
	ErrOrganisationQuota = errors.New("store: the organisation's media quota")
)

// ErrMediaTaken says that the media was uploaded before.
var ErrMediaTaken = errors.New("store: the media has content already")

// NewObject is an object that is about to be written. Its bytes are charged to the user, and to the organisation.
type NewObject struct {
	Key            string
	OrganisationID int64
	UserID         matrix.UserID
	Size           int64
	Quota          MediaQuota
}

// The errors that the functions of the schema raise.
const (
	raisedOrganisationQuota = "RLMQO"
	raisedUserQuota         = "RLMQU"
	raisedNotWriting        = "RLMGO"
	raisedTaken             = "RLMTA"
)

// raised turns an error that a function of the schema raises into what it means.
func raised(err error) error {
	pqErr, ok := errors.AsType[*pq.Error](err)
	if !ok {
		return err
	}
	switch pqErr.Code {
	case raisedOrganisationQuota:
		return ErrOrganisationQuota
	case raisedUserQuota:
		return ErrUserQuota
	case raisedNotWriting:
		return fmt.Errorf("finish object: %w", ErrNotFound)
	case raisedTaken:
		return ErrMediaTaken
	}
	return err
}

// BeginObject notes an object before its first byte is written.
func (s *Store) BeginObject(ctx context.Context, o NewObject, now matrix.Timestamp) error {
	err := retried(ctx, func() error {
		_, err := s.exec(ctx, `SELECT media_begin($1, $2, $3, $4, $5, $6, $7, $8)`,
			o.Key, o.OrganisationID, string(o.UserID), o.Size, o.Quota.OrganisationBytes, o.Quota.UserBytes, o.Quota.UserFiles, int64(now))
		return err
	})
	if IsUniqueViolation(err) {
		return nil // its answer was lost, and it was sent again: keys are made once
	}
	return raised(err)
}

// GrowObject charges more bytes for an object of unknown length while it is being written.
func (s *Store) GrowObject(ctx context.Context, o NewObject, more int64) error {
	return s.Write(ctx, func(tx *Tx) error {
		if err := tx.charge(ctx, o.OrganisationID, o.UserID, more, 0, o.Quota); err != nil {
			return err
		}
		n, err := tx.exec(ctx, `
			UPDATE media_objects SET size = size + $2 WHERE object_key = $1 AND state = $3`, o.Key, more, objectWriting)
		if err == nil && n == 0 {
			return fmt.Errorf("grow object: %w", ErrNotFound)
		}
		return err
	})
}

// charge adds to what the user and the organisation have, or takes away; without a user, to the organisation's alone. Rows are locked in one order: the organisation's, the user's.
func (tx *Tx) charge(ctx context.Context, org int64, user matrix.UserID, bytes, files int64, quota MediaQuota) error {
	if bytes == 0 && files == 0 {
		return nil
	}
	for _, owner := range []struct {
		name                string
		bytesMost, fileMost int64
		err                 error
	}{
		{strconv.FormatInt(org, 10), quota.OrganisationBytes, 0, ErrOrganisationQuota},
		{string(user), quota.UserBytes, quota.UserFiles, ErrUserQuota},
	} {
		if owner.name == "" {
			continue
		}
		var u MediaUsage
		err := tx.queryRow(ctx, `
			INSERT INTO media_usage (owner, bytes, files) VALUES ($1, greatest($2, 0), greatest($3, 0))
			ON CONFLICT (owner) DO UPDATE SET bytes = greatest(media_usage.bytes + $2, 0), files = greatest(media_usage.files + $3, 0)
			RETURNING bytes, files`, owner.name, bytes, files).Scan(&u.Bytes, &u.Files)
		if err != nil {
			return err
		}
		tooMany := bytes > 0 && owner.bytesMost > 0 && u.Bytes > owner.bytesMost || files > 0 && owner.fileMost > 0 && u.Files > owner.fileMost
		if tooMany {
			return owner.err
		}
	}
	return nil
}

// AbortObject gives up an object that was being written. Its bytes are still to be removed.
func (s *Store) AbortObject(ctx context.Context, key string, now matrix.Timestamp) error {
	return s.Write(ctx, func(tx *Tx) error { return tx.abortObject(ctx, key, now) })
}

func (tx *Tx) abortObject(ctx context.Context, key string, now matrix.Timestamp) error {
	var org, size int64
	var user matrix.UserID
	err := tx.queryRow(ctx, `
		UPDATE media_objects SET state = $2, since_ts = $3 WHERE object_key = $1 AND state = $4
		RETURNING organisation_id, size, user_id`, key, objectGone, int64(now), objectWriting).Scan(&org, &size, &user)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	// Nobody is charged with a thumbnail.
	if err != nil || size == 0 && user == "" {
		return err
	}
	return tx.charge(ctx, org, user, -size, -1, MediaQuota{})
}

// AbortObjectsBefore gives up what has been written since before the given time: the process that did it is gone. At most limit.
func (s *Store) AbortObjectsBefore(ctx context.Context, before, now matrix.Timestamp, limit int) (n int64, err error) {
	err = s.Write(ctx, func(tx *Tx) error {
		rows, err := tx.query(ctx, `
			SELECT object_key FROM media_objects WHERE state = $1 AND since_ts < $2 ORDER BY since_ts LIMIT $3 FOR UPDATE SKIP LOCKED`,
			objectWriting, int64(before), limit)
		keys, err := scanAll(rows, err, scanString)
		n = int64(len(keys))
		for _, key := range keys {
			if err == nil {
				err = tx.abortObject(ctx, key, now)
			}
		}
		return err
	})
	return n, err
}

func scanString(rows *sql.Rows) (string, error) {
	var s string
	err := rows.Scan(&s)
	return s, err
}

// Uploaded is an object that is written: what is known of it by now.
type Uploaded struct {
	Key    string
	SHA256 []byte
	CRC32C uint32
	Size   int64
	// Media is what the object is content of. Its own ObjectKey and Size say nothing yet.
	Media Media
	// Announced says that the media exists already, without content.
	Announced bool
}

// FinishObject makes a written object the content of media. If the organisation has the same content already the media gets that, and the
// object is to be removed.
func (s *Store) FinishObject(ctx context.Context, u Uploaded, now matrix.Timestamp) error {
	m := &u.Media
	finish := func() error {
		_, err := s.exec(ctx, `SELECT media_finish($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)`,
			u.Key, u.SHA256, int64(u.CRC32C), u.Size, u.Announced, string(m.URI.Server), m.URI.MediaID, m.OrganisationID, string(m.UserID),
			string(m.DeviceID), m.ContentType, m.FileName, m.Kind, m.Restricted, int64(m.CreatedTS), int64(m.ExpiresTS), int64(now))
		return err
	}
	err := retried(ctx, finish)
	// Two uploads of the same content at once: the second one finds the first one's object.
	for attempt := 0; IsUniqueViolation(err) && attempt < 3; attempt++ {
		err = retried(ctx, finish)
	}
	return raised(err)
}

func (tx *Tx) insertMedia(ctx context.Context, m *Media) error {
	_, err := tx.exec(ctx, `
		INSERT INTO media (server_name, media_id, organisation_id, user_id, device_id, object_key, content_type, file_name, size, kind, restricted,
			created_ts, expires_ts)
		VALUES ($1, $2, $3, $4, $5, nullif($6, ''), $7, $8, $9, $10, $11, $12, nullif($13, 0::bigint))`,
		string(m.URI.Server), m.URI.MediaID, m.OrganisationID, string(m.UserID), string(m.DeviceID), m.ObjectKey, m.ContentType, m.FileName,
		m.Size, m.Kind, m.Restricted, int64(m.CreatedTS), int64(m.ExpiresTS))
	return err
}

// AnnounceMedia notes media that is to be uploaded later, unless the user has more than most of these already: then it reports false.
func (s *Store) AnnounceMedia(ctx context.Context, m Media, most int64, now matrix.Timestamp) (ok bool, err error) {
	err = s.Write(ctx, func(tx *Tx) error {
		ok = false
		if _, err := tx.LockUser(ctx, m.UserID); err != nil {
			return err
		}
		var waiting int64
		err := tx.queryRow(ctx, `
			SELECT count(*) FROM media WHERE user_id = $1 AND object_key IS NULL AND expires_ts > $2`, string(m.UserID), int64(now)).Scan(&waiting)
		if err != nil || waiting >= most {
			return err
		}
		ok = true
		return tx.insertMedia(ctx, &m)
	})
	return ok, err
}

// CopyMedia makes new media of the same content, charged to its new user.
func (s *Store) CopyMedia(ctx context.Context, m Media, quota MediaQuota) error {
	return s.Write(ctx, func(tx *Tx) error {
		if err := tx.charge(ctx, m.OrganisationID, m.UserID, m.Size, 1, quota); err != nil {
			return err
		}
		// The lock keeps the content from being removed meanwhile.
		err := tx.queryRow(ctx, `
			SELECT object_key FROM media_objects WHERE object_key = $1 AND state = $2 FOR UPDATE`, m.ObjectKey, objectStored).Scan(new(string))
		if err != nil {
			return err
		}
		m.Kind = ""
		return tx.insertMedia(ctx, &m)
	})
}

// Thumbnail is an object that was made from another one.
type Thumbnail struct {
	ObjectKey      string
	OrganisationID int64
	Of             string
	Width, Height  int
	Crop, Animated bool
	ContentType    string
	Size           int64
	SHA256         []byte
	// CRC32C is nil for what was made before there were any.
	CRC32C *uint32
}

// GetThumbnail returns a thumbnail that was made before, or ErrNotFound.
func (s *Store) GetThumbnail(ctx context.Context, of string, width, height int, crop, animated bool) (Thumbnail, error) {
	t := Thumbnail{Of: of, Width: width, Height: height, Crop: crop, Animated: animated}
	err := s.queryRow(ctx, `
		SELECT object_key, organisation_id, content_type, size, sha256, crc32c FROM media_objects
		WHERE thumbnail_of = $1 AND width = $2 AND height = $3 AND crop = $4 AND animated = $5 AND state = $6`,
		of, width, height, crop, animated, objectStored).Scan(&t.ObjectKey, &t.OrganisationID, &t.ContentType, &t.Size, &t.SHA256, &t.CRC32C)
	return t, err
}

// BeginThumbnail notes a thumbnail before its first byte is written.
func (s *Store) BeginThumbnail(ctx context.Context, key string, org int64, now matrix.Timestamp) error {
	_, err := s.exec(ctx, `
		INSERT INTO media_objects (object_key, organisation_id, state, since_ts) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
		key, org, objectWriting, int64(now))
	return err
}

// FinishThumbnail keeps a written thumbnail, unless there is one by now or what it was made from is gone: then it is to be removed.
func (s *Store) FinishThumbnail(ctx context.Context, t Thumbnail, now matrix.Timestamp) error {
	finish := func(tx *Tx) error {
		err := tx.queryRow(ctx, `
			SELECT object_key FROM media_objects WHERE object_key = $1 AND state = $2 FOR UPDATE`, t.Of, objectStored).Scan(new(string))
		if err != nil {
			return err
		}
		_, err = tx.exec(ctx, `
			UPDATE media_objects SET state = $2, thumbnail_of = $3, width = $4, height = $5, crop = $6, animated = $7, content_type = $8,
				size = $9, sha256 = $10, since_ts = $11, crc32c = $13
			WHERE object_key = $1 AND state = $12`,
			t.ObjectKey, objectStored, t.Of, t.Width, t.Height, t.Crop, t.Animated, t.ContentType, t.Size, t.SHA256, int64(now), objectWriting, nullable(t.CRC32C))
		return err
	}
	err := s.Write(ctx, finish)
	if errors.Is(err, ErrNotFound) || IsUniqueViolation(err) {
		return s.AbortObject(ctx, t.ObjectKey, now)
	}
	return err
}

func nullable(n *uint32) any {
	if n == nil {
		return nil
	}
	return int64(*n)
}

// ListGoneObjects returns the keys of objects whose bytes are to be removed, those first that have waited longest: those that were stored,
// and those of which nobody knows how far their upload came.
func (s *Store) ListGoneObjects(ctx context.Context, limit int) (stored, unfinished []string, err error) {
	rows, err := s.query(ctx, `
		SELECT object_key, sha256 IS NOT NULL FROM media_objects WHERE state = $1 ORDER BY since_ts LIMIT $2`, objectGone, limit)
	_, err = scanAll(rows, err, func(rows *sql.Rows) (key string, err error) {
		var whole bool
		if err := rows.Scan(&key, &whole); err != nil {
			return "", err
		}
		if whole {
			stored = append(stored, key)
		} else {
			unfinished = append(unfinished, key)
		}
		return key, nil
	})
	return stored, unfinished, err
}

// DeleteObjects forgets objects whose bytes are removed.
func (s *Store) DeleteObjects(ctx context.Context, keys []string) error {
	_, err := s.exec(ctx, `DELETE FROM media_objects WHERE object_key = ANY ($1) AND state = $2`, pq.Array(keys), objectGone)
	return err
}

// ObjectInfo is what the database says of an object.
type ObjectInfo struct {
	Key    string
	Stored bool
	// Writing says that it is being written; what is neither stored nor being written is to be removed.
	Writing bool
	Size    int64
	SHA256  []byte
	// SinceTS is since when that is so.
	SinceTS matrix.Timestamp
	// Needed says that it is the content of media, or a thumbnail of such content.
	Needed bool
}

const objectInfoColumns = `o.object_key, o.state, o.size, o.sha256, o.since_ts,
	EXISTS (SELECT FROM media m WHERE m.object_key = coalesce(o.thumbnail_of, o.object_key))`

func scanObjectInfo(rows *sql.Rows) (ObjectInfo, error) {
	var o ObjectInfo
	var state string
	err := rows.Scan(&o.Key, &state, &o.Size, &o.SHA256, &o.SinceTS, &o.Needed)
	o.Stored, o.Writing = state == objectStored, state == objectWriting
	return o, err
}

// ListObjects returns the objects whose keys come after a key, in the order of the keys; at most limit.
func (s *Store) ListObjects(ctx context.Context, after string, limit int) ([]ObjectInfo, error) {
	rows, err := s.query(ctx, `
		SELECT `+objectInfoColumns+` FROM media_objects o WHERE object_key > $1 ORDER BY object_key LIMIT $2`, after, limit)
	return scanAll(rows, err, scanObjectInfo)
}

// ListObjectsOf returns those of the objects that the database knows, in any state and in no order.
func (s *Store) ListObjectsOf(ctx context.Context, keys []string) ([]ObjectInfo, error) {
	rows, err := s.query(ctx, `SELECT `+objectInfoColumns+` FROM media_objects o WHERE object_key = ANY ($1)`, pq.Array(keys))
	return scanAll(rows, err, scanObjectInfo)
}

// LoseObject is for an object whose bytes are lost: the media whose content it was is deleted under a rule, a thumbnail can be made
// anew. What is left of the bytes is marked to be removed. It returns the media.
func (s *Store) LoseObject(ctx context.Context, key, rule string, now matrix.Timestamp) (lost []matrix.ContentURI, err error) {
	rows, err := s.query(ctx, `SELECT organisation_id, server_name, media_id FROM media WHERE object_key = $1`, key)
	media, err := scanAll(rows, err, func(rows *sql.Rows) (Media, error) {
		var m Media
		err := rows.Scan(&m.OrganisationID, &m.URI.Server, &m.URI.MediaID)
		return m, err
	})
	for i := 0; i < len(media) && err == nil; i++ {
		var deleted []matrix.ContentURI
		deleted, err = s.DeleteMedia(ctx, media[i].OrganisationID, []matrix.ContentURI{media[i].URI}, Deleting{Rule: rule, At: now})
		lost = append(lost, deleted...)
	}
	if err != nil {
		return lost, err
	}
	return lost, s.Write(ctx, func(tx *Tx) error {
		_, err := tx.releaseObjects(ctx, []string{key}, now)
		return err
	})
}
