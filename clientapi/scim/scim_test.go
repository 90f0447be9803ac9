package scim_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
)

const (
	base       = "/_roomline/scim/v2"
	core       = "urn:ietf:params:scim:schemas:core:2.0:User"
	enterprise = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
	roomline   = "urn:roomline:params:scim:schemas:extension:1.0:User"
	patchOp    = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
	group      = "urn:ietf:params:scim:schemas:core:2.0:Group"
)

type object = map[string]any

// client is a directory.
type client struct {
	*hstest.User
}

func (c client) do(t testing.TB, status int, method, path string, body any) gjson.Result {
	t.Helper()
	r, err := c.Do(context.Background(), method, base+path, body)
	if err != nil {
		t.Fatal(err)
	}
	if r.Status != status {
		t.Fatalf("%s %s: %s, want %d", method, path, r, status)
	}
	if status >= 400 {
		e := r.JSON()
		if e.Get("schemas.0").String() != "urn:ietf:params:scim:api:messages:2.0:Error" || e.Get("status").String() != fmt.Sprint(status) || e.Get("detail").String() == "" {
			t.Fatalf("%s %s: %s is not the form of a SCIM error", method, path, r)
		}
	}
	return r.JSON()
}

// patiently waits for as long as it takes, where the client of other tests would have given up on a busy machine.
func (c client) patiently(t testing.TB, method, path string, body any) gjson.Result {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, c.BaseURL()+base+path, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Authorization": {"Bearer " + c.AccessToken}, "Content-Type": {"application/json"}}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %d %.300s, %v", method, path, resp.StatusCode, answer, err)
	}
	return gjson.ParseBytes(answer)
}

func (c client) create(t testing.TB, body object) gjson.Result {
	t.Helper()
	if body["schemas"] == nil {
		body["schemas"] = []string{core}
	}
	return c.do(t, http.StatusCreated, http.MethodPost, "/Users", body)
}

func (c client) find(t testing.TB, filter string) gjson.Result {
	t.Helper()
	return c.do(t, http.StatusOK, http.MethodGet, "/Users?filter="+url.QueryEscape(filter), nil)
}

func (c client) patch(t testing.TB, id string, operations ...object) gjson.Result {
	t.Helper()
	return c.do(t, http.StatusOK, http.MethodPatch, "/Users/"+url.PathEscape(id), object{"schemas": []string{patchOp}, "Operations": operations})
}

func equal(t testing.TB, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("%s: %v, want %v", what, got, want)
	}
}

func start(t testing.TB) (*hstest.Deployment, client) {
	d := hstest.Start(t, hstest.Options{})
	return d, client{d.Admin(t, "root")}
}

