package auth

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/roomline/roomline/clientapi/verify"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/strictjson"
)

// Stages that we know.
//
// Spec: client-server v1.19 §authentication-types
const (
	StagePassword          = "m.login.password"
	StageDummy             = "m.login.dummy"
	StageRegistrationToken = "m.login.registration_token"
	StageEmail             = "m.login.email.identity"
	StageMsisdn            = "m.login.msisdn"
	// These two are ways to sign in, and never stages.
	StageToken = "m.login.token"
	StageSSO   = "m.login.sso"
)

// Interactive is user-interactive authentication. Its sessions are in the database, so that each stage may reach another process.
//
// A session is good for one operation of one user, for limits.InteractiveAuth, and once: the request that completes the last
// stage uses it up.
//
// Spec: client-server v1.19 §user-interactive-authentication-api
type Interactive struct {
	store    *store.Store
	accounts *Accounts
	verifier *verify.Verifier
	clock    matrix.Clock
	rand     io.Reader
}

// NewInteractive returns an Interactive for the accounts. Without a verifier nobody can be asked to prove an address.
func NewInteractive(accounts *Accounts, verifier *verify.Verifier) *Interactive {
	return &Interactive{store: accounts.cfg.Store, accounts: accounts, verifier: verifier, clock: accounts.cfg.Clock, rand: accounts.cfg.Rand}
}

// Challenge is what has to be proved.
type Challenge struct {
	// Operation names what is to be done and what it is done to, for example "DELETE /devices/ABC".
	Operation string
	// User is who has to prove to be there; empty before there is an account.
	User    matrix.UserID
	Flows   [][]string
	Address string
	// Purpose is what an address has to have been validated for, where flows have a stage with one.
	Purpose verify.Purpose
}

// Proof is a completed challenge.
type Proof struct {
	// RegistrationToken was given in its stage, if there was one.
	RegistrationToken string
	// Validation is the address that was proved, if there was a stage with one; its SID is empty otherwise. What it allows has to use it up.
	Validation store.Validation
}

// authData is the auth object of a request.
type authData struct {
	Type       string      `json:"type"`
	Session    string      `json:"session"`
	Identifier *Identifier `json:"identifier"`
	User       string      `json:"user"`
	Medium     string      `json:"medium"`
	Address    string      `json:"address"`
	Password   *string     `json:"password"`
	Token      string      `json:"token"`
	ThreePID   *struct {
		SID          string `json:"sid"`
		ClientSecret string `json:"client_secret"`
	} `json:"threepid_creds"`

	// validated is what the stage has found of ThreePID.
	validated store.Validation
}

// flow is one stage of a flow, as the 401 answer lists it.
type flow struct {
	Stages []string `json:"stages"`
}

// challengeBody is the 401 answer.
type challengeBody struct {
	Code      matrix.ErrCode `json:"errcode,omitempty"`
	Message   string         `json:"error,omitempty"`
	Completed []string       `json:"completed,omitempty"`
	Flows     []flow         `json:"flows"`
	Params    struct{}       `json:"params"`
	Session   string         `json:"session"`
}

// Begun reports whether a request has an auth object.
func Begun(auth json.RawMessage) bool { return len(auth) != 0 && string(auth) != "null" }

// Authenticate takes the auth object of a request, if there is one. When everything is proved it returns a Proof; otherwise the
// answer that the client gets instead of what it asked for.
func (i *Interactive) Authenticate(ctx context.Context, ch Challenge, auth json.RawMessage) (*Proof, any, error) {
	if !Begun(auth) {
		return i.begin(ctx, ch, nil)
	}
	var data authData
	if err := strictjson.Decode(auth, &data); err != nil {
		return nil, nil, err
	}
	session, err := i.session(ctx, ch, data.Session)
	if errors.Is(err, store.ErrNotFound) {
		return i.begin(ctx, ch, matrix.NewError(http.StatusUnauthorized, matrix.ErrUnauthorized, "auth: the session is unknown or has expired; start again"))
	}
	if err != nil {
		return nil, nil, fmt.Errorf("look up an authentication session: %w", err)
	}
	// reply tells a client without a session to go on in a new one.
	reply := func(why *matrix.Error) (*Proof, any, error) {
		if session.SessionID == "" {
			return i.begin(ctx, ch, why)
		}
		return nil, i.answer(ch, session, why), nil
	}
	// Without a type the client asks how far it has come.
	if data.Type == "" || slices.Contains(session.Completed, data.Type) {
		return reply(nil)
	}
	if !allowed(ch.Flows, append(slices.Clone(session.Completed), data.Type)) {
		return reply(matrix.Forbidden("auth: this stage does not come next in any flow"))
	}
	if err := i.check(ctx, ch, &data); err != nil {
		if errors.Is(err, errSomebodyElse) {
			return nil, nil, err
		}
		if e, ok := matrix.AsError(err); ok && (e.Code == matrix.ErrForbidden || e.Code == matrix.ErrUnauthorized || e.Code == matrix.ErrThreepidAuthFailed) {
			return reply(e)
		}
		return nil, nil, err
	}
	return i.complete(ctx, ch, session, &data)
}

