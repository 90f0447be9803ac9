package roomserver

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"

	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver/event"
)

const (
	typeTombstone   = "m.room.tombstone"
	typeServerACL   = "m.room.server_acl"
	typeSpaceChild  = "m.space.child"
	typeSpaceParent = "m.space.parent"
)

// Upgrade puts another room, of another version, in the place of a room.
type Upgrade struct {
	Room    matrix.RoomID
	Sender  matrix.UserID
	Version string
	// AdditionalCreators are creators of the new room besides Sender, where its version has such.
	AdditionalCreators []matrix.UserID
}

// Upgrade makes the new room and ends the old one, and returns the new room's id.
//
// The new room with all of its first events, the tombstone, the moved aliases and the place in the directory are one transaction:
// there is either no new room or a whole one that the old one leads to. What comes after it may be cut off by a crash and
// is then missing: bans beyond the first limits.UpgradeBans, and the links of spaces that have the room. The same request again finds the
// new room and makes up for both.
//
// Spec: client-server v1.19 §room-upgrades
func (s *Server) Upgrade(ctx context.Context, u Upgrade) (Info, error) {
	old, err := s.Room(ctx, u.Room)
	if err != nil {
		return Info{}, err
	}
	version, ok := event.Lookup(u.Version)
	if !ok {
		return Info{}, matrix.UnsupportedRoomVersion("new_version: this server makes no rooms of this version")
	}
	nid, err := s.cfg.Store.NextRoomNID(ctx)
	if err != nil {
		return Info{}, fmt.Errorf("reserve a room: %w", err)
	}
	join, err := s.memberContent(ctx, Membership{Sender: u.Sender, Target: u.Sender}, spec.Join, true)
	if err != nil {
		return Info{}, err
	}
	select {
	case s.locked <- struct{}{}:
		defer func() { <-s.locked }()
	case <-ctx.Done():
		return Info{}, ctx.Err()
	}
	w := &upgrade{Upgrade: u, s: s, ctx: ctx, old: old, join: join}
	err = s.cfg.Journal.Write(ctx, func(tx *store.Tx) ([]store.Update, error) {
		w.room = Info{NID: nid, Version: version, OrganisationID: old.OrganisationID}
		return nil, w.run(tx)
	})
	t := s.tips.get(old)
	t.mu.Lock()
	t.reset()
	t.mu.Unlock()
	if err != nil {
		return Info{}, err
	}
	if err := s.cfg.Journal.CatchUp(ctx); err != nil {
		return Info{}, err
	}
	s.remember(w.room)
	if err := w.banOthers(); err != nil {
		return Info{}, err
	}
	return w.room, w.relink()
}

// upgrade is the work on one.
type upgrade struct {
	Upgrade
	s         *Server
	ctx       context.Context
	old, room Info
	// join is the content of the sender's membership of the new room.
	join map[string]any
	// state is what the old room says, by type; children and parents are of spaces.
	state             map[string]*store.Event
	children, parents []store.Event
	aliases           []matrix.RoomAlias
}

// run does the part that is whole or not at all. It may run several times.
func (w *upgrade) run(tx *store.Tx) error {
	row, err := tx.LockRoom(w.ctx, w.old.NID)
	if err != nil {
		return err
	}
	if err := w.load(); err != nil {
		return err
	}
	if made, err := w.madeBefore(); made || err != nil {
		return err
	}
	endsOld, makesNew, err := w.build(row)
	if err != nil {
		return err
	}
	if err := tx.MoveAliases(w.ctx, w.old.NID, w.room.NID); err != nil {
		return err
	}
	if err := tx.MovePublished(w.ctx, w.old.NID, w.room.NID, w.room.OrganisationID); err != nil {
		return err
	}
	for _, unit := range []*store.Unit{makesNew, endsOld} {
		result, err := tx.Append(w.ctx, w.s.now(), *unit)
		if err != nil {
			return err
		}
		if result.Outcome != store.OutcomeStored {
			return fmt.Errorf("upgrade %s: outcome %q", w.old.ID, result.Outcome)
		}
	}
	return nil
}

// copied are the parts of the state that the new room gets, in this order. Power levels come last: until then the creator may
// do everything.
var copied = []string{
	typeServerACL, spec.MRoomEncryption, spec.MRoomName, spec.MRoomAvatar, spec.MRoomTopic, spec.MRoomGuestAccess,
	spec.MRoomHistoryVisibility, spec.MRoomJoinRules,
}

// load reads what of the old room matters.
func (w *upgrade) load() error {
	var keys []store.StateKey
	for _, typ := range append(slices.Clone(copied), spec.MRoomCreate, spec.MRoomPowerLevels, spec.MRoomCanonicalAlias, typeTombstone) {
		keys = append(keys, store.StateKey{Type: typ})
	}
	list, err := w.s.cfg.Store.ListStateEventsFor(w.ctx, w.old.NID, store.CurrentState, keys)
	if err != nil {
		return fmt.Errorf("load state of %s: %w", w.old.ID, err)
	}
	w.state = make(map[string]*store.Event, len(list))
	for i := range list {
		w.state[list[i].Type] = &list[i]
	}
	if w.children, err = w.s.cfg.Store.ListStateOfType(w.ctx, []int64{w.old.NID}, typeSpaceChild, limits.UpgradeChildren); err != nil {
		return fmt.Errorf("load children of %s: %w", w.old.ID, err)
	}
	if w.parents, err = w.s.cfg.Store.ListStateOfType(w.ctx, []int64{w.old.NID}, typeSpaceParent, limits.UpgradeChildren); err != nil {
		return fmt.Errorf("load parents of %s: %w", w.old.ID, err)
	}
	w.aliases, err = w.s.cfg.Store.ListAliases(w.ctx, w.old.NID, limits.AliasesPerRoom)
	if err != nil {
		return fmt.Errorf("list aliases of %s: %w", w.old.ID, err)
	}
	return nil
}

