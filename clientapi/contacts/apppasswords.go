package contacts

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/ratelimit"
	"github.com/roomline/roomline/internal/store"
)

// appPasswordAlphabet has no letters that are read as others. An app password has 24 of its 32 characters, 120 random bits: it can't be
// guessed, so that its SHA-256 is as good as a slow hash, and costs nothing at each request.
const (
	appPasswordAlphabet = "abcdefghijkmnpqrstuvwxyz23456789"
	appPasswordLength   = 24
	appPasswordGroup    = 4
)

// useNoted is how often the use of an app password is noted.
const useNoted = time.Minute

func (s *Server) newAppPassword() (string, error) {
	raw := make([]byte, appPasswordLength)
	if _, err := io.ReadFull(s.cfg.Rand, raw); err != nil {
		return "", fmt.Errorf("make an app password: %w", err)
	}
	var b strings.Builder
	for i, r := range raw {
		if i > 0 && i%appPasswordGroup == 0 {
			b.WriteByte('-')
		}
		b.WriteByte(appPasswordAlphabet[int(r)%len(appPasswordAlphabet)])
	}
	return b.String(), nil
}

// appPasswordHash is what is stored of an app password. People type it as it suits them.
func appPasswordHash(password string) []byte {
	password = strings.ToLower(strings.NewReplacer("-", "", " ", "").Replace(password))
	sum := sha256.Sum256([]byte("app password\x00" + password))
	return sum[:]
}

func wrongAppPassword() *matrix.Error {
	return matrix.NewError(http.StatusUnauthorized, matrix.ErrUnauthorized, "the user name or the app password is wrong")
}

// AuthenticatePassword implements httpapi.PasswordAuthenticator. The database is asked each time, so that an app password which was revoked
// ends at once, on every process.
//
// Wrong passwords are counted, by the account that is named and by address. Why after the look-up and not before: nobody guesses 120
// bits, and a stranger's attempts, or those of a phone with a revoked password, must not keep the owner's other devices out.
func (s *Server) AuthenticatePassword(ctx context.Context, name, password string) (*httpapi.Requester, error) {
	// Interop: Basic ends a user name at the first colon, and there is one in user ids, which people type all the same. In app passwords
	// there is none.
	if i := strings.LastIndexByte(password, ':'); i >= 0 {
		name, password = name+":"+password[:i], password[i+1:]
	}
	address := ""
	if call, ok := httpapi.CallOf(ctx); ok {
		address = call.ClientAddr()
	}
	row, err := s.store.GetAppPassword(ctx, appPasswordHash(password))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("look up an app password: %w", err)
	}
	if err != nil || !s.isNameOf(name, row.UserID) {
		return nil, s.countWrong(ctx, name, address)
	}
	user, err := s.store.GetUser(ctx, row.UserID)
	if err != nil {
		return nil, fmt.Errorf("look up the account: %w", err)
	}
	active, err := s.mayUse(ctx, user)
	if err != nil {
		return nil, err
	}
	if !active {
		return nil, wrongAppPassword()
	}
	if now := s.now(); int64(now)-int64(row.LastUsedTS) > useNoted.Milliseconds() {
		if err := s.store.PutAppPasswordUse(ctx, row.ID, now, address); err != nil {
			return nil, fmt.Errorf("note the use of an app password: %w", err)
		}
	}
	return &httpapi.Requester{
		User: user.UserID, Device: matrix.DeviceID("app password " + strconv.FormatInt(row.ID, 10)), Org: user.OrganisationID,
		Guest: user.Guest, Suspended: user.Suspended,
	}, nil
}

// mayUse reports whether the account can be used: it is neither closed nor locked, nor is its organisation.
func (s *Server) mayUse(ctx context.Context, user store.User) (bool, error) {
	if user.Deactivated() || user.Locked {
		return false, nil
	}
	org, err := s.store.GetOrganisation(ctx, user.OrganisationID)
	if err != nil {
		return false, fmt.Errorf("look up the organisation: %w", err)
	}
	return org.State == store.OrganisationActive, nil
}

// loginName is how a user is called where there may be no colon (RFC 7617 §2): as an e-mail address, which is also what clients look for
// the server's domain in.
func loginName(user matrix.UserID) string { return user.Localpart() + "@" + string(user.Domain()) }

// isNameOf reports whether somebody calls themselves by the account's name: @alice:example.org, alice@example.org or, in the server's own
// domain, alice.
func (s *Server) isNameOf(name string, user matrix.UserID) bool {
	name = strings.ToLower(strings.TrimSpace(name))
	local, domain := strings.ToLower(user.Localpart()), strings.ToLower(string(user.Domain()))
	switch name {
	case "@" + local + ":" + domain, local + ":" + domain, local + "@" + domain:
		return true
	case local:
		return user.Domain() == s.cfg.Domain
	}
	return false
}

