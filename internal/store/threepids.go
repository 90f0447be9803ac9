package store

import (
	"context"
	"database/sql"

	"github.com/roomline/roomline/internal/matrix"
)

// ThreePID is an e-mail address or a phone number of an account, in canonical form.
type ThreePID struct {
	OrganisationID int64
	// Medium is email or msisdn.
	Medium      string
	Address     string
	UserID      matrix.UserID
	AddedTS     matrix.Timestamp
	ValidatedTS matrix.Timestamp
}

// maxThreePIDOwners bounds ListThreePIDOwners: the caller wants to know whether there is exactly one.
const maxThreePIDOwners = 2

// ListThreePIDOwners returns the accounts that the address belongs to: at most one in each organisation, and no more than two.
func (s *Store) ListThreePIDOwners(ctx context.Context, medium, address string) ([]matrix.UserID, error) {
	rows, err := s.query(ctx, `
		SELECT user_id FROM user_threepids WHERE medium = $1 AND address = $2 ORDER BY organisation_id LIMIT $3`,
		medium, address, maxThreePIDOwners)
	return scanAll(rows, err, func(rows *sql.Rows) (matrix.UserID, error) {
		var user matrix.UserID
		err := rows.Scan(&user)
		return user, err
	})
}

// GetThreePIDOwner returns the account of an organisation that the address belongs to, or ErrNotFound.
func (s *Store) GetThreePIDOwner(ctx context.Context, organisation int64, medium, address string) (matrix.UserID, error) {
	var user matrix.UserID
	err := s.queryRow(ctx, `SELECT user_id FROM user_threepids WHERE organisation_id = $1 AND medium = $2 AND address = $3`,
		organisation, medium, address).Scan(&user)
	return user, err
}

// HasThreePID reports whether an address is an account's.
func (tx *Tx) HasThreePID(ctx context.Context, user matrix.UserID, medium, address string) (bool, error) {
	var has bool
	err := tx.queryRow(ctx, `SELECT EXISTS (SELECT FROM user_threepids WHERE medium = $2 AND address = $3 AND user_id = $1)`,
		string(user), medium, address).Scan(&has)
	return has, err
}

// InsertThreePID gives an address to an account, and notes that it has it. It reports false when another account of the organisation has it.
func (tx *Tx) InsertThreePID(ctx context.Context, t ThreePID) (bool, error) {
	var given int
	err := tx.queryRow(ctx, `
		WITH given AS (
			INSERT INTO user_threepids (organisation_id, medium, address, user_id, added_ts, validated_ts)
			VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (organisation_id, medium, address) DO UPDATE SET validated_ts = excluded.validated_ts
			WHERE user_threepids.user_id = excluded.user_id
			RETURNING organisation_id, medium, address, user_id, xmax = 0 AS inserted
		), noted AS (
			INSERT INTO new_threepids (organisation_id, medium, address, user_id)
			SELECT organisation_id, medium, address, user_id FROM given WHERE inserted
		)
		SELECT count(*) FROM given`,
		t.OrganisationID, t.Medium, t.Address, string(t.UserID), int64(t.AddedTS), int64(t.ValidatedTS)).Scan(&given)
	if err != nil || given == 0 {
		return false, err
	}
	return true, tx.putPersonKeys(ctx, t.UserID)
}

// DeleteThreePID takes an address from an account. It reports whether the account had it.
func (tx *Tx) DeleteThreePID(ctx context.Context, user matrix.UserID, medium, address string) (bool, error) {
	n, err := tx.exec(ctx, `DELETE FROM user_threepids WHERE user_id = $1 AND medium = $2 AND address = $3`, string(user), medium, address)
	if err != nil || n == 0 {
		return false, err
	}
	return true, tx.putPersonKeys(ctx, user)
}

// PutThreePIDs makes the addresses those of an account, of one medium, and takes all others from it. It returns those that another account of
// the organisation has.
func (tx *Tx) PutThreePIDs(ctx context.Context, org int64, user matrix.UserID, medium string, addresses []string, now matrix.Timestamp) (taken []string, err error) {
	_, err = tx.exec(ctx, `DELETE FROM user_threepids WHERE user_id = $1 AND medium = $2 AND address <> ALL ($3)`, string(user), medium, stringArray(addresses))
	if err != nil {
		return nil, err
	}
	for _, address := range addresses {
		given, err := tx.InsertThreePID(ctx, ThreePID{OrganisationID: org, Medium: medium, Address: address, UserID: user, AddedTS: now, ValidatedTS: now})
		if err != nil {
			return nil, err
		}
		if !given {
			taken = append(taken, address)
		}
	}
	return taken, tx.putPersonKeys(ctx, user)
}

// ListThreePIDs returns the addresses of an account.
func (s *Store) ListThreePIDs(ctx context.Context, user matrix.UserID) ([]ThreePID, error) {
	rows, err := s.query(ctx, `
		SELECT organisation_id, medium, address, user_id, added_ts, validated_ts FROM user_threepids
		WHERE user_id = $1 ORDER BY medium, added_ts, address`, string(user))
	return scanAll(rows, err, func(rows *sql.Rows) (ThreePID, error) {
		var t ThreePID
		err := rows.Scan(&t.OrganisationID, &t.Medium, &t.Address, &t.UserID, &t.AddedTS, &t.ValidatedTS)
		return t, err
	})
}
