package appservices

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver/event"
	"github.com/roomline/roomline/roomserver/view"
)

// transaction is what an application service is told next. It reaches from one position of the journal to another.
type transaction struct {
	from, upTo int64
	body       []byte
	toDevice   []deviceMark
}

// txnID is the id of the transaction with a number. Why the hash: after the database was put back to an older copy, other bytes may come under
// the same number, and an application service that remembers the number would drop them.
func txnID(number int64, body []byte) string {
	sum := sha256.Sum256(body)
	return strconv.FormatInt(number, 10) + "." + hex.EncodeToString(sum[:8])
}

// builder makes one transaction of entries of the journal.
type builder struct {
	w   *worker
	ctx context.Context

	events   []*store.Event
	bytes    int
	typing   map[int64]bool
	receipts map[int64][]*store.Update
	presence map[matrix.UserID]*store.Update
	// queues are devices of the application service's users for which there are messages, counted those whose keys changed.
	queues, counted map[deviceOf]bool
	changed, left   map[matrix.UserID]bool
}

// wantsEphemeral reports whether typing, receipts and presence are told, wantsDevices what encryption needs.
func (r *Registration) wantsEphemeral() bool {
	return (r.ReceiveEphemeral || r.OldEphemeral) && (r.View == nil || r.View.ephemeral)
}

func (r *Registration) wantsDevices() bool {
	return r.DeviceData && (r.View == nil || r.View.deviceData)
}

// build makes the transaction of the entries after from, which reach up to to; its body is nil when none is for the application service. It
// may reach less far, when it is large enough.
func (w *worker) build(ctx context.Context, entries []journal.Entry, from, to int64) (t transaction, err error) {
	b := &builder{
		w: w, ctx: ctx, typing: make(map[int64]bool), receipts: make(map[int64][]*store.Update), presence: make(map[matrix.UserID]*store.Update),
		queues: make(map[deviceOf]bool), counted: make(map[deviceOf]bool), changed: make(map[matrix.UserID]bool), left: make(map[matrix.UserID]bool),
	}
	defer func() {
		if err != nil {
			// What was learnt of rooms is from halfway.
			w.interest.rooms = make(map[int64]*room)
		}
	}()
	t = transaction{from: from, upTo: to}
	if t.upTo, err = b.choose(entries, to); err != nil {
		return t, err
	}
	for _, m := range w.more {
		b.queues[deviceOf{m.User, m.Device}] = true
	}
	parts, err := b.parts(&t)
	if err != nil || len(parts) == 0 {
		return t, err
	}
	body := []byte(`{"events":[`)
	if parts["events"] != nil {
		body = append(body, parts["events"]...)
	}
	body = append(body, ']')
	for _, name := range bodyParts {
		if text := parts[name]; text != nil && name != "events" {
			body = append(append(append(body, `,"`...), name...), `":`...)
			body = append(body, text...)
		}
	}
	t.body = append(body, '}')
	return t, nil
}

// bodyParts are the keys of a transaction in their order. What is not in the specification yet goes by the names that bridges know it by.
var bodyParts = []string{
	"events", "ephemeral", "de.sorunome.msc2409.ephemeral", "de.sorunome.msc2409.to_device", "org.matrix.msc3202.device_lists",
	"org.matrix.msc3202.device_one_time_keys_count", "org.matrix.msc3202.device_unused_fallback_key_types",
}

// choose finds what is for the application service, and returns how far it looked.
func (b *builder) choose(entries []journal.Entry, to int64) (upTo int64, err error) {
	n, as := b.w.interest, b.w.as
	first := make(map[int64]int64)
	for i := range entries {
		nid := int64(0)
		if e := entries[i].Event; e != nil {
			nid = e.RoomNID
		} else if up := entries[i].Update; as.wantsEphemeral() && (up.Kind == store.KindTyping || up.Kind == store.KindReceipt) {
			nid = up.RoomNID
		}
		if nid != 0 && first[nid] == 0 {
			first[nid] = entries[i].Position
		}
	}
	if err := n.prepare(b.ctx, first); err != nil {
		return 0, err
	}
	for i := range entries {
		if up := entries[i].Update; up != nil {
			if err := b.update(up); err != nil {
				return 0, err
			}
			continue
		}
		e := entries[i].Event
		before := n.concerns(e.RoomNID)
		mine, err := n.event(b.ctx, e)
		if err != nil {
			return 0, err
		}
		if before && as.wantsDevices() && e.Type == typeMember && e.StateKey != nil {
			b.left[matrix.UserID(*e.StateKey)] = true
		}
		if !mine || as.View != nil && (!as.View.shows(e.Type) || n.outside(e) && !as.View.showsOutside(e)) {
			continue
		}
		b.events = append(b.events, e)
		b.bytes += len(e.JSON)
		if len(b.events) >= limits.AppserviceEvents || b.bytes >= limits.AppserviceTransactionBytes {
			return e.Position, nil
		}
	}
	return to, nil
}

