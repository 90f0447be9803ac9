package auth

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/text/cases"

	"github.com/roomline/roomline/internal/matrix"
)

// Identifier says whom a client wants to sign in as.
//
// Spec: client-server v1.19 §identifier-types
type Identifier struct {
	Type    string `json:"type"`
	User    string `json:"user"`
	Medium  string `json:"medium"`
	Address string `json:"address"`
	Country string `json:"country"`
	Phone   string `json:"phone"`
}

// LegacyIdentifier is an Identifier of the fields that stood in the request itself before there were identifiers.
func LegacyIdentifier(user, medium, address string) *Identifier {
	switch {
	case user != "":
		return &Identifier{Type: "m.id.user", User: user}
	case medium != "" || address != "":
		return &Identifier{Type: "m.id.thirdparty", Medium: medium, Address: address}
	}
	return nil
}

// claim is an Identifier in canonical form: who somebody says they are, whether there is such an account or not.
type claim struct {
	// user is set for m.id.user with a domain, localpart for one without.
	user      matrix.UserID
	localpart string
	medium    string
	address   string
}

// parseIdentifier checks the form of an identifier. What it names need not exist.
func parseIdentifier(id *Identifier) (claim, error) {
	if id == nil {
		return claim{}, matrix.MissingParam("identifier is missing")
	}
	kind := id.Type
	if kind == "" && id.Medium != "" {
		// Interop: the spec's own example of a login by third-party identifier leaves the type out.
		kind = "m.id.thirdparty"
	}
	switch kind {
	case "m.id.user":
		return parseUserClaim(id.User)
	case "m.id.thirdparty":
		return parseThirdPartyClaim(id.Medium, id.Address)
	case "m.id.phone":
		msisdn, ok := canonicalPhone(id.Country, id.Phone)
		if !ok {
			return claim{}, matrix.InvalidParam("identifier: phone is not a phone number of the country")
		}
		return claim{medium: "msisdn", address: msisdn}, nil
	case "":
		return claim{}, matrix.MissingParam("identifier: type is missing")
	}
	return claim{}, matrix.NewError(400, matrix.ErrUnknown, "identifier: this type is not supported")
}

func parseUserClaim(user string) (claim, error) {
	switch {
	case user == "":
		return claim{}, matrix.MissingParam("identifier: user is missing")
	case strings.HasPrefix(user, "@"):
		id, err := matrix.ParseUserID(user)
		return claim{user: id}, err
	case len(user) > 255 || strings.ContainsAny(user, ":\x00"):
		return claim{}, matrix.InvalidParam("identifier: user is neither a user id nor a localpart")
	}
	return claim{localpart: user}, nil
}

func parseThirdPartyClaim(medium, address string) (claim, error) {
	if address == "" || len(address) > 500 {
		return claim{}, matrix.InvalidParam("identifier: address must have 1 to 500 bytes")
	}
	switch medium {
	case "email":
		return claim{medium: medium, address: CanonicalEmail(address)}, nil
	case "msisdn":
		return claim{medium: medium, address: strings.TrimPrefix(address, "+")}, nil
	}
	return claim{}, matrix.InvalidParam("identifier: medium must be email or msisdn")
}

// CanonicalEmail is the form in which an e-mail address is stored and looked up: case-folded as a whole.
//
// Spec: appendices v1.19 §e-mail
func CanonicalEmail(address string) string {
	return cases.Fold().String(strings.TrimSpace(address))
}

// resolve finds the account that a claim names, "" when there is none or more than one.
//
// A localpart without a domain is looked for in the hosted domains in the order of the configuration, so that its meaning
// doesn't change when a domain is added at the end. What was typed with capitals is also tried in lower case, because new user
// ids have no capitals.
func (a *Accounts) resolve(ctx context.Context, c claim) (matrix.UserID, error) {
	switch {
	case c.user != "":
		return a.firstExisting(ctx, c.user, lowerLocalpart(c.user))
	case c.localpart != "":
		var candidates []matrix.UserID
		for _, localpart := range []string{c.localpart, strings.ToLower(c.localpart)} {
			for _, domain := range a.cfg.Domains {
				candidates = append(candidates, matrix.UserID("@"+localpart+":"+string(domain)))
			}
		}
		return a.firstExisting(ctx, candidates...)
	}
	owners, err := a.cfg.Store.ListThreePIDOwners(ctx, c.medium, c.address)
	if err != nil || len(owners) != 1 {
		return "", err
	}
	return owners[0], nil
}

// Named returns the account that an identifier names, "" when there is none or more than one.
func (a *Accounts) Named(ctx context.Context, id *Identifier) (matrix.UserID, error) {
	c, err := parseIdentifier(id)
	if err != nil {
		return "", err
	}
	user, err := a.resolve(ctx, c)
	if err != nil {
		return "", fmt.Errorf("look for the account: %w", err)
	}
	return user, nil
}

func lowerLocalpart(user matrix.UserID) matrix.UserID {
	return matrix.UserID("@" + strings.ToLower(user.Localpart()) + ":" + string(user.Domain()))
}

func (a *Accounts) firstExisting(ctx context.Context, candidates ...matrix.UserID) (matrix.UserID, error) {
	users, err := a.cfg.Store.ListExistingUsers(ctx, candidates)
	if err != nil {
		return "", err
	}
	for _, candidate := range candidates {
		for _, u := range users {
			if u.UserID == candidate {
				return candidate, nil
			}
		}
	}
	return "", nil
}
