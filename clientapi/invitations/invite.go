package invitations

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbox"
	"github.com/roomline/roomline/internal/ratelimit"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

// Invited is what has come of an invitation that somebody asked for.
type Invited struct {
	// Invitation is empty when User is set: the address is that of an account, which was invited.
	Invitation store.Invitation
	User       matrix.UserID
	// Link is the link that the inviter passes on; empty for an address. It is nowhere else, and can't be had again.
	Link string
}

// Invite asks somebody into a room in the name of the requester. It is what every way to invite calls. The same address once more in the same
// room is the same invitation, sent again with another link.
func (s *Server) Invite(ctx context.Context, who *httpapi.Requester, room matrix.RoomID, n Request) (Invited, error) {
	if err := s.count(ctx, who); err != nil {
		return Invited{}, err
	}
	if err := s.prepare(ctx, who, &n); err != nil {
		return Invited{}, err
	}
	return s.invite(ctx, who, room, n)
}

// First is Invite for the invitations that a room begins with. It refuses what can be refused before there is a room, and returns what invites
// when there is one.
func (s *Server) First(ctx context.Context, who *httpapi.Requester, list []Request) (func(ctx context.Context, room matrix.RoomID) error, error) {
	for i := range list {
		if err := s.count(ctx, who); err != nil {
			return nil, err
		}
		if err := s.prepare(ctx, who, &list[i]); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(list, func(a, b Request) int {
		return cmp.Or(strings.Compare(a.Medium, b.Medium), strings.Compare(a.Address, b.Address))
	})
	list = slices.CompactFunc(list, func(a, b Request) bool { return a.Medium == b.Medium && a.Address == b.Address })
	if err := s.rehearse(ctx, who, list); err != nil {
		return nil, err
	}
	return func(ctx context.Context, room matrix.RoomID) error {
		for _, n := range list {
			if _, err := s.invite(ctx, who, room, n); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// errRehearsed ends a transaction that is not to be committed.
var errRehearsed = errors.New("rehearsed")

// rehearse asks whether the outbox would take the messages, and takes the asking back.
func (s *Server) rehearse(ctx context.Context, who *httpapi.Requester, list []Request) error {
	var outsiders []Request
	for _, n := range list {
		known, err := s.known(ctx, who, &n)
		if err != nil {
			return err
		}
		if known == "" {
			outsiders = append(outsiders, n)
		}
	}
	if len(outsiders) == 0 {
		return nil
	}
	policy, err := s.policyFor(ctx, who, who.Org)
	if err != nil {
		return err
	}
	err = s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		for i := range outsiders {
			n := &outsiders[i]
			if err := policy.admits(who, n.Medium, n.Address); err != nil {
				return err
			}
			row, err := n.row(policy, s.now())
			if err != nil {
				return err
			}
			text := &outbox.InvitationText{Link: s.link(newSecret()), LinkExpiresTS: row.ExpiresTS}
			if _, err := s.cfg.Enqueue(ctx, tx, Draft{
				Organisation: who.Org, Kind: outbox.Invitation, Medium: n.Medium, Address: n.Address, Sender: who.User, Language: row.Language,
				ExpiresTS: row.ExpiresTS, Invitation: text,
			}); err != nil {
				return err
			}
		}
		return errRehearsed
	})
	if errors.Is(err, errRehearsed) {
		return nil
	}
	return err
}

// count holds back who invites too much, before anything is looked up.
func (s *Server) count(ctx context.Context, who *httpapi.Requester) error {
	wait, err := s.cfg.Limiter.Admit(ctx, ratelimit.Invitation, who, address(ctx))
	if err == nil && wait > 0 {
		err = matrix.LimitExceeded(wait)
	}
	return err
}

// prepare refuses who can't invite anybody, and what can't be right.
func (s *Server) prepare(ctx context.Context, who *httpapi.Requester, n *Request) error {
	if err := who.MayAct(); err != nil {
		return err
	}
	if s.cfg.BaseURL == "" {
		return matrix.Forbidden("this server has no address that guests could reach it at: public_base_url is not set")
	}
	o, err := s.cfg.Store.GetOrganisation(ctx, who.Org)
	if err != nil {
		return fmt.Errorf("look up the organisation: %w", err)
	}
	return n.check(o.DefaultRegion)
}

// invite does what prepare has found right.
func (s *Server) invite(ctx context.Context, who *httpapi.Requester, id matrix.RoomID, n Request) (Invited, error) {
	room, err := s.roomToInvite(ctx, who, id)
	if err != nil {
		return Invited{}, err
	}
	known, err := s.known(ctx, who, &n)
	if err != nil {
		return Invited{}, err
	}
	if known != "" {
		return Invited{User: known}, s.cfg.Rooms.Invite(ctx, roomserver.Membership{
			Room: id, Sender: who.User, Target: known, Reason: n.Reason, IsDirect: n.IsDirect,
		})
	}
	policy, err := s.policyFor(ctx, who, room.OrganisationID)
	if err != nil {
		return Invited{}, err
	}
	if err := policy.admits(who, n.Medium, n.Address); err != nil {
		return Invited{}, err
	}
	if n.Medium != "" {
		pending, err := s.cfg.Store.GetPendingInvitation(ctx, room.NID, who.User, n.Medium, n.Address, s.now())
		if err == nil {
			return s.renew(ctx, who, policy, pending)
		}
		if !errors.Is(err, store.ErrNotFound) {
			return Invited{}, fmt.Errorf("look for an invitation of the address: %w", err)
		}
	}
	row, err := n.row(policy, s.now())
	if err != nil {
		return Invited{}, err
	}
	row.ID, row.OrganisationID, row.RoomNID, row.RoomID, row.Inviter = rand.Text(), who.Org, room.NID, id, who.User
	return s.inviteOutsider(ctx, who, row, n.Scheduled.secretOf())
}

// policyFor is the policy of the requester's organisation. The room's may be another one, which has to let everybody of others invite outsiders
// into its rooms.
func (s *Server) policyFor(ctx context.Context, who *httpapi.Requester, roomOrg int64) (*Policy, error) {
	own, err := s.PolicyOf(ctx, who.Org)
	if err != nil || roomOrg == who.Org {
		return &own, err
	}
	host, err := s.PolicyOf(ctx, roomOrg)
	if err != nil {
		return nil, err
	}
	if host.Who != Everyone {
		return nil, matrix.Forbidden("the organisation that has the room does not let others invite people from outside")
	}
	own.Email, own.Phone, own.Links = both(own.Email, host.Email), both(own.Phone, host.Phone), both(own.Links, host.Links)
	return &own, nil
}

func both(a, b *bool) *bool { return new(*a && *b) }

// roomToInvite is a room that the requester is in and may invite to.
func (s *Server) roomToInvite(ctx context.Context, who *httpapi.Requester, id matrix.RoomID) (roomserver.Info, error) {
	room, err := s.joinedRoom(ctx, who.User, id)
	if err != nil {
		return room, err
	}
	rules, err := s.cfg.Rooms.Rules(ctx, room)
	if err != nil {
		return room, err
	}
	if rules.UserLevel(who.User) < rules.Levels.Invite {
		return room, matrix.Forbidden("inviting to this room needs power level %d", rules.Levels.Invite)
	}
	blocked, err := s.cfg.Store.IsBlocked(ctx, id, room.OrganisationID)
	if err != nil {
		return room, fmt.Errorf("look up whether %s is blocked: %w", id, err)
	}
	if blocked {
		return room, matrix.Forbidden("this room has been blocked on this server")
	}
	return room, nil
}

// joinedRoom is a room that the user is in. Of every other the same is said, be there one or not.
func (s *Server) joinedRoom(ctx context.Context, user matrix.UserID, id matrix.RoomID) (roomserver.Info, error) {
	room, err := s.cfg.Rooms.Room(ctx, id)
	if e, ok := matrix.AsError(err); ok && e.Code == matrix.ErrNotFound {
		return room, notInRoom()
	}
	if err != nil {
		return room, err
	}
	m, err := s.cfg.Store.GetMembership(ctx, room.NID, user)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return room, fmt.Errorf("load membership of %s: %w", id, err)
	}
	if m.Membership != "join" {
		return room, notInRoom()
	}
	return room, nil
}

func notInRoom() *matrix.Error { return matrix.Forbidden("you are not in this room") }

// known is the account that an address belongs to, if the requester could look it up by the address and may invite it; "" otherwise. For an
// address of somebody else the same questions are asked as for one that nobody has.
func (s *Server) known(ctx context.Context, who *httpapi.Requester, n *Request) (matrix.UserID, error) {
	if n.Medium == "" {
		return "", nil
	}
	links, err := s.cfg.Store.ListSharings(ctx, who.Org)
	if err != nil {
		return "", fmt.Errorf("look up linked organisations: %w", err)
	}
	orgs := []int64{who.Org}
	for _, l := range links {
		if l.Invite && (n.Medium == outbox.Email && l.Email || n.Medium == outbox.Msisdn && l.Phone) {
			orgs = append(orgs, l.OwnerID)
		}
	}
	owners, err := s.cfg.Store.ListAddressOwners(ctx, n.Medium, n.Address, orgs)
	if err != nil || len(owners) == 0 {
		return "", err
	}
	user := owners[0].UserID
	for _, o := range owners {
		if o.OrganisationID == who.Org {
			user = o.UserID
		}
	}
	err = s.cfg.MayInvite(ctx, who, []matrix.UserID{user})
	if e, ok := matrix.AsError(err); ok && e.Code == matrix.ErrNotFound {
		return "", nil
	}
	return user, err
}

// secret opens an invitation.
type secret [16]byte

func newSecret() (made secret) {
	rand.Read(made[:])
	return made
}

// hash is what is stored of a secret.
func (x secret) hash() []byte {
	h := sha256.Sum256(x[:])
	return h[:]
}

// SecretHash is what is stored of the secret of a link, or false if it is none.
func SecretHash(text string) ([]byte, bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) != len(secret{}) {
		return nil, false
	}
	return secret(raw).hash(), true
}

