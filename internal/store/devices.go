package store

import (
	"context"
	"database/sql"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/matrix"
)

// Device is a client of a user.
type Device struct {
	UserID      matrix.UserID
	DeviceID    matrix.DeviceID
	DisplayName string
	CreatedTS   matrix.Timestamp
	// LastSeenTS is 0 and LastSeenIP empty before the first request that was recorded.
	LastSeenTS matrix.Timestamp
	LastSeenIP string
}

const deviceColumns = `user_id, device_id, coalesce(display_name, ''), created_ts, coalesce(last_seen_ts, 0), coalesce(last_seen_ip, '')`

func scanDevice(scan func(...any) error) (Device, error) {
	var d Device
	err := scan(&d.UserID, &d.DeviceID, &d.DisplayName, &d.CreatedTS, &d.LastSeenTS, &d.LastSeenIP)
	return d, err
}

// GetDevice returns a device, or ErrNotFound.
func (s *Store) GetDevice(ctx context.Context, user matrix.UserID, device matrix.DeviceID) (Device, error) {
	return scanDevice(s.queryRow(ctx, `SELECT `+deviceColumns+` FROM devices WHERE user_id = $1 AND device_id = $2`,
		string(user), string(device)).Scan)
}

// HasDevice reports whether a user has a device.
func (tx *Tx) HasDevice(ctx context.Context, user matrix.UserID, device matrix.DeviceID) (bool, error) {
	var found bool
	err := tx.queryRow(ctx, `SELECT EXISTS (SELECT FROM devices WHERE user_id = $1 AND device_id = $2)`, string(user), string(device)).Scan(&found)
	return found, err
}

// ListDevices returns a user's devices, oldest first. Their number is bounded where devices are made.
func (s *Store) ListDevices(ctx context.Context, user matrix.UserID) ([]Device, error) {
	rows, err := s.query(ctx, `SELECT `+deviceColumns+` FROM devices WHERE user_id = $1 ORDER BY created_ts, device_id`, string(user))
	return scanAll(rows, err, func(rows *sql.Rows) (Device, error) { return scanDevice(rows.Scan) })
}

// HasDeviceAt reports whether one of the user's devices was last seen at the address.
func (s *Store) HasDeviceAt(ctx context.Context, user matrix.UserID, address string) (bool, error) {
	var found bool
	err := s.queryRow(ctx, `SELECT EXISTS (SELECT 1 FROM devices WHERE user_id = $1 AND last_seen_ip = $2)`, string(user), address).Scan(&found)
	return found, err
}

// PutDevice stores a device that does not exist yet; a known device keeps its name and its times.
func (tx *Tx) PutDevice(ctx context.Context, d Device) error {
	var made bool
	err := tx.queryRow(ctx, `
		INSERT INTO devices (user_id, device_id, display_name, created_ts, last_seen_ts, last_seen_ip)
		VALUES ($1, $2, nullif($3, ''), $4, nullif($5::bigint, 0), nullif($6, ''))
		ON CONFLICT (user_id, device_id) DO UPDATE
		SET last_seen_ts = coalesce(excluded.last_seen_ts, devices.last_seen_ts),
		    last_seen_ip = coalesce(excluded.last_seen_ip, devices.last_seen_ip)
		RETURNING xmax = 0`,
		string(d.UserID), string(d.DeviceID), d.DisplayName, int64(d.CreatedTS), int64(d.LastSeenTS), d.LastSeenIP).Scan(&made)
	if err != nil || !made {
		return err
	}
	// What was sent to a device of the same name in the moment of its deletion is not for this one.
	return tx.deleteToDeviceOf(ctx, d.UserID, d.DeviceID)
}

// PutDeviceName renames a device, or says ErrNotFound when there is none. shown reports that others see the change: the device has
// published keys.
func (tx *Tx) PutDeviceName(ctx context.Context, user matrix.UserID, device matrix.DeviceID, name string) (shown bool, err error) {
	err = tx.queryRow(ctx, `
		WITH old AS (SELECT display_name FROM devices WHERE user_id = $1 AND device_id = $2 FOR NO KEY UPDATE)
		UPDATE devices d SET display_name = nullif($3, '') FROM old WHERE d.user_id = $1 AND d.device_id = $2
		RETURNING d.display_name IS DISTINCT FROM old.display_name
			AND EXISTS (SELECT FROM device_keys k WHERE k.user_id = d.user_id AND k.device_id = d.device_id)`,
		string(user), string(device), name).Scan(&shown)
	return shown, err
}

// DeletedDevice is a device that was removed. Published says that it had identity keys, so that others knew of it.
type DeletedDevice struct {
	DeviceID  matrix.DeviceID
	Published bool
}

