package mediaapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/roomserver"
)

// policies are what an organisation may decide for itself, and how a decision is checked. What it returns is stored.
var policies = map[string]func(body []byte) (any, error){
	PolicyName:                    whole(ParsePolicy),
	roomserver.DeletionPolicyName: whole(roomserver.ParseDeletionPolicy),
}

// whole refuses fields that nobody reads: a decision with a slip of the pen would be none.
func whole[T any](parse func([]byte) (T, error)) func([]byte) (any, error) {
	return func(body []byte) (any, error) {
		policy, err := parse(body)
		if err != nil {
			return nil, err
		}
		decoder := json.NewDecoder(bytes.NewReader(body))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(new(T)); err != nil {
			return nil, matrix.BadJSON("%s", strings.TrimPrefix(err.Error(), "json: "))
		}
		return policy, nil
	}
}

// policyOf is the policy that the path names.
func policyOf(c *httpapi.Call) (name string, parse func([]byte) (any, error), err error) {
	name = c.Path("name")
	if parse = policies[name]; parse == nil {
		return "", nil, matrix.NotFound("there is no such policy")
	}
	return name, parse, nil
}

// getPolicy returns what the organisation has decided; what is missing is as the configuration has it.
func (s *Server) getPolicy(ctx context.Context, c *httpapi.Call) (any, error) {
	name, _, err := policyOf(c)
	if err != nil {
		return nil, err
	}
	value, err := s.cfg.Store.GetPolicy(ctx, c.Requester.Org, name)
	if err != nil {
		return nil, fmt.Errorf("load the policy %s: %w", name, err)
	}
	if value == nil {
		value = []byte("{}")
	}
	return httpapi.Raw(value), nil
}

// putPolicy decides, in place of what was decided before.
func (s *Server) putPolicy(ctx context.Context, c *httpapi.Call) (any, error) {
	name, parse, err := policyOf(c)
	if err != nil {
		return nil, err
	}
	if len(c.Body) == 0 {
		return nil, matrix.NotJSON("the body is empty; a JSON object is expected")
	}
	policy, err := parse(c.Body)
	if err != nil {
		return nil, err
	}
	value, err := json.Marshal(policy)
	if err != nil {
		return nil, err
	}
	if err := s.cfg.Store.PutPolicy(ctx, c.Requester.Org, name, value); err != nil {
		return nil, fmt.Errorf("store the policy %s: %w", name, err)
	}
	return nil, nil
}

// deletePolicy takes the organisation's decisions back.
func (s *Server) deletePolicy(ctx context.Context, c *httpapi.Call) (any, error) {
	name, _, err := policyOf(c)
	if err != nil {
		return nil, err
	}
	return nil, s.cfg.Store.PutPolicy(ctx, c.Requester.Org, name, nil)
}