// TestExamplesOfTheSpecification sends what RFC 7643 and RFC 7644 have as examples.
func TestExamplesOfTheSpecification(t *testing.T) {
	t.Parallel()
	_, c := start(t)
	// RFC 7644 §3.3
	made := c.create(t, object{
		"userName": "bjensen", "externalId": "bjensen", "name": object{"formatted": "Ms. Barbara J Jensen III", "familyName": "Jensen", "givenName": "Barbara"},
	})
	id := made.Get("id").String()
	equal(t, "id", id, "@bjensen:hs.test")
	equal(t, "externalId", made.Get("externalId"), "bjensen")
	equal(t, "active", made.Get("active").Raw, "true")
	equal(t, "resourceType", made.Get("meta.resourceType"), "User")
	if made.Get("meta.version").String() == "" || !strings.HasSuffix(made.Get("meta.location").String(), "/Users/@bjensen:hs.test") {
		t.Fatalf("meta: %s", made.Get("meta"))
	}
	equal(t, "second one", c.do(t, http.StatusConflict, http.MethodPost, "/Users", object{"schemas": []string{core}, "userName": "BJensen"}).Get("scimType"), "uniqueness")

	// RFC 7644 §3.4.2.2, the filters of the figure
	c.patch(t, id, object{"op": "add", "value": object{
		"title": "Vice President", "userType": "Employee",
		"emails":   []object{{"value": "bjensen@example.com", "type": "work", "primary": true}, {"value": "babs@jensen.org", "type": "home"}},
		"ims":      []object{{"value": "foo.com", "type": "xmpp"}},
		enterprise: object{"department": "Sales"},
	}})
	for filter, want := range map[string]int{
		`userName Eq "bjensen"`:                     1,
		`userName eq "john"`:                        0,
		`name.familyName co "Jense"`:                1,
		`userName sw "B"`:                           1,
		core + `:userName sw "B"`:                   1,
		`title pr and userType eq "Employee"`:       1,
		`title pr or userType eq "Intern"`:          1,
		`schemas eq "urn:x" or userName eq "nobod"`: 0,
		`userType eq "Employee" and (emails co "example.com" or emails.value co "example.org")`:                         1,
		`userType ne "Employee" and not (emails co "example.com" or emails.value co "example.org") and userName sw "b"`: 0,
		`userType eq "Employee" and (emails.type eq "work")`:                                                            1,
		`userType eq "Employee" and emails[type eq "work" and value co "@example.com"]`:                                 1,
		`emails[type eq "work" and value co "@example.com"] or ims[type eq "xmpp" and value co "@foo.com"]`:             1,
		`emails[type eq "home" and value co "@example.com"]`:                                                            0,
		`emails[type eq "work"].value eq "BJensen@example.com"`:                                                         1,
		`emails[type eq "work" and value eq "babs@jensen.org"]`:                                                         0,
		`emails eq "babs@jensen.org"`:                                                                                   1,
		`emails[primary eq true].value ew "example.com"`:                                                                1,
		`meta.lastModified gt "2011-05-13T04:42:34Z" and userName eq "bjensen"`:                                         1,
		`meta.lastModified lt "2011-05-13T04:42:34Z"`:                                                                   0,
		`active eq true and externalId eq "bjensen"`:                                                                    1,
		`active eq "False"`:                          0,
		enterprise + `:department eq "sales"`:        1,
		`externalId eq "BJENSEN"`:                    0,
		`nickName eq null and userName eq "bjensen"`: 1,
		`id eq "@bjensen:hs.test"`:                   1,
		roomline + `:localpart eq "bjensen"`:         1,
	} {
		if got := c.find(t, filter).Get("totalResults").Int(); got != int64(want) {
			t.Errorf("%s finds %d, want %d", filter, got, want)
		}
	}
	for _, filter := range []string{
		`userName`, `userName xx "a"`, `(userName eq "a"`, `userName eq "a" and`, `nothing eq "a"`, `userName eq a`, `emails[type eq "work"`,
		`password eq "x"`, `active gt true`, `meta.created eq "yesterday"`, strings.Repeat("(", 200) + `userName pr` + strings.Repeat(")", 200), `name eq "x"`,
	} {
		equal(t, filter, c.do(t, http.StatusBadRequest, http.MethodGet, "/Users?filter="+url.QueryEscape(filter), nil).Get("scimType"), "invalidFilter")
	}

	// RFC 7644 §3.5.2.1 to 3
	got := c.patch(t, id, object{"op": "add", "path": "emails", "value": []object{{"value": "babs@example.com", "type": "home", "primary": true}}})
	equal(t, "emails", got.Get("emails.#.value"), `["bjensen@example.com","babs@jensen.org","babs@example.com"]`)
	equal(t, "primary", got.Get("emails.#.primary"), `[true]`)
	got = c.patch(t, id, object{"op": "replace", "path": `emails[type eq "work"].value`, "value": "work@example.com"})
	equal(t, "work", got.Get(`emails.#(type=="work").value`), "work@example.com")
	got = c.patch(t, id, object{"op": "remove", "path": `emails[type eq "home" and value ew "jensen.org"]`})
	equal(t, "emails", got.Get("emails.#"), 2)
	c.patch(t, id, object{"op": "replace", "path": "addresses", "value": []object{{"type": "work", "locality": "Hollywood", "country": "US"}}})
	got = c.patch(t, id, object{"op": "replace", "path": `addresses[type eq "work"].streetAddress`, "value": "911 Universal City Plaza"})
	equal(t, "address", got.Get("addresses.0.streetAddress"), "911 Universal City Plaza")
	equal(t, "locality", got.Get("addresses.0.locality"), "Hollywood")
	for path, kind := range map[string]string{"id": "mutability", "nothing": "invalidPath", "emails[": "invalidPath", `emails[type xx "a"]`: "invalidFilter"} {
		r := c.do(t, http.StatusBadRequest, http.MethodPatch, "/Users/"+id, object{"schemas": []string{patchOp}, "Operations": []object{{"op": "replace", "path": path, "value": "x"}}})
		equal(t, path, r.Get("scimType"), kind)
	}

	// RFC 7644 §3.5.1: what is not in the body is gone.
	got = c.do(t, http.StatusOK, http.MethodPut, "/Users/"+id, object{"schemas": []string{core}, "userName": "bjensen", "name": object{"familyName": "Jensen"}, "roles": []any{}})
	equal(t, "title", got.Get("title").Exists(), false)
	equal(t, "emails", got.Get("emails").Exists(), false)

	// RFC 7644 §3.9
	got = c.do(t, http.StatusOK, http.MethodGet, "/Users/"+id+"?attributes=userName", nil)
	equal(t, "projection", []any{got.Get("userName"), got.Get("name").Exists(), got.Get("id").Exists()}, "[bjensen false true]")

	// RFC 7644 §3.4.3
	found := c.do(t, http.StatusOK, http.MethodPost, "/Users/.search", object{
		"schemas": []string{"urn:ietf:params:scim:api:messages:2.0:SearchRequest"}, "filter": `userName eq "bjensen"`, "startIndex": 1, "count": 10, "attributes": []string{"name"},
	})
	equal(t, "search", []any{found.Get("totalResults"), found.Get("Resources.0.name.familyName"), found.Get("Resources.0.userName").Exists()}, "[1 Jensen false]")

	// RFC 7644 §3.6
	c.do(t, http.StatusNoContent, http.MethodDelete, "/Users/"+id, nil)
	c.do(t, http.StatusNotFound, http.MethodGet, "/Users/"+id, nil)
	c.do(t, http.StatusNotFound, http.MethodDelete, "/Users/"+id, nil)
}

