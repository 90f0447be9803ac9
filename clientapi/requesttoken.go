package clientapi

import (
	"context"
	"errors"
	"fmt"

	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/clientapi/verify"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// Codes that are sent to an address before it is added to an account, an account is made with it, or a password is set anew.
//
// Clients ask for them without an access token, also those that have one. So whoever asks learns nothing of an address: the answer, and the
// work, are the same whether it has an account or not, and a mail is only sent where it may lead to something. Who sends a token and may see
// the address's owner is told that it is taken.

type requestTokenRequest struct {
	ClientSecret string `json:"client_secret"`
	SendAttempt  *int64 `json:"send_attempt"`
	NextLink     string `json:"next_link"`
	// id_server is ignored, because the addresses are validated here.
}

type requestEmailTokenRequest struct {
	requestTokenRequest
	Email string `json:"email"`
}

type requestMsisdnTokenRequest struct {
	requestTokenRequest
	Country     string `json:"country"`
	PhoneNumber string `json:"phone_number"`
}

type requestTokenResponse struct {
	SID       string `json:"sid"`
	SubmitURL string `json:"submit_url,omitempty"`
}

// addressee is an address that somebody asks for a code to.
type addressee struct {
	medium, address string
	*requestTokenRequest
}

func (r *requestEmailTokenRequest) addressee() (addressee, error) {
	if r.Email == "" {
		return addressee{}, matrix.MissingParam("email is missing")
	}
	address, ok := auth.CanonicalAddress("email", r.Email, "")
	if !ok {
		return addressee{}, matrix.InvalidParam("email is not an e-mail address")
	}
	return addressee{"email", address, &r.requestTokenRequest}, r.check()
}

func (r *requestMsisdnTokenRequest) addressee() (addressee, error) {
	if r.PhoneNumber == "" || r.Country == "" {
		return addressee{}, matrix.MissingParam("country and phone_number are needed")
	}
	address, ok := auth.CanonicalAddress("msisdn", r.PhoneNumber, r.Country)
	if !ok {
		return addressee{}, matrix.InvalidParam("phone_number is not a phone number of the country")
	}
	return addressee{"msisdn", address, &r.requestTokenRequest}, r.check()
}

func (r *requestTokenRequest) check() error {
	switch {
	case r.ClientSecret == "":
		return matrix.MissingParam("client_secret is missing")
	case r.SendAttempt == nil:
		return matrix.MissingParam("send_attempt is missing")
	}
	return nil
}

// validation sends the code.
func (s *Server) validation(ctx context.Context, c *httpapi.Call, to addressee, r verify.Request) (any, error) {
	r.Medium, r.Address, r.ClientSecret, r.SendAttempt, r.NextLink = to.medium, to.address, to.ClientSecret, *to.SendAttempt, to.NextLink
	r.Language, r.Host = verify.Language(c.Request.Header.Get("Accept-Language")), s.verifier.Host()
	if r.Asker == "" {
		r.Asker, r.Anonymous = c.ClientAddr(), true
	}
	sid, err := s.verifier.Start(ctx, r)
	if err != nil {
		return nil, err
	}
	return requestTokenResponse{SID: sid, SubmitURL: s.verifier.SubmitURL()}, nil
}

// organisationOf is the one whose domain a request names with its Host, or the one of accounts without a domain.
func (s *Server) organisationOf(ctx context.Context, c *httpapi.Call) (int64, error) {
	for _, domain := range []matrix.ServerName{domainOf(c), s.accounts.DefaultDomain()} {
		hosted, err := s.store.GetHostedDomain(ctx, domain)
		if err == nil {
			return hosted.OrganisationID, nil
		}
		if !errors.Is(err, store.ErrNotFound) {
			return 0, fmt.Errorf("look up hosted domain %s: %w", domain, err)
		}
	}
	return store.DefaultOrganisation, nil
}

// owned reports whether an account of the organisation has an address.
func (s *Server) owned(ctx context.Context, org int64, to addressee) (bool, error) {
	_, err := s.store.GetThreePIDOwner(ctx, org, to.medium, to.address)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up the owner of an address: %w", err)
	}
	return true, nil
}

// requestTokenTo3PIDEmail sends a code to an e-mail address that is to be added to an account.
//
// Spec: client-server v1.19 §adding-account-administrative-contact-information, POST /_matrix/client/v3/account/3pid/email/requestToken
func (s *Server) requestTokenTo3PIDEmail(ctx context.Context, c *httpapi.Call, req *requestEmailTokenRequest) (any, error) {
	to, err := req.addressee()
	if err != nil {
		return nil, err
	}
	return s.requestTokenTo3PID(ctx, c, to)
}

// requestTokenTo3PIDMsisdn sends a code to a phone number that is to be added to an account.
//
// Spec: client-server v1.19 §adding-account-administrative-contact-information, POST /_matrix/client/v3/account/3pid/msisdn/requestToken
func (s *Server) requestTokenTo3PIDMsisdn(ctx context.Context, c *httpapi.Call, req *requestMsisdnTokenRequest) (any, error) {
	to, err := req.addressee()
	if err != nil {
		return nil, err
	}
	return s.requestTokenTo3PID(ctx, c, to)
}

