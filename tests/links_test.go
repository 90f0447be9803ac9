package tests

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/store/storetest"
)

const links = "/_roomline/admin/v1/links"

func linkPath(id int64, act string) string { return fmt.Sprintf("%s/%d/%s", links, id, act) }

var everything = map[string]any{"name": true, "avatar": true, "email": true, "phone": true, "presence": true, "phone_presence": true, "work": true, "invite": true}

// finds reports whether a user finds another in the directory.
func finds(t *testing.T, u *hstest.User, term, id string) bool {
	t.Helper()
	answer := u.MustDo(t, http.MethodPost, hstest.Path("user_directory", "search"), map[string]any{"search_term": term})
	return slices.ContainsFunc(answer.Get("results").Array(), func(r gjson.Result) bool { return r.Get("user_id").String() == id })
}

// presenceOf is the last presence of somebody in an answer to sync, or empty.
func presenceOf(answer gjson.Result, id string) string {
	last := ""
	for _, e := range answer.Get("presence.events").Array() {
		if e.Get("sender").String() == id {
			last = e.Get("content.presence").String()
		}
	}
	return last
}

func TestALinkIsMadeAndRevokedOnEveryProcess(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{Processes: 2})
	a, b := d.Organisation(t, "Bakery", "bakery.test"), d.Organisation(t, "Mill", "mill.test")
	anna, bert := a.User(t, "anna").On(0), b.User(t, "bert").On(1)
	// Who is in no room with anna.
	clara := b.User(t, "clara").On(1)

	// The proposal is answered the same for a domain that is here and for one that is not.
	proposal := func(domain string) gjson.Result {
		return a.Owner.MustDo(t, http.MethodPost, links, map[string]any{"domain": domain, "gives": everything, "message": "Flour"})
	}
	here, there := proposal("mill.test"), proposal("elsewhere.test")
	for _, key := range []string{"state", "gives", "receives", "organisation", "note", "message", "proposed_by_us"} {
		if here.Get(key).Raw != there.Get(key).Raw {
			t.Errorf("%s: %s for a domain that is here, %s for another", key, here.Get(key).Raw, there.Get(key).Raw)
		}
	}
	id := here.Get("link_id").Int()
	anna.MustFail(t, 403, "M_FORBIDDEN", http.MethodGet, links, nil)
	a.Owner.MustFail(t, 400, "M_INVALID_PARAM", http.MethodPost, links, map[string]any{"domain": "mill.test", "gives": everything})
	a.Owner.MustFail(t, 400, "M_INVALID_PARAM", http.MethodPost, linkPath(id, "accept"), map[string]any{"gives": everything})
	b.Owner.MustFail(t, 404, "M_NOT_FOUND", http.MethodGet, fmt.Sprintf("%s/%d", links, there.Get("link_id").Int()), nil)
	stranger := d.Organisation(t, "Stranger", "stranger.test")
	stranger.Owner.MustFail(t, 404, "M_NOT_FOUND", http.MethodPost, linkPath(id, "accept"), map[string]any{"gives": everything})

	if finds(t, clara, "anna", anna.ID) || finds(t, anna, "clara", clara.ID) {
		t.Error("a proposal shows people")
	}
	offered := b.Owner.MustDo(t, http.MethodGet, links, nil).Get("links.0")
	if offered.Get("link_id").Int() != id || offered.Get("organisation.name").String() != "Bakery" || !offered.Get("receives.name").Bool() {
		t.Errorf("the other side sees %s", offered)
	}
	b.Owner.MustDo(t, http.MethodPost, linkPath(id, "accept"), map[string]any{"gives": map[string]any{"name": true, "invite": true}})

	// At once, on both processes.
	if !finds(t, clara, "anna", anna.ID) || !finds(t, anna, "clara", clara.ID) {
		t.Error("a link does not show people")
	}
	room := bert.MustCreateRoom(t, map[string]any{"invite": []string{anna.ID}, "is_direct": true})
	anna.MustJoin(t, room)
	since := bert.MustSync(t, hstest.Sync{}).Get("next_batch").String()
	anna.MustDo(t, http.MethodPut, hstest.Path("presence", anna.ID, "status"), map[string]any{"presence": "online", "status_msg": "baking"})
	since = bert.MustSyncUntil(t, since, func(answer gjson.Result) bool { return presenceOf(answer, anna.ID) == "online" })

	// The other direction gives no presence, although they share a room.
	anna.MustFail(t, 403, "M_FORBIDDEN", http.MethodGet, hstest.Path("presence", bert.ID, "status"), nil)
	annaSince := anna.MustSync(t, hstest.Sync{}).Get("next_batch").String()
	bert.MustDo(t, http.MethodPut, hstest.Path("presence", bert.ID, "status"), map[string]any{"presence": "online", "status_msg": "milling"})
	event := bert.MustSendText(t, room, "after the presence")
	anna.MustSyncUntil(t, annaSince, func(answer gjson.Result) bool {
		if p := presenceOf(answer, bert.ID); p != "" {
			t.Errorf("presence that is not given: %s", p)
		}
		return hstest.TimelineHas(room, event)(answer)
	})

	a.Owner.On(0).MustDo(t, http.MethodPost, linkPath(id, "revoke"), nil)
	if finds(t, clara, "anna", anna.ID) || finds(t, anna, "clara", clara.ID) {
		t.Error("a revoked link shows people")
	}
	bert.MustFail(t, 403, "M_FORBIDDEN", http.MethodGet, hstest.Path("presence", anna.ID, "status"), nil)
	bert.MustFail(t, 404, "M_NOT_FOUND", http.MethodPost, hstest.Path("createRoom"), map[string]any{"invite": []string{anna.ID}})
	clara.MustFail(t, 404, "M_NOT_FOUND", http.MethodGet, hstest.Path("profile", anna.ID), nil)
	anna.MustDo(t, http.MethodPut, hstest.Path("presence", anna.ID, "status"), map[string]any{"presence": "unavailable", "status_msg": "hidden"})
	event = anna.MustSendText(t, room, "the room stays")
	bert.MustSyncUntil(t, since, func(answer gjson.Result) bool {
		if p := presenceOf(answer, anna.ID); p == "unavailable" {
			t.Error("presence after the link was revoked")
		}
		return hstest.TimelineHas(room, event)(answer)
	})

	// Each side's audit log tells of it, the other side's without names.
	db := storetest.DB(t, d.DSN)
	for _, o := range []struct {
		of    *hstest.Organisation
		actor string
	}{{a, a.Owner.ID}, {b, "organisation:bakery.test"}} {
		var actor string
		err := db.QueryRow(`SELECT actor FROM audit_log WHERE organisation_id = $1 AND action = 'link.revoke'`, o.of.ID).Scan(&actor)
		if err != nil || actor != o.actor {
			t.Errorf("the audit log of %s says that %q revoked the link: %v", o.of.Domain, actor, err)
		}
	}
}