func (s *Server) link(x secret) string {
	return s.cfg.BaseURL + LinkPath + base64.RawURLEncoding.EncodeToString(x[:])
}

// inviteOutsider stores an invitation with its message, and then puts it into the room.
func (s *Server) inviteOutsider(ctx context.Context, who *httpapi.Requester, i store.Invitation, opens secret) (Invited, error) {
	i.SecretHash = opens.hash()
	text, err := s.text(ctx, &i, opens)
	if err != nil {
		return Invited{}, err
	}
	err = s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		ofRoom, ofUser, err := tx.CountPendingInvitations(ctx, i.RoomNID, i.Inviter, i.CreatedTS)
		switch {
		case err != nil:
			return err
		case ofRoom >= limits.InvitationsPerRoom:
			return matrix.Forbidden("the room may have no more than %d open invitations", limits.InvitationsPerRoom)
		case ofUser >= limits.InvitationsPerUser:
			return matrix.Forbidden("you may have no more than %d open invitations", limits.InvitationsPerUser)
		}
		if err := tx.InsertInvitation(ctx, i); err != nil {
			return err
		}
		if err := s.enqueue(ctx, tx, &i, text, false); err != nil {
			return err
		}
		return s.audit(ctx, tx, who, "invitation.send", &i)
	})
	if err != nil {
		return Invited{}, err
	}
	if err := s.intoRoom(ctx, &i); err != nil {
		s.takeBack(context.WithoutCancel(ctx), &i)
		return Invited{}, err
	}
	s.Changed(ctx, i.ID)
	return s.invited(i, opens), nil
}

