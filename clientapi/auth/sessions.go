package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// SessionConfig configures Sessions. Store, Journal, Clock and Log are required.
type SessionConfig struct {
	Store   *store.Store
	Journal *journal.Journal
	Clock   matrix.Clock
	Log     *slog.Logger
	Rand    io.Reader
	// AccessTokenLifetime is how long an access token of a client that can refresh is good: 5 minutes if zero.
	AccessTokenLifetime time.Duration
	// UnrefreshableLifetime is the same for clients that can't; zero means for ever.
	UnrefreshableLifetime time.Duration
	// MaxDevices bounds the devices of a user: limits.DevicesPerUser if zero.
	MaxDevices int
}

// Sessions makes, checks and ends the tokens of devices. It is an httpapi.Authenticator.
type Sessions struct {
	cfg   SessionConfig
	cache *cache

	mu sync.Mutex
	// seen is what is still to be written of when devices were used.
	seen map[deviceKey]store.Sighting
	// sighted is when a device was last put into seen, for the time that this says anything.
	sighted map[deviceKey]matrix.Timestamp
}

type deviceKey struct {
	user   matrix.UserID
	device matrix.DeviceID
}

// NewSessions returns Sessions that follow the journal. It is called before the journal runs.
func NewSessions(cfg SessionConfig) *Sessions {
	cfg.Rand = randomSource(cfg.Rand)
	if cfg.AccessTokenLifetime == 0 {
		cfg.AccessTokenLifetime = 5 * time.Minute
	}
	if cfg.MaxDevices == 0 {
		cfg.MaxDevices = limits.DevicesPerUser
	}
	s := &Sessions{
		cfg:     cfg,
		cache:   newCache(limits.CachedSessions),
		seen:    make(map[deviceKey]store.Sighting),
		sighted: make(map[deviceKey]matrix.Timestamp),
	}
	cfg.Journal.Observe(s.observe)
	return s
}

// observe drops what the journal says has changed.
func (s *Sessions) observe(entries []journal.Entry, lost bool) {
	if lost {
		s.cache.dropAll()
	}
	for _, e := range entries {
		if e.Update == nil {
			continue
		}
		switch e.Update.Kind {
		case store.KindSession:
			s.cache.dropUser(e.Update.UserID)
		case store.KindOrganisation:
			s.cache.dropAll() // it may be suspended, and that is rare
		}
	}
}

// sessionChanged is the update that makes every process drop what it remembers of a user. The key is always empty: one row a
// user, however many devices come and go.
func sessionChanged(user matrix.UserID) []store.Update {
	return []store.Update{{Kind: store.KindSession, UserID: user, Body: []byte("{}")}}
}

// devicesDeleted is sessionChanged after devices were removed. Those who encrypted for one of them have to know as well.
func devicesDeleted(user matrix.UserID, deleted []store.DeletedDevice) []store.Update {
	updates := sessionChanged(user)
	if slices.ContainsFunc(deleted, func(d store.DeletedDevice) bool { return d.Published }) {
		updates = append(updates, deviceListChanged(user))
	}
	return updates
}

// deviceListChanged tells everybody who shares a room with the user.
func deviceListChanged(user matrix.UserID) store.Update {
	return store.Update{Kind: store.KindDeviceList, UserID: user, Body: []byte("{}")}
}

// Authenticate returns whom an access token belongs to.
//
// Spec: client-server v1.19 §using-access-tokens, §soft-logout, §account-locking
func (s *Sessions) Authenticate(ctx context.Context, token string) (*httpapi.Requester, error) {
	key := digestOf([]byte(token))
	if s.cfg.Journal.Fresh() {
		if entry, ok := s.cache.get(key); ok {
			return s.admit(ctx, entry)
		}
	}
	secret, ok := parseToken(accessPrefix, accessBytes, token)
	if !ok {
		return nil, matrix.UnknownToken(false)
	}
	entry, err := s.load(ctx, key, digestOf(secret))
	if err != nil {
		return nil, err
	}
	return s.admit(ctx, entry)
}

