package accounts

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// Change is what is to become of an account. What is nil stays as it is.
type Change struct {
	DisplayName *string
	// Avatar is an mxc: URI, or empty for none.
	Avatar *string
	// Emails and Phones replace all of the account's.
	Emails, Phones []string
	// Locked ends what the account's devices do; Suspended leaves them to read.
	Locked, Suspended *bool
	// Password signs all devices out, unless KeepDevices says otherwise.
	Password    *string
	KeepDevices bool
	// Subjects replace all that the account is for identity providers.
	Subjects []store.Subject
	// Also is done in the same transaction.
	Also func(ctx context.Context, tx *store.Tx, user store.User) error

	hash string
}

// Create makes an account and changes it in one go.
func (s *Server) Create(ctx context.Context, a Actor, n auth.NewAccount, ch Change) (matrix.UserID, error) {
	prepared, err := s.cfg.Accounts.Prepare(ctx, n)
	if err != nil {
		return "", err
	}
	domain, err := s.cfg.Store.GetHostedDomain(ctx, prepared.User.Domain())
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return "", fmt.Errorf("look up hosted domain %s: %w", prepared.User.Domain(), err)
	}
	if err != nil || domain.OrganisationID != a.Org {
		return "", matrix.InvalidParam("%s is not one of the organisation's domains", prepared.User.Domain())
	}
	err = s.cfg.Journal.Write(ctx, func(tx *store.Tx) ([]store.Update, error) {
		if err := s.cfg.Accounts.Insert(ctx, tx, prepared, a.Org); err != nil {
			return nil, err
		}
		user, err := tx.LockUser(ctx, prepared.User)
		if err != nil {
			return nil, err
		}
		updates, _, err := s.apply(ctx, tx, user, &ch)
		if err == nil {
			err = s.audit(ctx, tx, a, "account.create", string(user.UserID), ch.detail())
		}
		return updates, err
	})
	if err != nil {
		return "", fmt.Errorf("make account %s: %w", prepared.User, err)
	}
	return prepared.User, nil
}

// Update changes an account of an organisation as decide says, which is called under the account's lock and may refuse.
func (s *Server) Update(
	ctx context.Context, a Actor, user matrix.UserID, ch Change, may func(ctx context.Context, tx *store.Tx, u store.User) error,
) error {
	if ch.Password != nil {
		var err error
		if ch.hash, err = s.cfg.Accounts.HashPassword(ctx, *ch.Password); err != nil {
			return err
		}
	}
	shown := false
	err := s.cfg.Journal.Write(ctx, func(tx *store.Tx) ([]store.Update, error) {
		u, err := tx.LockUser(ctx, user)
		if err == nil && (u.OrganisationID != a.Org || u.Deactivated()) {
			err = store.ErrNotFound
		}
		if err == nil {
			err = a.mayChange(u, &ch)
		}
		if err == nil && may != nil {
			err = may(ctx, tx, u)
		}
		if err != nil {
			return nil, err
		}
		var updates []store.Update
		updates, shown, err = s.apply(ctx, tx, u, &ch)
		if err == nil {
			err = s.audit(ctx, tx, a, "account.change", string(user), ch.detail())
		}
		return updates, err
	})
	if err != nil {
		return fmt.Errorf("change account %s: %w", user, err)
	}
	if !shown {
		return nil
	}
	if err := s.cfg.Rooms.PropagateProfile(ctx, user); err != nil {
		return fmt.Errorf("tell the rooms of %s of the new profile: %w", user, err)
	}
	return nil
}

// NameDevice gives a device a name.
func (s *Server) NameDevice(ctx context.Context, a Actor, user matrix.UserID, device matrix.DeviceID, name string) error {
	return s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		if _, err := tx.PutDeviceName(ctx, user, device, name); err != nil {
			return err
		}
		return s.audit(ctx, tx, a, "account.name_device", string(user), nil)
	})
}

// Close closes an account for good and erases nothing but what has no use any more.
func (s *Server) Close(ctx context.Context, a Actor, user matrix.UserID) error {
	err := s.cfg.Accounts.DeactivateIn(ctx, user, false, func(ctx context.Context, tx *store.Tx, u store.User) error {
		if u.OrganisationID != a.Org || u.Deactivated() {
			return store.ErrNotFound
		}
		if err := a.mayClose(u); err != nil {
			return err
		}
		return s.audit(ctx, tx, a, "account.deactivate", string(user), nil)
	})
	if err != nil {
		return fmt.Errorf("close account %s: %w", user, err)
	}
	return s.cfg.Rooms.LeaveRooms(ctx, user)
}

// Note writes into the audit log that something was looked at, before it is shown.
func (s *Server) Note(ctx context.Context, a Actor, action, target string) error {
	return s.cfg.Store.Write(ctx, func(tx *store.Tx) error { return s.audit(ctx, tx, a, action, target, nil) })
}

// Refused writes into the audit log that somebody wanted what nobody gets.
func (s *Server) Refused(ctx context.Context, a Actor, action, target string) error {
	return s.cfg.Store.AppendAudit(ctx, store.AuditEntry{OrganisationID: a.Org, TS: s.now(), Actor: a.Name, IP: a.IP, Action: action,
		Target: target, Outcome: store.OutcomeRefused})
}

