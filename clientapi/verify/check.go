package verify

import (
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"net/http"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// wrongCode is the one answer to an unknown validation, a wrong secret and a wrong code.
func wrongCode() *matrix.Error {
	return matrix.NewError(http.StatusBadRequest, matrix.ErrTokenIncorrect, "the code is wrong")
}

func noSession() *matrix.Error {
	return matrix.NewError(http.StatusNotFound, matrix.ErrNoValidSession, "there is no validation of this sid and client_secret")
}

func sessionExpired() *matrix.Error {
	return matrix.NewError(http.StatusBadRequest, matrix.ErrSessionExpired, "the validation has expired, or too many wrong codes were given; ask for another code")
}

func notValidated() *matrix.Error {
	return matrix.NewError(http.StatusBadRequest, matrix.ErrSessionNotValidated, "the code has not been given yet")
}

// Check takes a code. The errors are M_TOKEN_INCORRECT and, for who has the client's secret, M_SESSION_EXPIRED.
func (v *Verifier) Check(ctx context.Context, sid, clientSecret, code string) error {
	if clientSecret == "" {
		return wrongCode()
	}
	_, err := v.check(ctx, sid, clientSecret, code)
	return err
}

// check is Check with the validation. Who comes from a mail's link has no secret.
func (v *Verifier) check(ctx context.Context, sid, clientSecret, code string) (found store.Validation, err error) {
	if !isOpaque(sid) || len(clientSecret) > limits.ClientSecret || len(code) > limits.ValidationToken {
		return found, wrongCode()
	}
	var answer error
	err = v.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		answer = nil
		found, err = tx.LockValidation(ctx, sid)
		if errors.Is(err, store.ErrNotFound) {
			answer = wrongCode()
			return nil
		}
		if err != nil {
			return err
		}
		answer, err = v.judge(ctx, tx, found, clientSecret, code)
		return err
	})
	if err != nil {
		return found, fmt.Errorf("check a code: %w", err)
	}
	return found, answer
}

// judge is check under the validation's lock. A wrong code is an answer, not an error: that it was given has to be committed.
func (v *Verifier) judge(ctx context.Context, tx *store.Tx, found store.Validation, clientSecret, code string) (answer, err error) {
	known := clientSecret == "" || v.isSecret(found, clientSecret)
	switch {
	case !known:
		// Without the secret nobody gets as far as guessing.
		return wrongCode(), nil
	case !v.open(found):
		return sessionExpired(), nil
	}
	right := hmac.Equal(found.CodeHash, v.hash("code", found.SID, canonicalCode(code)))
	switch {
	case !right && found.ValidatedTS != 0:
		return wrongCode(), nil
	case !right:
		return wrongCode(), tx.PutValidationWrong(ctx, found.SID)
	case found.ValidatedTS != 0:
		return nil, nil
	}
	now := v.cfg.Clock.Now()
	return nil, tx.PutValidated(ctx, found.SID, matrix.TimestampOf(now), matrix.TimestampOf(now.Add(limits.ValidationKept)))
}

func (v *Verifier) isSecret(found store.Validation, clientSecret string) bool {
	return hmac.Equal(found.ClientSecretHash, v.hash("secret", string(found.UserID), clientSecret))
}

// Validated returns the address of a validation whose code was given. The errors are M_NO_VALID_SESSION, M_SESSION_EXPIRED and
// M_SESSION_NOT_VALIDATED.
func (v *Verifier) Validated(ctx context.Context, sid, clientSecret string, purpose Purpose) (medium, address string, err error) {
	found, err := v.Get(ctx, sid, clientSecret, purpose)
	if err != nil {
		return "", "", err
	}
	return found.Medium, found.Address, nil
}

// Get is Validated with all that is known, of a validation that is not done or has expired, too.
func (v *Verifier) Get(ctx context.Context, sid, clientSecret string, purpose Purpose) (store.Validation, error) {
	if !isOpaque(sid) || !isOpaque(clientSecret) {
		return store.Validation{}, noSession()
	}
	found, err := v.cfg.Store.GetValidation(ctx, sid)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return store.Validation{}, fmt.Errorf("look up a validation: %w", err)
	}
	switch {
	case err != nil || found.Purpose != string(purpose) || !v.isSecret(found, clientSecret):
		return store.Validation{}, noSession()
	case !v.open(found):
		return found, sessionExpired()
	case found.ValidatedTS == 0:
		return found, notValidated()
	}
	return found, nil
}

// Use uses a validation up that Get has returned, in the transaction of what it allows: whoever comes with it again is refused.
func (v *Verifier) Use(ctx context.Context, tx *store.Tx, found store.Validation) error {
	used, err := tx.DeleteValidation(ctx, found.SID)
	if err == nil && !used {
		err = noSession()
	}
	return err
}
