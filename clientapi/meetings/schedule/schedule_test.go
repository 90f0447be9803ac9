package schedule_test

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/store/storetest"
)

func TestMain(m *testing.M) { hstest.Main(m) }

const (
	guestsURL = "http://guests.test"
	client    = "/_roomline/client/v1/"
	admin     = "/_roomline/admin/v1/"
	all       = client + "meetings"
)

type object = map[string]any

// bridge takes messages as the telephony bridge does.
type bridge struct{ d *hstest.Deployment }

// start starts a deployment whose messages the test takes itself.
func start(t *testing.T, processes int) (*hstest.Deployment, *bridge) {
	t.Helper()
	with := hstest.WithBridge(t)
	d := hstest.Start(t, hstest.Options{Processes: processes, Configure: func(_ int, c map[string]any) {
		c["public_base_url"] = guestsURL
		c["telephony"] = object{"mode": "external", "limits": object{"number_pause": "1h"}}
		with(c)
	}})
	exec(t, d, `UPDATE organisations SET default_region = 'BE'`)
	return d, &bridge{d}
}

// messages are those that wait; they are reported as sent.
func (b *bridge) messages(t *testing.T) []gjson.Result {
	t.Helper()
	list := b.d.AskAsBridge(t, 0, "lease", object{"media": []string{"email", "msisdn"}, "max": 50, "wait_ms": 0}).Get("messages").Array()
	for _, m := range list {
		for _, state := range []string{"sending", "sent"} {
			b.d.AskAsBridge(t, 0, "outcomes", object{"outcomes": []any{object{"id": m.Get("id").Int(), "lease": m.Get("lease").String(), "state": state, "reference": "r" + m.Get("id").String()}}})
		}
		if _, secret, ok := strings.Cut(m.Get("invitation.link").String(), "#"); ok {
			b.d.Secret(secret, "the secret of an invitation")
		}
	}
	return list
}

// one is the only message that waits.
func (b *bridge) one(t *testing.T) gjson.Result {
	t.Helper()
	list := b.messages(t)
	if len(list) != 1 {
		t.Fatalf("%d messages wait: %v", len(list), list)
	}
	return list[0]
}

func exec(t *testing.T, d *hstest.Deployment, statement string, args ...any) {
	t.Helper()
	if _, err := storetest.DB(t, d.DSN).Exec(statement, args...); err != nil {
		t.Fatal(err)
	}
}

