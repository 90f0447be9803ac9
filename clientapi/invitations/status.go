package invitations

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbox"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/strictjson"
	"github.com/roomline/roomline/roomserver"
)

// Status says whether an invitation lets anybody in, to whoever has its secret.
type Status string

const (
	Open Status = "open"
	// Early: the meeting has not begun.
	Early Status = "early"
	// Used: as many have come as might.
	Used    Status = "used"
	Expired Status = "expired"
	Revoked Status = "revoked"
	// Member: somebody with the address has an account now.
	Member Status = "member"
	// Removed: the guest was taken out of the room, or waited and was not let in.
	Removed Status = "removed"
)

// StatusOf is what the row of an invitation says. Standing asks the room as well.
func StatusOf(i *store.Invitation, now matrix.Timestamp) Status {
	switch {
	case i.Ended == store.InvitationRevoked:
		return Revoked
	case i.Ended == store.InvitationMember:
		return Member
	case i.Uses >= i.UsesAllowed:
		return Used
	case i.Ended != "" || i.ExpiresTS <= now:
		return Expired
	case i.OpensTS > now:
		return Early
	}
	return Open
}

// Standing says whether an invitation lets anybody in now: by its row, by the room, where somebody may have withdrawn it, and by its inviter, who
// has to be there.
func (s *Server) Standing(ctx context.Context, i store.Invitation) (Status, error) {
	status := StatusOf(&i, s.now())
	if status != Open && status != Early {
		return status, nil
	}
	room, err := s.cfg.Rooms.Room(ctx, i.RoomID)
	if err != nil {
		return "", err
	}
	if held, err := s.inRoom(ctx, room, &i); err != nil || held != Open {
		return held, err
	}
	return status, nil
}

// inRoom asks the room and the inviter. A third-party invite that never came into the room, because a process died, comes now.
func (s *Server) inRoom(ctx context.Context, room roomserver.Info, i *store.Invitation) (Status, error) {
	inviter, err := s.cfg.Store.GetUser(ctx, i.Inviter)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return "", fmt.Errorf("look up the inviter: %w", err)
	}
	if err != nil || inviter.Deactivated() || inviter.Locked || inviter.Suspended {
		return Revoked, nil
	}
	third, err := s.cfg.Rooms.ThirdParty(ctx, room, i.Inviter, i.ID, s.publicKey)
	if err != nil {
		return "", err
	}
	if !third.InviterJoined || third.Known && !third.Holds {
		return Revoked, nil
	}
	if !third.Known {
		if err := s.intoRoom(ctx, i); err != nil {
			if isRefusal(err) {
				return Revoked, nil
			}
			return "", err
		}
	}
	return Open, nil
}

// Progress is how far an invitation has come, for members and administrators: queued, sent, delivered, failed, opened, redeemed, expired,
// revoked, or member. A link is sent by its inviter.
func Progress(i *store.Invitation, now matrix.Timestamp) string {
	switch {
	case i.Ended != "":
		return i.Ended
	case i.Uses < i.UsesAllowed && i.ExpiresTS <= now:
		return store.InvitationExpired
	case i.Uses > 0:
		return "redeemed"
	case i.OpenedTS > 0:
		return "opened"
	}
	switch outbox.State(i.Delivery) {
	case outbox.Sent, outbox.Delivered, outbox.Failed:
		return i.Delivery
	case outbox.Cancelled:
		return string(outbox.Failed)
	}
	if i.Medium == "" {
		return string(outbox.Sent)
	}
	return string(outbox.Queued)
}

// since is when an invitation has come as far as it has.
func since(i *store.Invitation) matrix.Timestamp {
	return max(i.CreatedTS, i.DeliveryTS, i.OpenedTS, i.RedeemedTS, i.EndedTS)
}

// EventType is state that says how far an invitation has come. Its state key is the invitation's id.
const EventType = roomserver.InvitationType

// tellRoom says in the room how far an invitation has come, if the inviter may.
func (s *Server) tellRoom(ctx context.Context, i *store.Invitation) error {
	raw, err := s.noteOf(i)
	if err != nil {
		return err
	}
	_, err = s.cfg.Rooms.Send(ctx, roomserver.NewEvent{Room: i.RoomID, Sender: i.Inviter, Type: EventType, StateKey: &i.ID, Content: raw})
	if isRefusal(err) {
		return nil
	}
	return err
}

