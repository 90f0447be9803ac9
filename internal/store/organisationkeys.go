package store

import (
	"context"

	"github.com/roomline/roomline/internal/matrix"
)

// EnsureOrganisationKey stores a sealed key for an organisation, unless it has one, and returns the one that it has then.
func (s *Store) EnsureOrganisationKey(ctx context.Context, organisation int64, sealed []byte, now matrix.Timestamp) ([]byte, error) {
	_, err := s.exec(ctx, `
		INSERT INTO organisation_keys (organisation_id, key_sealed, created_ts) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`,
		organisation, sealed, int64(now))
	if err != nil {
		return nil, err
	}
	return s.GetOrganisationKey(ctx, organisation)
}

// GetOrganisationKey returns the sealed key of an organisation, or ErrNotFound.
func (s *Store) GetOrganisationKey(ctx context.Context, organisation int64) ([]byte, error) {
	var sealed []byte
	err := s.queryRow(ctx, `SELECT key_sealed FROM organisation_keys WHERE organisation_id = $1`, organisation).Scan(&sealed)
	return sealed, err
}

// DeleteOrganisationKey makes everything that was sealed with an organisation's key unreadable for good.
func (tx *Tx) DeleteOrganisationKey(ctx context.Context, organisation int64) error {
	_, err := tx.exec(ctx, `DELETE FROM organisation_keys WHERE organisation_id = $1`, organisation)
	return err
}