func TestDiscovery(t *testing.T) {
	t.Parallel()
	_, c := start(t)
	equal(t, "patch", c.do(t, 200, http.MethodGet, "/ServiceProviderConfig", nil).Get("patch.supported").Raw, "true")
	equal(t, "types", c.do(t, 200, http.MethodGet, "/ResourceTypes", nil).Get("Resources.#.name").Raw, `["User","Group"]`)
	c.do(t, 200, http.MethodGet, "/ResourceTypes/User", nil)
	schemas := c.do(t, 200, http.MethodGet, "/Schemas", nil)
	for _, urn := range schemas.Get("Resources.#.id").Array() {
		equal(t, "schema", c.do(t, 200, http.MethodGet, "/Schemas/"+urn.String(), nil).Get("id"), urn)
	}
	c.do(t, 404, http.MethodGet, "/Schemas/urn:nothing", nil)
}

func TestPagesAreBounded(t *testing.T) {
	t.Parallel()
	_, c := start(t)
	for i := range 7 {
		c.create(t, object{"userName": fmt.Sprint("p", i)})
	}
	page := func(query string) gjson.Result { return c.do(t, 200, http.MethodGet, "/Users?"+query, nil) }
	r := page("startIndex=3&count=2")
	equal(t, "page", []any{r.Get("totalResults"), r.Get("startIndex"), r.Get("itemsPerPage"), r.Get("Resources.#.userName").Raw}, `[8 3 2 ["p2","p3"]]`)
	r = page("count=0")
	equal(t, "count", []any{r.Get("totalResults"), r.Get("Resources").Raw}, "[8 []]")
	equal(t, "negative", page("startIndex=-5&count=-1").Get("Resources.#"), 0)
	equal(t, "large", page("count=100000000").Get("Resources.#"), 8)
	equal(t, "beyond", page("startIndex=100").Get("Resources.#"), 0)
	c.do(t, 400, http.MethodGet, "/Users?count=x", nil)
}

