package appservices

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
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

// deviceMark says up to which message a device's are in a transaction, and whether there are more.
type deviceMark struct {
	User   matrix.UserID   `json:"user_id"`
	Device matrix.DeviceID `json:"device_id"`
	UpTo   int64           `json:"up_to"`
	More   bool            `json:"more,omitempty"`
}

// deviceOf names a device.
type deviceOf struct {
	user   matrix.UserID
	device matrix.DeviceID
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

// renderEphemeral renders typing, receipts and presence, nil if there is none.
//
// Spec: application-service v1.19 §pushing-ephemeral-data
func (b *builder) renderEphemeral(upTo int64) ([]byte, error) {
	var list []any
	typing, err := b.typingEvents()
	if err != nil {
		return nil, err
	}
	list = append(list, typing...)
	for _, nid := range sortedKeys(b.receipts) {
		list = append(list, map[string]any{
			"type": typeReceipt, "room_id": b.w.interest.rooms[nid].id, "content": receiptContent(b.receipts[nid]),
		})
	}
	sights, err := b.presenceOfOthers()
	if err != nil {
		return nil, err
	}
	for user, up := range b.presence {
		stored := up.Body
		if sight, other := sights[user]; other {
			if !sight.Presence && !sight.Phone {
				continue
			}
			stored = b.w.s.cfg.PresenceAs(up.Body, sight)
		}
		known, err := b.w.interest.knows(b.ctx, user, upTo)
		if err != nil {
			return nil, err
		}
		if known {
			list = append(list, map[string]any{
				"type": typePresence, "sender": user, "content": json.RawMessage(b.w.s.cfg.PresenceContent(stored, b.w.s.now())),
			})
		}
	}
	if len(list) == 0 {
		return nil, nil
	}
	return json.Marshal(list)
}

// presenceOfOthers says of those who are of another organisation than the service what of their presence it may know: what their organisation gives to that of the
// service.
func (b *builder) presenceOfOthers() (map[matrix.UserID]store.PresenceSight, error) {
	if b.w.as.Everywhere {
		return nil, nil
	}
	sights := map[matrix.UserID]store.PresenceSight{}
	var others []matrix.UserID
	for user := range b.presence {
		of, err := b.w.interest.organisation(b.ctx, user.Domain())
		if err != nil {
			return nil, err
		}
		if of != b.w.as.organisation {
			sights[user] = store.PresenceSight{UserID: user}
			others = append(others, user)
		}
	}
	if len(others) == 0 || b.w.s.cfg.PresenceAs == nil {
		return sights, nil
	}
	given, err := b.w.s.cfg.Store.ListPresenceSights(b.ctx, b.w.as.organisation, false, others)
	if err != nil {
		return nil, fmt.Errorf("look up whose presence may be told: %w", err)
	}
	for user, sight := range given {
		sights[user] = sight
	}
	return sights, nil
}

// typingEvents says who types now in the rooms where somebody began or ceased to.
func (b *builder) typingEvents() (list []any, err error) {
	if len(b.typing) == 0 {
		return nil, nil
	}
	nids := sortedKeys(b.typing)
	updates, err := b.w.s.cfg.Store.ListRoomUpdates(b.ctx, nids, store.KindTyping, 0, store.CurrentState)
	if err != nil {
		return nil, fmt.Errorf("load typing: %w", err)
	}
	typists := make(map[int64][]matrix.UserID)
	for _, up := range updates {
		if gjson.GetBytes(up.Body, "until").Int() > int64(b.w.s.now()) {
			typists[up.RoomNID] = append(typists[up.RoomNID], up.UserID)
		}
	}
	for _, nid := range nids {
		users := typists[nid]
		if users == nil {
			users = []matrix.UserID{}
		}
		list = append(list, map[string]any{"type": typeTyping, "room_id": b.w.interest.rooms[nid].id, "content": map[string]any{"user_ids": users}})
	}
	return list, nil
}

// receiptContent is the content of m.receipt.
func receiptContent(list []*store.Update) map[string]map[string]map[matrix.UserID]any {
	all := make(map[string]map[string]map[matrix.UserID]any)
	for _, up := range list {
		kind, thread, _ := strings.Cut(up.Key, "|")
		var body struct {
			EventID string           `json:"event_id"`
			TS      matrix.Timestamp `json:"ts"`
		}
		if json.Unmarshal(up.Body, &body) != nil {
			continue
		}
		receipt := map[string]any{"ts": body.TS}
		if thread != "" {
			receipt["thread_id"] = thread
		}
		if all[body.EventID] == nil {
			all[body.EventID] = make(map[string]map[matrix.UserID]any)
		}
		if all[body.EventID][kind] == nil {
			all[body.EventID][kind] = make(map[matrix.UserID]any)
		}
		all[body.EventID][kind][up.UserID] = receipt
	}
	return all
}

// renderDevices renders what encryption needs: messages to devices, whose devices changed, and how many keys devices have on offer.
//
// Spec: MSC3202 §Proposal; MSC4203 for messages to devices
func (b *builder) renderDevices(t *transaction, parts map[string][]byte) error {
	messages, err := b.toDevice(t)
	if err != nil {
		return err
	}
	if len(messages) > 0 {
		if parts["de.sorunome.msc2409.to_device"], err = json.Marshal(messages); err != nil {
			return err
		}
	}
	if err := b.deviceLists(t.upTo, parts); err != nil {
		return err
	}
	return b.keyCounts(parts)
}

// toDevice takes messages out of queues, as many as fit.
func (b *builder) toDevice(t *transaction) ([]any, error) {
	var list []any
	room := limits.AppserviceTransactionBytes
	for _, d := range sortedDevices(b.queues) {
		mark := deviceMark{User: d.user, Device: d.device, UpTo: b.w.done[d]}
		if room <= 0 || len(list) >= limits.AppserviceEvents {
			mark.More = true
			t.toDevice = append(t.toDevice, mark)
			continue
		}
		messages, more, err := b.w.s.cfg.Store.ListToDevice(b.ctx, d.user, d.device, mark.UpTo, t.upTo, limits.AppserviceEvents-len(list), room)
		if err != nil {
			return nil, fmt.Errorf("load messages to devices: %w", err)
		}
		for _, m := range messages {
			list = append(list, map[string]any{
				"type": m.Type, "sender": m.Sender, "content": json.RawMessage(m.Content), "to_user_id": d.user, "to_device_id": d.device,
			})
			room -= len(m.Content)
			mark.UpTo = m.Position
		}
		if mark.More = more; more || len(messages) > 0 {
			t.toDevice = append(t.toDevice, mark)
			b.counted[d] = true
		}
	}
	return list, nil
}

// deviceLists says whose devices have to be looked at again, and whose no more.
func (b *builder) deviceLists(upTo int64, parts map[string][]byte) error {
	lists := struct {
		Changed []matrix.UserID `json:"changed"`
		Left    []matrix.UserID `json:"left"`
	}{[]matrix.UserID{}, []matrix.UserID{}}
	for _, user := range sortedKeys(b.changed) {
		known, err := b.w.interest.knows(b.ctx, user, upTo)
		if err != nil {
			return err
		}
		if known {
			lists.Changed = append(lists.Changed, user)
		}
	}
	for _, user := range sortedKeys(b.left) {
		known, err := b.w.interest.knows(b.ctx, user, upTo)
		if err != nil {
			return err
		}
		if !known {
			lists.Left = append(lists.Left, user)
		}
	}
	if len(lists.Changed)+len(lists.Left) == 0 {
		return nil
	}
	text, err := json.Marshal(lists)
	parts["org.matrix.msc3202.device_lists"] = text
	return err
}

// keyCounts says what devices have on offer.
func (b *builder) keyCounts(parts map[string][]byte) error {
	st := b.w.s.cfg.Store
	if b.counted[deviceOf{}] {
		// Those of every device changed.
		devices, err := st.ListKeyedDevices(b.ctx, b.w.as.Sender.Domain(), limits.AppserviceRooms)
		if err != nil {
			return fmt.Errorf("list devices: %w", err)
		}
		for _, d := range devices {
			own, err := b.w.interest.owns(b.ctx, d.UserID)
			if err != nil {
				return err
			}
			if own {
				b.counted[deviceOf{d.UserID, d.DeviceID}] = true
			}
		}
		delete(b.counted, deviceOf{})
	}
	if len(b.counted) == 0 {
		return nil
	}
	oneTime := make(map[matrix.UserID]map[matrix.DeviceID]map[string]int)
	fallback := make(map[matrix.UserID]map[matrix.DeviceID][]string)
	for d := range b.counted {
		counts, err := st.GetKeyCounts(b.ctx, d.user, d.device)
		if err != nil {
			return fmt.Errorf("count keys: %w", err)
		}
		if !counts.Published {
			continue
		}
		if oneTime[d.user] == nil {
			oneTime[d.user], fallback[d.user] = make(map[matrix.DeviceID]map[string]int), make(map[matrix.DeviceID][]string)
		}
		// Bridges take no count for no news.
		byAlgorithm := map[string]int{"signed_curve25519": 0}
		for _, k := range counts.OneTime {
			byAlgorithm[k.Algorithm] = k.Count
		}
		oneTime[d.user][d.device] = byAlgorithm
		unused := counts.UnusedFallback
		if unused == nil {
			unused = []string{}
		}
		fallback[d.user][d.device] = unused
	}
	if len(oneTime) == 0 {
		return nil
	}
	var err error
	if parts["org.matrix.msc3202.device_one_time_keys_count"], err = json.Marshal(oneTime); err != nil {
		return err
	}
	parts["org.matrix.msc3202.device_unused_fallback_key_types"], err = json.Marshal(fallback)
	return err
}

func sortedKeys[K int64 | matrix.UserID, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func sortedDevices(m map[deviceOf]bool) []deviceOf {
	list := make([]deviceOf, 0, len(m))
	for d := range m {
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b deviceOf) int {
		if c := strings.Compare(string(a.user), string(b.user)); c != 0 {
			return c
		}
		return strings.Compare(string(a.device), string(b.device))
	})
	return list
}

func encodeMarks(marks []deviceMark) []byte {
	if len(marks) == 0 {
		return []byte("[]")
	}
	text, err := json.Marshal(marks)
	if err != nil {
		panic("appservices: marks can always be encoded: " + err.Error())
	}
	return text
}

func decodeMarks(text []byte) (marks []deviceMark) {
	// What is in the database was made by encodeMarks.
	_ = json.Unmarshal(text, &marks)
	return marks
}

// openMarks are those of devices of which there are more messages.
func openMarks(text []byte) []deviceMark {
	return slices.DeleteFunc(decodeMarks(text), func(m deviceMark) bool { return !m.More })
}
