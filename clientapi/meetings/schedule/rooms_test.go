package schedule_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/store/storetest"
)

func TestMeetNowInAnyRoom(t *testing.T) {
	t.Parallel()
	d, b := start(t, 2)
	alice, bob := d.User(t, "alice"), d.User(t, "bob")
	room := alice.MustCreateRoom(t, map[string]any{"name": "Sales", "invite": []string{bob.ID}})
	now := client + "rooms/" + room + "/meeting"
	bob.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", http.MethodPost, now, object{})
	bob.MustJoin(t, room)
	since := bob.MustSync(t, hstest.Sync{}).Get("next_batch").String()
	made := alice.MustDo(t, http.MethodPost, now, nil)
	if made.Get("kind").String() != "instant" || made.Get("state").String() != "on" || made.Get("title").String() != "Sales" || made.Get("room_id").String() != room || made.Get("link").Exists() {
		t.Errorf("the meeting is %s", made)
	}
	if got := bob.MustSync(t, hstest.Sync{Since: since}); len(got.Get("rooms.join").Map()) != 0 {
		t.Errorf("members were told unasked: %s", got)
	}
	id := made.Get("meeting_id").String()
	rung := bob.On(1).MustDo(t, http.MethodPost, now, object{"notify": "ring", "link": true})
	if rung.Get("meeting_id").String() != id {
		t.Errorf("the same room has another meeting: %s", rung)
	}
	ring := alice.MustDo(t, http.MethodGet, hstest.Path("rooms", room, "messages")+"?dir=b&limit=5", nil).Get(`chunk.#(type=="org.matrix.msc4075.rtc.notification")`)
	if ring.Get("content.notification_type").String() != "ring" || ring.Get("sender").String() != bob.ID || !ring.Get("content.m\\.mentions.room").Bool() {
		t.Errorf("the ring is %s", ring)
	}
	link := alice.MustDo(t, http.MethodGet, all+"/"+id, nil).Get("link").String()
	if got := opened(t, d, link); got.Get("state").String() != "open" || got.Get("room.name").String() != "Sales" {
		t.Errorf("the page is told %s", got)
	}
	alice.MustDo(t, http.MethodPost, all+"/"+id+"/invitees", object{"invitees": []any{email("anna@example.com")}})
	if m := b.one(t); m.Get("invitation.meeting").Exists() || opened(t, d, m.Get("invitation.link").String()).Get("state").String() != "open" {
		t.Errorf("who is asked to a meeting that is on gets %s", m)
	}
	// A guest sees this meeting and no other.
	other := arrange(t, alice, time.Hour, nil).Get("meeting_id").String()
	guest := redeem(t, d, link, "Gerda")
	if got := ids(guest.MustDo(t, http.MethodGet, all, nil)); len(got) != 1 || got[0] != id {
		t.Errorf("the guest sees %v", got)
	}
	if got := guest.MustDo(t, http.MethodGet, all+"/"+id, nil); got.Get("link").Exists() || got.Get("invitees").Exists() || got.Get("may_manage").Bool() {
		t.Errorf("the guest sees %s", got)
	}
	guest.MustFail(t, http.StatusNotFound, "M_NOT_FOUND", http.MethodGet, all+"/"+other, nil)
	guest.MustFail(t, http.StatusForbidden, "M_GUEST_ACCESS_FORBIDDEN", http.MethodPost, all, object{})
	guest.MustFail(t, http.StatusForbidden, "M_GUEST_ACCESS_FORBIDDEN", http.MethodPost, now, object{})
	guest.MustFail(t, http.StatusForbidden, "M_GUEST_ACCESS_FORBIDDEN", http.MethodPut, client+"personal_meeting", object{})
	alice.MustDo(t, http.MethodDelete, all+"/"+id, nil)
	hstest.Eventually(t, "the guest ends with the meeting", func() bool {
		r, err := guest.Do(t.Context(), http.MethodGet, all, nil)
		return err == nil && r.Status == http.StatusUnauthorized
	})
	if got := state(t, alice, room, "m.room.name", "").Get("name").String(); got != "Sales" {
		t.Errorf("the room is called %q", got)
	}
	if next := alice.MustDo(t, http.MethodPost, now, object{}).Get("meeting_id").String(); next == id {
		t.Error("a meeting that was ended goes on")
	}
}