// admit checks what time alone changes.
func (s *Sessions) admit(ctx context.Context, entry *cached) (*httpapi.Requester, error) {
	now := matrix.TimestampOf(s.cfg.Clock.Now())
	if entry.expires != 0 && entry.expires <= now {
		return nil, matrix.UnknownToken(true)
	}
	if int64(now) >= entry.sightAfter.Load() {
		entry.sightAfter.Store(int64(now) + sightingInterval.Milliseconds())
		s.sight(ctx, entry.requester, now)
	}
	return entry.requester, nil
}

// load looks a token up in the database, by the hash of its secret, and remembers it under key.
func (s *Sessions) load(ctx context.Context, key, hash digest) (*cached, error) {
	drops := s.cache.dropCount()
	session, user, err := s.cfg.Store.GetSessionByAccess(ctx, hash[:])
	if errors.Is(err, store.ErrNotFound) {
		return nil, matrix.UnknownToken(false)
	}
	if err != nil {
		return nil, fmt.Errorf("look up access token: %w", err)
	}
	if user.Deactivated() {
		return nil, matrix.UnknownToken(false)
	}
	if session.RevokedTS != 0 {
		return nil, matrix.UnknownToken(true)
	}
	expires := session.AccessExpiresTS
	isPresent := string(session.AccessHash) == string(hash[:])
	if !isPresent {
		expires = session.PreviousExpiresTS
	}
	entry := &cached{token: key, expires: expires, requester: &httpapi.Requester{
		User: user.UserID, Device: session.DeviceID, Org: user.OrganisationID, Guest: user.Guest,
		Role: httpapi.Role(user.Role), Admin: user.Role == string(httpapi.RoleOwner), Suspended: user.Suspended, SessionID: session.SessionID,
	}}
	if user.Guest {
		entry.requester.GuestRole, entry.requester.Until = user.GuestRole, expires
	}
	if user.Locked {
		// A locked account is not remembered: its clients ask seldom, and have to learn soon that the lock is gone.
		if call, ok := httpapi.CallOf(ctx); ok && mayLocked(call.Request) {
			return entry, nil
		}
		return nil, userLocked()
	}
	if isPresent && session.PreviousRefresh != nil && !(expires != 0 && expires <= matrix.TimestampOf(s.cfg.Clock.Now())) {
		if err := s.endPrevious(ctx, session, hash); err != nil {
			return nil, err
		}
		drops = s.cache.dropCount()
	}
	s.cache.put(entry, drops)
	return entry, nil
}

// endPrevious ends the tokens that a refresh has replaced, now that the new access token is used for the first time.
//
// Spec: client-server v1.19 §refreshing-access-tokens
func (s *Sessions) endPrevious(ctx context.Context, session store.Session, hash digest) error {
	err := s.cfg.Journal.Write(ctx, func(tx *store.Tx) ([]store.Update, error) {
		ended, err := tx.DeletePreviousTokens(ctx, session.SessionID, hash[:])
		if err != nil || !ended {
			return nil, err
		}
		return sessionChanged(session.UserID), nil
	})
	if err != nil {
		return fmt.Errorf("end the replaced tokens: %w", err)
	}
	return nil
}

// mayLocked reports whether a locked account may make the request.
//
// Spec: client-server v1.19 §account-locking
func mayLocked(r *http.Request) bool {
	switch r.URL.Path {
	case "/_matrix/client/v3/logout", "/_matrix/client/v3/logout/all":
		return true
	}
	return false
}

func userLocked() *matrix.Error {
	return matrix.NewError(http.StatusUnauthorized, matrix.ErrUserLocked, "this account has been locked").With("soft_logout", true)
}

// NewSession describes a sign-in.
type NewSession struct {
	User matrix.UserID
	// Device is empty for a new one.
	Device matrix.DeviceID
	// DeviceName names a device that is not known yet.
	DeviceName string
	// Refreshable says that the client can use refresh tokens.
	Refreshable bool
	Address     string
}

// Tokens are the answer to a sign-in or a refresh.
type Tokens struct {
	Device  matrix.DeviceID
	Access  string
	Refresh string // empty for a client that can't refresh
	// ExpiresIn is 0 for a token that does not expire.
	ExpiresIn time.Duration
}

