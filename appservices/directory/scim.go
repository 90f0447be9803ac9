package directory

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// The schemas that are spoken. Spec: RFC 7643, RFC 7644.
const (
	schemaUser       = "urn:ietf:params:scim:schemas:core:2.0:User"
	schemaGroup      = "urn:ietf:params:scim:schemas:core:2.0:Group"
	schemaEnterprise = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
	schemaRoom       = "urn:roomline:params:scim:schemas:extension:1.0:Group"
	schemaBulk       = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
	schemaPatch      = "urn:ietf:params:scim:api:messages:2.0:PatchOp"

	scimPath = "/_roomline/scim/v2"
	scimPage = 1000

	// A bulk request has at most so many operations, and about so many bytes.
	bulkOperations = 200
	bulkBytes      = 512 << 10

	// maxAnswer bounds an answer of the homeserver, in bytes.
	maxAnswer = 64 << 20
)

// scim speaks with the homeserver.
type scim struct {
	url, token string
	http       *http.Client
}

type scimUser struct {
	Schemas    []string         `json:"schemas,omitempty"`
	ID         string           `json:"id,omitempty"`
	ExternalID string           `json:"externalId,omitempty"`
	UserName   string           `json:"userName,omitempty"`
	Name       *scimName        `json:"name,omitempty"`
	Display    string           `json:"displayName,omitempty"`
	Title      string           `json:"title,omitempty"`
	Active     *bool            `json:"active,omitempty"`
	Emails     []scimValue      `json:"emails,omitempty"`
	Phones     []scimValue      `json:"phoneNumbers,omitempty"`
	Photos     []scimValue      `json:"photos,omitempty"`
	Enterprise *scimEnterprise  `json:"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User,omitempty"`
	Operations []map[string]any `json:"Operations,omitempty"`
}

type scimName struct {
	Formatted  string `json:"formatted,omitempty"`
	GivenName  string `json:"givenName,omitempty"`
	FamilyName string `json:"familyName,omitempty"`
}

type scimValue struct {
	Value   string `json:"value"`
	Type    string `json:"type,omitempty"`
	Primary bool   `json:"primary,omitempty"`
}

type scimEnterprise struct {
	Department string     `json:"department,omitempty"`
	Manager    *scimValue `json:"manager,omitempty"`
}

type scimGroup struct {
	Schemas    []string    `json:"schemas"`
	ID         string      `json:"id,omitempty"`
	ExternalID string      `json:"externalId,omitempty"`
	Display    string      `json:"displayName"`
	Members    []scimValue `json:"members"`
	Room       *scimRoom   `json:"urn:roomline:params:scim:schemas:extension:1.0:Group,omitempty"`
}

// scimRoom says which room a group's people are in. Without it the homeserver would make one; Kind "none" says that there is none.
type scimRoom struct {
	RoomID string `json:"roomId,omitempty"`
	Kind   string `json:"kind,omitempty"`
}

// resource is a person as SCIM has it. manager is the SCIM id of the manager, or empty.
func (p *Person) resource(userName, manager string) *scimUser {
	active := p.Active
	u := &scimUser{
		Schemas: []string{schemaUser, schemaEnterprise}, ExternalID: p.ID, UserName: userName, Display: p.Name, Title: p.Title, Active: &active,
		Name: &scimName{p.Name, p.GivenName, p.FamilyName}, Emails: values(p.Emails), Phones: values(p.Phones),
		Enterprise: &scimEnterprise{Department: p.Department},
	}
	if manager != "" {
		u.Enterprise.Manager = &scimValue{Value: manager}
	}
	if p.Photo != nil {
		u.Photos = []scimValue{{Value: "data:" + photoType(p.Photo) + ";base64," + base64.StdEncoding.EncodeToString(p.Photo), Type: "photo"}}
	}
	return u
}

func values(list []Address) []scimValue {
	all := make([]scimValue, len(list))
	for i, a := range list {
		all[i] = scimValue{Value: a.Value, Type: a.Kind, Primary: i == 0}
	}
	return all
}

// do sends a request and reads its answer into to. A throttled request is repeated.
func (s *scim) do(ctx context.Context, method, path string, body, to any) error {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return err
		}
	}
	for {
		req, err := http.NewRequestWithContext(ctx, method, s.url+scimPath+path, bytes.NewReader(text))
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+s.token)
		req.Header.Set("Content-Type", "application/scim+json")
		wait, err := s.once(req, to)
		if wait == 0 {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		}
	}
}

