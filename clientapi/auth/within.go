package auth

import (
	"context"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// PutPassword gives an account another password in the caller's transaction, and signs its devices out unless they are kept. It returns
// what has to be published with it.
func (a *Accounts) PutPassword(ctx context.Context, tx *store.Tx, user matrix.UserID, hash string, keep bool) ([]store.Update, error) {
	if err := tx.PutPasswordHash(ctx, user, hash); err != nil || keep {
		return nil, err
	}
	if err := tx.DeleteIdentityTokens(ctx, user); err != nil {
		return nil, err
	}
	deleted, err := tx.DeleteOtherDevices(ctx, user, "")
	if err != nil {
		return nil, err
	}
	return devicesDeleted(user, deleted), nil
}

// EndSessions signs devices out in the caller's transaction, all if devices is nil. It returns what has to be published with it.
func (a *Accounts) EndSessions(ctx context.Context, tx *store.Tx, user matrix.UserID, devices []matrix.DeviceID) ([]store.Update, error) {
	if devices == nil {
		deleted, err := tx.DeleteOtherDevices(ctx, user, "")
		return devicesDeleted(user, deleted), err
	}
	deleted, err := tx.DeleteDevices(ctx, user, devices)
	return devicesDeleted(user, deleted), err
}

// HashPassword checks a password and hashes it; the hash of none is none.
func (a *Accounts) HashPassword(ctx context.Context, password string) (string, error) {
	return a.hashNew(ctx, password)
}

// SessionChanged is the update that makes every process look the sessions of a user up again, and ends what waits for news.
func SessionChanged(user matrix.UserID) []store.Update { return sessionChanged(user) }

// CanonicalPhone turns a phone number as somebody in the country (ISO 3166, or empty) would dial it into E.164 digits without the plus.
func CanonicalPhone(country, phone string) (string, bool) { return canonicalPhone(country, phone) }
