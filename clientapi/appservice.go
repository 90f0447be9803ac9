package clientapi

import (
	"context"

	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
)

// asAppservice is how an application service registers and signs in the users of its namespaces. Its token stands where clients have an
// access token.
//
// Spec: application-service v1.19 §server-admin-style-permissions
const asAppservice = "m.login.application_service"

// appservice returns the application service that sends a request to an endpoint that is open to everybody.
func (s *Server) appservice(c *httpapi.Call) (id string, err error) {
	requester, err := c.Authenticate()
	if err != nil {
		return "", err
	}
	if requester.Appservice == "" || s.cfg.AppserviceCovers == nil {
		return "", matrix.UnknownToken(false)
	}
	return requester.Appservice, nil
}

func outsideNamespaces() *matrix.Error {
	return matrix.Exclusive("the user id is not in a namespace of the application service")
}

// registerForAppservice makes an account in a namespace of the application service that asks.
func (s *Server) registerForAppservice(ctx context.Context, c *httpapi.Call, req *registerRequest) (any, error) {
	id, err := s.appservice(c)
	if err != nil {
		return nil, err
	}
	device, err := req.check()
	if err != nil {
		return nil, err
	}
	if req.Username == nil {
		return nil, matrix.MissingParam("username is missing")
	}
	user, err := s.accounts.Create(ctx, auth.NewAccount{Localpart: *req.Username, MayHave: func(user matrix.UserID) bool {
		return s.cfg.AppserviceCovers(id, user)
	}})
	if err != nil {
		return nil, err
	}
	if req.InhibitLogin {
		return sessionResponse{UserID: user, HomeServer: user.Domain()}, nil
	}
	return s.signIn(ctx, c, user, device, &req.deviceRequest)
}

// verifyAppserviceLogin returns the user in a namespace of the application service that asks, whom it signs in.
//
// Spec: client-server v1.19 §appservice-login
func (s *Server) verifyAppserviceLogin(ctx context.Context, c *httpapi.Call, req *loginRequest) (matrix.UserID, error) {
	id, err := s.appservice(c)
	if err != nil {
		return "", err
	}
	identifier := req.Identifier
	if identifier == nil {
		identifier = auth.LegacyIdentifier(req.User, "", "")
	}
	user, err := s.accounts.Named(ctx, identifier)
	switch {
	case err != nil:
		return "", err
	case user == "":
		return "", matrix.Forbidden("there is no such user")
	case !s.cfg.AppserviceCovers(id, user):
		return "", outsideNamespaces()
	}
	return user, nil
}