func TestETags(t *testing.T) {
	t.Parallel()
	d, c := start(t)
	made := c.create(t, object{"userName": "eve"})
	send := func(method string, header, value string, body string) *http.Response {
		t.Helper()
		req, _ := http.NewRequest(method, d.BaseURL(0)+base+"/Users/"+made.Get("id").String(), strings.NewReader(body))
		req.Header.Set("Authorization", "Bearer "+c.AccessToken)
		req.Header.Set(header, value)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp
	}
	version := made.Get("meta.version").String()
	got := send("GET", "If-None-Match", version, "")
	equal(t, "not modified", got.StatusCode, 304)
	equal(t, "ETag", got.Header.Get("ETag"), version)
	c.patch(t, made.Get("id").String(), object{"op": "replace", "path": "title", "value": "x"})
	equal(t, "modified", send("GET", "If-None-Match", version, "").StatusCode, 200)
	body := `{"schemas":["` + core + `"],"userName":"eve"}`
	equal(t, "old version", send("PUT", "If-Match", version, body).StatusCode, 412)
	equal(t, "old version", send("DELETE", "If-Match", version, "").StatusCode, 412)
	equal(t, "any version", send("PUT", "If-Match", "*", body).StatusCode, 200)
}

// TestRequestsOfEntraID sends requests in the forms that Entra ID has: flattened paths, values chosen by type, "False" as text. They were not
// recorded from one.
func TestRequestsOfEntraID(t *testing.T) {
	t.Parallel()
	d, c := start(t)
	equal(t, "probe", c.find(t, `userName eq "Test_User_dfeef4c5@hs.test"`).Get("totalResults"), 0)
	made := c.create(t, object{
		"schemas": []string{core, enterprise}, "externalId": "0a21f0f2-8d2a-4f8e-bf98-7363c4aed4ef", "userName": "Test_User_ab6490ee@hs.test", "active": true,
		"addresses": nil, "displayName": "lennay", "emails": []object{{"value": "testing@bob2.example", "type": "work", "primary": true}},
		"meta": object{"resourceType": "User"}, "name": object{"familyName": "leanne", "givenName": "kim"}, "roles": []any{},
		"phoneNumbers": []object{{"value": "+49 30 123456", "type": "work"}, {"value": "4711", "type": "other"}},
	})
	id := made.Get("id").String()
	equal(t, "id", id, "@test_user_ab6490ee:hs.test")
	equal(t, "found", c.find(t, `externalId eq "0a21f0f2-8d2a-4f8e-bf98-7363c4aed4ef"`).Get("Resources.0.id"), id)
	equal(t, "found", c.find(t, `userName eq "test_user_ab6490EE@hs.test"`).Get("Resources.0.userName"), "Test_User_ab6490ee@hs.test")

	got := c.patch(t, id, object{"op": "Replace", "path": `emails[type eq "work"].value`, "value": "updatedEmail@microsoft.example"},
		object{"op": "Replace", "path": "name.familyName", "value": "updatedFamilyName"})
	equal(t, "email", got.Get("emails.0.value"), "updatedEmail@microsoft.example")
	got = c.patch(t, id, object{"op": "Add", "path": `phoneNumbers[type eq "mobile"].value`, "value": "+49 171 7654321"},
		object{"op": "Add", "path": enterprise + ":department", "value": "R&D"}, object{"op": "Add", "path": enterprise + ":manager", "value": id},
		object{"op": "Replace", "value": object{"name.givenName": "Kim", "displayName": "Kim L", enterprise + ":employeeNumber": "7"}})
	equal(t, "mobile", got.Get(`phoneNumbers.#(type=="mobile").value`), "+49 171 7654321")
	e := gjson.Parse(got.Raw).Get(gjson.Escape(enterprise))
	equal(t, "enterprise", []any{e.Get("department"), e.Get("manager.value"), e.Get("employeeNumber"), got.Get("name.givenName")}, "[R&D "+id+" 7 Kim]")

	// What the directory says is what the person signs in with, and what others see.
	equal(t, "name", c.MustDo(t, http.MethodGet, hstest.Path("profile", id, "displayname"), nil).Get("displayname"), "Kim L")
	c.patch(t, id, object{"op": "add", "path": "password", "value": "a password of the directory"})
	login := d.MustLogin(t, map[string]any{"type": "m.id.thirdparty", "medium": "email", "address": "updatedemail@microsoft.example"}, "a password of the directory")
	login.MustSync(t, hstest.Sync{})
	d.MustLogin(t, map[string]any{"type": "m.id.phone", "country": "DE", "phone": "0171 7654321"}, "a password of the directory")

	// Disabling is a string.
	got = c.patch(t, id, object{"op": "Replace", "path": "active", "value": "False"})
	equal(t, "active", got.Get("active").Raw, "false")
	login.MustFail(t, http.StatusUnauthorized, "M_USER_LOCKED", http.MethodGet, hstest.Path("account", "whoami"), nil)
	equal(t, "found", c.find(t, `active eq false`).Get("Resources.#.id").Raw, `["`+id+`"]`)
	c.patch(t, id, object{"op": "Replace", "path": "active", "value": "True"})
	login.MustSync(t, hstest.Sync{})
	c.patch(t, id, object{"op": "Remove", "path": `phoneNumbers[type eq "mobile"]`}, object{"op": "Remove", "path": enterprise + ":manager"})
	c.do(t, http.StatusNoContent, http.MethodDelete, "/Users/"+id, nil)
	login.MustFail(t, http.StatusUnauthorized, "M_UNKNOWN_TOKEN", http.MethodGet, hstest.Path("account", "whoami"), nil)
}

