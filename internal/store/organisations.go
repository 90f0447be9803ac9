package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/matrix"
)

// DefaultOrganisation is the organisation that exists from the first start: the operator's own. It owns every hosted domain which was
// not given to another one.
const DefaultOrganisation int64 = 1

// States of an organisation.
const (
	OrganisationActive    = "active"
	OrganisationSuspended = "suspended"
	OrganisationDeleted   = "deleted"
)

// Organisation is a customer.
type Organisation struct {
	ID   int64
	Name string
	// State is one of the constants above.
	State string
	// DefaultRegion is an ISO 3166-1 alpha-2 code, or empty.
	DefaultRegion string
	// MaxPeople bounds its people, 0 for no bound.
	MaxPeople int64
	CreatedTS matrix.Timestamp
	// RemovedTS is when the last was removed that a deleted organisation had, 0 before.
	RemovedTS matrix.Timestamp
}

const organisationColumns = `organisation_id, name, state, default_region, max_people, created_ts, coalesce(removed_ts, 0)`

func scanOrganisation(scan func(...any) error) (Organisation, error) {
	var o Organisation
	err := scan(&o.ID, &o.Name, &o.State, &o.DefaultRegion, &o.MaxPeople, &o.CreatedTS, &o.RemovedTS)
	return o, err
}

// GetOrganisation returns an organisation, or ErrNotFound.
func (s *Store) GetOrganisation(ctx context.Context, id int64) (Organisation, error) {
	return scanOrganisation(s.queryRow(ctx, `SELECT `+organisationColumns+` FROM organisations WHERE organisation_id = $1`, id).Scan)
}

// GetOrganisation returns an organisation, or ErrNotFound.
func (tx *Tx) GetOrganisation(ctx context.Context, id int64) (Organisation, error) {
	return scanOrganisation(tx.queryRow(ctx, `SELECT `+organisationColumns+` FROM organisations WHERE organisation_id = $1`, id).Scan)
}

// LockOrganisation returns an organisation and keeps everybody else from changing it until the transaction ends. Others may still make rows
// that refer to it.
func (tx *Tx) LockOrganisation(ctx context.Context, id int64) (Organisation, error) {
	return scanOrganisation(tx.queryRow(ctx,
		`SELECT `+organisationColumns+` FROM organisations WHERE organisation_id = $1 FOR NO KEY UPDATE`, id).Scan)
}

// ListAllOrganisations returns organisations in the order of their numbers, from the one that follows after, at most limit.
func (s *Store) ListAllOrganisations(ctx context.Context, after int64, limit int) ([]Organisation, error) {
	rows, err := s.query(ctx, `
		SELECT `+organisationColumns+` FROM organisations WHERE organisation_id > $1 ORDER BY organisation_id LIMIT $2`, after, limit)
	return scanAll(rows, err, func(rows *sql.Rows) (Organisation, error) { return scanOrganisation(rows.Scan) })
}

// InsertOrganisation stores a new organisation and returns its number.
func (tx *Tx) InsertOrganisation(ctx context.Context, o Organisation) (int64, error) {
	var id int64
	err := tx.queryRow(ctx, `
		INSERT INTO organisations (name, default_region, max_people, created_ts) VALUES ($1, $2, $3, $4) RETURNING organisation_id`,
		o.Name, o.DefaultRegion, o.MaxPeople, int64(o.CreatedTS)).Scan(&id)
	return id, err
}

// PutOrganisation stores what may change of an organisation.
func (tx *Tx) PutOrganisation(ctx context.Context, o Organisation) error {
	_, err := tx.exec(ctx, `
		UPDATE organisations SET name = $2, state = $3, default_region = $4, max_people = $5, removed_ts = nullif($6::bigint, 0)
		WHERE organisation_id = $1`, o.ID, o.Name, o.State, o.DefaultRegion, o.MaxPeople, int64(o.RemovedTS))
	return err
}

// OrganisationChange is the body of a KindOrganisation.
type OrganisationChange struct {
	// LockedOut are the domains whose users are locked out from now on.
	LockedOut []matrix.ServerName `json:"locked_out,omitempty"`
}

