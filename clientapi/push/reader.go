package push

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// reader is a user who asks for counts.
type reader struct {
	id   matrix.UserID
	used atomic.Int64

	mu sync.Mutex
	// loaded: versions and ignored are there.
	loaded   bool
	versions []*program // oldest first; the last holds
	ignored  map[matrix.UserID]bool
	ignores  int64 // position of ignored
	rooms    map[int64]*standing
	// epoch counts changes of membership: what was read before one is worth nothing.
	epoch int
}

// maxVersions bounds the earlier rules that are remembered for events that have not been counted.
const maxVersions = 4

// observe takes a receipt or account data of the user.
func (u *reader) observe(up *store.Update) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if up.Kind == store.KindReceipt {
		if st := u.rooms[up.RoomNID]; st != nil {
			position := gjson.GetBytes(up.Body, "position").Int()
			if position == 0 {
				delete(u.rooms, up.RoomNID)
				u.epoch++
				return
			}
			st.read(up.Key, position)
		}
		return
	}
	switch up.Key {
	case TypeRules:
		u.setRules(up.Position, up.Body)
	case typeIgnored:
		u.setIgnored(up.Position, up.Body)
	}
}

// setRules is called with mu held.
func (u *reader) setRules(position int64, body []byte) {
	if n := len(u.versions); n > 0 && u.versions[n-1].since >= position && position > 0 {
		return
	}
	p := defaultProgram
	if len(body) > 0 {
		if set, err := Parse(u.id, body); err == nil {
			p = newProgram(set, position)
		}
	}
	if len(u.versions) >= maxVersions {
		u.versions = u.versions[1:]
	}
	u.versions = append(slices.Clone(u.versions), p)
}

const typeIgnored = "m.ignored_user_list"

// setIgnored is called with mu held.
func (u *reader) setIgnored(position int64, body []byte) {
	if position < u.ignores {
		return
	}
	u.ignores = position
	u.ignored = parseIgnored(body)
	clear(u.rooms)
	u.epoch++
}

func parseIgnored(body []byte) map[matrix.UserID]bool {
	ignored := make(map[matrix.UserID]bool)
	gjson.GetBytes(body, "ignored_users").ForEach(func(id, _ gjson.Result) bool {
		ignored[matrix.UserID(id.String())] = true
		return true
	})
	return ignored
}

// observeMember takes a membership of the user. Who was in the room and still is has changed name or picture.
func (u *reader) observeMember(e *store.Event) {
	u.mu.Lock()
	defer u.mu.Unlock()
	st := u.rooms[e.RoomNID]
	if st != nil && st.joined > 0 && membershipOf(e) == memberJoin {
		st.name = gjson.GetBytes(e.JSON, "content.displayname").String()
		return
	}
	delete(u.rooms, e.RoomNID)
	u.epoch++
}

// program is the rules that hold at a position. It is called with mu held.
func (u *reader) program(position int64) *program {
	for i := len(u.versions) - 1; i > 0; i-- {
		if u.versions[i].since < position {
			return u.versions[i]
		}
	}
	return u.versions[0]
}

// loadReader reads the user's rules.
func (c *counts) loadReader(ctx context.Context, u *reader) error {
	u.mu.Lock()
	loaded := u.loaded
	u.mu.Unlock()
	if loaded {
		return nil
	}
	var rules, ignored store.Update
	list, err := c.cfg.Store.ListGlobalAccountData(ctx, []matrix.UserID{u.id}, []string{TypeRules, typeIgnored})
	if err != nil {
		return fmt.Errorf("load push rules: %w", err)
	}
	for _, up := range list {
		if up.Key == TypeRules {
			rules = up
		} else {
			ignored = up
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.loaded {
		return nil
	}
	if n := len(u.versions); n == 0 || u.versions[n-1].since < rules.Position {
		u.versions = nil
		u.setRules(rules.Position, rules.Body)
	}
	if u.ignored == nil || ignored.Position > u.ignores {
		u.setIgnored(ignored.Position, ignored.Body)
	}
	u.loaded = true
	return nil
}