// TestRequestsOfOkta sends requests in the forms that Okta has: a look for the user name first, whole resources with PUT, a PATCH without a path.
// They were not recorded from one.
func TestRequestsOfOkta(t *testing.T) {
	t.Parallel()
	_, c := start(t)
	equal(t, "probe", c.do(t, 200, http.MethodGet, "/Users?startIndex=1&count=100&filter="+url.QueryEscape(`userName eq "test.user@okta.local"`), nil).Get("Resources").Raw, "[]")
	body := object{
		"schemas": []string{core}, "userName": "test.user@okta.local", "name": object{"givenName": "Test", "familyName": "User"},
		"emails": []object{{"primary": true, "value": "test.user@okta.local", "type": "work"}}, "displayName": "Test User", "locale": "en-US",
		"externalId": "00ujl29u0le5T6Aj10h7", "groups": []any{}, "password": "1mz050nq-and-some-more", "active": true,
	}
	made := c.create(t, body)
	equal(t, "password", made.Get("password").Exists(), false)
	id := made.Get("id").String()
	body["name"] = object{"givenName": "Another", "middleName": "Excited", "familyName": "User"}
	got := c.do(t, 200, http.MethodPut, "/Users/"+id, body)
	equal(t, "name", got.Get("name.middleName"), "Excited")
	delete(body, "password")
	before := c.do(t, 200, http.MethodPut, "/Users/"+id, body).Get("meta").Raw
	equal(t, "a second time", c.do(t, 200, http.MethodPut, "/Users/"+id, body).Get("meta").Raw, before)
	got = c.patch(t, id, object{"op": "replace", "value": object{"active": false}})
	equal(t, "active", got.Get("active").Raw, "false")

	g := c.do(t, 201, http.MethodPost, "/Groups", object{"schemas": []string{group}, "displayName": "Test SCIMv2", "members": []any{}})
	gid := g.Get("id").String()
	patch := func(op object) gjson.Result {
		return c.do(t, 200, http.MethodPatch, "/Groups/"+gid, object{"schemas": []string{patchOp}, "Operations": []object{op}})
	}
	patch(object{"op": "replace", "value": object{"id": gid, "displayName": "Test SCIMv2 renamed"}})
	equal(t, "members", patch(object{"op": "add", "path": "members", "value": []object{{"value": id, "display": "test.user@okta.local"}}}).Get("members.#.value").Raw, `["`+id+`"]`)
	equal(t, "filter", c.do(t, 200, http.MethodGet, "/Groups?filter="+url.QueryEscape(`displayName eq "test SCIMv2 renamed"`), nil).Get("Resources.0.id"), gid)
	equal(t, "groups", c.do(t, 200, http.MethodGet, "/Users/"+id, nil).Get("groups.0.display"), "Test SCIMv2 renamed")
	equal(t, "members", patch(object{"op": "remove", "path": `members[value eq "` + id + `"]`}).Get("members").Exists(), false)
	c.do(t, 400, http.MethodPatch, "/Groups/"+gid, object{"schemas": []string{patchOp}, "Operations": []object{{"op": "add", "path": "members", "value": []object{{"value": "@nobody:hs.test"}}}}})
	c.do(t, 204, http.MethodDelete, "/Groups/"+gid, nil)
	c.do(t, 404, http.MethodGet, "/Groups/"+gid, nil)
}

