package guests

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

// guest is what is told of a guest.
type guest struct {
	UserID       matrix.UserID    `json:"user_id"`
	DisplayName  string           `json:"displayname,omitempty"`
	InvitationID string           `json:"invitation_id,omitempty"`
	Inviter      matrix.UserID    `json:"inviter,omitempty"`
	Medium       string           `json:"medium,omitempty"`
	Address      string           `json:"address,omitempty"`
	Verified     bool             `json:"verified"`
	Role         string           `json:"role"`
	CreatedTS    matrix.Timestamp `json:"created_ts"`
	ExpiresTS    matrix.Timestamp `json:"expires_ts"`
	// Active says whether the guest can do anything still. EndedTS is when the guest had left all rooms.
	Active   bool             `json:"active"`
	EndedTS  matrix.Timestamp `json:"ended_ts,omitempty"`
	LinkedTo matrix.UserID    `json:"linked_to,omitempty"`
	// MayRemove says whether the asker may extend and remove the guest; it is not told to administrators, who may.
	MayRemove *bool `json:"may_remove,omitempty"`
}

type guestsResponse struct {
	Guests []guest `json:"guests"`
	// NextBatch is there if there are more: the value of from that continues.
	NextBatch string `json:"next_batch,omitempty"`
}

// describe is what is told of guests.
func (s *Server) describe(ctx context.Context, list []store.Guest) ([]guest, error) {
	users := make([]matrix.UserID, len(list))
	for i, g := range list {
		users[i] = g.UserID
	}
	fields, err := s.cfg.Store.ListProfiles(ctx, users, []string{"displayname"})
	if err != nil {
		return nil, fmt.Errorf("load the names of guests: %w", err)
	}
	names := make(map[matrix.UserID]string, len(fields))
	for _, f := range fields {
		var name string
		if json.Unmarshal(f.Value, &name) == nil {
			names[f.UserID] = name
		}
	}
	now, all := s.now(), []guest{}
	for _, g := range list {
		all = append(all, guest{
			UserID: g.UserID, DisplayName: names[g.UserID], InvitationID: g.InvitationID, Inviter: g.Inviter, Medium: g.Medium, Address: g.Address,
			Verified: g.Verified, Role: g.Role, CreatedTS: g.CreatedTS, ExpiresTS: g.ExpiresTS, Active: g.Active(now), EndedTS: g.EndedTS, LinkedTo: g.LinkedTo,
		})
	}
	return all, nil
}

// listRoomGuests tells a member of a room which guests are in it.
func (s *Server) listRoomGuests(ctx context.Context, c *httpapi.Call) (any, error) {
	id, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	forbidden := matrix.Forbidden("you are not in this room")
	room, err := s.cfg.Rooms.Room(ctx, id)
	if _, unknown := matrix.AsError(err); unknown {
		return nil, forbidden
	}
	if err != nil {
		return nil, err
	}
	m, err := s.cfg.Store.GetMembership(ctx, room.NID, c.Requester.User)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("load membership: %w", err)
	}
	if m.Membership != spec.Join {
		return nil, forbidden
	}
	list, err := s.cfg.Store.ListRoomGuests(ctx, room.NID)
	if err != nil {
		return nil, fmt.Errorf("list the guests of %s: %w", id, err)
	}
	all, err := s.describe(ctx, list)
	if err != nil {
		return nil, err
	}
	for i, g := range list {
		may, _, err := s.mayManage(ctx, c.Requester, g)
		if err != nil {
			return nil, err
		}
		all[i].MayRemove = &may
	}
	return guestsResponse{Guests: all}, nil
}

// mayManage says whether somebody may extend and remove a guest: the inviter, who manages the organisation's people, and who may kick the guest
// wherever the guest is. known says whether they may know of the guest.
func (s *Server) mayManage(ctx context.Context, who *httpapi.Requester, g store.Guest) (may, known bool, err error) {
	if who.Org == g.OrganisationID && who.ManagesPeople() || who.User == g.Inviter {
		return true, true, nil
	}
	rooms, err := s.cfg.Store.ListMemberships(ctx, g.UserID)
	if err != nil {
		return false, false, fmt.Errorf("list rooms of %s: %w", g.UserID, err)
	}
	here := 0
	may = true
	for _, m := range rooms {
		if m.Membership != spec.Join && m.Membership != spec.Invite {
			continue
		}
		here++
		own, err := s.cfg.Store.GetMembership(ctx, m.RoomNID, who.User)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return false, false, fmt.Errorf("load membership: %w", err)
		}
		if own.Membership != spec.Join {
			may = false
			continue
		}
		known = true
		kicks, err := s.mayKick(ctx, m.RoomID, who.User, g.UserID)
		if err != nil {
			return false, false, err
		}
		may = may && kicks
	}
	return may && here > 0, known, nil
}

