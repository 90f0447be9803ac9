package guests

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// visitorResponse is what a client gets that has registered as a guest.
type visitorResponse struct {
	UserID      matrix.UserID     `json:"user_id"`
	AccessToken string            `json:"access_token"`
	DeviceID    matrix.DeviceID   `json:"device_id"`
	HomeServer  matrix.ServerName `json:"home_server"`
	ExpiresInMS int64             `json:"expires_in_ms"`
}

// Register makes a guest whom nobody has invited, where an organisation lets such in: that of the host that was asked, if one has a domain of this
// name, and else the one that has the domain.
//
// Spec: client-server v1.19 §guest-access
func (s *Server) Register(ctx context.Context, c *httpapi.Call, domain matrix.ServerName, deviceName string) (any, error) {
	host := c.Request.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	d, err := s.cfg.Store.GetHostedDomain(ctx, matrix.ServerName(host))
	if errors.Is(err, store.ErrNotFound) {
		d, err = s.cfg.Store.GetHostedDomain(ctx, domain)
	}
	if err != nil {
		return nil, fmt.Errorf("look up the domain of a visitor: %w", err)
	}
	policy, err := s.cfg.Invitations.PolicyOf(ctx, d.OrganisationID)
	if err != nil {
		return nil, err
	}
	if !*policy.GuestAccess {
		return nil, matrix.NewError(http.StatusForbidden, matrix.ErrGuestAccessForbidden, "guests come by invitation only")
	}
	name, err := DisplayName("Guest")
	if err != nil {
		return nil, err
	}
	user, err := newUserID(d.ServerName)
	if err != nil {
		return nil, err
	}
	now := s.now()
	g := store.Guest{UserID: user, OrganisationID: d.OrganisationID, Role: store.GuestVisitor, CreatedTS: now, ExpiresTS: now.Add(limits.VisitorLifetime)}
	session := auth.GuestSession{User: g.UserID, DeviceName: deviceName, Until: g.ExpiresTS, Address: c.ClientAddr(), Most: limits.GuestDevices}
	known := make([]byte, 2*secretBytes)
	rand.Read(known)
	if err := s.derive(&session, known); err != nil {
		return nil, err
	}
	err = s.cfg.Store.Write(ctx, func(tx *store.Tx) error { return s.insertVisitor(ctx, tx, g, name, &session) })
	if errors.Is(err, errUsed) {
		return nil, matrix.Forbidden("the organisation is suspended")
	}
	if err != nil {
		return nil, fmt.Errorf("make a visitor: %w", err)
	}
	return visitorResponse{
		UserID: g.UserID, AccessToken: session.Token(), DeviceID: session.Device, HomeServer: g.UserID.Domain(), ExpiresInMS: int64(g.ExpiresTS - now),
	}, nil
}

func (s *Server) insertVisitor(ctx context.Context, tx *store.Tx, g store.Guest, name string, session *auth.GuestSession) error {
	n, err := tx.CountVisitors(ctx, g.OrganisationID, limits.Visitors)
	if err != nil {
		return err
	}
	if n >= limits.Visitors {
		return matrix.NewError(http.StatusForbidden, matrix.ErrResourceLimitExceeded, "the organisation has as many guests as it may have").
			With("admin_contact", "https://"+string(g.UserID.Domain())+"/.well-known/matrix/support")
	}
	if err := s.insert(ctx, tx, g, name, session); err != nil {
		return err
	}
	return s.audit(ctx, tx, g.OrganisationID, actor{string(g.UserID), session.Address}, "guest.create", g.UserID, map[string]any{"visitor": true})
}

// MayVisit reports whether a visitor may join a room without an invite: a public one of the own organisation that lets guests in.
//
// Spec: client-server v1.19 §guest-access
func (s *Server) MayVisit(ctx context.Context, who *httpapi.Requester, id matrix.RoomID) (bool, error) {
	if who.GuestRole != store.GuestVisitor {
		return false, nil
	}
	room, err := s.cfg.Rooms.Room(ctx, id)
	if _, unknown := matrix.AsError(err); unknown {
		return false, nil
	}
	if err != nil || room.OrganisationID != who.Org {
		return false, err
	}
	for _, wanted := range []struct{ typ, path, value string }{
		{spec.MRoomJoinRules, "content.join_rule", spec.Public}, {spec.MRoomGuestAccess, "content.guest_access", "can_join"},
	} {
		e, err := s.cfg.Store.GetStateEvent(ctx, room.NID, store.CurrentState, wanted.typ, "")
		if errors.Is(err, store.ErrNotFound) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("load who is let into %s: %w", id, err)
		}
		if gjson.GetBytes(e.JSON, wanted.path).String() != wanted.value {
			return false, nil
		}
	}
	return true, nil
}
