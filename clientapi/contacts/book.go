package contacts

import (
	"bytes"
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/roomline/roomline/clientapi/contacts/vcard"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
)

// book is an address book.
type book interface {
	// about is what does not change.
	about() *bookInfo
	// state is the sync token of this moment.
	state(ctx context.Context) (string, error)
	// all lists the objects. Their cards may be missing.
	all(ctx context.Context) ([]object, error)
	// load returns the objects with these names that there are, with their cards, in no order.
	load(ctx context.Context, names []string) ([]object, error)
	// changes lists what changed since a token, the empty one for everything, at most about limit objects, and the token after these. more
	// says that there are others. A token that means nothing here is errToken.
	changes(ctx context.Context, token string, limit int) (list []object, next string, more bool, err error)
}

// bookInfo is what is told of an address book.
type bookInfo struct {
	segment, name, description string
	readOnly                   bool
}

// errToken: the client has to begin anew.
var errToken = errors.New("the sync token is not valid any more")

// object is a contact of an address book.
type object struct {
	name string
	etag string
	size int64
	// card is nil where it was not asked for.
	card []byte
	// gone: there is no such object any more.
	gone bool
}

// tokenPrefix makes a sync token a URI (RFC 6578 §6.2).
const tokenPrefix = "urn:roomline:sync:"

// books are those of the requester.
func (s *Server) books(c *httpapi.Call) []book {
	return []book{&personal{s: s, user: c.Requester.User, org: c.Requester.Org}, &organisation{s: s, org: c.Requester.Org, manages: c.Requester.ManagesPeople()}}
}

// book is the one that the path names. Those of others do not exist.
func (s *Server) book(c *httpapi.Call) (book, error) {
	if c.Path("user") == pathUser(c.Requester.User) {
		for _, b := range s.books(c) {
			if b.about().segment == c.Path("book") {
				return b, nil
			}
		}
	}
	return nil, noResource()
}

func noResource() *matrix.Error { return matrix.NotFound("there is no such resource") }

// The paths. A user id stands in them without its sigil.
const (
	davRoot     = "/_roomline/dav/"
	booksFolder = davRoot + "addressbooks/"
)

func pathUser(user matrix.UserID) string { return strings.TrimPrefix(string(user), "@") }

func principalPath(user matrix.UserID) string {
	return davRoot + "principals/" + url.PathEscape(pathUser(user)) + "/"
}

func homePath(user matrix.UserID) string { return booksFolder + url.PathEscape(pathUser(user)) + "/" }

func bookPath(user matrix.UserID, b book) string { return homePath(user) + b.about().segment + "/" }

// objectName is the name of the object that a href points to, if it is in the book. Clients may escape more than is needed.
func objectName(href, book string) (string, bool) {
	u, err := url.Parse(strings.TrimSpace(href))
	if err != nil {
		return "", false
	}
	want := strings.Split(book, "/")
	segments := strings.Split(u.EscapedPath(), "/")
	if len(segments) != len(want) {
		return "", false
	}
	for i, segment := range segments {
		if segments[i], err = url.PathUnescape(segment); err != nil {
			return "", false
		}
		if want[i], err = url.PathUnescape(want[i]); err != nil {
			return "", false
		}
	}
	last := len(segments) - 1
	return segments[last], slices.Equal(segments[:last], want[:last]) && segments[last] != ""
}

// cardVersion is the version that a card says it has.
func cardVersion(card []byte) string {
	for line := range bytes.Lines(card) {
		name, value, ok := bytes.Cut(bytes.TrimSpace(line), []byte(":"))
		if ok && strings.EqualFold(string(bytes.TrimSpace(name)), "VERSION") {
			return string(bytes.TrimSpace(value))
		}
	}
	return ""
}

// render is a card in a version, the stored one if version is empty. names leave out all other properties, unless there are none.
func render(card []byte, version string, names []string) ([]byte, error) {
	stored := cardVersion(card)
	if version == "" {
		version = stored
	}
	if version == stored && len(names) == 0 {
		return card, nil
	}
	parsed, err := vcard.Parse(card)
	if err != nil {
		return nil, err
	}
	parsed = parsed.As(version)
	if len(names) > 0 {
		parsed.Properties = slices.DeleteFunc(parsed.Properties, func(p vcard.Property) bool { return !slices.Contains(names, p.Name) })
	}
	return parsed.Bytes(), nil
}
