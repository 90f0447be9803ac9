package sync

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	stdsync "sync"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// loadEncryption finds whose devices the client has to look at, and what the device has on offer.
//
// Spec: client-server v1.19 §e2e-extensions-to-sync
func (b *build) loadEncryption() (err error) {
	if !b.first() {
		if b.devicesChanged, b.devicesLeft, err = b.s.deviceLists(b.ctx, b.e, b.since, b.now); err != nil {
			return err
		}
	}
	b.counts, err = b.s.keyCounts(b.ctx, b.e, b.r.device)
	return err
}

// deviceLists returns, in order, the users whose devices or identity keys changed at since < position <= now, among them the user,
// or with whom the user has come to share a room; and those with whom no room is shared any more.
//
// Every room counts, encrypted or not: a room that becomes encrypted is no news about devices then.
//
// Spec: client-server v1.19 §tracking-the-device-list-for-a-user
func (s *Server) deviceLists(ctx context.Context, e *user, since, now int64) (changed, left []matrix.UserID, err error) {
	if since >= now {
		return nil, nil, nil
	}
	list, ok, err := s.recentSharing(ctx, e, since, now)
	if err == nil && !ok {
		list, err = s.cfg.Store.ListDeviceListChanges(ctx, e.id, since, now, now)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("load the device lists: %w", err)
	}
	changed, left = store.DeviceLists(e.id, list)
	return changed, left, nil
}

// recentSharing is ListDeviceListChanges from the ring. ok is false when that has to be asked: the ring does not go back far enough,
// or the user has joined or left rooms, so that all who are in them count.
func (s *Server) recentSharing(ctx context.Context, e *user, since, now int64) (list []store.Sharing, ok bool, err error) {
	if s.noRing {
		return nil, false, nil
	}
	// The hub is told of entries a moment before the ring has them.
	if err := s.cfg.Journal.WaitFor(ctx, now); err != nil {
		return nil, false, err
	}
	entries, ok := s.cfg.Journal.Entries(since, now)
	if !ok {
		return nil, false, nil
	}
	found := s.sharingNews(e, entries)
	if len(found.members) > 0 {
		if err := s.dropUnmoved(ctx, found); err != nil {
			return nil, false, err
		}
	}
	if found.own {
		return nil, false, nil
	}
	for id := range found.signed {
		found.ask[id] = struct{}{}
	}
	for id := range found.changed {
		if _, asked := found.ask[id]; asked || id == e.id {
			continue
		}
		shared, sure, err := s.sharesNow(ctx, e, id, now, len(found.changed))
		if err != nil {
			return nil, false, err
		}
		if !sure {
			found.ask[id] = struct{}{}
		} else if shared {
			list = append(list, store.Sharing{UserID: id, Changed: true, Before: true, After: true})
		}
	}
	_, self := found.changed[e.id]
	if _, asked := found.ask[e.id]; self && !asked {
		list = append(list, store.Sharing{UserID: e.id, Changed: true})
	}
	if len(found.ask) == 0 {
		return list, true, nil
	}
	asked := make([]matrix.UserID, 0, len(found.ask))
	for id := range found.ask {
		asked = append(asked, id)
	}
	judged, err := s.cfg.Store.ListSharing(ctx, e.id, asked, since, now)
	if err != nil {
		return nil, false, err
	}
	for _, sh := range judged {
		_, sh.Changed = found.changed[sh.UserID]
		_, sh.Signed = found.signed[sh.UserID]
		list = append(list, sh)
	}
	return list, true, nil
}

// sharingNews is what a window has about device lists.
type sharingNews struct {
	changed, signed map[matrix.UserID]struct{}
	// members are the member events that may have changed who shares a room with the user.
	members []memberNews
	// ask are users of whom the database has to say whether they share a room. own: the user's own rooms changed.
	ask map[matrix.UserID]struct{}
	own bool
	me  matrix.UserID
}

type memberNews struct {
	store.MembershipAt
	joined bool
}