func TestBulk(t *testing.T) {
	t.Parallel()
	_, c := start(t)
	bulk := func(status int, operations ...object) gjson.Result {
		t.Helper()
		return c.do(t, status, http.MethodPost, "/Bulk", object{"schemas": []string{"urn:ietf:params:scim:api:messages:2.0:BulkRequest"}, "Operations": operations})
	}
	user := func(name string) object {
		return object{"schemas": []string{core}, "userName": name, "emails": []object{{"value": name + "@example.org", "type": "work"}}}
	}
	// RFC 7644 §3.7.2
	r := bulk(200, object{"method": "POST", "path": "/Users", "bulkId": "qwerty", "data": user("alice")},
		object{"method": "POST", "path": "/Groups", "bulkId": "ytrewq", "data": object{"schemas": []string{group}, "displayName": "Tour Guides", "members": []object{{"type": "User", "value": "bulkId:qwerty"}}}},
		object{"method": "PATCH", "path": "/Users/bulkId:qwerty", "data": object{"schemas": []string{patchOp}, "Operations": []object{{"op": "add", "path": "title", "value": "Guide"}}}},
		object{"method": "POST", "path": "/Users", "bulkId": "x", "data": user("alice")},
		object{"method": "POST", "path": "/Users", "bulkId": "y", "data": object{"userName": "other", "emails": "alice@example.org"}},
		object{"method": "DELETE", "path": "/Users/@nobody:hs.test"})
	equal(t, "status", r.Get("Operations.#.status").Raw, `["201","201","200","409","409","404"]`)
	equal(t, "bulkId", r.Get("Operations.0.bulkId"), "qwerty")
	equal(t, "member", r.Get("Operations.1.response.members.0.value"), "@alice:hs.test")
	equal(t, "title", c.do(t, 200, http.MethodGet, "/Users/@alice:hs.test", nil).Get("title"), "Guide")
	equal(t, "why", r.Get("Operations.4.response.scimType"), "uniqueness")
	if why := r.Get("Operations.4.response.detail").String(); strings.Contains(why, "alice") || !strings.Contains(why, "emails") {
		t.Errorf("detail: %s", why)
	}

	var many []object
	for i := range 1000 {
		many = append(many, object{"method": "POST", "path": "/Users", "bulkId": fmt.Sprint(i), "data": user(fmt.Sprint("m", i))})
	}
	begin := time.Now()
	r = c.patiently(t, http.MethodPost, "/Bulk", object{"schemas": []string{"urn:ietf:params:scim:api:messages:2.0:BulkRequest"}, "Operations": many})
	t.Logf("1,000 people in %s", time.Since(begin))
	for i, op := range r.Get("Operations").Array() {
		if op.Get("status").String() != "201" || op.Get("bulkId").String() != fmt.Sprint(i) {
			t.Fatalf("operation %d: %s", i, op)
		}
	}
	bulk(413, append(many, many[0])...)
	c.do(t, 400, http.MethodPost, "/Bulk", object{"schemas": []string{core}, "Operations": many[:1]})
}

func TestOnlyThoseWhoManagePeopleMay(t *testing.T) {
	t.Parallel()
	d, c := start(t)
	alice := d.User(t, "alice")
	for _, path := range []string{"/Users", "/Groups", "/Users/" + c.ID, "/Schemas"} {
		client{alice}.do(t, http.StatusForbidden, http.MethodGet, path, nil)
	}
	client{alice}.do(t, http.StatusForbidden, http.MethodPost, "/Bulk", object{})
	// An account that nobody's directory has made can be found and taken over.
	equal(t, "unmanaged", c.find(t, `userName eq "alice"`).Get("Resources.0.id"), alice.ID)
	equal(t, "unmanaged", c.find(t, `userName eq "alice@hs.test" and active eq true`).Get("Resources.0.userName"), "alice@hs.test")
	c.do(t, http.StatusConflict, http.MethodPost, "/Users", object{"schemas": []string{core}, "userName": "alice"})
	got := c.do(t, 200, http.MethodPut, "/Users/"+alice.ID, object{"schemas": []string{core}, "userName": "alice.a@corp.example", "externalId": "7"})
	equal(t, "taken over", got.Get("userName"), "alice.a@corp.example")
	equal(t, "old name", c.find(t, `userName eq "alice"`).Get("totalResults"), 0)
}

