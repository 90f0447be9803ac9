package scim

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// createUser makes an account.
//
// Spec: RFC 7644 §3.3
func (s *Server) createUser(ctx context.Context, c *httpapi.Call) (any, error) {
	in, err := decode(c.Body)
	if err != nil {
		return nil, err
	}
	r, err := s.create(ctx, c, in)
	if err != nil {
		return nil, err
	}
	return answer(c, http.StatusCreated, r, projection{}), nil
}

func (s *Server) create(ctx context.Context, c *httpapi.Call, in resource) (resource, error) {
	r, err := userType.normal(in)
	if err != nil {
		return nil, err
	}
	org, name := c.Requester.Org, textAt(r, "userName")
	if name == "" {
		return nil, invalid("invalidValue", "userName is missing")
	}
	if err := s.mustBeNew(ctx, org, name); err != nil {
		return nil, err
	}
	localparts, domain, err := s.newName(ctx, org, r)
	if err != nil {
		return nil, err
	}
	n := auth.NewAccount{Domain: domain, Password: textAt(r, "password")}
	ch := changeOf(r)
	delete(r, schemaRoomline)
	delete(r, "photos")
	var id matrix.UserID
	for _, n.Localpart = range localparts {
		ch.Also = s.putResource(r, org, ch.Locked)
		id, err = s.cfg.Accounts.Create(ctx, by(c), n, ch)
		if e, ok := matrix.AsError(err); !ok || e.Code != matrix.ErrUserInUse {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	if in["photos"] != nil {
		// The picture is the account's, so the account comes first.
		return s.change(ctx, c, id, func(now resource) (resource, error) { return s.withPhotos(now, in) })
	}
	return s.user(ctx, org, id)
}

// mustBeNew refuses a user name that the organisation has already.
func (s *Server) mustBeNew(ctx context.Context, org int64, name string) error {
	_, total, err := s.cfg.Store.ListScimUsers(ctx, org, &store.ScimFilter{Op: "eq", Path: []string{"userName"}, Text: name}, 0, 0)
	if err != nil {
		return fmt.Errorf("look up the user name: %w", err)
	}
	if total > 0 {
		return nameTaken()
	}
	return nil
}

func nameTaken() error {
	return matrix.NewError(http.StatusConflict, matrix.ErrUserInUse, "userName: somebody in the organisation has it").With("scimType", "uniqueness")
}

// sameNames bounds how many people of one name get accounts with a number behind it.
const sameNames = 20

// newName is what a new account may be called, the best name first: what the extension says, or else what userName says.
func (s *Server) newName(ctx context.Context, org int64, r resource) (localparts []string, domain matrix.ServerName, err error) {
	localpart, wanted := textAt(r, schemaRoomline, "localpart"), textAt(r, schemaRoomline, "domain")
	name := textAt(r, "userName")
	before, after, _ := strings.Cut(strings.TrimPrefix(name, "@"), "@")
	if strings.HasPrefix(name, "@") && strings.Contains(name, ":") {
		before, after, _ = strings.Cut(name[1:], ":")
	}
	if wanted != "" {
		after = wanted
	}
	hosted, err := s.cfg.Store.GetHostedDomain(ctx, matrix.ServerName(strings.ToLower(after)))
	switch {
	case err == nil && hosted.OrganisationID == org:
		domain = hosted.ServerName
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return nil, "", fmt.Errorf("look up the domain: %w", err)
	case wanted != "":
		return nil, "", invalid("invalidValue", "domain is not one of the organisation's")
	default:
		if domain, err = s.cfg.Store.GetOrganisationDomain(ctx, org); err != nil {
			return nil, "", fmt.Errorf("look up the organisation's domain: %w", err)
		}
	}
	if localpart != "" {
		return []string{localpart}, domain, nil
	}
	first := localpartOf(before)
	localparts = append(localparts, first)
	for i := 2; i <= sameNames; i++ {
		localparts = append(localparts, first+strconv.Itoa(i))
	}
	return localparts, domain, nil
}

// localpartOf is a name with nothing in it but what a user id may have.
//
// Spec: appendices v1.19 §user-identifiers
func localpartOf(name string) string {
	var b strings.Builder
	for _, r := range norm.NFKD.String(strings.ToLower(name)) {
		switch {
		case unicode.Is(unicode.Mn, r):
		case r == 'ß':
			b.WriteString("ss")
		case r < unicode.MaxASCII && ('a' <= r && r <= 'z' || '0' <= r && r <= '9' || strings.ContainsRune("._=-/+", r)):
			b.WriteRune(r)
		default:
			b.WriteByte('.')
		}
	}
	name = b.String()
	if name == "" || name[0] == '_' {
		// Names that begin so are kept for bridges.
		name = "x" + name
	}
	return name
}
