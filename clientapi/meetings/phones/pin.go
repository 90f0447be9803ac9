package phones

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbox"
	"github.com/roomline/roomline/internal/phone"
	"github.com/roomline/roomline/internal/ratelimit"
	"github.com/roomline/roomline/internal/store"
)

// newPIN makes digits up, the first one no zero.
func newPIN() (string, error) {
	least := new(big.Int).Exp(big.NewInt(10), big.NewInt(phone.PINDigits-1), nil)
	n, err := rand.Int(rand.Reader, new(big.Int).Mul(least, big.NewInt(9)))
	if err != nil {
		return "", err
	}
	return n.Add(n, least).String(), nil
}

func (s *Server) pinHash(digits string) []byte {
	mac := hmac.New(sha256.New, s.hash)
	mac.Write([]byte(digits))
	return mac.Sum(nil)
}

// ensurePIN returns the digits of whoever p belongs to, new ones if there are none.
func (s *Server) ensurePIN(ctx context.Context, tx *store.Tx, p store.PhonePIN) (string, error) {
	const attempts = 5
	for range attempts {
		digits, err := newPIN()
		if err != nil {
			return "", err
		}
		p.Hash = s.pinHash(digits)
		p.Sealed = s.pins.Seal([]byte(digits), hex.EncodeToString(p.Hash))
		stored, ours, err := tx.EnsurePhonePIN(ctx, p)
		if err != nil {
			return "", fmt.Errorf("store a PIN: %w", err)
		}
		if !ours {
			continue
		}
		plain, err := s.pins.Open(stored.Sealed, hex.EncodeToString(stored.Hash))
		return string(plain), err
	}
	return "", errors.New("phones: no PIN was free")
}

// numbersOf are the numbers by which an organisation's meetings are reached; none if phones are not let in.
func (s *Server) numbersOf(ctx context.Context, from reader, org int64) ([]Number, error) {
	if s.cfg.Mint == nil || len(s.cfg.Trunks) == 0 {
		return nil, nil
	}
	r, err := s.rulesFor(ctx, from, org)
	if err != nil || !r.dialIn {
		return nil, err
	}
	trunks, err := s.trunksOf(ctx, from, org)
	if err != nil {
		return nil, fmt.Errorf("look up an organisation's trunks: %w", err)
	}
	var list []Number
	for _, t := range trunks {
		list = append(list, t.Numbers...)
	}
	return list, nil
}

// NumbersFor are the numbers by which people call in to a room's meetings, as they are shown; none where phones are not let in.
func (s *Server) NumbersFor(ctx context.Context, org int64, room matrix.RoomID) ([]string, error) {
	info, err := s.cfg.Rooms.Room(ctx, room)
	if err != nil {
		return nil, err
	}
	numbers, err := s.numbersOf(ctx, s.cfg.Store, org)
	if err != nil || len(numbers) == 0 {
		return nil, err
	}
	encrypted, err := s.isEncrypted(ctx, info.NID)
	if err != nil || encrypted {
		return nil, err
	}
	list := make([]string, len(numbers))
	for i, n := range numbers {
		list[i] = n.Number + " (" + n.Country + ")"
	}
	return list, nil
}

// ForInvitation is what the message of an invitation to a meeting says of phones: the numbers, each with the invitee's PIN, which is made in the transaction that
// stores the invitation. It is nothing where phones are not let in.
func (s *Server) ForInvitation(ctx context.Context, tx *store.Tx, i *store.Invitation) ([]outbox.DialIn, error) {
	numbers, err := s.numbersOf(ctx, tx, i.OrganisationID)
	if err != nil || len(numbers) == 0 {
		return nil, err
	}
	encrypted, err := tx.IsRoomEncrypted(ctx, i.RoomNID)
	if err != nil || encrypted {
		return nil, err
	}
	digits, err := s.ensurePIN(ctx, tx, store.PhonePIN{
		OrganisationID: i.OrganisationID, RoomNID: i.RoomNID, InvitationID: i.ID, CreatedTS: s.now(), ExpiresTS: i.ExpiresTS,
	})
	if err != nil {
		return nil, err
	}
	list := make([]outbox.DialIn, len(numbers))
	for i, n := range numbers {
		list[i] = outbox.DialIn{Country: n.Country, Number: n.Number, PIN: digits}
	}
	return list, nil
}

// isEncrypted reports whether a room is: a phone can't be heard there, nor hear.
func (s *Server) isEncrypted(ctx context.Context, room int64) (bool, error) {
	encrypted, err := s.cfg.Store.IsRoomEncrypted(ctx, room)
	if err != nil {
		return false, fmt.Errorf("look up whether a room is encrypted: %w", err)
	}
	return encrypted, nil
}

// attempt is a PIN that was typed.
type attempt struct {
	class, key string
}

