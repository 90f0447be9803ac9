package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/ratelimit"
	"github.com/roomline/roomline/internal/store"
)

// Policy is something that an organisation may decide for itself. The package that heeds it says how a decision is checked, and what holds where
// there is none; the registry of all is put together in cmd/roomline.
type Policy struct {
	// Name is what the decision is called, Summary what it is about.
	Name, Summary string
	// Parse checks a decision. What it returns is stored.
	Parse func(body []byte) (any, error)
	// Decided is called in the transaction in which a decision is stored, or taken back, with what was stored and will be; nil where there is nothing. It may
	// be nil.
	Decided func(ctx context.Context, tx *store.Tx, organisation int64, before, now []byte) error
	// Default is what holds where the organisation has decided nothing, a value of the type that Parse returns.
	Default any
}

// PolicyOf makes a Policy from a parser of the package that heeds it. Fields that nobody reads are refused: a decision with a slip of the pen
// would be none.
func PolicyOf[T any](name, summary string, parse func([]byte) (T, error), standard T) Policy {
	return Policy{Name: name, Summary: summary, Default: standard, Parse: func(body []byte) (any, error) {
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
	}}
}

func (s *Server) policyEndpoints() []endpoint {
	const one = own + "/policies/{name}"
	return []endpoint{
		{method: get, path: own + "/policies", may: administrators, handle: s.listPolicies, doc: httpapi.Doc{
			Summary: "What the organisation may decide for itself, what it has decided, and what holds otherwise.", Response: policiesResponse{}}},
		{method: get, path: one, may: administrators, handle: s.getPolicy, doc: httpapi.Doc{Summary: "A policy.", Response: policyResponse{}}},
		{method: put, path: one, may: owners, limit: ratelimit.Account, handle: s.putPolicy, doc: httpapi.Doc{
			Summary: "Decide, in place of what was decided before. The body is the value; what is missing in it is as the default has it.",
			Request: map[string]any{}, Response: policyResponse{}}},
		{method: remove, path: one, may: owners, limit: ratelimit.Account, handle: s.deletePolicy, doc: httpapi.Doc{
			Summary: "Take the organisation's decision back.", Response: policyResponse{}}},
	}
}

type policiesResponse struct {
	Policies []policyResponse `json:"policies"`
}

type policyResponse struct {
	Name    string `json:"name"`
	Summary string `json:"summary"`
	// Value is what the organisation has decided, {} if nothing.
	Value json.RawMessage `json:"value"`
	// Default is what holds where Value says nothing.
	Default any `json:"default"`
	// Fields say of what type each field of Value is.
	Fields map[string]string `json:"fields"`
}

func (s *Server) listPolicies(ctx context.Context, c *httpapi.Call) (any, error) {
	answer := policiesResponse{Policies: []policyResponse{}}
	for i := range s.cfg.Policies {
		described, err := s.describePolicy(ctx, c.Requester.Org, &s.cfg.Policies[i])
		if err != nil {
			return nil, err
		}
		answer.Policies = append(answer.Policies, described)
	}
	return answer, nil
}

// policyOf is the policy that the path names.
func (s *Server) policyOf(c *httpapi.Call) (*Policy, error) {
	for i := range s.cfg.Policies {
		if s.cfg.Policies[i].Name == c.Path("name") {
			return &s.cfg.Policies[i], nil
		}
	}
	return nil, matrix.NotFound("there is no such policy")
}

func (s *Server) describePolicy(ctx context.Context, org int64, p *Policy) (policyResponse, error) {
	value, err := s.cfg.Store.GetPolicy(ctx, org, p.Name)
	if err != nil {
		return policyResponse{}, fmt.Errorf("load the policy %s: %w", p.Name, err)
	}
	if value == nil {
		value = []byte("{}")
	}
	return policyResponse{Name: p.Name, Summary: p.Summary, Value: value, Default: p.Default, Fields: fieldsOf(reflect.TypeOf(p.Default))}, nil
}

// fieldsOf are the JSON names of a struct's fields with their types.
func fieldsOf(t reflect.Type) map[string]string {
	fields := map[string]string{}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return fields
	}
	for f := range t.Fields() {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
			fields[name] = jsonType(f.Type)
		}
	}
	return fields
}

