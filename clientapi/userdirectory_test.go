package clientapi_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/roomline/roomline/clientapi"
	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/store/storetest"
)

// people searches the user directory.
func (c *client) people(term string) []string {
	c.p.t.Helper()
	return c.ok("POST", "/user_directory/search", object{"search_term": term}).names("results", "user_id")
}

func (c *client) rename(name string) {
	c.p.t.Helper()
	c.ok("PUT", "/profile/"+esc(c.user)+"/displayname", object{"displayname": name})
}

func TestPeopleAreFound(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	one, two := d.process(), d.process()
	alice, bjork, bob := one.client("alice.adams"), one.client("b12"), two.client("bob")
	bjork.rename("Björk Guðmundsdóttir")
	wang := one.client("w1")
	wang.rename("王小明")
	for term, want := range map[string][]string{
		"alice": {alice.user}, "ADAM": {alice.user}, "adams alice": {alice.user}, "adams alison": {}, "lice": {},
		"bjork": {bjork.user}, "BJÖRK gud": {bjork.user}, "björk guð": {bjork.user}, "b12": {bjork.user}, "Bj": {bjork.user},
		"小明": {wang.user}, "王": {wang.user}, "明小": {},
		"@b12": {bjork.user}, "@b12:one.test": {bjork.user}, "@B12:ONE": {bjork.user}, "@12": {},
		"bob": {}, // oneself
		"":    {}, "!!": {}, "one": {}, "@": {}, "%": {}, "'": {},
	} {
		same(t, term, bob.people(term), want)
	}
	result := bob.ok("POST", "/user_directory/search", object{"search_term": "bjork"}).list("results")[0]
	if result["display_name"] != "Björk Guðmundsdóttir" || result["avatar_url"] != nil {
		t.Errorf("result: %v", result)
	}

	// A changed profile is found at once, on every process.
	bjork.rename("Someone Else")
	bjork.ok("PUT", "/profile/"+esc(bjork.user)+"/avatar_url", object{"avatar_url": "mxc://one.test/x"})
	same(t, "old name", bob.people("bjork"), []string{})
	same(t, "new name", bob.people("else"), []string{bjork.user})
	bjork.ok("DELETE", "/profile/"+esc(bjork.user)+"/displayname", nil)
	same(t, "no name", bob.people("else"), []string{})

	for i := range 12 {
		one.user(fmt.Sprintf("many%02d", i))
	}
	many := bob.ok("POST", "/user_directory/search", object{"search_term": "many", "limit": 3})
	same(t, "limit", many.names("results", "user_id"), []string{"@many00:one.test", "@many01:one.test", "@many02:one.test"})
	if many["limited"] != true {
		t.Errorf("limited: %v", many["limited"])
	}
	if all := bob.ok("POST", "/user_directory/search", object{"search_term": "many", "limit": 12}); all["limited"] != false || len(all.list("results")) != 12 {
		t.Errorf("all: %v", all)
	}
	if n := len(bob.people("many")); n != 10 {
		t.Errorf("%d without a limit; want 10", n)
	}

	must(t, one.accounts.SetLocked(t.Context(), matrix.UserID(wang.user), true))
	same(t, "locked", bob.people("王"), []string{})
	must(t, one.accounts.SetLocked(t.Context(), matrix.UserID(wang.user), false))
	same(t, "unlocked", bob.people("王"), []string{wang.user})
	must(t, one.accounts.Deactivate(t.Context(), matrix.UserID(wang.user), false))
	same(t, "deactivated", bob.people("w1"), []string{})
	same(t, "deactivated by id", bob.people("@w1"), []string{})

	for _, bad := range []struct {
		code string
		body any
	}{
		{"M_MISSING_PARAM", object{}}, {"M_NOT_JSON", nil}, {"M_BAD_JSON", object{"search_term": 1}}, {"M_INVALID_PARAM", object{"search_term": "a", "limit": 0}},
		{"M_INVALID_PARAM", object{"search_term": strings.Repeat("a", 1000)}}, {"M_BAD_JSON", object{"search_term": "a", "limit": "1"}},
	} {
		bob.refused(400, bad.code, "POST", "/user_directory/search", bad.body)
	}
	bob.people(strings.Repeat("a b c d ", 60)) // many words are as good as a few
}

