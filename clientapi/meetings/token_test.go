package meetings_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/livekit/protocol/livekit"
	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
)

// TestTwoMeet has an older and a newer client in one call.
func TestTwoMeet(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{})
	anna := s.member(t, "anna")

	transports := s.host.MustDo(t, http.MethodGet, transportsPath, nil)
	if got := transports.Get("rtc_transports.0"); got.Get("type").String() != "livekit" || got.Get("livekit_service_url").String() != baseURL+"/_roomline/rtc" {
		t.Errorf("transports: %s", transports)
	}
	begun := time.Now().Unix()
	newer, older := s.token(t, anna), s.sfuGet(t, 0, s.host, s.host.DeviceID)
	c := claims(t, newer)
	if want := hash(fmt.Sprintf(`[%q,%q,"m1"]`, anna.ID, anna.DeviceID)); c.Get("sub").String() != want {
		t.Errorf("the identity is %s, want %s", c.Get("sub"), want)
	}
	room := c.Get("video.room").String()
	if room != claims(t, older).Get("video.room").String() || strings.Contains(room, s.room) || room == hash(fmt.Sprintf(`[%q,%q]`, s.room, slot)) {
		t.Errorf("rooms of the SFU: %s and %s", room, claims(t, older).Get("video.room"))
	}
	if got := claims(t, older).Get("sub").String(); got != s.host.ID+":"+s.host.DeviceID {
		t.Errorf("the identity of an older client is %s", got)
	}
	for name, token := range map[string]hstest.Response{"newer": newer, "older": older} {
		c := claims(t, token)
		if exp := c.Get("exp").Int(); exp > time.Now().Unix()+60 || exp < begun+40 {
			t.Errorf("%s: the token holds for %d s", name, exp-begun)
		}
		for _, grant := range []string{"roomCreate", "roomAdmin", "roomList", "roomRecord", "recorder", "ingressAdmin", "hidden", "canUpdateOwnMetadata"} {
			if c.Get("video." + grant).Bool() {
				t.Errorf("%s: the token grants %s", name, grant)
			}
		}
		if c.Get("sip").Exists() || c.Get("metadata").String() != "" || c.Get("roomConfig").Exists() {
			t.Errorf("%s: the token says more: %s", name, c)
		}
	}

	a, h := mustConnect(t, newer), mustConnect(t, older)
	eventually(t, "data does not come", promised, func() bool { // as long as a channel is not open, what is said there is lost
		if err := a.LocalParticipant.PublishDataPacket(userData("hello"), reliably()); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-h.data:
			if got != c.Get("sub").String()+" hello" {
				t.Errorf("data: %q", got)
			}
			return true
		case <-time.After(200 * time.Millisecond):
			return false
		}
	})
	if err := h.speak(t, livekit.TrackSource_MICROPHONE); err != nil {
		t.Fatal(err)
	}
	if got := comes(t, "sound", a.audio); got != s.host.ID+":"+s.host.DeviceID {
		t.Errorf("sound from %q", got)
	}
}

// TestWhoGetsNoToken has a line for each of those who may not be in the call. Nobody of them is told more than the others.
func TestWhoGetsNoToken(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{})
	other := s.Organisation(t, "Other", "other.test")
	outside, stranger := s.User(t, "outside"), other.User(t, "stranger")
	invited := s.User(t, "invited")
	s.host.MustInvite(t, s.room, invited)
	left, banned, kicked := s.member(t, "left"), s.member(t, "banned"), s.member(t, "kicked")
	left.MustLeave(t, s.room)
	s.host.MustDo(t, "POST", hstest.Path("rooms", s.room, "ban"), map[string]any{"user_id": banned.ID})
	s.host.MustDo(t, "POST", hstest.Path("rooms", s.room, "kick"), map[string]any{"user_id": kicked.ID})
	claims(t, s.token(t, s.host))

	nowhere := asking(outside, "!nowhere:hs.test")
	unknown := s.ask(t, outside, tokenPath, nowhere)
	if unknown.Status != 401 || unknown.ErrCode() != "M_UNAUTHORIZED" {
		t.Errorf("a room that is not there: %s", unknown)
	}
	for name, u := range map[string]*hstest.User{"outside": outside, "stranger": stranger, "invited": invited, "left": left, "banned": banned, "kicked": kicked} {
		if r := s.token(t, u); r.Status != 401 || string(r.Body) != string(unknown.Body) {
			t.Errorf("%s: %s, but of a room that is not there %s", name, r, unknown)
		}
		if r := s.sfuGet(t, 0, u, u.DeviceID); r.Status != 403 || r.ErrCode() != "M_FORBIDDEN" {
			t.Errorf("%s, older client: %s", name, r)
		}
	}
	if n := s.number(t, `SELECT count(*) FROM rtc_participants WHERE user_id <> $1`, s.host.ID); n != 0 {
		t.Errorf("%d of them have a place", n)
	}
}

