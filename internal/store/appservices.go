package store

import (
	"context"
	"database/sql"
	"time"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/matrix"
)

// Appservice is a registration that was made while the server runs.
type Appservice struct {
	ID             string
	OrganisationID int64
	// TokenHash is the SHA-256 of the as_token.
	TokenHash []byte
	// SealedToken is the hs_token as appservices encrypted it.
	SealedToken []byte
	// Registration is JSON without the tokens.
	Registration []byte
	// Operator says that the operator registered it.
	Operator  bool
	CreatedBy string
	CreatedTS matrix.Timestamp
}

// ListAppservices returns all of them, oldest first.
func (s *Store) ListAppservices(ctx context.Context) ([]Appservice, error) {
	rows, err := s.query(ctx, `
		SELECT appservice_id, organisation_id, as_token_hash, hs_token_sealed, registration, operator, created_by, created_ts
		FROM appservices ORDER BY created_ts, appservice_id`)
	return scanAll(rows, err, func(rows *sql.Rows) (Appservice, error) {
		var a Appservice
		err := rows.Scan(&a.ID, &a.OrganisationID, &a.TokenHash, &a.SealedToken, &a.Registration, &a.Operator, &a.CreatedBy, &a.CreatedTS)
		return a, err
	})
}

// InsertAppservice stores a registration. It reports false when its id or its token is taken.
func (tx *Tx) InsertAppservice(ctx context.Context, a Appservice) (bool, error) {
	n, err := tx.exec(ctx, `
		INSERT INTO appservices (appservice_id, organisation_id, as_token_hash, hs_token_sealed, registration, operator, created_by, created_ts)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING`,
		a.ID, a.OrganisationID, a.TokenHash, a.SealedToken, a.Registration, a.Operator, a.CreatedBy, int64(a.CreatedTS))
	return n > 0, err
}

// DeleteAppservice removes a registration and what waits to be delivered. It reports false when there was none.
func (tx *Tx) DeleteAppservice(ctx context.Context, id string) (bool, error) {
	n, err := tx.exec(ctx, `DELETE FROM appservices WHERE appservice_id = $1`, id)
	if err != nil || n == 0 {
		return false, err
	}
	_, err = tx.exec(ctx, `DELETE FROM appservice_delivery WHERE appservice_id = $1`, id)
	return true, err
}

// DeleteAppservicesOf removes what an organisation has registered, and tells how many that were.
func (tx *Tx) DeleteAppservicesOf(ctx context.Context, organisation int64) (int64, error) {
	_, err := tx.exec(ctx, `
		DELETE FROM appservice_delivery d USING appservices a WHERE a.appservice_id = d.appservice_id AND a.organisation_id = $1`, organisation)
	if err != nil {
		return 0, err
	}
	return tx.exec(ctx, `DELETE FROM appservices WHERE organisation_id = $1`, organisation)
}

// CountAppservices returns how many an organisation has registered.
func (tx *Tx) CountAppservices(ctx context.Context, organisation int64) (int, error) {
	var n int
	err := tx.queryRow(ctx, `SELECT count(*) FROM appservices WHERE organisation_id = $1`, organisation).Scan(&n)
	return n, err
}

// InsertAppserviceUser notes that an application service made an account.
func (tx *Tx) InsertAppserviceUser(ctx context.Context, user matrix.UserID, id string) error {
	_, err := tx.exec(ctx, `
		INSERT INTO appservice_users (user_id, appservice_id) VALUES ($1, $2)
		ON CONFLICT (user_id) DO UPDATE SET appservice_id = excluded.appservice_id`, string(user), id)
	return err
}

// IsAppserviceUser reports whether an application service made the account.
func (s *Store) IsAppserviceUser(ctx context.Context, user matrix.UserID, id string) (bool, error) {
	var found bool
	err := s.queryRow(ctx, `SELECT EXISTS (SELECT FROM appservice_users WHERE user_id = $1 AND appservice_id = $2)`, string(user), id).Scan(&found)
	return found, err
}

// ListAppserviceUsers returns the accounts that an application service made, in order, from the one that follows after.
func (s *Store) ListAppserviceUsers(ctx context.Context, id string, after matrix.UserID, limit int) ([]matrix.UserID, error) {
	rows, err := s.query(ctx, `
		SELECT user_id FROM appservice_users WHERE appservice_id = $1 AND user_id > $2 ORDER BY user_id LIMIT $3`, id, string(after), limit)
	return scanAll(rows, err, scanUserID)
}