func TestOnlyThoseInOnesRoomsAreFoundWhereStrangersRegister(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.configure = func(cfg *clientapi.Config) { cfg.DirectoryOfRooms = true }
	p := d.process()
	p.tidy()
	host, alice, bob, carol := p.client("one.host"), p.client("one.alice"), p.client("one.bob"), p.client("one.carol")
	find := func(c *client, want ...string) {
		t.Helper()
		for _, term := range []string{"one", "@one"} {
			same(t, c.user+" searches "+term, c.people(term), append([]string{}, want...))
		}
	}
	for _, c := range []*client{host, alice, bob, carol} {
		find(c)
	}
	// A room makes people known to each other, and a published one makes them known to all.
	shared := alice.create(object{"preset": "private_chat", "invite": []string{bob.user}})
	bob.join(shared)
	find(alice, bob.user)
	find(bob, alice.user)
	find(carol)
	published := host.create(object{"visibility": "public", "preset": "public_chat"})
	hstest.Eventually(t, "who is in a published room is found", func() bool { return len(carol.people("one")) == 1 })
	find(carol, host.user)
	find(alice, bob.user, host.user)
	find(host)
	// One that anybody may join or read does, too.
	host.ok("PUT", "/directory/list/room/"+esc(published), object{"visibility": "private"})
	find(carol, host.user)
	host.set(published, "m.room.join_rules", "", object{"join_rule": "invite"})
	find(carol)
	host.set(published, "m.room.history_visibility", "", object{"history_visibility": "world_readable"})
	find(carol, host.user)
	host.set(published, "m.room.history_visibility", "", object{"history_visibility": "shared"})
	find(carol)
	bob.leave(shared)
	find(alice)
}

func TestPeopleOfOtherOrganisationsAreFoundThroughRooms(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	p := d.process()
	p.tidy()
	db := storetest.DB(t, d.dsn)
	_, err := db.Exec(`
		INSERT INTO organisations (organisation_id, name, created_ts) VALUES (7, 'other', 0);
		UPDATE hosted_domains SET organisation_id = 7 WHERE server_name = 'two.test'`)
	must(t, err)
	elsewhere := func(localpart string) *client {
		user, err := p.accounts.Create(t.Context(), auth.NewAccount{Localpart: localpart, Domain: "two.test", Password: password})
		must(t, err)
		return &client{p: p, user: string(user), token: p.login(string(user), nil).text("access_token")}
	}
	alice, stranger, friend := p.client("alice"), p.client("stranger"), elsewhere("friend")
	elsewhere("friendless")
	id := alice.create(object{"preset": "public_chat"})
	same(t, "no room yet", alice.people("friend"), []string{})
	d.letIn(id, friend)
	hstest.Eventually(t, "who is in a room with alice is found", func() bool { return slices.Equal(alice.people("friend"), []string{friend.user}) })
	same(t, "the other way", friend.people("alice"), []string{alice.user})
	same(t, "not in a room with the stranger", stranger.people("friend"), []string{})
	same(t, "not the stranger", friend.people("stranger"), []string{})
	friend.leave(id)
	same(t, "not any more", alice.people("friend"), []string{})
}

// mutual asks for the rooms shared with another user.
func (c *client) mutual(query string) object {
	c.p.t.Helper()
	return c.p.want(200, "", "GET", v1+"/mutual_rooms?"+query, c.token, nil)
}

func list(o object, key string) []string {
	all := []string{}
	items, _ := o[key].([]any)
	for _, i := range items {
		all = append(all, i.(string))
	}
	return all
}

func TestMutualRooms(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	one, two := d.process(), d.process()
	alice, bob := one.client("alice"), two.client("bob")
	var shared []string
	for range 3 {
		id := alice.create(object{"preset": "public_chat"})
		bob.join(id)
		shared = append(shared, id)
	}
	slices.Sort(shared)
	alice.create(object{"preset": "public_chat"})
	left := alice.create(object{"preset": "public_chat"})
	bob.join(left)
	bob.leave(left)
	alice.create(object{"invite": []string{bob.user}})
	answer := bob.mutual("user_id=" + esc(alice.user))
	same(t, "mutual", list(answer, "joined"), shared)
	if answer["count"] != 3.0 || answer["next_batch"] != nil {
		t.Errorf("answer: %v", answer)
	}
	unstable := one.want(200, "", "GET", "/_matrix/client/unstable/uk.half-shot.msc2666/user/mutual_rooms?user_id="+esc(bob.user), alice.token, nil)
	same(t, "unstable", list(unstable, "joined"), shared)
	same(t, "unknown user", list(bob.mutual("user_id="+esc("@nobody:elsewhere.test")), "joined"), []string{})
	for query, code := range map[string]string{
		"": "M_MISSING_PARAM", "user_id=nobody": "M_INVALID_PARAM", "user_id=" + esc(bob.user): "M_INVALID_PARAM",
		"user_id=" + esc(alice.user) + "&from=%21": "M_INVALID_PARAM", "user_id=" + esc(alice.user) + "&from=YWJj": "M_INVALID_PARAM",
	} {
		one.want(400, code, "GET", v1+"/mutual_rooms?"+query, bob.token, nil)
	}

	// More than fit in a page.
	db := storetest.DB(t, d.dsn)
	_, err := db.Exec(`
		INSERT INTO rooms (room_nid, room_id, room_version, organisation_id, head_event_id, extremities, depth)
		SELECT 1000000 + n, '!many' || lpad(n::text, 3, '0') || ':one.test', '12', 1, '$x', '{}', 1 FROM generate_series(1, 120) n`)
	must(t, err)
	_, err = db.Exec(`
		INSERT INTO memberships (user_id, room_nid, membership, sender, position)
		SELECT u, 1000000 + n, 'join', u, 1 FROM generate_series(1, 120) n, unnest(ARRAY[$1::text, $2]) u`, alice.user, bob.user)
	must(t, err)
	first := alice.mutual("user_id=" + esc(bob.user))
	second := bob.mutual("user_id=" + esc(alice.user) + "&from=" + first.text("next_batch"))
	all := append(list(first, "joined"), list(second, "joined")...)
	if len(all) != 123 || !slices.IsSorted(all) || first["count"] != 123.0 || second["count"] != 123.0 || second["next_batch"] != nil {
		t.Errorf("%d rooms, count %v and %v, next_batch %v", len(all), first["count"], second["count"], second["next_batch"])
	}
}