func TestAPersonalRoomHasALinkThatStaysTheSame(t *testing.T) {
	t.Parallel()
	d, _ := start(t, 2)
	alice, bob := d.User(t, "alice"), d.User(t, "bob")
	path := client + "personal_meeting"
	made := alice.MustDo(t, http.MethodPut, path, nil)
	link, room := made.Get("link").String(), made.Get("room_id").String()
	if made.Get("kind").String() != "personal" || made.Get("state").String() != "open" || made.Get("lobby").String() != "everybody" || link == "" {
		t.Fatalf("the personal room is %s", made)
	}
	if got := state(t, alice, room, "m.room.join_rules", "").Get("join_rule").String(); got != "knock" {
		t.Errorf("its join rule is %q", got)
	}
	again := alice.On(1).MustDo(t, http.MethodPut, path, object{"title": "Alice's"})
	if again.Get("meeting_id").String() != made.Get("meeting_id").String() || again.Get("link").String() != link || again.Get("title").String() != "Alice's" {
		t.Errorf("once more it is %s", again)
	}
	if got := opened(t, d, link).Get("state").String(); got != "open" {
		t.Errorf("its link is %q", got)
	}
	if got := ids(alice.MustDo(t, http.MethodGet, all, nil)); len(got) != 0 {
		t.Errorf("to come are %v", got)
	}
	if got := ids(alice.MustDo(t, http.MethodGet, all+"?when=all&mine=true", nil)); len(got) != 1 {
		t.Errorf("there are %v", got)
	}
	renewed := alice.MustDo(t, http.MethodPut, path, object{"renew": true, "lobby": "guests"})
	if renewed.Get("link").String() == link || renewed.Get("lobby").String() != "guests" || renewed.Get("title").String() != "Alice's" {
		t.Errorf("renewed it is %s", renewed)
	}
	if got := opened(t, d, link).Get("state").String(); got == "open" {
		t.Error("the link from before is open still")
	}
	if got := opened(t, d, renewed.Get("link").String()).Get("state").String(); got != "open" {
		t.Errorf("the new link is %q", got)
	}
	if got := bob.MustDo(t, http.MethodPut, path, nil).Get("room_id").String(); got == room {
		t.Error("two people have the same personal room")
	}
	alice.MustFail(t, http.StatusBadRequest, "M_INVALID_PARAM", http.MethodPatch, all+"/"+made.Get("meeting_id").String(), object{"start_ts": in(time.Hour), "end_ts": in(2 * time.Hour)})
	alice.MustFail(t, http.StatusNotFound, "M_NOT_FOUND", http.MethodGet, all+"/"+made.Get("meeting_id").String()+"/calendar.ics", nil)
	alice.MustDo(t, http.MethodDelete, all+"/"+made.Get("meeting_id").String(), nil)
	if got := opened(t, d, renewed.Get("link").String()).Get("state").String(); got != "revoked" {
		t.Errorf("the link of a room that is none any more is %q", got)
	}
	if got := alice.MustDo(t, http.MethodPut, path, nil); got.Get("room_id").String() == room || got.Get("link").String() == renewed.Get("link").String() {
		t.Errorf("the next personal room is %s", got)
	}
}

