// Package directory is what people of one organisation see of each other besides names and pictures: addresses, numbers, titles. An organisation decides about it in its
// policy; those who manage people see all of it, and everybody their own.
package directory

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/strictjson"
)

// PolicyName is what an organisation's decisions are called in its policies.
const PolicyName = "directory"

// Who sees a field.
const (
	Everyone = "everyone"
	// Managers are owners and those who manage people.
	Managers = "managers"
)

// Policy is what an organisation may decide. A missing field is everyone.
type Policy struct {
	// Email and Phone are who sees addresses and numbers, and finds people by them; Work titles and departments.
	Email string `json:"email,omitempty"`
	Phone string `json:"phone,omitempty"`
	Work  string `json:"work,omitempty"`
}

// DefaultPolicy is what holds where an organisation has decided nothing.
func DefaultPolicy() Policy { return Policy{Everyone, Everyone, Everyone} }

// ParsePolicy reads a policy strictly: M_BAD_JSON names the field that is wrong.
func ParsePolicy(body []byte) (Policy, error) {
	var p Policy
	if err := strictjson.Decode(body, &p); err != nil {
		return Policy{}, err
	}
	for name, value := range map[string]string{"email": p.Email, "phone": p.Phone, "work": p.Work} {
		if value != "" && value != Everyone && value != Managers {
			return Policy{}, matrix.BadJSON("%s must be %s or %s", name, Everyone, Managers)
		}
	}
	return p, nil
}

// policies are where they are read: a Store or a Tx.
type policies interface {
	GetPolicy(ctx context.Context, organisation int64, name string) ([]byte, error)
}

// Given is what somebody of an organisation sees of its other people.
func Given(ctx context.Context, from policies, org int64, manages bool) (store.Sharing, error) {
	all := store.Sharing{Name: true, Avatar: true, Email: true, Phone: true, Presence: true, PhonePresence: true, Work: true, Invite: true}
	if manages {
		return all, nil
	}
	value, err := from.GetPolicy(ctx, org, PolicyName)
	if err != nil || value == nil {
		return all, err
	}
	var p Policy
	if err := json.Unmarshal(value, &p); err != nil {
		return all, fmt.Errorf("stored policy of the directory: %w", err)
	}
	all.Email, all.Phone, all.Work = p.Email != Managers, p.Phone != Managers, p.Work != Managers
	return all, nil
}
