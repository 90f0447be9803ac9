package admin

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

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
