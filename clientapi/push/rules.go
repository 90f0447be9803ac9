package push

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// TypeRules is the account data that holds a user's push rules.
const TypeRules = "m.push_rules"

// GetAll returns all push rules of the user.
//
// Spec: client-server v1.19 §push-rules-api, GET /_matrix/client/v3/pushrules/
func (s *Server) GetAll(ctx context.Context, c *httpapi.Call) (any, error) {
	set, _, err := s.ruleset(ctx, c.Requester.User)
	return content{set}, err
}

// GetGlobal returns the rules that hold for all devices of the user, which are all.
//
// Spec: client-server v1.19 §push-rules-api, GET /_matrix/client/v3/pushrules/global/
func (s *Server) GetGlobal(ctx context.Context, c *httpapi.Call) (any, error) {
	set, _, err := s.ruleset(ctx, c.Requester.User)
	return set, err
}

// GetRule returns one rule.
//
// Spec: client-server v1.19 §push-rules-api, GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}
func (s *Server) GetRule(ctx context.Context, c *httpapi.Call) (any, error) {
	return s.rule(ctx, c)
}

// GetEnabled tells whether a rule is enabled.
//
// Spec: client-server v1.19 §push-rules-api, GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled
func (s *Server) GetEnabled(ctx context.Context, c *httpapi.Call) (any, error) {
	r, err := s.rule(ctx, c)
	if err != nil {
		return nil, err
	}
	return map[string]bool{"enabled": r.Enabled}, nil
}

// GetActions returns the actions of a rule.
//
// Spec: client-server v1.19 §push-rules-api, GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions
func (s *Server) GetActions(ctx context.Context, c *httpapi.Call) (any, error) {
	r, err := s.rule(ctx, c)
	if err != nil {
		return nil, err
	}
	return map[string]any{"actions": r.Actions}, nil
}

type ruleRequest struct {
	Actions    *[]json.RawMessage `json:"actions"`
	Conditions []json.RawMessage  `json:"conditions"`
	Pattern    *string            `json:"pattern"`
}

// PutRule makes or changes a rule of the user's own.
//
// Spec: client-server v1.19 §push-rules-api, PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}
func (s *Server) PutRule(ctx context.Context, c *httpapi.Call, req *ruleRequest) (any, error) {
	kind, id, err := ruleName(c)
	if err != nil {
		return nil, err
	}
	made := Rule{RuleID: id, Enabled: true}
	if err := req.check(kind, &made); err != nil {
		return nil, err
	}
	before, after := c.Query("before"), c.Query("after")
	return nil, s.change(ctx, c.Requester.User, func(set *Ruleset) error {
		list := set.list(kind)
		at := firstOwn(*list)
		if i := index(*list, id); i >= 0 {
			made.Enabled = (*list)[i].Enabled
			*list = slices.Delete(*list, i, i+1)
			at = i
		} else if set.own() >= limits.PushRules {
			return matrix.TooLarge("you have %d push rules; more are not possible", limits.PushRules)
		}
		if at, err = place(*list, at, before, after); err != nil {
			return err
		}
		*list = slices.Insert(*list, at, made)
		return nil
	})
}

// place is where a rule goes: where it would stand by itself, or beside the rule that the client names.
func place(list []Rule, at int, before, after string) (int, error) {
	name := before
	if name == "" {
		name = after
	}
	if name == "" {
		return at, nil
	}
	i := index(list, name)
	if i < 0 || list[i].Default {
		return 0, matrix.NewError(http.StatusBadRequest, matrix.ErrUnknown, "before/after rule not found")
	}
	if before == "" {
		i++
	}
	return i, nil
}

