// Package verify finds out whether an address is somebody's: it sends a code there, and is given it back.
//
// Spec: client-server v1.19 §adding-account-administrative-contact-information; identity v1.19 §establishing-associations
//
// Invariants:
//   - A validation is for one purpose, one address and one asker. What was asked for one purpose is good for no other.
//   - The database holds keyed hashes of codes and client secrets, so that a copy of it opens nothing.
//   - limits.ValidationTries wrong codes end a validation, whoever gives them and to whichever process. Asking for another code with the same
//     secret does not begin to count anew.
//   - The same send_attempt sends nothing, and has the same sid.
//   - A validation is used up by what it allows, in the same transaction (Use).
//   - Where nobody may learn whether an address has an account (Request.Silent), the same is done as if it had, and nothing is sent.
//
// A code is six digits where it is typed from a phone or by a guest. In other mails it is eight letters and digits, which also stand in a
// link: a person opens the page of that link and presses a button (pages.go). Opening it changes nothing, because programs that look at mails
// open links.
//
// Start reading at Start, then Check.
package verify

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/url"
	"strings"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbox"
	"github.com/roomline/roomline/internal/ratelimit"
	"github.com/roomline/roomline/internal/store"
)

// Purpose is what an address is validated for.
type Purpose string

// Purposes.
const (
	Add      Purpose = "add"
	Bind     Purpose = "bind"
	Password Purpose = "password"
	Register Purpose = "register"
	Login    Purpose = "login"
	Guest    Purpose = "guest"
)

// Message is a code that is to be sent.
type Message struct {
	Organisation    int64
	Medium, Address string
	// Sender is who asked, or empty.
	Sender    matrix.UserID
	Language  string
	ExpiresTS matrix.Timestamp
	Code      outbox.CodeText
}

// Config of a Verifier. Store, Clock and Key are required.
type Config struct {
	Store *store.Store
	Clock matrix.Clock
	// Key makes hashes of codes and secrets.
	Key []byte
	// Limiter counts codes that are sent; nil counts nothing.
	Limiter *ratelimit.Limiter
	// BaseURL is where browsers reach this server. Without it mails have no link.
	BaseURL string
	// Allowed are beginnings of addresses, besides BaseURL, that a browser may be sent to after an address was confirmed.
	Allowed []string
	// Enqueue sends a message with the transaction, or refuses to with a matrix.Error. Sends reports whether it sends anything by a medium;
	// nil if it does by both. Without Enqueue nothing can be validated.
	Sends   func(medium string) bool
	Enqueue func(ctx context.Context, tx *store.Tx, m Message) error
	// Rand is crypto/rand if nil.
	Rand io.Reader
	Log  *slog.Logger
}

// Verifier validates addresses. It is safe for concurrent use.
type Verifier struct {
	cfg  Config
	base *url.URL
}