func TestWhoIsAskedByAddressHasTheirRole(t *testing.T) {
	t.Parallel()
	d, b := start(t, 1)
	alice := d.User(t, "alice")
	made := arrange(t, alice, 5*time.Minute, object{"invitees": []any{object{"medium": "email", "address": "anna@example.com", "role": "presenter"}}})
	guest := redeem(t, d, b.one(t).Get("invitation.link").String(), "Anna")
	levels := state(t, alice, made.Get("room_id").String(), "m.room.power_levels", "").Get("users")
	if levels.Get(gjson.Escape(guest.ID)).Int() != 25 {
		t.Errorf("the levels are %s", levels)
	}
	one := all + "/" + made.Get("meeting_id").String()
	guest.MustDo(t, http.MethodPut, one+"/answer", object{"answer": "accepted"})
	if got := alice.MustDo(t, http.MethodGet, one, nil).Get("invitees.0"); got.Get("answer").String() != "accepted" || got.Get("state").String() != "redeemed" {
		t.Errorf("the organiser sees %s", got)
	}
	// A guest who is there is told of another time, and may stay for it.
	until := guest.MustDo(t, http.MethodGet, hstest.Path("rooms", made.Get("room_id").String(), "state", "m.room.member", guest.ID), nil)
	var before, after int64
	row := storetest.DB(t, d.DSN).QueryRow(`SELECT expires_ts FROM guests WHERE user_id = $1`, guest.ID)
	if err := row.Scan(&before); err != nil {
		t.Fatal(err, until)
	}
	alice.MustDo(t, http.MethodPatch, one, object{"start_ts": in(3 * time.Hour), "end_ts": in(4 * time.Hour)})
	if m := b.one(t); m.Get("invitation.meeting.sequence").Int() != 1 {
		t.Errorf("the guest's calendar is told %s", m)
	}
	if err := storetest.DB(t, d.DSN).QueryRow(`SELECT expires_ts FROM guests WHERE user_id = $1`, guest.ID).Scan(&after); err != nil || after <= before {
		t.Errorf("the guest may stay until %d, before %d (%v)", after, before, err)
	}
}

func TestThePolicyDecidesWhoArrangesWhat(t *testing.T) {
	t.Parallel()
	d, _ := start(t, 1)
	owner := d.Operator(t)
	alice := d.User(t, "alice")
	put := func(body object) {
		t.Helper()
		owner.MustDo(t, http.MethodPut, admin+"policies/meetings", body)
	}
	body := object{"title": "B", "start_ts": in(time.Hour), "end_ts": in(3 * time.Hour), "timezone": "UTC"}
	put(object{"who": "managers"})
	alice.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", http.MethodPost, all, body)
	owner.MustDo(t, http.MethodPost, all, body)
	put(object{"enabled": false})
	owner.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", http.MethodPost, all, body)
	put(object{"max_minutes": 119})
	alice.MustFail(t, http.StatusBadRequest, "M_INVALID_PARAM", http.MethodPost, all, body)
	put(object{"encrypted": true, "lobby": "guests"})
	made := alice.MustDo(t, http.MethodPost, all, body)
	if !made.Get("encrypted").Bool() || made.Get("lobby").String() != "guests" {
		t.Errorf("the meeting is %s", made)
	}
	body["encrypted"], body["lobby"] = false, "nobody"
	if made := alice.MustDo(t, http.MethodPost, all, body); made.Get("encrypted").Bool() || made.Get("lobby").String() != "nobody" {
		t.Errorf("the meeting is %s", made)
	}
	for name, value := range map[string]any{
		"who": "me", "max_participants": -1, "max_minutes": 1441, "lobby": "dogs", "recording": "tape", "who_may_record": "all", "unknown": 1, "enabled": "yes", "reminder_minutes": 9999,
	} {
		r, err := owner.Do(t.Context(), http.MethodPut, admin+"policies/meetings", object{name: value})
		if err != nil || r.Status != http.StatusBadRequest || r.ErrCode() != "M_BAD_JSON" {
			t.Errorf("%s: %v: %s %v", name, value, r, err)
		}
	}
}

