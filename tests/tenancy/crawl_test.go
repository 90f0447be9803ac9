package tenancy

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/hstest"
)

// route is one that the server has.
type route struct{ method, path, access string }

func (r route) name() string { return r.method + " " + r.path }

func (d *deployment) routes(t *testing.T) []route {
	t.Helper()
	code, out := d.Command(t, 0, "routes")
	var list []route
	for line := range strings.SplitSeq(strings.TrimSpace(out), "\n") {
		f := strings.Fields(line)
		if code != 0 || len(f) < 3 {
			t.Fatalf("roomline routes ended with %d: %s", code, out)
		}
		list = append(list, route{f[0], f[1], strings.Join(f[2:], " ")})
	}
	if len(list) < 200 {
		t.Fatalf("only %d routes", len(list))
	}
	return list
}

// asker is somebody who asks, with what is the asker's own.
type asker struct {
	kind string
	user *hstest.User
	own  map[string]string
	// basic is what the asker shows where app passwords are asked for; who has none shows the token there as well.
	basic string
	// identity gives a token of the identity service; nil for who gets none, and shows the access token there.
	identity func() string
	known    string
	// begin is the asker's place in sync before the crawl.
	begin string
}

func (d *deployment) asker(t *testing.T, domain, kind string) *asker {
	t.Helper()
	a := &asker{kind: kind, user: d.account(t, domain, kind)}
	host := a.user
	if kind == guest {
		host = d.account(t, domain, member)
	}
	room := host.MustCreateRoom(t, map[string]any{"name": "Ours", "invite": []string{}})
	if kind == guest {
		host.MustInvite(t, room, a.user)
		a.user.MustJoin(t, room)
	}
	if kind != guest {
		a.basic = d.basic(t, a.user)
	}
	event := a.user.MustSendText(t, room, "ours")
	pepper := ""
	if kind != guest {
		a.identity = func() string { return d.identity(t, a.user) }
		a.known = a.identity()
		pepper = d.Session(&hstest.User{AccessToken: a.known}).MustDo(t, http.MethodGet, "/_matrix/identity/v2/hash_details", nil).Get("lookup_pepper").String()
	}
	a.begin = a.user.MustSync(t, hstest.Sync{}).Get("next_batch").String()
	a.own = map[string]string{"me": a.user.ID, "myDevice": a.user.DeviceID, "myRoom": room, "myEvent": event, "since": a.begin, "pepper": pepper}
	return a
}

// identity is a token of the identity service.
func (d *deployment) identity(t *testing.T, u *hstest.User) string {
	t.Helper()
	openID := u.MustDo(t, http.MethodPost, hstest.Path("user", u.ID, "openid", "request_token"), map[string]any{})
	token := u.MustDo(t, http.MethodPost, "/_matrix/identity/v2/account/register", []byte(openID.Raw)).Get("token").String()
	d.Secret(token, "a token of the identity service")
	return token
}

// basic is an Authorization header with an app password of somebody's.
func (d *deployment) basic(t *testing.T, u *hstest.User) string {
	t.Helper()
	if d.basics[u.AccessToken] == "" {
		made := u.MustDo(t, http.MethodPost, "/_roomline/client/v1/app_passwords", map[string]any{"name": "phone"})
		d.Secret(made.Get("password").String(), "an app password")
		pair := made.Get("username").String() + ":" + made.Get("password").String()
		d.basics[u.AccessToken] = "Basic " + base64.StdEncoding.EncodeToString([]byte(pair))
	}
	return d.basics[u.AccessToken]
}

// service asks as an application service of ours.
func (d *deployment) service(t *testing.T) *asker {
	t.Helper()
	answer := d.orgs[ours].Owner.MustDo(t, http.MethodPost, "/_roomline/admin/v1/appservices", map[string]any{
		"id": "bridge", "url": nil, "sender_localpart": "bridge", "namespaces": map[string]any{}})
	token := answer.Get("as_token").String()
	d.Secret(token, "an as_token")
	a := &asker{kind: "appservice", user: d.Session(&hstest.User{ID: "@bridge:" + ours, AccessToken: token})}
	room := a.user.MustCreateRoom(t, map[string]any{"name": "Ours"})
	a.begin = "s1"
	a.own = map[string]string{"me": a.user.ID, "myDevice": "NONE", "myRoom": room, "myEvent": "$none", "since": a.begin}
	return a
}

// nobody asks without a token.
func (d *deployment) nobody() *asker {
	return &asker{kind: "nobody", user: d.Session(&hstest.User{}), own: map[string]string{
		"me": "@nobody:" + ours, "myDevice": "NONE", "myRoom": "!none:" + ours, "myEvent": "$none", "since": "s1"}}
}

