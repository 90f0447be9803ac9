package store

import (
	"context"
	"database/sql"
	"strconv"
	"strings"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/matrix"
)

// ToDeviceMessage is a message that waits for a device.
type ToDeviceMessage struct {
	Position int64
	Sender   matrix.UserID
	Type     string
	Content  []byte
}

// ToDeviceSend is one request to send messages to devices: a transaction of the sender's device.
type ToDeviceSend struct {
	Sender       matrix.UserID
	SenderDevice matrix.DeviceID
	Type         string
	TxnID        string
	Messages     []ToDeviceRecipient
}

// ToDeviceRecipient is a device and the content that it is sent.
type ToDeviceRecipient struct {
	UserID   matrix.UserID
	DeviceID matrix.DeviceID
	Content  []byte
}

// ToDeviceUnit returns the unit that stores the messages and gives each its position. A request that was stored before stores
// nothing.
func ToDeviceUnit(send *ToDeviceSend) Unit {
	u := Unit{ToDevice: send, Updates: make([]Update, len(send.Messages))}
	for i, m := range send.Messages {
		u.Updates[i] = Update{Kind: KindToDevice, UserID: m.UserID, Key: string(m.DeviceID)}
	}
	return u
}

// toDeviceStatement is appendStatement, and then the batch's messages to devices.
var toDeviceStatement = func() string {
	var b strings.Builder
	b.WriteString(`SELECT a.*, to_device_append(a.base`)
	first := strings.Count(appendStatement, "$") + 1
	for i := range toDeviceParameters {
		b.WriteString([]string{" + ", ", "}[min(i, 1)])
		b.WriteString("$" + strconv.Itoa(first+i))
	}
	b.WriteString(`) FROM (` + appendStatement + `) a`)
	return b.String()
}()

const toDeviceParameters = 11

// hasToDevice reports whether a batch needs toDeviceStatement.
func hasToDevice(units []Unit) bool {
	for i := range units {
		if units[i].ToDevice != nil {
			return true
		}
	}
	return false
}

// toDeviceArguments are the parameters of toDeviceStatement that follow those of appendStatement.
func toDeviceArguments(now matrix.Timestamp, units []Unit) []any {
	var sender, senderDevice, typ, txn, user, device []string
	var send, update []int64
	var content pq.ByteaArray
	events, updates := 0, int64(0)
	for i := range units {
		u := &units[i]
		if t := u.ToDevice; t != nil {
			sender, senderDevice = append(sender, string(t.Sender)), append(senderDevice, string(t.SenderDevice))
			typ, txn = append(typ, t.Type), append(txn, t.TxnID)
			for n, m := range t.Messages {
				send, update = append(send, int64(len(sender))), append(update, updates+int64(n)+1)
				user, device = append(user, string(m.UserID)), append(device, string(m.DeviceID))
				content = append(content, m.Content)
			}
		}
		events += len(u.Events)
		updates += int64(len(u.Updates))
	}
	return []any{int64(events), pq.Array(sender), pq.Array(senderDevice), pq.Array(typ), pq.Array(txn), int64(now),
		pq.Array(send), pq.Array(update), pq.Array(user), pq.Array(device), content}
}

// ToDeviceBytes is about how much memory the messages take.
func (s *ToDeviceSend) ToDeviceBytes() int {
	if s == nil {
		return 0
	}
	n := 0
	for i := range s.Messages {
		n += len(s.Messages[i].Content) + 64
	}
	return n
}

// EveryDevice stands for all devices of a user where messages are addressed.
const EveryDevice = matrix.DeviceID("*")

// ToDeviceQueue is a device that messages can be sent to, with what waits for it.
type ToDeviceQueue struct {
	UserID   matrix.UserID
	DeviceID matrix.DeviceID
	// All: the device was found by EveryDevice.
	All      bool
	Messages int64
	Bytes    int64
}

// ListToDeviceQueues returns those of the devices that exist. users and devices are pairs; EveryDevice is all of the user's.
func (s *Store) ListToDeviceQueues(ctx context.Context, users []matrix.UserID, devices []matrix.DeviceID) ([]ToDeviceQueue, error) {
	rows, err := s.query(ctx, `
		SELECT d.user_id, d.device_id, x.device_id = '*',
		       coalesce(l.number - f.number + 1, 0), coalesce(l.total - f.total + octet_length(f.content), 0)
		FROM unnest($1::text[], $2::text[]) AS x (user_id, device_id)
		JOIN devices d ON d.user_id = x.user_id AND (d.device_id = x.device_id OR x.device_id = '*')
		LEFT JOIN LATERAL (
			SELECT number, total, content FROM to_device q
			WHERE q.user_id = d.user_id AND q.device_id = d.device_id ORDER BY q.position LIMIT 1
		) f ON true
		LEFT JOIN LATERAL (
			SELECT number, total FROM to_device q
			WHERE q.user_id = d.user_id AND q.device_id = d.device_id ORDER BY q.position DESC LIMIT 1
		) l ON true
		ORDER BY d.user_id, d.device_id`, stringArray(users), stringArray(devices))
	return scanAll(rows, err, func(rows *sql.Rows) (ToDeviceQueue, error) {
		var q ToDeviceQueue
		err := rows.Scan(&q.UserID, &q.DeviceID, &q.All, &q.Messages, &q.Bytes)
		return q, err
	})
}

