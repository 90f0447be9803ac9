package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/roomline/roomline/internal/matrix"
)

// DefaultOrganisation is the organisation that exists from the first start and owns every hosted domain which was not given to
// another one.
const DefaultOrganisation int64 = 1

// HostedDomain is a Matrix server name that lives here.
type HostedDomain struct {
	ServerName     matrix.ServerName
	OrganisationID int64
}

// EnsureHostedDomains makes the names hosted domains of the default organisation, unless they are hosted already. It is run at
// every start with what the configuration says.
func (s *Store) EnsureHostedDomains(ctx context.Context, names []matrix.ServerName, now matrix.Timestamp) error {
	_, err := s.exec(ctx, `
		INSERT INTO hosted_domains (server_name, organisation_id, created_ts)
		SELECT DISTINCT x.name, $2::bigint, $3::bigint FROM unnest($1::text[]) AS x (name)
		ON CONFLICT DO NOTHING`, stringArray(names), DefaultOrganisation, int64(now))
	if err != nil {
		return fmt.Errorf("store hosted domains: %w", err)
	}
	return nil
}

// ListHostedDomains returns every domain that was ever hosted here, by name.
func (s *Store) ListHostedDomains(ctx context.Context) ([]HostedDomain, error) {
	rows, err := s.query(ctx, `SELECT server_name, organisation_id FROM hosted_domains ORDER BY server_name`)
	return scanAll(rows, err, func(rows *sql.Rows) (HostedDomain, error) {
		var d HostedDomain
		err := rows.Scan(&d.ServerName, &d.OrganisationID)
		return d, err
	})
}

// GetHostedDomain returns the domain, or ErrNotFound when it is not hosted here.
func (s *Store) GetHostedDomain(ctx context.Context, name matrix.ServerName) (HostedDomain, error) {
	d := HostedDomain{ServerName: name}
	err := s.queryRow(ctx, `SELECT organisation_id FROM hosted_domains WHERE server_name = $1`, string(name)).Scan(&d.OrganisationID)
	return d, err
}

// ListOrganisations returns the numbers of all organisations.
func (s *Store) ListOrganisations(ctx context.Context) ([]int64, error) {
	rows, err := s.query(ctx, `SELECT organisation_id FROM organisations ORDER BY organisation_id`)
	return scanAll(rows, err, func(rows *sql.Rows) (int64, error) {
		var id int64
		err := rows.Scan(&id)
		return id, err
	})
}

// GetOrganisationDomain returns the first domain of an organisation, or ErrNotFound.
func (s *Store) GetOrganisationDomain(ctx context.Context, org int64) (matrix.ServerName, error) {
	var name matrix.ServerName
	err := s.queryRow(ctx, `
		SELECT server_name FROM hosted_domains WHERE organisation_id = $1 ORDER BY created_ts, server_name LIMIT 1`, org).Scan(&name)
	return name, err
}
