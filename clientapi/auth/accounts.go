package auth

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/ratelimit"
	"github.com/roomline/roomline/internal/store"
)

// AccountConfig configures Accounts. Store, Journal, Clock and Domains are required.
type AccountConfig struct {
	Store   *store.Store
	Journal *journal.Journal
	Clock   matrix.Clock
	Rand    io.Reader
	// Limiter counts wrong passwords; nil counts nothing.
	Limiter *ratelimit.Limiter
	// Domains are the hosted domains in the order of the configuration; new accounts get the first unless they say otherwise.
	Domains   []matrix.ServerName
	Passwords PasswordConfig
	// PseudonymKey makes pseudonyms of names that nobody has.
	PseudonymKey []byte
	// Reserved reports user ids that application services keep for themselves; nil for none.
	Reserved func(user matrix.UserID) bool
}

// Accounts makes accounts, verifies their passwords and closes them.
type Accounts struct {
	cfg       AccountConfig
	passwords *Passwords
}

// NewAccounts returns Accounts.
func NewAccounts(cfg AccountConfig) (*Accounts, error) {
	if len(cfg.Domains) == 0 {
		return nil, errors.New("accounts: no hosted domain")
	}
	cfg.Rand = randomSource(cfg.Rand)
	if cfg.Passwords.Rand == nil {
		cfg.Passwords.Rand = cfg.Rand
	}
	passwords, err := NewPasswords(cfg.Passwords)
	if err != nil {
		return nil, err
	}
	return &Accounts{cfg: cfg, passwords: passwords}, nil
}

// DefaultDomain is the domain of accounts that are made without naming one.
func (a *Accounts) DefaultDomain() matrix.ServerName { return a.cfg.Domains[0] }

// NewAccount describes an account to be made.
type NewAccount struct {
	// Localpart is made up when empty. Capitals become small.
	Localpart string
	// Domain is one of the hosted domains, the first if empty.
	Domain matrix.ServerName
	// Password may be empty: nobody can sign in with a password then.
	Password    string
	DisplayName string
	Role        httpapi.Role
	Guest       bool
	// Machine says that nobody's account is made.
	Machine bool
	// ThreePIDs are addresses that are known to belong to the user. Only Medium and Address are read.
	ThreePIDs []store.ThreePID
	// RegistrationToken is used up by this account, if set.
	RegistrationToken string
	// Validation is used up by this account, if set.
	Validation string
	// MayHave is given for a user of an application service, and says which user ids it may make.
	MayHave func(user matrix.UserID) bool
	// Appservice is the application service that makes the account, if one does.
	Appservice string
}

// Create makes an account. Errors of the caller are M_INVALID_USERNAME, M_USER_IN_USE, M_WEAK_PASSWORD, M_INVALID_PARAM,
// M_THREEPID_IN_USE and, for a registration token that is used up, M_FORBIDDEN.
func (a *Accounts) Create(ctx context.Context, n NewAccount) (matrix.UserID, error) {
	p, err := a.Prepare(ctx, n)
	if err != nil {
		return "", err
	}
	domain, err := a.cfg.Store.GetHostedDomain(ctx, p.User.Domain())
	if errors.Is(err, store.ErrNotFound) {
		return "", matrix.InvalidParam("%s is not a domain of this server", p.User.Domain())
	}
	if err != nil {
		return "", fmt.Errorf("look up hosted domain %s: %w", p.User.Domain(), err)
	}
	err = a.cfg.Store.Write(ctx, func(tx *store.Tx) error { return a.Insert(ctx, tx, p, domain.OrganisationID) })
	if err != nil {
		return "", fmt.Errorf("make account %s: %w", p.User, err)
	}
	return p.User, nil
}

// Prepared is an account that has been checked as far as it can be without the database.
type Prepared struct {
	User        matrix.UserID
	new         NewAccount
	hash        string
	displayName []byte
}