func TestTheOperatorLinksOrganisationsAtTheMachine(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{})
	a, b := d.Organisation(t, "Bakery", "bakery.test"), d.Organisation(t, "Mill", "mill.test")
	anna, bert := a.User(t, "anna"), b.User(t, "bert")
	must := func(args ...string) string {
		t.Helper()
		code, output := d.Command(t, 0, args...)
		if code != 0 {
			t.Fatalf("roomline %v: %d %s", args, code, output)
		}
		return output
	}
	must("link", "propose", "--organisation", "bakery.test", "--gives", "name,invite", "mill.test")
	if output := must("link", "list", "--organisation", "mill.test"); !strings.Contains(output, "proposed by them") || !strings.Contains(output, "name,invite") {
		t.Errorf("list: %s", output)
	}
	must("link", "accept", "--organisation", strconv.FormatInt(b.ID, 10), "--gives", "name", "1")
	if !finds(t, bert, "anna", anna.ID) || !finds(t, anna, "bert", bert.ID) {
		t.Error("the link shows nobody")
	}
	must("link", "gives", "--organisation", "mill.test", "--gives", "avatar", "1")
	if finds(t, anna, "bert", bert.ID) {
		t.Error("names are shown that are not given any more")
	}
	must("link", "revoke", "--organisation", "mill.test", "1")
	if finds(t, bert, "anna", anna.ID) {
		t.Error("the link shows people after its end")
	}
	for _, wrong := range [][]string{
		{"link", "revoke", "--organisation", "mill.test", "1"}, {"link", "accept", "--organisation", "mill.test", "7"},
		{"link", "propose", "--organisation", "nowhere.test", "mill.test"}, {"link", "propose", "--organisation", "mill.test", "--gives", "all", "bakery.test"},
		{"link", "list"}, {"link", "refuse", "--organisation", "mill.test", "x"},
	} {
		if code, output := d.Command(t, 0, wrong...); code == 0 {
			t.Errorf("roomline %v: %s", wrong, output)
		}
	}
}

