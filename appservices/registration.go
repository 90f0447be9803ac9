package appservices

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v4"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
)

// Registration is what the operator, or an owner of an organisation, says of an application service.
//
// Spec: application-service v1.19 §registration
type Registration struct {
	// ID is its id in the whole deployment; see idOf.
	ID string
	// URL is where it is asked, without a slash at the end; empty if it wants to be asked nothing.
	URL string
	// Sender is the user that it acts as when it names no other.
	Sender matrix.UserID
	// Users, Aliases and Rooms are what it is interested in.
	Users, Aliases, Rooms []Namespace
	// RateLimited is false for one whose requests are not counted.
	RateLimited bool
	// ReceiveEphemeral says that it wants typing, receipts and presence, OldEphemeral that it does under the name of MSC2409.
	ReceiveEphemeral, OldEphemeral bool
	// DeviceData says that it wants what encryption needs (MSC3202, MSC4203).
	DeviceData bool
	// Protocols are the third-party networks that it knows.
	Protocols []string
	// Grants are what it may do besides the application-service API.
	Grants []string
	// View narrows what it may do and is told; nil does not.
	View *View
	// Everywhere says that it belongs to no organisation, but to the deployment.
	Everywhere bool
	// Operator says that the operator registered it: it may act as everybody in its namespaces. One of an organisation's owner may act as those
	// whom it made, unless it has the grant puppet.
	Operator bool

	asToken [sha256.Size]byte
	hsToken string
	// stored is false for one of a file.
	stored bool
	// of is what the registration says of its organisation: a domain, a number, "*" or nothing.
	of           string
	organisation int64
	document     document
	createdBy    string
	// inProcess is set for one that is part of the server.
	inProcess *inProcess
}

// Namespace is a set of ids.
type Namespace struct {
	// Exclusive keeps everybody else from making such ids.
	Exclusive bool
	pattern   *regexp.Regexp
	// from and to bound the ids that match; to is empty for no bound.
	from, to string
}

// Matches reports whether an id lies in the namespace. Like the servers that registrations were written for, it asks whether the id
// begins with something that the expression matches.
func (n *Namespace) Matches(id string) bool { return n.pattern.MatchString(id) }

// Covers reports whether a user is the application service's: itself, or one of its namespaces and its domain.
//
// Spec: application-service v1.19 §identity-assertion
func (r *Registration) Covers(user matrix.UserID) bool {
	return user == r.Sender || r.hosts(user.Domain()) && anyMatches(r.Users, string(user))
}

// hosts reports whether its namespaces are about ids of a domain. Those of the whole deployment are about every domain: of ids that live
// elsewhere nobody has an account here.
func (r *Registration) hosts(domain matrix.ServerName) bool {
	return r.Everywhere || domain == r.Sender.Domain()
}

// MayActAs reports whether it may act as an account of its namespaces. made: it made the account.
func (r *Registration) MayActAs(user matrix.UserID, made bool) bool {
	return r.Covers(user) && (user == r.Sender || made || r.Operator || slices.Contains(r.Grants, GrantPuppet))
}

// The grants.
const (
	// GrantPeople opens SCIM and the management of people.
	GrantPeople = "people"
	// GrantDirectory opens the search for people to a token with a view.
	GrantDirectory = "directory"
	// GrantContacts opens the organisation's address book.
	GrantContacts = "contacts"
	// GrantPuppet lets it act as people of its namespaces that it did not make. Only the operator gives it.
	GrantPuppet = "puppet"
	// GrantTelephony gives it the messages of all organisations to mailboxes and phones, to send them. It has to belong to the whole deployment.
	GrantTelephony = "telephony"
	// GrantRecord lets it record meetings of its organisation, when somebody there has it do so.
	GrantRecord = "record"
)

var grants = []string{GrantPeople, GrantDirectory, GrantContacts, GrantPuppet, GrantTelephony, GrantRecord}

