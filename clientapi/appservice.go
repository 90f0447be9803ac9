package clientapi

import (
	"context"
	"strconv"
	"strings"

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
	if requester.Appservice == "" || s.cfg.Appservice == nil {
		return "", matrix.UnknownToken(false)
	}
	return requester.Appservice, nil
}

// timestampOf is the time that an application service gives an event that it sends, 0 for now. Nobody else may choose it; ts is ignored.
//
// Differs: 0, the first moment of 1970, is refused, because inside the server it stands for now.
//
// Spec: application-service v1.19 §timestamp-massaging
func timestampOf(c *httpapi.Call) (matrix.Timestamp, error) {
	if c.Requester.Appservice == "" || !c.HasQuery("ts") {
		return 0, nil
	}
	const most = 1<<53 - 1 // the largest number in an event
	ts, err := strconv.ParseInt(c.Query("ts"), 10, 64)
	if err != nil || ts < 1 || ts > most {
		return 0, matrix.InvalidParam("ts must be a whole number of milliseconds since 1970, from 1 to %d", int64(most))
	}
	return matrix.Timestamp(ts), nil
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
	domain, covers, ok := s.cfg.Appservice(id)
	if !ok {
		return nil, matrix.UnknownToken(false)
	}
	// Interop: bridges ask what a user that they have made is called before they give it a name, and take none for a failure.
	user, err := s.accounts.Create(ctx, auth.NewAccount{
		Localpart: *req.Username, Domain: domain, DisplayName: *req.Username, MayHave: covers, Appservice: id,
	})
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
	domain, covers, ok := s.cfg.Appservice(id)
	if !ok {
		return "", matrix.UnknownToken(false)
	}
	if identifier == nil {
		return "", matrix.MissingParam("identifier is missing")
	}
	if name := identifier.User; identifier.Type == "m.id.user" && !strings.HasPrefix(name, "@") {
		// A name alone is of the application service's domain.
		identifier = &auth.Identifier{Type: identifier.Type, User: "@" + name + ":" + string(domain)}
	}
	user, err := s.accounts.Named(ctx, identifier)
	switch {
	case err != nil:
		return "", err
	case user == "":
		return "", matrix.Forbidden("there is no such user")
	case !covers(user):
		return "", outsideNamespaces()
	}
	may, err := s.cfg.MaySignIn(ctx, id, user)
	if err == nil && !may {
		err = outsideNamespaces()
	}
	return user, err
}

// askForUsers asks application services for those of the users whom nobody has made.
//
// Spec: application-service v1.19 §querying
func (s *Server) askForUsers(ctx context.Context, who *httpapi.Requester, users ...matrix.UserID) error {
	if s.cfg.QueryUser == nil || who == nil {
		return nil
	}
	for _, user := range users {
		if err := s.cfg.QueryUser(ctx, who.Org, user); err != nil {
			return err
		}
	}
	return nil
}
