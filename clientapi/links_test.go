package clientapi_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/roomline/roomline/clientapi"
	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/internal/matrix"
	contacts "github.com/roomline/roomline/internal/people"
	"github.com/roomline/roomline/internal/store"
)

// twoOrganisations gives two.test to organisation 7.
func twoOrganisations(d *deployment, p *process) (other func(localpart string) *client) {
	d.t.Helper()
	d.sql(`INSERT INTO organisations (organisation_id, name, created_ts) VALUES (7, 'Seven', 0)`)
	d.sql(`UPDATE hosted_domains SET organisation_id = 7 WHERE server_name = 'two.test'`)
	return func(localpart string) *client {
		d.t.Helper()
		user, err := p.accounts.Create(d.t.Context(), auth.NewAccount{Localpart: localpart, Domain: "two.test", Password: password})
		must(d.t, err)
		return &client{p: p, user: string(user), token: p.login(string(user), nil).text("access_token")}
	}
}

// link makes organisations 7 and 1 linked: 7 gives, 1 gives everything. What came before is over.
func (p *process) link(gives store.Sharing) {
	p.t.Helper()
	p.unlink()
	must(p.t, p.store.Write(p.t.Context(), func(tx *store.Tx) error {
		id, err := tx.InsertLink(p.t.Context(), store.Link{OrganisationID: 7, Domain: "one.test", Offer: gives})
		if err != nil {
			return err
		}
		l, err := tx.LockLink(p.t.Context(), 1, id)
		if err != nil {
			return err
		}
		_, err = tx.ActivateLink(p.t.Context(), l, 1, store.Sharing{Name: true, Avatar: true, Email: true, Phone: true, Presence: true, PhonePresence: true, Invite: true}, 1)
		return err
	}))
}

func (p *process) unlink() {
	p.t.Helper()
	must(p.t, p.store.Write(p.t.Context(), func(tx *store.Tx) error { return tx.EndLinks(p.t.Context(), 7, 1) }))
}

// person gives an account addresses and a place in the organisation.
func (p *process) person(c *client, org int64, email, phone string) {
	p.t.Helper()
	must(p.t, p.store.Write(p.t.Context(), func(tx *store.Tx) error {
		user := matrix.UserID(c.user)
		for medium, address := range map[string]string{"email": email, "msisdn": phone} {
			if _, err := tx.InsertThreePID(p.t.Context(), store.ThreePID{OrganisationID: org, Medium: medium, Address: address, UserID: user}); err != nil {
				return err
			}
		}
		return tx.PutPerson(p.t.Context(), user, store.PersonFields{GivenName: "Ursula", FamilyName: "Özil", Title: "Buyer", Department: "Purchase"})
	}))
}

func TestPeopleAreFoundByAllThatIsKnownOfThem(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	one, two := d.process(), d.process()
	d.region("DE")
	bob, ursula := two.client("bob"), one.client("u1")
	ursula.rename("Uschi")
	one.person(ursula, 1, "u.oezil@example.org", "491712345678")
	for term, found := range map[string]bool{
		"ozil": true, "OEZIL": true, "ursula ö": true, "uschi": true, "u.oezil@exam": true, "oezil@example.org": true, "buyer": true, "purch ozi": true,
		"0171 2345678": true, "+49 171 23": true, "5678": true, "(0171) 234-56 78": true, "877": true, "877852": true, "6945": true, "87244": true,
		"0171 2345679": false, "ozil buxer": false, "z.oezil@example.org": false, "878": false, "+1 171": false,
	} {
		want := []string{}
		if found {
			want = append(want, ursula.user)
		}
		same(t, term, bob.people(term), want)
	}
	r := bob.ok("POST", "/user_directory/search", object{"search_term": "ozil"}).list("results")[0]
	sameJSON(t, "result", r, object{
		"user_id": ursula.user, "display_name": "Uschi", "org.roomline.emails": []string{"u.oezil@example.org"},
		"org.roomline.phones": []string{"+491712345678"}, "org.roomline.organisation": "default", "org.roomline.department": "Purchase",
		"org.roomline.title": "Buyer",
	})
	ursula.ok("PUT", "/presence/"+esc(ursula.user)+"/status", object{"presence": "online", "status_msg": "here"})
	r = bob.ok("POST", "/user_directory/search", object{"search_term": "5678"}).list("results")[0]
	if p, ok := r["org.roomline.presence"].(map[string]any); !ok || p["status_msg"] != "here" {
		t.Errorf("presence: %v", r["org.roomline.presence"])
	}
	// What is taken away is not found any more.
	must(t, one.store.Write(t.Context(), func(tx *store.Tx) error {
		_, err := tx.DeleteThreePID(t.Context(), matrix.UserID(ursula.user), "msisdn", "491712345678")
		return err
	}))
	same(t, "number that was taken away", bob.people("5678"), []string{})
}