// noteOf is what a room is told of an invitation.
func (s *Server) noteOf(i *store.Invitation) ([]byte, error) {
	content := map[string]any{"state": Progress(i, s.now()), "inviter": i.Inviter, "ts": since(i)}
	if i.Medium != "" {
		content["medium"], content["address"] = i.Medium, Mask(i.Medium, i.Address)
	}
	raw, err := json.Marshal(content)
	if err != nil {
		return nil, err
	}
	if raw, err = strictjson.Canonical(raw); err != nil {
		return nil, fmt.Errorf("tell a room of an invitation: %w", err)
	}
	return raw, nil
}

// Changed tells the room how far an invitation has come. If that fails the room knows it late: with the next change, or never.
func (s *Server) Changed(ctx context.Context, id string) {
	if err := s.changed(ctx, id); err != nil {
		s.cfg.Log.Warn("tell a room of an invitation", "error", err)
	}
}

// DeliveryChanged is told by the outbox what has become of a message, and again if it fails.
func (s *Server) DeliveryChanged(ctx context.Context, id string, state outbox.State) error {
	err := s.cfg.Store.Write(ctx, func(tx *store.Tx) error { return tx.PutInvitationDelivery(ctx, id, string(state), s.now()) })
	if err != nil {
		return fmt.Errorf("note what became of an invitation's message: %w", err)
	}
	return s.changed(ctx, id)
}

func (s *Server) changed(ctx context.Context, id string) error {
	i, err := s.cfg.Store.GetInvitation(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up an invitation: %w", err)
	}
	return s.tellRoom(ctx, &i)
}

// Opened notes that somebody has opened the link.
func (s *Server) Opened(ctx context.Context, id string) error {
	first := false
	err := s.cfg.Store.Write(ctx, func(tx *store.Tx) (err error) {
		first, err = tx.MarkInvitationOpened(ctx, id, s.now())
		return err
	})
	if err != nil {
		return fmt.Errorf("note that an invitation was opened: %w", err)
	}
	if first {
		s.Changed(ctx, id)
	}
	return nil
}

// Description is what an invitation shows of itself to whoever has its secret. Names are what people chose.
type Description struct {
	Organisation outbox.Brand
	Inviter      string
	// InviterAvatar and RoomAvatar are mxc: URIs, or empty.
	InviterAvatar matrix.ContentURI
	Room          string
	RoomAvatar    string
	Meeting       *outbox.Meeting
	Encrypted     bool
	inviterEmail  string
}

// Describe says what an invitation is to, and from whom.
func (s *Server) Describe(ctx context.Context, i store.Invitation) (Description, error) {
	var d Description
	person, err := s.cfg.Store.GetPerson(ctx, i.Inviter)
	if err != nil {
		return d, fmt.Errorf("look up the inviter: %w", err)
	}
	d.Organisation.Name = person.Organisation
	if s.cfg.Brand != nil {
		if d.Organisation, err = s.cfg.Brand(ctx, i.OrganisationID); err != nil {
			return d, fmt.Errorf("look up how the organisation presents itself: %w", err)
		}
	}
	var avatar string
	if json.Unmarshal(person.Name, &d.Inviter) != nil || d.Inviter == "" {
		d.Inviter = i.Inviter.Localpart()
	}
	if json.Unmarshal(person.Avatar, &avatar) == nil {
		if uri, err := matrix.ParseContentURI(avatar); err == nil {
			d.InviterAvatar = uri
		}
	}
	if len(person.Emails) > 0 {
		d.inviterEmail = person.Emails[0]
	}
	room, err := s.cfg.Rooms.Room(ctx, i.RoomID)
	if err != nil {
		return d, err
	}
	summaries, err := s.cfg.Rooms.Summaries(ctx, []roomserver.Info{room})
	if err != nil {
		return d, err
	}
	m := summaries[room.NID]
	d.Inviter, d.Room, d.RoomAvatar, d.Encrypted = shown(d.Inviter), shown(m.Name), m.AvatarURL, m.Encryption != ""
	if i.Meeting != nil {
		if err := json.Unmarshal(i.Meeting, &d.Meeting); err != nil {
			return d, fmt.Errorf("stored meeting: %w", err)
		}
	}
	return d, nil
}