func TestAdministratorsSeeAndEndMeetings(t *testing.T) {
	t.Parallel()
	d, b := start(t, 1)
	owner := d.Operator(t)
	alice := d.User(t, "alice")
	other := d.Organisation(t, "Other", "other.test")
	foreign := other.Admin(t, "boss")
	made := arrange(t, alice, time.Hour, object{"invitees": []any{email("anna@example.com")}})
	b.messages(t)
	one := admin + "meetings/" + made.Get("meeting_id").String()
	if got := ids(owner.MustDo(t, http.MethodGet, admin+"meetings?organiser="+alice.ID, nil)); len(got) != 1 {
		t.Errorf("the organisation has %v", got)
	}
	if got := owner.MustDo(t, http.MethodGet, one, nil); got.Get("invitees.0.address").String() != "anna@example.com" || !got.Get("participants").IsArray() || got.Get("link").Exists() {
		t.Errorf("the meeting is %s", got)
	}
	exec(t, d, `INSERT INTO rtc_spending SELECT organisation_id, current_date, 3660 FROM users WHERE user_id = $1`, alice.ID)
	if got := owner.MustDo(t, http.MethodGet, admin+"meetings/figures", nil); got.Get("upcoming").Int() != 1 || got.Get("minutes_this_month").Int() != 61 || got.Get("meetings_on").Int() != 0 {
		t.Errorf("the figures are %s", got)
	}
	if got := foreign.MustDo(t, http.MethodGet, admin+"meetings/figures", nil); got.Get("upcoming").Int() != 0 || got.Get("minutes_this_month").Int() != 0 {
		t.Errorf("another organisation's figures are %s", got)
	}
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		alice.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", method, one, nil)
		foreign.MustFail(t, http.StatusNotFound, "M_NOT_FOUND", method, one, nil)
	}
	foreign.MustFail(t, http.StatusNotFound, "M_NOT_FOUND", http.MethodPost, one+"/end", object{})
	if got := ids(foreign.MustDo(t, http.MethodGet, admin+"meetings?when=all", nil)); len(got) != 0 {
		t.Errorf("another organisation has %v", got)
	}
	owner.MustDo(t, http.MethodPost, one+"/end", object{})
	owner.MustDo(t, http.MethodDelete, one, nil)
	owner.MustDo(t, http.MethodDelete, one, nil)
	if m := b.one(t); m.Get("kind").String() != "cancellation" {
		t.Errorf("who was asked is told %s", m)
	}
	for _, action := range []string{"meeting.end", "meeting.cancel"} {
		if got := owner.MustDo(t, http.MethodGet, admin+"audit?action="+action, nil); got.Get("entries.#").Int() != 1 || got.Get("entries.0.actor").String() != owner.ID {
			t.Errorf("the audit log has of %s: %s", action, got)
		}
	}
}

func TestListsHavePages(t *testing.T) {
	t.Parallel()
	d, _ := start(t, 1)
	alice := d.User(t, "alice")
	var want []string
	for i := range 5 {
		want = append(want, arrange(t, alice, time.Duration(1+i)*time.Hour, nil).Get("meeting_id").String())
	}
	for _, when := range []string{"upcoming", "all"} {
		var got []string
		from := ""
		for range 5 {
			page := alice.MustDo(t, http.MethodGet, all+"?limit=2&when="+when+"&from="+from, nil)
			got = append(got, ids(page)...)
			if from = page.Get("next_batch").String(); from == "" {
				break
			}
		}
		if when == "all" {
			for i, j := 0, len(got)-1; i < j; i, j = i+1, j-1 {
				got[i], got[j] = got[j], got[i]
			}
		}
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("%s: got %v, want %v", when, got, want)
		}
	}
}