// OrganisationChanged is what every process has to be told of an organisation that the transaction has changed, or whose domains it has.
func (tx *Tx) OrganisationChanged(ctx context.Context, id int64) (Update, error) {
	o, err := tx.LockOrganisation(ctx, id)
	if err != nil {
		return Update{}, err
	}
	var change OrganisationChange
	if o.State != OrganisationActive {
		domains, err := listOrganisationDomains(ctx, tx, id)
		if err != nil {
			return Update{}, err
		}
		for _, d := range domains {
			change.LockedOut = append(change.LockedOut, d.ServerName)
		}
	}
	body, err := json.Marshal(change)
	return Update{Kind: KindOrganisation, Key: strconv.FormatInt(id, 10), Body: body}, err
}

// HostedDomain is a Matrix server name that lives here.
type HostedDomain struct {
	ServerName     matrix.ServerName
	OrganisationID int64
	CreatedTS      matrix.Timestamp
	// Discovery is what /.well-known says of it, as JSON; nil: what the configuration says.
	Discovery []byte
}

const domainColumns = `server_name, organisation_id, created_ts, discovery`

func scanDomain(scan func(...any) error) (HostedDomain, error) {
	var d HostedDomain
	err := scan(&d.ServerName, &d.OrganisationID, &d.CreatedTS, &d.Discovery)
	return d, err
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

// InsertHostedDomain gives an organisation a domain. It reports false when the domain is hosted already.
func (tx *Tx) InsertHostedDomain(ctx context.Context, d HostedDomain) (bool, error) {
	n, err := tx.exec(ctx, `
		INSERT INTO hosted_domains (server_name, organisation_id, created_ts, discovery) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
		string(d.ServerName), d.OrganisationID, int64(d.CreatedTS), d.Discovery)
	return n == 1, err
}

// PutDomainDiscovery stores what /.well-known says of a domain.
func (tx *Tx) PutDomainDiscovery(ctx context.Context, name matrix.ServerName, discovery []byte) error {
	_, err := tx.exec(ctx, `UPDATE hosted_domains SET discovery = $2 WHERE server_name = $1`, string(name), discovery)
	return err
}

// ListHostedDomains returns every domain that was ever hosted here, by name.
func (s *Store) ListHostedDomains(ctx context.Context) ([]HostedDomain, error) {
	rows, err := s.query(ctx, `SELECT `+domainColumns+` FROM hosted_domains ORDER BY server_name`)
	return scanAll(rows, err, func(rows *sql.Rows) (HostedDomain, error) { return scanDomain(rows.Scan) })
}

// GetHostedDomain returns the domain, or ErrNotFound when it is not hosted here.
func (s *Store) GetHostedDomain(ctx context.Context, name matrix.ServerName) (HostedDomain, error) {
	return scanDomain(s.queryRow(ctx, `SELECT `+domainColumns+` FROM hosted_domains WHERE server_name = $1`, string(name)).Scan)
}

// Discovery is what /.well-known says of a domain. What is empty is as the configuration has it.
type Discovery struct {
	// BaseURL is where clients reach the server, FederationServer where other servers do.
	BaseURL          string           `json:"base_url,omitempty"`
	FederationServer string           `json:"federation_server,omitempty"`
	SupportPage      string           `json:"support_page,omitempty"`
	Contacts         []SupportContact `json:"contacts,omitempty"`
}

// SupportContact is a way to reach people who help.
type SupportContact struct {
	MatrixID     string `json:"matrix_id,omitempty"`
	EmailAddress string `json:"email_address,omitempty"`
	Role         string `json:"role"`
}

// ListRemovable returns deleted organisations of which something is left.
func (s *Store) ListRemovable(ctx context.Context) ([]int64, error) {
	rows, err := s.query(ctx, `
		SELECT organisation_id FROM organisations WHERE state = 'deleted' AND removed_ts IS NULL ORDER BY organisation_id`)
	return scanAll(rows, err, func(rows *sql.Rows) (int64, error) {
		var id int64
		err := rows.Scan(&id)
		return id, err
	})
}

// ListOpenUsers returns accounts of an organisation that are not closed, at most limit.
func (s *Store) ListOpenUsers(ctx context.Context, org int64, limit int) ([]User, error) {
	rows, err := s.query(ctx, `
		SELECT `+userColumns+` FROM users WHERE organisation_id = $1 AND deactivated_ts IS NULL ORDER BY user_id LIMIT $2`, org, limit)
	return scanAll(rows, err, func(rows *sql.Rows) (User, error) { return scanUser(rows.Scan) })
}

// ListOrganisationRooms returns the ids of the rooms of an organisation that were made after the one with the number after.
func (s *Store) ListOrganisationRooms(ctx context.Context, org, after int64, limit int) ([]OrganisationRoom, error) {
	rows, err := s.query(ctx, `
		SELECT room_nid, room_id FROM rooms WHERE organisation_id = $1 AND room_nid > $2 ORDER BY room_nid LIMIT $3`, org, after, limit)
	return scanAll(rows, err, func(rows *sql.Rows) (OrganisationRoom, error) {
		var r OrganisationRoom
		err := rows.Scan(&r.NID, &r.ID)
		return r, err
	})
}

// OrganisationRoom names a room.
type OrganisationRoom struct {
	NID int64
	ID  matrix.RoomID
}

// HasMedia reports whether an organisation has media, or objects in the media store, left.
func (s *Store) HasMedia(ctx context.Context, org int64) (bool, error) {
	var has bool
	err := s.queryRow(ctx, `
		SELECT EXISTS (SELECT FROM media WHERE organisation_id = $1) OR EXISTS (SELECT FROM media_objects WHERE organisation_id = $1)`,
		org).Scan(&has)
	return has, err
}

// DiscardMedia lets all media of an organisation go whose uploader is nobody's account: pictures of pages.
func (s *Store) DiscardMedia(ctx context.Context, org int64, now matrix.Timestamp) error {
	_, err := s.exec(ctx, `
		INSERT INTO media_unlinked (server_name, media_id, event_id, redacted_by, unlinked_ts)
		SELECT server_name, media_id, '', user_id, $2 FROM media WHERE organisation_id = $1
		ON CONFLICT (server_name, media_id, event_id) DO UPDATE SET redacted_by = excluded.redacted_by`, org, int64(now))
	return err
}

// DeleteOrganisationRows removes what an organisation has decided and kept besides accounts, rooms and media.
func (tx *Tx) DeleteOrganisationRows(ctx context.Context, org int64) error {
	for _, statement := range []string{
		`DELETE FROM organisation_policies WHERE organisation_id = $1`,
		`DELETE FROM registration_tokens WHERE organisation_id = $1`,
		`DELETE FROM url_previews WHERE organisation_id = $1`,
		`DELETE FROM user_threepids WHERE organisation_id = $1`,
		// What was sealed with it is unreadable from now on, in copies of the database too.
		`DELETE FROM organisation_keys WHERE organisation_id = $1`,
	} {
		if _, err := tx.exec(ctx, statement, org); err != nil {
			return err
		}
	}
	return nil
}

// ListRoles returns the accounts of an organisation that have a role, by user id.
func (s *Store) ListRoles(ctx context.Context, org int64) ([]User, error) {
	rows, err := s.query(ctx, `
		SELECT `+userColumns+` FROM users WHERE organisation_id = $1 AND role <> '' ORDER BY user_id`, org)
	return scanAll(rows, err, func(rows *sql.Rows) (User, error) { return scanUser(rows.Scan) })
}

// PutUserRole gives an account a role, or takes it.
func (tx *Tx) PutUserRole(ctx context.Context, user matrix.UserID, role string) error {
	_, err := tx.exec(ctx, `UPDATE users SET role = $2 WHERE user_id = $1`, string(user), role)
	return err
}

// IsLastOwner reports whether an active organisation has no other owner than the user. Whoever asks for owners of one organisation waits for
// the other's transaction, so that two owners don't both leave.
func (tx *Tx) IsLastOwner(ctx context.Context, u User) (bool, error) {
	if u.Role != "owner" {
		return false, nil
	}
	o, err := tx.LockOrganisation(ctx, u.OrganisationID)
	if err != nil || o.State == OrganisationDeleted {
		return false, err
	}
	var others bool
	err = tx.queryRow(ctx, `
		SELECT EXISTS (SELECT FROM users WHERE organisation_id = $1 AND role = 'owner' AND user_id <> $2 AND deactivated_ts IS NULL)`,
		u.OrganisationID, string(u.UserID)).Scan(&others)
	return !others, err
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

// ListOrganisationDomains returns the domains of an organisation, the first one first.
func (s *Store) ListOrganisationDomains(ctx context.Context, org int64) ([]HostedDomain, error) {
	return listOrganisationDomains(ctx, s, org)
}

// ListOrganisationDomains returns the domains of an organisation, the first one first.
func (tx *Tx) ListOrganisationDomains(ctx context.Context, org int64) ([]HostedDomain, error) {
	return listOrganisationDomains(ctx, tx, org)
}

func listOrganisationDomains(ctx context.Context, q querier, org int64) ([]HostedDomain, error) {
	rows, err := q.query(ctx, `
		SELECT `+domainColumns+` FROM hosted_domains WHERE organisation_id = $1 ORDER BY created_ts, server_name`, org)
	return scanAll(rows, err, func(rows *sql.Rows) (HostedDomain, error) { return scanDomain(rows.Scan) })
}

// GetOrganisationDomain returns the first domain of an organisation, or ErrNotFound.
func (s *Store) GetOrganisationDomain(ctx context.Context, org int64) (matrix.ServerName, error) {
	var name matrix.ServerName
	err := s.queryRow(ctx, `
		SELECT server_name FROM hosted_domains WHERE organisation_id = $1 ORDER BY created_ts, server_name LIMIT 1`, org).Scan(&name)
	return name, err
}

// What AdmitPerson says.
var (
	ErrTooManyPeople = errors.New("store: the organisation has as many people as it may have")
	ErrNotActive     = errors.New("store: the organisation is not active")
)

// AdmitPerson counts a person that is being made. ErrTooManyPeople says that there must not be one more, ErrNotActive that the organisation
// is suspended or deleted, which it can't become before the transaction ends. Where there is a bound, makers of one organisation wait for
// each other, so that two of them don't both take the last place.
func (tx *Tx) AdmitPerson(ctx context.Context, org int64) error {
	var bound int64
	err := tx.queryRow(ctx, `SELECT max_people FROM organisations WHERE organisation_id = $1`, org).Scan(&bound)
	if err != nil {
		return err
	}
	if bound == 0 {
		return tx.AdmitActive(ctx, org)
	}
	o, err := tx.LockOrganisation(ctx, org)
	if err != nil {
		return err
	}
	if o.State != OrganisationActive {
		return ErrNotActive
	}
	n, err := countPeople(ctx, tx, org)
	if err == nil && o.MaxPeople > 0 && n >= o.MaxPeople {
		return ErrTooManyPeople
	}
	return err
}

// AdmitActive keeps an organisation as it is until the transaction ends, and says ErrNotActive if it is suspended or deleted.
func (tx *Tx) AdmitActive(ctx context.Context, org int64) error {
	var state string
	err := tx.queryRow(ctx, `SELECT state FROM organisations WHERE organisation_id = $1 FOR SHARE`, org).Scan(&state)
	if err == nil && state != OrganisationActive {
		return ErrNotActive
	}
	return err
}

// AdmitAllActive is AdmitActive for several: it returns those that are neither suspended nor deleted.
func (tx *Tx) AdmitAllActive(ctx context.Context, orgs []int64) (map[int64]bool, error) {
	rows, err := tx.query(ctx, `
		SELECT organisation_id FROM organisations WHERE organisation_id = ANY ($1) AND state = $2 ORDER BY organisation_id FOR SHARE`,
		pq.Array(orgs), OrganisationActive)
	active := make(map[int64]bool)
	_, err = scanAll(rows, err, func(rows *sql.Rows) (struct{}, error) {
		var id int64
		err := rows.Scan(&id)
		active[id] = true
		return struct{}{}, err
	})
	return active, err
}

// CountPeople returns how many accounts an organisation has that are people's: neither closed, nor guests, nor machines.
func (s *Store) CountPeople(ctx context.Context, org int64) (int64, error) {
	return countPeople(ctx, s, org)
}

func countPeople(ctx context.Context, q querier, org int64) (int64, error) {
	var n int64
	err := q.queryRow(ctx, `
		SELECT count(*) FROM users WHERE organisation_id = $1 AND deactivated_ts IS NULL AND NOT guest AND NOT machine`, org).Scan(&n)
	return n, err
}