// Prepare checks an account that is to be stored by Insert, and hashes its password, which takes long. Whoever has more to do in the
// transaction that makes an account uses the two in place of Create.
func (a *Accounts) Prepare(ctx context.Context, n NewAccount) (*Prepared, error) {
	user, err := a.newUserID(n.Localpart, n.Domain, n.MayHave)
	if err != nil {
		return nil, err
	}
	hash, err := a.hashNew(ctx, n.Password)
	if err != nil {
		return nil, err
	}
	name, err := displayNameValue(n.DisplayName)
	if err != nil {
		return nil, err
	}
	return &Prepared{User: user, new: n, hash: hash, displayName: name}, nil
}

// Insert makes an account of the organisation, which is the one that has its domain.
func (a *Accounts) Insert(ctx context.Context, tx *store.Tx, p *Prepared, organisation int64) error {
	row := store.User{UserID: p.User, OrganisationID: organisation, PasswordHash: p.hash, Role: string(p.new.Role), Guest: p.new.Guest,
		Machine: p.new.Machine || p.new.MayHave != nil, CreatedTS: a.now()}
	return a.insert(ctx, tx, row, p.new, p.displayName)
}

// admit refuses an account that the organisation must not have.
func admit(ctx context.Context, tx *store.Tx, row store.User) error {
	check := tx.AdmitActive
	if !row.Machine && !row.Guest {
		check = tx.AdmitPerson
	}
	switch err := check(ctx, row.OrganisationID); {
	case errors.Is(err, store.ErrNotActive):
		return matrix.Forbidden("the organisation is suspended")
	case errors.Is(err, store.ErrTooManyPeople):
		return matrix.NewError(http.StatusForbidden, matrix.ErrResourceLimitExceeded, "the organisation has as many accounts as it may have").
			With("admin_contact", "https://"+string(row.UserID.Domain())+"/.well-known/matrix/support")
	default:
		return err
	}
}

func (a *Accounts) insert(ctx context.Context, tx *store.Tx, row store.User, n NewAccount, name []byte) error {
	if err := admit(ctx, tx, row); err != nil {
		return err
	}
	inserted, err := tx.InsertUser(ctx, row)
	if err != nil {
		return err
	}
	if !inserted {
		return userInUse()
	}
	if n.Appservice != "" {
		if err := tx.InsertAppserviceUser(ctx, row.UserID, n.Appservice); err != nil {
			return err
		}
	}
	if n.RegistrationToken != "" {
		used, err := tx.PutRegistrationTokenUse(ctx, n.RegistrationToken, row.CreatedTS)
		if err != nil {
			return err
		}
		if !used {
			return matrix.Forbidden("the registration token is not valid any more")
		}
	}
	if n.Validation != "" {
		used, err := tx.DeleteValidation(ctx, n.Validation)
		if err != nil {
			return err
		}
		if !used {
			return matrix.Forbidden("the validation of the address has been used")
		}
	}
	if name != nil {
		if err := tx.PutProfileField(ctx, store.ProfileField{UserID: row.UserID, Key: "displayname", Value: name}); err != nil {
			return err
		}
	}
	for _, t := range n.ThreePIDs {
		claim, err := parseThirdPartyClaim(t.Medium, t.Address)
		if err != nil {
			return err
		}
		given, err := tx.InsertThreePID(ctx, store.ThreePID{OrganisationID: row.OrganisationID, Medium: claim.medium, Address: claim.address,
			UserID: row.UserID, AddedTS: row.CreatedTS, ValidatedTS: row.CreatedTS})
		if err != nil {
			return err
		}
		if !given {
			return matrix.NewError(400, matrix.ErrThreepidInUse, "the address belongs to another account")
		}
	}
	return nil
}

// CheckAvailable says whether an account of this name could be made now, and under which user id.
func (a *Accounts) CheckAvailable(ctx context.Context, localpart string, domain matrix.ServerName) (matrix.UserID, error) {
	user, err := a.newUserID(localpart, domain, nil)
	if err != nil {
		return "", err
	}
	switch _, err := a.cfg.Store.GetUser(ctx, user); {
	case err == nil:
		return "", userInUse()
	case !errors.Is(err, store.ErrNotFound):
		return "", fmt.Errorf("look up %s: %w", user, err)
	}
	return user, nil
}

