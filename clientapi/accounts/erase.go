package accounts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/strictjson"
	"github.com/roomline/roomline/internal/wake"
	"github.com/roomline/roomline/roomserver"
)

// PolicyName is what an organisation's decisions about accounts are called in its policies.
const PolicyName = "accounts"

// Policy is what an organisation may decide about its accounts. What is missing is as the configuration has it.
type Policy struct {
	// SelfDeactivate lets people close their own accounts. Without it only the organisation does.
	SelfDeactivate *bool `json:"self_deactivate,omitempty"`
	// EraseMessages and EraseMedia say what goes with an account that is deleted, besides what was the person's own.
	EraseMessages *bool `json:"erase_messages,omitempty"`
	EraseMedia    *bool `json:"erase_media,omitempty"`
	// ThreePIDChanges lets people add and remove their own addresses. Without a decision those do whose account no directory has: what a
	// directory says of somebody's addresses it would say again.
	ThreePIDChanges *bool `json:"threepid_changes,omitempty"`
}

// ParsePolicy reads a policy strictly: M_BAD_JSON names the field that is wrong.
func ParsePolicy(body []byte) (Policy, error) {
	var p Policy
	err := strictjson.Decode(body, &p)
	return p, err
}

// DefaultPolicy is what holds where an organisation has decided nothing. Whether somebody may change the own addresses depends then on who takes care
// of the account.
func (s *Server) DefaultPolicy() Policy {
	return Policy{SelfDeactivate: &s.cfg.SelfDeactivate, EraseMessages: &s.cfg.EraseMessages, EraseMedia: &s.cfg.EraseMedia}
}

func (s *Server) policy(ctx context.Context, org int64) (p Policy, err error) {
	value, err := s.cfg.Store.GetPolicy(ctx, org, PolicyName)
	if err != nil {
		return p, fmt.Errorf("load the policy of accounts: %w", err)
	}
	if value != nil {
		if err := json.Unmarshal(value, &p); err != nil {
			return p, fmt.Errorf("stored policy of accounts: %w", err)
		}
	}
	return p, nil
}

func decided(own *bool, otherwise bool) bool {
	if own != nil {
		return *own
	}
	return otherwise
}

// MayDeactivate reports whether people of an organisation may close their own accounts.
func (s *Server) MayDeactivate(ctx context.Context, org int64) (bool, error) {
	p, err := s.policy(ctx, org)
	return decided(p.SelfDeactivate, s.cfg.SelfDeactivate), err
}

// MayChangeThreePIDs reports whether a person of an organisation may add and remove addresses of the account.
func (s *Server) MayChangeThreePIDs(ctx context.Context, org int64, user matrix.UserID) (bool, error) {
	p, err := s.policy(ctx, org)
	if err != nil || p.ThreePIDChanges != nil {
		return decided(p.ThreePIDChanges, false), err
	}
	u, err := s.cfg.Store.GetScimUser(ctx, org, user)
	if errors.Is(err, store.ErrNotFound) {
		return true, nil
	}
	return err == nil && !u.Managed, err
}

// Deletion says what goes with an account; what is nil is as the organisation's policy has it.
type Deletion struct {
	Messages, Media *bool
}

// Delete closes the account of a person of the organisation for good, on all processes at once, and erases what was the person's as the
// organisation's policy says. When it returns nobody can do anything with the account; the rest is done by and by, whichever process dies.
func (s *Server) Delete(ctx context.Context, a Actor, user matrix.UserID) error {
	return s.DeleteAs(ctx, a, user, Deletion{})
}

// DeleteAs is Delete with another decision than the policy's.
func (s *Server) DeleteAs(ctx context.Context, a Actor, user matrix.UserID, d Deletion) error {
	return s.delete(ctx, a, user, d, false)
}

// DeleteOwn is Delete for whoever closes the own account. Of a legal hold nothing is said: what it keeps is erased when it is lifted.
func (s *Server) DeleteOwn(ctx context.Context, c *httpapi.Call) error {
	return s.delete(ctx, ActorOf(c), c.Requester.User, Deletion{}, true)
}

func (s *Server) delete(ctx context.Context, a Actor, user matrix.UserID, d Deletion, own bool) error {
	p, err := s.policy(ctx, a.Org)
	if err != nil {
		return err
	}
	e := store.Erasure{UserID: user, OrganisationID: a.Org, RequestedBy: a.Name, RequestedTS: s.now(),
		Messages: decided(d.Messages, decided(p.EraseMessages, s.cfg.EraseMessages)), Media: decided(d.Media, decided(p.EraseMedia, s.cfg.EraseMedia))}
	err = s.cfg.Accounts.DeactivateIn(ctx, user, e.Media, func(ctx context.Context, tx *store.Tx, u store.User) error {
		if u.OrganisationID != a.Org || u.Deactivated() && u.Erased {
			return store.ErrNotFound
		}
		if err := a.mayClose(u); err != nil && !own {
			return err
		}
		// What the server does by itself waits until the hold is lifted; administrators are told.
		if held, err := tx.IsHeld(ctx, user); err != nil || held && a.Name != "server" && !own {
			if err == nil {
				err = Held("the account")
			}
			return err
		}
		if err := tx.InsertErasure(ctx, e); err != nil {
			return err
		}
		return s.audit(ctx, tx, a, "account.delete", string(user), map[string]any{"messages": e.Messages, "media": e.Media})
	})
	if err != nil {
		return fmt.Errorf("delete account %s: %w", user, err)
	}
	s.work.Ring()
	return nil
}