// HasToDeviceSend reports whether a device's transaction has been stored.
func (s *Store) HasToDeviceSend(ctx context.Context, send *ToDeviceSend) (bool, error) {
	var found bool
	err := s.queryRow(ctx, `
		SELECT EXISTS (SELECT FROM transactions
			WHERE user_id = $1 AND device_id = $2 AND scope = 'sendToDevice|' || $3 AND txn_id = $4)`,
		string(send.Sender), string(send.SenderDevice), send.Type, send.TxnID).Scan(&found)
	return found, err
}

// trimAtOnce bounds the messages that DeleteOldestToDevice removes from one queue.
const trimAtOnce = 2000

// DeleteOldestToDevice removes the oldest messages of queues that have more than so many, or more than so many bytes.
func (s *Store) DeleteOldestToDevice(ctx context.Context, queues []ToDeviceQueue, messages, bytes int64) error {
	users, devices := make([]string, len(queues)), make([]string, len(queues))
	for i, q := range queues {
		users[i], devices[i] = string(q.UserID), string(q.DeviceID)
	}
	_, err := s.exec(ctx, `
		DELETE FROM to_device WHERE ctid = ANY (ARRAY (
			SELECT old.ctid
			FROM unnest($1::text[], $2::text[]) AS x (user_id, device_id)
			JOIN LATERAL (
				SELECT number, total FROM to_device q
				WHERE q.user_id = x.user_id AND q.device_id = x.device_id ORDER BY q.position DESC LIMIT 1
			) l ON true
			JOIN LATERAL (
				SELECT q.ctid, q.number, q.total FROM to_device q
				WHERE q.user_id = x.user_id AND q.device_id = x.device_id
				ORDER BY q.position LIMIT $5
				FOR UPDATE SKIP LOCKED
			) old ON old.number <= l.number - $3 OR old.total <= l.total - $4))`,
		pq.Array(users), pq.Array(devices), messages, bytes, trimAtOnce)
	return err
}

// ListToDevice returns the messages for a device with after < position <= upTo, oldest first: at most limit, and no more after
// those that have maxBytes of content together. more says that there are others.
func (s *Store) ListToDevice(ctx context.Context, user matrix.UserID, device matrix.DeviceID, after, upTo int64, limit, maxBytes int) (
	list []ToDeviceMessage, more bool, err error) {
	// The bytes are added up without reading the content, so that long messages that don't fit are not fetched. The queue is read
	// once, in the order of its key: nothing is left to be guessed about how many messages wait.
	rows, err := s.query(ctx, `
		SELECT position, sender, type, CASE WHEN n < $5 AND before < $6 THEN content END
		FROM (
			SELECT position, sender, type, content, row_number() OVER w AS n,
			       total - octet_length(content) - first_value(total - octet_length(content)) OVER w AS before
			FROM (
				SELECT position, total, sender, type, content
				FROM to_device
				WHERE user_id = $1 AND device_id = $2 AND position > $3 AND position <= $4
				ORDER BY position LIMIT $5
			) first
			WINDOW w AS (ORDER BY position)
		) counted
		ORDER BY position`, string(user), string(device), after, upTo, limit+1, maxBytes)
	list, err = scanAll(rows, err, func(rows *sql.Rows) (ToDeviceMessage, error) {
		var m ToDeviceMessage
		err := rows.Scan(&m.Position, &m.Sender, &m.Type, &m.Content)
		return m, err
	})
	for i := range list {
		if list[i].Content == nil {
			return list[:i], true, err
		}
	}
	return list, false, err
}

// DeleteToDevice removes the messages for a device up to and with a position.
func (s *Store) DeleteToDevice(ctx context.Context, user matrix.UserID, device matrix.DeviceID, upTo int64) error {
	_, err := s.exec(ctx, `DELETE FROM to_device WHERE user_id = $1 AND device_id = $2 AND position <= $3`,
		string(user), string(device), upTo)
	return err
}

// deleteToDeviceOf removes all messages for devices of a user.
func (tx *Tx) deleteToDeviceOf(ctx context.Context, user matrix.UserID, devices ...matrix.DeviceID) error {
	if len(devices) == 0 {
		return nil
	}
	_, err := tx.exec(ctx, `DELETE FROM to_device WHERE user_id = $1 AND device_id = ANY ($2)`, string(user), stringArray(devices))
	return err
}

// DeleteOrphanedToDevice removes what was sent to devices while they were being deleted, and the notes that they had been sent
// something; of at most limit devices. It returns how many devices those were.
//
// It waits for nobody's locks, so that it can't be in the way of a batch that has the clock.
func (s *Store) DeleteOrphanedToDevice(ctx context.Context, limit int) (int64, error) {
	var n int64
	err := s.queryRow(ctx, `
		WITH gone AS (
			SELECT u.ctid, u.user_id, u.key FROM updates u
			WHERE u.kind = $1 AND NOT EXISTS (SELECT FROM devices d WHERE d.user_id = u.user_id AND d.device_id = u.key)
			LIMIT $2
			FOR UPDATE OF u SKIP LOCKED
		), messages AS (
			DELETE FROM to_device q USING gone WHERE q.user_id = gone.user_id AND q.device_id = gone.key
		), notes AS (
			DELETE FROM updates WHERE ctid IN (SELECT ctid FROM gone) RETURNING 1
		)
		SELECT count(*) FROM notes`, KindToDevice, limit).Scan(&n)
	return n, err
}
