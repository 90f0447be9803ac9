package clientapi_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/roomline/roomline/clientapi"
	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/internal/store/storetest"
)

const aliceProfile = "/_matrix/client/v3/profile/@alice:one.test"

func TestProfileFields(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	p.user("alice")
	p.user("bob")
	alice, bob := p.login("alice", nil).text("access_token"), p.login("bob", nil).text("access_token")
	if profile := p.want(200, "", "GET", aliceProfile, bob, nil); len(profile) != 0 {
		t.Errorf("a new profile is %v", profile)
	}
	p.want(404, "M_NOT_FOUND", "GET", aliceProfile+"/displayname", bob, nil)
	values := map[string]any{
		"displayname": "Alice \u2028 <b>&", "avatar_url": "mxc://one.test/abc", "m.tz": "Europe/London", "com.example.field": map[string]any{"deep": []any{1.0, nil}},
		"com.example.null": nil, "com.example.text": "", "m.example_field": false, "com.example.with-dash": 1.5,
	}
	for key, value := range values {
		p.want(200, "", "PUT", aliceProfile+"/"+key, alice, object{key: value})
		got := p.want(200, "", "GET", aliceProfile+"/"+key, bob, nil)
		if v, ok := got[key]; !ok || fmt.Sprint(v) != fmt.Sprint(value) || len(got) != 1 {
			t.Errorf("%s is %v, not %v", key, got, value)
		}
	}
	if all := p.want(200, "", "GET", aliceProfile, bob, nil); fmt.Sprint(all) != fmt.Sprint(object(values)) {
		t.Errorf("the profile is %v, not %v", all, values)
	}
	p.want(200, "", "DELETE", aliceProfile+"/com.example.field", alice, nil)
	p.want(200, "", "DELETE", aliceProfile+"/com.example.field", alice, nil)
	p.want(404, "M_NOT_FOUND", "GET", aliceProfile+"/com.example.field", bob, nil)
	// Clients clear the name with an empty one.
	p.want(200, "", "PUT", aliceProfile+"/displayname", alice, object{"displayname": ""})
	p.want(404, "M_NOT_FOUND", "GET", aliceProfile+"/displayname", bob, nil)
	p.want(403, "M_FORBIDDEN", "PUT", aliceProfile+"/displayname", bob, object{"displayname": "Mallory"})
	p.want(403, "M_FORBIDDEN", "DELETE", aliceProfile+"/avatar_url", bob, nil)
	p.want(404, "M_NOT_FOUND", "GET", "/_matrix/client/v3/profile/@nobody:one.test", bob, nil)
	p.want(404, "M_NOT_FOUND", "GET", "/_matrix/client/v3/profile/@nobody:elsewhere.test/displayname", bob, nil)
	p.want(400, "M_INVALID_PARAM", "GET", "/_matrix/client/v3/profile/alice", bob, nil)
}

func TestNameAndAvatarReachTheRooms(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	p.user("alice")
	alice := p.login("alice", nil).text("access_token")
	p.want(200, "", "PUT", aliceProfile+"/displayname", alice, object{"displayname": "Alice"})
	p.want(200, "", "PUT", aliceProfile+"/avatar_url?propagate_to=all", alice, object{"avatar_url": "mxc://one.test/a"})
	p.want(200, "", "DELETE", aliceProfile+"/avatar_url", alice, nil)
	if fmt.Sprint(p.propagate) != "[@alice:one.test @alice:one.test @alice:one.test]" {
		t.Errorf("rooms were told of %v", p.propagate)
	}
	p.want(200, "", "PUT", aliceProfile+"/displayname?propagate_to=none", alice, object{"displayname": "Al"})
	p.want(200, "", "PUT", aliceProfile+"/m.tz", alice, object{"m.tz": "UTC"})
	p.want(400, "M_INVALID_PARAM", "PUT", aliceProfile+"/displayname?propagate_to=some", alice, object{"displayname": "Al"})
	if len(p.propagate) != 3 {
		t.Errorf("rooms were told of %v", p.propagate)
	}
}

