package store

import (
	"context"

	"github.com/roomline/roomline/internal/matrix"
)

// DehydratedDevice is a device without a session, which a user keeps for a later login.
type DehydratedDevice struct {
	UserID   matrix.UserID
	DeviceID matrix.DeviceID
	Data     []byte
}

// GetDehydratedDevice returns the user's dehydrated device, or ErrNotFound.
func (s *Store) GetDehydratedDevice(ctx context.Context, user matrix.UserID) (DehydratedDevice, error) {
	return getDehydratedDevice(ctx, s, user)
}

// GetDehydratedDevice returns the user's dehydrated device, or ErrNotFound.
func (tx *Tx) GetDehydratedDevice(ctx context.Context, user matrix.UserID) (DehydratedDevice, error) {
	return getDehydratedDevice(ctx, tx, user)
}

func getDehydratedDevice(ctx context.Context, q querier, user matrix.UserID) (DehydratedDevice, error) {
	d := DehydratedDevice{UserID: user}
	err := q.queryRow(ctx, `SELECT device_id, device_data FROM dehydrated_devices WHERE user_id = $1`, string(user)).
		Scan(&d.DeviceID, &d.Data)
	return d, err
}

// PutDehydratedDevice stores what a dehydrated device is made from. The device itself is there, and no other one is dehydrated.
func (tx *Tx) PutDehydratedDevice(ctx context.Context, d DehydratedDevice) error {
	_, err := tx.exec(ctx, `
		INSERT INTO dehydrated_devices (user_id, device_id, device_data) VALUES ($1, $2, $3)
		ON CONFLICT (user_id) DO UPDATE SET device_id = excluded.device_id, device_data = excluded.device_data`,
		string(d.UserID), string(d.DeviceID), d.Data)
	return err
}
