package invitations

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbox"
	"github.com/roomline/roomline/internal/store"
)

// Scheduled is how long the links of a meeting hold that was arranged here (clientapi/meetings/schedule): it knows better than the policy, whose bounds are for links
// that anybody makes.
type Scheduled struct {
	OpensTS, ExpiresTS matrix.Timestamp
	// GuestLifetime is how long a guest may stay, in ms; 0 is as the policy has it. It is never longer than the policy allows.
	GuestLifetime int64
	// Secret opens the link, if it is to be the same again; else nil.
	Secret *[16]byte
}

// into makes an invitation hold as long as the meeting.
func (m *Scheduled) into(i *store.Invitation, p *Policy) {
	i.OpensTS, i.ExpiresTS = m.OpensTS, m.ExpiresTS
	if m.GuestLifetime > 0 {
		i.GuestLifetime = min(m.GuestLifetime, *p.GuestLifetimeMax)
	}
}

// secretOf is the secret that was asked for, or a new one.
func (m *Scheduled) secretOf() secret {
	if m == nil || m.Secret == nil {
		return newSecret()
	}
	return secret(*m.Secret)
}

// LinkOf is the link that a secret opens.
func (s *Server) LinkOf(x [16]byte) string { return s.link(secret(x)) }

// Known brings the address of a request into canonical form, and says whose account it is, if the requester may know and may invite it.
func (s *Server) Known(ctx context.Context, who *httpapi.Requester, n *Request) (matrix.UserID, error) {
	if err := s.prepare(ctx, who, n); err != nil {
		return "", err
	}
	return s.known(ctx, who, n)
}

// Rehearse counts invitations that are about to be asked for, and refuses what would be refused: by the policy, or by what guards the messages. It is for requests
// that Known has seen.
func (s *Server) Rehearse(ctx context.Context, who *httpapi.Requester, list []Request) error {
	for range list {
		if err := s.count(ctx, who); err != nil {
			return err
		}
	}
	return s.rehearse(ctx, who, list)
}

// Arrange is Invite for what was counted before. An invitation of the address that holds is returned as it is: it was made by a process that died.
func (s *Server) Arrange(ctx context.Context, who *httpapi.Requester, room matrix.RoomID, n Request) (Invited, error) {
	if err := s.prepare(ctx, who, &n); err != nil {
		return Invited{}, err
	}
	info, err := s.roomToInvite(ctx, who, room)
	if err != nil {
		return Invited{}, err
	}
	if n.Medium != "" {
		pending, err := s.cfg.Store.GetPendingInvitation(ctx, info.NID, who.User, n.Medium, n.Address, s.now())
		if err == nil && pending.Meeting != nil {
			return Invited{Invitation: pending}, nil
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return Invited{}, fmt.Errorf("look for an invitation of the address: %w", err)
		}
	}
	return s.invite(ctx, who, room, n)
}

// Reschedule gives an invitation to a meeting another time, and tells the addressee: the message has another link, and the one from before is dead. Who has
// come already may stay as long. It reports false when the invitation has ended.
func (s *Server) Reschedule(ctx context.Context, who *httpapi.Requester, i store.Invitation, m outbox.Meeting, at Scheduled) (bool, error) {
	policy, err := s.PolicyOf(ctx, i.OrganisationID)
	if err != nil {
		return false, err
	}
	at.into(&i, &policy)
	m.Changed = changedTime(i.Meeting, &m)
	if i.Meeting, err = json.Marshal(m); err != nil {
		return false, err
	}
	opens := at.secretOf()
	i.SecretHash = opens.hash()
	text, err := s.text(ctx, &i, opens)
	if err != nil {
		return false, err
	}
	held := false
	err = s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		now := s.now()
		renewed, ok, err := tx.RescheduleInvitation(ctx, i, now)
		if held = ok; err != nil || !ok {
			return err
		}
		if err := s.cfg.Cancel(ctx, tx, i.ID); err != nil {
			return fmt.Errorf("take back messages: %w", err)
		}
		if m.EndTS > 0 {
			grace := matrix.Timestamp(*policy.GuestGrace)
			until := min(now+matrix.Timestamp(renewed.GuestLifetime), cmp.Or(at.ExpiresTS, m.EndTS)+grace)
			if err := tx.ProlongGuests(ctx, i.ID, until, now); err != nil {
				return err
			}
		}
		if err := s.enqueue(ctx, tx, &renewed, text, true); err != nil {
			return err
		}
		return s.audit(ctx, tx, who, "invitation.resend", &renewed)
	})
	if err != nil || !held {
		return held, err
	}
	s.Changed(ctx, i.ID)
	return true, nil
}

// changedTime is the time of a series that a change moved or cancelled, nil if it changed anything else.
func changedTime(before []byte, m *outbox.Meeting) *outbox.Exception {
	var old outbox.Meeting
	if json.Unmarshal(before, &old) != nil || old.Title != m.Title || old.StartTS != m.StartTS || old.EndTS != m.EndTS || old.Timezone != m.Timezone ||
		old.Recurrence != m.Recurrence {
		return nil
	}
	fresh := slices.DeleteFunc(slices.Clone(m.Exceptions), func(x outbox.Exception) bool { return slices.Contains(old.Exceptions, x) })
	if len(fresh) != 1 {
		return nil
	}
	return &fresh[0]
}

// NewLink makes a link to pass on that holds as long as a meeting.
func (s *Server) NewLink(ctx context.Context, who *httpapi.Requester, room matrix.RoomID, m *outbox.Meeting, at Scheduled) (Invited, error) {
	n := Request{Meeting: m, Scheduled: &at}
	if err := s.prepare(ctx, who, &n); err != nil {
		return Invited{}, err
	}
	info, err := s.roomToInvite(ctx, who, room)
	if err != nil {
		return Invited{}, err
	}
	policy, err := s.policyFor(ctx, who, info.OrganisationID)
	if err != nil {
		return Invited{}, err
	}
	if err := policy.admits(who, "", ""); err != nil {
		return Invited{}, err
	}
	n.Uses = policy.LinkUsesMax
	row, err := n.row(policy, s.now())
	if err != nil {
		return Invited{}, err
	}
	row.ID, row.OrganisationID, row.RoomNID, row.RoomID, row.Inviter = rand.Text(), who.Org, info.NID, room, who.User
	return s.inviteOutsider(ctx, who, row, at.secretOf())
}
