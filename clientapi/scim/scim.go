// Package scim is SCIM 2.0, by which directories (Entra ID, Okta, our own bridge) make and change the people of an organisation and
// their groups.
//
// Spec: RFC 7643, RFC 7644
//
// A client is an application service that was given the grant people, or somebody who manages people; what it sees and changes is its
// own organisation, whatever the request says. The schemas (schema.go) are tables: values are checked against them, filters and paths
// are looked up in them, and /Schemas serves them.
//
// Why no library: the one that there is has no Bulk, wants booleans that Entra ID does not send, and leaves filters, storage and
// authentication to us; what remained of it would be the tables.
//
// Differs: resources are not sorted, there is no /Me, and a password can't be asked for.
//
// Start reading at Routes, then users.go; create.go and change.go are what becomes of accounts.
package scim

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/roomline/roomline/clientapi/accounts"
	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// base is where SCIM is served.
const base = "/_roomline/scim/v2"

// Config of a Server. All fields but BaseURL are required.
type Config struct {
	Store    *store.Store
	Accounts *accounts.Server
	Log      *slog.Logger
	// BaseURL is the public URL of the server, for the locations of resources.
	BaseURL string
}

// Server serves SCIM.
type Server struct {
	cfg Config
}

// New returns a Server.
func New(cfg Config) (*Server, error) {
	if cfg.Store == nil || cfg.Accounts == nil || cfg.Log == nil {
		return nil, errors.New("scim: a field of Config is missing")
	}
	return &Server{cfg: cfg}, nil
}

// Routes is every endpoint.
func (s *Server) Routes() []httpapi.Route {
	table := []struct {
		method, path string
		handle       httpapi.Handler
	}{
		// RFC 7644 §4
		{http.MethodGet, "/ServiceProviderConfig", s.getConfig},
		{http.MethodGet, "/ResourceTypes", s.listResourceTypes},
		{http.MethodGet, "/ResourceTypes/{name}", s.getResourceType},
		{http.MethodGet, "/Schemas", s.listSchemas},
		{http.MethodGet, "/Schemas/{urn}", s.getSchema},

		// RFC 7644 §3
		{http.MethodGet, "/Users", s.listUsers},
		{http.MethodPost, "/Users", s.createUser},
		{http.MethodPost, "/Users/.search", s.searchUsers},
		{http.MethodGet, "/Users/{id}", s.getUser},
		{http.MethodPut, "/Users/{id}", s.replaceUser},
		{http.MethodPatch, "/Users/{id}", s.patchUser},
		{http.MethodDelete, "/Users/{id}", s.deleteUser},
		{http.MethodGet, "/Groups", s.listGroups},
		{http.MethodPost, "/Groups", s.createGroup},
		{http.MethodPost, "/Groups/.search", s.searchGroups},
		{http.MethodGet, "/Groups/{id}", s.getGroup},
		{http.MethodPut, "/Groups/{id}", s.replaceGroup},
		{http.MethodPatch, "/Groups/{id}", s.patchGroup},
		{http.MethodDelete, "/Groups/{id}", s.deleteGroup},
		{http.MethodPost, "/Bulk", s.bulk},
	}
	var routes []httpapi.Route
	for _, r := range table {
		route := httpapi.Route{Method: r.method, Path: base + r.path, Auth: httpapi.AccessToken, MaxBody: limits.LargeBody, Handle: provisioner(r.handle)}
		if r.path == "/Bulk" {
			// Each operation passes the strict decoder by itself: together they have more keys than a document may have.
			route.MaxBody, route.AnyBody = limits.ScimBulkBody, true
		}
		routes = append(routes, route)
	}
	return routes
}

// provisioner refuses those who do not manage people, and gives errors SCIM's form.
func provisioner(handle httpapi.Handler) httpapi.Handler {
	return func(ctx context.Context, c *httpapi.Call) (any, error) {
		if !mayProvision(c.Requester) {
			return nil, errorForm(matrix.Forbidden("this needs the right to manage people"))
		}
		c.W.Header().Set("Content-Type", "application/scim+json")
		result, err := handle(ctx, c)
		if err != nil {
			return nil, errorForm(err)
		}
		return result, nil
	}
}

// errorForm adds to an error what SCIM says of it. The keys that Matrix has stay: one writer writes all errors.
//
// Spec: RFC 7644 §3.12
func errorForm(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		err = matrix.NotFound("there is no such resource")
	}
	e, ok := matrix.AsError(err)
	if !ok {
		return err
	}
	switch {
	case e.Fields["scimType"] != nil:
	case e.Code == matrix.ErrUserInUse, e.Code == matrix.ErrThreepidInUse, e.Code == matrix.ErrExclusive:
		e.Status = http.StatusConflict
		_ = e.With("scimType", "uniqueness")
	case e.Status == http.StatusBadRequest:
		_ = e.With("scimType", "invalidValue")
	}
	return e.With("schemas", []string{messageError}).With("status", strconv.Itoa(e.Status)).With("detail", e.Message)
}

// listResponse is the answer to a query.
//
// Spec: RFC 7644 §3.4.2
type listResponse struct {
	Schemas      []string   `json:"schemas"`
	TotalResults int64      `json:"totalResults"`
	StartIndex   int        `json:"startIndex"`
	ItemsPerPage int        `json:"itemsPerPage"`
	Resources    []resource `json:"Resources"`
}

