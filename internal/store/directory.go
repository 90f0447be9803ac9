package store

import (
	"context"
	"database/sql"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/matrix"
)

// DirectoryPerson is somebody's entry in the address books of organisations.
type DirectoryPerson struct {
	UserID matrix.UserID
	// ObjectName is what the entry is called, Change when it changed last.
	ObjectName string
	Change     int64
	// Listed says that the person can be found; of others nothing else is told.
	Listed bool
	// Name is the JSON of the display name, or nil.
	Name           []byte
	Emails, Phones []string
	// The rest is what the organisation knows besides, or empty.
	GivenName, FamilyName, Title, Department string
}

// HasDirectoryChanges reports whether SettleDirectory has something to do.
func (s *Store) HasDirectoryChanges(ctx context.Context) (bool, error) {
	var some bool
	err := s.queryRow(ctx, `SELECT EXISTS (SELECT FROM directory_changes)`).Scan(&some)
	return some, err
}

// SettleDirectory gives the changes that have been committed their numbers, at most limit of them, and says how many there were.
//
// Why not where the change is made: a number would be taken before its transaction commits, and who has seen a higher one would never see
// it; a lock that prevents this would make everything that changes people of an organisation wait for each other.
func (s *Store) SettleDirectory(ctx context.Context, limit int) (n int, err error) {
	err = s.Write(ctx, func(tx *Tx) error {
		n = 0
		// A statement of its own: the next one sees what was committed while this one waited.
		if _, err := tx.exec(ctx, `SELECT pg_advisory_xact_lock($1)`, leaseKey("settle directory")); err != nil {
			return err
		}
		rows, err := tx.query(ctx, `
			DELETE FROM directory_changes WHERE change_id = ANY (ARRAY (SELECT change_id FROM directory_changes ORDER BY change_id LIMIT $1))
			RETURNING user_id`, limit)
		users, err := scanAll(rows, err, func(rows *sql.Rows) (string, error) {
			var user string
			err := rows.Scan(&user)
			return user, err
		})
		if err != nil {
			return err
		}
		n = len(users)
		return tx.numberDirectoryChanges(ctx, users)
	})
	return n, err
}

func (tx *Tx) numberDirectoryChanges(ctx context.Context, users []string) error {
	_, err := tx.exec(ctx, `
		WITH people AS (
			SELECT user_id, organisation_id, row_number() OVER (PARTITION BY organisation_id ORDER BY user_id) AS n
			FROM users WHERE user_id = ANY ($1)
		), sizes AS (
			SELECT organisation_id, count(*) AS size FROM people GROUP BY organisation_id
		), counters AS (
			INSERT INTO directory_counters (organisation_id, change) SELECT organisation_id, size FROM sizes
			ON CONFLICT (organisation_id) DO UPDATE SET change = directory_counters.change + excluded.change
			RETURNING organisation_id, change
		)
		INSERT INTO directory_entries (user_id, organisation_id, object_name, change)
		SELECT user_id, organisation_id, encode(substr(sha256(convert_to(user_id, 'UTF8')), 1, 16), 'hex'), change - size + n
		FROM people JOIN sizes USING (organisation_id) JOIN counters USING (organisation_id)
		ON CONFLICT (user_id) DO UPDATE SET organisation_id = excluded.organisation_id, change = excluded.change`, pq.Array(nonNil(users)))
	return err
}

// GetDirectoryChange returns the number of the last change to the entries of an organisation, 0 if there was none.
func (tx *Tx) GetDirectoryChange(ctx context.Context, organisation int64) (int64, error) {
	var change int64
	err := tx.queryRow(ctx, `SELECT coalesce((SELECT change FROM directory_counters WHERE organisation_id = $1), 0)`, organisation).Scan(&change)
	return change, err
}

// Users of bridges and of the server itself have localparts that begin with an underscore; nobody calls them.
const directoryPerson = `e.user_id, e.object_name, e.change,
	u.deactivated_ts IS NULL AND NOT u.locked AND NOT u.guest AND NOT u.machine AND left(e.user_id, 2) <> '@_',
	(SELECT value FROM profiles p WHERE p.user_id = e.user_id AND p.key = 'displayname'),
	ARRAY (SELECT address FROM user_threepids t WHERE t.user_id = e.user_id AND t.medium = 'email' ORDER BY added_ts, address),
	ARRAY (SELECT address FROM user_threepids t WHERE t.user_id = e.user_id AND t.medium = 'msisdn' ORDER BY added_ts, address),
	coalesce(f.given_name, ''), coalesce(f.family_name, ''), coalesce(f.title, ''), coalesce(f.department, '')`

const directoryFrom = ` FROM directory_entries e JOIN users u USING (user_id) LEFT JOIN person_fields f ON f.user_id = e.user_id `

func scanDirectoryPerson(rows *sql.Rows) (DirectoryPerson, error) {
	var p DirectoryPerson
	err := rows.Scan(&p.UserID, &p.ObjectName, &p.Change, &p.Listed, &p.Name, pq.Array(&p.Emails), pq.Array(&p.Phones),
		&p.GivenName, &p.FamilyName, &p.Title, &p.Department)
	return p, err
}