// ActingUser is an account that an application service acts for.
type ActingUser struct {
	User
	// Made: the application service made the account.
	Made bool
	// Registered is false when the application service's token is no longer good.
	Registered bool
}

// GetActingUser returns an account as the application service called id sees it, or ErrNotFound. hash is that of its token; nil for one
// that stands in a file.
func (s *Store) GetActingUser(ctx context.Context, user matrix.UserID, id string, hash []byte) (ActingUser, error) {
	var a ActingUser
	row := s.queryRow(ctx, `
		SELECT `+userColumns+`,
		       EXISTS (SELECT FROM appservice_users m WHERE m.user_id = users.user_id AND m.appservice_id = $2),
		       $3::bytea IS NULL OR EXISTS (SELECT FROM appservices WHERE appservice_id = $2 AND as_token_hash = $3)
		FROM users WHERE user_id = $1`, string(user), id, hash)
	var err error
	a.User, err = scanUser(func(columns ...any) error { return row.Scan(append(columns, &a.Made, &a.Registered)...) })
	return a, err
}

// Delivery is how far an application service has been told of what happened.
type Delivery struct {
	AppserviceID string
	Fence        int64
	Position     int64
	Txn          int64
	TxnID        string
	// Body is the transaction that has not been acknowledged, nil if there is none, and BodyPosition how far it reaches.
	Body         []byte
	BodyPosition int64
	ToDevice     []byte
	// Failures in a row, since when, and the last of them.
	Failures     int
	FailingSince matrix.Timestamp
	LastError    string
	DeliveredTS  matrix.Timestamp
}

const deliveryColumns = `appservice_id, fence, position, txn, txn_id, body, body_position, to_device, failures, failing_since, last_error, delivered_ts`

func scanDelivery(rows *sql.Rows) (Delivery, error) {
	var d Delivery
	err := rows.Scan(&d.AppserviceID, &d.Fence, &d.Position, &d.Txn, &d.TxnID, &d.Body, &d.BodyPosition, &d.ToDevice,
		&d.Failures, &d.FailingSince, &d.LastError, &d.DeliveredTS)
	return d, err
}

// TakeDeliveries takes for a process those of the application services whose delivery no other process has. One that was never told
// anything begins at the present.
func (s *Store) TakeDeliveries(ctx context.Context, ids []string, holder string, lease time.Duration) ([]Delivery, error) {
	_, err := s.exec(ctx, `
		INSERT INTO appservice_delivery (appservice_id, position)
		SELECT x.id, clock.position FROM unnest($1::text[]) AS x (id), clock ON CONFLICT DO NOTHING`, pq.Array(ids))
	if err != nil {
		return nil, err
	}
	rows, err := s.query(ctx, `
		UPDATE appservice_delivery SET holder = $2, fence = fence + 1, lease_until = now() + $3 * interval '1 millisecond'
		WHERE appservice_id = ANY ($1) AND (lease_until < now() OR holder = $2)
		RETURNING `+deliveryColumns, pq.Array(ids), holder, lease.Milliseconds())
	return scanAll(rows, err, scanDelivery)
}

// RenewDeliveries keeps what a process has, and notes how far it has come where nothing is left to be acknowledged. It returns those that
// it still has.
func (s *Store) RenewDeliveries(ctx context.Context, have []Delivery, lease time.Duration) (map[string]bool, error) {
	ids, fences, positions := make([]string, len(have)), make([]int64, len(have)), make([]int64, len(have))
	for i, d := range have {
		ids[i], fences[i], positions[i] = d.AppserviceID, d.Fence, d.Position
	}
	rows, err := s.query(ctx, `
		UPDATE appservice_delivery d SET lease_until = now() + $4 * interval '1 millisecond',
			position = CASE WHEN body IS NULL THEN greatest(d.position, x.position) ELSE d.position END
		FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS x (id, fence, position)
		WHERE d.appservice_id = x.id AND d.fence = x.fence
		RETURNING d.appservice_id`, pq.Array(ids), pq.Array(fences), pq.Array(positions), lease.Milliseconds())
	kept := make(map[string]bool)
	list, err := scanAll(rows, err, func(rows *sql.Rows) (id string, err error) { return id, rows.Scan(&id) })
	for _, id := range list {
		kept[id] = true
	}
	return kept, err
}

// ReleaseDeliveries gives what a process has to whoever wants it next.
func (s *Store) ReleaseDeliveries(ctx context.Context, holder string) error {
	_, err := s.exec(ctx, `UPDATE appservice_delivery SET lease_until = '-infinity' WHERE holder = $1`, holder)
	return err
}

