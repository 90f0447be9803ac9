package appservices

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

const (
	typeMember   = "m.room.member"
	typeMessage  = "m.room.message"
	typeTyping   = "m.typing"
	typeReceipt  = "m.receipt"
	typePresence = "m.presence"
)

// interest is what one application service has to do with rooms: it decides, at each position of the journal, whether an event is for it.
//
// Of a room it remembers one witness of each kind and no more: a joined user of the application service, and a joined member of its
// organisation. Another one is looked for when the witness leaves. So a room costs a few bytes, whatever its size.
//
// Spec: application-service v1.19 §registration, §pushing-events
type interest struct {
	as    *Registration
	store *store.Store
	rooms map[int64]*room
	// organisations are those of domains that live here.
	organisations map[matrix.ServerName]int64
	// own says of users in namespaces whether they are the application service's own.
	own map[matrix.UserID]bool
}

// room is what is known of a room at the position that the application service has come to.
type room struct {
	id matrix.RoomID
	// ghost is a joined user of the application service, ours a joined member of its organisation; empty where there is none.
	ghost, ours matrix.UserID
	// named says that an alias of the room is in a namespace.
	named bool
}

func newInterest(as *Registration, st *store.Store) *interest {
	return &interest{as: as, store: st, rooms: make(map[int64]*room), organisations: make(map[matrix.ServerName]int64), own: make(map[matrix.UserID]bool)}
}

// byNamespace reports whether the application service is interested in rooms without being in them.
func (n *interest) byNamespace() bool { return len(n.as.Rooms) > 0 || len(n.as.Aliases) > 0 }

// prepare loads what is not known of rooms, each as it was before the position that it comes with, and their present aliases.
func (n *interest) prepare(ctx context.Context, first map[int64]int64) error {
	if len(n.rooms) > limits.AppserviceRooms {
		n.rooms = make(map[int64]*room)
	}
	var missing, all []int64
	for nid := range first {
		all = append(all, nid)
		if n.rooms[nid] == nil {
			missing = append(missing, nid)
		}
	}
	if len(missing) > 0 {
		list, err := n.store.ListRoomsByNID(ctx, missing)
		if err != nil {
			return fmt.Errorf("load rooms: %w", err)
		}
		for i := range list {
			r := &room{id: list[i].ID}
			if err := n.load(ctx, list[i].NID, r, first[list[i].NID]-1); err != nil {
				return err
			}
			n.rooms[list[i].NID] = r
		}
	}
	if len(n.as.Aliases) == 0 || len(all) == 0 {
		return nil
	}
	// Aliases have no positions: they hold for whatever is still to be told.
	aliases, err := n.store.ListAliasesIn(ctx, all)
	if err != nil {
		return fmt.Errorf("load aliases: %w", err)
	}
	for _, nid := range all {
		if r := n.rooms[nid]; r != nil {
			r.named = false
		}
	}
	for _, a := range aliases {
		if r := n.rooms[a.RoomNID]; r != nil && n.as.hosts(a.Alias.Domain()) && anyMatches(n.as.Aliases, string(a.Alias)) {
			r.named = true
		}
	}
	return nil
}

// load finds the witnesses of a room at a position.
func (n *interest) load(ctx context.Context, nid int64, r *room, position int64) (err error) {
	if r.ghost, err = n.findGhost(ctx, nid, position); err != nil {
		return err
	}
	return n.loadOurs(ctx, nid, r, position)
}

func (n *interest) loadOurs(ctx context.Context, nid int64, r *room, position int64) error {
	r.ours = ""
	if !n.byNamespace() || n.as.Everywhere {
		return nil
	}
	user, err := n.store.GetJoinedOf(ctx, nid, position, n.as.organisation)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("look for members of an organisation: %w", err)
	}
	r.ours = user
	return nil
}

// membersAtOnce is how many members are looked at with one query.
const membersAtOnce = 1000

// findGhost finds a joined user of the application service. Namespaces begin with plain letters nearly always, and then few members are
// looked at.
func (n *interest) findGhost(ctx context.Context, nid, position int64) (matrix.UserID, error) {
	ranges := append([]Namespace{{from: string(n.as.Sender), to: string(n.as.Sender) + "\x01"}}, n.as.Users...)
	for i := range ranges {
		from := ranges[i].from
		for {
			list, err := n.store.ListJoinedRange(ctx, nid, position, from, ranges[i].to, membersAtOnce)
			if err != nil {
				return "", fmt.Errorf("look for users of an application service: %w", err)
			}
			for _, user := range list {
				if n.as.Covers(user) {
					return user, nil
				}
			}
			if len(list) < membersAtOnce {
				break
			}
			from = string(list[len(list)-1]) + "\x01"
		}
	}
	return "", nil
}

