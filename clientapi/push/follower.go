package push

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/roomline/roomline/clientapi/invites"
	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// Run looks at the journal and tells gateways, whenever this process is the one that does, until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	s.cfg.Journal.Follow(ctx, journal.Follower{Name: "push", Handle: s.handle, Rest: 200 * time.Millisecond, While: s.send})
	return nil
}

// followerMemory is what the follower remembers of rooms: their state at upTo.
type followerMemory struct {
	upTo  int64
	rooms map[int64]*roomState
}

// maxFollowed bounds the rooms that the follower remembers; it forgets all when there are more.
const maxFollowed = 5000

// handle looks at a part of the journal and stores what it means. What was stored before a crash is not looked at again, so that
// nothing is pushed a second time.
func (s *Server) handle(ctx context.Context, entries []journal.Entry) error {
	progress, err := s.cfg.Store.GetPushProgress(ctx)
	if err != nil {
		return fmt.Errorf("read the progress of push: %w", err)
	}
	for len(entries) > 0 && entries[0].Position <= progress {
		entries = entries[1:]
	}
	if len(entries) == 0 {
		return nil
	}
	mem := s.follower.Load()
	if mem == nil || mem.upTo != progress || len(mem.rooms) > maxFollowed {
		mem = &followerMemory{rooms: make(map[int64]*roomState)}
	}
	s.follower.Store(nil) // a part that fails halfway leaves nothing to build on
	p := &part{s: s, ctx: ctx, mem: mem, batch: store.PushBatch{From: progress, UpTo: entries[len(entries)-1].Position}}
	if err := p.run(entries); err != nil {
		return err
	}
	if err := s.cfg.Store.PutPushBatch(ctx, p.batch); err != nil {
		return fmt.Errorf("store what is to be pushed: %w", err)
	}
	mem.upTo = p.batch.UpTo
	s.follower.Store(mem)
	if len(p.batch.Queue) > 0 {
		s.wakeSender()
	}
	return nil
}

// part is a part of the journal on its way through the follower.
type part struct {
	s     *Server
	ctx   context.Context
	mem   *followerMemory
	batch store.PushBatch

	events []*store.Event
	facts  []*fact
	rooms  []int64
	// rules are those who changed their rules, by room; programs are theirs.
	rules    map[int64][]store.UserRules
	programs map[matrix.UserID]*program
	names    map[nameKey]string
}

type nameKey struct {
	room int64
	user matrix.UserID
}

func (p *part) run(entries []journal.Entry) error {
	seen := make(map[int64]bool)
	readers := make(map[matrix.UserID]int64)
	for i := range entries {
		if e := entries[i].Event; e != nil {
			p.events = append(p.events, e)
			if !seen[e.RoomNID] {
				seen[e.RoomNID] = true
				p.rooms = append(p.rooms, e.RoomNID)
			}
			if e.StateKey == nil {
				readers[e.Sender] = e.Position
			}
		} else if up := entries[i].Update; up.Kind == store.KindReceipt {
			readers[up.UserID] = up.Position
		}
	}
	if len(p.events) > 0 {
		if err := p.look(); err != nil {
			return err
		}
		if err := p.loadRules(); err != nil {
			return err
		}
		if err := p.decideOwn(); err != nil {
			return err
		}
		if err := p.queuePushes(); err != nil {
			return err
		}
	}
	return p.queueBadges(readers)
}

// look makes the facts of the events.
func (p *part) look() error {
	st := p.s.cfg.Store
	byRoom := make(map[int64][]*store.Event)
	for _, e := range p.events {
		byRoom[e.RoomNID] = append(byRoom[e.RoomNID], e)
	}
	for _, nid := range p.rooms {
		state := p.mem.rooms[nid]
		if state == nil {
			var err error
			if state, err = loadRoomState(p.ctx, st, nid, byRoom[nid][0].Position-1); err != nil {
				return err
			}
			p.mem.rooms[nid] = state
		}
		if err := state.prepare(p.ctx, st, byRoom[nid]); err != nil {
			return err
		}
	}
	threads, err := threadsOf(p.ctx, st, p.events, func(int64, matrix.EventID) (thread, bool) { return thread{}, false })
	if err != nil {
		return err
	}
	for i, e := range p.events {
		state := p.mem.rooms[e.RoomNID]
		state.apply(e)
		f := newFact(e, threads[i], state)
		p.facts = append(p.facts, f)
		p.batch.Facts = append(p.batch.Facts, f.PushFact)
		if f.redacts != "" {
			p.batch.Redacted = append(p.batch.Redacted, f.redacts)
		}
	}
	return nil
}