func TestMeetingsAtTheMachine(t *testing.T) {
	t.Parallel()
	d, b := start(t, 1)
	alice, bob := d.User(t, "alice"), d.User(t, "bob")
	code, out := d.Command(t, 0, "meeting", "create", "--as", alice.ID, "--title", "Budget", "--start", "2030-01-02T10:00", "--end", "2030-01-02T11:00", "--timezone", "Europe/Brussels",
		"--invite", bob.ID, "--invite", "anna@example.com", "--link")
	id := regexp.MustCompile(`the meeting is called (\w+)`).FindStringSubmatch(out)
	link := regexp.MustCompile(guestsURL + `/i#\S+`).FindString(out)
	if code != 0 || id == nil || link == "" {
		t.Fatalf("create: %d %s", code, out)
	}
	if got := opened(t, d, link).Get("meeting.title").String(); got != "Budget" {
		t.Errorf("the link is to %q", got)
	}
	if got := ids(bob.MustDo(t, http.MethodGet, all, nil)); len(got) != 1 || got[0] != id[1] {
		t.Errorf("who was asked sees %v", got)
	}
	b.one(t)
	if code, out := d.Command(t, 0, "meeting", "list", "--organisation", "hs.test"); code != 0 || !strings.Contains(out, id[1]) || !strings.Contains(out, "2030-01-02T09:00:00Z") {
		t.Errorf("list: %d %s", code, out)
	}
	if code, out := d.Command(t, 0, "meeting", "cancel", id[1]); code != 0 || !strings.Contains(out, "cancelled") {
		t.Errorf("cancel: %d %s", code, out)
	}
	if m := b.one(t); m.Get("kind").String() != "cancellation" {
		t.Errorf("who was asked is told %s", m)
	}
	for _, wrong := range [][]string{{"cancel", "nothing"}, {"list"}, {"create", "--as", "@nobody:hs.test", "--title", "x", "--start", "2030-01-02T10:00", "--end", "2030-01-02T11:00"}} {
		if code, out := d.Command(t, 0, append([]string{"meeting"}, wrong...)...); code != 1 {
			t.Errorf("%v: %d %s", wrong, code, out)
		}
	}
}

// TestAnAddresseeAnswersByTheLink: whoever has the link of a message says whether they come, without an account; opening it says nothing, and a link that
// anybody may pass on asks nobody.
func TestAnAddresseeAnswersByTheLink(t *testing.T) {
	t.Parallel()
	d, b := start(t, 1)
	alice := d.User(t, "alice")
	made := alice.MustDo(t, http.MethodPost, all, object{
		"title": "Budget", "start": "2030-03-25T09:00", "end": "2030-03-25T10:00", "timezone": "Europe/Brussels", "invitees": []any{email("anna@example.com")}, "link": true,
	})
	one := all + "/" + made.Get("meeting_id").String()
	link := b.one(t).Get("invitation.link").String()
	secretIn := func(link string) string { _, secret, _ := strings.Cut(link, "#"); return secret }
	secret := secretIn(link)
	say := func(secret, answer string) hstest.Response {
		r, err := d.Do(t.Context(), 0, "", http.MethodPost, "/_roomline/guest/v1/answer", object{"secret": secret, "answer": answer})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	said := func() string {
		answer := opened(t, d, link).Get("answer")
		if !answer.Exists() {
			t.Fatal("who opens the link is not asked")
		}
		return answer.String()
	}
	invitee := func() string { return alice.MustDo(t, http.MethodGet, one, nil).Get("invitees.0.answer").String() }
	if said() != "" || invitee() != "" {
		t.Error("opening the link says something")
	}
	for _, answer := range []string{"declined", "tentative", "accepted"} {
		if r := say(secret, answer); r.Status != http.StatusOK || invitee() != answer || said() != answer {
			t.Errorf("%s: %s, and the organiser sees %q", answer, r, invitee())
		}
	}
	for name, r := range map[string]hstest.Response{
		"a word": say(secret, "perhaps"), "no such link": say("AAAAAAAAAAAAAAAAAAAAAA", "declined"), "everybody's link": say(secretIn(made.Get("link").String()), "declined"),
	} {
		if r.Status < 400 || r.Status >= 500 {
			t.Errorf("%s: %s", name, r)
		}
	}
	alice.MustDo(t, http.MethodDelete, one, nil)
	if r := say(secret, "declined"); r.Status != http.StatusForbidden || invitee() == "declined" {
		t.Errorf("a meeting that was cancelled: %s", r)
	}
}