var placeholder = regexp.MustCompile(`\{[A-Za-z$]+\}`)

var txn int

// fill replaces the names in a text by identifiers.
func fill(text string, subject, own map[string]string, escape func(string) string) (filled string, unknown []string) {
	return placeholder.ReplaceAllStringFunc(text, func(name string) string {
		key := name[1 : len(name)-1]
		if key == "txn" {
			txn++
			return fmt.Sprintf("txn%d", txn)
		}
		if value, ok := subject[key]; ok {
			return escape(value)
		}
		if value, ok := own[key]; ok {
			return escape(value)
		}
		if key == "myUser" && own != nil {
			return escape(own["me"][1:])
		}
		unknown = append(unknown, key)
		return name
	}), unknown
}

func escaped(s string) string { return url.PathEscape(s) }

func asIs(s string) string { return s }

// sent is a request as it is sent.
type sent struct{ method, path, body, access string }

// make fills a request in.
func (r route) make(t *testing.T, req request, subject, own map[string]string) sent {
	t.Helper()
	values := map[string]string{}
	for name, value := range pathValues {
		values[name], _ = fill(value, subject, own, asIs)
	}
	maps.Copy(values, subject)
	for name, value := range req.path {
		values[name], _ = fill(value, subject, own, asIs)
	}
	path, unknown := fill(r.path, values, nil, url.PathEscape)
	if len(unknown) > 0 {
		t.Errorf("%s: nothing is known to stand for %v; give it a value in pathValues or side", r.name(), unknown)
	}
	if req.query != "" {
		var parts []string
		for part := range strings.SplitSeq(req.query, "&") {
			name, value, _ := strings.Cut(part, "=")
			value, _ = fill(value, subject, own, asIs)
			parts = append(parts, name+"="+url.QueryEscape(value))
		}
		path += "?" + strings.Join(parts, "&")
	}
	body, _ := fill(req.body, subject, own, asIs)
	return sent{r.method, path, body, r.access}
}

func (a *asker) send(t *testing.T, s sent) hstest.Response {
	t.Helper()
	header := http.Header{"Depth": {"1"}}
	switch {
	case strings.HasPrefix(s.body, "<"):
		header.Set("Content-Type", "application/xml")
	case strings.HasPrefix(s.body, "BEGIN:"):
		header.Set("Content-Type", "text/vcard")
		s.body = strings.ReplaceAll(s.body, `\n`, "\r\n")
	case s.body != "":
		header.Set("Content-Type", "application/json")
	}
	user := *a.user
	if s.access == appPassword && a.basic != "" {
		header.Set("Authorization", a.basic)
		user.AccessToken = ""
	}
	if s.access == identityToken && a.known != "" {
		user.AccessToken = a.known
	}
	answer, err := user.Request(t.Context(), s.method, s.path, header, strings.NewReader(s.body))
	if err != nil {
		t.Fatalf("%s %s: %v", s.method, s.path, err)
	}
	return answer
}

// ask sends a request; when its predecessor has ended the asker's session the asker signs in again first.
func (a *asker) ask(t *testing.T, s sent) hstest.Response {
	t.Helper()
	answer := a.send(t, s)
	if s.access == identityToken && a.identity != nil && answer.ErrCode() == "M_UNAUTHORIZED" {
		a.known = a.identity()
		return a.send(t, s)
	}
	if answer.ErrCode() != "M_UNKNOWN_TOKEN" || a.user.Password == "" || !strings.HasPrefix(string(answer.Body), `{"errcode`) {
		return answer
	}
	a.user = a.user.NewSession(t)
	a.own["myDevice"] = a.user.DeviceID
	return a.send(t, s)
}

// appPassword is what routes says of those that ask for an app password.
const appPassword = "app password"

// identityToken is what it says of those that ask for a token of the identity service.
const identityToken = "identity token"

// changing are headers that differ between two answers to one request, naming those between two successes: they are of what was made.
var (
	changing = []string{"Date", "Content-Length"}
	naming   = []string{"Etag", "Location"}
)