// loadRules finds the rules of those in the rooms who changed any.
func (p *part) loadRules() (err error) {
	if p.rules, err = p.s.cfg.Store.ListRoomRules(p.ctx, p.rooms); err != nil {
		return fmt.Errorf("load push rules: %w", err)
	}
	users := make(map[matrix.UserID]int64)
	for _, list := range p.rules {
		for _, r := range list {
			users[r.UserID] = r.Position
		}
	}
	p.programs, err = p.s.programs.of(p.ctx, p.s.cfg.Store, users)
	return err
}

// decideOwn finds the events that rules of users' own decide about.
func (p *part) decideOwn() error {
	for _, f := range p.facts {
		for _, r := range p.rules[f.RoomNID] {
			program := p.programs[r.UserID]
			if program == nil || !program.own || r.UserID == f.Sender || f.Redacted {
				continue
			}
			o, own, err := p.decide(program, f, r.UserID)
			if err != nil {
				return err
			}
			if own {
				actions, err := json.Marshal(o.rule.Actions)
				if err != nil {
					return err
				}
				p.batch.Own = append(p.batch.Own, store.PushOwn{
					UserID: r.UserID, Position: f.Position, Notify: o.notify, Highlight: o.highlight, Actions: actions,
				})
			}
		}
	}
	return nil
}

// decide asks a user's rules about an event.
func (p *part) decide(program *program, f *fact, user matrix.UserID) (outcome, bool, error) {
	if !program.own {
		o, own := program.decide(f.event.RoomID, f.maskFor(user), nil)
		return o, own, nil
	}
	var name string
	if program.needsName {
		key := nameKey{f.RoomNID, user}
		var ok bool
		if name, ok = p.names[key]; !ok {
			names, err := displayNames(p.ctx, p.s.cfg.Store, user, []int64{f.RoomNID})
			if err != nil {
				return outcome{}, false, err
			}
			name = names[f.RoomNID]
			if p.names == nil {
				p.names = make(map[nameKey]string)
			}
			p.names[key] = name
		}
	}
	o, own := program.decide(f.event.RoomID, f.maskFor(user), f.subject(name))
	return o, own, nil
}

// queuePushes finds whom the events notify of those who have a pusher.
func (p *part) queuePushes() error {
	pushers, err := p.s.cfg.Store.ListRoomPushers(p.ctx, p.rooms)
	if err != nil || len(pushers) == 0 {
		return err
	}
	users := make([]matrix.UserID, 0, len(pushers))
	for _, list := range pushers {
		for _, t := range list {
			users = append(users, t.UserID)
		}
	}
	if err := p.loadPrograms(users); err != nil {
		return err
	}
	ignored, policies, err := p.loadIgnored(users)
	if err != nil {
		return err
	}
	now := int64(p.s.now())
	for _, f := range p.facts {
		if f.Redacted {
			continue
		}
		for _, t := range pushers[f.RoomNID] {
			if t.UserID == f.Sender || f.Position <= t.After || ignored[t.UserID][f.Sender] || !p.concerned(f, t) {
				continue
			}
			// Sync does not tell of an invite that the user does not want; neither does a notification.
			if t.Membership != memberJoin && policies[t.UserID].Decide(f.Sender) != invites.Allow {
				continue
			}
			o, _, err := p.decide(p.programs[t.UserID], f, t.UserID)
			if err != nil {
				return err
			}
			if o.notify {
				p.batch.Queue = append(p.batch.Queue, store.PushQueued{
					PusherID: t.PusherID, Position: f.Position, Tweaks: tweaks(o.rule), QueuedTS: now,
				})
			}
		}
	}
	return nil
}

