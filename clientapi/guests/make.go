package guests

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/internal/store"
)

// comer is somebody who uses an invitation to become a guest.
type comer struct {
	attempt *attempt
	guest   store.Guest
	name    string

	err  error
	done chan struct{}
}

// key is what the comer's attempt is known by.
func (c *comer) key() store.GuestAttempt {
	return store.GuestAttempt{InvitationID: c.guest.InvitationID, Hash: [len(store.GuestAttempt{}.Hash)]byte(c.attempt.hash)}
}

// make uses the invitation and makes account and session, all or nothing. Those who come while others are made are made together: all of an
// organisation's guests need the last line of its audit log, which one transaction has at a time.
func (s *Server) make(ctx context.Context, a *attempt, g store.Guest, name string) error {
	c := &comer{attempt: a, guest: g, name: name, done: make(chan struct{})}
	s.makers.Put(c)
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// makePatience bounds a transaction that makes guests. The page waits a little longer.
const makePatience = 25 * time.Second

// makeAll makes a batch of guests. What the database refuses of one is no reason to refuse the others.
func (s *Server) makeAll(batch []*comer) {
	ctx, cancel := context.WithTimeout(context.Background(), makePatience)
	defer cancel()
	err := s.cfg.Store.Write(ctx, func(tx *store.Tx) error { return s.insertAll(ctx, tx, batch) })
	if err != nil && len(batch) > 1 && !store.IsUnavailable(err) && ctx.Err() == nil {
		for _, c := range batch {
			s.makeAll([]*comer{c})
		}
		return
	}
	for _, c := range batch {
		if err != nil {
			c.err = err
		}
		close(c.done)
	}
}

// insertAll makes those of the batch who may become guests; what keeps the others from it is their err. It may run several times.
func (s *Server) insertAll(ctx context.Context, tx *store.Tx, batch []*comer) error {
	open, err := s.look(ctx, tx, batch)
	if err != nil {
		return err
	}
	var used []string
	var guests []store.NewGuest
	var audit []store.AuditEntry
	for _, c := range batch {
		if c.err = open.take(c); c.err != nil {
			continue
		}
		if c.err = s.use(ctx, tx, c.attempt.proof); c.err != nil {
			if !refused(c.err) {
				return c.err
			}
			open.giveBack(c)
			continue
		}
		guest, err := newGuest(c.guest, c.name, &c.attempt.session)
		if err != nil {
			return err
		}
		entries, err := s.entries(c)
		if err != nil {
			return err
		}
		used, guests, audit = append(used, c.guest.InvitationID), append(guests, guest), append(audit, entries...)
	}
	if len(guests) == 0 {
		return nil
	}
	if err := tx.InsertGuests(ctx, guests); err != nil {
		return err
	}
	if err := tx.UseInvitations(ctx, used, s.now()); err != nil {
		return err
	}
	return tx.AppendAudit(ctx, audit...)
}

// openings are what the invitations of a batch are still good for.
type openings struct {
	left   map[string]int
	active map[int64]bool
	made   map[store.GuestAttempt]bool
}

// look locks the invitations of a batch, before all else: others wait for their rows.
func (s *Server) look(ctx context.Context, tx *store.Tx, batch []*comer) (o openings, err error) {
	ids, orgs, attempts := make([]string, len(batch)), make([]int64, len(batch)), make([]store.GuestAttempt, len(batch))
	for i, c := range batch {
		ids[i], orgs[i], attempts[i] = c.guest.InvitationID, c.guest.OrganisationID, c.key()
	}
	if o.left, err = tx.LockInvitationUses(ctx, ids, s.now()); err != nil {
		return o, err
	}
	if o.active, err = tx.AdmitAllActive(ctx, orgs); err != nil {
		return o, err
	}
	made, err := tx.ListGuestAttempts(ctx, attempts)
	o.made = make(map[store.GuestAttempt]bool)
	for _, key := range made {
		o.made[key] = true
	}
	return o, err
}

// take takes a use of an invitation, or says why there is none.
func (o *openings) take(c *comer) error {
	switch {
	case o.made[c.key()]:
		return errRepeated
	case o.left[c.guest.InvitationID] <= 0 || !o.active[c.guest.OrganisationID]:
		return errUsed
	}
	o.made[c.key()] = true
	o.left[c.guest.InvitationID]--
	return nil
}

func (o *openings) giveBack(c *comer) {
	delete(o.made, c.key())
	o.left[c.guest.InvitationID]++
}

// entries are what the audit log says of a new guest.
func (s *Server) entries(c *comer) ([]store.AuditEntry, error) {
	who := actor{name: string(c.guest.UserID), ip: c.attempt.session.Address}
	created, err := s.entry(c.guest.OrganisationID, who, "guest.create", c.guest.UserID, map[string]any{
		"invitation_id": c.guest.InvitationID, "verified": c.guest.Verified, "expires_ts": c.guest.ExpiresTS,
	})
	if err != nil {
		return nil, err
	}
	redeemed, err := s.cfg.Invitations.RedeemEntry(&c.attempt.found.Invitation, c.guest.UserID, who.ip)
	return []store.AuditEntry{created, redeemed}, err
}

// newGuest is a guest with what belongs to the account.
func newGuest(g store.Guest, name string, session *auth.GuestSession) (n store.NewGuest, err error) {
	n = store.NewGuest{
		Guest: g, MarkKey: MarkKey, Device: store.Device{DeviceID: session.Device, DisplayName: session.DeviceName, LastSeenIP: session.Address},
		Session: store.Session{AccessHash: session.AccessHash()},
	}
	if n.Name, err = json.Marshal(name); err != nil {
		return n, fmt.Errorf("encode a guest's name: %w", err)
	}
	n.Mark, err = markOf(g)
	return n, err
}
