package scim

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/roomline/roomline/clientapi/accounts"
	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/strictjson"
)

// representation is a person as directories see it.
func (s *Server) representation(u *store.ScimUser) (resource, error) {
	var r resource
	if err := json.Unmarshal(u.Resource, &r); err != nil {
		return nil, fmt.Errorf("stored resource of %s: %w", u.UserID, err)
	}
	schemas := []string{schemaUser}
	if r[schemaEnterprise] != nil {
		schemas = append(schemas, schemaEnterprise)
		if manager := textAt(r, schemaEnterprise, "manager", "value"); manager != "" {
			r[schemaEnterprise].(map[string]any)["manager"].(map[string]any)["$ref"] = s.location(userType, manager)
		}
	}
	r[schemaRoomline] = map[string]any{
		"matrixUserId": string(u.UserID), "localpart": u.UserID.Localpart(), "domain": string(u.UserID.Domain()),
	}
	r["schemas"], r["id"], r["active"] = append(schemas, schemaRoomline), string(u.UserID), !u.Locked
	if len(u.Groups) > 0 {
		var groups []any
		for i, id := range u.Groups {
			groups = append(groups, map[string]any{"value": id, "$ref": s.location(groupType, id), "display": u.GroupNames[i], "type": "direct"})
		}
		r["groups"] = groups
	}
	return s.withMeta(r, userType, u.CreatedTS, u.ModifiedTS)
}

// withMeta adds what is said about a resource.
func (s *Server) withMeta(r resource, kind *resourceType, created, modified matrix.Timestamp) (resource, error) {
	version, err := tag(r)
	if err != nil {
		return nil, err
	}
	r["meta"] = map[string]any{
		"resourceType": kind.Name, "created": created.Time().Format(time.RFC3339Nano), "lastModified": modified.Time().Format(time.RFC3339Nano),
		"location": s.location(kind, r["id"].(string)), "version": version,
	}
	return r, nil
}

func userID(c *httpapi.Call) (matrix.UserID, error) {
	id, err := matrix.ParseUserID(c.Path("id"))
	if err != nil {
		return "", matrix.NotFound("there is no such user")
	}
	return id, nil
}

// getUser returns a person.
//
// Spec: RFC 7644 §3.4.1
func (s *Server) getUser(ctx context.Context, c *httpapi.Call) (any, error) {
	id, err := userID(c)
	if err != nil {
		return nil, err
	}
	r, err := s.user(ctx, c.Requester.Org, id)
	if err != nil {
		return nil, err
	}
	q, err := queryOf(c)
	return answer(c, http.StatusOK, r, q.projection), err
}

func (s *Server) user(ctx context.Context, org int64, id matrix.UserID) (resource, error) {
	u, err := s.cfg.Store.GetScimUser(ctx, org, id)
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", id, err)
	}
	return s.representation(&u)
}

// listUsers answers a query.
//
// Spec: RFC 7644 §3.4.2
func (s *Server) listUsers(ctx context.Context, c *httpapi.Call) (any, error) {
	q, err := queryOf(c)
	if err != nil {
		return nil, err
	}
	return s.findUsers(ctx, c.Requester.Org, q)
}

// searchUsers answers a query in the body.
//
// Spec: RFC 7644 §3.4.3
func (s *Server) searchUsers(ctx context.Context, c *httpapi.Call) (any, error) {
	req, err := searchOf(c)
	if err != nil {
		return nil, err
	}
	return s.findUsers(ctx, c.Requester.Org, req.query())
}

func searchOf(c *httpapi.Call) (req searchRequest, err error) {
	if len(c.Body) == 0 {
		return req, invalid("invalidSyntax", "the body is empty; a %s is expected", messageSearch)
	}
	if err := strictjson.Decode(c.Body, &req); err != nil {
		return req, invalid("invalidSyntax", "the body is not a search request: %s", err)
	}
	return req, nil
}

func (s *Server) findUsers(ctx context.Context, org int64, q query) (any, error) {
	var f *store.ScimFilter
	if q.filter != "" {
		var err error
		if f, err = userType.parseFilter(q.filter); err != nil {
			return nil, err
		}
		canonicalFilter(f)
	}
	list, total, err := s.cfg.Store.ListScimUsers(ctx, org, f, q.start-1, q.count)
	if err != nil {
		return nil, fmt.Errorf("list people: %w", err)
	}
	found := listResponse{Schemas: []string{messageList}, TotalResults: total, StartIndex: q.start, ItemsPerPage: len(list), Resources: []resource{}}
	for i := range list {
		r, err := s.representation(&list[i])
		if err != nil {
			return nil, err
		}
		found.Resources = append(found.Resources, q.projection.apply(r))
	}
	return found, nil
}

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