// concerns reports whether what happens in a room now is for the application service.
func (n *interest) concerns(nid int64) bool {
	r := n.rooms[nid]
	if r == nil || n.as.View != nil && !n.as.View.showsRoom(r.id) {
		return false
	}
	if r.ghost != "" {
		return true
	}
	return (r.named || anyMatches(n.as.Rooms, string(r.id))) && (n.as.Everywhere || r.ours != "")
}

// outside reports whether none of the application service's users is in a room that an event happens in, nor is it about one of them.
func (n *interest) outside(e *store.Event) bool {
	if e.Type == typeMember && e.StateKey != nil && n.as.Covers(matrix.UserID(*e.StateKey)) {
		return false
	}
	r := n.rooms[e.RoomNID]
	return r == nil || r.ghost == ""
}

// event reports whether an event is for the application service, and learns from it.
func (n *interest) event(ctx context.Context, e *store.Event) (bool, error) {
	before := n.concerns(e.RoomNID)
	if e.Type != typeMember || e.StateKey == nil {
		return before, nil
	}
	target := matrix.UserID(*e.StateKey)
	if err := n.member(ctx, e, target); err != nil {
		return false, err
	}
	r := n.rooms[e.RoomNID]
	aimed := r != nil && n.as.Covers(target) && (n.as.View == nil || n.as.View.showsRoom(r.id))
	return before || aimed || n.concerns(e.RoomNID), nil
}

func (n *interest) member(ctx context.Context, e *store.Event, target matrix.UserID) error {
	r := n.rooms[e.RoomNID]
	if r == nil {
		return nil
	}
	if gjson.GetBytes(e.JSON, "content.membership").String() == "join" {
		if r.ghost == "" && n.as.Covers(target) {
			r.ghost = target
		}
		if r.ours == "" && n.byNamespace() && !n.as.Everywhere {
			of, err := n.organisation(ctx, target.Domain())
			if err != nil {
				return err
			}
			if of == n.as.organisation {
				r.ours = target
			}
		}
		return nil
	}
	if r.ghost == target {
		var err error
		if r.ghost, err = n.findGhost(ctx, e.RoomNID, e.Position); err != nil {
			return err
		}
	}
	if r.ours == target {
		return n.loadOurs(ctx, e.RoomNID, r, e.Position)
	}
	return nil
}

// organisation returns whose a domain is, 0 for one that lives elsewhere.
func (n *interest) organisation(ctx context.Context, domain matrix.ServerName) (int64, error) {
	if of, ok := n.organisations[domain]; ok {
		return of, nil
	}
	d, err := n.store.GetHostedDomain(ctx, domain)
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look up the domain %s: %w", domain, err)
	}
	n.organisations[domain] = d.OrganisationID
	return d.OrganisationID, nil
}

// owns reports whether a user is the application service's own, and not only one whom it is interested in: what is nobody else's (messages to
// devices, keys, private receipts) it is told of those alone. A namespace that people are in, too, must not take their messages away.
func (n *interest) owns(ctx context.Context, user matrix.UserID) (bool, error) {
	if !n.as.Covers(user) {
		return false, nil
	}
	exclusive := func(ns Namespace) bool { return ns.Exclusive && ns.Matches(string(user)) }
	if user == n.as.Sender || n.as.Operator && slices.ContainsFunc(n.as.Users, exclusive) {
		return true, nil
	}
	if own, known := n.own[user]; known {
		return own, nil
	}
	own, err := n.store.IsAppserviceUser(ctx, user, n.as.ID)
	if err != nil {
		return false, fmt.Errorf("look up who made an account: %w", err)
	}
	if len(n.own) > limits.AppserviceRooms {
		clear(n.own)
	}
	n.own[user] = own
	return own, nil
}

// knows reports whether the application service has to do with a user: one of its own, or one who is in a room that it is interested in, at a
// position.
func (n *interest) knows(ctx context.Context, user matrix.UserID, position int64) (bool, error) {
	if n.as.Covers(user) {
		return true, nil
	}
	rooms, err := n.store.ListJoinedRooms(ctx, user)
	if err != nil {
		return false, fmt.Errorf("list the rooms of a user: %w", err)
	}
	first := make(map[int64]int64)
	for _, nid := range rooms {
		if n.rooms[nid] == nil && len(first) < limits.AppserviceRooms {
			first[nid] = position + 1
		} else if n.concerns(nid) {
			return true, nil
		}
	}
	if err := n.prepare(ctx, first); err != nil {
		return false, err
	}
	for nid := range first {
		if n.concerns(nid) {
			return true, nil
		}
	}
	return false, nil
}