// update notes what an update says.
func (b *builder) update(up *store.Update) error {
	as, n := b.w.as, b.w.interest
	switch up.Kind {
	case store.KindTyping:
		if as.wantsEphemeral() && n.concerns(up.RoomNID) {
			b.typing[up.RoomNID] = true
		}
	case store.KindReceipt:
		if !as.wantsEphemeral() || !n.concerns(up.RoomNID) {
			return nil
		}
		if strings.HasPrefix(up.Key, "m.read.private|") {
			if own, err := n.owns(b.ctx, up.UserID); err != nil || !own {
				return err
			}
		}
		b.receipts[up.RoomNID] = append(b.receipts[up.RoomNID], up)
	case store.KindPresence:
		if as.wantsEphemeral() {
			b.presence[up.UserID] = up
		}
	case store.KindToDevice, store.KindKeyCount:
		if !as.wantsDevices() {
			return nil
		}
		own, err := n.owns(b.ctx, up.UserID)
		if err != nil || !own && up.UserID != "" {
			return err
		}
		devices := b.counted
		if up.Kind == store.KindToDevice {
			devices = b.queues
		}
		devices[deviceOf{up.UserID, matrix.DeviceID(up.Key)}] = true
	case store.KindDeviceList:
		if as.wantsDevices() && up.Key == "" {
			b.changed[up.UserID] = true
		}
	}
	return nil
}

// parts renders everything.
func (b *builder) parts(t *transaction) (map[string][]byte, error) {
	parts := make(map[string][]byte)
	if len(b.events) > 0 {
		text, err := b.renderEvents()
		if err != nil {
			return nil, err
		}
		if len(text) > 0 {
			parts["events"] = text
		}
	}
	ephemeral, err := b.renderEphemeral(t.upTo)
	if err != nil {
		return nil, err
	}
	if ephemeral != nil {
		if b.w.as.ReceiveEphemeral {
			parts["ephemeral"] = ephemeral
		}
		if b.w.as.OldEphemeral {
			parts["de.sorunome.msc2409.ephemeral"] = ephemeral
		}
	}
	if b.w.as.wantsDevices() {
		if err := b.renderDevices(t, parts); err != nil {
			return nil, err
		}
	}
	return parts, nil
}

func (b *builder) renderEvents() ([]byte, error) {
	st, as, now := b.w.s.cfg.Store, b.w.as, b.w.s.now()
	related, err := view.Load(b.ctx, st, b.events...)
	if err != nil {
		return nil, err
	}
	var dst []byte
	for _, e := range b.events {
		opts := view.Options{IncludeRoomID: true, Now: now}
		related.Add(&opts, e, nil)
		text := view.Render(nil, e, opts)
		if e.Type == typeMember && e.StateKey != nil && as.Covers(matrix.UserID(*e.StateKey)) &&
			gjson.GetBytes(e.JSON, "content.membership").String() == "invite" {
			if text, err = b.withRoomState(e, text); err != nil {
				return nil, err
			}
		}
		if as.View != nil {
			var ok bool
			if text, ok = as.View.event(text); !ok {
				continue
			}
		}
		if len(dst) > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, text...)
	}
	return dst, nil
}

// withRoomState tells an invited user of the application service what the room is.
//
// Interop: bridges look for it where clients of other servers' /sync of old had it.
func (b *builder) withRoomState(e *store.Event, text []byte) ([]byte, error) {
	var keys []store.KeyAt
	for _, k := range event.StrippedKeys {
		keys = append(keys, store.KeyAt{RoomNID: e.RoomNID, Type: k.Type, Key: k.Key, At: e.Position})
	}
	keys = append(keys, store.KeyAt{RoomNID: e.RoomNID, Type: typeMember, Key: string(e.Sender), At: e.Position})
	list, err := b.w.s.cfg.Store.ListStateAt(b.ctx, keys)
	if err != nil {
		return nil, fmt.Errorf("load the state of an invitation: %w", err)
	}
	state := []byte{'['}
	for i := range list {
		if i > 0 {
			state = append(state, ',')
		}
		state = view.RenderStripped(state, &list[i])
	}
	return sjson.SetRawBytes(text, "unsigned.invite_room_state", append(state, ']'))
}

func sortedKeys[K int64 | matrix.UserID, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