// Login makes a session. The device's former session ends; when the user has too many devices, those unused for longest go.
//
// Spec: client-server v1.19 §relationship-between-access-tokens-and-devices
func (s *Sessions) Login(ctx context.Context, n NewSession) (Tokens, error) {
	device := n.Device
	if device == "" {
		var err error
		if device, err = newDeviceID(s.cfg.Rand); err != nil {
			return Tokens{}, err
		}
	}
	secret, err := newSecrets(s.cfg.Rand)
	if err != nil {
		return Tokens{}, err
	}
	now := s.cfg.Clock.Now()
	tokens := Tokens{Device: device, Access: secret.accessToken(), ExpiresIn: s.cfg.UnrefreshableLifetime}
	access := digestOf(secret.access)
	session := store.Session{UserID: n.User, DeviceID: device, CreatedTS: matrix.TimestampOf(now), AccessHash: access[:]}
	if n.Refreshable {
		tokens.Refresh, tokens.ExpiresIn = secret.refreshToken(), s.cfg.AccessTokenLifetime
		family, generation := digestOf(secret.family), digestOf(secret.generation)
		session.FamilyHash, session.RefreshHash = family[:], generation[:]
	}
	if tokens.ExpiresIn != 0 {
		session.AccessExpiresTS = matrix.TimestampOf(now.Add(tokens.ExpiresIn))
	}
	err = s.cfg.Journal.Write(ctx, func(tx *store.Tx) ([]store.Update, error) {
		// The lock keeps parallel logins from passing the bound together, and a deactivation from being overtaken.
		user, err := tx.LockUser(ctx, n.User)
		if err != nil {
			return nil, err
		}
		if user.Deactivated() {
			return nil, matrix.UserDeactivated("this account has been deactivated")
		}
		if user.Locked {
			return nil, userLocked()
		}
		updates, err := s.insert(ctx, tx, n, session)
		if err != nil {
			return nil, err
		}
		return updates, tx.AppendAudit(ctx, s.entry(user, n.Address, "login", map[string]any{"device_id": device}))
	})
	if err != nil {
		return Tokens{}, fmt.Errorf("sign in %s: %w", n.User, err)
	}
	return tokens, nil
}

// entry is what the audit log says of somebody's sessions.
func (s *Sessions) entry(user store.User, address, action string, detail map[string]any) store.AuditEntry {
	return auditEntry(user, s.cfg.Clock, address, action, detail)
}

func auditEntry(user store.User, clock matrix.Clock, address, action string, detail map[string]any) store.AuditEntry {
	e := store.AuditEntry{
		OrganisationID: user.OrganisationID, TS: matrix.TimestampOf(clock.Now()), Actor: string(user.UserID), IP: address,
		Action: action, Target: string(user.UserID),
	}
	if detail != nil {
		e.Detail, _ = json.Marshal(detail) // of strings, and so without an error
	}
	return e
}

func (s *Sessions) insert(ctx context.Context, tx *store.Tx, n NewSession, session store.Session) ([]store.Update, error) {
	err := tx.PutDevice(ctx, store.Device{UserID: n.User, DeviceID: session.DeviceID, DisplayName: n.DeviceName,
		CreatedTS: session.CreatedTS, LastSeenTS: session.CreatedTS, LastSeenIP: n.Address})
	if err != nil {
		return nil, err
	}
	if n.Device != "" {
		// Why: the ids of devices and of cross-signing keys are one namespace (client-server v1.19 §key-and-signature-security).
		taken, err := tx.HasCrossSigningKey(ctx, n.User, string(n.Device))
		if err != nil {
			return nil, err
		}
		if taken {
			return nil, matrix.InvalidParam("device_id: a cross-signing key of yours is called so")
		}
	}
	pruned, err := tx.DeleteStaleDevices(ctx, n.User, session.DeviceID, s.cfg.MaxDevices)
	if err != nil {
		return nil, err
	}
	if _, err := tx.InsertSession(ctx, session); err != nil {
		return nil, err
	}
	// A device that the client named may have had a session.
	if n.Device == "" && len(pruned) == 0 {
		return nil, nil
	}
	return devicesDeleted(n.User, pruned), nil
}