// form is what of an answer has to be the same for what exists and what does not: identifiers of the subject are replaced by their names,
// and of successes the values by their kinds, because they may be tokens and moments.
func form(answer hstest.Response, subject map[string]string) string {
	var b strings.Builder
	fmt.Fprintln(&b, answer.Status)
	for _, name := range slices.Sorted(maps.Keys(answer.Header)) {
		if !slices.Contains(changing, name) && (answer.Status >= 300 || !slices.Contains(naming, name)) {
			fmt.Fprintf(&b, "%s: %s\n", name, named(strings.Join(answer.Header[name], ", "), subject))
		}
	}
	body := named(string(answer.Body), subject)
	if answer.Header.Get("Content-Type") == "application/x-ndjson" {
		for line := range strings.Lines(body) {
			var v any
			if json.Unmarshal([]byte(line), &v) != nil {
				return b.String() + body
			}
			fmt.Fprintln(&b, text(shape(v)))
		}
		return b.String()
	}
	var v any
	if json.Unmarshal([]byte(body), &v) != nil {
		return b.String() + body
	}
	// What an error says is compared word for word.
	e, _ := v.(map[string]any)
	return b.String() + fmt.Sprintln(e["errcode"], e["error"]) + text(shape(v))
}

// difference is the first line in which two forms differ.
func difference(got, want string) string {
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("%.300s\n%.300s", a[i], b[i])
		}
	}
	return ""
}

func shape(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			v[key] = shape(value)
		}
		return v
	case []any:
		for i, value := range v {
			v[i] = shape(value)
		}
		return v
	case string:
		return "text"
	case float64:
		return "number"
	}
	return v
}