func (s *Server) getPolicy(ctx context.Context, c *httpapi.Call) (any, error) {
	p, err := s.policyOf(c)
	if err != nil {
		return nil, err
	}
	return s.describePolicy(ctx, c.Requester.Org, p)
}

func (s *Server) putPolicy(ctx context.Context, c *httpapi.Call) (any, error) {
	p, err := s.policyOf(c)
	if err != nil {
		return nil, err
	}
	if len(c.Body) == 0 {
		return nil, matrix.NotJSON("the body is empty; a JSON object is expected")
	}
	if err := s.PutPolicy(ctx, whoOf(c), c.Requester.Org, p.Name, c.Body); err != nil {
		return nil, err
	}
	return s.describePolicy(ctx, c.Requester.Org, p)
}

func (s *Server) deletePolicy(ctx context.Context, c *httpapi.Call) (any, error) {
	p, err := s.policyOf(c)
	if err != nil {
		return nil, err
	}
	if err := s.PutPolicy(ctx, whoOf(c), c.Requester.Org, p.Name, nil); err != nil {
		return nil, err
	}
	return s.describePolicy(ctx, c.Requester.Org, p)
}

// PutPolicy stores what an organisation decides; nil takes the decision back.
func (s *Server) PutPolicy(ctx context.Context, who Who, org int64, name string, body []byte) error {
	var value []byte
	var decided func(ctx context.Context, tx *store.Tx, organisation int64, before, now []byte) error
	a := act{organisation: org, action: "policy.remove", target: name}
	for i := range s.cfg.Policies {
		if s.cfg.Policies[i].Name == name {
			decided = s.cfg.Policies[i].Decided
		}
		if p := &s.cfg.Policies[i]; p.Name == name && body != nil {
			policy, err := p.Parse(body)
			if err != nil {
				return err
			}
			if value, err = json.Marshal(policy); err != nil {
				return fmt.Errorf("encode the policy %s: %w", name, err)
			}
			a.action, a.detail = "policy.change", map[string]any{"value": policy}
		}
	}
	if body != nil && value == nil {
		return matrix.NotFound("there is no such policy")
	}
	return s.change(ctx, who, func(tx *store.Tx) (act, []store.Update, error) {
		if decided != nil {
			before, err := tx.GetPolicy(ctx, org, name)
			if err != nil {
				return act{}, nil, err
			}
			if err := decided(ctx, tx, org, before, value); err != nil {
				return act{}, nil, err
			}
		}
		return a, nil, tx.PutPolicy(ctx, org, name, value)
	})
}

// Quotas.

func (s *Server) quotaEndpoints() []endpoint {
	doc := httpapi.Doc{Summary: "How much of what an organisation may have it has. 0 is no bound.", Response: quotasResponse{}}
	return []endpoint{
		{method: get, path: own + "/quotas", may: administrators, handle: func(ctx context.Context, c *httpapi.Call) (any, error) {
			return s.quotasOf(ctx, c.Requester.Org)
		}, doc: doc},
		{method: get, path: operator + "/organisations/{organisationId}/quotas", may: operators, handle: func(ctx context.Context, c *httpapi.Call) (any, error) {
			id, err := organisationID(c)
			if err != nil {
				return nil, err
			}
			return s.quotasOf(ctx, id)
		}, doc: doc},
	}
}

type quotasResponse struct {
	People quota `json:"people"`
	Media  quota `json:"media_bytes"`
}

type quota struct {
	Used int64 `json:"used"`
	Max  int64 `json:"max"`
}

func (s *Server) quotasOf(ctx context.Context, org int64) (any, error) {
	o, err := s.cfg.Store.GetOrganisation(ctx, org)
	if errors.Is(err, store.ErrNotFound) {
		return nil, noSuchOrganisation()
	}
	if err != nil {
		return nil, fmt.Errorf("load the organisation: %w", err)
	}
	answer := quotasResponse{People: quota{Max: o.MaxPeople}}
	if answer.People.Used, err = s.cfg.Store.CountPeople(ctx, org); err != nil {
		return nil, fmt.Errorf("count the people of an organisation: %w", err)
	}
	answer.Media.Used, answer.Media.Max, err = s.cfg.MediaQuota(ctx, org)
	return answer, err
}
