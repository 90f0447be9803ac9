package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/matrix"
)

// Account is an account as administrators see it.
type Account struct {
	User
	DisplayName, AvatarURL string
	Emails, Phones         []string
	LastSeenTS             matrix.Timestamp
}

const (
	accountName    = `(SELECT convert_from(value, 'UTF8')::json #>> '{}' FROM profiles WHERE profiles.user_id = users.user_id AND key = 'displayname')`
	accountAvatar  = `(SELECT convert_from(value, 'UTF8')::json #>> '{}' FROM profiles WHERE profiles.user_id = users.user_id AND key = 'avatar_url')`
	accountSeen    = `(SELECT max(last_seen_ts) FROM devices WHERE devices.user_id = users.user_id)`
	accountColumns = userColumns + `, coalesce(` + accountName + `, ''), coalesce(` + accountAvatar + `, ''),
	ARRAY(SELECT address FROM user_threepids t WHERE t.user_id = users.user_id AND medium = 'email' ORDER BY added_ts, address),
	ARRAY(SELECT address FROM user_threepids t WHERE t.user_id = users.user_id AND medium = 'msisdn' ORDER BY added_ts, address),
	coalesce(` + accountSeen + `, 0)`
)

func scanAccount(scan func(...any) error) (Account, error) {
	var a Account
	user, err := scanUser(func(dest ...any) error {
		return scan(append(dest, &a.DisplayName, &a.AvatarURL, pq.Array(&a.Emails), pq.Array(&a.Phones), &a.LastSeenTS)...)
	})
	a.User = user
	return a, err
}

// GetAccount returns an account of an organisation (0: of any), or ErrNotFound.
func (s *Store) GetAccount(ctx context.Context, org int64, user matrix.UserID) (Account, error) {
	return scanAccount(s.queryRow(ctx, `SELECT `+accountColumns+` FROM users WHERE ($1::bigint = 0 OR organisation_id = $1) AND user_id = $2`, org, string(user)).Scan)
}

// AccountQuery chooses accounts of an organisation.
type AccountQuery struct {
	// OrganisationID 0 chooses those of all.
	OrganisationID int64
	// Search is a part of the localpart or the name; with Any also of an e-mail address or a phone number. UserID is a part of the user id.
	Search string
	Any    bool
	UserID string
	// Deactivated, Locked and Owners choose those who are or are not; nil chooses both.
	Deactivated, Locked, Owners *bool
	NoGuests, NoMachines        bool
	// OrderBy is one of AccountOrders, the user id if empty.
	OrderBy    string
	Descending bool
}

// AccountOrders are the orders of a list of accounts, as existing tools name them.
var AccountOrders = map[string]string{
	"": "users.user_id", "name": "users.user_id", "is_guest": "guest", "admin": "role = 'owner'", "user_type": "users.user_id",
	"deactivated": "deactivated_ts IS NOT NULL", "shadow_banned": "users.user_id", "displayname": accountName, "avatar_url": accountAvatar,
	"creation_ts": "created_ts", "last_seen_ts": accountSeen,
}

// ListAccounts returns the accounts that a query chooses, and how many there are.
func (s *Store) ListAccounts(ctx context.Context, q AccountQuery, from, limit int) (list []Account, total int64, err error) {
	args := []any{q.OrganisationID}
	where := "($1::bigint = 0 OR organisation_id = $1)"
	add := func(condition string, value any) {
		args = append(args, value)
		where += " AND " + strings.ReplaceAll(condition, "$?", fmt.Sprintf("$%d", len(args)))
	}
	if q.Search != "" {
		condition := `(strpos(split_part(user_id, ':', 1), lower($?)) > 0 OR strpos(lower(` + accountName + `), lower($?)) > 0`
		if q.Any {
			condition += ` OR EXISTS (SELECT FROM user_threepids t WHERE t.user_id = users.user_id AND strpos(address, ltrim(lower($?), '+')) > 0)`
		}
		add(condition+")", q.Search)
	}
	if q.UserID != "" {
		add("strpos(user_id, lower($?)) > 0", q.UserID)
	}
	if q.Deactivated != nil {
		add("(deactivated_ts IS NOT NULL) = $?", *q.Deactivated)
	}
	if q.Locked != nil {
		add("locked = $?", *q.Locked)
	}
	if q.Owners != nil {
		add("(role = 'owner') = $?", *q.Owners)
	}
	if q.NoGuests {
		where += " AND NOT guest"
	}
	if q.NoMachines {
		where += " AND NOT machine"
	}
	if err := s.queryRow(ctx, `SELECT count(*) FROM users WHERE `+where, args...).Scan(&total); err != nil {
		return nil, 0, err
	}
	order, ok := AccountOrders[q.OrderBy]
	if !ok {
		return nil, 0, fmt.Errorf("no such order: %q", q.OrderBy)
	}
	if q.Descending {
		order += " DESC NULLS LAST"
	}
	rows, err := s.query(ctx, `SELECT `+accountColumns+` FROM users WHERE `+where+
		fmt.Sprintf(` ORDER BY %s, users.user_id OFFSET %d LIMIT %d`, order, from, limit), args...)
	list, err = scanAll(rows, err, func(rows *sql.Rows) (Account, error) { return scanAccount(rows.Scan) })
	return list, total, err
}

// Subject is somebody as an identity provider knows them.
type Subject struct{ Provider, Subject string }

// ListSubjects returns which subjects of identity providers an account is.
func (s *Store) ListSubjects(ctx context.Context, user matrix.UserID) ([]Subject, error) {
	rows, err := s.query(ctx, `SELECT provider, subject FROM sso_subjects WHERE user_id = $1 ORDER BY provider, subject`, string(user))
	return scanAll(rows, err, func(rows *sql.Rows) (x Subject, err error) {
		err = rows.Scan(&x.Provider, &x.Subject)
		return x, err
	})
}

// PutSubjects makes an account the subjects of the list and no others. It reports false when another account is one of them.
func (tx *Tx) PutSubjects(ctx context.Context, user matrix.UserID, list []Subject, now matrix.Timestamp) (bool, error) {
	if _, err := tx.exec(ctx, `DELETE FROM sso_subjects WHERE user_id = $1`, string(user)); err != nil {
		return false, err
	}
	for _, x := range list {
		n, err := tx.exec(ctx, `INSERT INTO sso_subjects (provider, subject, user_id, created_ts) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
			x.Provider, x.Subject, string(user), int64(now))
		if err != nil || n == 0 {
			return false, err
		}
	}
	return true, nil
}

// NamedData is a piece of account data.
type NamedData struct {
	RoomID  matrix.RoomID
	Type    string
	Content []byte
}

// ListAccountDataNamed returns all account data of somebody.
func (s *Store) ListAccountDataNamed(ctx context.Context, user matrix.UserID) ([]NamedData, error) {
	rows, err := s.query(ctx, `
		SELECT coalesce((SELECT room_id FROM rooms WHERE rooms.room_nid = updates.room_nid), ''), key, body FROM updates
		WHERE user_id = $1 AND kind = 1 AND octet_length(body) > 0 ORDER BY room_nid, key`, string(user))
	return scanAll(rows, err, func(rows *sql.Rows) (d NamedData, err error) {
		err = rows.Scan(&d.RoomID, &d.Type, &d.Content)
		return d, err
	})
}
