package appservices

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v4"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
)

// Registration is what the operator says of an application service.
//
// Spec: application-service v1.19 §registration
type Registration struct {
	ID string
	// URL is where it is asked, without a slash at the end; empty if it wants to be asked nothing.
	URL string
	// Sender is the user that it acts as when it names no other.
	Sender matrix.UserID
	// Users, Aliases and Rooms are what it is interested in.
	Users, Aliases, Rooms []Namespace
	// RateLimited is false for one whose requests are not counted.
	RateLimited bool
	// ReceiveEphemeral says that it wants typing, receipts and presence.
	ReceiveEphemeral bool
	// Protocols are the third-party networks that it knows.
	Protocols []string

	asToken      [sha256.Size]byte
	hsToken      string
	organisation int64
}

// Namespace is a set of ids.
type Namespace struct {
	// Exclusive keeps everybody else from making such ids.
	Exclusive bool
	pattern   *regexp.Regexp
}

// Matches reports whether an id lies in the namespace. Like the servers that registrations were written for, it asks whether the id
// begins with something that the expression matches.
func (n *Namespace) Matches(id string) bool { return n.pattern.MatchString(id) }

// Covers reports whether the application service may act as a user: itself, or one of its namespaces and its domain.
//
// Spec: application-service v1.19 §identity-assertion
func (r *Registration) Covers(user matrix.UserID) bool {
	return user == r.Sender || user.Domain() == r.Sender.Domain() && anyMatches(r.Users, string(user))
}

func anyMatches(list []Namespace, id string) bool {
	return slices.ContainsFunc(list, func(n Namespace) bool { return n.Matches(id) })
}

// Registry is all registrations of the deployment.
type Registry struct {
	services []*Registration
	byToken  map[[sha256.Size]byte]*Registration
}

// Unlimited are the ids of the application services whose requests are not counted.
func (r *Registry) Unlimited() []string {
	var ids []string
	for _, as := range r.services {
		if !as.RateLimited {
			ids = append(ids, as.ID)
		}
	}
	return ids
}

// ofToken returns the application service that a token belongs to, or nil.
func (r *Registry) ofToken(token string) *Registration {
	if len(r.services) == 0 {
		return nil
	}
	return r.byToken[sha256.Sum256([]byte(token))]
}

// byID returns the application service of an id, or nil.
func (r *Registry) byID(id string) *Registration {
	i := slices.IndexFunc(r.services, func(as *Registration) bool { return as.ID == id })
	if i < 0 {
		return nil
	}
	return r.services[i]
}

// Empty reports whether there is no application service.
func (r *Registry) Empty() bool { return len(r.services) == 0 }

// Exclusive reports whether a user id lies in a namespace that an application service has for itself.
func (r *Registry) Exclusive(user matrix.UserID) bool {
	return slices.ContainsFunc(r.services, func(as *Registration) bool {
		return user.Domain() == as.Sender.Domain() && (user == as.Sender ||
			slices.ContainsFunc(as.Users, func(n Namespace) bool { return n.Exclusive && n.Matches(string(user)) }))
	})
}

// MayName reports whether an alias may be made, or given up, by the application service called id, or by somebody else when id is empty. An
// application service has the aliases of its namespaces and no others; nobody else has those that it keeps for itself.
//
// Spec: application-service v1.19 §server-admin-style-permissions
func (r *Registry) MayName(id string, alias matrix.RoomAlias) bool {
	if id != "" {
		as := r.byID(id)
		return as != nil && alias.Domain() == as.Sender.Domain() && anyMatches(as.Aliases, string(alias))
	}
	return !slices.ContainsFunc(r.services, func(as *Registration) bool {
		return alias.Domain() == as.Sender.Domain() &&
			slices.ContainsFunc(as.Aliases, func(n Namespace) bool { return n.Exclusive && n.Matches(string(alias)) })
	})
}

// Covers reports whether the application service called id may make a user and act as it.
func (r *Registry) Covers(id string, user matrix.UserID) bool {
	as := r.byID(id)
	return as != nil && as.Covers(user)
}