// named replaces the identifiers of a subject by their names, the longest first.
func named(text string, subject map[string]string) string {
	names := slices.SortedFunc(maps.Keys(subject), func(a, b string) int {
		if d := len(subject[b]) - len(subject[a]); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	for _, name := range names {
		if value := subject[name]; len(value) > 8 {
			if name == "serverName" {
				name = "domain"
			}
			text = strings.ReplaceAll(text, value, "{"+name+"}")
		}
	}
	return text
}

// revealed is what an answer says of the side that the request did not say itself.
func (s *side) revealed(request sent, answer hstest.Response) string {
	var b bytes.Buffer
	answer.Header.Write(&b)
	b.Write(answer.Body)
	asked, _ := url.PathUnescape(request.path)
	asked += " " + request.body
	said := b.String()
	if strings.Contains(said, canary) && !strings.Contains(asked, canary) {
		return canary
	}
	for _, subject := range s.subjects {
		for _, name := range []string{"roomId", "eventId", "mediaId", "avatarId", "deviceId", "roomAlias", "userId", "ownerId", "guestId", "delayId",
			"scimId", "groupId", "contactId", "registrationToken", "invitationId", "meetingId", "inviteeId", "deleteId", "deletedRoomId", "blockedRoomId", "personObject", "holdId"} {
			if value := subject[name]; value != "" && strings.Contains(said, value) && !strings.Contains(asked, value) {
				return name + " " + value
			}
		}
	}
	return ""
}

// requestsOf are the requests of a route; the test fails for one that takes a body and was given none.
func requestsOf(t *testing.T, r route, given map[string][]request) []request {
	t.Helper()
	list := given[r.name()]
	if len(list) == 0 {
		list = given[strings.TrimSuffix(r.name(), "/{$}")] // collections have a path with a slash and one without
	}
	if len(list) == 0 {
		if r.method != http.MethodGet && r.method != http.MethodDelete && r.method != http.MethodOptions {
			t.Errorf("%s has no request in requests_test.go: give it one, so that the wall is tried there", r.name())
		}
		return []request{{}}
	}
	return list
}

// TestTheWall is the crawl.
func TestTheWall(t *testing.T) {
	d := start(t)
	given, same := table(t)
	routes := d.routes(t)
	names := map[string]bool{}
	for _, r := range routes {
		names[r.name()] = true
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if !names[name] {
			t.Errorf("there is a request for %s, which is no route", name)
		}
	}
	s := d.side(t)
	askers := []*asker{d.nobody()}
	for _, kind := range []string{member, guest, owner, people, auditor} {
		askers = append(askers, d.asker(t, ours, kind))
	}
	askers = append(askers, d.service(t))
	d.settled(t)
	// What was told by now was told of what the side has done itself.
	s.since = s.member.MustSync(t, hstest.Sync{}).Get("next_batch").String()
	before := d.settled(t)
	began := time.Now()
	count := 0
	for _, last := range []bool{false, true} {
		for _, r := range routes {
			for _, req := range requestsOf(t, r, given) {
				for _, a := range askers {
					if req.last == last && !(a.kind == "nobody" && bearer[r.name()]) {
						count += s.compare(t, r, req, a)
					}
				}
			}
		}
	}
	t.Logf("%d routes, %d requests in %s", len(routes), count, time.Since(began).Round(time.Second))
	for _, a := range askers[1 : len(askers)-1] {
		for _, since := range []string{a.begin, ""} {
			answer := a.ask(t, sent{"GET", hstest.Path("sync") + "?timeout=0&since=" + since, "", ""})
			if answer.Status != http.StatusOK || bytes.Contains(answer.Body, []byte(canary)) {
				t.Errorf("sync of the %s of %s afterwards: %.2000s", a.kind, ours, answer)
			}
		}
	}
	d.unchanged(t, before)
	if news := s.member.MustSync(t, hstest.Sync{Since: s.since}); news.Get("rooms").Exists() || news.Get("to_device.events.#").Int() > 0 {
		t.Errorf("the side was told of something: %s", news)
	}
	d.control(t, routes, given, same)
}

// compare asks for what there is and what there is not.
func (s *side) compare(t *testing.T, r route, req request, a *asker) (count int) {
	t.Helper()
	done := map[string]bool{}
	for _, subject := range s.subjects {
		saved := txn
		asked := r.make(t, req, subject, a.own)
		if key := strings.ReplaceAll(asked.path+" "+asked.body, fmt.Sprintf("txn%d", txn), "") + fmt.Sprint(saved == txn); done[key] {
			continue
		} else {
			done[key] = true
		}
		none := missing(subject)
		// What does not exist is asked for on both sides of what does, so that what the order changes is seen.
		other := r.make(t, req, none, a.own)
		first := a.ask(t, other)
		answer := a.ask(t, asked)
		count += 2
		if leak := s.revealed(asked, answer); leak != "" {
			t.Errorf("%s of the other organisation sees %s:\n%s %s %s\n%.600s", a.kind, leak, asked.method, asked.path, asked.body, answer)
			continue
		}
		got, want := form(answer, subject), form(first, none)
		if got == want {
			continue
		}
		// A first and a second request may differ for reasons of their own.
		again := a.ask(t, r.make(t, req, none, a.own))
		if count++; form(again, none) != got {
			t.Errorf("%s of the other organisation can tell what exists:\n%s %s %s\n%.600s\nand of what does not exist\n%.600s\n%s", a.kind, asked.method, asked.path, asked.body, answer, first, difference(got, want))
		}
	}
	return count
}

// control makes sure that the crawl can see something: to people of the side itself each route answers otherwise for what is there. What it
// destroys on its way is made again.
func (d *deployment) control(t *testing.T, routes []route, given map[string][]request, same map[string]bool) {
	t.Helper()
	s := d.side(t)
	for _, r := range routes {
		name := r.name()
		if same[name] || same[strings.TrimSuffix(name, "/{$}")] || r.method == http.MethodOptions || !strings.Contains(fmt.Sprint(r.path, given[name]), "{") {
			continue
		}
		if d.differs(t, s, r, given) {
			continue
		}
		// The operator may have suspended the organisation on the way.
		d.Operator(t).Do(t.Context(), http.MethodPost, fmt.Sprintf("/_roomline/operator/v1/organisations/%d/resume", d.orgs[theirs].ID), map[string]any{})
		if s = d.side(t); !d.differs(t, s, r, given) {
			t.Errorf("%s says the same to members of the organisation, of what is there and what is not: the crawl sees nothing there", name)
		}
	}
}

// differs reports whether somebody of the side, or the operator, is told something by the route.
func (d *deployment) differs(t *testing.T, s *side, r route, given map[string][]request) bool {
	t.Helper()
	for _, user := range []*hstest.User{s.member, s.owner, d.Operator(t)} {
		for _, req := range requestsOf(t, r, given) {
			for _, subject := range s.subjects {
				a := &asker{user: user, own: map[string]string{"me": user.ID, "myDevice": user.DeviceID, "myRoom": subject["roomId"],
					"myEvent": subject["eventId"], "since": s.since}}
				if r.access == appPassword {
					a.basic = d.basic(t, user)
				}
				if r.access == identityToken {
					a.known = d.identity(t, user)
					a.own["pepper"] = d.Session(&hstest.User{AccessToken: a.known}).MustDo(t, http.MethodGet, "/_matrix/identity/v2/hash_details", nil).Get("lookup_pepper").String()
				}
				asked := r.make(t, req, subject, a.own)
				answer := a.send(t, asked)
				none := missing(subject)
				other := a.send(t, r.make(t, req, none, a.own))
				if s.revealed(asked, answer) != "" || form(answer, subject) != form(other, none) {
					return true
				}
			}
		}
	}
	return false
}