// MakeDevice makes a device without a session: an application service acts as it. It reports false for one that exists.
//
// Spec: application-service v1.19 §creating-devices
func (s *Sessions) MakeDevice(ctx context.Context, n NewSession) (made bool, err error) {
	now := matrix.TimestampOf(s.cfg.Clock.Now())
	err = s.cfg.Journal.Write(ctx, func(tx *store.Tx) ([]store.Update, error) {
		// The lock keeps parallel requests from passing the bound together.
		if _, err := tx.LockUser(ctx, n.User); err != nil {
			return nil, err
		}
		exists, err := tx.HasDevice(ctx, n.User, n.Device)
		if made = !exists; err != nil || exists {
			return nil, err
		}
		taken, err := tx.HasCrossSigningKey(ctx, n.User, string(n.Device))
		if err != nil {
			return nil, err
		}
		if taken {
			return nil, matrix.InvalidParam("deviceId: a cross-signing key of the user is called so")
		}
		err = tx.PutDevice(ctx, store.Device{UserID: n.User, DeviceID: n.Device, DisplayName: n.DeviceName, CreatedTS: now, LastSeenTS: now, LastSeenIP: n.Address})
		if err != nil {
			return nil, err
		}
		pruned, err := tx.DeleteStaleDevices(ctx, n.User, n.Device, s.cfg.MaxDevices)
		if err != nil || len(pruned) == 0 {
			return nil, err
		}
		return devicesDeleted(n.User, pruned), nil
	})
	if err != nil {
		return false, fmt.Errorf("make a device of %s: %w", n.User, err)
	}
	return made, nil
}

// DeleteDevices ends the sessions of devices and forgets the devices. Those that don't exist don't matter.
func (s *Sessions) DeleteDevices(ctx context.Context, user matrix.UserID, devices []matrix.DeviceID) error {
	err := s.cfg.Journal.Write(ctx, func(tx *store.Tx) ([]store.Update, error) {
		deleted, err := tx.DeleteDevices(ctx, user, devices)
		if err != nil || len(deleted) == 0 {
			return nil, err
		}
		return devicesDeleted(user, deleted), s.noteEnd(ctx, tx, user, map[string]any{"device_ids": devices})
	})
	if err != nil {
		return fmt.Errorf("delete devices of %s: %w", user, err)
	}
	return nil
}

// DeleteAllDevices ends every session of a user and forgets the devices.
func (s *Sessions) DeleteAllDevices(ctx context.Context, user matrix.UserID) error {
	err := s.cfg.Journal.Write(ctx, func(tx *store.Tx) ([]store.Update, error) {
		deleted, err := tx.DeleteOtherDevices(ctx, user, "")
		if err != nil {
			return nil, err
		}
		return devicesDeleted(user, deleted), s.noteEnd(ctx, tx, user, map[string]any{"all": true})
	})
	if err != nil {
		return fmt.Errorf("delete all devices of %s: %w", user, err)
	}
	return nil
}

// noteEnd writes into the audit log that sessions have ended.
func (s *Sessions) noteEnd(ctx context.Context, tx *store.Tx, user matrix.UserID, detail map[string]any) error {
	account, err := tx.GetUser(ctx, user)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	entry := s.entry(account, addressOf(ctx), "session.end", detail)
	entry.Actor = actorOf(ctx)
	return tx.AppendAudit(ctx, entry)
}

// actorOf is who asks for what ctx belongs to: outside a request, the operator at the machine.
func actorOf(ctx context.Context) string {
	if call, ok := httpapi.CallOf(ctx); ok && call.Requester != nil {
		return call.Requester.Actor()
	}
	return "operator"
}

// addressOf is where the request came from that ctx belongs to, if it belongs to one.
func addressOf(ctx context.Context) string {
	if call, ok := httpapi.CallOf(ctx); ok {
		return call.ClientAddr()
	}
	return ""
}
