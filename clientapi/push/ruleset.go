package push

import (
	"encoding/json"
	"slices"

	"github.com/roomline/roomline/internal/matrix"
)

// The kinds of rules, in the order in which they are looked at.
const (
	kindOverride  = "override"
	kindContent   = "content"
	kindRoom      = "room"
	kindSender    = "sender"
	kindUnderride = "underride"
)

var kinds = []string{kindOverride, kindContent, kindRoom, kindSender, kindUnderride}

// Rule is a push rule as clients see it.
//
// Spec: client-server v1.19 §push-rules
type Rule struct {
	RuleID  string `json:"rule_id"`
	Default bool   `json:"default"`
	Enabled bool   `json:"enabled"`
	// Conditions are there for override and underride rules, Pattern for content rules.
	Conditions []json.RawMessage `json:"conditions,omitzero"`
	Pattern    *string           `json:"pattern,omitempty"`
	Actions    []json.RawMessage `json:"actions"`
}

// Ruleset is the rules of a user, each kind in the order of importance.
type Ruleset struct {
	Override  []Rule `json:"override"`
	Content   []Rule `json:"content"`
	Room      []Rule `json:"room"`
	Sender    []Rule `json:"sender"`
	Underride []Rule `json:"underride"`
}

// list is the rules of a kind, nil if there is no such kind.
func (s *Ruleset) list(kind string) *[]Rule {
	switch kind {
	case kindOverride:
		return &s.Override
	case kindContent:
		return &s.Content
	case kindRoom:
		return &s.Room
	case kindSender:
		return &s.Sender
	case kindUnderride:
		return &s.Underride
	}
	return nil
}

// find returns the rule of a kind, or nil.
func (s *Ruleset) find(kind, id string) *Rule {
	list := s.list(kind)
	if list == nil {
		return nil
	}
	if i := index(*list, id); i >= 0 {
		return &(*list)[i]
	}
	return nil
}

func index(list []Rule, id string) int {
	return slices.IndexFunc(list, func(r Rule) bool { return r.RuleID == id })
}

// own counts the rules that the user made.
func (s *Ruleset) own() int {
	n := 0
	for _, kind := range kinds {
		for _, r := range *s.list(kind) {
			if !r.Default {
				n++
			}
		}
	}
	return n
}

// content is what is kept of a user's rules: the content of the account data m.push_rules.
type content struct {
	Global *Ruleset `json:"global"`
}

// Parse returns the rules of a user from the content of m.push_rules, which is empty for a user who never changed any. Predefined
// rules that came later are added, those that are no more are left out.
func Parse(user matrix.UserID, body []byte) (*Ruleset, error) {
	set := defaults(user)
	if len(body) == 0 {
		return set, nil
	}
	var kept content
	if err := json.Unmarshal(body, &kept); err != nil {
		return nil, err
	}
	if kept.Global == nil {
		return set, nil
	}
	for _, kind := range kinds {
		list := set.list(kind)
		var made []Rule
		for _, r := range *kept.Global.list(kind) {
			if !r.Default {
				made = append(made, r)
			} else if i := index(*list, r.RuleID); i >= 0 {
				(*list)[i].Enabled, (*list)[i].Actions = r.Enabled, r.Actions
			}
		}
		*list = slices.Insert(*list, firstOwn(*list), made...)
	}
	return set, nil
}

// firstOwn is the place of the most important rule that a user can make: only the master rule is before it.
func firstOwn(list []Rule) int {
	if len(list) > 0 && list[0].RuleID == ruleMaster {
		return 1
	}
	return 0
}

// Content is the content of the account data m.push_rules, with the predefined rules as they are now, for a user who never changed
// any too.
func Content(user matrix.UserID, body []byte) ([]byte, error) {
	set, err := Parse(user, body)
	if err != nil {
		return nil, err
	}
	return json.Marshal(content{set})
}