func anyMatches(list []Namespace, id string) bool {
	return slices.ContainsFunc(list, func(n Namespace) bool { return n.Matches(id) })
}

// document is a registration. Keys that are not here are extensions of others, and left alone.
type document struct {
	ID               string      `yaml:"id" json:"id"`
	URL              *string     `yaml:"url" json:"url"`
	ASToken          string      `yaml:"as_token" json:"as_token,omitempty"`
	HSToken          string      `yaml:"hs_token" json:"hs_token,omitempty"`
	SenderLocalpart  string      `yaml:"sender_localpart" json:"sender_localpart"`
	Namespaces       *namespaces `yaml:"namespaces" json:"namespaces"`
	RateLimited      *bool       `yaml:"rate_limited" json:"rate_limited,omitempty"`
	ReceiveEphemeral bool        `yaml:"receive_ephemeral" json:"receive_ephemeral,omitempty"`
	OldEphemeral     bool        `yaml:"de.sorunome.msc2409.push_ephemeral" json:"de.sorunome.msc2409.push_ephemeral,omitempty"`
	DeviceData       bool        `yaml:"org.matrix.msc3202" json:"org.matrix.msc3202,omitempty"`
	Protocols        []string    `yaml:"protocols" json:"protocols,omitempty"`
	// Roomline is ours: extension, which is decoded strictly.
	Roomline any `yaml:"roomline" json:"roomline,omitempty"`
}

type namespaces struct {
	Users   []namespaceDocument `yaml:"users" json:"users,omitempty"`
	Aliases []namespaceDocument `yaml:"aliases" json:"aliases,omitempty"`
	Rooms   []namespaceDocument `yaml:"rooms" json:"rooms,omitempty"`
}

type namespaceDocument struct {
	Exclusive *bool  `yaml:"exclusive" json:"exclusive"`
	Regex     string `yaml:"regex" json:"regex"`
}

// extension is the key roomline of a registration.
type extension struct {
	// Organisation is a domain, a number, or "*" for the whole deployment.
	Organisation any           `json:"organisation"`
	Grants       []string      `json:"grants"`
	View         *viewDocument `json:"view"`
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

// parse reads a registration of the operator's, in a file.
func parse(text []byte, domain matrix.ServerName) (*Registration, error) {
	d, err := decode(text)
	if err != nil {
		return nil, err
	}
	as, err := d.compile(domain)
	if err == nil {
		as.Operator = true
	}
	return as, err
}

// decode reads YAML, or JSON, which is YAML.
func decode(text []byte) (document, error) {
	var d document
	if len(bytes.TrimSpace(text)) == 0 {
		return d, errors.New("is empty")
	}
	if err := yaml.Load(text, &d); err != nil {
		// The message of the parser may quote a line, and with it a token.
		return d, errors.New("is not YAML of the form that the application-service API describes")
	}
	return d, nil
}

// compile checks all of a registration. Its users are of the given domain.
func (d document) compile(domain matrix.ServerName) (*Registration, error) {
	as := &Registration{
		ID: d.ID, RateLimited: d.RateLimited == nil || *d.RateLimited, ReceiveEphemeral: d.ReceiveEphemeral, OldEphemeral: d.OldEphemeral,
		DeviceData: d.DeviceData, Protocols: d.Protocols, asToken: sha256.Sum256([]byte(d.ASToken)), hsToken: d.HSToken,
	}
	as.document = d
	as.document.ASToken, as.document.HSToken = "", ""
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
	errs = append(errs, d.checkTokens()...)
	var err error
	if as.Sender, err = matrix.NewUserID(d.SenderLocalpart, domain); err != nil {
		complain("sender_localpart", "must be the localpart of a user id: a-z, 0-9 and . _ = - / +")
	}
	for i, protocol := range d.Protocols {
		if protocol == "" || len(protocol) > limits.Identifier {
			complain(fmt.Sprintf("protocols[%d]", i), "must be text of 1 to %d bytes", limits.Identifier)
		}
	}
	errs = append(errs, as.extend(d.Roomline)...)
	errs = append(errs, as.compileNamespaces(d.Namespaces)...)
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return as, nil
}

// minToken keeps tokens out that somebody could guess.
const minToken = 8

func notInToken(r rune) bool { return r <= ' ' || r > '~' }

func (d document) checkTokens() (errs []error) {
	for field, token := range map[string]string{"as_token": d.ASToken, "hs_token": d.HSToken} {
		if len(token) < minToken || len(token) > limits.AccessToken || strings.ContainsFunc(token, notInToken) {
			errs = append(errs, fmt.Errorf("%s: must be %d to %d visible characters", field, minToken, limits.AccessToken))
		}
	}
	if d.ASToken != "" && d.ASToken == d.HSToken {
		errs = append(errs, errors.New("hs_token: must not be the as_token"))
	}
	return errs
}

func (r *Registration) compileNamespaces(n *namespaces) (errs []error) {
	if n == nil {
		return []error{errors.New("namespaces: is missing")}
	}
	for field, list := range map[string]struct {
		from []namespaceDocument
		to   *[]Namespace
	}{
		"users": {n.Users, &r.Users}, "aliases": {n.Aliases, &r.Aliases}, "rooms": {n.Rooms, &r.Rooms},
	} {
		if len(list.from) > limits.Namespaces {
			errs = append(errs, fmt.Errorf("namespaces.%s: has more than %d entries", field, limits.Namespaces))
			continue
		}
		for i, n := range list.from {
			namespace, err := n.compile()
			if err != nil {
				errs = append(errs, fmt.Errorf("namespaces.%s[%d]: %w", field, i, err))
				continue
			}
			*list.to = append(*list.to, namespace)
		}
	}
	return errs
}

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
	return newNamespace(*n.Exclusive, pattern, n.Regex), nil
}