func TestPicturesOfLinkedPeopleAreSeen(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{})
	a, b := d.Organisation(t, "Bakery", "bakery.test"), d.Organisation(t, "Mill", "mill.test")
	anna, bert := a.User(t, "anna"), b.User(t, "bert")
	uploaded := anna.MustUpload(t, "image/png", "", []byte("a face"))
	anna.MustDo(t, http.MethodPut, hstest.Path("profile", anna.ID, "avatar_url"), map[string]any{"avatar_url": uploaded})
	id := a.Owner.MustDo(t, http.MethodPost, links, map[string]any{"domain": "mill.test", "gives": map[string]any{"avatar": true}}).Get("link_id").Int()
	sees := func() int {
		r, err := bert.Do(t.Context(), http.MethodGet, "/_matrix/client/v1/media/download/"+uploaded[len("mxc://"):], nil)
		if err != nil {
			t.Fatal(err)
		}
		return r.Status
	}
	if status := sees(); status != 404 {
		t.Errorf("without a link: %d", status)
	}
	b.Owner.MustDo(t, http.MethodPost, linkPath(id, "accept"), map[string]any{"gives": map[string]any{}})
	if status := sees(); status != 200 {
		t.Errorf("with a link: %d", status)
	}
	a.Owner.MustDo(t, http.MethodPut, linkPath(id, "gives"), map[string]any{"gives": map[string]any{"name": true}})
	if status := sees(); status != 404 {
		t.Errorf("with a link that gives no pictures: %d", status)
	}
}

func TestPeopleAreLookedUpAsAThirdPartyNetwork(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{})
	anna, bert := d.User(t, "anna"), d.User(t, "bert")
	anna.MustDo(t, http.MethodPut, hstest.Path("profile", anna.ID, "displayname"), map[string]any{"displayname": "Anna Köhler"})
	protocols := bert.MustDo(t, http.MethodGet, hstest.Path("thirdparty", "protocols"), nil)
	if !protocols.Get("roomline.user_fields").IsArray() || protocols.Get("roomline.instances.#").Int() != 0 {
		t.Errorf("protocols: %s", protocols)
	}
	bert.MustDo(t, http.MethodGet, hstest.Path("thirdparty", "protocol", "roomline"), nil)
	for _, query := range []string{"query=kohler", "name=koehler", "query=564", "name=anna&query=koh"} {
		found := bert.MustDo(t, http.MethodGet, hstest.Path("thirdparty", "user", "roomline")+"?"+query, nil)
		if found.Get("#").Int() != 1 || found.Get("0.userid").String() != anna.ID || found.Get("0.fields.name").String() != "Anna Köhler" || found.Get("0.protocol").String() != "roomline" {
			t.Errorf("%s: %s", query, found)
		}
	}
	bert.MustFail(t, 404, "M_NOT_FOUND", http.MethodGet, hstest.Path("thirdparty", "user", "roomline")+"?email=nobody@example.org", nil)
	bert.MustFail(t, 400, "M_MISSING_PARAM", http.MethodGet, hstest.Path("thirdparty", "user", "roomline"), nil)
	if found := bert.MustDo(t, http.MethodGet, hstest.Path("thirdparty", "user")+"?userid="+anna.ID, nil); found.Get("0.fields.name").String() != "Anna Köhler" {
		t.Errorf("by id: %s", found)
	}
}