// published is whether a device that is being removed had identity keys: they go with it, after the statement.
const published = `EXISTS (SELECT FROM device_keys k WHERE k.user_id = devices.user_id AND k.device_id = devices.device_id)`

func scanDeletedDevice(rows *sql.Rows) (DeletedDevice, error) {
	var d DeletedDevice
	err := rows.Scan(&d.DeviceID, &d.Published)
	return d, err
}

// DeleteDevices removes devices, their sessions and keys and the messages that wait for them, and returns those that were there.
func (tx *Tx) DeleteDevices(ctx context.Context, user matrix.UserID, devices []matrix.DeviceID) ([]DeletedDevice, error) {
	rows, err := tx.query(ctx, `DELETE FROM devices WHERE user_id = $1 AND device_id = ANY ($2) RETURNING device_id, `+published,
		string(user), stringArray(devices))
	return tx.deletedDevices(ctx, user, rows, err)
}

// DeleteOtherDevices removes every device of the user except keep (empty for none), with its session and keys, and returns them.
func (tx *Tx) DeleteOtherDevices(ctx context.Context, user matrix.UserID, keep matrix.DeviceID) ([]DeletedDevice, error) {
	rows, err := tx.query(ctx, `DELETE FROM devices WHERE user_id = $1 AND device_id <> $2 RETURNING device_id, `+published,
		string(user), string(keep))
	return tx.deletedDevices(ctx, user, rows, err)
}

// DeleteStaleDevices removes those devices which were not used for longest, until the user has no more than max, and returns
// them. The device keep stays, and a dehydrated one: nobody uses it until it is needed.
func (tx *Tx) DeleteStaleDevices(ctx context.Context, user matrix.UserID, keep matrix.DeviceID, max int) ([]DeletedDevice, error) {
	rows, err := tx.query(ctx, `
		DELETE FROM devices WHERE user_id = $1 AND device_id IN (
			SELECT device_id FROM devices d WHERE user_id = $1 AND device_id <> $2
				AND NOT EXISTS (SELECT FROM dehydrated_devices h WHERE h.user_id = d.user_id AND h.device_id = d.device_id)
			ORDER BY coalesce(last_seen_ts, created_ts) DESC, device_id OFFSET $3
		) RETURNING device_id, `+published, string(user), string(keep), max-1)
	return tx.deletedDevices(ctx, user, rows, err)
}

// deletedDevices reads which devices a statement deleted, and removes the messages that waited for them and their connections.
func (tx *Tx) deletedDevices(ctx context.Context, user matrix.UserID, rows *sql.Rows, err error) ([]DeletedDevice, error) {
	deleted, err := scanAll(rows, err, scanDeletedDevice)
	if err != nil {
		return nil, err
	}
	ids := make([]matrix.DeviceID, len(deleted))
	for i, d := range deleted {
		ids[i] = d.DeviceID
	}
	if err := tx.deleteSlidingStatesOf(ctx, user, ids); err != nil {
		return nil, err
	}
	return deleted, tx.deleteToDeviceOf(ctx, user, ids...)
}

func scanDeviceID(rows *sql.Rows) (matrix.DeviceID, error) {
	var id matrix.DeviceID
	err := rows.Scan(&id)
	return id, err
}

// Sighting says that a device made a request.
type Sighting struct {
	UserID   matrix.UserID
	DeviceID matrix.DeviceID
	TS       matrix.Timestamp
	IP       string
}

// PutSightings records when and where devices were last seen.
func (s *Store) PutSightings(ctx context.Context, sightings []Sighting) error {
	users, devices, ips := make([]string, len(sightings)), make([]string, len(sightings)), make([]string, len(sightings))
	times := make([]int64, len(sightings))
	for i, seen := range sightings {
		users[i], devices[i], times[i], ips[i] = string(seen.UserID), string(seen.DeviceID), int64(seen.TS), seen.IP
	}
	// The rows are locked in one order, so that two processes that report the same devices can't deadlock.
	_, err := s.exec(ctx, `
		WITH seen AS (
			SELECT d.user_id, d.device_id, x.ts, x.ip
			FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[]) AS x (user_id, device_id, ts, ip)
			JOIN devices d ON d.user_id = x.user_id AND d.device_id = x.device_id
			ORDER BY d.user_id, d.device_id
			FOR UPDATE OF d
		)
		UPDATE devices SET last_seen_ts = seen.ts, last_seen_ip = coalesce(nullif(seen.ip, ''), devices.last_seen_ip)
		FROM seen
		WHERE devices.user_id = seen.user_id AND devices.device_id = seen.device_id
			AND coalesce(devices.last_seen_ts, 0) < seen.ts`,
		pq.Array(users), pq.Array(devices), pq.Array(times), pq.Array(ips))
	return err
}