// state is the content of a state event, {} if there is none.
func state(t *testing.T, u *hstest.User, room, eventType, key string) gjson.Result {
	t.Helper()
	r, err := u.Do(t.Context(), http.MethodGet, hstest.Path("rooms", room, "state", eventType, key), nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.Status == http.StatusNotFound {
		return gjson.Parse("{}")
	}
	return r.JSON()
}

// opened is what the page is told of a link.
func opened(t *testing.T, d *hstest.Deployment, link string) gjson.Result {
	t.Helper()
	_, secret, ok := strings.Cut(link, "#")
	if !ok {
		t.Fatalf("%q is no link", link)
	}
	d.Secret(secret, "the secret of a link")
	r, err := d.Do(t.Context(), 0, "", http.MethodPost, "/_roomline/guest/v1/open", object{"secret": secret})
	if err != nil {
		t.Fatal(err)
	}
	return r.JSON()
}

// redeem makes a guest.
func redeem(t *testing.T, d *hstest.Deployment, link, name string) *hstest.User {
	t.Helper()
	_, secret, _ := strings.Cut(link, "#")
	r, err := d.Do(t.Context(), 0, "", http.MethodPost, "/_roomline/guest/v1/redeem", object{"secret": secret, "name": name, "language": "en", "attempt": name[:1] + strings.Repeat("A", 21)})
	if err != nil || r.Status != http.StatusOK {
		t.Fatalf("redeeming: %s %v", r, err)
	}
	d.Secret(r.JSON().Get("access_token").String(), "a guest's access token")
	return d.Session(hstest.NewUser(r.JSON().Get("user_id").String(), r.JSON().Get("device_id").String(), r.JSON().Get("access_token").String()))
}

// in is a time from now, in whole seconds, as the API has it.
func in(d time.Duration) int64 { return time.Now().Add(d).Unix() * 1000 }

// arrange arranges a meeting that begins after a while and takes half an hour.
func arrange(t *testing.T, u *hstest.User, after time.Duration, more object) gjson.Result {
	t.Helper()
	body := object{"title": "Budget", "start_ts": in(after), "end_ts": in(after + 30*time.Minute), "timezone": "Europe/Brussels"}
	for k, v := range more {
		body[k] = v
	}
	return u.MustDo(t, http.MethodPost, all, body)
}

func email(address string) object { return object{"medium": "email", "address": address} }

func ids(list gjson.Result) (ids []string) {
	for _, m := range list.Get("meetings").Array() {
		ids = append(ids, m.Get("meeting_id").String())
	}
	return ids
}

func TestAMeetingFromItsBeginningToItsEnd(t *testing.T) {
	t.Parallel()
	d, b := start(t, 2)
	owner := d.Operator(t)
	alice, bob, carol := d.User(t, "alice"), d.User(t, "bob"), d.User(t, "carol")
	owner.MustDo(t, http.MethodPut, admin+"users/"+carol.ID, object{"emails": []string{"carol@example.com"}})
	made := arrange(t, alice, 48*time.Hour, object{"invitees": []any{
		object{"user_id": bob.ID, "role": "moderator"}, email("carol@example.com"), object{"medium": "email", "address": "anna@example.com", "name": "Anna", "language": "fr", "role": "presenter"},
		object{"medium": "msisdn", "address": "0470 12 34 56"}, email("Anna@Example.com"), object{"user_id": alice.ID},
	}})
	id, room := made.Get("meeting_id").String(), made.Get("room_id").String()
	one := all + "/" + id
	if made.Get("state").String() != "upcoming" || made.Get("invitees.#").Int() != 4 || !made.Get("mine").Bool() || made.Get("role").String() != "organiser" || made.Get("link").Exists() {
		t.Fatalf("the meeting is %s", made)
	}
	if carols := made.Get(`invitees.#(user_id=="` + carol.ID + `")`); !carols.Exists() || carols.Get("address").Exists() {
		t.Errorf("an address of somebody here is shown as %s", carols)
	}

	// The room.
	levels := state(t, alice, room, "m.room.power_levels", "")
	if levels.Get("users."+gjson.Escape(bob.ID)).Int() != 50 || levels.Get("invite").Int() != 50 {
		t.Errorf("the power levels are %s", levels)
	}
	if got := state(t, alice, room, "m.room.history_visibility", "").Get("history_visibility").String(); got != "joined" {
		t.Errorf("history is for %s", got)
	}
	if got := state(t, alice, room, "org.roomline.meeting", ""); got.Get("meeting_id").String() != id || got.Get("title").String() != "Budget" {
		t.Errorf("the room says %s", got)
	}
	if state(t, alice, room, "m.room.encryption", "").Get("algorithm").Exists() {
		t.Error("the room is encrypted")
	}
	topic := state(t, alice, room, "m.room.topic", "").Get("topic").String()
	if !regexp.MustCompile(`^20\d\d-\d\d-\d\d \d\d:\d\d–.*\d\d:\d\d Europe/Brussels$`).MatchString(topic) {
		t.Errorf("the topic is %q", topic)
	}

	// The messages.
	sent := b.messages(t)
	if len(sent) != 2 {
		t.Fatalf("%d messages: %v", len(sent), sent)
	}
	first := map[string]gjson.Result{}
	for _, m := range sent {
		first[m.Get("address").String()] = m
	}
	mail := first["anna@example.com"]
	if mail.Get("language").String() != "fr" || mail.Get("invitation.meeting.sequence").Int() != 0 || mail.Get("invitation.meeting.uid").String() != id+"@hs.test" ||
		mail.Get("invitation.meeting.start_ts").Int() != made.Get("start_ts").Int() || mail.Get("invitation.meeting.timezone").String() != "Europe/Brussels" {
		t.Errorf("the message is %s", mail)
	}
	page := opened(t, d, mail.Get("invitation.link").String())
	if page.Get("state").String() != "early" || page.Get("opens_ts").Int() != made.Get("start_ts").Int()-15*60_000 || page.Get("meeting.title").String() != "Budget" {
		t.Errorf("the page is told %s", page)
	}

	// Who sees what.
	dave := d.User(t, "dave")
	for what, path := range map[string]string{"GET": one, "PUT": one + "/answer", "PATCH": one, "DELETE": one} {
		dave.MustFail(t, http.StatusNotFound, "M_NOT_FOUND", what, path, object{"answer": "accepted"})
	}
	dave.MustFail(t, http.StatusNotFound, "M_NOT_FOUND", http.MethodGet, one+"/calendar.ics", nil)
	if got := ids(dave.MustDo(t, http.MethodGet, all, nil)); len(got) != 0 {
		t.Errorf("somebody else sees %v", got)
	}
	for _, u := range []*hstest.User{alice, bob, carol} {
		if got := ids(u.On(1).MustDo(t, http.MethodGet, all, nil)); len(got) != 1 || got[0] != id {
			t.Errorf("%s sees %v", u.ID, got)
		}
	}
	carols := carol.MustDo(t, http.MethodGet, one, nil)
	if anna := carols.Get(`invitees.#(medium=="email")`); anna.Get("address").String() != "a…@e…" || anna.Get("name").Exists() || carols.Get("may_manage").Bool() {
		t.Errorf("an invitee sees %s", carols)
	}
	carol.MustJoin(t, room)
	carol.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", http.MethodPatch, one, object{"title": "x"})
	carol.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", http.MethodDelete, one, nil)

	// Answers.
	carol.MustDo(t, http.MethodPut, one+"/answer", object{"answer": "tentative"})
	bob.MustDo(t, http.MethodPut, one+"/answer", object{"answer": "declined"})
	carol.MustFail(t, http.StatusBadRequest, "M_INVALID_PARAM", http.MethodPut, one+"/answer", object{"answer": "perhaps"})
	answers := alice.MustDo(t, http.MethodGet, one, nil)
	if got := answers.Get(`invitees.#(user_id=="`+carol.ID+`").answer`).String() + answers.Get(`invitees.#(user_id=="`+bob.ID+`").answer`).String(); got != "tentativedeclined" {
		t.Errorf("the answers are %s", answers)
	}
	if got := carol.MustDo(t, http.MethodGet, all, nil).Get("meetings.0.answer").String(); got != "tentative" {
		t.Errorf("the list says %q", got)
	}

	// Another time, by a moderator.
	bob.MustJoin(t, room)
	later := made.Get("start_ts").Int() + 3_600_000
	changed := bob.MustDo(t, http.MethodPatch, one, object{"title": "Budget 2027", "start_ts": later, "end_ts": later + 1_800_000})
	if changed.Get("next_start_ts").Int() != later {
		t.Errorf("changed to %s", changed)
	}
	second := map[string]gjson.Result{}
	for _, m := range b.messages(t) {
		second[m.Get("address").String()] = m
	}
	if m := second["anna@example.com"].Get("invitation"); m.Get("meeting.sequence").Int() != 1 || m.Get("meeting.start_ts").Int() != later || m.Get("meeting.title").String() != "Budget 2027" ||
		m.Get("meeting.uid").String() != id+"@hs.test" || m.Get("inviter").String() != "alice" {
		t.Errorf("the message about the change is %s", m)
	}
	// A phone gets one message at a time; it is told later.
	if len(second) != 1 || changed.Get("problems.#").Int() != 1 || changed.Get("problems.0.errcode").String() != "M_LIMIT_EXCEEDED" || changed.Get("problems.0.address").String() != "32470123456" {
		t.Errorf("%d messages about the change: %s", len(second), changed)
	}
	if got := opened(t, d, mail.Get("invitation.link").String()).Get("errcode").String(); got != "M_NOT_FOUND" {
		t.Errorf("the link from before is %q", got)
	}
	if got := state(t, alice, room, "m.room.name", "").Get("name").String(); got != "Budget 2027" {
		t.Errorf("the room is called %q", got)
	}
	if got := state(t, alice, room, "m.room.topic", "").Get("topic").String(); got == topic {
		t.Error("the topic has the time from before")
	}

	// One invitee less, and one more.
	invitee := alice.MustDo(t, http.MethodGet, one, nil).Get(`invitees.#(medium=="msisdn").invitee_id`).String()
	alice.MustDo(t, http.MethodDelete, one+"/invitees/"+invitee, nil)
	alice.MustFail(t, http.StatusNotFound, "M_NOT_FOUND", http.MethodDelete, one+"/invitees/"+invitee, nil)
	invitee = alice.MustDo(t, http.MethodGet, one, nil).Get(`invitees.#(medium=="email").invitee_id`).String()
	alice.MustDo(t, http.MethodDelete, one+"/invitees/"+invitee, nil)
	gone := b.one(t)
	if gone.Get("kind").String() != "cancellation" || gone.Get("address").String() != "anna@example.com" {
		t.Errorf("who was removed is told %s", gone)
	}
	alice.MustDo(t, http.MethodPost, one+"/invitees", object{"invitees": []any{email("anna@example.com")}})
	again := b.one(t)
	if again.Get("kind").String() != "invitation" || again.Get("invitation.meeting.sequence").Int() <= gone.Get("invitation.meeting.sequence").Int() {
		t.Errorf("who is asked again is told %s after %s", again, gone)
	}
	carolsRow := alice.MustDo(t, http.MethodGet, one, nil).Get(`invitees.#(user_id=="` + carol.ID + `").invitee_id`).String()
	alice.MustDo(t, http.MethodDelete, one+"/invitees/"+carolsRow, nil)
	carol.MustFail(t, http.StatusNotFound, "M_NOT_FOUND", http.MethodGet, one, nil)

	// It is cancelled.
	waiting := d.User(t, "erin")
	alice.MustDo(t, http.MethodPost, one+"/invitees", object{"invitees": []any{object{"user_id": waiting.ID}}})
	waiting.MustDo(t, http.MethodGet, one, nil)
	alice.MustDo(t, http.MethodDelete, one, nil)
	over := b.one(t)
	if over.Get("kind").String() != "cancellation" || over.Get("invitation.meeting.sequence").Int() <= again.Get("invitation.meeting.sequence").Int() {
		t.Errorf("of the cancellation people are told %s", over)
	}
	if got := opened(t, d, again.Get("invitation.link").String()).Get("state").String(); got != "revoked" {
		t.Errorf("the link is %q", got)
	}
	waiting.MustFail(t, http.StatusNotFound, "M_NOT_FOUND", http.MethodGet, one, nil)
	if got := bob.MustDo(t, http.MethodGet, one, nil).Get("state").String(); got != "cancelled" {
		t.Errorf("the meeting is %q", got)
	}
	if got := bob.MustDo(t, http.MethodGet, hstest.Path("rooms", room, "messages")+"?dir=b&limit=5", nil).Get(`chunk.#(type=="m.room.message").content.body`).String(); !strings.Contains(got, "Budget 2027") {
		t.Errorf("the room was told %q", got)
	}
	alice.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", http.MethodPatch, one, object{"title": "x"})
	if got := ids(alice.MustDo(t, http.MethodGet, all, nil)); len(got) != 0 {
		t.Errorf("to come are %v", got)
	}
	if got := ids(alice.MustDo(t, http.MethodGet, all+"?when=past", nil)); len(got) != 1 {
		t.Errorf("past are %v", got)
	}
	var actions []string
	for _, e := range owner.MustDo(t, http.MethodGet, admin+"audit?limit=100", nil).Get("entries").Array() {
		if strings.HasPrefix(e.Get("action").String(), "meeting.") {
			actions = append(actions, e.Get("action").String())
		}
	}
	for _, want := range []string{"meeting.create", "meeting.change", "meeting.invite", "meeting.uninvite", "meeting.cancel"} {
		if !strings.Contains(strings.Join(actions, " "), want) {
			t.Errorf("the audit log has %v, not %s", actions, want)
		}
	}
}

func TestBadMeetingsAreRefused(t *testing.T) {
	t.Parallel()
	d, b := start(t, 1)
	alice, bob := d.User(t, "alice"), d.User(t, "bob")
	other := d.Organisation(t, "Other", "other.test")
	stranger := other.User(t, "stranger")
	many := make([]any, 10_000)
	for i := range many {
		many[i] = object{"user_id": fmt.Sprintf("@u%d:x", i)}
	}
	rooms := func() int64 {
		return alice.MustDo(t, http.MethodGet, hstest.Path("joined_rooms"), nil).Get("joined_rooms.#").Int()
	}
	before := rooms()
	day, soon := int64(24*3_600_000), in(time.Hour)
	for name, body := range map[string]object{
		"in the past":          {"start_ts": in(-48 * time.Hour), "end_ts": in(-47 * time.Hour)},
		"end before start":     {"start_ts": in(time.Hour), "end_ts": in(30 * time.Minute)},
		"end at start":         {"start_ts": soon, "end_ts": soon},
		"25 hours":             {"start_ts": in(time.Hour), "end_ts": in(time.Hour) + 25*3_600_000},
		"no start":             {"start_ts": nil},
		"two starts":           {"start": "2030-01-01T10:00"},
		"negative":             {"start_ts": -1, "end_ts": 1},
		"far away":             {"start_ts": int64(9_007_199_254_740_991), "end_ts": int64(9_007_199_254_740_991)},
		"parts of seconds":     {"start_ts": in(time.Hour) + 1, "end_ts": in(2 * time.Hour)},
		"no zone":              {"timezone": ""},
		"unknown zone":         {"timezone": "Mars/Olympus"},
		"a path as zone":       {"timezone": "../../etc/passwd"},
		"no title":             {"title": " "},
		"long title":           {"title": strings.Repeat("x", 256)},
		"control characters":   {"title": "a\r\nb"},
		"every second":         {"recurrence": "FREQ=SECONDLY"},
		"not a rule":           {"recurrence": "every tuesday"},
		"endless count":        {"recurrence": "FREQ=DAILY;COUNT=1000000"},
		"first not of rule":    {"recurrence": "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"},
		"unknown lobby":        {"lobby": "dogs"},
		"a gap of the clock":   {"start_ts": nil, "end_ts": nil, "start": "2027-03-28T02:30", "end": "2027-03-28T04:00"},
		"no time at all":       {"start_ts": nil, "end_ts": nil, "start": "soon", "end": "later"},
		"10,000 invitees":      {"invitees": many[:800]},
		"51 addresses":         {"invitees": addresses(51)},
		"nobody":               {"invitees": []any{object{"role": "attendee"}}},
		"a role that is none":  {"invitees": []any{object{"user_id": bob.ID, "role": "king"}}},
		"user and address":     {"invitees": []any{object{"user_id": bob.ID, "medium": "email", "address": "a@example.com"}}},
		"not an address":       {"invitees": []any{email("anna")}},
		"not a user":           {"invitees": []any{object{"user_id": "bob"}}},
		"an unknown language":  {"invitees": []any{object{"medium": "email", "address": "a@example.com", "language": "tlh"}}},
		"a series in the past": {"start_ts": in(-48*time.Hour) - 6*365*day, "end_ts": in(-47*time.Hour) - 6*365*day, "recurrence": "FREQ=DAILY"},
	} {
		full := object{"title": "Budget", "start_ts": in(time.Hour), "end_ts": in(2 * time.Hour), "timezone": "Europe/Brussels"}
		for k, v := range body {
			if full[k] = v; v == nil {
				delete(full, k)
			}
		}
		r, err := alice.Do(t.Context(), http.MethodPost, all, full)
		if err != nil || r.Status != http.StatusBadRequest || !strings.HasPrefix(r.ErrCode(), "M_") {
			t.Errorf("%s: %s %v", name, r, err)
		}
	}
	r, err := alice.Do(t.Context(), http.MethodPost, all, object{"title": "Budget", "start_ts": in(time.Hour), "end_ts": in(2 * time.Hour), "timezone": "UTC", "invitees": many})
	if err != nil || r.Status != http.StatusRequestEntityTooLarge {
		t.Errorf("10,000 invitees: %d %v", r.Status, err)
	}
	var answers []string
	for _, user := range []string{stranger.ID, "@nobody:other.test", "@nobody:hs.test"} {
		r, err := alice.Do(t.Context(), http.MethodPost, all, object{"title": "B", "start_ts": in(time.Hour), "end_ts": in(2 * time.Hour), "timezone": "UTC", "invitees": []any{object{"user_id": user}}})
		if err != nil || r.Status != http.StatusNotFound {
			t.Errorf("inviting %s: %s %v", user, r, err)
		}
		answers = append(answers, strings.ReplaceAll(string(r.Body), user, "U"))
	}
	if answers[0] != answers[1] || answers[0] != answers[2] {
		t.Errorf("people of others are told from those who do not exist: %v", answers)
	}
	if got := rooms(); got != before {
		t.Errorf("what was refused has made %d rooms", got-before)
	}
	if list := b.messages(t); len(list) != 0 {
		t.Errorf("what was refused has sent %v", list)
	}

	meeting := arrange(t, alice, time.Hour, nil).Get("meeting_id").String()
	for name, body := range map[string]object{
		"past": {"start_ts": in(-3 * time.Hour), "end_ts": in(-2 * time.Hour)}, "a title of nothing": {"title": ""}, "time of no series": {"time": in(time.Hour), "start_ts": in(3 * time.Hour), "end_ts": in(4 * time.Hour)},
		"unknown zone": {"timezone": "Mars/Olympus"}, "start alone": {"start_ts": in(9 * time.Hour)},
	} {
		if r, err := alice.Do(t.Context(), http.MethodPatch, all+"/"+meeting, body); err != nil || r.Status != http.StatusBadRequest {
			t.Errorf("change to %s: %s %v", name, r, err)
		}
	}
	alice.MustFail(t, http.StatusBadRequest, "M_INVALID_PARAM", http.MethodDelete, all+"/"+meeting+"?time=5", nil)
	alice.MustFail(t, http.StatusBadRequest, "M_INVALID_PARAM", http.MethodGet, all+"?when=yesterday", nil)
	alice.MustFail(t, http.StatusBadRequest, "M_INVALID_PARAM", http.MethodGet, all+"?from=!!", nil)
	stranger.MustFail(t, http.StatusNotFound, "M_NOT_FOUND", http.MethodGet, all+"/"+meeting, nil)
	bob.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", http.MethodPost, client+"rooms/"+url.PathEscape("!none:hs.test")+"/meeting", object{})
}

func addresses(n int) (list []any) {
	for i := range n {
		list = append(list, email(fmt.Sprintf("a%d@example.com", i)))
	}
	return list
}

func TestLinksHoldUntilAMeetingThatIsFarOff(t *testing.T) {
	t.Parallel()
	d, b := start(t, 1)
	alice := d.User(t, "alice")
	first, day := in(3*366*24*time.Hour), int64(24*3_600_000)
	for rule, ends := range map[string]int64{"": first, "FREQ=DAILY;COUNT=5": first + 4*day, "FREQ=WEEKLY;COUNT=100": first + 366*day - 5_400_000} {
		made := alice.MustDo(t, http.MethodPost, all, object{
			"title": "In years", "start_ts": first, "end_ts": first + 1_800_000, "timezone": "UTC", "recurrence": rule, "invitees": []any{email("anna" + fmt.Sprint(len(rule)) + "@example.com")}, "link": true,
		})
		for _, link := range []string{b.one(t).Get("invitation.link").String(), made.Get("link").String()} {
			if got := opened(t, d, link); got.Get("opens_ts").Int() != first-900_000 || got.Get("expires_ts").Int() != ends+5_400_000 {
				t.Errorf("%q: the page is told %s", rule, got)
			}
		}
	}
}

func TestNewcomersAreToldOfNoChange(t *testing.T) {
	t.Parallel()
	d, b := start(t, 1)
	alice := d.User(t, "alice")
	made := alice.MustDo(t, http.MethodPost, all, object{
		"title": "Budget", "start": "2030-03-25T09:00", "end": "2030-03-25T10:00", "timezone": "UTC", "invitees": []any{email("anna@example.com")},
	})
	one := all + "/" + made.Get("meeting_id").String()
	told := func(first bool, sequence int64) {
		t.Helper()
		if m := b.one(t); m.Get("invitation.first").Bool() != first || m.Get("invitation.meeting.sequence").Int() != sequence {
			t.Errorf("want first %v and the sequence %d in %s", first, sequence, m)
		}
	}
	told(true, 0)
	alice.MustDo(t, http.MethodPatch, one, object{"title": "Budget 2030"})
	told(false, 1)
	alice.MustDo(t, http.MethodPost, one+"/invitees", object{"invitees": []any{email("erik@example.com")}})
	told(true, 1)
}

func TestASeriesGoesOnAndItsLinksOpenEachTime(t *testing.T) {
	t.Parallel()
	d, b := start(t, 2)
	alice := d.User(t, "alice")
	// Yesterday, two hours ago, in 22 hours, and so on.
	first := in(-26 * time.Hour)
	made := alice.MustDo(t, http.MethodPost, all, object{
		"title": "Daily", "start_ts": first, "end_ts": first + 1_800_000, "timezone": "UTC", "recurrence": "FREQ=DAILY;COUNT=5", "invitees": []any{email("anna@example.com")}, "link": true,
	})
	day := int64(24 * 3_600_000)
	one := all + "/" + made.Get("meeting_id").String()
	if made.Get("next_start_ts").Int() != first+2*day {
		t.Fatalf("the next time is %s", made)
	}
	links := []string{b.one(t).Get("invitation.link").String(), made.Get("link").String()}
	for _, link := range links {
		if got := opened(t, d, link); got.Get("state").String() != "early" || got.Get("opens_ts").Int() != first+2*day-900_000 || got.Get("expires_ts").Int() != first+4*day+1_800_000+3_600_000 ||
			got.Get("meeting.start_ts").Int() != first+2*day {
			t.Errorf("the page is told %s", got)
		}
	}
	// As it was two hours ago; then the worker comes.
	exec(t, d, `UPDATE invitations SET opens_ts = $1 WHERE meeting IS NOT NULL`, first+day-900_000)
	for _, link := range links {
		if got := opened(t, d, link).Get("state").String(); got != "open" {
			t.Errorf("during the second time the link is %q", got)
		}
	}
	exec(t, d, `UPDATE meetings SET next_start_ts = $1, next_end_ts = $2, due_ts = 1`, first+day, first+day+1_800_000)
	hstest.Eventually(t, "the third time is the next one", func() bool {
		return alice.MustDo(t, http.MethodGet, one, nil).Get("next_start_ts").Int() == first+2*day
	})
	for _, link := range links {
		if got := opened(t, d, link); got.Get("state").String() != "early" || got.Get("opens_ts").Int() != first+2*day-900_000 {
			t.Errorf("before the third time the page is told %s", got)
		}
	}
	if list := b.messages(t); len(list) != 0 {
		t.Errorf("somebody was told of it: %v", list)
	}

	// One time is moved, another one cancelled.
	moved := alice.MustDo(t, http.MethodPatch, one, object{"time": first + 2*day, "start_ts": first + 2*day + 7_200_000, "end_ts": first + 2*day + 9_000_000})
	if moved.Get("next_start_ts").Int() != first+2*day+7_200_000 || moved.Get("exceptions.#").Int() != 1 {
		t.Errorf("after moving it is %s", moved)
	}
	m := b.one(t).Get("invitation")
	if m.Get("meeting.sequence").Int() != 1 || m.Get("meeting.exceptions.0.new_start_ts").Int() != first+2*day+7_200_000 || m.Get("meeting.recurrence").String() != "FREQ=DAILY;COUNT=5" {
		t.Errorf("the message about it is %s", m)
	}
	if got := opened(t, d, m.Get("link").String()).Get("opens_ts").Int(); got != first+2*day+7_200_000-900_000 {
		t.Errorf("its link opens at %d", got)
	}
	ics := calendarOf(t, alice, one)
	if strings.Count(ics, "BEGIN:VEVENT") != 2 || !strings.Contains(ics, "RECURRENCE-ID") || !strings.Contains(ics, "SEQUENCE:1") {
		t.Errorf("the calendar is %s", ics)
	}
	cancelled := alice.MustDo(t, http.MethodDelete, fmt.Sprintf("%s?time=%d", one, first+2*day), nil)
	if cancelled.Get("next_start_ts").Int() != first+3*day || cancelled.Get("state").String() != "upcoming" {
		t.Errorf("after cancelling one time it is %s", cancelled)
	}
	b.messages(t)
	if ics := calendarOf(t, alice, one); strings.Count(ics, "BEGIN:VEVENT") != 1 || strings.Count(ics, "EXDATE") != 1 || !strings.Contains(ics, "SEQUENCE:2") {
		t.Errorf("the calendar is %s", ics)
	}
	alice.MustDo(t, http.MethodDelete, fmt.Sprintf("%s?time=%d", one, first+3*day), nil)
	alice.MustFail(t, http.StatusBadRequest, "M_INVALID_PARAM", http.MethodDelete, fmt.Sprintf("%s?time=%d", one, first+4*day), nil)

	// The last time is over.
	exec(t, d, `UPDATE meetings SET start_ts = start_ts - $1, next_start_ts = next_start_ts - $1, next_end_ts = next_end_ts - $1, exceptions = '[]', due_ts = 1`, 10*day)
	hstest.Eventually(t, "nothing is to come", func() bool { return len(ids(alice.MustDo(t, http.MethodGet, all, nil))) == 0 })
	if got := alice.MustDo(t, http.MethodGet, one, nil); got.Get("state").String() != "past" || got.Get("next_start_ts").Exists() {
		t.Errorf("the meeting is %s", got)
	}
}

func calendarOf(t *testing.T, u *hstest.User, one string) string {
	t.Helper()
	r, err := u.Do(t.Context(), http.MethodGet, one+"/calendar.ics", nil)
	if err != nil || r.Status != http.StatusOK {
		t.Fatalf("the calendar: %s %v", r, err)
	}
	for line := range strings.SplitSeq(string(r.Body), "\r\n") {
		if len(line) > 75 {
			t.Errorf("a line of %d bytes: %s", len(line), line)
		}
	}
	return string(r.Body)
}