// ListDirectory returns the entries of an organisation that changed after a change, in the order of the changes, at most limit.
func (tx *Tx) ListDirectory(ctx context.Context, organisation, after int64, limit int) ([]DirectoryPerson, error) {
	rows, err := tx.query(ctx, `
		SELECT `+directoryPerson+directoryFrom+`
		WHERE e.organisation_id = $1 AND e.change > $2 ORDER BY e.change LIMIT $3`, organisation, after, limit)
	return scanAll(rows, err, scanDirectoryPerson)
}

// ListDirectoryByName returns those of the entries of an organisation that are called so, in no order.
func (tx *Tx) ListDirectoryByName(ctx context.Context, organisation int64, names []string) ([]DirectoryPerson, error) {
	rows, err := tx.query(ctx, `
		SELECT `+directoryPerson+directoryFrom+`
		WHERE e.organisation_id = $1 AND e.object_name = ANY ($2)`, organisation, pq.Array(nonNil(names)))
	return scanAll(rows, err, scanDirectoryPerson)
}

// DirectorySource is an organisation whose people are in the address book of another one, or of its own.
type DirectorySource struct {
	OrganisationID int64
	Name           string
	// Emails, Phones and Work say what is shown besides names.
	Emails, Phones, Work bool
}

// ListDirectorySources returns the organisations whose people those of an organisation find in their address book: its own, and those that
// give it names. It is asked at each request, so that a link which was revoked shows nothing from then on.
func (tx *Tx) ListDirectorySources(ctx context.Context, organisation int64) ([]DirectorySource, error) {
	rows, err := tx.query(ctx, `
		SELECT organisation_id, name, true, true, true FROM organisations WHERE organisation_id = $1
		UNION ALL
		SELECT g.owner_id, o.name, g.email, g.phone, g.work
		FROM organisation_sharings g JOIN organisations o ON o.organisation_id = g.owner_id
		WHERE g.viewer_id = $1 AND g.name
		ORDER BY 1`, organisation)
	return scanAll(rows, err, func(rows *sql.Rows) (DirectorySource, error) {
		var d DirectorySource
		err := rows.Scan(&d.OrganisationID, &d.Name, &d.Emails, &d.Phones, &d.Work)
		return d, err
	})
}

// DirectoryAddress is an address of somebody in a directory; Medium is empty for who has none.
type DirectoryAddress struct {
	UserID  matrix.UserID
	Medium  string
	Address string
}

// ListDirectoryAddresses returns the addresses of those people of an organisation whose entries changed after a change. Who cannot be found is
// there without an address.
func (tx *Tx) ListDirectoryAddresses(ctx context.Context, organisation, after int64) ([]DirectoryAddress, error) {
	rows, err := tx.query(ctx, `
		SELECT e.user_id, coalesce(t.medium, ''), coalesce(t.address, '')
		FROM directory_entries e JOIN users u USING (user_id)
		LEFT JOIN user_threepids t ON t.user_id = e.user_id AND t.organisation_id = $1
			AND u.deactivated_ts IS NULL AND NOT u.locked AND NOT u.guest AND NOT u.machine
		WHERE e.organisation_id = $1 AND e.change > $2`, organisation, after)
	return scanAll(rows, err, func(rows *sql.Rows) (DirectoryAddress, error) {
		var a DirectoryAddress
		err := rows.Scan(&a.UserID, &a.Medium, &a.Address)
		return a, err
	})
}

// ListAddressesOf returns the addresses of people that can be found.
func (s *Store) ListAddressesOf(ctx context.Context, users []matrix.UserID) ([]ThreePID, error) {
	rows, err := s.query(ctx, `
		SELECT t.organisation_id, t.medium, t.address, t.user_id FROM user_threepids t JOIN users u USING (user_id)
		WHERE t.user_id = ANY ($1) AND u.deactivated_ts IS NULL AND NOT u.locked AND NOT u.guest AND NOT u.machine`, stringArray(users))
	return scanAll(rows, err, scanAddress)
}

// ListByAddress returns the people of organisations who have one of the addresses of a medium.
func (s *Store) ListByAddress(ctx context.Context, organisations []int64, medium string, addresses []string) ([]ThreePID, error) {
	rows, err := s.query(ctx, `
		SELECT t.organisation_id, t.medium, t.address, t.user_id FROM user_threepids t JOIN users u USING (user_id)
		WHERE t.organisation_id = ANY ($1) AND t.medium = $2 AND t.address = ANY ($3)
			AND u.deactivated_ts IS NULL AND NOT u.locked AND NOT u.guest AND NOT u.machine`, pq.Array(organisations), medium, pq.Array(nonNil(addresses)))
	return scanAll(rows, err, scanAddress)
}

func scanAddress(rows *sql.Rows) (ThreePID, error) {
	var t ThreePID
	err := rows.Scan(&t.OrganisationID, &t.Medium, &t.Address, &t.UserID)
	return t, err
}
