package store

import (
	"context"

	"github.com/roomline/roomline/internal/matrix"
)

// URLPreview is what a page says of itself, as it was told to an organisation.
type URLPreview struct {
	OrganisationID int64
	// URLHash is the SHA-256 of the URL and of the language that was asked for.
	URLHash []byte
	// Body is the answer. Image is the media that it names, or zero.
	Body      []byte
	Image     matrix.ContentURI
	ExpiresTS matrix.Timestamp
}

// GetURLPreview returns a preview that has not expired, or ErrNotFound.
func (s *Store) GetURLPreview(ctx context.Context, org int64, hash []byte, now matrix.Timestamp) (URLPreview, error) {
	p := URLPreview{OrganisationID: org, URLHash: hash}
	err := s.queryRow(ctx, `
		SELECT body, server_name, media_id, expires_ts FROM url_previews WHERE organisation_id = $1 AND url_hash = $2 AND expires_ts > $3`,
		org, hash, int64(now)).Scan(&p.Body, &p.Image.Server, &p.Image.MediaID, &p.ExpiresTS)
	return p, err
}

// PutURLPreview stores a preview in place of an older one of the same page.
func (s *Store) PutURLPreview(ctx context.Context, p URLPreview) error {
	_, err := s.exec(ctx, `
		INSERT INTO url_previews (organisation_id, url_hash, body, server_name, media_id, expires_ts) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (organisation_id, url_hash) DO UPDATE
		SET body = excluded.body, server_name = excluded.server_name, media_id = excluded.media_id, expires_ts = excluded.expires_ts`,
		p.OrganisationID, p.URLHash, p.Body, string(p.Image.Server), p.Image.MediaID, int64(p.ExpiresTS))
	return err
}

// DeleteURLPreviewsBefore removes previews that have expired; at most limit.
func (s *Store) DeleteURLPreviewsBefore(ctx context.Context, before matrix.Timestamp, limit int) (int64, error) {
	return s.exec(ctx, `
		DELETE FROM url_previews WHERE (organisation_id, url_hash) IN (
			SELECT organisation_id, url_hash FROM url_previews WHERE expires_ts <= $1 LIMIT $2)`, int64(before), limit)
}
