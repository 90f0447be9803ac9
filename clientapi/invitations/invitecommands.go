package invitations

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/internal/commands"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// inviteFor invites every address, and makes a link. since is when the command was taken first: what another process had done before it died is
// not done again.
func (s *Server) inviteFor(ctx context.Context, m *botMessage, since matrix.Timestamp) error {
	org, err := s.cfg.Store.GetOrganisation(ctx, m.who.Org)
	if err != nil {
		return fmt.Errorf("look up the organisation: %w", err)
	}
	for _, a := range m.command.Addresses {
		r := commandResult{Address: a.Text, Medium: a.Medium}
		if canonical, ok := auth.CanonicalAddress(a.Medium, a.Text, org.DefaultRegion); ok {
			r.Address = canonical
			done, err := s.cfg.Store.GetPendingInvitation(ctx, m.room.NID, m.Sender, a.Medium, canonical, s.now())
			if err == nil && done.CreatedTS >= since {
				m.Results = append(m.Results, s.resultOf(&done))
				continue
			}
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return fmt.Errorf("look for an invitation of the address: %w", err)
			}
		}
		made, err := s.Invite(ctx, m.who, m.RoomID, Request{Medium: a.Medium, Address: a.Text, Language: m.command.Language})
		if r.Problem, err = problemOf(err); err != nil {
			return err
		}
		switch {
		case made.User != "":
			r.UserID, r.State = made.User, string(Member)
		case r.Problem == "":
			r = s.resultOf(&made.Invitation)
		}
		m.Results = append(m.Results, r)
	}
	if !m.command.Link {
		return nil
	}
	made, err := s.Invite(ctx, m.who, m.RoomID, Request{Language: m.command.Language})
	r := commandResult{}
	if r.Problem, err = problemOf(err); err != nil {
		return err
	}
	if r.Problem == "" {
		r, m.Link = s.resultOf(&made.Invitation), made.Link
	}
	m.Results = append(m.Results, r)
	return nil
}

// resultOf is what there is to say about an invitation, to its inviter.
func (s *Server) resultOf(i *store.Invitation) commandResult {
	return commandResult{Address: i.Address, Medium: i.Medium, InvitationID: i.ID, State: Progress(i, s.now()), ExpiresTS: i.ExpiresTS}
}

// listFor lists the invitations of the room, or in the chat with the bot the asker's own. Addresses of others' are masked.
func (s *Server) listFor(ctx context.Context, m *botMessage) error {
	list, err := s.candidates(ctx, m, limits.CommandList+1)
	if err != nil {
		return err
	}
	m.More = len(list) > limits.CommandList
	for i := range list[:min(len(list), limits.CommandList)] {
		r := s.resultOf(&list[i])
		if list[i].Inviter != m.Sender {
			r.Address = Mask(r.Medium, r.Address)
		}
		m.Results = append(m.Results, r)
	}
	return nil
}

// candidates are the invitations that a command may be about.
func (s *Server) candidates(ctx context.Context, m *botMessage, limit int) ([]store.Invitation, error) {
	f := store.InvitationFilter{Holding: true, Now: s.now()}
	if m.RoomID != "" {
		f.RoomNID = m.room.NID
	} else {
		f.Inviter = m.Sender
	}
	list, err := s.cfg.Store.ListInvitations(ctx, f, limit)
	if err != nil {
		return nil, fmt.Errorf("list invitations: %w", err)
	}
	return list, nil
}

// changeFor revokes invitations, or sends them again.
func (s *Server) changeFor(ctx context.Context, m *botMessage) error {
	list, err := s.candidates(ctx, m, limits.CommandCandidates)
	if err != nil {
		return err
	}
	org, err := s.cfg.Store.GetOrganisation(ctx, m.who.Org)
	if err != nil {
		return fmt.Errorf("look up the organisation: %w", err)
	}
	var asked []func(i *store.Invitation) bool
	var names []string
	for _, a := range m.command.Addresses {
		canonical, _ := auth.CanonicalAddress(a.Medium, a.Text, org.DefaultRegion)
		asked = append(asked, func(i *store.Invitation) bool { return i.Medium == a.Medium && i.Address == canonical })
		names = append(names, a.Text)
	}
	for _, id := range m.command.IDs {
		asked = append(asked, func(i *store.Invitation) bool {
			return len(i.ID) >= len(id) && strings.EqualFold(i.ID[:len(id)], id)
		})
		names = append(names, id)
	}
	for n, is := range asked {
		found := 0
		for i := range list {
			// An address is its inviter's to know: others learn nothing by naming it.
			if !is(&list[i]) || list[i].Inviter != m.Sender && n < len(m.command.Addresses) {
				continue
			}
			found++
			r, err := s.changeOne(ctx, m, &list[i])
			if err != nil {
				return err
			}
			m.Results = append(m.Results, r)
		}
		if found == 0 {
			m.Results = append(m.Results, commandResult{Address: names[n], Problem: problemNoneOf})
		}
	}
	return nil
}

func (s *Server) changeOne(ctx context.Context, m *botMessage, i *store.Invitation) (r commandResult, err error) {
	r = s.resultOf(i)
	if i.Inviter != m.Sender {
		r.Address = Mask(i.Medium, i.Address)
	}
	if m.Action == commands.Revoke {
		err = s.Withdraw(ctx, m.who, i.ID)
		r.State = string(Revoked)
	} else {
		var made Invited
		if made, err = s.Resend(ctx, m.who, i.ID); err == nil {
			r = s.resultOf(&made.Invitation)
			if made.Link != "" {
				m.Link = made.Link
			}
		}
	}
	r.Problem, err = problemOf(err)
	return r, err
}
