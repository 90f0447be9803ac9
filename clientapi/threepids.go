package clientapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/clientapi/verify"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// The addresses of an account. With one of them its owner signs in, sets a forgotten password anew, and is found by colleagues; so whoever adds
// one has to prove both the address and the password. This server is its own identity server: an address of an account is found by those who
// may see the person (clientapi/identity), and nothing has to be bound for it.
//
// Spec: client-server v1.19 §adding-account-administrative-contact-information

type threePID struct {
	Medium      string           `json:"medium"`
	Address     string           `json:"address"`
	ValidatedAt matrix.Timestamp `json:"validated_at"`
	AddedAt     matrix.Timestamp `json:"added_at"`
}

type threePIDsResponse struct {
	ThreePIDs []threePID `json:"threepids"`
}

// getAccount3PIDs lists the addresses of the account.
//
// Spec: client-server v1.19 §adding-account-administrative-contact-information, GET /_matrix/client/v3/account/3pid
func (s *Server) getAccount3PIDs(ctx context.Context, c *httpapi.Call) (any, error) {
	list, err := s.store.ListThreePIDs(ctx, c.Requester.User)
	if err != nil {
		return nil, fmt.Errorf("list the addresses of %s: %w", c.Requester.User, err)
	}
	answer := threePIDsResponse{ThreePIDs: []threePID{}}
	for _, t := range list {
		answer.ThreePIDs = append(answer.ThreePIDs, threePID{t.Medium, t.Address, t.ValidatedTS, t.AddedTS})
	}
	return answer, nil
}

// mayChangeThreePIDs refuses where addresses are the organisation's to say.
func (s *Server) mayChangeThreePIDs(ctx context.Context, who *httpapi.Requester) error {
	allowed, err := s.changesThreePIDs(ctx, who)
	if err == nil && !allowed {
		err = matrix.NewError(http.StatusForbidden, matrix.ErrForbidden, "the addresses of this account are kept by the organisation")
	}
	return err
}

// changesThreePIDs reports whether the requester may add and remove addresses.
func (s *Server) changesThreePIDs(ctx context.Context, who *httpapi.Requester) (bool, error) {
	if who.Guest || s.cfg.MayChangeThreePIDs == nil {
		return false, nil
	}
	return s.cfg.MayChangeThreePIDs(ctx, who.Org, who.User)
}

// validatedFor returns the validation that somebody comes with, if it is one of theirs for one of the purposes.
func (s *Server) validatedFor(ctx context.Context, user matrix.UserID, sid, secret string, purposes ...verify.Purpose) (store.Validation, error) {
	if sid == "" || secret == "" {
		return store.Validation{}, matrix.MissingParam("sid and client_secret are needed")
	}
	var why error
	for _, purpose := range purposes {
		found, err := s.verifier.Get(ctx, sid, secret, purpose)
		mine := found.UserID == "" || found.UserID == user
		if err == nil && mine {
			return found, nil
		}
		e, refused := matrix.AsError(err)
		if err != nil && !refused {
			return store.Validation{}, err
		}
		// The answer of the purpose that the validation has says more than that of the others.
		if found.SID != "" && mine {
			return store.Validation{}, authFailed(e)
		}
		why = authFailed(nil)
	}
	return store.Validation{}, why
}

func authFailed(why *matrix.Error) *matrix.Error {
	detail := "there is no such validation"
	if why != nil {
		detail = why.Message
	}
	return matrix.NewError(http.StatusForbidden, matrix.ErrThreepidAuthFailed, "the address is not validated: %s", detail)
}

// giveThreePID adds a validated address to the requester's account, and uses the validation up.
func (s *Server) giveThreePID(ctx context.Context, c *httpapi.Call, found store.Validation) error {
	who, now := c.Requester, s.now()
	err := s.store.Write(ctx, func(tx *store.Tx) error {
		if err := s.verifier.Use(ctx, tx, found); err != nil {
			return authFailed(nil)
		}
		u, err := tx.LockUser(ctx, who.User)
		if err != nil {
			return err
		}
		if u.Deactivated() {
			return matrix.Forbidden("the account is closed")
		}
		given, err := tx.InsertThreePID(ctx, store.ThreePID{OrganisationID: u.OrganisationID, Medium: found.Medium, Address: found.Address,
			UserID: u.UserID, AddedTS: now, ValidatedTS: found.ValidatedTS})
		if err != nil {
			return err
		}
		if !given {
			return threePIDInUse()
		}
		return tx.AppendAudit(ctx, s.threePIDEntry(c, "account.threepid.add", found.Medium))
	})
	if err != nil {
		return fmt.Errorf("add an address to %s: %w", who.User, err)
	}
	return nil
}

