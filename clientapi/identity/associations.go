package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/clientapi/verify"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

type requestToken struct {
	ClientSecret string   `json:"client_secret"`
	SendAttempt  *attempt `json:"send_attempt"`
	NextLink     string   `json:"next_link"`
}

// attempt is a send_attempt.
//
// Interop: matrix-js-sdk sends it to identity servers as a string.
type attempt int64

// UnmarshalJSON reads a number, or a string of one.
func (a *attempt) UnmarshalJSON(raw []byte) error {
	n, err := strconv.ParseInt(strings.Trim(string(raw), `"`), 10, 64)
	if err != nil {
		return matrix.BadJSON("send_attempt must be an integer")
	}
	*a = attempt(n)
	return nil
}

type emailRequest struct {
	requestToken
	Email string `json:"email"`
}

type msisdnRequest struct {
	requestToken
	Country     string `json:"country"`
	PhoneNumber string `json:"phone_number"`
}

type sidResponse struct {
	SID string `json:"sid"`
}

// emailRequestToken sends a code to an e-mail address.
//
// Spec: identity v1.19 §email-associations, POST /_matrix/identity/v2/validate/email/requestToken
func (s *Server) emailRequestToken(ctx context.Context, c *httpapi.Call, req *emailRequest) (any, error) {
	if req.Email == "" {
		return nil, matrix.MissingParam("email is missing")
	}
	address, ok := auth.CanonicalAddress("email", req.Email, "")
	if !ok {
		return nil, matrix.NewError(http.StatusBadRequest, matrix.ErrInvalidEmail, "email is not an e-mail address")
	}
	return s.validate(ctx, c, "email", address, &req.requestToken)
}

// msisdnRequestToken sends a code to a phone number.
//
// Spec: identity v1.19 §phone-number-associations, POST /_matrix/identity/v2/validate/msisdn/requestToken
func (s *Server) msisdnRequestToken(ctx context.Context, c *httpapi.Call, req *msisdnRequest) (any, error) {
	if req.PhoneNumber == "" || req.Country == "" {
		return nil, matrix.MissingParam("country and phone_number are needed")
	}
	address, ok := auth.CanonicalAddress("msisdn", req.PhoneNumber, req.Country)
	if !ok {
		return nil, matrix.NewError(http.StatusBadRequest, matrix.ErrInvalidAddress, "phone_number is not a phone number of the country")
	}
	return s.validate(ctx, c, "msisdn", address, &req.requestToken)
}

func (s *Server) validate(ctx context.Context, c *httpapi.Call, medium, address string, req *requestToken) (any, error) {
	if req.ClientSecret == "" || req.SendAttempt == nil {
		return nil, matrix.MissingParam("client_secret and send_attempt are needed")
	}
	who := c.Requester
	sid, err := s.cfg.Verifier.Start(ctx, verify.Request{
		Purpose: verify.Bind, Organisation: who.Org, Medium: medium, Address: address, User: who.User, ClientSecret: req.ClientSecret,
		SendAttempt: int64(*req.SendAttempt), NextLink: req.NextLink, Language: verify.Language(c.Request.Header.Get("Accept-Language")),
		Host: s.cfg.Verifier.Host(), Asker: string(who.User),
	})
	if err != nil {
		return nil, err
	}
	return sidResponse{sid}, nil
}

// emailSubmitToken takes a code.
//
// Spec: identity v1.19 §email-associations, POST /_matrix/identity/v2/validate/email/submitToken
func (s *Server) emailSubmitToken(ctx context.Context, c *httpapi.Call) (any, error) {
	return s.cfg.Verifier.Submit(ctx, c)
}

// msisdnSubmitToken takes a code.
//
// Spec: identity v1.19 §phone-number-associations, POST /_matrix/identity/v2/validate/msisdn/submitToken
func (s *Server) msisdnSubmitToken(ctx context.Context, c *httpapi.Call) (any, error) {
	return s.cfg.Verifier.Submit(ctx, c)
}

// showEmailSubmitToken asks a person to press a button, which does what the spec has the GET do: programs that look at mails send GETs, too.
//
// Spec: identity v1.19 §email-associations, GET /_matrix/identity/v2/validate/email/submitToken
func (s *Server) showEmailSubmitToken(ctx context.Context, c *httpapi.Call) (any, error) {
	return s.cfg.Verifier.ShowPage(ctx, c)
}

// showMsisdnSubmitToken is showEmailSubmitToken for short messages.
//
// Spec: identity v1.19 §phone-number-associations, GET /_matrix/identity/v2/validate/msisdn/submitToken
func (s *Server) showMsisdnSubmitToken(ctx context.Context, c *httpapi.Call) (any, error) {
	return s.cfg.Verifier.ShowPage(ctx, c)
}

type validated3PIDResponse struct {
	Medium      string           `json:"medium"`
	Address     string           `json:"address"`
	ValidatedAt matrix.Timestamp `json:"validated_at"`
}

