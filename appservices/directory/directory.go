// Package directory is the directory bridge: a program that runs at a customer's, beside the customer's directory, and keeps the
// accounts of the organisation as that directory has them. It opens connections outwards only.
//
// A Source (ldap.go, csv.go, vcard.go) says who there is. The Bridge compares that with what it gave the homeserver before and plans
// what has to change (plan.go); the plan is shown, or carried out through SCIM (scim.go) with the token of an application service that
// has the grant "people". Groups become members of rooms, which the bridge's bot makes (rooms.go).
//
// Invariants:
//   - People are told apart by an id of the source that survives a new name (entryUUID, objectGUID, a column). Accounts that came
//     from nowhere else than an administrator have no such id, and are never touched.
//   - Who leaves is locked out, and erased only if the configuration says after how many days. A source that has suddenly lost more
//     people than the guard allows stops the bridge before anything is changed, until somebody says that it is meant.
//   - What the bridge remembers (state.go) only saves work. Without it, it asks the homeserver.
//
// Start reading at Bridge.Sync.
package directory

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Person is somebody of the source, as the homeserver shall know them.
type Person struct {
	// ID tells people apart for ever.
	ID string `json:"id"`
	// Localpart is the user name that a new account gets. It is never changed afterwards.
	Localpart string `json:"localpart"`
	// Active is false for somebody who is there and may not sign in.
	Active     bool      `json:"active"`
	Name       string    `json:"name,omitempty"`
	GivenName  string    `json:"given_name,omitempty"`
	FamilyName string    `json:"family_name,omitempty"`
	Title      string    `json:"title,omitempty"`
	Department string    `json:"department,omitempty"`
	Emails     []Address `json:"emails,omitempty"`
	Phones     []Address `json:"phones,omitempty"`
	// Manager is the ID of another person.
	Manager string `json:"manager,omitempty"`
	// Photo is a JPEG, PNG or WebP.
	Photo []byte `json:"-"`
}

// Address is an e-mail address or a phone number with what it is for: work, mobile, home, other.
type Address struct {
	Value string `json:"value"`
	Kind  string `json:"kind,omitempty"`
}

// Group is a set of people by their ID.
type Group struct {
	ID      string   `json:"id"`
	Name    string   `json:"name"`
	Members []string `json:"members"`
}

// Snapshot is what a source says at one time.
type Snapshot struct {
	// People are those that changed since the mark that was given, or all.
	People []Person
	// Present are the IDs of all people that there are.
	Present []string
	// Groups are all groups; nil if the source has no groups.
	Groups []Group
	// Mark is where the next reading begins.
	Mark string
}

// Source is a directory.
type Source interface {
	// Read returns who there is. People that have not changed since mark may be left out; with an empty mark, none are.
	Read(ctx context.Context, mark string) (Snapshot, error)
	// Name says in a word what it is, for messages.
	Name() string
}

// tidy brings a person into the one form that is compared and sent.
func (p *Person) tidy() {
	for _, text := range []*string{&p.Name, &p.GivenName, &p.FamilyName, &p.Title, &p.Department} {
		*text = strings.Join(strings.Fields(*text), " ")
	}
	if p.Name == "" {
		p.Name = strings.TrimSpace(p.GivenName + " " + p.FamilyName)
	}
	p.Localpart = localpart(p.Localpart)
	p.Emails = tidyAddresses(p.Emails, strings.ToLower)
	p.Phones = tidyAddresses(p.Phones, func(s string) string { return s })
	if len(p.Photo) > maxPhoto || photoType(p.Photo) == "" {
		p.Photo = nil
	}
}

func tidyAddresses(list []Address, form func(string) string) []Address {
	var tidy []Address
	for _, a := range list {
		a.Value = form(strings.TrimSpace(a.Value))
		if a.Value != "" && !slices.ContainsFunc(tidy, func(t Address) bool { return t.Value == a.Value }) {
			tidy = append(tidy, Address{a.Value, cmp.Or(a.Kind, "other")})
		}
	}
	return tidy
}

// localpart is what of a user name can stand in a user id. Names of accounts in directories know more than user ids do.
func localpart(name string) string {
	name, _, _ = strings.Cut(strings.ToLower(strings.TrimSpace(name)), "@")
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', strings.ContainsRune("._=-/+", r):
			return r
		case r == ' ':
			return '.'
		}
		return -1
	}, fold(name))
}

// hash is the same for people about whom the same is said.
func (p *Person) hash() string {
	text, err := json.Marshal(struct {
		*Person
		Photo [sha256.Size]byte `json:"photo"`
	}{p, sha256.Sum256(p.Photo)})
	if err != nil {
		panic(err) // strings and numbers only
	}
	sum := sha256.Sum256(text)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// hash is the same for groups about which the same is said, and of which the same is made.
func (g *Group) hash(c *RoomConfig) string {
	members := slices.Clone(g.Members)
	slices.Sort(members)
	text := g.Name + "\x00" + strings.Join(slices.Compact(members), "\x00")
	if c != nil {
		text += fmt.Sprintf("\x00%q %t %q %t", c.Name, c.Space, c.In, c.Encrypted)
	}
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// maxPhoto bounds a picture, in bytes; a larger one is left out.
const maxPhoto = 512 << 10

// photoType is the media type of a picture, or "" if it is none that an avatar may be.
func photoType(data []byte) string {
	switch {
	case len(data) > 3 && string(data[:3]) == "\xff\xd8\xff":
		return "image/jpeg"
	case len(data) > 8 && string(data[:8]) == "\x89PNG\r\n\x1a\n":
		return "image/png"
	case len(data) > 12 && string(data[:4]) == "RIFF" && string(data[8:12]) == "WEBP":
		return "image/webp"
	}
	return ""
}