// countWrong counts a wrong app password and returns what to answer.
func (s *Server) countWrong(ctx context.Context, name, address string) error {
	for _, c := range []struct{ class, key string }{
		{ratelimit.AppPasswordFailure, strings.ToLower(strings.TrimSpace(name)) + " " + address},
		{ratelimit.AppPasswordFailureAddress, address},
	} {
		after, err := s.cfg.Limiter.Allow(ctx, c.class, c.key)
		if err != nil {
			return err
		}
		if after > 0 {
			return matrix.LimitExceeded(after)
		}
	}
	return wrongAppPassword()
}

type appPasswordRequest struct {
	Name string `json:"name"`
}

// createAppPassword makes an app password, which is shown this once.
func (s *Server) createAppPassword(ctx context.Context, c *httpapi.Call, req *appPasswordRequest) (any, error) {
	if err := checkDeviceName(req.Name); err != nil {
		return nil, err
	}
	var row store.AppPassword
	var password string
	err := s.store.Write(ctx, func(tx *store.Tx) (err error) {
		row, password, err = s.insertAppPassword(ctx, tx, c.Requester.User, req.Name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make an app password: %w", err)
	}
	return struct {
		ID       string           `json:"id"`
		Name     string           `json:"name"`
		Username string           `json:"username"`
		Password string           `json:"password"`
		URL      string           `json:"url,omitempty"`
		Created  matrix.Timestamp `json:"created_ts"`
	}{strconv.FormatInt(row.ID, 10), row.Name, loginName(row.UserID), password, s.davURL(), row.CreatedTS}, nil
}

// davURL is where programs without discovery find the address books.
func (s *Server) davURL() string {
	if s.cfg.BaseURL == "" {
		return ""
	}
	return strings.TrimSuffix(s.cfg.BaseURL, "/") + davRoot
}

func checkDeviceName(name string) error {
	if strings.TrimSpace(name) == "" || len(name) > limits.AppPasswordName || !utf8.ValidString(name) {
		return matrix.InvalidParam("name must say for which device it is, in 1 to %d bytes", limits.AppPasswordName)
	}
	return nil
}

func (s *Server) insertAppPassword(ctx context.Context, tx *store.Tx, user matrix.UserID, name string) (store.AppPassword, string, error) {
	password, err := s.newAppPassword()
	if err != nil {
		return store.AppPassword{}, "", err
	}
	row := store.AppPassword{UserID: user, Name: name, SecretHash: appPasswordHash(password), CreatedTS: s.now()}
	var ok bool
	if row.ID, ok, err = tx.InsertAppPassword(ctx, row, limits.AppPasswords); err == nil && !ok {
		err = matrix.NewError(http.StatusForbidden, matrix.ErrUserLimitExceeded, "you have %d app passwords; delete one that is not used", limits.AppPasswords)
	}
	return row, password, err
}

type listedAppPassword struct {
	ID         string           `json:"id"`
	Name       string           `json:"name"`
	CreatedTS  matrix.Timestamp `json:"created_ts"`
	LastUsedTS matrix.Timestamp `json:"last_used_ts,omitempty"`
	LastUsedIP string           `json:"last_used_ip,omitempty"`
}

// listAppPasswords lists the requester's app passwords, without the passwords.
func (s *Server) listAppPasswords(ctx context.Context, c *httpapi.Call) (any, error) {
	rows, err := s.store.ListAppPasswords(ctx, c.Requester.User)
	if err != nil {
		return nil, fmt.Errorf("list app passwords: %w", err)
	}
	list := []listedAppPassword{}
	for _, r := range rows {
		list = append(list, listedAppPassword{strconv.FormatInt(r.ID, 10), r.Name, r.CreatedTS, r.LastUsedTS, r.LastUsedIP})
	}
	return map[string]any{"app_passwords": list}, nil
}

// deleteAppPassword ends an app password, at once.
func (s *Server) deleteAppPassword(ctx context.Context, c *httpapi.Call) (any, error) {
	id, err := strconv.ParseInt(c.Path("id"), 10, 64)
	if err != nil {
		return nil, matrix.NotFound("you have no such app password")
	}
	deleted, err := s.store.DeleteAppPassword(ctx, c.Requester.User, id)
	if err != nil {
		return nil, fmt.Errorf("delete an app password: %w", err)
	}
	if !deleted {
		return nil, matrix.NotFound("you have no such app password")
	}
	return nil, nil
}