// threePIDEntry is what the audit log is told of a change: of what kind the address is, not which.
func (s *Server) threePIDEntry(c *httpapi.Call, action, medium string) store.AuditEntry {
	detail, _ := json.Marshal(map[string]string{"medium": medium}) // of strings, and so without an error
	return store.AuditEntry{OrganisationID: c.Requester.Org, TS: s.now(), Actor: c.Requester.Actor(), IP: c.ClientAddr(), Action: action,
		Target: string(c.Requester.User), Detail: detail}
}

func threePIDInUse() *matrix.Error {
	return matrix.NewError(http.StatusBadRequest, matrix.ErrThreepidInUse, "the address belongs to an account already")
}

type add3PIDRequest struct {
	SID          string          `json:"sid"`
	ClientSecret string          `json:"client_secret"`
	Auth         json.RawMessage `json:"auth"`
}

// add3PID adds an address that was validated to the account.
//
// Spec: client-server v1.19 §adding-account-administrative-contact-information, POST /_matrix/client/v3/account/3pid/add
func (s *Server) add3PID(ctx context.Context, c *httpapi.Call, req *add3PIDRequest) (any, error) {
	if err := s.mayChangeThreePIDs(ctx, c.Requester); err != nil {
		return nil, err
	}
	if req.SID == "" || req.ClientSecret == "" {
		return nil, matrix.MissingParam("sid and client_secret are needed")
	}
	proof, answer, err := s.confirm(ctx, c, "POST /account/3pid/add "+req.SID, req.Auth)
	if proof == nil {
		return answer, err
	}
	found, err := s.validatedFor(ctx, c.Requester.User, req.SID, req.ClientSecret, verify.Add)
	if err != nil {
		return nil, err
	}
	return nil, s.giveThreePID(ctx, c, found)
}

type threePIDCredentials struct {
	ClientSecret  string `json:"client_secret"`
	IDServer      string `json:"id_server"`
	IDAccessToken string `json:"id_access_token"`
	SID           string `json:"sid"`
}

type post3PIDsRequest struct {
	Credentials *threePIDCredentials `json:"three_pid_creds"`
	Auth        json.RawMessage      `json:"auth"`
}

// post3PIDs is the older form of bind3PID.
//
// Spec: client-server v1.19 §adding-account-administrative-contact-information, POST /_matrix/client/v3/account/3pid
func (s *Server) post3PIDs(ctx context.Context, c *httpapi.Call, req *post3PIDsRequest) (any, error) {
	if req.Credentials == nil {
		return nil, matrix.MissingParam("three_pid_creds is missing")
	}
	return s.bind(ctx, c, req.Credentials, req.Auth, verify.Bind, verify.Add)
}

type bind3PIDRequest struct {
	threePIDCredentials
	Auth json.RawMessage `json:"auth"`
}

// bind3PID makes an address that was validated with the identity service one by which the account is found.
//
// Spec: client-server v1.19 §adding-account-administrative-contact-information, POST /_matrix/client/v3/account/3pid/bind
func (s *Server) bind3PID(ctx context.Context, c *httpapi.Call, req *bind3PIDRequest) (any, error) {
	if req.IDAccessToken == "" {
		return nil, matrix.MissingParam("id_access_token is missing")
	}
	return s.bind(ctx, c, &req.threePIDCredentials, req.Auth, verify.Bind)
}

// bind is bind3PID.
//
// Differs: the spec asks for no password. Here an address by which an account is found also opens it, so that one the account does not have
// yet takes the same proof as POST /account/3pid/add. One that it has is bound already.
func (s *Server) bind(ctx context.Context, c *httpapi.Call, creds *threePIDCredentials, data json.RawMessage, purposes ...verify.Purpose) (any, error) {
	if creds.IDServer == "" {
		return nil, matrix.MissingParam("id_server is missing")
	}
	if err := s.checkIDServer(c.Requester, creds.IDServer); err != nil {
		return nil, err
	}
	found, err := s.validatedFor(ctx, c.Requester.User, creds.SID, creds.ClientSecret, purposes...)
	if err != nil {
		return nil, err
	}
	owner, err := s.store.GetThreePIDOwner(ctx, c.Requester.Org, found.Medium, found.Address)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("look up the owner of an address: %w", err)
	}
	if owner != c.Requester.User {
		if err := s.mayChangeThreePIDs(ctx, c.Requester); err != nil {
			return nil, err
		}
		proof, answer, err := s.confirm(ctx, c, "POST /account/3pid/bind "+creds.SID, data)
		if proof == nil {
			return answer, err
		}
	}
	return nil, s.giveThreePID(ctx, c, found)
}