func (s *Server) requestTokenTo3PID(ctx context.Context, c *httpapi.Call, to addressee) (any, error) {
	r := verify.Request{Purpose: verify.Add}
	var err error
	if who := c.Requester; who != nil {
		if who.Guest {
			return nil, guestsMayNot()
		}
		if err := s.mayChangeThreePIDs(ctx, who); err != nil {
			return nil, err
		}
		r.User, r.Organisation, r.Asker = who.User, who.Org, string(who.User)
	} else if r.Organisation, err = s.organisationOf(ctx, c); err != nil {
		return nil, err
	}
	taken, err := s.owned(ctx, r.Organisation, to)
	if err != nil {
		return nil, err
	}
	if taken && c.Requester != nil {
		// People of an organisation see each other's addresses.
		return nil, threePIDInUse()
	}
	r.Silent = taken
	return s.validation(ctx, c, to, r)
}

// requestTokenToRegisterEmail sends a code to an e-mail address that an account is to be made with.
//
// Spec: client-server v1.19 §legacy-account-registration, POST /_matrix/client/v3/register/email/requestToken
func (s *Server) requestTokenToRegisterEmail(ctx context.Context, c *httpapi.Call, req *requestEmailTokenRequest) (any, error) {
	to, err := req.addressee()
	if err != nil {
		return nil, err
	}
	return s.requestTokenToRegister(ctx, c, to)
}

// requestTokenToRegisterMsisdn sends a code to a phone number that an account is to be made with.
//
// Spec: client-server v1.19 §legacy-account-registration, POST /_matrix/client/v3/register/msisdn/requestToken
func (s *Server) requestTokenToRegisterMsisdn(ctx context.Context, c *httpapi.Call, req *requestMsisdnTokenRequest) (any, error) {
	to, err := req.addressee()
	if err != nil {
		return nil, err
	}
	return s.requestTokenToRegister(ctx, c, to)
}

func (s *Server) requestTokenToRegister(ctx context.Context, c *httpapi.Call, to addressee) (any, error) {
	if s.cfg.Registration.Mode == RegistrationOff {
		return nil, registrationOff()
	}
	r := verify.Request{Purpose: verify.Register}
	hosted, err := s.store.GetHostedDomain(ctx, s.accounts.DefaultDomain())
	if err != nil {
		return nil, fmt.Errorf("look up the domain of new accounts: %w", err)
	}
	r.Organisation = hosted.OrganisationID
	if r.Silent, err = s.owned(ctx, r.Organisation, to); err != nil {
		return nil, err
	}
	return s.validation(ctx, c, to, r)
}

// requestTokenToResetPasswordEmail sends a code to the e-mail address of an account whose password is forgotten.
//
// Spec: client-server v1.19 §password-management, POST /_matrix/client/v3/account/password/email/requestToken
func (s *Server) requestTokenToResetPasswordEmail(ctx context.Context, c *httpapi.Call, req *requestEmailTokenRequest) (any, error) {
	to, err := req.addressee()
	if err != nil {
		return nil, err
	}
	return s.requestTokenToResetPassword(ctx, c, to)
}

// requestTokenToResetPasswordMsisdn sends a code to the phone number of an account whose password is forgotten.
//
// Spec: client-server v1.19 §password-management, POST /_matrix/client/v3/account/password/msisdn/requestToken
func (s *Server) requestTokenToResetPasswordMsisdn(ctx context.Context, c *httpapi.Call, req *requestMsisdnTokenRequest) (any, error) {
	to, err := req.addressee()
	if err != nil {
		return nil, err
	}
	return s.requestTokenToResetPassword(ctx, c, to)
}

// requestTokenToResetPassword sends a code if the address is that of one account whose password may be set anew. Whoever asks is not told.
func (s *Server) requestTokenToResetPassword(ctx context.Context, c *httpapi.Call, to addressee) (any, error) {
	org, err := s.organisationOf(ctx, c)
	if err != nil {
		return nil, err
	}
	u, err := s.forgetful(ctx, org, to)
	if err != nil {
		return nil, err
	}
	r := verify.Request{Purpose: verify.Password, Organisation: org, Silent: true}
	if mayReset(u) {
		r.User, r.Organisation, r.Silent = u.UserID, u.OrganisationID, false
	}
	return s.validation(ctx, c, to, r)
}

// forgetful is the account that an address belongs to: of the organisation, or else the only one. All is looked up for addresses of nobody, too.
func (s *Server) forgetful(ctx context.Context, org int64, to addressee) (store.User, error) {
	owner, err := s.store.GetThreePIDOwner(ctx, org, to.medium, to.address)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return store.User{}, fmt.Errorf("look up the owner of an address: %w", err)
	}
	all, err := s.store.ListThreePIDOwners(ctx, to.medium, to.address)
	if err != nil {
		return store.User{}, fmt.Errorf("look up the owners of an address: %w", err)
	}
	if owner == "" && len(all) == 1 {
		owner = all[0]
	}
	u, err := s.store.GetUser(ctx, owner)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return store.User{}, fmt.Errorf("look up the owner of an address: %w", err)
	}
	return u, nil
}

// mayReset reports an account whose password may be set anew by who has its address. One without a password is signed in to in other ways,
// which this must not go round.
func mayReset(u store.User) bool {
	return u.UserID != "" && u.PasswordHash != "" && !u.Deactivated() && !u.Locked && !u.Suspended && !u.Guest && !u.Machine
}