func (w *upgrade) content(typ string) gjson.Result {
	if e := w.state[typ]; e != nil {
		return gjson.GetBytes(e.JSON, "content")
	}
	return gjson.Result{}
}

// madeBefore reports whether the sender has made this very upgrade before and asks again, because the answer was lost.
func (w *upgrade) madeBefore() (bool, error) {
	tombstone := w.state[typeTombstone]
	if tombstone == nil || tombstone.Sender != w.Sender {
		return false, nil
	}
	made, err := w.s.Room(w.ctx, matrix.RoomID(w.content(typeTombstone).Get("replacement_room").String()))
	if _, unknown := matrix.AsError(err); unknown {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	create, err := w.s.cfg.Store.GetStateEvent(w.ctx, made.NID, store.CurrentState, spec.MRoomCreate, "")
	if err != nil {
		return false, fmt.Errorf("load create event of %s: %w", made.ID, err)
	}
	var creators []matrix.UserID
	for _, c := range gjson.GetBytes(create.JSON, "content.additional_creators").Array() {
		creators = append(creators, matrix.UserID(c.String()))
	}
	same := made.Version.ID == w.room.Version.ID && create.Sender == w.Sender &&
		gjson.GetBytes(create.JSON, "content.predecessor.room_id").String() == string(w.old.ID) &&
		(!made.Version.PrivilegedCreators || slices.Equal(creators, w.creators()))
	if same {
		w.room = made
	}
	return same, nil
}

// creators are the additional ones, each once and without the sender.
func (w *upgrade) creators() []matrix.UserID {
	var list []matrix.UserID
	for _, c := range w.AdditionalCreators {
		if c != w.Sender && !slices.Contains(list, c) {
			list = append(list, c)
		}
	}
	return list
}

// build makes the events of both rooms. Each names the other: before room version 12 the new room's create event names the tombstone, since
// then its own id is a hash of the create event, and the tombstone comes after it.
func (w *upgrade) build(row store.Room) (endsOld, makesNew *store.Unit, err error) {
	if w.room.Version.DomainlessRoomIDs {
		if makesNew, err = w.buildNew(""); err == nil {
			endsOld, err = w.buildOld(row)
		}
		return endsOld, makesNew, err
	}
	w.room.ID = matrix.RoomID("!" + rand.Text()[:18] + ":" + string(w.Sender.Domain()))
	if endsOld, err = w.buildOld(row); err == nil {
		makesNew, err = w.buildNew(endsOld.Events[0].EventID)
	}
	return endsOld, makesNew, err
}

// bans lists bans of the old room in the order of user ids, from the one that follows after.
func (w *upgrade) bans(after matrix.UserID) ([]store.Event, error) {
	bans, err := w.s.cfg.Store.ListBans(w.ctx, w.old.NID, after, limits.UpgradeBans)
	if err != nil {
		return nil, fmt.Errorf("list bans of %s: %w", w.old.ID, err)
	}
	return bans, nil
}

// banOthers takes over the bans that did not fit into the new room's beginning.
func (w *upgrade) banOthers() error {
	after := matrix.UserID("")
	for {
		bans, err := w.bans(after)
		if err != nil || len(bans) == 0 {
			return err
		}
		_, err = w.s.append(w.ctx, w.room, nil, func(v *view) ([]draft, error) {
			l := &draftList{sender: w.Sender}
			for i := range bans {
				if v.membership(matrix.UserID(*bans[i].StateKey)) == spec.Leave {
					l.add(spec.MRoomMember, *bans[i].StateKey, banContent(&bans[i]))
				}
			}
			return l.drafts, l.err
		})
		if _, refused := matrix.AsError(err); refused {
			return nil // the old room's power levels do not let the sender ban
		}
		if err != nil || len(bans) < limits.UpgradeBans {
			return err
		}
		after = matrix.UserID(*bans[len(bans)-1].StateKey)
	}
}

// relink puts the new room into the spaces that have the old one, where the sender may.
func (w *upgrade) relink() error {
	for i := range w.parents {
		if !gjson.GetBytes(w.parents[i].JSON, "content.via").IsArray() {
			continue
		}
		space, err := w.s.Room(w.ctx, matrix.RoomID(*w.parents[i].StateKey))
		if _, unknown := matrix.AsError(err); unknown {
			continue
		}
		if err != nil {
			return err
		}
		_, err = w.s.append(w.ctx, space, nil, func(v *view) ([]draft, error) {
			link := v.content(typeSpaceChild, string(w.old.ID))
			if len(v.missing) > 0 || !gjson.GetBytes(link, "via").IsArray() {
				return nil, nil
			}
			l := &draftList{sender: w.Sender}
			l.copy(space.Version, typeSpaceChild, string(w.room.ID), link)
			l.add(typeSpaceChild, string(w.old.ID), map[string]any{})
			return l.drafts, l.err
		})
		if _, refused := matrix.AsError(err); err != nil && !refused {
			return err
		}
	}
	return nil
}