// getValidated3PID says which address a validation is about, if the code was given.
//
// Spec: identity v1.19 §general, GET /_matrix/identity/v2/3pid/getValidated3pid
func (s *Server) getValidated3PID(ctx context.Context, c *httpapi.Call) (any, error) {
	found, err := s.validation(ctx, c, c.Query("sid"), c.Query("client_secret"))
	if err != nil {
		return nil, err
	}
	return validated3PIDResponse{found.Medium, found.Address, found.ValidatedTS}, nil
}

// validation is one of the requester's whose code was given.
func (s *Server) validation(ctx context.Context, c *httpapi.Call, sid, secret string) (store.Validation, error) {
	if sid == "" || secret == "" {
		return store.Validation{}, matrix.MissingParam("sid and client_secret are needed")
	}
	found, err := s.cfg.Verifier.Get(ctx, sid, secret, verify.Bind)
	if found.SID != "" && found.UserID != c.Requester.User {
		err = matrix.NewError(http.StatusNotFound, matrix.ErrNoValidSession, "there is no validation of this sid and client_secret")
	}
	return found, err
}

type bindRequest struct {
	SID          string        `json:"sid"`
	ClientSecret string        `json:"client_secret"`
	MXID         matrix.UserID `json:"mxid"`
}

// bind says, signed, that an address is the requester's.
//
// Differs: the spec binds any address to any account. Here an address by which an account is found is one that opens it; the account has to have
// it already.
//
// Spec: identity v1.19 §general, POST /_matrix/identity/v2/3pid/bind
func (s *Server) bind(ctx context.Context, c *httpapi.Call, req *bindRequest) (any, error) {
	if req.MXID == "" {
		return nil, matrix.MissingParam("mxid is missing")
	}
	if req.MXID != c.Requester.User {
		return nil, matrix.Forbidden("mxid: the token is another user's")
	}
	found, err := s.validation(ctx, c, req.SID, req.ClientSecret)
	if err != nil {
		return nil, err
	}
	owner, err := s.cfg.Store.GetThreePIDOwner(ctx, c.Requester.Org, found.Medium, found.Address)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("look up the owner of an address: %w", err)
	}
	if owner != c.Requester.User {
		return nil, matrix.Forbidden("the account does not have this address; add it to the account first (POST /_matrix/client/v3/account/3pid/add)")
	}
	return s.sign(s.associate(found, owner), s.cfg.Key)
}

type unbindRequest struct {
	SID          string        `json:"sid"`
	ClientSecret string        `json:"client_secret"`
	MXID         matrix.UserID `json:"mxid"`
	ThreePID     *struct {
		Medium  string `json:"medium"`
		Address string `json:"address"`
	} `json:"threepid"`
}

// unbind takes an address from the requester's account. It has to be proved anew. Homeservers that sign the request are refused: this service
// has the addresses of no other homeserver's users.
//
// Spec: identity v1.19 §general, POST /_matrix/identity/v2/3pid/unbind
func (s *Server) unbind(ctx context.Context, c *httpapi.Call, req *unbindRequest) (any, error) {
	if req.ThreePID == nil || req.MXID == "" {
		return nil, matrix.MissingParam("threepid and mxid are needed")
	}
	if req.MXID != c.Requester.User || req.SID == "" {
		return nil, matrix.Forbidden("only who has the account and proves the address may take it from the account")
	}
	address, ok := auth.CanonicalAddress(req.ThreePID.Medium, req.ThreePID.Address, "")
	if !ok {
		return nil, matrix.InvalidParam("threepid is not an address")
	}
	found, err := s.validation(ctx, c, req.SID, req.ClientSecret)
	if err != nil {
		return nil, err
	}
	if found.Medium != req.ThreePID.Medium || found.Address != address {
		return nil, matrix.Forbidden("threepid: another address was validated")
	}
	allowed, err := s.cfg.MayChangeThreePIDs(ctx, c.Requester.Org, c.Requester.User)
	if err != nil {
		return nil, err
	}
	if !allowed {
		return nil, matrix.Forbidden("the addresses of this account are kept by the organisation")
	}
	err = s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		if err := s.cfg.Verifier.Use(ctx, tx, found); err != nil {
			return err
		}
		deleted, err := tx.DeleteThreePID(ctx, c.Requester.User, found.Medium, found.Address)
		if err != nil || !deleted {
			return err
		}
		detail, err := json.Marshal(map[string]string{"medium": found.Medium})
		if err != nil {
			return err
		}
		return tx.AppendAudit(ctx, store.AuditEntry{OrganisationID: c.Requester.Org, TS: s.now(), Actor: c.Requester.Actor(), IP: c.ClientAddr(),
			Action: "account.threepid.delete", Target: string(c.Requester.User), Detail: detail})
	})
	if err != nil {
		return nil, fmt.Errorf("take an address from %s: %w", c.Requester.User, err)
	}
	return nil, nil
}