// EndSessions signs devices of an account out; nil is all.
func (s *Server) EndSessions(ctx context.Context, a Actor, user matrix.UserID, devices []matrix.DeviceID) error {
	err := s.cfg.Journal.Write(ctx, func(tx *store.Tx) ([]store.Update, error) {
		u, err := tx.LockUser(ctx, user)
		if err == nil && (u.OrganisationID != a.Org || u.Deactivated()) {
			err = store.ErrNotFound
		}
		if err != nil {
			return nil, err
		}
		updates, err := s.cfg.Accounts.EndSessions(ctx, tx, user, devices)
		if err == nil {
			err = s.audit(ctx, tx, a, "account.logout", string(user), map[string]any{"devices": devices})
		}
		return updates, err
	})
	if err != nil {
		return fmt.Errorf("sign devices of %s out: %w", user, err)
	}
	return nil
}

// apply carries a change out. shown says that the user's rooms have to be told.
func (s *Server) apply(ctx context.Context, tx *store.Tx, u store.User, ch *Change) (updates []store.Update, shown bool, err error) {
	if ch.Emails != nil {
		taken, err := tx.PutThreePIDs(ctx, u.OrganisationID, u.UserID, "email", emails(ch.Emails), s.now())
		if err != nil {
			return nil, false, err
		}
		if len(taken) > 0 {
			return nil, false, matrix.NewError(http.StatusConflict, matrix.ErrThreepidInUse, "emails: an address belongs to another account")
		}
	}
	if ch.Phones != nil {
		// People share numbers, that of their office for one. Who has it first can sign in with it.
		if _, err := tx.PutThreePIDs(ctx, u.OrganisationID, u.UserID, "msisdn", phones(ch.Phones), s.now()); err != nil {
			return nil, false, err
		}
	}
	fields, err := s.profile(ctx, tx, u.UserID, ch)
	if err != nil {
		return nil, false, err
	}
	updates = append(updates, fields...)
	if ch.Locked != nil && *ch.Locked != u.Locked {
		if err := tx.PutUserLocked(ctx, u.UserID, *ch.Locked); err != nil {
			return nil, false, err
		}
		updates = append(updates, auth.SessionChanged(u.UserID)...)
	}
	if ch.Suspended != nil && *ch.Suspended != u.Suspended {
		if err := tx.PutUserSuspended(ctx, u.UserID, *ch.Suspended); err != nil {
			return nil, false, err
		}
		updates = append(updates, auth.SessionChanged(u.UserID)...)
	}
	if ch.Subjects != nil {
		free, err := tx.PutSubjects(ctx, u.UserID, ch.Subjects, s.now())
		if err == nil && !free {
			err = matrix.NewError(http.StatusConflict, matrix.ErrUnknown, "external_ids: one of them is another account's")
		}
		if err != nil {
			return nil, false, err
		}
	}
	if ch.hash != "" {
		ended, err := s.cfg.Accounts.PutPassword(ctx, tx, u.UserID, ch.hash, ch.KeepDevices)
		if err != nil {
			return nil, false, err
		}
		updates = append(updates, ended...)
	}
	if ch.Also != nil {
		err = ch.Also(ctx, tx, u)
	}
	return updates, len(fields) > 0, err
}

// profile changes the two fields that a directory knows.
func (s *Server) profile(ctx context.Context, tx *store.Tx, user matrix.UserID, ch *Change) ([]store.Update, error) {
	if ch.DisplayName == nil && ch.Avatar == nil {
		return nil, nil
	}
	fields, err := tx.ListProfileFields(ctx, user)
	if err != nil {
		return nil, err
	}
	var updates []store.Update
	for key, text := range map[string]*string{"displayname": ch.DisplayName, "avatar_url": ch.Avatar} {
		if text == nil {
			continue
		}
		if len(*text) > limits.DisplayName {
			return nil, matrix.InvalidParam("%s must have at most %d bytes", key, limits.DisplayName)
		}
		changed, err := s.putField(ctx, tx, user, fields, key, *text)
		if err != nil {
			return nil, err
		}
		if changed {
			updates = append(updates, store.Update{Kind: store.KindProfile, UserID: user, Key: key, Body: []byte("{}")})
		}
	}
	return updates, nil
}

func (s *Server) putField(ctx context.Context, tx *store.Tx, user matrix.UserID, fields []store.ProfileField, key, text string) (bool, error) {
	var present []byte
	if i := slices.IndexFunc(fields, func(f store.ProfileField) bool { return f.Key == key }); i >= 0 {
		present = fields[i].Value
	}
	var value []byte
	if text != "" {
		var err error
		if value, err = json.Marshal(text); err != nil {
			return false, err
		}
	}
	if bytes.Equal(present, value) {
		return false, nil
	}
	if key == "avatar_url" {
		before, now := matrix.FindContentURIs(present, 1), matrix.FindContentURIs(value, 1)
		if err := tx.PutProfileMedia(ctx, user, before, now, s.now()); err != nil {
			return false, err
		}
	}
	if value == nil {
		return tx.DeleteProfileField(ctx, user, key)
	}
	return true, tx.PutProfileField(ctx, store.ProfileField{UserID: user, Key: key, Value: value})
}

// emails are addresses in canonical form, each once.
func emails(list []string) []string {
	out := []string{}
	for _, e := range list {
		if e = auth.CanonicalEmail(e); e != "" && !slices.Contains(out, e) {
			out = append(out, e)
		}
	}
	return out
}

// phones are those of the numbers that can be dialled from everywhere, in canonical form, each once.
func phones(list []string) []string {
	out := []string{}
	for _, p := range list {
		digits, ok := auth.CanonicalPhone("", strings.TrimPrefix(p, "tel:"))
		if ok && !slices.Contains(out, digits) {
			out = append(out, digits)
		}
	}
	return out
}