func TestAccountsThatMayDoNothing(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{})
	suspended, guest := s.member(t, "suspended"), s.guest(t, "participant")
	claims(t, s.token(t, guest))
	openIDOf := map[string]any{"room": s.room, "device_id": guest.DeviceID, "openid_token": openID(t, guest)}

	s.Operator(t).MustDo(t, http.MethodPut, "/_matrix/client/v1/admin/suspend/"+suspended.ID, map[string]any{"suspended": true})
	if r := s.token(t, suspended); r.Status != 403 || r.JSON().Get(`org\.roomline\.reason`).String() != "suspended" {
		t.Errorf("suspended: %s", r)
	}
	s.exec(t, `UPDATE guests SET expires_ts = 1 WHERE user_id = $1`, guest.ID)
	if r, err := s.Do(context.Background(), 0, "", "POST", sfuGetPath, openIDOf); err != nil || r.Status == 200 {
		t.Errorf("a guest whose time is up: %s %v", r, err)
	}
	// The session is the same, so that this is what the rights say, and not the token.
	if r := s.token(t, guest); r.Status == 200 {
		t.Errorf("a guest whose time is up: %s", r)
	}
	gone := s.member(t, "gone")
	again := s.Session(gone)
	body := map[string]any{"room": s.room, "device_id": gone.DeviceID, "openid_token": openID(t, again)}
	gone.MustDo(t, "POST", hstest.Path("logout"), map[string]any{})
	if r, err := s.Do(context.Background(), 0, "", "POST", sfuGetPath, body); err != nil || r.Status == 200 {
		t.Errorf("for a device that has signed out: %s %v", r, err)
	}
}

func TestRightsFollowPower(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{})
	anna, observer, guest := s.member(t, "anna"), s.guest(t, "observer"), s.guest(t, "participant")
	sources := func(r hstest.Response) (list []string) {
		for _, source := range claims(t, r).Get("video.canPublishSources").Array() {
			list = append(list, source.String())
		}
		return list
	}
	all := []string{"microphone", "camera", "screen_share", "screen_share_audio"}
	for name, u := range map[string]*hstest.User{"a member": anna, "a guest": guest, "the host": s.host} {
		if got := sources(s.token(t, u)); !slices.Equal(got, all) {
			t.Errorf("%s may publish %v", name, got)
		}
	}
	watching := s.token(t, observer)
	if c := claims(t, watching).Get("video"); c.Get("canPublish").Bool() || c.Get("canPublishData").Bool() || !c.Get("canSubscribe").Bool() {
		t.Errorf("an observer: %s", c)
	}
	s.host.MustSetState(t, s.room, "org.roomline.meeting", "", map[string]any{"publish": map[string]any{"microphone": 0, "camera": 25, "screen_share": 50}})
	if got := sources(s.token(t, anna)); !slices.Equal(got, []string{"microphone"}) {
		t.Errorf("who has too little power may publish %v", got)
	}
	if got := sources(s.token(t, s.host)); !slices.Equal(got, all) {
		t.Errorf("the host may publish %v", got)
	}
	anna.MustFail(t, 403, "M_FORBIDDEN", "PUT", hstest.Path("rooms", s.room, "state", "org.roomline.meeting", ""), map[string]any{})

	// What the SFU makes of it.
	w, a := mustConnect(t, s.token(t, observer)), mustConnect(t, s.token(t, anna))
	watcher := make(chan error, 1)
	go func() { watcher <- w.speak(t, livekit.TrackSource_MICROPHONE) }() // waits for the SFU's consent until it gives up
	if err := a.speak(t, livekit.TrackSource_MICROPHONE); err != nil {
		t.Errorf("who may speak does not: %v", err)
	}
	if got := comes(t, "sound", w.audio); got == "" {
		t.Error("the observer hears nobody")
	}
	if <-watcher == nil {
		t.Error("an observer publishes")
	}
}

