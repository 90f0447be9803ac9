package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/people"
)

// PersonFields are what an organisation knows of one of its people besides profile and addresses.
type PersonFields struct {
	GivenName      string
	FamilyName     string
	Title          string
	Department     string
	EmployeeNumber string
	// Manager is another account, or empty.
	Manager matrix.UserID
}

// Person is an account as the directory knows it.
type Person struct {
	UserID         matrix.UserID
	OrganisationID int64
	// Organisation is what it calls itself.
	Organisation string
	// Name and Avatar are the JSON of the profile's fields, or nil.
	Name, Avatar []byte
	// Emails and Phones are addresses in canonical form: phones are E.164 without the plus.
	Emails, Phones []string
	PersonFields
}

// PutPerson stores what an organisation knows of one of its people.
func (tx *Tx) PutPerson(ctx context.Context, user matrix.UserID, f PersonFields) error {
	_, err := tx.exec(ctx, `
		INSERT INTO person_fields (user_id, given_name, family_name, title, department, employee_number, manager)
		VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (user_id) DO UPDATE SET given_name = excluded.given_name, family_name = excluded.family_name, title = excluded.title,
			department = excluded.department, employee_number = excluded.employee_number, manager = excluded.manager`,
		string(user), f.GivenName, f.FamilyName, f.Title, f.Department, f.EmployeeNumber, string(f.Manager))
	if err != nil {
		return err
	}
	return tx.putPersonKeys(ctx, user)
}

const personSelect = `
	SELECT u.user_id, u.organisation_id, o.name,
		(SELECT value FROM profiles WHERE profiles.user_id = u.user_id AND key = 'displayname'),
		(SELECT value FROM profiles WHERE profiles.user_id = u.user_id AND key = 'avatar_url'),
		ARRAY(SELECT address FROM user_threepids t WHERE t.user_id = u.user_id AND medium = 'email' ORDER BY added_ts, address),
		ARRAY(SELECT address FROM user_threepids t WHERE t.user_id = u.user_id AND medium = 'msisdn' ORDER BY added_ts, address),
		coalesce(f.given_name, ''), coalesce(f.family_name, ''), coalesce(f.title, ''), coalesce(f.department, ''),
		coalesce(f.employee_number, ''), coalesce(f.manager, '')
	FROM users u JOIN organisations o USING (organisation_id) LEFT JOIN person_fields f ON f.user_id = u.user_id `

func scanPerson(scan func(...any) error) (Person, error) {
	var p Person
	err := scan(&p.UserID, &p.OrganisationID, &p.Organisation, &p.Name, &p.Avatar, pq.Array(&p.Emails), pq.Array(&p.Phones),
		&p.GivenName, &p.FamilyName, &p.Title, &p.Department, &p.EmployeeNumber, &p.Manager)
	return p, err
}

// GetPerson returns all that is known of an account, or ErrNotFound.
func (s *Store) GetPerson(ctx context.Context, user matrix.UserID) (Person, error) {
	return scanPerson(s.queryRow(ctx, personSelect+`WHERE u.user_id = $1`, string(user)).Scan)
}

// GetPerson returns all that is known of an account, or ErrNotFound.
func (tx *Tx) GetPerson(ctx context.Context, user matrix.UserID) (Person, error) {
	return scanPerson(tx.queryRow(ctx, personSelect+`WHERE u.user_id = $1`, string(user)).Scan)
}

// ListPersons returns those of the users who have an account, in no order.
func (s *Store) ListPersons(ctx context.Context, users []matrix.UserID) ([]Person, error) {
	rows, err := s.query(ctx, personSelect+`WHERE u.user_id = ANY ($1)`, stringArray(users))
	return scanAll(rows, err, func(rows *sql.Rows) (Person, error) { return scanPerson(rows.Scan) })
}

// ListOrganisationPersons returns the people of an organisation who can be found, in the order of their user ids, from the one that follows
// after, at most limit.
func (s *Store) ListOrganisationPersons(ctx context.Context, org int64, after matrix.UserID, limit int) ([]Person, error) {
	rows, err := s.query(ctx, personSelect+`
		WHERE u.organisation_id = $1 AND u.user_id > $2 AND u.deactivated_ts IS NULL AND NOT u.locked AND NOT u.guest
			AND EXISTS (SELECT FROM person_keys k WHERE k.user_id = u.user_id)
		ORDER BY u.user_id LIMIT $3`, org, string(after), limit)
	return scanAll(rows, err, func(rows *sql.Rows) (Person, error) { return scanPerson(rows.Scan) })
}