// session returns the client's session, or an empty one for a client that wants to do everything in one request.
func (i *Interactive) session(ctx context.Context, ch Challenge, id string) (store.InteractiveSession, error) {
	if id == "" {
		return store.InteractiveSession{}, nil
	}
	session, err := i.store.GetInteractiveSession(ctx, id, i.now())
	if err == nil && (session.Operation != ch.Operation || session.UserID != ch.User) {
		return session, store.ErrNotFound
	}
	return session, err
}

// begin answers with a new session.
func (i *Interactive) begin(ctx context.Context, ch Challenge, why *matrix.Error) (*Proof, any, error) {
	session, err := i.newSession(ctx, ch)
	if err != nil {
		return nil, nil, err
	}
	return nil, i.answer(ch, session, why), nil
}

func (i *Interactive) newSession(ctx context.Context, ch Challenge) (store.InteractiveSession, error) {
	id, err := randomBytes(i.rand, 18)
	if err != nil {
		return store.InteractiveSession{}, err
	}
	now := i.clock.Now()
	session := store.InteractiveSession{SessionID: base64.RawURLEncoding.EncodeToString(id), Operation: ch.Operation, UserID: ch.User,
		ExpiresTS: matrix.TimestampOf(now.Add(limits.InteractiveAuth))}
	if err := i.store.InsertInteractiveSession(ctx, session, matrix.TimestampOf(now)); err != nil {
		return store.InteractiveSession{}, fmt.Errorf("begin an authentication session: %w", err)
	}
	return session, nil
}

// complete notes a stage that was passed, and ends the session with its last one.
func (i *Interactive) complete(ctx context.Context, ch Challenge, session store.InteractiveSession, data *authData) (*Proof, any, error) {
	session.Completed = append(session.Completed, data.Type)
	switch data.Type {
	case StageRegistrationToken:
		session.RegistrationToken = data.Token
	case StageEmail, StageMsisdn:
		session.Validation = data.validated.SID
	}
	if slices.ContainsFunc(ch.Flows, func(f []string) bool { return slices.Equal(f, session.Completed) }) {
		proof, err := i.proof(ctx, session, data)
		if errors.Is(err, store.ErrNotFound) {
			return i.begin(ctx, ch, matrix.NewError(http.StatusUnauthorized, matrix.ErrUnauthorized, "auth: the address was validated too long ago; start again"))
		}
		if err != nil {
			return nil, nil, err
		}
		if session.SessionID != "" {
			ended, err := i.store.DeleteInteractiveSession(ctx, session.SessionID)
			if err != nil {
				return nil, nil, fmt.Errorf("end an authentication session: %w", err)
			}
			if !ended {
				return i.begin(ctx, ch, matrix.NewError(http.StatusUnauthorized, matrix.ErrUnauthorized, "auth: the session has been used; start again"))
			}
		}
		return proof, nil, nil
	}
	if session.SessionID == "" {
		begun, err := i.newSession(ctx, ch)
		if err != nil {
			return nil, nil, err
		}
		session.SessionID = begun.SessionID
	}
	if err := i.store.PutInteractiveStage(ctx, session.SessionID, data.Type, session.RegistrationToken, session.Validation); err != nil {
		return nil, nil, fmt.Errorf("note an authentication stage: %w", err)
	}
	return nil, i.answer(ch, session, nil), nil
}

// proof is what a session has proved. The address of an earlier stage is looked up again.
func (i *Interactive) proof(ctx context.Context, session store.InteractiveSession, data *authData) (*Proof, error) {
	p := &Proof{RegistrationToken: session.RegistrationToken, Validation: data.validated}
	if session.Validation == "" || p.Validation.SID != "" {
		return p, nil
	}
	found, err := i.store.GetValidation(ctx, session.Validation)
	if err != nil {
		return nil, fmt.Errorf("look up the address of a stage: %w", err)
	}
	if found.ExpiresTS <= i.now() {
		return nil, store.ErrNotFound
	}
	p.Validation = found
	return p, nil
}

