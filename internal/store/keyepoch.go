package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/lib/pq"
)

// Incarnation is how to name the database as it is now. The name becomes another one with every way back to an older state that
// leaves a trace:
//
//   - a dump that is loaded into another cluster: the system identifier, which initdb makes up;
//   - a dump that is loaded into the same cluster: the number of the database, or of the table if only the tables were made again;
//   - recovery to a point in time, and the promotion of a standby: the timeline. A standby that was promoted may have missed the last
//     claims as well.
//
// A copy of the data directory that was put back leaves no trace here. Clients do, who come with tokens from after the copy; and the
// operator says so (EndKeyEpoch).
type Incarnation string

const (
	incarnationOfCluster  Incarnation = `(SELECT system_identifier FROM pg_control_system())::text || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8) || '/' || ` + incarnationOfDatabase
	incarnationOfDatabase             = `(SELECT oid FROM pg_database WHERE datname = current_database()) || '/' || 'one_time_keys'::regclass::oid`
)

// Incarnation finds out how much the server tells. A hosted one may keep back what concerns the cluster.
func (s *Store) Incarnation(ctx context.Context) (Incarnation, error) {
	var name string
	err := s.queryRow(ctx, `SELECT `+string(incarnationOfCluster)).Scan(&name)
	var refused *pq.Error
	if errors.As(err, &refused) && (refused.Code.Class() == "42" || refused.Code.Class() == "0A") {
		return incarnationOfDatabase, nil
	}
	return incarnationOfCluster, err
}

// SameEpoch reports whether the one-time keys belong to the database as it is now. The first time it says so of any database.
func (tx *Tx) SameEpoch(ctx context.Context, in Incarnation) (bool, error) {
	var same bool
	err := tx.queryRow(ctx, `SELECT epoch = `+string(in)+` FROM key_epoch`).Scan(&same)
	if !errors.Is(err, ErrNotFound) {
		return same, err
	}
	_, err = tx.exec(ctx, `INSERT INTO key_epoch (epoch) SELECT `+string(in)+` ON CONFLICT DO NOTHING`)
	return true, err
}

// EndKeyEpoch notes that the one-time keys belong to no database any more, so that every process drops them when it next looks.
func (s *Store) EndKeyEpoch(ctx context.Context) error {
	_, err := s.exec(ctx, `INSERT INTO key_epoch (epoch) VALUES ('') ON CONFLICT (one) DO UPDATE SET epoch = ''`)
	return err
}

// BeginEpoch drops every one-time key if they belong to another incarnation of the database, and marks the fallback keys used. It
// reports false when somebody else has done it.
func (tx *Tx) BeginEpoch(ctx context.Context, in Incarnation) (bool, error) {
	n, err := tx.exec(ctx, `UPDATE key_epoch SET epoch = `+string(in)+` WHERE epoch <> `+string(in))
	if err != nil || n == 0 {
		return false, err
	}
	for _, statement := range []string{
		`DELETE FROM one_time_keys WHERE claimed_ts IS NULL`,
		`UPDATE fallback_keys SET used = true WHERE NOT used`,
	} {
		if _, err := tx.exec(ctx, statement); err != nil {
			return false, fmt.Errorf("begin an epoch of one-time keys: %w", err)
		}
	}
	return true, nil
}