// once returns how long to wait before the request is repeated, or 0.
func (s *scim) once(req *http.Request, to any) (time.Duration, error) {
	answer, err := s.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return 0, err
	}
	if answer.StatusCode == http.StatusTooManyRequests {
		wait, err := time.ParseDuration(answer.Header.Get("Retry-After") + "s")
		if err != nil || wait < time.Second {
			wait = time.Second
		}
		return min(wait, time.Minute), &statusError{answer.StatusCode, "too many requests"}
	}
	if answer.StatusCode >= 300 {
		return 0, &statusError{answer.StatusCode, detail(text)}
	}
	if to == nil || len(text) == 0 {
		return 0, nil
	}
	return 0, json.Unmarshal(text, to)
}

// statusError is an answer that says no.
type statusError struct {
	status int
	detail string
}

func (e *statusError) Error() string {
	return fmt.Sprintf("the homeserver answered %d: %s", e.status, e.detail)
}

// detail is what an answer says of what is wrong.
func detail(text []byte) string {
	var problem struct {
		Detail string `json:"detail"`
		Error  string `json:"error"`
	}
	if json.Unmarshal(text, &problem) != nil || problem.Detail+problem.Error == "" {
		return "no reason given"
	}
	return strings.Map(printable, problem.Detail+problem.Error)
}

// users lists those that came from a directory.
func (s *scim) users(ctx context.Context) ([]scimUser, error) {
	return list[scimUser](ctx, s, "/Users?excludedAttributes=photos")
}

func (s *scim) groups(ctx context.Context) ([]scimGroup, error) {
	return list[scimGroup](ctx, s, "/Groups?excludedAttributes=members")
}

func list[T any](ctx context.Context, s *scim, path string) ([]T, error) {
	var all []T
	for {
		var page struct {
			TotalResults int `json:"totalResults"`
			Resources    []T `json:"Resources"`
		}
		if err := s.do(ctx, http.MethodGet, fmt.Sprintf("%s&startIndex=%d&count=%d", path, len(all)+1, scimPage), nil, &page); err != nil {
			return nil, err
		}
		if all = append(all, page.Resources...); len(page.Resources) == 0 || len(all) >= page.TotalResults {
			return all, nil
		}
	}
}

// operation is a part of a bulk request. done is called with the id of the resource, or what went wrong with it alone.
type operation struct {
	method, path string
	data         any
	done         func(id string, err error)
}

type bulkOperation struct {
	Method string `json:"method"`
	Path   string `json:"path"`
	BulkID string `json:"bulkId,omitempty"`
	Data   any    `json:"data,omitempty"`
}

type bulkResult struct {
	BulkID   string          `json:"bulkId"`
	Location string          `json:"location"`
	Status   json.RawMessage `json:"status"`
	Response json.RawMessage `json:"response"`
}

// bulk carries operations out, many in a request. progress is told after each request how many there were.
func (s *scim) bulk(ctx context.Context, operations []operation, progress func(int)) error {
	for len(operations) > 0 {
		n, size := 0, 0
		var request struct {
			Schemas    []string        `json:"schemas"`
			Operations []bulkOperation `json:"Operations"`
		}
		request.Schemas = []string{schemaBulk}
		for n < len(operations) && n < bulkOperations && (n == 0 || size < bulkBytes) {
			o := operations[n]
			data, err := json.Marshal(o.data)
			if err != nil {
				return err
			}
			b := bulkOperation{Method: o.method, Path: o.path, BulkID: fmt.Sprint(n)}
			if o.data != nil {
				b.Data = json.RawMessage(data)
			}
			request.Operations = append(request.Operations, b)
			n, size = n+1, size+len(data)
		}
		var answer struct {
			Operations []bulkResult `json:"Operations"`
		}
		if err := s.do(ctx, http.MethodPost, "/Bulk", request, &answer); err != nil {
			return err
		}
		if len(answer.Operations) != n {
			return fmt.Errorf("the homeserver answered %d of %d operations", len(answer.Operations), n)
		}
		for i, result := range answer.Operations {
			operations[i].done(result.read())
		}
		progress(n)
		operations = operations[n:]
	}
	return nil
}

func (r *bulkResult) read() (id string, err error) {
	status := strings.Trim(string(r.Status), `"`)
	if len(status) != 3 || status[0] != '2' {
		code := 0
		fmt.Sscan(status, &code)
		return "", &statusError{code, detail(r.Response)}
	}
	return r.Location[strings.LastIndexByte(r.Location, '/')+1:], nil
}

// setActive is the patch that locks an account, or unlocks it.
func setActive(active bool) *scimUser {
	return &scimUser{Schemas: []string{schemaPatch}, Operations: []map[string]any{{"op": "replace", "path": "active", "value": active}}}
}

// gone reports whether an answer says that there is no such resource.
func gone(err error) bool {
	var status *statusError
	return errors.As(err, &status) && status.status == http.StatusNotFound
}

// sortedMembers keeps requests in one order.
func sortedMembers(list []scimValue) []scimValue {
	slices.SortFunc(list, func(a, b scimValue) int { return strings.Compare(a.Value, b.Value) })
	return list
}
