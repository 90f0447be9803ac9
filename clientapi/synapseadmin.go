package clientapi

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// Registration with a shared secret, as tools of the Matrix world know it: ask for a nonce, then send the account with an
// HMAC-SHA1 over nonce, user name, password and "admin" or "notadmin" (and the user type, if any), with NUL between them.
//
// SHA-1 is what those tools compute. In an HMAC it is still sound.

type nonceResponse struct {
	Nonce string `json:"nonce"`
}

// getRegistrationNonce gives out a nonce for one registration within limits.RegistrationNonce.
func (s *Server) getRegistrationNonce(ctx context.Context, c *httpapi.Call) (any, error) {
	if s.cfg.Registration.SharedSecret == "" {
		return nil, matrix.Unrecognized()
	}
	random := make([]byte, 32)
	if _, err := io.ReadFull(s.rand, random); err != nil {
		return nil, fmt.Errorf("read random bytes: %w", err)
	}
	nonce := base64.RawURLEncoding.EncodeToString(random)
	now := s.clock.Now()
	err := s.store.InsertRegistrationNonce(ctx, nonce, matrix.TimestampOf(now), matrix.TimestampOf(now.Add(limits.RegistrationNonce)))
	if err != nil {
		return nil, fmt.Errorf("store a registration nonce: %w", err)
	}
	return nonceResponse{nonce}, nil
}

type secretRegisterRequest struct {
	Nonce       string `json:"nonce"`
	Username    string `json:"username"`
	DisplayName string `json:"displayname"`
	Password    string `json:"password"`
	Admin       bool   `json:"admin"`
	UserType    string `json:"user_type"`
	MAC         string `json:"mac"`
}

// registerWithSecret makes an account for somebody who knows the shared secret, and signs it in.
func (s *Server) registerWithSecret(ctx context.Context, c *httpapi.Call, req *secretRegisterRequest) (any, error) {
	if s.cfg.Registration.SharedSecret == "" {
		return nil, matrix.Unrecognized()
	}
	for name, value := range map[string]string{"nonce": req.Nonce, "username": req.Username, "password": req.Password, "mac": req.MAC} {
		if value == "" {
			return nil, matrix.MissingParam("%s is missing", name)
		}
	}
	fresh, err := s.store.DeleteRegistrationNonce(ctx, req.Nonce, s.now())
	if err != nil {
		return nil, fmt.Errorf("use a registration nonce: %w", err)
	}
	if !fresh {
		return nil, matrix.NewError(http.StatusBadRequest, matrix.ErrUnknown, "nonce is unknown, expired or used")
	}
	if !hmac.Equal(req.mac(s.cfg.Registration.SharedSecret), []byte(strings.ToLower(req.MAC))) {
		return nil, matrix.Forbidden("mac does not match")
	}
	role := httpapi.RoleNone
	if req.Admin {
		role = httpapi.RoleOwner
	}
	account := auth.NewAccount{Localpart: req.Username, Password: req.Password, DisplayName: req.DisplayName, Role: role}
	// A user id, which is no localpart, names the domain as well, where there are several.
	if strings.HasPrefix(req.Username, "@") {
		id, err := matrix.ParseUserID(req.Username)
		if err != nil {
			return nil, matrix.InvalidUsername("username is not a user id")
		}
		account.Localpart, account.Domain = id.Localpart(), id.Domain()
	}
	user, err := s.accounts.Create(ctx, account)
	if err != nil {
		return nil, err
	}
	if err := s.noteCreation(ctx, c, user, "shared_secret"); err != nil {
		return nil, err
	}
	return s.signIn(ctx, c, user, "", &deviceRequest{})
}

// mac is the code that the request has to carry, in hexadecimal.
func (r *secretRegisterRequest) mac(secret string) []byte {
	role := "notadmin"
	if r.Admin {
		role = "admin"
	}
	parts := []string{r.Nonce, r.Username, r.Password, role}
	if r.UserType != "" {
		parts = append(parts, r.UserType)
	}
	h := hmac.New(sha1.New, []byte(secret))
	io.WriteString(h, strings.Join(parts, "\x00"))
	return hex.AppendEncode(nil, h.Sum(nil))
}

// noteCreation writes into the audit log of an account's organisation who has made it.
func (s *Server) noteCreation(ctx context.Context, c *httpapi.Call, user matrix.UserID, actor string) error {
	account, err := s.store.GetUser(ctx, user)
	if err != nil {
		return fmt.Errorf("look up %s: %w", user, err)
	}
	return s.store.AppendAudit(ctx, store.AuditEntry{
		OrganisationID: account.OrganisationID, TS: s.now(), Actor: actor, IP: c.ClientAddr(), Action: "account.create", Target: string(user),
	})
}