// query is what a request asks for.
type query struct {
	filter     string
	start      int
	count      int
	projection projection
}

func queryOf(c *httpapi.Call) (query, error) {
	q := query{filter: c.Query("filter"), projection: projectionOf(strings.Split(c.Query("attributes"), ","), strings.Split(c.Query("excludedAttributes"), ","))}
	var err error
	// Spec: RFC 7644 §3.4.2.4: what is too small is taken for the smallest.
	number := func(name string, otherwise int) int {
		text := c.Query(name)
		if text == "" {
			return otherwise
		}
		n, bad := strconv.Atoi(text)
		if bad != nil && err == nil {
			err = invalid("invalidValue", "%s must be an integer", name)
		}
		return n
	}
	q.start, q.count = number("startIndex", 1), number("count", limits.ScimPageDefault)
	return q.bounded(), err
}

func (q query) bounded() query {
	q.start = min(max(q.start, 1), 1<<30)
	q.count = min(max(q.count, 0), limits.ScimPage)
	return q
}

// searchRequest is a query in a body, where a filter is in no log.
//
// Spec: RFC 7644 §3.4.3
type searchRequest struct {
	Schemas            []string `json:"schemas"`
	Attributes         []string `json:"attributes"`
	ExcludedAttributes []string `json:"excludedAttributes"`
	Filter             string   `json:"filter"`
	StartIndex         *int     `json:"startIndex"`
	Count              *int     `json:"count"`
}

func (r *searchRequest) query() query {
	q := query{filter: r.Filter, start: 1, count: limits.ScimPageDefault, projection: projectionOf(r.Attributes, r.ExcludedAttributes)}
	if r.StartIndex != nil {
		q.start = *r.StartIndex
	}
	if r.Count != nil {
		q.count = *r.Count
	}
	return q.bounded()
}

// projection is which attributes an answer has.
//
// Spec: RFC 7644 §3.9
type projection struct {
	only, without []string
}

func projectionOf(only, without []string) projection {
	clean := func(list []string) (out []string) {
		for _, name := range list {
			if name = strings.ToLower(strings.TrimSpace(name)); name != "" {
				out = append(out, name)
			}
		}
		return out
	}
	return projection{clean(only), clean(without)}
}

// leavesOut reports whether an attribute is not asked for, so that it need not be loaded.
func (p projection) leavesOut(name string) bool {
	for _, n := range p.without {
		if n == strings.ToLower(name) {
			return true
		}
	}
	return len(p.only) > 0 && !p.names(strings.ToLower(name))
}

// names reports whether only has the attribute or a part of it.
func (p projection) names(name string) bool {
	for _, n := range p.only {
		n = strings.TrimPrefix(strings.TrimPrefix(n, strings.ToLower(schemaUser)+":"), strings.ToLower(schemaGroup)+":")
		if n == name || strings.HasPrefix(n, name+".") || strings.HasPrefix(n, name+":") {
			return true
		}
	}
	return false
}

// apply takes out what is not asked for.
func (p projection) apply(r resource) resource {
	if len(p.only) == 0 && len(p.without) == 0 {
		return r
	}
	out := resource{}
	for key, value := range r {
		if key == "id" || key == "schemas" || !p.leavesOut(key) {
			out[key] = value
		}
	}
	return out
}

// location is the URL of a resource.
func (s *Server) location(kind *resourceType, id string) string {
	return strings.TrimSuffix(s.cfg.BaseURL, "/") + base + kind.Endpoint + "/" + url.PathEscape(id)
}

// tag is the version of a resource: what it says, without meta.
//
// Spec: RFC 7644 §3.14
func tag(r resource) (string, error) {
	raw, err := json.Marshal(r)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(raw)
	return `W/"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`, nil
}

// mustMatch refuses a change of a resource that is not as the client knows it.
func mustMatch(c *httpapi.Call, version string) error {
	want := c.Request.Header.Get("If-Match")
	if want == "" || want == "*" || strings.Contains(want, strings.TrimPrefix(version, "W/")) {
		return nil
	}
	return matrix.NewError(http.StatusPreconditionFailed, matrix.ErrUnknown, "the resource has changed since")
}

// answer is a resource as the answer to a request about it alone.
func answer(c *httpapi.Call, status int, r resource, p projection) any {
	meta := r["meta"].(map[string]any)
	version := meta["version"].(string)
	c.W.Header().Set("ETag", version)
	c.W.Header().Set("Location", meta["location"].(string))
	if c.Request.Method == http.MethodGet && strings.Contains(c.Request.Header.Get("If-None-Match"), strings.TrimPrefix(version, "W/")) {
		return httpapi.Status{Code: http.StatusNotModified}
	}
	return httpapi.Status{Code: status, Body: p.apply(r)}
}

// phonesOf are the numbers of a resource.
func phonesOf(r resource) []string { return nonNil(valuesOf(r, "phoneNumbers")) }

func nonNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// canonicalFilter brings the texts that a filter compares into the form in which they are stored.
func canonicalFilter(f *store.ScimFilter) {
	if f == nil {
		return
	}
	canonicalFilter(f.Left)
	canonicalFilter(f.Right)
	if f.Op == "eq" && len(f.Path) == 2 && f.Path[0] == "emails" && f.Path[1] == "value" {
		f.Text = auth.CanonicalEmail(f.Text)
	}
}