// invited is the answer to who invites: a link is theirs to pass on, that of an address goes to the address only.
func (s *Server) invited(i store.Invitation, opens secret) Invited {
	if i.Medium != "" {
		return Invited{Invitation: i}
	}
	return Invited{Invitation: i, Link: s.link(opens)}
}

// enqueue puts the message of an invitation into the outbox.
func (s *Server) enqueue(ctx context.Context, tx *store.Tx, i *store.Invitation, text *outbox.InvitationText, again bool) error {
	if i.Medium == "" {
		return nil
	}
	if text.Meeting != nil && s.cfg.Phone != nil {
		numbers, err := s.cfg.Phone(ctx, tx, i)
		if err != nil {
			return fmt.Errorf("look up how to call in: %w", err)
		}
		text.Meeting.Phone = numbers
	}
	text.First = !again
	_, err := s.cfg.Enqueue(ctx, tx, Draft{
		Organisation: i.OrganisationID, Kind: outbox.Invitation, Medium: i.Medium, Address: i.Address, Sender: i.Inviter, InvitationID: i.ID,
		Language: i.Language, ExpiresTS: i.ExpiresTS, Invitation: text, Again: again,
	})
	return err
}

// text is what the message of an invitation says.
func (s *Server) text(ctx context.Context, i *store.Invitation, opens secret) (*outbox.InvitationText, error) {
	d, err := s.Describe(ctx, *i)
	if err != nil {
		return nil, err
	}
	text := &outbox.InvitationText{
		ID: i.ID, Inviter: d.Inviter, InviterEmail: d.inviterEmail, Room: d.Room, Link: s.link(opens), LinkExpiresTS: i.ExpiresTS, Meeting: d.Meeting,
	}
	if text.Meeting != nil {
		text.Meeting.Sequence += i.Sequence
	}
	return text, nil
}

