package auth

import (
	"context"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// GuestSession is a session that ends by itself. Its token is the caller's to make, so that an answer that was lost can be given again.
type GuestSession struct {
	User       matrix.UserID
	Device     matrix.DeviceID
	DeviceName string
	Secret     [accessBytes]byte
	Until      matrix.Timestamp
	Address    string
	// Most is how many devices the guest may have; those unused for longest go.
	Most int
}

// Token is the access token of the session.
func (g *GuestSession) Token() string { return formatToken(accessPrefix, g.Secret[:]) }

// AccessHash is what is stored of the token.
func (g *GuestSession) AccessHash() []byte {
	hash := digestOf(g.Secret[:])
	return hash[:]
}

// Exists reports whether the session has been made and not been ended.
func (g *GuestSession) Exists(ctx context.Context, tx *store.Tx) (bool, error) {
	return tx.HasSession(ctx, g.User, g.Device, g.AccessHash())
}

// SignInGuest makes another session of a guest in the caller's transaction. It returns what has to be published with it.
func (s *Sessions) SignInGuest(ctx context.Context, tx *store.Tx, g *GuestSession) ([]store.Update, error) {
	now := matrix.TimestampOf(s.cfg.Clock.Now())
	// The lock keeps parallel sign-ins from passing the bound together.
	if _, err := tx.LockUser(ctx, g.User); err != nil {
		return nil, err
	}
	err := tx.PutDevice(ctx, store.Device{
		UserID: g.User, DeviceID: g.Device, DisplayName: g.DeviceName, CreatedTS: now, LastSeenTS: now, LastSeenIP: g.Address,
	})
	if err != nil {
		return nil, err
	}
	if _, err := tx.InsertSession(ctx, store.Session{
		UserID: g.User, DeviceID: g.Device, CreatedTS: now, AccessHash: g.AccessHash(), AccessExpiresTS: g.Until,
	}); err != nil {
		return nil, err
	}
	pruned, err := tx.DeleteStaleDevices(ctx, g.User, g.Device, g.Most)
	if err != nil || len(pruned) == 0 {
		return nil, err
	}
	return devicesDeleted(g.User, pruned), nil
}