func TestALockedMeeting(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{})
	anna, bob := s.member(t, "anna"), s.member(t, "bob")
	s.token(t, anna)
	s.exec(t, `UPDATE rtc_participants SET joined_ts = 1 WHERE user_id = $1`, anna.ID)
	s.host.MustSetState(t, s.room, "org.roomline.meeting", "", map[string]any{"locked": true})
	if r := s.token(t, bob); r.Status != 403 || r.JSON().Get(`org\.roomline\.reason`).String() != "meeting_locked" {
		t.Errorf("bob comes: %s", r)
	}
	claims(t, s.token(t, anna))   // is in it
	claims(t, s.token(t, s.host)) // moderates
}

func TestClaims(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{})
	anna := s.member(t, "anna")
	with := func(change func(body, member map[string]any)) map[string]any {
		body := asking(anna, s.room)
		change(body, body["member"].(map[string]any))
		return body
	}
	for name, c := range map[string]struct {
		body   any
		status int
		code   string
	}{
		"another device":   {with(func(_, m map[string]any) { m["claimed_device_id"] = s.host.DeviceID }), 403, "M_FORBIDDEN"},
		"another user":     {with(func(_, m map[string]any) { m["claimed_user_id"] = s.host.ID }), 403, "M_FORBIDDEN"},
		"no device":        {with(func(_, m map[string]any) { delete(m, "claimed_device_id") }), 400, "M_BAD_JSON"},
		"no member":        {with(func(_, m map[string]any) { delete(m, "id") }), 400, "M_BAD_JSON"},
		"a long member id": {with(func(_, m map[string]any) { m["id"] = strings.Repeat("x", 256) }), 400, "M_BAD_JSON"},
		"no slot":          {with(func(b, _ map[string]any) { delete(b, "slot_id") }), 400, "M_BAD_JSON"},
		"no room":          {with(func(b, _ map[string]any) { delete(b, "room_id") }), 400, "M_BAD_JSON"},
		"too large":        {with(func(b, _ map[string]any) { b["x"] = strings.Repeat("x", 65<<10) }), 413, "M_TOO_LARGE"},
	} {
		if r := s.ask(t, anna, tokenPath, c.body); r.Status != c.status || r.ErrCode() != c.code {
			t.Errorf("%s: %s, want %d %s", name, r, c.status, c.code)
		}
	}
	service := func(path string, body map[string]any) hstest.Response {
		r, err := s.Do(context.Background(), 0, "", "POST", path, body)
		if err != nil {
			t.Fatal(err)
		}
		if r.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: a browser of another page may not read the answer", path)
		}
		return r
	}
	token := openID(t, anna)
	older := func(change func(b map[string]any)) map[string]any {
		b := map[string]any{"room": s.room, "device_id": anna.DeviceID, "openid_token": token}
		change(b)
		return b
	}
	claims(t, service(sfuGetPath, older(func(map[string]any) {})))
	for name, c := range map[string]struct {
		body   map[string]any
		status int
	}{
		"the host's device":  {older(func(b map[string]any) { b["device_id"] = s.host.DeviceID }), 403},
		"a device of nobody": {older(func(b map[string]any) { b["device_id"] = "NOBODY" }), 403},
		"no device":          {older(func(b map[string]any) { delete(b, "device_id") }), 400},
		"no token":           {older(func(b map[string]any) { delete(b, "openid_token") }), 400},
		"a token of nobody": {older(func(b map[string]any) {
			b["openid_token"] = map[string]any{"access_token": "x", "matrix_server_name": "hs.test"}
		}), 401},
		"an access token": {older(func(b map[string]any) {
			b["openid_token"] = map[string]any{"access_token": anna.AccessToken, "matrix_server_name": "hs.test"}
		}), 401},
		"a server of nobody": {older(func(b map[string]any) {
			b["openid_token"] = map[string]any{"access_token": "x", "matrix_server_name": "127.0.0.1:1"}
		}), 401},
		"too large":           {older(func(b map[string]any) { b["x"] = strings.Repeat("x", 65<<10) }), 413},
		"another user's name": {map[string]any{"room_id": s.room, "slot_id": slot, "openid_token": token, "member": map[string]any{"id": "m", "claimed_user_id": s.host.ID, "claimed_device_id": anna.DeviceID}}, 403},
	} {
		path := sfuGetPath
		if c.body["slot_id"] != nil {
			path = getTokenPath
		}
		if r := service(path, c.body); r.Status != c.status {
			t.Errorf("older client, %s: %s, want %d", name, r, c.status)
		}
	}
	newer := service(getTokenPath, map[string]any{"room_id": s.room, "slot_id": slot, "openid_token": token,
		"member": map[string]any{"id": "m1", "claimed_user_id": anna.ID, "claimed_device_id": anna.DeviceID}})
	if a, b := claims(t, newer).Get("sub"), claims(t, s.token(t, anna)).Get("sub"); a.String() != b.String() {
		t.Errorf("one member has the identities %s and %s", a, b)
	}
}