// CheckPassword says whether the password may become the password of an account.
func (a *Accounts) CheckPassword(password string) error { return a.passwords.Check(password) }

func userInUse() *matrix.Error { return matrix.UserInUse("this user name is taken") }

// newUserID checks a name for a new account, or makes one up.
//
// Spec: appendices v1.19 §user-identifiers: capitals are mapped to small letters, as existing clients expect of registration.
func (a *Accounts) newUserID(localpart string, domain matrix.ServerName, mayHave func(matrix.UserID) bool) (matrix.UserID, error) {
	if domain == "" {
		domain = a.cfg.Domains[0]
	}
	if localpart == "" {
		made, err := randomName(a.cfg.Rand, "abcdefghijkmnpqrstuvwxyz23456789", 12)
		if err != nil {
			return "", err
		}
		localpart = made
	}
	if strings.HasPrefix(localpart, "_") && mayHave == nil {
		return "", matrix.InvalidUsername("username must not begin with an underscore: such names are kept for bridges")
	}
	user, err := matrix.NewUserID(asciiLower(localpart), domain)
	switch {
	case err != nil:
		return "", err
	case mayHave != nil && !mayHave(user):
		return "", matrix.Exclusive("the user id is not in a namespace of the application service")
	case mayHave == nil && a.cfg.Reserved != nil && a.cfg.Reserved(user):
		return "", matrix.Exclusive("the user id is kept for an application service")
	}
	return user, nil
}

// asciiLower leaves everything but A to Z alone, so that the message about a bad letter names the letter that was sent.
func asciiLower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

func (a *Accounts) hashNew(ctx context.Context, password string) (string, error) {
	if password == "" {
		return "", nil
	}
	if err := a.passwords.Check(password); err != nil {
		return "", err
	}
	hash, err := a.passwords.Hash(ctx, password)
	if err != nil {
		return "", fmt.Errorf("hash a password: %w", err)
	}
	return hash, nil
}

// NewPassword is a change of password.
type NewPassword struct {
	User     matrix.UserID
	Password string
	// EndSessions signs the user's devices out, except Keep (empty for none), and ends all app passwords.
	EndSessions bool
	Keep        matrix.DeviceID
	// Also is done in the same transaction, and may refuse; nil for nothing. Action is what the audit log calls it, password.change if empty.
	Also   func(ctx context.Context, tx *store.Tx, u store.User) error
	Action string
}

// SetPassword changes a password.
func (a *Accounts) SetPassword(ctx context.Context, n NewPassword) error {
	if err := a.passwords.Check(n.Password); err != nil {
		return err
	}
	hash, err := a.hashNew(ctx, n.Password)
	if err != nil {
		return err
	}
	err = a.cfg.Journal.Write(ctx, func(tx *store.Tx) ([]store.Update, error) {
		u, err := tx.LockUser(ctx, n.User)
		if err != nil {
			return nil, err
		}
		if n.Also != nil {
			if err := n.Also(ctx, tx, u); err != nil {
				return nil, err
			}
		}
		if err := tx.PutPasswordHash(ctx, n.User, hash); err != nil {
			return nil, err
		}
		var updates []store.Update
		if n.EndSessions {
			if err := tx.DeleteAppPasswords(ctx, n.User); err != nil {
				return nil, err
			}
			if err := tx.DeleteIdentityTokens(ctx, n.User); err != nil {
				return nil, err
			}
			deleted, err := tx.DeleteOtherDevices(ctx, n.User, n.Keep)
			if err != nil {
				return nil, err
			}
			updates = devicesDeleted(n.User, deleted)
		}
		entry := auditEntry(u, a.cfg.Clock, addressOf(ctx), cmp.Or(n.Action, "password.change"), map[string]any{"sessions_ended": n.EndSessions})
		if n.Action == "" {
			entry.Actor = actorOf(ctx)
		}
		return updates, tx.AppendAudit(ctx, entry)
	})
	if err != nil {
		return fmt.Errorf("change the password of %s: %w", n.User, err)
	}
	// Whoever knows the new password is not to suffer from guesses at the old one.
	return a.cfg.Limiter.Reset(ctx, ratelimit.LoginFailureRow, string(n.User))
}

