package roomserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"
	"golang.org/x/sync/errgroup"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/strictjson"
)

const authorisedViaKey = "join_authorised_via_users_server"

// Membership is a change of somebody's membership of a room.
type Membership struct {
	Room matrix.RoomID
	// Sender makes the change, Target is whose membership it is.
	Sender, Target matrix.UserID
	Reason         string
	// IsDirect marks an invite to a direct chat.
	IsDirect bool
	// Extra are further keys of the content, as the client gave them: an object or nil.
	Extra []byte
	// OwnName takes name and avatar from Extra, where it has them, and not from the profile.
	OwnName bool
	// Timestamp is zero for now.
	Timestamp matrix.Timestamp
}

// memberContent is the content of m.room.member.
func (s *Server) memberContent(ctx context.Context, m Membership, membership string, withProfile bool) (map[string]any, error) {
	content := map[string]any{}
	var own Profile
	if len(m.Extra) > 0 {
		if err := json.Unmarshal(m.Extra, &content); err != nil {
			return nil, matrix.BadJSON("the body must be an object")
		}
		if m.OwnName {
			own.DisplayName, _ = content["displayname"].(string)
			own.AvatarURL, _ = content["avatar_url"].(string)
		}
		for _, ours := range []string{"third_party_signed", "third_party_invite", authorisedViaKey, "displayname", "avatar_url", "reason", GuestKey} {
			delete(content, ours)
		}
	}
	content["membership"] = membership
	if m.Reason != "" {
		content["reason"] = m.Reason
	}
	if m.IsDirect {
		content["is_direct"] = true
	}
	if withProfile && s.cfg.Keys.IsLocal(m.Target.Domain()) {
		p, err := s.cfg.Profile(ctx, m.Target)
		if err != nil {
			return nil, fmt.Errorf("load profile: %w", err)
		}
		p.into(content)
	}
	own.into(content)
	return content, nil
}

func (p Profile) into(content map[string]any) {
	if p.DisplayName != "" {
		content["displayname"] = p.DisplayName
	}
	if p.AvatarURL != "" {
		content["avatar_url"] = p.AvatarURL
	}
	if p.Guest != nil {
		content[GuestKey] = p.Guest
	}
}

// canonical makes an event's content from Go values.
func canonical(content map[string]any) ([]byte, error) {
	raw, err := json.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("encode content: %w", err)
	}
	return strictjson.Canonical(raw)
}

// mayComeIn refuses everybody who would come into a room that is blocked.
func (s *Server) mayComeIn(ctx context.Context, room Info) error {
	blocked, err := s.cfg.Store.IsBlocked(ctx, room.ID, room.OrganisationID)
	if err != nil {
		return fmt.Errorf("look up whether %s is blocked: %w", room.ID, err)
	}
	if blocked {
		return matrix.Forbidden("this room has been blocked on this server")
	}
	return nil
}

// change appends a membership event, unless skip says that there is nothing to do. skip may also refuse.
func (s *Server) change(ctx context.Context, room Info, m Membership, content map[string]any, skip func(v *view, present string) (bool, error)) error {
	raw, err := canonical(content)
	if err != nil {
		return err
	}
	key := string(m.Target)
	if content["membership"] != spec.Leave && content["membership"] != spec.Ban {
		if err := s.mayComeIn(ctx, room); err != nil {
			return err
		}
	}
	if content["membership"] != spec.Leave {
		if err := s.mayGrow(ctx, room, spec.MRoomMember, key); err != nil {
			return err
		}
	}
	_, err = s.append(ctx, room, nil, func(v *view) ([]draft, error) {
		present := v.get(spec.MRoomMember, key)
		if len(v.missing) > 0 {
			return nil, nil
		}
		membership := ""
		if present != nil {
			membership = v.membership(m.Target)
		}
		if done, err := skip(v, membership); done || err != nil {
			return nil, err
		}
		return []draft{{Type: spec.MRoomMember, StateKey: &key, Sender: m.Sender, Content: raw, Timestamp: m.Timestamp}}, nil
	})
	return err
}

// Join makes the user a member of the room. A member stays one; nothing is sent again. In a restricted room a member of one
// of the rooms that the join rule names is vouched for by a member with the power to invite.
func (s *Server) Join(ctx context.Context, m Membership) error {
	room, err := s.Room(ctx, m.Room)
	if err != nil {
		return err
	}
	m.Target = m.Sender
	content, err := s.memberContent(ctx, m, spec.Join, true)
	if err != nil {
		return err
	}
	voucher, err := s.voucher(ctx, room, m.Sender)
	if err != nil {
		return err
	}
	if voucher != "" {
		content[authorisedViaKey] = string(voucher)
	}
	return s.change(ctx, room, m, content, func(_ *view, present string) (bool, error) {
		return present == spec.Join, nil
	})
}

// Leave ends the user's membership, declines an invite, or takes a knock back.
func (s *Server) Leave(ctx context.Context, m Membership) error {
	m.Target = m.Sender
	return s.end(ctx, m, func(_ *view, present string) (bool, error) {
		switch present {
		case "":
			return false, matrix.Forbidden("you are not in this room")
		case spec.Leave:
			return true, nil
		}
		return false, nil
	})
}

// Kick ends another user's membership or invite.
func (s *Server) Kick(ctx context.Context, m Membership) error {
	return s.end(ctx, m, func(_ *view, present string) (bool, error) {
		if present == "" || present == spec.Leave || present == spec.Ban {
			return false, matrix.Forbidden("the user is not in this room")
		}
		return false, nil
	})
}

