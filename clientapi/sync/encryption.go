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
		list, err = s.cfg.Store.ListDeviceListChanges(ctx, e.id, since, now)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("load the device lists: %w", err)
	}
	changed, left = store.DeviceLists(e.id, list)
	return changed, left, nil
}

// recentSharing is ListDeviceListChanges from the ring. ok is false when that has to be asked: the ring does not go back far enough,
// or the user has joined or left rooms, so that all who are in them count.
func (s *Server) recentSharing(ctx context.Context, e *user, since, now int64) (list []store.RoomSharing, ok bool, err error) {
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
	news := s.sharingNews(e, entries)
	if len(news.members) > 0 {
		if err := s.replay(ctx, news); err != nil || news.own {
			return nil, false, err
		}
	}
	var unsure []matrix.UserID
	for id := range news.users {
		sh, sure, err := s.sharing(ctx, news, id, now)
		if err != nil {
			return nil, false, err
		}
		if sure {
			list = append(list, sh)
		} else {
			unsure = append(unsure, id)
		}
	}
	if len(unsure) == 0 {
		return list, true, nil
	}
	asked, err := s.cfg.Store.ListSharing(ctx, e.id, unsure, since, now)
	if err != nil {
		return nil, false, err
	}
	for _, sh := range asked {
		sh.Changed, sh.Signed = news.users[sh.UserID].changed, news.users[sh.UserID].signed
		list = append(list, sh)
	}
	return list, true, nil
}

// sharingNews is what a window says of device lists and of who shares rooms with a user.
type sharingNews struct {
	e *user
	// members are the member events in the user's rooms, in order.
	members []memberNews
	// own: the user has joined or left a room.
	own   bool
	users map[matrix.UserID]*userNews
}

type memberNews struct {
	store.MembershipAt
	joined bool
}

// userNews is what a window says of another user.
type userNews struct {
	changed, signed bool
	// before has, for the rooms that the user joined or left, whether the user was in them at the beginning.
	before map[int64]bool
}

func (n *sharingNews) of(id matrix.UserID) *userNews {
	u := n.users[id]
	if u == nil {
		u = &userNews{before: make(map[int64]bool)}
		n.users[id] = u
	}
	return u
}

// sharingNews reads a window.
func (s *Server) sharingNews(e *user, entries []journal.Entry) *sharingNews {
	news := &sharingNews{e: e, users: make(map[matrix.UserID]*userNews)}
	s.hub.mu.RLock()
	defer s.hub.mu.RUnlock()
	for i := range entries {
		if up := entries[i].Update; up != nil {
			switch {
			case up.Kind != store.KindDeviceList:
			case up.Key == "":
				news.of(up.UserID).changed = true
			case up.UserID == e.id:
				news.of(matrix.UserID(up.Key)).signed = true
			}
			continue
		}
		ev := entries[i].Event
		if ev == nil || ev.Type != typeMember || ev.StateKey == nil {
			continue
		}
		if _, known := e.rooms[ev.RoomNID]; known {
			news.members = append(news.members, memberNews{
				store.MembershipAt{RoomNID: ev.RoomNID, UserID: matrix.UserID(*ev.StateKey), Position: ev.Position},
				gjson.GetBytes(ev.JSON, "content.membership").String() == memberJoin,
			})
		}
	}
	return news
}

// maxReplaced is how many replaced memberships are remembered, times two.
const maxReplaced = 4000

// replay finds out what the member events replaced: most are new names and avatars.
func (s *Server) replay(ctx context.Context, news *sharingNews) error {
	var missing []store.MembershipAt
	var positions []int64
	replaced := make(map[int64]string, len(news.members))
	for _, m := range news.members {
		if membership, ok := s.replaced.get(m.Position); ok {
			replaced[m.Position] = membership
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
			replaced[m.Position] = membershipName(read[m.Position])
			s.replaced.put(m.Position, replaced[m.Position])
		}
	}
	for _, m := range news.members {
		before := replaced[m.Position] == memberJoin
		switch {
		case before == m.joined:
		case m.UserID == news.e.id:
			news.own = true
		default:
			u := news.of(m.UserID)
			if _, later := u.before[m.RoomNID]; !later {
				u.before[m.RoomNID] = before
			}
		}
	}
	return nil
}

// sharing says whether somebody shared a room with the user at the beginning of the window, in which the user's own rooms did not
// change, and shares one at its end. It is not sure when the hub would have to load too many users, or knows more than the window.
func (s *Server) sharing(ctx context.Context, news *sharingNews, id matrix.UserID, now int64) (sh store.RoomSharing, sure bool, err error) {
	u := news.users[id]
	sh = store.RoomSharing{UserID: id, Changed: u.changed, Signed: u.signed}
	if id == news.e.id {
		return sh, true, nil
	}
	s.hub.mu.RLock()
	other := s.hub.users[id]
	s.hub.mu.RUnlock()
	if other == nil && len(news.users) > maxPresenceLoads {
		return sh, false, nil
	}
	if other, err = s.hub.user(ctx, id); err != nil {
		return sh, false, err
	}
	s.hub.mu.RLock()
	defer s.hub.mu.RUnlock()
	if news.e.memberAt > now || other.memberAt > now {
		return sh, false, nil
	}
	for nid, m := range news.e.rooms {
		if m.value != memberJoin {
			continue
		}
		in := other.rooms[nid].value == memberJoin
		before, moved := u.before[nid]
		sh.After = sh.After || in
		sh.Before = sh.Before || moved && before || !moved && in
	}
	return sh, true, nil
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