// sharingNews reads a window.
func (s *Server) sharingNews(e *user, entries []journal.Entry) *sharingNews {
	found := &sharingNews{
		changed: make(map[matrix.UserID]struct{}), signed: make(map[matrix.UserID]struct{}), ask: make(map[matrix.UserID]struct{}), me: e.id,
	}
	s.hub.mu.RLock()
	defer s.hub.mu.RUnlock()
	for i := range entries {
		if up := entries[i].Update; up != nil {
			switch {
			case up.Kind != store.KindDeviceList:
			case up.Key == "":
				found.changed[up.UserID] = struct{}{}
			case up.UserID == e.id:
				found.signed[matrix.UserID(up.Key)] = struct{}{}
			}
			continue
		}
		ev := entries[i].Event
		if ev == nil || ev.Type != typeMember || ev.StateKey == nil {
			continue
		}
		who := matrix.UserID(*ev.StateKey)
		if _, known := e.rooms[ev.RoomNID]; !known && who != e.id {
			continue
		}
		found.members = append(found.members, memberNews{
			store.MembershipAt{RoomNID: ev.RoomNID, UserID: who, Position: ev.Position},
			gjson.GetBytes(ev.JSON, "content.membership").String() == memberJoin,
		})
	}
	return found
}

// maxReplaced is how many replaced memberships are remembered, times two.
const maxReplaced = 4000

// dropUnmoved looks up what the member events replaced, and notes those users who have really joined or left.
func (s *Server) dropUnmoved(ctx context.Context, found *sharingNews) error {
	var missing []store.MembershipAt
	var positions []int64
	before := make(map[int64]string, len(found.members))
	for _, m := range found.members {
		if membership, ok := s.replaced.get(m.Position); ok {
			before[m.Position] = membership
		} else {
			missing = append(missing, m.MembershipAt)
			positions = append(positions, m.Position)
		}
	}
	if len(missing) > 0 {
		read, err := once(ctx, s, "replaced", positions, func(ctx context.Context) (map[int64]string, error) {
			return s.cfg.Store.ListReplacedMemberships(ctx, missing)
		})
		if err != nil {
			return err
		}
		for _, m := range missing {
			before[m.Position] = membershipName(read[m.Position])
			s.replaced.put(m.Position, before[m.Position])
		}
	}
	for _, m := range found.members {
		switch {
		case (before[m.Position] == memberJoin) == m.joined:
		case m.UserID == found.me:
			found.own = true
		default:
			found.ask[m.UserID] = struct{}{}
		}
	}
	return nil
}

// sharesNow reports whether the user shares a room with another one, and whether that is sure to be so at now.
func (s *Server) sharesNow(ctx context.Context, e *user, id matrix.UserID, now int64, many int) (shared, sure bool, err error) {
	s.hub.mu.RLock()
	other := s.hub.users[id]
	s.hub.mu.RUnlock()
	if other == nil && many > maxPresenceLoads {
		return false, false, nil
	}
	if other, err = s.hub.user(ctx, id); err != nil {
		return false, false, err
	}
	s.hub.mu.RLock()
	defer s.hub.mu.RUnlock()
	return share(e, other), e.memberAt <= now && other.memberAt <= now, nil
}

// keyCounts is what a device has on offer, as bytes of an answer.
type keyCounts struct {
	// changed is the position of the last change.
	changed int64
	text    []byte
}

// noKeys is what a requester without a device has.
var noKeys = &keyCounts{text: []byte(`"device_one_time_keys_count":{},"device_unused_fallback_key_types":[]`)}

// deviceKeyCounts are the counts of a user's devices that are remembered.
type deviceKeyCounts struct {
	mu       stdsync.Mutex
	byDevice map[matrix.DeviceID]*keyCounts
	// drops counts what was dropped: what was read before is not kept.
	drops int
}

// drop forgets a device's counts, or with an empty id all.
func (d *deviceKeyCounts) drop(device matrix.DeviceID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.drops++
	if device == "" {
		d.byDevice = nil
	} else {
		delete(d.byDevice, device)
	}
}

func (d *deviceKeyCounts) get(device matrix.DeviceID) (counts *keyCounts, drops int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.byDevice[device], d.drops
}

func (d *deviceKeyCounts) put(device matrix.DeviceID, counts *keyCounts, drops int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.drops != drops {
		return
	}
	if d.byDevice == nil || len(d.byDevice) >= limits.DevicesPerUser {
		d.byDevice = make(map[matrix.DeviceID]*keyCounts)
	}
	d.byDevice[device] = counts
}

