package sync

import (
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/clientapi/presence"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

const typePresence = "m.presence"

// loadPresence finds the presence that changed in the window, of the user and of those who share a room with the user; and that
// of those who came to share one in the window.
//
// Spec: client-server v1.19 §presence
func (b *build) loadPresence() error {
	if p := b.s.cfg.Presence; p != nil && !p.Enabled() || !matchesType(&b.r.filter.Presence, typePresence) {
		return nil
	}
	list, err := b.changedPresence()
	if err != nil {
		return err
	}
	met, err := b.metPresence()
	if err != nil {
		return err
	}
	list = append(list, met...)
	slices.SortFunc(list, func(x, y *store.Update) int {
		return strings.Compare(string(x.UserID), string(y.UserID))
	})
	list = slices.CompactFunc(list, func(x, y *store.Update) bool { return x.UserID == y.UserID })
	if list, err = b.givenPresence(list); err != nil {
		return err
	}
	for _, up := range list {
		if b.first() && gjson.GetBytes(up.Body, "presence").String() == presence.Offline {
			continue // who is not mentioned is offline
		}
		if b.r.filter.Presence.Match(typePresence, up.UserID) {
			b.presence = append(b.presence, up)
		}
	}
	return nil
}

// givenPresence leaves out what other organisations do not give to the user's. It is asked anew for every answer, so that a link that is revoked
// gives nothing from then on. Users of the user's own domain are of the same organisation.
func (b *build) givenPresence(list []*store.Update) ([]*store.Update, error) {
	var others []matrix.UserID
	for _, up := range list {
		if up.UserID.Domain() != b.e.id.Domain() {
			others = append(others, up.UserID)
		}
	}
	if len(others) == 0 {
		return list, nil
	}
	given, err := b.s.cfg.Store.ListPresenceSights(b.ctx, b.r.org, b.r.guest, others)
	if err != nil {
		return nil, fmt.Errorf("find whose presence is given: %w", err)
	}
	seen := list[:0:0]
	for _, up := range list {
		if up.UserID.Domain() == b.e.id.Domain() {
			seen = append(seen, up)
			continue
		}
		if sight, ok := given[up.UserID]; ok {
			as := *up
			as.Body = presence.As(up.Body, sight)
			seen = append(seen, &as)
		}
	}
	return seen, nil
}

// changedPresence is the presence that changed in the window.
func (b *build) changedPresence() ([]*store.Update, error) {
	if !b.ring || b.manyStrangers() {
		list, err := b.s.cfg.Store.ListSharedPresence(b.ctx, b.e.id, b.since, b.now, limits.SyncPresence)
		if err != nil {
			return nil, fmt.Errorf("load presence: %w", err)
		}
		return pointers(list), nil
	}
	var list []*store.Update
	for _, up := range slices.Backward(b.updates) {
		if up.Kind != store.KindPresence || len(list) == limits.SyncPresence {
			continue
		}
		if up.UserID != b.e.id {
			other, err := b.s.hub.user(b.ctx, up.UserID)
			if err != nil {
				return nil, err
			}
			b.s.hub.mu.RLock()
			shared := share(b.e, other)
			b.s.hub.mu.RUnlock()
			if !shared {
				continue
			}
		}
		list = append(list, up)
	}
	return list, nil
}

// maxPresenceLoads is how many users' rooms are loaded for one answer; for more of them one query is cheaper.
const maxPresenceLoads = 4

// manyStrangers reports whether the presence of more than a few users changed whose rooms the hub does not know, as after a
// start.
func (b *build) manyStrangers() bool {
	strangers := 0
	b.s.hub.mu.RLock()
	defer b.s.hub.mu.RUnlock()
	for _, up := range b.updates {
		if up.Kind == store.KindPresence && b.s.hub.users[up.UserID] == nil {
			strangers++
		}
	}
	return strangers > maxPresenceLoads
}

// metPresence is the presence of those whom the user met in the window: the members of rooms that the user joined, and those who
// joined rooms that the user is in.
func (b *build) metPresence() ([]*store.Update, error) {
	if b.first() {
		return nil, nil
	}
	var joined []int64
	var users []matrix.UserID
	for _, rm := range b.rooms {
		switch {
		case rm.left:
		case rm.fresh:
			joined = append(joined, rm.nid)
		default:
			users = append(users, b.joiners(rm)...)
		}
	}
	var list []*store.Update
	if len(joined) > 0 {
		read, err := b.s.cfg.Store.ListPresenceInRooms(b.ctx, joined, b.now, limits.SyncPresence)
		if err != nil {
			return nil, fmt.Errorf("load presence: %w", err)
		}
		list = pointers(read)
	}
	if len(users) == 0 {
		return list, nil
	}
	slices.Sort(users)
	users = slices.Compact(users)
	read, err := once(b.ctx, b.s, "presence", hashes(users), func(ctx context.Context) ([]store.Update, error) {
		return b.s.cfg.Store.ListPresence(ctx, users[:min(len(users), limits.SyncPresence)])
	})
	if err != nil {
		return nil, fmt.Errorf("load presence: %w", err)
	}
	for i := range read {
		if read[i].Position <= b.now {
			list = append(list, &read[i])
		}
	}
	return list, nil
}

// joiners are the users whose membership became join, or whose profile changed, in the room's window.
func (b *build) joiners(rm *room) []matrix.UserID {
	var users []matrix.UserID
	for _, c := range rm.changes {
		if c.Type == typeMember && c.AtEnd && c.Position > b.since && *c.StateKey != string(b.e.id) &&
			gjson.GetBytes(c.JSON, "content.membership").String() == memberJoin {
			users = append(users, matrix.UserID(*c.StateKey))
		}
	}
	return users
}

// hashes stands for a list of users where numbers are wanted.
func hashes(users []matrix.UserID) []int64 {
	list := make([]int64, len(users))
	for i, id := range users {
		h := fnv.New64a()
		h.Write([]byte(id))
		list[i] = int64(h.Sum64())
	}
	return list
}

// appendPresence appends an m.presence event.
func appendPresence(dst []byte, up *store.Update, now matrix.Timestamp) []byte {
	dst = append(dst, `{"type":"m.presence","sender":`...)
	dst = append(appendText(dst, string(up.UserID)), `,"content":`...)
	return append(append(dst, presence.EventContent(up.Body, now)...), '}')
}