// checkIDServer refuses identity servers that are not this one.
func (s *Server) checkIDServer(who *httpapi.Requester, idServer string) error {
	if idServer == "" || s.isIDServer(who, idServer) {
		return nil
	}
	return matrix.NewError(http.StatusBadRequest, matrix.ErrServerNotTrusted, "id_server: this server trusts no other identity server than itself")
}

// isIDServer reports whether a name is one of this server: that of its base URL, its own, or the requester's. Which other domains are hosted here
// is told to nobody.
func (s *Server) isIDServer(who *httpapi.Requester, name string) bool {
	name = strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(name, "https://"), "http://"), "/"))
	_, host, _ := strings.Cut(strings.ToLower(strings.TrimSuffix(s.cfg.WellKnown.BaseURL, "/")), "://")
	return name != "" && (name == host || name == string(s.accounts.DefaultDomain()) || who != nil && name == string(who.User.Domain()))
}

type remove3PIDRequest struct {
	IDServer string `json:"id_server"`
	Medium   string `json:"medium"`
	Address  string `json:"address"`
}

type unbindResponse struct {
	Result string `json:"id_server_unbind_result"`
}

// What became of an address at an identity server.
const (
	unbound      = "success"
	notSupported = "no-support"
)

func (r *remove3PIDRequest) canonical() (string, error) {
	if r.Medium != "email" && r.Medium != "msisdn" {
		return "", matrix.InvalidParam("medium must be email or msisdn")
	}
	if address, ok := auth.CanonicalAddress(r.Medium, r.Address, ""); ok {
		return address, nil
	}
	if r.Address == "" || len(r.Address) > limits.Mailbox {
		return "", matrix.InvalidParam("address must have 1 to %d bytes", limits.Mailbox)
	}
	// A directory may have given the account what nothing can be sent to.
	return r.Address, nil
}

// delete3PID takes an address from the account. Nobody finds the account by it any more.
//
// Spec: client-server v1.19 §adding-account-administrative-contact-information, POST /_matrix/client/v3/account/3pid/delete
func (s *Server) delete3PID(ctx context.Context, c *httpapi.Call, req *remove3PIDRequest) (any, error) {
	address, err := req.canonical()
	if err != nil {
		return nil, err
	}
	if err := s.mayChangeThreePIDs(ctx, c.Requester); err != nil {
		return nil, err
	}
	err = s.store.Write(ctx, func(tx *store.Tx) error {
		deleted, err := tx.DeleteThreePID(ctx, c.Requester.User, req.Medium, address)
		if err != nil || !deleted {
			return err
		}
		return tx.AppendAudit(ctx, s.threePIDEntry(c, "account.threepid.delete", req.Medium))
	})
	if err != nil {
		return nil, fmt.Errorf("take an address from %s: %w", c.Requester.User, err)
	}
	if req.IDServer != "" && !s.isIDServer(c.Requester, req.IDServer) {
		return unbindResponse{notSupported}, nil
	}
	return unbindResponse{unbound}, nil
}

// unbind3PID says that an address stays one by which the account is found, as long as the account has it: who sees whom is the
// organisation's to say. delete3PID ends both.
//
// Spec: client-server v1.19 §adding-account-administrative-contact-information, POST /_matrix/client/v3/account/3pid/unbind
func (s *Server) unbind3PID(ctx context.Context, c *httpapi.Call, req *remove3PIDRequest) (any, error) {
	address, err := req.canonical()
	if err != nil {
		return nil, err
	}
	owner, err := s.store.GetThreePIDOwner(ctx, c.Requester.Org, req.Medium, address)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("look up the owner of an address: %w", err)
	}
	if owner == c.Requester.User {
		return unbindResponse{notSupported}, nil
	}
	return unbindResponse{unbound}, nil
}