// Held says that something may not be erased for now.
func Held(what string) *matrix.Error {
	return matrix.NewError(http.StatusForbidden, "ORG.ROOMLINE.LEGAL_HOLD", "%s is under a legal hold: nothing of it is erased before that is lifted", what)
}

// EraseAndWait deletes an account with all that it has, for an organisation that is removed, and returns when that is done. Asked again
// it waits for what is left.
func (s *Server) EraseAndWait(ctx context.Context, user matrix.UserID) error {
	u, err := s.cfg.Store.GetUser(ctx, user)
	if err != nil {
		return fmt.Errorf("look up %s: %w", user, err)
	}
	all := true
	err = s.DeleteAs(ctx, Actor{Org: u.OrganisationID, Name: "operator", Owner: true}, user, Deletion{Messages: &all, Media: &all})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return s.await(ctx, func() (bool, error) {
		e, err := s.cfg.Store.GetErasure(ctx, u.OrganisationID, user)
		if errors.Is(err, store.ErrNotFound) {
			// It was erased before there were such rows.
			return true, nil
		}
		return e.DoneTS != 0, err
	})
}

// await asks again and again whether something is done.
func (s *Server) await(ctx context.Context, done func() (bool, error)) error {
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(askAgain):
		}
	}
}

// eraseLease is for how long a process has an erasure before others may take it. Where a room takes longer, two do the same, which does no harm.
const eraseLease = 15 * time.Second

// runErasures carries erasures out.
func (s *Server) runErasures(ctx context.Context) {
	s.workOff(ctx, "erase an account", func(ctx context.Context) error {
		e, err := s.cfg.Store.ClaimErasure(ctx, eraseLease)
		if err != nil {
			return err
		}
		return s.erase(ctx, e)
	})
}

// erase removes what is left of somebody after the account was closed. It may be begun anew at any time.
func (s *Server) erase(ctx context.Context, e store.Erasure) error {
	if e.Messages && e.RoomNID == 0 {
		// Where somebody may, messages are redacted, so that others' clients remove them too.
		for {
			done, err := s.cfg.Rooms.DeleteForAdmin(ctx, roomserver.AdminDeletion{OrganisationID: e.OrganisationID, By: e.UserID, User: e.UserID})
			if err != nil {
				return fmt.Errorf("redact messages: %w", err)
			}
			if !done.More {
				break
			}
			if err := s.cfg.Store.PutErasureRoom(ctx, e.UserID, 0, eraseLease); err != nil {
				return err
			}
		}
	}
	if err := s.cfg.Rooms.LeaveRooms(ctx, e.UserID); err != nil {
		return fmt.Errorf("leave rooms: %w", err)
	}
	if s.cfg.HandOver != nil {
		if err := s.cfg.HandOver(ctx, e.UserID); err != nil {
			return fmt.Errorf("hand over: %w", err)
		}
	}
	if err := s.eraseInRooms(ctx, e); err != nil {
		return err
	}
	if err := s.cfg.Store.EraseRows(ctx, e.UserID); err != nil {
		return err
	}
	done, err := s.cfg.Store.FinishErasure(ctx, e, s.now(), func(tx *store.Tx) error {
		return s.audit(ctx, tx, Actor{Org: e.OrganisationID, Name: "server"}, "account.erased", string(e.UserID), nil)
	})
	if err == nil && !done {
		// The sweeper still has bytes to remove.
		return s.cfg.Store.PutErasureRoom(ctx, e.UserID, e.RoomNID, mediaPause)
	}
	return err
}

// mediaPause is after how long an erasure looks again whether all media is gone.
const mediaPause = 2 * time.Second

func (s *Server) eraseInRooms(ctx context.Context, e store.Erasure) error {
	const page = 100
	for {
		rooms, err := s.cfg.Store.ListRoomsAfter(ctx, e.UserID, e.RoomNID, page)
		if err != nil {
			return fmt.Errorf("list rooms: %w", err)
		}
		for _, room := range rooms {
			if err := s.cfg.Rooms.EraseInRoom(ctx, room, e.UserID, e.Messages); err != nil {
				return err
			}
			e.RoomNID = room.NID
			if err := s.cfg.Store.PutErasureRoom(ctx, e.UserID, room.NID, eraseLease); err != nil {
				return err
			}
		}
		if len(rooms) < page {
			return nil
		}
	}
}

// workOff calls do again and again while there is something to do: do returns store.ErrNotFound when there is nothing.
func (s *Server) workOff(ctx context.Context, what string, do func(context.Context) error) {
	for ctx.Err() == nil {
		news := s.work.Next()
		err := do(ctx)
		if err == nil {
			continue
		}
		if !errors.Is(err, store.ErrNotFound) && ctx.Err() == nil {
			// The lease keeps it from being tried again at once.
			s.cfg.Log.Warn(what, "err", err)
		}
		select {
		case <-news:
		case <-ctx.Done():
		}
	}
}

// look finds, for all who work it off, what another process has left, and what failed.
func (s *Server) look(ctx context.Context) {
	for ctx.Err() == nil {
		some, err := s.cfg.Store.HasAccountWork(ctx)
		if some {
			s.work.Ring()
		}
		if err != nil && ctx.Err() == nil && !store.IsUnavailable(err) {
			s.cfg.Log.Warn("look for accounts to work on", "err", err)
		}
		wake.Pause(ctx, lookAgain)
	}
}

// lookAgain is how often a process looks for work that another one has left.
const lookAgain = 2 * time.Second

// askAgain is how often somebody who waits asks whether it is done.
const askAgain = 100 * time.Millisecond