// Unban lets a banned user be invited or join again.
func (s *Server) Unban(ctx context.Context, m Membership) error {
	return s.end(ctx, m, func(_ *view, present string) (bool, error) {
		if present != spec.Ban {
			return false, matrix.BadState("the user is not banned")
		}
		return false, nil
	})
}

func (s *Server) end(ctx context.Context, m Membership, skip func(*view, string) (bool, error)) error {
	room, err := s.Room(ctx, m.Room)
	if err != nil {
		return err
	}
	content, err := s.memberContent(ctx, m, spec.Leave, false)
	if err != nil {
		return err
	}
	return s.change(ctx, room, m, content, skip)
}

// Ban ends a user's membership and keeps the user out.
func (s *Server) Ban(ctx context.Context, m Membership) error {
	room, err := s.Room(ctx, m.Room)
	if err != nil {
		return err
	}
	content, err := s.memberContent(ctx, m, spec.Ban, false)
	if err != nil {
		return err
	}
	return s.change(ctx, room, m, content, func(_ *view, present string) (bool, error) { return false, nil })
}

// Invite asks a user into the room.
func (s *Server) Invite(ctx context.Context, m Membership) error {
	room, err := s.Room(ctx, m.Room)
	if err != nil {
		return err
	}
	content, err := s.memberContent(ctx, m, spec.Invite, true)
	if err != nil {
		return err
	}
	return s.change(ctx, room, m, content, func(_ *view, present string) (bool, error) {
		if present == spec.Join {
			return false, matrix.Forbidden("the user is already in the room")
		}
		return false, nil
	})
}

// Knock asks to be let in.
func (s *Server) Knock(ctx context.Context, m Membership) error {
	room, err := s.Room(ctx, m.Room)
	if err != nil {
		return err
	}
	if !room.Version.KnockAllowed {
		return matrix.Forbidden("rooms of version %s can't be knocked on", room.Version.ID)
	}
	m.Target = m.Sender
	content, err := s.memberContent(ctx, m, spec.Knock, true)
	if err != nil {
		return err
	}
	return s.change(ctx, room, m, content, func(_ *view, present string) (bool, error) { return false, nil })
}

// Forget takes a room that the user has left out of the user's history.
func (s *Server) Forget(ctx context.Context, id matrix.RoomID, user matrix.UserID) error {
	room, err := s.Room(ctx, id)
	if err != nil {
		return err
	}
	m, err := s.cfg.Store.GetMembership(ctx, room.NID, user)
	if errors.Is(err, store.ErrNotFound) {
		return matrix.NotFound("room not found")
	}
	if err != nil {
		return fmt.Errorf("load membership: %w", err)
	}
	if m.Membership != spec.Leave && m.Membership != spec.Ban {
		return matrix.NewError(400, matrix.ErrUnknown, "leave the room before you forget it")
	}
	_, err = s.cfg.Store.PutForgotten(ctx, room.NID, user)
	return err
}

// profileParallel bounds how many rooms learn of a changed profile at a time: enough to share a few commits.
const profileParallel = 16

// PropagateProfile tells the rooms that the user is in of the user's present profile.
func (s *Server) PropagateProfile(ctx context.Context, user matrix.UserID) error {
	p, err := s.cfg.Profile(ctx, user)
	if err != nil {
		return fmt.Errorf("load profile: %w", err)
	}
	rooms, err := s.cfg.Store.ListMemberships(ctx, user)
	if err != nil {
		return fmt.Errorf("list rooms of %s: %w", user, err)
	}
	var g errgroup.Group
	g.SetLimit(profileParallel)
	for _, m := range rooms {
		if m.Membership != spec.Join {
			continue
		}
		g.Go(func() error {
			err := s.refreshMember(ctx, m.RoomID, user, p)
			if _, refused := matrix.AsError(err); refused {
				// A room whose rules forbid it keeps the old name.
				return nil
			}
			return err
		})
	}
	return g.Wait()
}

// refreshMember sends a membership event like the present one with another profile.
func (s *Server) refreshMember(ctx context.Context, id matrix.RoomID, user matrix.UserID, p Profile) error {
	room, err := s.Room(ctx, id)
	if err != nil {
		return err
	}
	key := string(user)
	_, err = s.append(ctx, room, nil, func(v *view) ([]draft, error) {
		present := v.content(spec.MRoomMember, key)
		if len(v.missing) > 0 || gjson.GetBytes(present, "membership").String() != spec.Join {
			return nil, nil
		}
		content := map[string]any{}
		if err := json.Unmarshal(present, &content); err != nil {
			return nil, fmt.Errorf("read own member event: %w", err)
		}
		delete(content, "displayname")
		delete(content, "avatar_url")
		delete(content, GuestKey)
		// The join was vouched for once; the change of a name is not a new join.
		delete(content, authorisedViaKey)
		p.into(content)
		raw, err := canonical(content)
		if err != nil {
			return nil, err
		}
		d := draft{Type: spec.MRoomMember, StateKey: &key, Sender: user, Content: raw}
		if v.same(&d) != "" {
			return nil, nil
		}
		return []draft{d}, nil
	})
	return err
}

// LeaveRooms takes a user out of every room: memberships end, invites are declined, knocks taken back.
func (s *Server) LeaveRooms(ctx context.Context, user matrix.UserID) error {
	rooms, err := s.cfg.Store.ListMemberships(ctx, user)
	if err != nil {
		return fmt.Errorf("list rooms of %s: %w", user, err)
	}
	var g errgroup.Group
	g.SetLimit(profileParallel)
	for _, m := range rooms {
		if m.Membership == spec.Leave || m.Membership == spec.Ban {
			continue
		}
		g.Go(func() error { return s.Leave(ctx, Membership{Room: m.RoomID, Sender: user}) })
	}
	return g.Wait()
}