// check is the stage itself. M_FORBIDDEN means that the client may try again.
func (i *Interactive) check(ctx context.Context, ch Challenge, data *authData) error {
	switch data.Type {
	case StageDummy:
		return nil
	case StagePassword:
		return i.checkPassword(ctx, ch, data)
	case StageRegistrationToken:
		if data.Token == "" {
			return matrix.MissingParam("auth: token is missing")
		}
		_, err := i.store.GetRegistrationToken(ctx, data.Token, i.now())
		if errors.Is(err, store.ErrNotFound) {
			return matrix.Forbidden("auth: the registration token is not valid")
		}
		return err
	case StageEmail, StageMsisdn:
		return i.checkAddress(ctx, ch, data)
	}
	return fmt.Errorf("stage %s is offered for %s, and nothing checks it", data.Type, ch.Operation)
}

// checkAddress is the stage of who has an address. Clients send it again and again while the person looks for the mail.
//
// Spec: client-server v1.19 §email-based-identity--homeserver, §phone-numbermsisdn-based-identity--homeserver
func (i *Interactive) checkAddress(ctx context.Context, ch Challenge, data *authData) error {
	if data.ThreePID == nil || data.ThreePID.SID == "" || data.ThreePID.ClientSecret == "" {
		return matrix.MissingParam("auth: threepid_creds with sid and client_secret is missing")
	}
	found, err := i.verifier.Get(ctx, data.ThreePID.SID, data.ThreePID.ClientSecret, ch.Purpose)
	if e, refused := matrix.AsError(err); refused {
		if e.Code == matrix.ErrSessionNotValidated {
			return matrix.NewError(http.StatusUnauthorized, matrix.ErrUnauthorized, "auth: the address has not been confirmed yet")
		}
		return matrix.NewError(http.StatusUnauthorized, matrix.ErrThreepidAuthFailed, "auth: the address is not validated: %s", e.Message)
	}
	if err != nil {
		return err
	}
	if (data.Type == StageEmail) != (found.Medium == "email") {
		return matrix.NewError(http.StatusUnauthorized, matrix.ErrThreepidAuthFailed, "auth: the validated address is of another kind")
	}
	data.validated = found
	return nil
}

func (i *Interactive) checkPassword(ctx context.Context, ch Challenge, data *authData) error {
	if data.Password == nil {
		return matrix.MissingParam("auth: password is missing")
	}
	id := data.Identifier
	if id == nil {
		id = LegacyIdentifier(data.User, data.Medium, data.Address)
	}
	if id == nil {
		id = &Identifier{Type: "m.id.user", User: string(ch.User)}
	}
	// Before the password is looked at: the answer does not say whether it is somebody else's, nor whether there is somebody else.
	named, err := i.accounts.Named(ctx, id)
	if err != nil {
		return err
	}
	if named != ch.User {
		return errSomebodyElse
	}
	user, err := i.accounts.VerifyPassword(ctx, id, *data.Password, ch.Address)
	if err != nil {
		return err
	}
	if user.UserID != ch.User {
		return wrongPassword()
	}
	return nil
}

// errSomebodyElse answers who proves to be another user than the one whose access token it is: no further attempt in the session can
// mend that, so it is not asked for.
var errSomebodyElse = matrix.Forbidden("auth: the password has to be that of the user who makes the request")

// allowed reports whether the stages are the beginning of a flow.
func allowed(flows [][]string, stages []string) bool {
	return slices.ContainsFunc(flows, func(f []string) bool { return len(f) >= len(stages) && slices.Equal(f[:len(stages)], stages) })
}

func (i *Interactive) answer(ch Challenge, session store.InteractiveSession, why *matrix.Error) any {
	body := challengeBody{Completed: session.Completed, Session: session.SessionID}
	for _, stages := range ch.Flows {
		body.Flows = append(body.Flows, flow{Stages: stages})
	}
	if why != nil {
		body.Code, body.Message = why.Code, why.Message
	}
	return httpapi.Status{Code: http.StatusUnauthorized, Body: body}
}

func (i *Interactive) now() matrix.Timestamp { return matrix.TimestampOf(i.clock.Now()) }