// check puts what the request says into the rule.
func (req *ruleRequest) check(kind string, r *Rule) error {
	id := r.RuleID
	switch {
	case strings.HasPrefix(id, "."):
		return matrix.InvalidParam("ruleId must not begin with a dot: such rules are the server's")
	case strings.ContainsAny(id, `/\`):
		return matrix.InvalidParam("ruleId must not contain slashes or backslashes")
	case id == "" || len(id) > limits.PushRuleID:
		return matrix.InvalidParam("ruleId must have 1 to %d bytes", limits.PushRuleID)
	case req.Actions == nil:
		return matrix.MissingParam("actions is missing")
	}
	var err error
	if r.Actions, err = checkActions(*req.Actions); err != nil {
		return err
	}
	switch kind {
	case kindContent:
		if req.Pattern == nil {
			return matrix.MissingParam("a content rule needs a pattern")
		}
		if len(*req.Pattern) > limits.PushPattern {
			return matrix.InvalidParam("pattern must not be longer than %d bytes", limits.PushPattern)
		}
		r.Pattern = req.Pattern
	case kindOverride, kindUnderride:
		r.Conditions = append([]json.RawMessage{}, req.Conditions...)
		return checkConditions(r.Conditions)
	}
	return nil
}

func checkConditions(list []json.RawMessage) error {
	if len(list) > limits.PushConditions {
		return matrix.InvalidParam("conditions must not have more than %d entries", limits.PushConditions)
	}
	for _, raw := range list {
		c := gjson.ParseBytes(raw)
		switch {
		case !c.IsObject():
			return matrix.InvalidParam("conditions must be objects")
		case c.Get("kind").Type != gjson.String:
			return matrix.MissingParam("a condition has no kind")
		case len(raw) > limits.PushCondition || len(c.Get("pattern").String()) > limits.PushPattern:
			return matrix.InvalidParam("a condition is too long")
		}
	}
	return nil
}

// checkActions refuses what is no action. dont_notify and coalesce, which mean nothing any more, are kept for the clients that sent
// them.
//
// Spec: client-server v1.19 §actions
func checkActions(list []json.RawMessage) ([]json.RawMessage, error) {
	kept := []json.RawMessage{}
	for _, raw := range list {
		a := gjson.ParseBytes(raw)
		switch {
		case a.Type == gjson.String && slices.Contains([]string{"notify", "dont_notify", "coalesce"}, a.String()):
		case a.IsObject() && a.Get("set_tweak").Type == gjson.String && a.Get("set_tweak").String() != "":
		default:
			return nil, matrix.InvalidParam("actions must be notify or objects with set_tweak")
		}
		if kept = append(kept, raw); len(raw) > limits.PushCondition || len(kept) > limits.PushConditions {
			return nil, matrix.InvalidParam("actions are too long or too many")
		}
	}
	return kept, nil
}

// DeleteRule removes a rule of the user's own.
//
// Spec: client-server v1.19 §push-rules-api, DELETE /_matrix/client/v3/pushrules/global/{kind}/{ruleId}
func (s *Server) DeleteRule(ctx context.Context, c *httpapi.Call) (any, error) {
	kind, id, err := ruleName(c)
	if err != nil {
		return nil, err
	}
	return nil, s.change(ctx, c.Requester.User, func(set *Ruleset) error {
		r := set.find(kind, id)
		switch {
		case r == nil:
			return errNoRule()
		case r.Default:
			return matrix.InvalidParam("the server's own rules can be disabled, not removed")
		}
		list := set.list(kind)
		*list = slices.DeleteFunc(*list, func(r Rule) bool { return r.RuleID == id })
		return nil
	})
}

type enabledRequest struct {
	Enabled *bool `json:"enabled"`
}

// PutEnabled enables or disables a rule.
//
// Spec: client-server v1.19 §push-rules-api, PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled
func (s *Server) PutEnabled(ctx context.Context, c *httpapi.Call, req *enabledRequest) (any, error) {
	if req.Enabled == nil {
		return nil, matrix.MissingParam("enabled is missing")
	}
	return nil, s.changeRule(ctx, c, func(r *Rule) { r.Enabled = *req.Enabled })
}

type actionsRequest struct {
	Actions *[]json.RawMessage `json:"actions"`
}

// PutActions sets the actions of a rule.
//
// Spec: client-server v1.19 §push-rules-api, PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions
func (s *Server) PutActions(ctx context.Context, c *httpapi.Call, req *actionsRequest) (any, error) {
	if req.Actions == nil {
		return nil, matrix.MissingParam("actions is missing")
	}
	actions, err := checkActions(*req.Actions)
	if err != nil {
		return nil, err
	}
	return nil, s.changeRule(ctx, c, func(r *Rule) { r.Actions = actions })
}

func errNoRule() error { return matrix.NotFound("the push rule was not found") }

// ruleName is the kind and id of the path.
func ruleName(c *httpapi.Call) (kind, id string, err error) {
	kind, id = c.Path("kind"), c.Path("ruleId")
	if !slices.Contains(kinds, kind) {
		return "", "", matrix.InvalidParam("kind must be override, content, room, sender or underride")
	}
	return kind, id, nil
}

// rule finds the rule of the path. Of a kind that does not exist there is none.
func (s *Server) rule(ctx context.Context, c *httpapi.Call) (*Rule, error) {
	kind, id, err := ruleName(c)
	if err != nil {
		return nil, errNoRule()
	}
	set, _, err := s.ruleset(ctx, c.Requester.User)
	if err != nil {
		return nil, err
	}
	if r := set.find(kind, id); r != nil {
		return r, nil
	}
	return nil, errNoRule()
}

func (s *Server) changeRule(ctx context.Context, c *httpapi.Call, f func(r *Rule)) error {
	kind, id, err := ruleName(c)
	if err != nil {
		return err
	}
	return s.change(ctx, c.Requester.User, func(set *Ruleset) error {
		r := set.find(kind, id)
		if r == nil {
			return errNoRule()
		}
		f(r)
		return nil
	})
}

// ruleset reads the rules of a user, and the position of what they were read from (store.ReplacesNone if nothing is kept).
func (s *Server) ruleset(ctx context.Context, user matrix.UserID) (*Ruleset, int64, error) {
	kept, err := s.cfg.Store.GetUpdate(ctx, store.KindAccountData, 0, user, TypeRules)
	if errors.Is(err, store.ErrNotFound) {
		kept.Position = store.ReplacesNone
	} else if err != nil {
		return nil, 0, fmt.Errorf("read push rules: %w", err)
	}
	set, err := Parse(user, kept.Body)
	if err != nil {
		return nil, 0, fmt.Errorf("push rules of %s: %w", user, err)
	}
	return set, kept.Position, nil
}

// changeAttempts bounds how often a change is made again because another device changed the rules at the same time.
const changeAttempts = 20

// change makes a change to the rules of a user. It is made from the rules as they are when it is stored.
func (s *Server) change(ctx context.Context, user matrix.UserID, f func(set *Ruleset) error) error {
	for range changeAttempts {
		set, position, err := s.ruleset(ctx, user)
		if err != nil {
			return err
		}
		if err := f(set); err != nil {
			return err
		}
		body, err := json.Marshal(content{set})
		if err != nil {
			return err
		}
		if len(body) > limits.PushRulesBytes {
			return matrix.TooLarge("your push rules would be larger than %d bytes", limits.PushRulesBytes)
		}
		stored, err := s.cfg.Journal.Replace(ctx, store.Update{
			Kind: store.KindAccountData, UserID: user, Key: TypeRules, Body: body, Replaces: position,
		})
		if err != nil {
			return fmt.Errorf("store push rules: %w", err)
		}
		if stored[0] {
			return nil
		}
	}
	return matrix.LimitExceeded(0)
}

// CopyRoomRules gives the user's rules about a room to the room that takes its place.
//
// Spec: client-server v1.19 §server-behaviour, of room upgrades: push rules may be carried over
func (s *Server) CopyRoomRules(ctx context.Context, user matrix.UserID, from, to matrix.RoomID) error {
	set, _, err := s.ruleset(ctx, user)
	if err != nil || !copyRoomRules(set, from, to) {
		return err
	}
	return s.change(ctx, user, func(set *Ruleset) error {
		copyRoomRules(set, from, to)
		return nil
	})
}

// copyRoomRules reports whether there was anything to copy.
func copyRoomRules(set *Ruleset, from, to matrix.RoomID) (copied bool) {
	if r := set.find(kindRoom, string(from)); r != nil && set.find(kindRoom, string(to)) == nil {
		again := *r
		again.RuleID = string(to)
		set.Room = slices.Insert(set.Room, 0, again)
		copied = true
	}
	for i := len(set.Override) - 1; i >= 0; i-- {
		r := set.Override[i]
		room, ok := aboutRoom(&r)
		id := strings.ReplaceAll(r.RuleID, string(from), string(to))
		if id == r.RuleID {
			id = string(to)
		}
		if !ok || r.Default || room != from || set.find(kindOverride, id) != nil {
			continue
		}
		condition, _ := json.Marshal(map[string]string{"kind": "event_match", "key": "room_id", "pattern": string(to)})
		r.RuleID = id
		r.Conditions = []json.RawMessage{condition}
		set.Override = slices.Insert(set.Override, i, r)
		copied = true
	}
	return copied
}
