package invitations

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/text/unicode/norm"

	"github.com/roomline/roomline/internal/commands"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

// understand finds the room of a command, and says what is wrong with it. done: there is nothing else to do.
func (s *Server) understand(ctx context.Context, m *botMessage) (done bool, err error) {
	c := &m.command
	switch {
	case c.Action == commands.Help:
		return true, nil
	case m.who.Guest || m.who.Suspended:
		m.Problem = problemForbidden
	case c.Unknown != "":
		m.Problem, m.Detail = problemWords, c.Unknown
	case isAboutMeetings(c.Action):
		return s.understandMeeting(ctx, m)
	case c.Action == commands.Invite && len(c.Addresses) == 0 && !c.Link,
		(c.Action == commands.Revoke || c.Action == commands.Resend) && len(c.Addresses) == 0 && len(c.IDs) == 0:
		m.Problem = problemAddress
	case c.Room != "":
		err = s.findRoom(ctx, m)
	case !m.Direct:
		m.RoomID = m.room.ID
	case c.Action == commands.Invite:
		m.Problem = problemWhichRoom
	}
	if err != nil || m.Problem != "" {
		return true, err
	}
	if m.RoomID != "" {
		if m.room, err = s.joinedRoom(ctx, m.Sender, m.RoomID); err != nil {
			// Of a room that the asker is not in nothing is said, not even that there is one.
			if m.Problem, err = problemOf(err); m.Problem != "" {
				m.Problem, m.Detail, m.RoomID = problemNoRoom, c.Room, ""
			}
			return true, err
		}
		m.RoomName, err = s.nameOf(ctx, m.room)
	}
	return false, err
}

// findRoom finds a room that the asker has named: one that they are in.
func (s *Server) findRoom(ctx context.Context, m *botMessage) error {
	name := m.command.Room
	m.Problem, m.Detail = problemNoRoom, name
	switch name[0] {
	case '!':
		if id, err := matrix.ParseRoomID(name); err == nil {
			m.RoomID, m.Problem, m.Detail = id, "", ""
		}
		return nil
	case '#':
		if !strings.Contains(name, ":") {
			name += ":" + string(m.Sender.Domain())
		}
		alias, err := matrix.ParseRoomAlias(name)
		if err != nil {
			return nil
		}
		found, err := s.cfg.Store.GetAlias(ctx, alias, m.Sender)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err == nil {
			m.RoomID, m.Problem, m.Detail = found.RoomID, "", ""
		}
		return err
	}
	return s.findByName(ctx, m, name)
}

// findByName looks among the rooms that the asker is in.
func (s *Server) findByName(ctx context.Context, m *botMessage, name string) error {
	nids, err := s.cfg.Store.ListJoinedRooms(ctx, m.Sender)
	if err != nil {
		return fmt.Errorf("list rooms: %w", err)
	}
	infos, err := s.cfg.Rooms.RoomsByNID(ctx, nids[:min(len(nids), limits.CommandRooms)])
	if err != nil {
		return err
	}
	summaries, err := s.cfg.Rooms.Summaries(ctx, infos)
	if err != nil {
		return err
	}
	name = norm.NFC.String(name)
	for _, info := range infos {
		sum := summaries[info.NID]
		if sum == nil || !strings.EqualFold(norm.NFC.String(strings.Join(strings.Fields(sum.Name), " ")), name) {
			continue
		}
		if m.RoomID != "" {
			m.RoomID, m.Problem, m.Detail = "", problemSeveral, name
			return nil
		}
		m.RoomID, m.Problem, m.Detail = info.ID, "", ""
	}
	if m.RoomID == "" {
		m.Problem = problemNoRoom
	}
	return nil
}

func (s *Server) nameOf(ctx context.Context, room roomserver.Info) (string, error) {
	summaries, err := s.cfg.Rooms.Summaries(ctx, []roomserver.Info{room})
	if err != nil {
		return "", err
	}
	if sum := summaries[room.NID]; sum != nil {
		return shown(sum.Name), nil
	}
	return "", nil
}