// PutTransaction stores the next transaction of an application service, after d: what came before was delivered. It reports false when the
// process has lost it.
func (s *Store) PutTransaction(ctx context.Context, d Delivery, done []ToDeviceDone) (bool, error) {
	return s.putDelivery(ctx, done, `
		UPDATE appservice_delivery SET position = $3, txn = $4, txn_id = $5, body = $6, body_position = $7, to_device = $8, failures = 0
		WHERE appservice_id = $1 AND fence = $2 AND (txn = $4 - 1 OR txn = $4 AND txn_id = $5)`,
		d.AppserviceID, d.Fence, d.Position, d.Txn, d.TxnID, d.Body, d.BodyPosition, d.ToDevice)
}

// PutDelivered notes that the last transaction was acknowledged. It reports false when the process has lost it.
func (s *Store) PutDelivered(ctx context.Context, d Delivery, done []ToDeviceDone) (bool, error) {
	return s.putDelivery(ctx, done, `
		UPDATE appservice_delivery SET position = $3, body = NULL, to_device = $5, failures = 0, delivered_ts = $6
		WHERE appservice_id = $1 AND fence = $2 AND txn = $4`,
		d.AppserviceID, d.Fence, d.Position, d.Txn, d.ToDevice, int64(d.DeliveredTS))
}

// ToDeviceDone says that a device has its messages up to a position.
type ToDeviceDone struct {
	UserID   matrix.UserID
	DeviceID matrix.DeviceID
	UpTo     int64
}

// putDelivery runs a statement that changes one row if the process still has it, and removes the messages to devices that were delivered.
func (s *Store) putDelivery(ctx context.Context, done []ToDeviceDone, statement string, args ...any) (held bool, err error) {
	if len(done) == 0 {
		n, err := s.exec(ctx, statement, args...)
		return n > 0, err
	}
	err = s.Write(ctx, func(tx *Tx) error {
		n, err := tx.exec(ctx, statement, args...)
		if held = n > 0; err != nil || !held {
			return err
		}
		users, devices, upTo := make([]string, len(done)), make([]string, len(done)), make([]int64, len(done))
		for i, d := range done {
			users[i], devices[i], upTo[i] = string(d.UserID), string(d.DeviceID), d.UpTo
		}
		_, err = tx.exec(ctx, `
			DELETE FROM to_device q USING unnest($1::text[], $2::text[], $3::bigint[]) AS x (user_id, device_id, up_to)
			WHERE q.user_id = x.user_id AND q.device_id = x.device_id AND q.position <= x.up_to`,
			pq.Array(users), pq.Array(devices), pq.Array(upTo))
		return err
	})
	return held, err
}

// PutDeliveryFailure notes that an attempt failed.
func (s *Store) PutDeliveryFailure(ctx context.Context, d Delivery) error {
	_, err := s.exec(ctx, `
		UPDATE appservice_delivery SET failures = $3, failing_since = $4, last_error = $5 WHERE appservice_id = $1 AND fence = $2`,
		d.AppserviceID, d.Fence, d.Failures, int64(d.FailingSince), d.LastError)
	return err
}

// ListDeliveries returns how far the application services have been told, without the transactions themselves.
func (s *Store) ListDeliveries(ctx context.Context, ids []string) ([]Delivery, error) {
	rows, err := s.query(ctx, `
		SELECT appservice_id, fence, position, txn, txn_id, CASE WHEN body IS NULL THEN NULL ELSE ''::bytea END, body_position, to_device,
		       failures, failing_since, last_error, delivered_ts
		FROM appservice_delivery WHERE appservice_id = ANY ($1)`, pq.Array(ids))
	return scanAll(rows, err, scanDelivery)
}

// ListJoinedRange returns the joined members of a room at a position with from <= user id < to, in order, at most limit. to may be empty
// for no bound.
func (s *Store) ListJoinedRange(ctx context.Context, room, position int64, from, to string, limit int) ([]matrix.UserID, error) {
	rows, err := s.query(ctx, `
		SELECT state_key FROM room_state
		WHERE room_nid = $1 AND type = 'm.room.member' AND since <= $2 AND until > $2 AND membership = 'join'
			AND state_key >= $3 AND ($4 = '' OR state_key < $4)
		ORDER BY state_key LIMIT $5`, room, position, from, to, limit)
	return scanAll(rows, err, scanUserID)
}