// Card is what a person is found by.
func (p Person) Card() people.Card {
	c := people.Card{
		Given: p.GivenName, Family: p.FamilyName, Handle: p.UserID.Localpart(), Emails: p.Emails, Title: p.Title, Department: p.Department,
	}
	if p.Name != nil && json.Unmarshal(p.Name, &c.Name) != nil {
		c.Name = "" // a name that is not a string is not shown either
	}
	for _, digits := range p.Phones {
		c.Phones = append(c.Phones, "+"+digits)
	}
	return c
}

// putPersonKeys makes accounts be found by what is known of them. It is called by whatever changes something of that, in the same transaction.
//
// Why the lock: of two who change something at once, neither would see what the other has changed.
func (tx *Tx) putPersonKeys(ctx context.Context, users ...matrix.UserID) error {
	_, err := tx.exec(ctx, `SELECT FROM users WHERE user_id = ANY ($1) ORDER BY user_id FOR NO KEY UPDATE`, stringArray(users))
	if err != nil {
		return err
	}
	rows, err := tx.query(ctx, personSelect+`WHERE u.user_id = ANY ($1)`, stringArray(users))
	persons, err := scanAll(rows, err, func(rows *sql.Rows) (Person, error) { return scanPerson(rows.Scan) })
	if err != nil {
		return fmt.Errorf("read what people are found by: %w", err)
	}
	var owners, keys []string
	var kinds []int16
	for _, p := range persons {
		if p.UserID.Localpart() == matrix.ServerNoticesLocalpart {
			continue
		}
		for _, k := range people.Keys(p.Card(), "") {
			owners, kinds, keys = append(owners, string(p.UserID)), append(kinds, int16(k.Kind)), append(keys, k.Text)
		}
	}
	_, err = tx.exec(ctx, `
		WITH now AS MATERIALIZED (
			SELECT x.user_id, x.kind, x.key FROM unnest($2::text[], $3::smallint[], $4::text[]) AS x (user_id, kind, key)
		), gone AS (
			DELETE FROM person_keys k WHERE user_id = ANY ($1) AND NOT EXISTS (
				SELECT FROM now WHERE now.user_id = k.user_id AND now.kind = k.kind AND now.key = k.key)
		)
		INSERT INTO person_keys (user_id, kind, key, organisation_id)
		SELECT now.user_id, now.kind, now.key, users.organisation_id FROM now JOIN users USING (user_id) ON CONFLICT DO NOTHING`,
		stringArray(users), pq.Array(nonNil(owners)), pq.Array(kinds), pq.Array(nonNil(keys)))
	return err
}

// personsAtOnce is how many accounts are given keys in one transaction.
const personsAtOnce = 100

// PutDuePersonKeys makes the keys anew of accounts that wait for it, at most limit, and says how many it has looked at.
func (s *Store) PutDuePersonKeys(ctx context.Context, limit int) (n int64, err error) {
	for n < int64(limit) {
		var users []matrix.UserID
		err := s.Write(ctx, func(tx *Tx) error {
			rows, err := tx.query(ctx, `SELECT user_id FROM person_keys_due ORDER BY user_id LIMIT $1`, min(personsAtOnce, limit-int(n)))
			if users, err = scanAll(rows, err, scanUserID); err != nil || len(users) == 0 {
				return err
			}
			return tx.putDuePersonKeys(ctx, users)
		})
		if err != nil || len(users) == 0 {
			return n, err
		}
		n += int64(len(users))
	}
	return n, nil
}

func (tx *Tx) putDuePersonKeys(ctx context.Context, users []matrix.UserID) error {
	rows, err := tx.query(ctx, `
		SELECT user_id FROM users WHERE user_id = ANY ($1) AND deactivated_ts IS NULL AND NOT guest ORDER BY user_id FOR NO KEY UPDATE`,
		stringArray(users))
	open, err := scanAll(rows, err, scanUserID)
	if err != nil {
		return err
	}
	if err := tx.putPersonKeys(ctx, open...); err != nil {
		return err
	}
	_, err = tx.exec(ctx, `DELETE FROM person_keys_due WHERE user_id = ANY ($1)`, stringArray(users))
	return err
}