// mayKick reports whether a member of a room may kick another.
//
// Spec: room v12 §authorisation-rules, rule 5.5
func (s *Server) mayKick(ctx context.Context, id matrix.RoomID, user, other matrix.UserID) (bool, error) {
	room, err := s.cfg.Rooms.Room(ctx, id)
	if err != nil {
		return false, err
	}
	rules, err := s.cfg.Rooms.Rules(ctx, room)
	if err != nil {
		return false, err
	}
	level := rules.UserLevel(user)
	return level >= rules.Levels.Kick && level > rules.UserLevel(other), nil
}

// managed is the guest of the path, whom the requester may extend and remove.
func (s *Server) managed(ctx context.Context, c *httpapi.Call) (store.Guest, error) {
	user, err := c.UserID("userId")
	if err != nil {
		return store.Guest{}, err
	}
	unknown := matrix.NotFound("there is no such guest")
	g, err := s.cfg.Store.GetGuest(ctx, user)
	if errors.Is(err, store.ErrNotFound) {
		return g, unknown
	}
	if err != nil {
		return g, fmt.Errorf("look up guest %s: %w", user, err)
	}
	may, known, err := s.mayManage(ctx, c.Requester, g)
	switch {
	case err != nil:
		return g, err
	case !may && !known:
		return g, unknown
	case !may:
		return g, matrix.Forbidden("only the inviter, who may kick the guest, and administrators may do this")
	case c.Requester.Suspended:
		return g, matrix.UserSuspended()
	}
	return g, nil
}

func guestEnded() *matrix.Error {
	return matrix.BadState("the guest's time is over; another invitation is needed")
}

type extendRequest struct {
	ExpiresTS matrix.Timestamp `json:"expires_ts"`
}