// Restriction is something that administrators do to an account and can undo.
type Restriction int

const (
	// Locked accounts can only sign out. Their sessions stay, and are of no use meanwhile.
	//
	// Spec: client-server v1.19 §account-locking
	Locked Restriction = iota
	// Suspended accounts may read, and do little else.
	//
	// Spec: client-server v1.19 §account-suspension
	Suspended
)

// SetLocked locks or unlocks an account.
func (a *Accounts) SetLocked(ctx context.Context, user matrix.UserID, locked bool) error {
	return a.Restrict(ctx, user, Locked, locked, nil)
}

// Restrict puts a restriction on an account or takes it off, on all processes at once, if may agrees to what the account is at
// that moment; may can be nil.
func (a *Accounts) Restrict(ctx context.Context, user matrix.UserID, what Restriction, on bool, may func(store.User) error) error {
	return a.RestrictWith(ctx, user, what, on, func(_ *store.Tx, u store.User) error {
		if may == nil {
			return nil
		}
		return may(u)
	})
}

// RestrictWith is Restrict with something that happens in the same transaction, if the account may be restricted.
func (a *Accounts) RestrictWith(ctx context.Context, user matrix.UserID, what Restriction, on bool, may func(*store.Tx, store.User) error) error {
	err := a.cfg.Journal.Write(ctx, func(tx *store.Tx) ([]store.Update, error) {
		u, err := tx.LockUser(ctx, user)
		if err == nil {
			err = may(tx, u)
		}
		if err != nil {
			return nil, err
		}
		if what == Suspended {
			return sessionChanged(user), tx.PutUserSuspended(ctx, user, on)
		}
		return sessionChanged(user), tx.PutUserLocked(ctx, user, on)
	})
	if err != nil {
		return fmt.Errorf("restrict %s: %w", user, err)
	}
	return nil
}

// Deactivate closes an account for good. What it has in rooms is not touched. The last owner of an organisation stays.
//
// Spec: client-server v1.19 §account-deactivation
func (a *Accounts) Deactivate(ctx context.Context, user matrix.UserID, erase bool) error {
	return a.DeactivateIn(ctx, user, erase, nil)
}

// DeactivateIn is Deactivate with more in the same transaction, which may refuse; also can be nil.
func (a *Accounts) DeactivateIn(
	ctx context.Context, user matrix.UserID, erase bool, also func(ctx context.Context, tx *store.Tx, u store.User) error,
) error {
	err := a.cfg.Journal.Write(ctx, func(tx *store.Tx) ([]store.Update, error) {
		u, err := tx.LockUser(ctx, user)
		if err != nil {
			return nil, err
		}
		last, err := tx.IsLastOwner(ctx, u)
		if err != nil {
			return nil, err
		}
		if last {
			return nil, matrix.Forbidden("the last owner of an organisation cannot go; make somebody else an owner first")
		}
		updates := sessionChanged(user)
		published, err := tx.HasPublishedKeys(ctx, user)
		if err != nil {
			return nil, err
		}
		if published {
			updates = append(updates, deviceListChanged(user))
		}
		if err := tx.PutUserDeactivated(ctx, user, erase, a.now()); err != nil || also == nil {
			return updates, err
		}
		return updates, also(ctx, tx, u)
	})
	if err != nil {
		return fmt.Errorf("deactivate %s: %w", user, err)
	}
	return nil
}

func (a *Accounts) now() matrix.Timestamp { return matrix.TimestampOf(a.cfg.Clock.Now()) }

// displayNameValue is a display name as it is stored, nil for none.
func displayNameValue(name string) ([]byte, error) {
	if name == "" {
		return nil, nil
	}
	if len(name) > limits.DisplayName {
		return nil, matrix.InvalidParam("displayname must have at most %d bytes", limits.DisplayName)
	}
	return marshalString(name)
}

// marshalString is a string as JSON, spelled as every other JSON of ours.
func marshalString(s string) ([]byte, error) {
	raw, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode a string: %w", err)
	}
	return raw, nil
}