// Load reads the registrations in files. Their users are of the given domain. All mistakes are reported at once.
func Load(files []string, domain matrix.ServerName) (*Registry, error) {
	r := &Registry{byToken: make(map[[sha256.Size]byte]*Registration)}
	var errs []error
	for _, file := range files {
		as, err := read(file, domain)
		if err == nil {
			err = r.add(as)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("registration %s: %w", file, err))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return r, nil
}

func (r *Registry) add(as *Registration) error {
	for _, other := range r.services {
		switch {
		case other.ID == as.ID:
			return fmt.Errorf("id: %q is the id of another application service", as.ID)
		case other.asToken == as.asToken:
			return fmt.Errorf("as_token: is that of %s", other.ID)
		case other.Sender == as.Sender:
			return fmt.Errorf("sender_localpart: is that of %s", other.ID)
		}
	}
	r.services = append(r.services, as)
	r.byToken[as.asToken] = as
	return nil
}

// document is a registration file. Keys that are not here are extensions of others, and left alone.
type document struct {
	ID              string  `yaml:"id"`
	URL             *string `yaml:"url"`
	ASToken         string  `yaml:"as_token"`
	HSToken         string  `yaml:"hs_token"`
	SenderLocalpart string  `yaml:"sender_localpart"`
	Namespaces      *struct {
		Users   []namespaceDocument `yaml:"users"`
		Aliases []namespaceDocument `yaml:"aliases"`
		Rooms   []namespaceDocument `yaml:"rooms"`
	} `yaml:"namespaces"`
	RateLimited      *bool    `yaml:"rate_limited"`
	ReceiveEphemeral bool     `yaml:"receive_ephemeral"`
	Protocols        []string `yaml:"protocols"`
}

type namespaceDocument struct {
	Exclusive *bool  `yaml:"exclusive"`
	Regex     string `yaml:"regex"`
}

func read(file string, domain matrix.ServerName) (*Registration, error) {
	info, err := os.Stat(file)
	if err == nil && info.Size() > limits.RegistrationFile {
		err = fmt.Errorf("has more than %d bytes", limits.RegistrationFile)
	}
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return parse(text, domain)
}

func parse(text []byte, domain matrix.ServerName) (*Registration, error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, errors.New("is empty")
	}
	var d document
	if err := yaml.Load(text, &d); err != nil {
		// The message of the parser may quote a line, and with it a token.
		return nil, errors.New("is not YAML of the form that the application-service API describes")
	}
	as := &Registration{
		ID: d.ID, RateLimited: d.RateLimited == nil || *d.RateLimited, ReceiveEphemeral: d.ReceiveEphemeral, Protocols: d.Protocols,
		asToken: sha256.Sum256([]byte(d.ASToken)), hsToken: d.HSToken,
	}
	var errs []error
	complain := func(field, format string, a ...any) { errs = append(errs, fmt.Errorf(field+": "+format, a...)) }
	if d.ID == "" || len(d.ID) > limits.Identifier || strings.ContainsFunc(d.ID, unicode.IsControl) {
		complain("id", "must be text of 1 to %d bytes", limits.Identifier)
	}
	if d.URL != nil && *d.URL != "" {
		as.URL = strings.TrimRight(*d.URL, "/")
		u, err := url.Parse(as.URL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			complain("url", "must be an http or https URL without query, or null")
		}
	}
	for field, token := range map[string]string{"as_token": d.ASToken, "hs_token": d.HSToken} {
		if len(token) < minToken || len(token) > limits.AccessToken || strings.ContainsFunc(token, notInToken) {
			complain(field, "must be %d to %d visible characters", minToken, limits.AccessToken)
		}
	}
	if d.ASToken != "" && d.ASToken == d.HSToken {
		complain("hs_token", "must not be the as_token")
	}
	var err error
	if as.Sender, err = matrix.NewUserID(d.SenderLocalpart, domain); err != nil {
		complain("sender_localpart", "must be the localpart of a user id: a-z, 0-9 and . _ = - / +")
	}
	if d.Namespaces == nil {
		complain("namespaces", "is missing")
		return nil, errors.Join(errs...)
	}
	for field, list := range map[string]struct {
		from []namespaceDocument
		to   *[]Namespace
	}{
		"users": {d.Namespaces.Users, &as.Users}, "aliases": {d.Namespaces.Aliases, &as.Aliases}, "rooms": {d.Namespaces.Rooms, &as.Rooms},
	} {
		for i, n := range list.from {
			namespace, err := n.compile()
			if err != nil {
				complain(fmt.Sprintf("namespaces.%s[%d]", field, i), "%w", err)
				continue
			}
			*list.to = append(*list.to, namespace)
		}
	}
	for i, protocol := range d.Protocols {
		if protocol == "" || len(protocol) > limits.Identifier {
			complain(fmt.Sprintf("protocols[%d]", i), "must be text of 1 to %d bytes", limits.Identifier)
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return as, nil
}

// minToken keeps tokens out that somebody could guess.
const minToken = 8

func notInToken(r rune) bool { return r <= ' ' || r > '~' }

func (n namespaceDocument) compile() (Namespace, error) {
	switch {
	case n.Exclusive == nil:
		return Namespace{}, errors.New("exclusive is missing")
	case n.Regex == "":
		return Namespace{}, errors.New("regex is missing")
	}
	pattern, err := regexp.Compile("^(?:" + n.Regex + ")")
	if err != nil {
		return Namespace{}, fmt.Errorf("regex: %w", err)
	}
	return Namespace{Exclusive: *n.Exclusive, pattern: pattern}, nil
}