// concerned reports whether the user is in the room, or invited by the event.
func (p *part) concerned(f *fact, t store.RoomPusher) bool {
	if t.Membership == memberJoin {
		return true
	}
	return f.State && f.event.Type == typeMember && *f.event.StateKey == string(t.UserID)
}

// loadPrograms finds the rules of users who are invited, too.
func (p *part) loadPrograms(users []matrix.UserID) error {
	list, err := p.s.cfg.Store.ListRulesPositions(p.ctx, users)
	if err != nil {
		return fmt.Errorf("load push rules: %w", err)
	}
	positions := make(map[matrix.UserID]int64, len(users))
	for _, user := range users {
		positions[user] = 0
	}
	for _, r := range list {
		positions[r.UserID] = r.Position
	}
	p.programs, err = p.s.programs.of(p.ctx, p.s.cfg.Store, positions)
	return err
}

// loadIgnored reads whom the users ignore, and by whom they may be invited.
func (p *part) loadIgnored(users []matrix.UserID) (map[matrix.UserID]map[matrix.UserID]bool, map[matrix.UserID]invites.Policy, error) {
	list, err := p.s.cfg.Store.ListGlobalAccountData(p.ctx, users, invites.Types)
	if err != nil {
		return nil, nil, fmt.Errorf("load ignored users: %w", err)
	}
	ignored := make(map[matrix.UserID]map[matrix.UserID]bool)
	policies := make(map[matrix.UserID]invites.Policy)
	for _, up := range list {
		if up.Key == typeIgnored {
			ignored[up.UserID] = parseIgnored(up.Body)
		}
		if _, ok := policies[up.UserID]; !ok {
			policies[up.UserID] = invites.Of(up.UserID)
		}
		policies[up.UserID] = policies[up.UserID].With(up.Key, up.Body)
	}
	return ignored, policies, nil
}

// queueBadges lets the gateways of those who have read something, at a position, know what is left.
func (p *part) queueBadges(readers map[matrix.UserID]int64) error {
	if len(readers) == 0 {
		return nil
	}
	users, positions := make([]matrix.UserID, 0, len(readers)), make([]int64, 0, len(readers))
	for user, position := range readers {
		users, positions = append(users, user), append(positions, position)
	}
	ids, err := p.s.cfg.Store.ListBadgePushers(p.ctx, users, positions)
	if err != nil {
		return fmt.Errorf("load pushers: %w", err)
	}
	for _, id := range ids {
		p.batch.Queue = append(p.batch.Queue, store.PushQueued{PusherID: id, Tweaks: []byte("{}"), QueuedTS: int64(p.s.now())})
	}
	return nil
}

// programCache remembers users' rules, each with the position that they are from.
type programCache struct {
	mu     sync.Mutex
	byUser map[matrix.UserID]*program
}

// maxPrograms bounds the cache; it is emptied when full.
const maxPrograms = 20_000

// of returns the rules of users. positions are those of what they keep, 0 for nothing.
func (c *programCache) of(ctx context.Context, st *store.Store, positions map[matrix.UserID]int64) (map[matrix.UserID]*program, error) {
	all := make(map[matrix.UserID]*program, len(positions))
	var missing []matrix.UserID
	c.mu.Lock()
	for user, position := range positions {
		if position == 0 {
			all[user] = defaultProgram
		} else if p := c.byUser[user]; p != nil && p.since >= position {
			all[user] = p
		} else {
			missing = append(missing, user)
		}
	}
	c.mu.Unlock()
	if len(missing) == 0 {
		return all, nil
	}
	list, err := st.ListGlobalAccountData(ctx, missing, []string{TypeRules})
	if err != nil {
		return nil, fmt.Errorf("load push rules: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byUser == nil || len(c.byUser) > maxPrograms {
		c.byUser = make(map[matrix.UserID]*program)
	}
	for _, up := range list {
		p := defaultProgram
		if set, err := Parse(up.UserID, up.Body); err == nil {
			p = newProgram(set, up.Position)
			c.byUser[up.UserID] = p
		}
		all[up.UserID] = p
	}
	return all, nil
}
