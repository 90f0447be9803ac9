package admin

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"regexp"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

type synapseDevice struct {
	DeviceID     matrix.DeviceID  `json:"device_id"`
	DisplayName  *string          `json:"display_name"`
	LastSeenIP   *string          `json:"last_seen_ip"`
	LastSeenTS   matrix.Timestamp `json:"last_seen_ts"`
	LastSeenUser string           `json:"last_seen_user_agent"`
	UserID       matrix.UserID    `json:"user_id"`
}

func synapseDeviceOf(d *store.Device) synapseDevice {
	return synapseDevice{d.DeviceID, orNull(d.DisplayName), orNull(d.LastSeenIP), d.LastSeenTS, "", d.UserID}
}

func (s *Server) synapseDevices(ctx context.Context, c *httpapi.Call) (any, error) {
	a, _, err := s.target(ctx, c)
	if err != nil {
		return nil, err
	}
	list, err := s.cfg.Store.ListDevices(ctx, a.UserID)
	if err != nil {
		return nil, fmt.Errorf("list devices of %s: %w", a.UserID, err)
	}
	devices := []synapseDevice{}
	for i := range list {
		devices = append(devices, synapseDeviceOf(&list[i]))
	}
	return map[string]any{"devices": devices, "total": len(devices)}, nil
}

type synapseDeviceRequest struct {
	DeviceID    string  `json:"device_id"`
	DisplayName *string `json:"display_name"`
}

// synapseCreateDevice is refused: a device without a session is of no use to anybody.
func (s *Server) synapseCreateDevice(ctx context.Context, c *httpapi.Call, _ *synapseDeviceRequest) (any, error) {
	if _, _, err := s.target(ctx, c); err != nil {
		return nil, err
	}
	return nil, matrix.Forbidden("devices are made by signing in")
}

// device is the device of the path.
func (s *Server) device(ctx context.Context, c *httpapi.Call) (*store.Device, error) {
	a, _, err := s.target(ctx, c)
	if err != nil {
		return nil, err
	}
	d, err := s.cfg.Store.GetDevice(ctx, a.UserID, matrix.DeviceID(c.Path("deviceId")))
	if errors.Is(err, store.ErrNotFound) {
		return nil, matrix.NotFound("No device found")
	}
	if err != nil {
		return nil, fmt.Errorf("look up a device of %s: %w", a.UserID, err)
	}
	return &d, nil
}

func (s *Server) synapseDevice(ctx context.Context, c *httpapi.Call) (any, error) {
	d, err := s.device(ctx, c)
	if err != nil {
		return nil, err
	}
	return synapseDeviceOf(d), nil
}

func (s *Server) synapsePutDevice(ctx context.Context, c *httpapi.Call, req *synapseDeviceRequest) (any, error) {
	d, err := s.device(ctx, c)
	if err != nil || req.DisplayName == nil {
		return nil, err
	}
	if len(*req.DisplayName) > limits.DeviceName {
		return nil, matrix.InvalidParam("display_name is longer than %d bytes", limits.DeviceName)
	}
	_, by, err := s.target(ctx, c)
	if err != nil {
		return nil, err
	}
	return nil, found(s.cfg.People.NameDevice(ctx, by, d.UserID, d.DeviceID, *req.DisplayName))
}

func (s *Server) endDevices(ctx context.Context, c *httpapi.Call, devices []matrix.DeviceID) (any, error) {
	a, by, err := s.target(ctx, c)
	if err != nil {
		return nil, err
	}
	return nil, found(s.cfg.People.EndSessions(ctx, by, a.UserID, devices))
}

func (s *Server) synapseDeleteDevice(ctx context.Context, c *httpapi.Call) (any, error) {
	return s.endDevices(ctx, c, []matrix.DeviceID{matrix.DeviceID(c.Path("deviceId"))})
}

type synapseDevicesRequest struct {
	Devices *[]matrix.DeviceID `json:"devices"`
}

func (s *Server) synapseDeleteDevices(ctx context.Context, c *httpapi.Call, req *synapseDevicesRequest) (any, error) {
	if req.Devices == nil {
		return nil, matrix.MissingParam("devices is missing")
	}
	return s.endDevices(ctx, c, append([]matrix.DeviceID{}, *req.Devices...))
}

func (s *Server) synapseAvailable(ctx context.Context, c *httpapi.Call) (any, error) {
	name := c.Query("username")
	if name == "" {
		return nil, matrix.MissingParam("username is missing")
	}
	domain, err := s.cfg.Store.GetOrganisationDomain(ctx, c.Requester.Org)
	if err != nil {
		return nil, fmt.Errorf("look up the organisation's domain: %w", err)
	}
	if _, err := s.cfg.Accounts.CheckAvailable(ctx, name, domain); err != nil {
		return nil, err
	}
	return map[string]bool{"available": true}, nil
}

func (s *Server) foundUser(ctx context.Context, c *httpapi.Call, id matrix.UserID, err error) (any, error) {
	if err == nil {
		_, err = s.cfg.Store.GetAccount(ctx, scope(c), id)
	}
	if errors.Is(err, store.ErrNotFound) {
		return nil, matrix.NotFound("User not found")
	}
	return map[string]matrix.UserID{"user_id": id}, err
}

func (s *Server) synapseFindThreePID(ctx context.Context, c *httpapi.Call) (any, error) {
	id, err := s.cfg.Store.GetThreePIDOwner(ctx, c.Requester.Org, c.Path("medium"), c.Path("address"))
	return s.foundUser(ctx, c, id, err)
}