// intoRoom puts the third-party invite into the room.
func (s *Server) intoRoom(ctx context.Context, i *store.Invitation) error {
	name := Mask(i.Medium, i.Address)
	if name == "" {
		name = "…"
	}
	return s.cfg.Rooms.InviteThirdParty(ctx, roomserver.ThirdPartyInvite{
		Room: i.RoomID, Sender: i.Inviter, Token: i.ID, DisplayName: name, PublicKey: s.publicKey, KeyValidityURL: s.cfg.BaseURL + KeyValidityPath,
	})
}

// takeBack ends an invitation that the room did not take.
func (s *Server) takeBack(ctx context.Context, i *store.Invitation) {
	err := s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		if _, _, err := tx.EndInvitation(ctx, i.ID, store.InvitationRevoked, true); err != nil {
			return err
		}
		if err := s.cfg.Cancel(ctx, tx, i.ID); err != nil {
			return err
		}
		_, err := tx.SettleInvitation(ctx, i.ID, s.now())
		return err
	})
	if err != nil {
		s.cfg.Log.Error("take back an invitation that the room did not take", "room", string(i.RoomID), "error", err)
	}
}

// audit notes in the inviter's organisation what was done to an invitation. The address is not in it: the log is for ever.
func (s *Server) audit(ctx context.Context, tx *store.Tx, who *httpapi.Requester, action string, i *store.Invitation) error {
	actor := "server"
	if who != nil {
		actor = who.Actor()
	}
	e, err := s.auditEntry(i, actor, address(ctx), action)
	if err != nil {
		return err
	}
	return tx.AppendAudit(ctx, e)
}

func (s *Server) auditEntry(i *store.Invitation, actor, ip, action string) (store.AuditEntry, error) {
	e := store.AuditEntry{OrganisationID: i.OrganisationID, TS: s.now(), Actor: actor, IP: ip, Action: action, Target: i.ID}
	detail, err := json.Marshal(map[string]any{
		"room_id": i.RoomID, "inviter": i.Inviter, "medium": i.Medium, "address": Mask(i.Medium, i.Address), "uses_allowed": i.UsesAllowed,
		"expires_ts": i.ExpiresTS,
	})
	e.Detail = detail
	return e, err
}