// withPhotos is a resource with the pictures of another one.
func (s *Server) withPhotos(now, in resource) (resource, error) {
	photos, err := userType.normal(resource{"photos": in["photos"]})
	if err != nil {
		return nil, err
	}
	active := now["active"]
	now["photos"] = photos["photos"]
	r, err := userType.normal(now)
	if err == nil {
		r["active"] = active
	}
	return r, err
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

// changeOf is what a resource says of an account.
func changeOf(r resource) accounts.Change {
	active, given := r["active"].(bool)
	locked := given && !active
	name := textAt(r, "displayName")
	if name == "" {
		name = textAt(r, "name", "formatted")
	}
	if name == "" {
		name = strings.TrimSpace(textAt(r, "name", "givenName") + " " + textAt(r, "name", "familyName"))
	}
	return accounts.Change{DisplayName: &name, Emails: nonNil(valuesOf(r, "emails")), Phones: phonesOf(r), Locked: &locked}
}

// putResource stores what a directory says, in the transaction that changes the account.
func (s *Server) putResource(r resource, org int64, locked *bool) func(context.Context, *store.Tx, store.User) error {
	kept := resource{}
	for key, value := range r {
		if key != "password" && key != "active" && key != schemaRoomline {
			kept[key] = value
		}
	}
	return func(ctx context.Context, tx *store.Tx, u store.User) error {
		raw, err := json.Marshal(kept)
		if err != nil {
			return err
		}
		ok, err := tx.PutScimUser(ctx, store.ScimUser{
			UserID: u.UserID, OrganisationID: org, UserName: strings.ToLower(textAt(r, "userName")), ExternalID: textAt(r, "externalId"),
			Resource: raw, ModifiedTS: s.cfg.Accounts.Now(),
		})
		if err == nil && !ok {
			err = nameTaken()
		}
		if err != nil {
			return err
		}
		return tx.PutPerson(ctx, u.UserID, personFields(r))
	}
}

// personFields is what others find and see of a person besides the profile.
func personFields(r resource) store.PersonFields {
	f := store.PersonFields{
		GivenName: textAt(r, "name", "givenName"), FamilyName: textAt(r, "name", "familyName"), Title: textAt(r, "title"),
		Department: textAt(r, schemaEnterprise, "department"), EmployeeNumber: textAt(r, schemaEnterprise, "employeeNumber"),
	}
	if manager, err := matrix.ParseUserID(textAt(r, schemaEnterprise, "manager", "value")); err == nil {
		f.Manager = manager
	}
	return f
}

// replaceUser makes a person what the body says.
//
// Spec: RFC 7644 §3.5.1
func (s *Server) replaceUser(ctx context.Context, c *httpapi.Call) (any, error) {
	id, err := userID(c)
	if err != nil {
		return nil, err
	}
	in, err := decode(c.Body)
	if err != nil {
		return nil, err
	}
	r, err := s.change(ctx, c, id, func(now resource) (resource, error) { return replaced(now, in) })
	if err != nil {
		return nil, err
	}
	return answer(c, http.StatusOK, r, projection{}), nil
}

// replaced is the body of a PUT as the new resource.
func replaced(now, in resource) (resource, error) {
	r, err := userType.normal(in)
	if err != nil {
		return nil, err
	}
	if textAt(r, "userName") == "" {
		return nil, invalid("invalidValue", "userName is missing")
	}
	for _, name := range []string{"localpart", "domain"} {
		if v := textAt(r, schemaRoomline, name); v != "" && !strings.EqualFold(v, textAt(now, schemaRoomline, name)) {
			return nil, invalid("mutability", "%s can't be changed", name)
		}
	}
	if _, given := r["active"]; !given {
		// Nobody is let in again by a directory that says nothing of it.
		r["active"] = now["active"]
	}
	return r, nil
}

// patchUser changes parts of a person.
//
// Spec: RFC 7644 §3.5.2
func (s *Server) patchUser(ctx context.Context, c *httpapi.Call) (any, error) {
	id, err := userID(c)
	if err != nil {
		return nil, err
	}
	p, err := parsePatch(c.Body)
	if err != nil {
		return nil, err
	}
	r, err := s.change(ctx, c, id, func(now resource) (resource, error) { return patched(now, p) })
	if err != nil {
		return nil, err
	}
	return answer(c, http.StatusOK, r, projection{}), nil
}

func patched(now resource, p patchRequest) (resource, error) {
	if err := userType.patch(now, p); err != nil {
		return nil, err
	}
	r, err := userType.normal(now)
	if err == nil && textAt(r, "userName") == "" {
		err = invalid("invalidValue", "userName can't be removed")
	}
	if _, given := r["active"]; err == nil && !given {
		r["active"] = true
	}
	return r, err
}

// changeAttempts bounds how often a change begins again because somebody else has changed the person meanwhile.
const changeAttempts = 5

// change changes a person. to makes the new resource of a copy of the present one.
func (s *Server) change(ctx context.Context, c *httpapi.Call, id matrix.UserID, to func(now resource) (resource, error)) (resource, error) {
	for range changeAttempts {
		r, err := s.tryChange(ctx, c, id, to)
		if !errors.Is(err, errChanged) {
			return r, err
		}
	}
	return nil, matrix.NewError(http.StatusConflict, matrix.ErrUnknown, "the resource is changed by others all the time")
}

var errChanged = errors.New("the person was changed meanwhile")

func (s *Server) tryChange(ctx context.Context, c *httpapi.Call, id matrix.UserID, to func(now resource) (resource, error)) (resource, error) {
	org := c.Requester.Org
	u, err := s.cfg.Store.GetScimUser(ctx, org, id)
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", id, err)
	}
	before, err := s.representation(&u)
	if err != nil {
		return nil, err
	}
	if err := mustMatch(c, before["meta"].(map[string]any)["version"].(string)); err != nil {
		return nil, err
	}
	now, err := s.representation(&u)
	if err != nil {
		return nil, err
	}
	r, err := to(now)
	if err != nil {
		return nil, err
	}
	ch := changeOf(r)
	if password := textAt(r, "password"); password != "" {
		ch.Password = &password
	}
	if err := s.storePhotos(ctx, &u, before, r, &ch); err != nil {
		return nil, err
	}
	if u.Managed && ch.Password == nil && s.unchanged(&u, r) {
		return before, nil
	}
	ch.Also = s.putResource(r, org, ch.Locked)
	err = s.cfg.Accounts.Update(ctx, by(c), id, ch, func(ctx context.Context, tx *store.Tx, _ store.User) error {
		present, err := tx.GetScimUser(ctx, org, id)
		if err == nil && (string(present.Resource) != string(u.Resource) || present.Locked != u.Locked) {
			err = errChanged
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.user(ctx, org, id)
}

// unchanged reports whether a person is already as the resource says.
func (s *Server) unchanged(u *store.ScimUser, r resource) bool {
	kept := resource{}
	for key, value := range r {
		if key != "active" && key != schemaRoomline {
			kept[key] = value
		}
	}
	var stored resource
	if json.Unmarshal(u.Resource, &stored) != nil {
		return false
	}
	a, errA := json.Marshal(kept)
	b, errB := json.Marshal(stored)
	return errA == nil && errB == nil && string(a) == string(b) && r["active"] == !u.Locked
}

// storePhotos brings pictures that came as data: URIs into the media store, and makes the first picture the avatar. One that is stored
// already is left as it is.
func (s *Server) storePhotos(ctx context.Context, u *store.ScimUser, before, r resource, ch *accounts.Change) error {
	list, _ := r["photos"].([]any)
	had := valuesOf(before, "photos")
	for _, v := range list {
		photo, _ := v.(map[string]any)
		value, _ := photo["value"].(string)
		if !strings.HasPrefix(value, "data:") {
			continue
		}
		kind, content, err := dataURI(value)
		if err != nil {
			return err
		}
		uri, err := s.cfg.Accounts.StorePicture(ctx, u.UserID, had, kind, content)
		if err != nil {
			return err
		}
		photo["value"] = uri.String()
	}
	avatar := ""
	for _, value := range valuesOf(r, "photos") {
		if _, err := matrix.ParseContentURI(value); err == nil && avatar == "" {
			avatar = value
		}
	}
	if avatar != "" || len(had) > 0 {
		ch.Avatar = &avatar
	}
	return nil
}

// dataURI reads a data: URI in base64.
//
// Spec: RFC 2397
func dataURI(value string) (kind string, content []byte, err error) {
	head, body, ok := strings.Cut(strings.TrimPrefix(value, "data:"), ",")
	kind, isBase64 := strings.CutSuffix(head, ";base64")
	if !ok || !isBase64 {
		return "", nil, invalid("invalidValue", "photos: a data: URI must have base64")
	}
	if kind != "image/jpeg" && kind != "image/png" && kind != "image/gif" && kind != "image/webp" {
		return "", nil, invalid("invalidValue", "photos: a picture must be image/jpeg, image/png, image/gif or image/webp")
	}
	if len(body) > limits.JSONString {
		return "", nil, invalid("invalidValue", "photos: the picture is too large")
	}
	if content, err = base64.StdEncoding.DecodeString(body); err != nil {
		return "", nil, invalid("invalidValue", "photos: the picture is not base64")
	}
	return kind, content, nil
}

// deleteUser removes a person's account as the organisation's policy says.
//
// Spec: RFC 7644 §3.6
func (s *Server) deleteUser(ctx context.Context, c *httpapi.Call) (any, error) {
	id, err := userID(c)
	if err != nil {
		return nil, err
	}
	r, err := s.user(ctx, c.Requester.Org, id)
	if err != nil {
		return nil, err
	}
	if err := mustMatch(c, r["meta"].(map[string]any)["version"].(string)); err != nil {
		return nil, err
	}
	if err := s.cfg.Accounts.Delete(ctx, by(c), id); err != nil {
		return nil, err
	}
	return httpapi.Status{Code: http.StatusNoContent}, nil
}