func (s *Server) synapseFindSubject(ctx context.Context, c *httpapi.Call) (any, error) {
	id, err := s.cfg.Store.GetSSOSubject(ctx, c.Path("provider"), c.Path("externalId"))
	return s.foundUser(ctx, c, id, err)
}

// Registration tokens.

type synapseToken struct {
	Token       string `json:"token"`
	UsesAllowed *int   `json:"uses_allowed"`
	Pending     int    `json:"pending"`
	Completed   int    `json:"completed"`
	ExpiryTime  *int64 `json:"expiry_time"`
}

func synapseTokenOf(t *store.RegistrationToken) synapseToken {
	out := synapseToken{Token: t.Token, Completed: t.Uses}
	if t.UsesAllowed > 0 {
		out.UsesAllowed = &t.UsesAllowed
	}
	if t.ExpiresTS > 0 {
		ts := int64(t.ExpiresTS)
		out.ExpiryTime = &ts
	}
	return out
}

func (s *Server) synapseListTokens(ctx context.Context, c *httpapi.Call) (any, error) {
	valid, err := flag(c, "valid")
	if err != nil {
		return nil, err
	}
	list, err := s.cfg.Store.ListRegistrationTokens(ctx, c.Requester.Org, valid, s.now())
	if err != nil {
		return nil, fmt.Errorf("list registration tokens: %w", err)
	}
	tokens := []synapseToken{}
	for i := range list {
		tokens = append(tokens, synapseTokenOf(&list[i]))
	}
	return map[string]any{"registration_tokens": tokens}, nil
}

func (s *Server) registrationToken(ctx context.Context, c *httpapi.Call) (store.RegistrationToken, error) {
	t, err := s.cfg.Store.GetRegistrationTokenOf(ctx, c.Requester.Org, c.Path("token"))
	if errors.Is(err, store.ErrNotFound) {
		err = matrix.NotFound("No such registration token")
	}
	return t, err
}

func (s *Server) synapseGetToken(ctx context.Context, c *httpapi.Call) (any, error) {
	t, err := s.registrationToken(ctx, c)
	if err != nil {
		return nil, err
	}
	return synapseTokenOf(&t), nil
}

type synapseTokenRequest struct {
	Token       *string         `json:"token"`
	Length      *int            `json:"length"`
	UsesAllowed optional[int]   `json:"uses_allowed"`
	ExpiryTime  optional[int64] `json:"expiry_time"`
}

var tokenGrammar = regexp.MustCompile(`^[A-Za-z0-9._~-]{1,64}$`)

// bounds puts what the request says of uses and expiry into a token.
func (r *synapseTokenRequest) bounds(t *store.RegistrationToken, now matrix.Timestamp) error {
	if r.UsesAllowed.Given {
		if t.UsesAllowed = r.UsesAllowed.Value; t.UsesAllowed < 0 || r.UsesAllowed.Value == 0 && !r.UsesAllowed.Null {
			return matrix.InvalidParam("uses_allowed must be a positive integer or null")
		}
	}
	if r.ExpiryTime.Given {
		if t.ExpiresTS = matrix.Timestamp(r.ExpiryTime.Value); !r.ExpiryTime.Null && t.ExpiresTS <= now {
			return matrix.InvalidParam("expiry_time must not be in the past")
		}
	}
	return nil
}

func (s *Server) synapseNewToken(ctx context.Context, c *httpapi.Call, req *synapseTokenRequest) (any, error) {
	t := store.RegistrationToken{OrganisationID: c.Requester.Org, CreatedTS: s.now()}
	length := 16
	if req.Length != nil {
		length = *req.Length
	}
	switch {
	case req.Token != nil:
		t.Token = *req.Token
	case length < 1 || length > 64:
		return nil, matrix.InvalidParam("length must be between 1 and 64")
	default:
		t.Token = (rand.Text() + rand.Text() + rand.Text())[:length]
	}
	if !tokenGrammar.MatchString(t.Token) {
		return nil, matrix.InvalidParam("token must be 1 to 64 letters, digits, dots, underscores, tildes and hyphens")
	}
	if err := req.bounds(&t, t.CreatedTS); err != nil {
		return nil, err
	}
	err := s.change(ctx, whoOf(c), func(tx *store.Tx) (act, []store.Update, error) {
		made, err := tx.InsertRegistrationToken(ctx, t)
		if err == nil && !made {
			err = matrix.NewError(http.StatusBadRequest, matrix.ErrInvalidParam, "Token already exists")
		}
		return act{organisation: t.OrganisationID, action: "registration_token.create"}, nil, err
	})
	if err != nil {
		return nil, err
	}
	return synapseTokenOf(&t), nil
}

func (s *Server) synapsePutToken(ctx context.Context, c *httpapi.Call, req *synapseTokenRequest) (any, error) {
	t, err := s.registrationToken(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := req.bounds(&t, s.now()); err != nil {
		return nil, err
	}
	err = s.change(ctx, whoOf(c), func(tx *store.Tx) (act, []store.Update, error) {
		return act{organisation: t.OrganisationID, action: "registration_token.change"}, nil, tx.PutRegistrationToken(ctx, t)
	})
	if err != nil {
		return nil, err
	}
	return synapseTokenOf(&t), nil
}

func (s *Server) synapseDeleteToken(ctx context.Context, c *httpapi.Call) (any, error) {
	t, err := s.registrationToken(ctx, c)
	if err != nil {
		return nil, err
	}
	return nil, s.change(ctx, whoOf(c), func(tx *store.Tx) (act, []store.Update, error) {
		return act{organisation: t.OrganisationID, action: "registration_token.delete"}, nil, tx.DeleteRegistrationToken(ctx, t.OrganisationID, t.Token)
	})
}
