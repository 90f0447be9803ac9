package store

import (
	"context"
	"errors"
)

// GetPolicy returns the JSON of what an organisation has decided under a name, nil if it has not decided.
func (s *Store) GetPolicy(ctx context.Context, org int64, name string) ([]byte, error) {
	return getPolicy(ctx, s, org, name)
}

// GetPolicy returns the JSON of what an organisation has decided under a name, nil if it has not decided.
func (tx *Tx) GetPolicy(ctx context.Context, org int64, name string) ([]byte, error) {
	return getPolicy(ctx, tx, org, name)
}

func getPolicy(ctx context.Context, q querier, org int64, name string) ([]byte, error) {
	var value []byte
	err := q.queryRow(ctx, `SELECT value FROM organisation_policies WHERE organisation_id = $1 AND name = $2`, org, name).Scan(&value)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	return value, err
}

// PutPolicy stores what an organisation has decided under a name; nil takes the decision back.
func (tx *Tx) PutPolicy(ctx context.Context, org int64, name string, value []byte) error {
	if value == nil {
		_, err := tx.exec(ctx, `DELETE FROM organisation_policies WHERE organisation_id = $1 AND name = $2`, org, name)
		return err
	}
	_, err := tx.exec(ctx, `
		INSERT INTO organisation_policies (organisation_id, name, value) VALUES ($1, $2, $3)
		ON CONFLICT (organisation_id, name) DO UPDATE SET value = excluded.value`, org, name, value)
	return err
}