func TestReportsAreKept(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	p := d.process()
	alice, bob := p.client("alice"), p.client("bob")
	id := alice.create(object{})
	event := alice.say(id, "rude")
	roomReport, eventReport := room(id)+"/report", room(id)+"/report/"+esc(event)
	reason, nothing := object{"reason": "spam", "score": -100}, "$"+strings.Repeat("A", 43)
	bob.ok("POST", roomReport, reason)
	bob.ok("POST", room("!nowhere:one.test")+"/report", reason)
	bob.ok("POST", "/users/"+esc(alice.user)+"/report", object{"reason": ""})
	bob.ok("POST", "/users/"+esc("@nobody:one.test")+"/report", reason)
	alice.ok("POST", eventReport, nil)
	// The same answer whether the event is not there, or not the reporter's to see, or the reporter was never in the room.
	bob.refused(404, "M_NOT_FOUND", "POST", eventReport, reason)
	bob.refused(404, "M_NOT_FOUND", "POST", room(id)+"/report/"+esc(nothing), reason)
	alice.refused(404, "M_NOT_FOUND", "POST", room(id)+"/report/"+esc(nothing), reason)
	alice.refused(404, "M_NOT_FOUND", "POST", room("!nowhere:one.test")+"/report/"+esc(event), reason)
	open := alice.create(object{"preset": "public_chat", "initial_state": []object{
		{"type": "m.room.history_visibility", "content": object{"history_visibility": "world_readable"}}}})
	bob.refused(404, "M_NOT_FOUND", "POST", room(open)+"/report/"+esc(alice.say(open, "x")), reason)
	for _, bad := range []struct{ code, path, body string }{
		{"M_MISSING_PARAM", roomReport, `{}`}, {"M_NOT_JSON", roomReport, ``}, {"M_BAD_JSON", roomReport, `{"reason":1}`},
		{"M_INVALID_PARAM", roomReport, `{"reason":"` + strings.Repeat("a", 9000) + `"}`}, {"M_INVALID_PARAM", "/rooms/x/report", `{"reason":""}`},
		{"M_INVALID_PARAM", "/users/x/report", `{"reason":""}`}, {"M_MISSING_PARAM", "/users/" + esc(alice.user) + "/report", `{}`},
		{"M_BAD_JSON", eventReport, `{"reason":[]}`},
	} {
		bob.refused(400, bad.code, "POST", bad.path, bad.body)
	}
	reports, err := p.store.ListReports(t.Context(), store.DefaultOrganisation, 0, 10)
	must(t, err)
	var got []string
	for _, r := range reports {
		got = append(got, fmt.Sprintf("%s %s %s %s %s", r.Reporter, r.RoomID, r.EventID, r.ReportedUser, r.Reason))
	}
	same(t, "reports", got, []string{
		fmt.Sprintf("%s %s %s  ", alice.user, id, event),
		fmt.Sprintf("%s   %s ", bob.user, alice.user),
		fmt.Sprintf("%s %s   spam", bob.user, id),
	})
	older, err := p.store.ListReports(t.Context(), store.DefaultOrganisation, reports[1].ID, 10)
	must(t, err)
	if len(older) != 1 || older[0].ID != reports[2].ID {
		t.Errorf("older reports: %v", older)
	}
	if others, err := p.store.ListReports(t.Context(), 77, 0, 10); err != nil || len(others) != 0 {
		t.Errorf("another organisation sees %v, %v", others, err)
	}
	// What one user reports without end drives out no other's reports.
	for i := range 5 {
		must(t, p.store.InsertReport(t.Context(), store.Report{OrganisationID: 1, Reporter: "@spam:one.test", Reason: fmt.Sprint(i)}, 3))
	}
	reports, err = p.store.ListReports(t.Context(), 1, 0, 10)
	must(t, err)
	if len(reports) != 6 || reports[0].Reason != "4" || reports[2].Reason != "2" {
		t.Errorf("kept: %v", reports)
	}
}
