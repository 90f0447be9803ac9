package sync

import (
	"context"
	"fmt"
	"maps"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

const (
	typeEncryption = "m.room.encryption"
	typeSpaceChild = "m.space.child"
	typeDirect     = "m.direct"
	typeTag        = "m.tag"
)

// bumpTypes are what people do in a room, in contrast to what happens to it.
//
// Spec: MSC4186, RoomResult, bump_stamp
var bumpTypes = []string{
	"m.room.create", "m.room.message", "m.room.encrypted", "m.sticker", "m.call.invite", "m.poll.start", "m.beacon_info",
	// What clients send as long as polls and live locations are not stable for them.
	"org.matrix.msc3381.poll.start", "org.matrix.msc3672.beacon_info",
}

var bumps = func() map[string]bool {
	set := make(map[string]bool)
	for _, t := range bumpTypes {
		set[t] = true
	}
	return set
}()

// activity is what lists of rooms are sorted and filtered by. It is part of a watched room and guarded by hub.mu; it is read from
// the database once, and kept up to date by observing.
type activity struct {
	// last is the position of the room's last event, bump that of the last one of bumpTypes; 0 is not known.
	last, bump int64
	// kind is nil when it is not known; kindAt is the position of the last event that may have changed it.
	kind   *roomKind
	kindAt int64
}

// roomKind is what does not change often.
type roomKind struct {
	encrypted bool
	roomType  string // "" is none
}

func (a *activity) observe(e *store.Event) {
	a.last = e.Position
	if bumps[e.Type] {
		a.bump = e.Position
	}
	if e.Type == typeEncryption {
		a.kind, a.kindAt = nil, e.Position
	}
}

// slidingMemory is what is remembered of a user who uses sliding sync, besides the rooms. It is guarded by hub.mu. A nil map is not
// known; the positions are of the last update that was observed.
type slidingMemory struct {
	direct   map[matrix.RoomID]bool
	directAt int64
	tags     map[int64][]string
	tagsAt   int64
	// former says of rooms that the user did not leave by himself whether the user had been in them.
	former map[int64]bool
	// counts are the counts of lists, by the hash of a config, as of a position.
	counts map[uint32]slidingCounts
}

// slidingCounts are the lists of an answer, written.
type slidingCounts struct {
	at   int64
	text []byte
}

// maxCounts bounds the configs of one user of which the counts are remembered.
const maxCounts = 16

func (m *slidingMemory) observe(up *store.Update) {
	switch {
	case up.Key == typeDirect && up.RoomNID == 0:
		m.directAt = up.Position
		if m.direct != nil {
			m.direct = parseDirect(up.Body)
		}
	case up.Key == typeTag && up.RoomNID != 0:
		m.tagsAt = up.Position
		if m.tags != nil {
			m.tags[up.RoomNID] = parseTags(up.Body)
		}
	}
}

// parseDirect reads m.direct: the rooms that are direct chats.
//
// Spec: client-server v1.19 §direct-messaging
func parseDirect(body []byte) map[matrix.RoomID]bool {
	direct := make(map[matrix.RoomID]bool)
	gjson.ParseBytes(body).ForEach(func(_, rooms gjson.Result) bool {
		for _, room := range rooms.Array() {
			direct[matrix.RoomID(room.String())] = true
		}
		return true
	})
	return direct
}

func parseTags(body []byte) (tags []string) {
	gjson.GetBytes(body, "tags").ForEach(func(tag, _ gjson.Result) bool {
		tags = append(tags, tag.String())
		return true
	})
	return tags
}

// loadActivity fills in the last positions of those rooms in which they are not known.
func (h *hub) loadActivity(ctx context.Context, missing []int64) error {
	list, err := h.store.ListLastPositions(ctx, missing)
	if err != nil {
		return fmt.Errorf("load last events: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range list {
		if r := h.rooms[p.RoomNID]; r != nil {
			r.activity.last = max(r.activity.last, p.Position)
		}
	}
	return nil
}

// bumpStamps returns the positions of the rooms' last messages.
func (h *hub) bumpStamps(ctx context.Context, nids []int64) (map[int64]int64, error) {
	stamps := make(map[int64]int64, len(nids))
	var missing []int64
	h.mu.RLock()
	for _, nid := range nids {
		if r := h.rooms[nid]; r != nil && r.activity.bump > 0 {
			stamps[nid] = r.activity.bump
		} else {
			missing = append(missing, nid)
		}
	}
	h.mu.RUnlock()
	if len(missing) == 0 {
		return stamps, nil
	}
	list, err := h.store.ListLastOf(ctx, missing, bumpTypes, limits.SlidingBumpScan)
	if err != nil {
		return nil, fmt.Errorf("load bump stamps: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range list {
		stamps[p.RoomNID] = p.Position
		if r := h.rooms[p.RoomNID]; r != nil {
			r.activity.bump = max(r.activity.bump, p.Position)
			stamps[p.RoomNID] = r.activity.bump
		}
	}
	return stamps, nil
}

// kinds returns what kinds of rooms the rooms are.
func (h *hub) kinds(ctx context.Context, nids []int64) (map[int64]*roomKind, error) {
	kinds := make(map[int64]*roomKind, len(nids))
	var missing []int64
	asOf := h.now()
	h.mu.RLock()
	for _, nid := range nids {
		if r := h.rooms[nid]; r != nil && r.activity.kind != nil {
			kinds[nid] = r.activity.kind
		} else {
			missing = append(missing, nid)
		}
	}
	h.mu.RUnlock()
	if len(missing) == 0 {
		return kinds, nil
	}
	list, err := h.store.ListRoomKinds(ctx, missing)
	if err != nil {
		return nil, fmt.Errorf("load kinds of rooms: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, k := range list {
		kind := &roomKind{encrypted: k.Encrypted, roomType: gjson.GetBytes(k.Create, "content.type").String()}
		kinds[k.RoomNID] = kind
		if r := h.rooms[k.RoomNID]; r != nil && r.activity.kindAt <= asOf {
			r.activity.kind = kind
		}
	}
	return kinds, nil
}

// direct returns the user's direct chats. The map is not changed any more.
func (h *hub) direct(ctx context.Context, u *user) (map[matrix.RoomID]bool, error) {
	h.mu.RLock()
	direct := u.sliding.direct
	h.mu.RUnlock()
	if direct != nil {
		return direct, nil
	}
	list, err := h.store.ListAccountDataOf(ctx, u.id, typeDirect)
	if err != nil {
		return nil, fmt.Errorf("load direct chats: %w", err)
	}
	direct, at := map[matrix.RoomID]bool{}, int64(0)
	for _, up := range list {
		if up.RoomNID == 0 {
			direct, at = parseDirect(up.Body), up.Position
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if u.sliding.direct == nil && u.sliding.directAt <= at {
		u.sliding.direct = direct
	}
	return direct, nil
}

// tags returns the tags of the user's rooms.
func (h *hub) tags(ctx context.Context, u *user) (map[int64][]string, error) {
	h.mu.RLock()
	tags := maps.Clone(u.sliding.tags)
	h.mu.RUnlock()
	if tags != nil {
		return tags, nil
	}
	list, err := h.store.ListAccountDataOf(ctx, u.id, typeTag)
	if err != nil {
		return nil, fmt.Errorf("load tags: %w", err)
	}
	tags, at := make(map[int64][]string), int64(0)
	for _, up := range list {
		if up.RoomNID != 0 {
			tags[up.RoomNID] = parseTags(up.Body)
			at = max(at, up.Position)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if u.sliding.tags == nil && u.sliding.tagsAt <= at {
		u.sliding.tags = maps.Clone(tags)
	}
	return tags, nil
}

// former returns which of the rooms the user had been in, and has not forgotten. Forgetting is not observed: afresh asks again.
func (h *hub) former(ctx context.Context, u *user, nids []int64, afresh bool) (map[int64]bool, error) {
	former := make(map[int64]bool, len(nids))
	var missing []int64
	h.mu.RLock()
	for _, nid := range nids {
		if is, ok := u.sliding.former[nid]; ok && !afresh {
			former[nid] = is
		} else {
			missing = append(missing, nid)
		}
	}
	h.mu.RUnlock()
	if len(missing) == 0 {
		return former, nil
	}
	list, err := h.store.ListFormerRooms(ctx, u.id, missing)
	if err != nil {
		return nil, fmt.Errorf("load former rooms: %w", err)
	}
	for _, nid := range list {
		former[nid] = true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if u.sliding.former == nil {
		u.sliding.former = make(map[int64]bool)
	}
	for _, nid := range missing {
		u.sliding.former[nid] = former[nid]
	}
	return former, nil
}

// counts returns the counts of lists that were found for a config, if nothing has concerned the user since.
func (h *hub) counts(u *user, config uint32) ([]byte, bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	c, ok := u.sliding.counts[config]
	return c.text, ok && u.touched.Load() <= c.at
}

func (h *hub) keepCounts(u *user, config uint32, c slidingCounts) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if u.sliding.counts == nil || len(u.sliding.counts) >= maxCounts {
		u.sliding.counts = make(map[uint32]slidingCounts)
	}
	u.sliding.counts[config] = c
}