// extendGuest changes when a guest ends.
func (s *Server) extendGuest(ctx context.Context, c *httpapi.Call, req *extendRequest) (any, error) {
	g, err := s.managed(ctx, c)
	if err != nil {
		return nil, err
	}
	policy, err := s.cfg.Invitations.PolicyOf(ctx, g.OrganisationID)
	if err != nil {
		return nil, err
	}
	now, longest := s.now(), time.Duration(*policy.GuestLifetimeMax)*time.Millisecond
	switch {
	case req.ExpiresTS <= now:
		return nil, matrix.InvalidParam("expires_ts must be in the future; DELETE ends a guest")
	case req.ExpiresTS > now.Add(longest):
		return nil, matrix.InvalidParam("expires_ts must be at most %d", now.Add(longest))
	}
	if g, err = s.extend(ctx, actorOf(c), g.UserID, req.ExpiresTS); err != nil {
		return nil, err
	}
	all, err := s.describe(ctx, []store.Guest{g})
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

func (s *Server) extend(ctx context.Context, a actor, user matrix.UserID, expires matrix.Timestamp) (g store.Guest, err error) {
	err = s.cfg.Journal.Write(ctx, func(tx *store.Tx) ([]store.Update, error) {
		if g, err = tx.LockGuest(ctx, user); err != nil {
			return nil, err
		}
		if !g.Active(s.now()) {
			return nil, guestEnded()
		}
		g.ExpiresTS = expires
		if err := tx.PutGuestExpiry(ctx, user, expires); err != nil {
			return nil, err
		}
		if err := putMark(ctx, tx, g); err != nil {
			return nil, err
		}
		// What processes remember of the sessions is when they end.
		return auth.SessionChanged(user), s.audit(ctx, tx, g.OrganisationID, a, "guest.extend", user, map[string]any{"expires_ts": expires})
	})
	if err != nil {
		return g, fmt.Errorf("extend guest %s: %w", user, err)
	}
	if err := s.cfg.Rooms.PropagateProfile(ctx, user); err != nil {
		return g, fmt.Errorf("tell the rooms of %s: %w", user, err)
	}
	return g, nil
}

// removeGuest ends a guest.
func (s *Server) removeGuest(ctx context.Context, c *httpapi.Call) (any, error) {
	g, err := s.managed(ctx, c)
	if err != nil {
		return nil, err
	}
	return nil, s.end(ctx, g.UserID, actorOf(c), whyRemoved)
}

// listGuests tells administrators of the guests of their organisation.
func (s *Server) listGuests(ctx context.Context, c *httpapi.Call) (any, error) {
	limit, err := c.QueryInt("limit", 100, 1, limits.PageMax)
	if err != nil {
		return nil, err
	}
	var before int64
	var beforeUser string
	if from := c.Query("from"); from != "" {
		number, user, _ := strings.Cut(from, " ")
		if before, err = strconv.ParseInt(number, 10, 64); err != nil || before < 0 {
			return nil, matrix.InvalidParam("from is not a next_batch of this list")
		}
		beforeUser = user
	}
	list, err := s.cfg.Store.ListGuests(ctx, c.Requester.Org, matrix.Timestamp(before), matrix.UserID(beforeUser), limit)
	if err != nil {
		return nil, fmt.Errorf("list guests: %w", err)
	}
	answer := guestsResponse{}
	if answer.Guests, err = s.describe(ctx, list); err != nil {
		return nil, err
	}
	if len(list) == limit {
		last := list[limit-1]
		answer.NextBatch = fmt.Sprintf("%d %s", last.CreatedTS, last.UserID)
	}
	return answer, nil
}

// removeGuestAsAdmin ends a guest of the administrator's organisation.
func (s *Server) removeGuestAsAdmin(ctx context.Context, c *httpapi.Call) (any, error) {
	user, err := c.UserID("userId")
	if err != nil {
		return nil, err
	}
	g, err := s.cfg.Store.GetGuest(ctx, user)
	if errors.Is(err, store.ErrNotFound) || err == nil && g.OrganisationID != c.Requester.Org {
		return nil, matrix.NotFound("there is no such guest")
	}
	if err != nil {
		return nil, fmt.Errorf("look up guest %s: %w", user, err)
	}
	return nil, s.end(ctx, user, actorOf(c), whyRemoved)
}

// LinkGuest makes the guests who came by an address the account that has it now: the account is asked into their rooms and joins them, and the
// guests end. After an error it is called again.
func (s *Server) LinkGuest(ctx context.Context, user matrix.UserID, organisation int64, medium, address string) error {
	list, err := s.cfg.Store.ListGuestsOfAddress(ctx, organisation, medium, address)
	if err != nil {
		return fmt.Errorf("look for guests of an address: %w", err)
	}
	for _, g := range list {
		if g.LinkedTo == "" && g.Active(s.now()) {
			if err := s.takeOver(ctx, user, g); err != nil {
				return fmt.Errorf("make guest %s the account %s: %w", g.UserID, user, err)
			}
		}
		if err := s.finish(ctx, g.UserID, "the guest has an account now"); err != nil {
			return fmt.Errorf("end guest %s: %w", g.UserID, err)
		}
	}
	return nil
}

// takeOver brings an account into the rooms of a guest, and ends the guest.
func (s *Server) takeOver(ctx context.Context, user matrix.UserID, g store.Guest) error {
	rooms, err := s.cfg.Store.ListMemberships(ctx, g.UserID)
	if err != nil {
		return fmt.Errorf("list rooms: %w", err)
	}
	for _, m := range rooms {
		if m.Membership != spec.Join {
			continue
		}
		if err := s.bring(ctx, m, user, g); err != nil {
			return err
		}
	}
	return s.cfg.Journal.Write(ctx, func(tx *store.Tx) ([]store.Update, error) {
		now, err := tx.LockGuest(ctx, g.UserID)
		if err != nil {
			return nil, err
		}
		if err := tx.PutGuestLinked(ctx, g.UserID, user); err != nil || !now.Active(s.now()) {
			return nil, err
		}
		return s.expireIn(ctx, tx, now, actor{name: "server"}, "linked to "+string(user))
	})
}

// bring makes an account a member of a room of a guest. It is invited by the inviter, or, where that one may not invite any more, by the guest. A room
// whose rules let neither is left out.
func (s *Server) bring(ctx context.Context, m store.Membership, user matrix.UserID, g store.Guest) error {
	present, err := s.cfg.Store.GetMembership(ctx, m.RoomNID, user)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("load membership: %w", err)
	}
	if present.Membership == spec.Join || present.Membership == spec.Ban {
		return nil
	}
	if present.Membership != spec.Invite {
		for _, inviter := range []matrix.UserID{g.Inviter, g.UserID} {
			if inviter == "" {
				continue
			}
			err = s.cfg.Rooms.Invite(ctx, roomserver.Membership{Room: m.RoomID, Sender: inviter, Target: user})
			if !refused(err) {
				break
			}
		}
		if err != nil {
			return s.leftOut(err, m.RoomID, user)
		}
	}
	return s.leftOut(s.cfg.Rooms.Join(ctx, roomserver.Membership{Room: m.RoomID, Sender: user}), m.RoomID, user)
}

// leftOut notes that a room did not let somebody in; other errors are errors.
func (s *Server) leftOut(err error, room matrix.RoomID, user matrix.UserID) error {
	if !refused(err) {
		return err
	}
	s.cfg.Log.Info("a guest who has an account now is not let into a room", "user", user, "room", room, "err", err)
	return nil
}