// sees is all that a user gets to know of another, by the way in which they ask.
func (c *client) sees(t *testing.T, other *client) map[string]any {
	t.Helper()
	seen := map[string]any{}
	if status, body := c.do("GET", "/profile/"+esc(other.user), nil); status == 200 {
		seen["profile"] = body
	}
	if status, body := c.do("GET", "/presence/"+esc(other.user)+"/status", nil); status == 200 {
		seen["presence"] = body.(map[string]any)["presence"]
	}
	for what, term := range map[string]string{"name": "ursula", "email": "u.oezil@example.org", "phone": "345678", "keypad": "87785", "id": "@u1:two", "work": "buyer"} {
		if found := c.people(term); slices.Contains(found, other.user) {
			seen["by "+what] = true
		}
	}
	if keys, _ := c.ok("POST", "/keys/query", object{"device_keys": object{other.user: []string{}}})["device_keys"].(map[string]any); keys[other.user] != nil {
		seen["keys"] = true
	}
	if status, _ := c.do("POST", "/createRoom", object{"invite": []string{other.user}, "is_direct": true}); status == 200 {
		seen["invite"] = true
	}
	return seen
}

func TestALinkShowsWhatItGives(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	one, two := d.process(), d.process()
	other := twoOrganisations(d, one)
	d.region("DE")
	bob, ursula := two.client("bob"), other("u1")
	one.person(ursula, 7, "u.oezil@example.org", "491712345678")
	profile := object{"displayname": "Ursula", "avatar_url": "mxc://two.test/face", "m.tz": "Europe/Berlin"}
	for key, value := range profile {
		ursula.ok("PUT", "/profile/"+esc(ursula.user)+"/"+key, object{key: value})
	}
	ursula.ok("PUT", "/presence/"+esc(ursula.user)+"/status", object{"presence": "busy", "status_msg": "x"})
	nobody := &client{user: "@nobody:two.test"}
	for _, c := range []struct {
		what  string
		gives store.Sharing
		sees  object
	}{
		{"nothing", store.Sharing{}, object{"keys": true}},
		{"name", store.Sharing{Name: true}, object{"keys": true, "by name": true, "by keypad": true, "by id": true, "profile": object{"displayname": "Ursula"}}},
		{"avatar", store.Sharing{Avatar: true}, object{"keys": true, "profile": object{"avatar_url": "mxc://two.test/face"}}},
		{"e-mail", store.Sharing{Email: true}, object{"keys": true, "by email": true}},
		{"phone", store.Sharing{Phone: true}, object{"keys": true, "by phone": true}},
		{"presence", store.Sharing{Presence: true}, object{"keys": true, "presence": "unavailable"}},
		{"phone presence", store.Sharing{PhonePresence: true}, object{"keys": true, "presence": "busy"}},
		{"invites", store.Sharing{Invite: true}, object{"keys": true, "invite": true}},
		{"work", store.Sharing{Work: true}, object{"keys": true, "by work": true}},
	} {
		one.link(c.gives)
		sameJSON(t, c.what, bob.sees(t, ursula), c.sees)
		sameJSON(t, "nobody", bob.sees(t, nobody), object{})
		// Another process knows of the end at once.
		one.unlink()
		sameJSON(t, "after "+c.what, bob.sees(t, ursula), object{})
	}
	one.link(store.Sharing{Name: true, Phone: true})
	r := bob.ok("POST", "/user_directory/search", object{"search_term": "ursula"}).list("results")[0]
	sameJSON(t, "result", r, object{"user_id": ursula.user, "display_name": "Ursula", "org.roomline.phones": []string{"+491712345678"}, "org.roomline.organisation": "Seven"})
	one.link(store.Sharing{Name: true, Work: true})
	r = bob.ok("POST", "/user_directory/search", object{"search_term": "buyer"}).list("results")[0]
	sameJSON(t, "result with title and department", r, object{"user_id": ursula.user, "display_name": "Ursula", "org.roomline.organisation": "Seven",
		"org.roomline.title": "Buyer", "org.roomline.department": "Purchase"})
	one.link(store.Sharing{Name: true, Phone: true})
	// Every term has to be met by what is given.
	same(t, "name and hidden address", bob.people("ursula u.oezil@example.org"), []string{})
	same(t, "name and a word of a hidden address", bob.people("ursula org"), []string{})
	same(t, "name and number", bob.people("ursula 5678"), []string{ursula.user})
}