// keyCounts returns what a device has on offer, at least as new as what the hub had observed before the call. The database is
// asked once; afterwards the journal tells when the counts have changed.
func (s *Server) keyCounts(ctx context.Context, e *user, device matrix.DeviceID) (*keyCounts, error) {
	if device == "" {
		return noKeys, nil
	}
	counts, drops := e.keys.get(device)
	if counts != nil {
		return counts, nil
	}
	read, err := s.cfg.Store.GetKeyCounts(ctx, e.id, device)
	if err != nil {
		return nil, fmt.Errorf("count the keys of a device of %s: %w", e.id, err)
	}
	counts = &keyCounts{changed: read.Changed, text: renderKeyCounts(read)}
	e.keys.put(device, counts, drops)
	return counts, nil
}

// dropKeys drops what a device has on offer, because its token says that the database is older than what the device knows: its keys
// may have been given away since. The device uploads others. Nobody can do that to another's device.
func (s *Server) dropKeys(ctx context.Context, user matrix.UserID, device matrix.DeviceID) error {
	if device == "" {
		return nil
	}
	err := s.cfg.Journal.Write(ctx, func(tx *store.Tx) ([]store.Update, error) {
		dropped, err := tx.DeleteOneTimeKeys(ctx, user, device)
		if err != nil || !dropped {
			return nil, err
		}
		return []store.Update{{Kind: store.KindKeyCount, UserID: user, Key: string(device), Body: []byte("{}")}}, nil
	})
	if err != nil {
		return fmt.Errorf("drop the one-time keys of a device of %s: %w", user, err)
	}
	return nil
}

// Interop: clients take an answer without a count of this algorithm for one that says nothing of it, and so would not notice that
// their last key is gone.
const countedAlgorithm = "signed_curve25519"

func renderKeyCounts(c store.KeyCounts) []byte {
	if c.Published && !slices.ContainsFunc(c.OneTime, func(k store.KeyCount) bool { return k.Algorithm == countedAlgorithm }) {
		c.OneTime = append(c.OneTime, store.KeyCount{Algorithm: countedAlgorithm})
	}
	text := []byte(`"device_one_time_keys_count":{`)
	for i, k := range c.OneTime {
		text = append(appendText(appendComma(text, i == 0), k.Algorithm), ':')
		text = strconv.AppendInt(text, int64(k.Count), 10)
	}
	text = append(text, `},"device_unused_fallback_key_types":[`...)
	for i, algorithm := range c.UnusedFallback {
		text = appendText(appendComma(text, i == 0), algorithm)
	}
	return append(text, ']')
}

// appendKeyCounts appends device_one_time_keys_count and device_unused_fallback_key_types.
func appendKeyCounts(dst []byte, c *keyCounts) []byte { return append(dst, c.text...) }

// appendDeviceLists appends device_lists.
func appendDeviceLists(dst []byte, changed, left []matrix.UserID) []byte {
	dst = append(dst, `"device_lists":{"changed":[`...)
	for i, id := range changed {
		dst = appendText(appendComma(dst, i == 0), string(id))
	}
	dst = append(dst, `],"left":[`...)
	for i, id := range left {
		dst = appendText(appendComma(dst, i == 0), string(id))
	}
	return append(dst, `]}`...)
}

// observeKeyCount drops counts that changed, and wakes the device that they are of. It is called with mu held.
func (h *hub) observeKeyCount(owner *user, up *store.Update) {
	if up.UserID == "" {
		for _, u := range h.users {
			u.keys.drop("")
			h.touch(u, up.Position)
		}
		return
	}
	if owner == nil {
		return
	}
	device := matrix.DeviceID(up.Key)
	owner.keys.drop(device)
	if owner.touched.Load() < up.Position {
		owner.touched.Store(up.Position)
	}
	for _, p := range owner.polls {
		if p.device == device {
			h.toWake = append(h.toWake, p)
		}
	}
}

// observeDeviceList touches those who have to look at a user's devices again. It is called with mu held.
func (h *hub) observeDeviceList(owner *user, up *store.Update) {
	if up.Key == "" {
		h.observeShared(owner, up)
	} else if owner != nil {
		h.touch(owner, up.Position) // what was signed is news to the signer alone
	}
}
