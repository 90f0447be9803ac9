package auth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/ratelimit"
	"github.com/roomline/roomline/internal/store"
)

// wrongPassword is the one answer to everything that may be a guess.
func wrongPassword() *matrix.Error {
	return matrix.Forbidden("the user name or the password is wrong")
}

// VerifyPassword returns the account that the identifier names, if the password is its own.
//
// Wrong passwords are counted: for the account, for the address and for the whole deployment. When the account's count is used
// up, more guesses have to wait; from an address where the account has a device they are counted apart, so that a stranger can't
// keep the owner out. Right passwords cost nothing.
func (a *Accounts) VerifyPassword(ctx context.Context, id *Identifier, password, address string) (store.User, error) {
	claim, err := parseIdentifier(id)
	if err != nil {
		return store.User{}, err
	}
	if err := checkPasswordSize(password); err != nil {
		return store.User{}, err
	}
	userID, err := a.resolve(ctx, claim)
	if err != nil {
		return store.User{}, fmt.Errorf("look for the account: %w", err)
	}
	counts, err := a.spendGuess(ctx, claim, userID, address)
	if err != nil {
		return store.User{}, err
	}
	user, err := a.cfg.Store.GetUser(ctx, userID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return store.User{}, fmt.Errorf("look up the account: %w", err)
	}
	ok, stale, err := a.passwords.Verify(ctx, user.PasswordHash, password)
	if err != nil {
		return store.User{}, fmt.Errorf("verify a password: %w", err)
	}
	if !ok || user.Deactivated() {
		if err := a.noteRefusal(ctx, claim, user, address); err != nil {
			return store.User{}, err
		}
		return store.User{}, wrongPassword()
	}
	if err := a.putBackGuess(ctx, counts); err != nil {
		return store.User{}, err
	}
	if user.Locked {
		if err := a.noteRefusal(ctx, claim, user, address); err != nil {
			return store.User{}, err
		}
		return store.User{}, userLocked()
	}
	if stale {
		if err := a.rehash(ctx, user, password); err != nil {
			return store.User{}, err
		}
	}
	return user, nil
}

// noteRefusal writes into the audit log that somebody has not proved to be who they said. What was claimed to be a name is written as a
// pseudonym if nobody is called so: it may be a password in the wrong field.
func (a *Accounts) noteRefusal(ctx context.Context, claimed claim, user store.User, address string) error {
	if user.UserID == "" {
		user.OrganisationID = store.DefaultOrganisation
		domain, err := a.cfg.Store.GetHostedDomain(ctx, claimed.user.Domain())
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("look up the domain of a claim: %w", err)
		}
		if err == nil {
			user.OrganisationID = domain.OrganisationID
		}
	}
	entry := auditEntry(user, a.cfg.Clock, address, "login", nil)
	entry.Outcome = store.OutcomeRefused
	if user.UserID == "" {
		mac := hmac.New(sha256.New, a.cfg.PseudonymKey)
		io.WriteString(mac, a.countKey(claimed))
		entry.Target = "unknown:" + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:12])
		entry.Actor = entry.Target
	}
	return a.cfg.Store.AppendAudit(ctx, entry)
}

func (a *Accounts) rehash(ctx context.Context, user store.User, password string) error {
	hash, err := a.passwords.Hash(ctx, password)
	if err != nil {
		return err
	}
	if err := a.cfg.Store.PutRehashedPassword(ctx, user.UserID, user.PasswordHash, hash); err != nil {
		return fmt.Errorf("store the password's new hash: %w", err)
	}
	return nil
}

// count is one limit that a guess is counted against.
type count struct{ class, key string }

// spendGuess counts a guess before it is checked, so that parallel guesses can't pass the limit together.
func (a *Accounts) spendGuess(ctx context.Context, claim claim, user matrix.UserID, address string) ([]count, error) {
	if a.cfg.Limiter == nil {
		return nil, nil
	}
	// The question is asked for unknown users as well: it takes time.
	known, err := a.cfg.Store.HasDeviceAt(ctx, user, address)
	if err != nil {
		return nil, fmt.Errorf("look for a device at the address: %w", err)
	}
	// Why the claim and not the account: with the account, an address and a user name of one account would use up the same
	// count, and those of nobody would not, which tells who has an account.
	claimed := a.countKey(claim)
	account := string(user)
	if user == "" {
		account = claimed
	}
	counts := []count{{ratelimit.LoginFailure, claimed}, {ratelimit.LoginFailureRow, account}}
	if known {
		counts = []count{{ratelimit.LoginFailureKnown, account + " " + address}}
	}
	counts = append(counts, count{ratelimit.LoginFailureAddress, address}, count{ratelimit.LoginFailureAll, ""})
	for i, c := range counts {
		after, err := a.cfg.Limiter.Allow(ctx, c.class, c.key)
		if err != nil {
			return nil, err
		}
		if after > 0 {
			if err := a.putBack(ctx, counts[:i]); err != nil {
				return nil, err
			}
			return nil, matrix.LimitExceeded(after)
		}
	}
	return counts, nil
}

// putBackGuess undoes spendGuess for a right password, which also ends the row of wrong ones.
func (a *Accounts) putBackGuess(ctx context.Context, counts []count) error {
	if err := a.putBack(ctx, counts); err != nil {
		return err
	}
	for _, c := range counts {
		if c.class == ratelimit.LoginFailureRow {
			return a.cfg.Limiter.Reset(ctx, c.class, c.key)
		}
	}
	return nil
}

func (a *Accounts) putBack(ctx context.Context, counts []count) error {
	for _, c := range counts {
		if err := a.cfg.Limiter.PutBack(ctx, c.class, c.key); err != nil {
			return err
		}
	}
	return nil
}

// countKey is the name under which guesses at a claim are counted, the same for all spellings of one user id.
func (a *Accounts) countKey(c claim) string {
	switch {
	case c.user != "":
		return string(lowerLocalpart(c.user))
	case c.localpart != "":
		return "@" + strings.ToLower(c.localpart) + ":" + string(a.cfg.Domains[0])
	}
	return c.medium + ":" + c.address
}