// New returns a Verifier.
func New(cfg Config) (*Verifier, error) {
	if cfg.Store == nil || cfg.Clock == nil || len(cfg.Key) == 0 {
		return nil, errors.New("verify: a field of Config is missing")
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	v := &Verifier{cfg: cfg}
	if cfg.BaseURL != "" {
		base, err := url.Parse(strings.TrimSuffix(cfg.BaseURL, "/"))
		if err != nil {
			return nil, fmt.Errorf("verify: base URL: %w", err)
		}
		v.base = base
	}
	return v, nil
}

// Request asks for a code.
type Request struct {
	Purpose      Purpose
	Organisation int64
	// Medium and Address are canonical (auth.CanonicalAddress).
	Medium, Address string
	// User is who asks, or whose password it is about; empty when it is nobody's.
	User         matrix.UserID
	ClientSecret string
	SendAttempt  int64
	NextLink     string
	// Language is what the message is written in: en, fr, nl or de.
	Language string
	// Host is the web site that the code is typed into.
	Host string
	// Asker is what requests are counted for besides the address: a user, or the address of a client.
	Asker string
	// Anonymous says that nobody knows who asks.
	Anonymous bool
	// Silent does the work and sends nothing.
	Silent bool
}

// Sends reports whether codes can be sent by a medium.
func (v *Verifier) Sends(medium string) bool {
	return v != nil && v.cfg.Enqueue != nil && (v.cfg.Sends == nil || v.cfg.Sends(medium))
}

// Enabled reports whether codes can be sent at all.
func (v *Verifier) Enabled() bool { return v.Sends(outbox.Email) || v.Sends(outbox.Msisdn) }

func (r *Request) check() error {
	switch {
	case !isOpaque(r.ClientSecret):
		return matrix.InvalidParam("client_secret must have 1 to %d of the characters 0-9a-zA-Z.=_-", limits.ClientSecret)
	case r.SendAttempt < 0 || r.SendAttempt > limits.MaxInteger:
		return matrix.InvalidParam("send_attempt must be a positive integer")
	}
	return nil
}

// isOpaque reports an identifier that clients make up.
//
// Spec: appendices v1.19 §opaque-identifiers
func isOpaque(s string) bool {
	return s != "" && len(s) <= limits.ClientSecret &&
		strings.Trim(s, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.=_-") == ""
}

// Start sends a code to an address, unless this send_attempt has done so, and returns the validation's name.
func (v *Verifier) Start(ctx context.Context, r Request) (sid string, err error) {
	if err := r.check(); err != nil {
		return "", err
	}
	if !v.Sends(r.Medium) {
		return "", matrix.NewError(http.StatusBadRequest, matrix.ErrThreepidMediumNotSupported, "this server sends no codes to addresses of this kind")
	}
	if r.NextLink, err = v.nextLink(r.NextLink); err != nil {
		return "", err
	}
	secret := v.hash("secret", string(r.User), r.ClientSecret)
	present, err := v.cfg.Store.FindValidation(ctx, string(r.Purpose), r.Medium, r.Address, secret)
	switch {
	case err == nil && v.stays(present, r.SendAttempt):
		return present.SID, nil
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return "", fmt.Errorf("look up a validation: %w", err)
	}
	if err := v.spend(ctx, &r); err != nil {
		return "", err
	}
	err = v.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		sid, err = v.start(ctx, tx, &r, secret)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("begin a validation: %w", err)
	}
	return sid, nil
}

// stays reports a validation that a request does not change: it is done, or the request is one that was answered before.
func (v *Verifier) stays(present store.Validation, attempt int64) bool {
	return v.open(present) && (present.ValidatedTS != 0 || attempt <= present.SendAttempt)
}

// open reports a validation that is neither expired nor ended by wrong codes.
func (v *Verifier) open(present store.Validation) bool {
	return present.ExpiresTS > v.now() && (present.Wrong < limits.ValidationTries || present.ValidatedTS != 0)
}

func (v *Verifier) start(ctx context.Context, tx *store.Tx, r *Request, secret []byte) (string, error) {
	code, err := v.newCode(r)
	if err != nil {
		return "", err
	}
	sid, err := v.random(16)
	if err != nil {
		return "", err
	}
	now := v.cfg.Clock.Now()
	next := store.Validation{
		SID: sid, OrganisationID: r.Organisation, Purpose: string(r.Purpose), Medium: r.Medium, Address: r.Address, UserID: r.User,
		ClientSecretHash: secret, SendAttempt: r.SendAttempt, CodeHash: v.hash("code", sid, code), NextLink: r.NextLink,
		CreatedTS: matrix.TimestampOf(now), ExpiresTS: matrix.TimestampOf(now.Add(limits.Validation)),
	}
	present, inserted, err := tx.InsertValidation(ctx, next)
	switch {
	case err != nil || inserted:
	case v.stays(present, r.SendAttempt):
		return present.SID, nil
	case v.open(present):
		next.SID, next.CodeHash = present.SID, v.hash("code", present.SID, code)
		err = tx.PutValidationCode(ctx, next)
	default:
		// What has ended is not taken up again: a code of the first belongs to the first.
		if _, err = tx.DeleteValidation(ctx, present.SID); err == nil {
			_, _, err = tx.InsertValidation(ctx, next)
		}
	}
	if err != nil {
		return "", err
	}
	return next.SID, v.send(ctx, tx, r, next, code)
}

// send hands the code over. Who asks without an account, or for a password, does not learn from a refusal whose the address is: how much was
// sent to it, or by its organisation. That nothing is ever sent to an address of this kind everybody may know, but for a password. Who was invited by
// the address knows whose it is.
func (v *Verifier) send(ctx context.Context, tx *store.Tx, r *Request, next store.Validation, code string) error {
	m := Message{
		Organisation: r.Organisation, Medium: r.Medium, Address: r.Address, Language: r.Language, ExpiresTS: next.ExpiresTS,
		Code: outbox.CodeText{Code: code, Purpose: string(r.Purpose), Host: r.Host, Link: v.link(r, next.SID, code)},
	}
	if !r.Anonymous {
		m.Sender = r.User
	}
	err := tx.Attempt(ctx, !r.Silent, func() error { return v.cfg.Enqueue(ctx, tx, m) })
	refusal, refused := matrix.AsError(err)
	if refused && (r.Purpose == Password || r.Anonymous && r.Purpose != Guest && refusal.Code != matrix.ErrThreepidDenied) {
		v.cfg.Log.Info("a code was not sent", "purpose", r.Purpose, "medium", r.Medium, "organisation", r.Organisation, "why", refusal.Code)
		return nil
	}
	return err
}

// spend counts a message before it is sent: for the address, for who asks, and for all who say nothing of who they are.
func (v *Verifier) spend(ctx context.Context, r *Request) error {
	type count struct{ class, key string }
	counts := []count{{ratelimit.CodeAddress, r.Medium + ":" + r.Address}}
	if r.Asker != "" {
		counts = append(counts, count{ratelimit.CodeAsker, r.Asker})
	}
	if r.Anonymous {
		counts = append(counts, count{ratelimit.CodeAnonymous, ""})
	}
	for i, c := range counts {
		after, err := v.cfg.Limiter.Allow(ctx, c.class, c.key)
		if err == nil && after == 0 {
			continue
		}
		for _, before := range counts[:i] {
			err = errors.Join(err, v.cfg.Limiter.PutBack(ctx, before.class, before.key))
		}
		if err != nil {
			return err
		}
		return matrix.LimitExceeded(after)
	}
	return nil
}

const (
	digits = "0123456789"
	// letters are those that are not taken for another one, with the digits.
	letters    = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
	digitCode  = 6
	letterCode = 8
)

func (v *Verifier) newCode(r *Request) (string, error) {
	alphabet, length := letters, letterCode
	if r.Medium == outbox.Msisdn || r.Purpose == Guest {
		alphabet, length = digits, digitCode
	}
	code := make([]byte, length)
	for i := range code {
		n, err := rand.Int(v.cfg.Rand, big.NewInt(int64(len(alphabet))))
		if err != nil {
			return "", fmt.Errorf("make a code: %w", err)
		}
		code[i] = alphabet[n.Int64()]
	}
	return string(code), nil
}

// canonicalCode is a code as it was sent, however it was typed.
func canonicalCode(code string) string {
	return strings.ToUpper(strings.NewReplacer(" ", "", "-", "", "\u00a0", "").Replace(code))
}

func (v *Verifier) random(n int) (string, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(v.cfg.Rand, b); err != nil {
		return "", fmt.Errorf("read random bytes: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(b), nil
}

// hash is a keyed hash of a secret, bound to what it belongs to. Neither may contain a zero byte.
func (v *Verifier) hash(kind, owner, secret string) []byte {
	mac := hmac.New(sha256.New, v.cfg.Key)
	io.WriteString(mac, kind+"\x00"+owner+"\x00"+secret)
	return mac.Sum(nil)
}

func (v *Verifier) now() matrix.Timestamp { return matrix.TimestampOf(v.cfg.Clock.Now()) }