func TestPictures(t *testing.T) {
	t.Parallel()
	_, c := start(t)
	const pixel = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
	made := c.create(t, object{"userName": "pat", "photos": []object{{"value": pixel, "type": "photo"}}})
	uri := made.Get("photos.0.value").String()
	if !strings.HasPrefix(uri, "mxc://") {
		t.Fatalf("photos: %s", made.Get("photos"))
	}
	id := made.Get("id").String()
	equal(t, "avatar", c.MustDo(t, http.MethodGet, hstest.Path("profile", id, "avatar_url"), nil).Get("avatar_url"), uri)
	again := c.do(t, 200, http.MethodPut, "/Users/"+id, object{"schemas": []string{core}, "userName": "pat", "photos": []object{{"value": pixel, "type": "photo"}}})
	equal(t, "the same picture", again.Get("photos.0.value"), uri)
	equal(t, "version", again.Get("meta.version"), made.Get("meta.version"))
	got := c.patch(t, id, object{"op": "remove", "path": "photos"})
	equal(t, "photos", got.Get("photos").Exists(), false)
	c.MustFail(t, 404, "M_NOT_FOUND", http.MethodGet, hstest.Path("profile", id, "avatar_url"), nil)
	c.do(t, 400, http.MethodPost, "/Users", object{"schemas": []string{core}, "userName": "svg", "photos": []object{{"value": "data:image/svg+xml;base64,AAAA"}}})
}

func TestRoomsFollowGroups(t *testing.T) {
	t.Parallel()
	d, c := start(t)
	alice, bob, carol := d.User(t, "alice"), d.User(t, "bob"), d.User(t, "carol")
	room := carol.MustCreateRoom(t, object{"preset": "private_chat"})
	members := func(users ...*hstest.User) []object {
		list := []object{}
		for _, u := range users {
			list = append(list, object{"value": u.ID})
		}
		return list
	}
	const ext = "urn:roomline:params:scim:schemas:extension:1.0:Group"
	made := c.do(t, 201, http.MethodPost, "/Groups", object{
		"schemas": []string{group}, "displayName": "Crew", "externalId": "g1", "members": members(alice, bob), ext: object{"roomId": room},
	})
	hstest.Eventually(t, "alice and bob are in the room", func() bool { return inRoom(t, carol, room, alice.ID, "join") && inRoom(t, carol, room, bob.ID, "join") })
	c.do(t, 200, http.MethodPut, "/Groups/"+made.Get("id").String(), object{"schemas": []string{group}, "displayName": "Crew", "members": members(alice)})
	hstest.Eventually(t, "bob is out", func() bool { return inRoom(t, carol, room, bob.ID, "leave") })
	c.do(t, 204, http.MethodDelete, "/Groups/"+made.Get("id").String(), nil)
	hstest.Eventually(t, "alice is out", func() bool { return inRoom(t, carol, room, alice.ID, "leave") })

	own := c.do(t, 201, http.MethodPost, "/Groups", object{"schemas": []string{group}, "displayName": "Own", "members": members(alice), ext: object{"kind": "space"}})
	var id string
	hstest.Eventually(t, "the space is made", func() bool {
		r := c.do(t, 200, http.MethodGet, "/Groups/"+own.Get("id").String(), nil)
		id = r.Get(gjson.Escape(ext) + ".roomId").String()
		return id != ""
	})
	hstest.Eventually(t, "alice is in the space", func() bool {
		return strings.Contains(alice.MustDo(t, http.MethodGet, hstest.Path("joined_rooms"), nil).Raw, id)
	})
	equal(t, "type", alice.MustDo(t, http.MethodGet, hstest.Path("rooms", id, "state", "m.room.create", ""), nil).Get("type"), "m.space")
}

func inRoom(t testing.TB, u *hstest.User, room, user, membership string) bool {
	t.Helper()
	r, err := u.Do(t.Context(), http.MethodGet, hstest.Path("rooms", room, "state", "m.room.member", user), nil)
	return err == nil && r.JSON().Get("membership").String() == membership
}