// attempts are what a wrong PIN counts for. Those whose number is withheld are one caller for each trunk.
func (c *incoming) attempts() []attempt {
	caller := attempt{ratelimit.PhonePINCaller, c.Caller}
	if c.Caller == "" {
		caller = attempt{ratelimit.PhonePINWithheld, c.Trunk}
	}
	return []attempt{{ratelimit.PhonePINCall, c.ID}, caller, {ratelimit.PhonePINTrunk, c.Trunk}, {ratelimit.PhonePINAll, ""}}
}

// guess finds what a PIN opens. A right one is not counted. Each is counted before it is looked at, so that of many at once no more are looked at than may be.
func (s *Server) guess(ctx context.Context, c *incoming, hash []byte) (store.PhonePIN, phone.Problem, error) {
	all := c.attempts()
	for i, a := range all {
		wait, err := s.cfg.Limiter.Allow(ctx, a.class, a.key)
		if err != nil {
			return store.PhonePIN{}, "", err
		}
		if wait > 0 {
			return store.PhonePIN{}, phone.TooMany, s.putBack(ctx, all[:i])
		}
	}
	p, good, err := s.lookUp(ctx, c, hash)
	if err != nil || !good {
		return p, phone.WrongPIN, err
	}
	return p, "", s.putBack(ctx, all)
}

func (s *Server) putBack(ctx context.Context, list []attempt) error {
	for _, a := range list {
		if err := s.cfg.Limiter.PutBack(ctx, a.class, a.key); err != nil {
			return err
		}
	}
	return nil
}

// lookUp finds a PIN that is good now, over this trunk.
func (s *Server) lookUp(ctx context.Context, c *incoming, hash []byte) (store.PhonePIN, bool, error) {
	p, err := s.cfg.Store.GetPhonePIN(ctx, hash)
	if errors.Is(err, store.ErrNotFound) {
		return p, false, nil
	}
	if err != nil {
		return p, false, fmt.Errorf("look up a PIN: %w", err)
	}
	if p.ExpiresTS <= s.now() {
		return p, false, nil
	}
	trunks, err := s.trunksOf(ctx, s.cfg.Store, p.OrganisationID)
	if err != nil {
		return p, false, err
	}
	for _, t := range trunks {
		if t.Name == c.Trunk {
			good, err := s.stands(ctx, &p)
			return p, good, err
		}
	}
	return p, false, nil
}

// stands reports whether whom a PIN belongs to may come still.
func (s *Server) stands(ctx context.Context, p *store.PhonePIN) (bool, error) {
	r, err := s.rulesFor(ctx, s.cfg.Store, p.OrganisationID)
	if err != nil || !r.dialIn || r.organisation.State != store.OrganisationActive {
		return false, err
	}
	if p.InvitationID != "" {
		i, err := s.cfg.Store.GetInvitation(ctx, p.InvitationID)
		if err != nil {
			return false, fmt.Errorf("load the invitation of a PIN: %w", err)
		}
		if i.EndedTS != 0 || i.ExpiresTS <= s.now() || i.OpensTS > s.now() {
			return false, nil
		}
		rooms, err := s.cfg.Rooms.RoomsByNID(ctx, []int64{p.RoomNID})
		if err != nil || len(rooms) == 0 {
			return false, err
		}
		// An invitation into a room of another organisation is good while its inviter is there.
		if rooms[0].OrganisationID != p.OrganisationID {
			return s.hasPart(ctx, p.RoomNID, i.Inviter)
		}
		return true, nil
	}
	u, err := s.cfg.Store.GetUser(ctx, p.UserID)
	if err != nil {
		return false, fmt.Errorf("load the user of a PIN: %w", err)
	}
	if u.Locked || u.Suspended || u.Deactivated() {
		return false, nil
	}
	return s.hasPart(ctx, p.RoomNID, p.UserID)
}

// hasPart reports whether a user is in a room, or asked into it.
func (s *Server) hasPart(ctx context.Context, room int64, user matrix.UserID) (bool, error) {
	m, err := s.cfg.Store.GetMembership(ctx, room, user)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("load a membership: %w", err)
	}
	return m.Membership == spec.Join || m.Membership == spec.Invite, nil
}

// ownPIN is a user's own PIN for a room.
func (s *Server) ownPIN(ctx context.Context, org, room int64, user matrix.UserID) (digits string, err error) {
	now := s.now()
	err = s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		digits, err = s.ensurePIN(ctx, tx, store.PhonePIN{
			OrganisationID: org, RoomNID: room, UserID: user, CreatedTS: now, ExpiresTS: now.Add(limits.PhonePINKept),
		})
		return err
	})
	return digits, err
}

// callLifetime is for how long the id of a call in is good that has typed no PIN.
const callLifetime = limits.PhoneTyping + 10*time.Second