func TestStrangersAreAsThoseWhoDoNotExist(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	one := d.process()
	other := twoOrganisations(d, one)
	bob, ursula := one.client("bob"), other("u1")
	id := bob.create(object{})
	for _, c := range []struct {
		method, path string
		body         func(user string) any
	}{
		{"GET", "/profile/{user}", nil}, {"GET", "/profile/{user}/displayname", nil}, {"GET", "/presence/{user}/status", nil},
		{"POST", room(id) + "/invite", func(user string) any { return object{"user_id": user} }},
		{"PUT", room(id) + "/state/m.room.member/{user}", func(string) any { return object{"membership": "invite"} }},
		{"POST", "/createRoom", func(user string) any { return object{"invite": []string{user}} }},
		{"POST", "/keys/query", func(user string) any { return object{"device_keys": object{user: []string{}}} }},
		{"POST", "/keys/claim", func(user string) any {
			return object{"one_time_keys": object{user: object{"DEVICE": "signed_curve25519"}}}
		}},
		{"POST", "/user_directory/search", func(user string) any { return object{"search_term": user} }},
	} {
		ask := func(user string) (int, any) {
			var body any
			if c.body != nil {
				body = c.body(user)
			}
			return bob.do(c.method, replace(c.path, user), body)
		}
		status, answer := ask(ursula.user)
		if wantStatus, want := ask("@u0:two.test"); status != wantStatus || replaceIn(t, answer, ursula.user) != replaceIn(t, want, "@u0:two.test") {
			t.Errorf("%s %s of a stranger is answered %d %v, of nobody %d %v", c.method, c.path, status, answer, wantStatus, want)
		}
	}
}

func TestMessagesToDevicesOfStrangersAreDropped(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	one := d.process()
	other := twoOrganisations(d, one)
	bob, ursula := one.client("bob"), other("u1")
	send := func(txn string) {
		bob.ok("PUT", "/sendToDevice/org.example.x/"+txn, object{"messages": object{ursula.user: object{"*": object{"n": txn}}}})
	}
	queued := func() int {
		queues, err := one.store.ListToDeviceQueues(t.Context(), []matrix.UserID{matrix.UserID(ursula.user)}, []matrix.DeviceID{store.EveryDevice})
		must(t, err)
		return int(queues[0].Messages)
	}
	send("1")
	if n := queued(); n != 0 {
		t.Errorf("%d messages of a stranger", n)
	}
	one.link(store.Sharing{})
	send("2")
	if n := queued(); n != 1 {
		t.Errorf("%d messages through a link", n)
	}
	one.unlink()
	id := ursula.create(object{"preset": "public_chat"})
	d.letIn(id, bob)
	send("3")
	if n := queued(); n != 2 {
		t.Errorf("%d messages, the last through a room", n)
	}
	// The room stays, and shows name and picture.
	ursula.rename("Ursula")
	sameJSON(t, "through a room", bob.sees(t, ursula)["profile"], object{"displayname": "Ursula"})
	if status, _ := bob.do("GET", "/presence/"+esc(ursula.user)+"/status", nil); status != 403 {
		t.Errorf("presence through a room: %d", status)
	}
}

func replace(path, user string) string { return strings.ReplaceAll(path, "{user}", esc(user)) }

// replaceIn is an answer in which a user's id stands as any other.
func replaceIn(t *testing.T, answer any, user string) string {
	t.Helper()
	raw, err := json.Marshal(answer)
	must(t, err)
	return strings.ReplaceAll(string(raw), user, "{user}")
}