// GetJoinedOf returns a joined member of a room at a position who belongs to an organisation, or ErrNotFound.
func (s *Store) GetJoinedOf(ctx context.Context, room, position, organisation int64) (matrix.UserID, error) {
	var user matrix.UserID
	err := s.queryRow(ctx, `
		SELECT m.state_key FROM room_state m JOIN users ON users.user_id = m.state_key
		WHERE m.room_nid = $1 AND m.type = 'm.room.member' AND m.since <= $2 AND m.until > $2 AND m.membership = 'join'
			AND users.organisation_id = $3
		LIMIT 1`, room, position, organisation).Scan(&user)
	return user, err
}

// ListAliasesIn returns the aliases of rooms.
func (s *Store) ListAliasesIn(ctx context.Context, rooms []int64) ([]Alias, error) {
	rows, err := s.query(ctx, `SELECT alias, room_nid, creator FROM room_aliases WHERE room_nid = ANY ($1)`, pq.Array(rooms))
	return scanAll(rows, err, func(rows *sql.Rows) (Alias, error) {
		var a Alias
		err := rows.Scan(&a.Alias, &a.RoomNID, &a.Creator)
		return a, err
	})
}

// ListJoinedRooms returns the rooms that a user is joined to.
func (s *Store) ListJoinedRooms(ctx context.Context, user matrix.UserID) ([]int64, error) {
	rows, err := s.query(ctx, `SELECT room_nid FROM memberships WHERE user_id = $1 AND membership = 'join'`, string(user))
	return scanAll(rows, err, func(rows *sql.Rows) (nid int64, err error) { return nid, rows.Scan(&nid) })
}

// ListKeyedDevices returns the devices of a domain's users that have published keys, at most limit.
func (s *Store) ListKeyedDevices(ctx context.Context, domain matrix.ServerName, limit int) ([]ToDeviceDone, error) {
	rows, err := s.query(ctx, `
		SELECT user_id, device_id FROM device_keys WHERE split_part(user_id, ':', 2) = split_part($1, ':', 1) AND user_id LIKE '%:' || $1 LIMIT $2`,
		string(domain), limit)
	return scanAll(rows, err, func(rows *sql.Rows) (ToDeviceDone, error) {
		var d ToDeviceDone
		err := rows.Scan(&d.UserID, &d.DeviceID)
		return d, err
	})
}

// Access counts what an application service did in an hour.
type Access struct {
	AppserviceID   string
	OrganisationID int64
	Class          string
	HourTS         matrix.Timestamp
	Requests       int64
	Refused        int64
}

// AddAccess adds to the counts.
func (s *Store) AddAccess(ctx context.Context, list []Access) error {
	n := len(list)
	ids, classes := make([]string, n), make([]string, n)
	organisations, hours, requests, refused := make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
	for i, a := range list {
		ids[i], classes[i], organisations[i], hours[i] = a.AppserviceID, a.Class, a.OrganisationID, int64(a.HourTS)
		requests[i], refused[i] = a.Requests, a.Refused
	}
	_, err := s.execOnce(ctx, `
		INSERT INTO appservice_access (appservice_id, organisation_id, class, hour_ts, requests, refused)
		SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[]) ORDER BY 4, 1, 3
		ON CONFLICT (hour_ts, appservice_id, class) DO UPDATE
		SET requests = appservice_access.requests + excluded.requests, refused = appservice_access.refused + excluded.refused`,
		pq.Array(ids), pq.Array(organisations), pq.Array(classes), pq.Array(hours), pq.Array(requests), pq.Array(refused))
	return err
}

// TakeAccessBefore removes the counts of hours that are over, at most limit, and returns them.
func (tx *Tx) TakeAccessBefore(ctx context.Context, ts matrix.Timestamp, limit int) ([]Access, error) {
	rows, err := tx.query(ctx, `
		DELETE FROM appservice_access WHERE (hour_ts, appservice_id, class) IN (
			SELECT hour_ts, appservice_id, class FROM appservice_access WHERE hour_ts < $1
			ORDER BY hour_ts, appservice_id, class LIMIT $2 FOR UPDATE SKIP LOCKED)
		RETURNING appservice_id, organisation_id, class, hour_ts, requests, refused`, int64(ts), limit)
	return scanAll(rows, err, func(rows *sql.Rows) (Access, error) {
		var a Access
		err := rows.Scan(&a.AppserviceID, &a.OrganisationID, &a.Class, &a.HourTS, &a.Requests, &a.Refused)
		return a, err
	})
}

// PutAppserviceTokens replaces the tokens of a registration.
func (tx *Tx) PutAppserviceTokens(ctx context.Context, id string, hash, sealed []byte) error {
	_, err := tx.exec(ctx, `UPDATE appservices SET as_token_hash = $2, hs_token_sealed = $3 WHERE appservice_id = $1`, id, hash, sealed)
	return err
}