// newNamespace finds between which ids those lie that match: what the expression begins with in plain letters.
func newNamespace(exclusive bool, pattern *regexp.Regexp, expression string) Namespace {
	n := Namespace{Exclusive: exclusive, pattern: pattern}
	bare, err := regexp.Compile(strings.TrimPrefix(expression, "^"))
	if err != nil {
		return n
	}
	n.from, _ = bare.LiteralPrefix()
	if last := len(n.from) - 1; last >= 0 && n.from[last] < 0x7f {
		n.to = n.from[:last] + string(n.from[last]+1)
	}
	return n
}

// extend reads the key that is ours. What it does not know is a mistake: it may have been meant to forbid something.
func (r *Registration) extend(raw any) (errs []error) {
	if raw == nil {
		return nil
	}
	text, err := json.Marshal(raw)
	if err != nil {
		return []error{errors.New("roomline: must be an object")}
	}
	var e extension
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&e); err != nil {
		return []error{fmt.Errorf("roomline: %s", strings.TrimPrefix(err.Error(), "json: "))}
	}
	switch of := e.Organisation.(type) {
	case nil:
	case string:
		r.of = of
	case float64:
		r.of = strconv.FormatInt(int64(of), 10)
	default:
		errs = append(errs, errors.New("roomline.organisation: must be a domain, a number or *"))
	}
	r.Everywhere = r.of == "*"
	for i, g := range e.Grants {
		if !slices.Contains(grants, g) {
			errs = append(errs, fmt.Errorf("roomline.grants[%d]: must be one of %s", i, strings.Join(grants, ", ")))
		}
	}
	r.Grants = e.Grants
	if slices.Contains(e.Grants, GrantTelephony) && !r.Everywhere {
		errs = append(errs, fmt.Errorf("roomline.grants: %s needs the organisation *", GrantTelephony))
	}
	if e.View != nil {
		view, more := e.View.compile()
		r.View, errs = view, append(errs, more...)
	}
	return errs
}

func (r *Registration) hasToken(token string) bool { return sha256.Sum256([]byte(token)) == r.asToken }