// TestLimits asks for places at fifty at the same time at three processes.
func TestLimits(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{Processes: 3})
	const most, calls = 7, 3
	s.exec(t, `INSERT INTO organisation_policies (organisation_id, name, value) VALUES (1, 'meetings', $1)`,
		fmt.Sprintf(`{"max_participants":%d,"max_concurrent":%d}`, most, calls))
	rooms := make([]string, 50)
	for i := range rooms {
		rooms[i] = s.host.MustCreateRoom(t, map[string]any{})
	}
	// A place is kept for as long as a token holds.
	s.exec(t, `CREATE FUNCTION kept() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.token_expires_ts := NEW.token_expires_ts + 3600000; RETURN NEW; END $$`)
	s.exec(t, `CREATE TRIGGER kept BEFORE INSERT ON rtc_participants FOR EACH ROW EXECUTE FUNCTION kept()`)
	var granted, full, tooMany atomic.Int64
	ask := func(u *hstest.User, room string, i int) {
		body := asking(u, room)
		body["member"].(map[string]any)["id"] = fmt.Sprint("m", i)
		switch r := s.ask(t, u.On(i%3), tokenPath, body); {
		case r.Status == 200:
			granted.Add(1)
		case r.JSON().Get(`org\.roomline\.reason`).String() == "meeting_full":
			full.Add(1)
		case r.JSON().Get(`org\.roomline\.reason`).String() == "too_many_meetings":
			tooMany.Add(1)
		default:
			t.Errorf("no token: %s", r)
		}
	}
	together := func(f func(i int)) {
		var all sync.WaitGroup
		for i := range 50 {
			all.Go(func() { f(i) })
		}
		all.Wait()
	}
	together(func(i int) { ask(s.host, s.room, i) })
	if granted.Load() != most || full.Load() != 50-most {
		t.Errorf("%d were let in and %d not, of 50, and %d may be", granted.Load(), full.Load(), most)
	}
	// Who has a place already is not counted twice.
	again := s.ask(t, s.host.On(1), tokenPath, asking(s.host, s.room))
	if n := s.number(t, `SELECT count(*) FROM rtc_participants WHERE member_id = 'm1'`); (n == 1) != (again.Status == 200) {
		t.Errorf("who has %d places asks again: %s", n, again)
	}

	granted.Store(0)
	full.Store(0)
	together(func(i int) { ask(s.host, rooms[i], i) })
	if granted.Load() != calls-1 || tooMany.Load() != 50-calls+1 {
		t.Errorf("%d more calls began and %d did not, of 50, and %d may be on, one of which was", granted.Load(), tooMany.Load(), calls)
	}
	s.exec(t, `UPDATE rtc_rooms SET ends_ts = 1 WHERE slot_id = $1`, slot)
	if r := s.token(t, s.host); r.JSON().Get(`org\.roomline\.reason`).String() != "too_long" {
		t.Errorf("a call that has used up its time: %s", r)
	}
}

func TestNoMeetings(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{})
	u := d.User(t, "u")
	room := u.MustCreateRoom(t, map[string]any{})
	u.MustFail(t, 404, "M_UNRECOGNIZED", http.MethodGet, transportsPath, nil)
	u.MustFail(t, 404, "M_UNRECOGNIZED", http.MethodPost, tokenPath, asking(u, room))
	versions := u.MustDo(t, http.MethodGet, "/_matrix/client/versions", nil)
	if versions.Get(`unstable_features.org\.matrix\.msc4143`).Bool() {
		t.Error("calls are announced where there are none")
	}
}

