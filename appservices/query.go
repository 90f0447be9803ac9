package appservices

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/wake"
)

// QueryUser asks the application services that a user id belongs to whether there is such a user, if nobody has the account: one that says
// so has made it by then. org is the organisation of whoever looks for the user, 0 for nobody.
//
// Spec: application-service v1.19 §querying
func (s *Server) QueryUser(ctx context.Context, org int64, user matrix.UserID) error {
	for _, as := range s.cfg.Registry.services() {
		if as.URL == "" || user == as.Sender || !as.Covers(user) || as.organisation != org && !as.Everywhere || asks(ctx, as) {
			continue
		}
		if _, err := s.cfg.Store.GetUser(ctx, user); !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if there, err := s.query(ctx, as, "/users/"+url.PathEscape(string(user))); there || err != nil {
			return err
		}
	}
	return nil
}

// QueryAlias asks the application services that an alias belongs to whether there is such a room. It reports whether one of them has made it.
//
// Spec: application-service v1.19 §querying
func (s *Server) QueryAlias(ctx context.Context, alias matrix.RoomAlias) (bool, error) {
	for _, as := range s.cfg.Registry.services() {
		if as.URL == "" || !as.hosts(alias.Domain()) || !anyMatches(as.Aliases, string(alias)) || asks(ctx, as) {
			continue
		}
		if there, err := s.query(ctx, as, "/rooms/"+url.PathEscape(string(alias))); there || err != nil {
			return there, err
		}
	}
	return false, nil
}

// asks reports whether the request that is being served is the application service's own: it need not be asked what it asks.
func asks(ctx context.Context, as *Registration) bool {
	call, ok := httpapi.CallOf(ctx)
	if !ok {
		return false
	}
	if call.Requester != nil {
		return call.Requester.Appservice == as.ID
	}
	// The alias of a room is told to everybody, and the token not looked at.
	_, token, _ := strings.Cut(call.Request.Header.Get("Authorization"), " ")
	return as.hasToken(strings.TrimSpace(token)) || as.hasToken(call.Query("access_token"))
}

// queryPause is the pause before an application service that gave no answer is asked again.
const queryPause = 200 * time.Millisecond

// query asks until there is an answer, a few times.
func (s *Server) query(ctx context.Context, as *Registration, path string) (there bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, limits.AppserviceAnswer)
	defer cancel()
	for attempt := 1; ; attempt++ {
		got, err := s.askEither(ctx, as, "/_matrix/app/v1"+path, path, nil)
		if err == nil {
			if !got.ok() && got.status != http.StatusNotFound {
				s.cfg.Log.Info("an application service did not answer as it should", "appservice", as.ID, "status", got.status)
			}
			return got.ok(), nil
		}
		if attempt == limits.AppserviceQueries || ctx.Err() != nil {
			s.cfg.Log.Info("an application service did not answer", "appservice", as.ID, "error", reason(err))
			return false, matrix.NewError(http.StatusRequestTimeout, matrix.ErrUnknown, "the application service that this belongs to did not answer")
		}
		wake.Pause(ctx, queryPause*time.Duration(attempt))
	}
}

// Acting returns what the application service called id may do with accounts: of which domain they are, and which are its.
func (r *Registry) Acting(id string) (domain matrix.ServerName, covers func(matrix.UserID) bool, ok bool) {
	as := r.byID(id)
	if as == nil {
		return "", nil, false
	}
	return as.Sender.Domain(), as.Covers, true
}

// MayActAs reports whether the application service called id may sign a user in.
func (s *Server) MayActAs(ctx context.Context, id string, user matrix.UserID) (bool, error) {
	as := s.cfg.Registry.byID(id)
	if as == nil || !as.Covers(user) {
		return false, nil
	}
	made, err := s.cfg.Store.IsAppserviceUser(ctx, user, id)
	if err != nil {
		return false, fmt.Errorf("look up who made an account: %w", err)
	}
	return as.MayActAs(user, made), nil
}