// region is the notation that every organisation dials numbers in.
func (d *deployment) region(country string) {
	d.sql(`UPDATE organisations SET default_region = $1`, country)
}

func TestPeopleAreFoundByTheNamesOfPrivateContacts(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.configure = func(cfg *clientapi.Config) {
		cfg.PrivateContacts = func(_ context.Context, user matrix.UserID, query contacts.Query, _ int) ([]contacts.Card, error) {
			mum := contacts.Card{Name: "Mum", Phones: []string{"0171 2345678", "030 999999"}, Emails: []string{"mum@home.example"}}
			if user.Localpart() == "bob" && query.Matches(mum) {
				return []contacts.Card{mum}, nil
			}
			return nil, nil
		}
	}
	one := d.process()
	other := twoOrganisations(d, one)
	d.region("DE")
	bob, alice, ursula := one.client("bob"), one.client("alice"), other("u1")
	one.person(ursula, 7, "u.oezil@example.org", "491712345678")
	search := func(c *client) (users, found []string) {
		answer := c.ok("POST", "/user_directory/search", object{"search_term": "mum"})
		return answer.names("results", "user_id"), answer.names("org.roomline.contacts", "name")
	}
	for _, c := range []struct {
		what     string
		by       *client
		gives    store.Sharing
		users    []string
		contacts []string
	}{
		{"number that is given", bob, store.Sharing{Phone: true}, []string{ursula.user}, []string{"Mum"}},
		{"number that is not given", bob, store.Sharing{Name: true}, []string{}, []string{"Mum"}},
		{"somebody else's contact", alice, store.Sharing{Phone: true}, []string{}, []string{}},
	} {
		one.link(c.gives)
		users, found := search(c.by)
		same(t, c.what, users, c.users)
		same(t, "contacts: "+c.what, found, c.contacts)
	}
	one.unlink()
	users, _ := search(bob)
	same(t, "no link", users, []string{})
}

// TestAnOrganisationHidesWhatItsPeopleDoNotSeeOfEachOther: what is for those alone who manage people is neither shown nor found by others.
func TestAnOrganisationHidesWhatItsPeopleDoNotSeeOfEachOther(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	one := d.process()
	d.region("DE")
	bob, ursula, boss := one.client("bob"), one.client("u1"), one.client("boss")
	ursula.rename("Ursula")
	one.person(ursula, 1, "u.oezil@example.org", "491712345678")
	d.sql(`UPDATE users SET role = 'people' WHERE user_id = $1`, boss.user)
	const email, number, work = "u.oezil@example.org", "0171 2345678", "buyer"
	fields := func(c *client) (seen []string) {
		r := c.ok("POST", "/user_directory/search", object{"search_term": "ursula"}).list("results")[0]
		for _, name := range []string{"emails", "phones", "title", "department"} {
			if r["org.roomline."+name] != nil {
				seen = append(seen, name)
			}
		}
		return seen
	}
	all := []string{"emails", "phones", "title", "department"}
	for _, c := range []struct {
		policy string
		sees   []string
		finds  map[string]bool
	}{
		{`{}`, all, map[string]bool{email: true, number: true, work: true}},
		{`{"email": "managers"}`, []string{"phones", "title", "department"}, map[string]bool{email: false, number: true, work: true}},
		{`{"phone": "managers", "work": "managers"}`, []string{"emails"}, map[string]bool{email: true, number: false, work: false}},
		{`{"email": "everyone"}`, all, map[string]bool{email: true, number: true, work: true}},
	} {
		d.sql(`INSERT INTO organisation_policies (organisation_id, name, value) VALUES (1, 'directory', $1) ON CONFLICT (organisation_id, name) DO UPDATE SET value = excluded.value`, []byte(c.policy))
		same(t, c.policy, fields(bob), c.sees)
		same(t, "who manages people with "+c.policy, fields(boss), all)
		for term, found := range c.finds {
			if got := len(bob.people(term)) == 1; got != found {
				t.Errorf("%s: found by %s: %t", c.policy, term, got)
			}
			if len(boss.people(term)) != 1 {
				t.Errorf("%s: who manages people does not find by %s", c.policy, term)
			}
		}
	}
}