func TestProfileRefusesBadFields(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	p.user("alice")
	alice := p.login("alice", nil).text("access_token")
	for _, key := range []string{"name", "Com.Example", "com.exämple", "1com.example", ".x", "com.", "com..x", "com%2Fx.y", "com.x%20y"} {
		p.want(400, "M_INVALID_PARAM", "PUT", aliceProfile+"/"+key, alice, object{key: "x"})
		p.want(400, "M_INVALID_PARAM", "DELETE", aliceProfile+"/"+key, alice, nil)
		p.want(400, "M_INVALID_PARAM", "GET", aliceProfile+"/"+key, alice, nil)
	}
	long := "com." + strings.Repeat("x", 252)
	p.want(400, "M_KEY_TOO_LARGE", "PUT", aliceProfile+"/"+long, alice, object{long: "x"})
	p.want(200, "", "PUT", aliceProfile+"/"+long[:255], alice, object{long[:255]: "x"})
	p.want(400, "M_MISSING_PARAM", "PUT", aliceProfile+"/displayname", alice, object{"avatar_url": "mxc://one.test/a"})
	for _, bad := range []any{5, nil, true, []string{"x"}, object{}} {
		p.want(400, "M_BAD_JSON", "PUT", aliceProfile+"/displayname", alice, object{"displayname": bad})
		p.want(400, "M_BAD_JSON", "PUT", aliceProfile+"/avatar_url", alice, object{"avatar_url": bad})
	}
	for _, bad := range []string{"http://example.com/a", "mxc://one.test", "mxc:///a", "mxc://one.test/a/b", "mxc://one.test/", "x", "mxc://" + strings.Repeat("x", 1100) + "/a"} {
		p.want(400, "M_INVALID_PARAM", "PUT", aliceProfile+"/avatar_url", alice, object{"avatar_url": bad})
	}
	p.want(400, "M_INVALID_PARAM", "PUT", aliceProfile+"/displayname", alice, object{"displayname": strings.Repeat("x", 1025)})
	for _, body := range []string{"[]", "null", "5", `"x"`} {
		p.want(400, "M_BAD_JSON", "PUT", aliceProfile+"/displayname", alice, body)
	}
	for _, body := range []string{"", "{", "x"} {
		p.want(400, "M_NOT_JSON", "PUT", aliceProfile+"/displayname", alice, body)
	}
}

func TestProfileSizeIsBounded(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	processes := []*process{d.process(), d.process()}
	p := processes[0]
	p.user("alice")
	alice := p.login("alice", nil).text("access_token")
	p.want(400, "M_PROFILE_TOO_LARGE", "PUT", aliceProfile+"/com.example.big", alice, object{"com.example.big": strings.Repeat("x", 64<<10)})
	// Eight fields of a fifth at once: four fit.
	var wg sync.WaitGroup
	statuses := make([]int, 8)
	for i := range statuses {
		wg.Go(func() {
			key := fmt.Sprint("com.example.n", i)
			statuses[i], _ = processes[i%2].do("PUT", aliceProfile+"/"+key, alice, object{key: strings.Repeat("x", 16_000)})
		})
	}
	wg.Wait()
	stored := 0
	for _, status := range statuses {
		if status == 200 {
			stored++
		}
	}
	if stored != 4 {
		t.Errorf("%d fields of 16,000 bytes fit: %v", stored, statuses)
	}
}

func TestProfilesAreTheOrganisationsOwn(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	p := d.process()
	p.user("alice")
	alice := p.login("alice", nil).text("access_token")
	p.want(200, "", "PUT", aliceProfile+"/displayname", alice, object{"displayname": "Alice"})
	db := storetest.DB(t, d.dsn)
	_, err := db.Exec(`INSERT INTO organisations (organisation_id, name, created_ts) VALUES (7, 'other', 0);
		UPDATE hosted_domains SET organisation_id = 7 WHERE server_name = 'two.test'`)
	must(t, err)
	_, err = p.accounts.Create(t.Context(), auth.NewAccount{Localpart: "stranger", Domain: "two.test", Password: password})
	must(t, err)
	stranger := p.login("@stranger:two.test", nil).text("access_token")
	for _, path := range []string{"", "/displayname", "/m.tz"} {
		_, exists := p.do("GET", aliceProfile+path, stranger, nil)
		_, none := p.do("GET", "/_matrix/client/v3/profile/@nobody:one.test"+path, stranger, nil)
		if exists.text("errcode") != "M_NOT_FOUND" || fmt.Sprint(exists) != fmt.Sprint(none) {
			t.Errorf("of another organisation: %v; of nobody: %v", exists, none)
		}
	}
	for _, user := range []string{"alice", "nobody"} {
		p.want(403, "M_FORBIDDEN", "GET", "/_matrix/client/v3/profile/@"+user+":one.test", "", nil)
	}
	d.configure = func(cfg *clientapi.Config) { cfg.PublicProfiles = true }
	if profile := d.process().want(200, "", "GET", aliceProfile, "", nil); profile.text("displayname") != "Alice" {
		t.Errorf("the public profile is %v", profile)
	}
}