func TestDiscovery(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{})
	if !s.host.MustDo(t, http.MethodGet, "/_matrix/client/versions", nil).Get(`unstable_features.org\.matrix\.msc4143`).Bool() {
		t.Error("calls are not announced")
	}
	doc := s.host.MustDo(t, http.MethodGet, "/.well-known/matrix/client", nil)
	if f := doc.Get(`org\.matrix\.msc4143\.rtc_foci.0`); f.Get("type").String() != "livekit" || f.Get("livekit_service_url").String() != baseURL+"/_roomline/rtc" {
		t.Errorf("well-known: %s", doc)
	}
	s.guest(t, "observer").MustDo(t, http.MethodGet, transportsPath, nil)
}

// TestTheSFUIsAway has messages go on, and meetings come back by themselves.
func TestTheSFUIsAway(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{})
	claims(t, s.token(t, s.host))
	s.lk.Kill9(t)
	deadline := time.Now().Add(4 * time.Minute)
	for {
		begun := time.Now()
		r := s.token(t, s.host)
		if r.Status == 503 {
			if r.ErrCode() != "ORG.ROOMLINE.MEETINGS_UNAVAILABLE" || r.Header.Get("Retry-After") == "" {
				t.Errorf("the SFU is away: %s", r)
			}
			if took := time.Since(begun); took > promised { // a moment, on a machine that does nothing else
				t.Errorf("it took %v to say that the SFU is away", took)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the SFU is away, and tokens are given: %s", r)
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.host.MustSendText(t, s.room, "messages go on")
	s.lk.Restart(t)
	for s.token(t, s.host).Status != 200 {
		if time.Now().After(deadline) {
			t.Fatal("meetings do not come back")
		}
		time.Sleep(100 * time.Millisecond)
	}
	mustConnect(t, s.token(t, s.host))
}

// TestOldTokens makes a token older than it is, and signs it with keys that the SFU knows and does not know.
func TestOldTokens(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{})
	now := s.token(t, s.host)
	for name, c := range map[string]struct {
		age     time.Duration
		key     string
		refused bool
	}{
		"as it is": {0, s.lk.Secret, false},
		// The SFU allows clocks to differ by a minute.
		"past its end":       {2*time.Minute + time.Second, s.lk.Secret, true},
		"of somebody else's": {0, strings.Repeat("x", 40), true},
	} {
		if _, err := connect(t, aged(t, now, c.age, c.key)); (err != nil) != c.refused {
			t.Errorf("a token %s: %v", name, err)
		}
	}
}

// aged is a token's answer with another token in it: what it says, so much earlier, signed with another key.
func aged(t *testing.T, r hstest.Response, age time.Duration, key string) hstest.Response {
	t.Helper()
	token := claims(t, r).Raw
	for _, when := range []string{"exp", "nbf", "iat"} {
		if v := gjson.Get(token, when); v.Exists() {
			token = strings.Replace(token, fmt.Sprintf(`"%s":%d`, when, v.Int()), fmt.Sprintf(`"%s":%d`, when, v.Int()-int64(age.Seconds())), 1)
		}
	}
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encode([]byte(token))
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(signed))
	body, err := json.Marshal(map[string]string{"url": r.JSON().Get("url").String(), "jwt": signed + "." + encode(mac.Sum(nil))})
	if err != nil {
		t.Fatal(err)
	}
	return hstest.Response{Status: http.StatusOK, Body: body}
}

// TestKeysAreReplaced has two keys at the SFU and here, and the first one sign.
func TestKeysAreReplaced(t *testing.T) {
	t.Parallel()
	second := strings.Repeat("s", 40)
	var lk *hstest.LiveKitServer
	s := startWith(t, hstest.Options{Configure: func(_ int, config map[string]any) {
		config["meetings"].(map[string]any)["livekit"].(map[string]any)["keys"] = []any{
			map[string]any{"key": "second", "secret": second}, map[string]any{"key": lk.Key, "secret": lk.Secret}}
	}}, func(l *hstest.LiveKitServer) {
		lk = l
		l.AddKey(t, "second", second)
	})
	token := s.token(t, s.host)
	if got := claims(t, token).Get("iss").String(); got != "second" {
		t.Errorf("the key %s signs", got)
	}
	mustConnect(t, token)
}
