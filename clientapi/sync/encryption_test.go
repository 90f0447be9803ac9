package sync

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/store/storetest"
	"github.com/roomline/roomline/roomserver"
)

const erin = matrix.UserID("@erin:example.org")

func deviceChange(user matrix.UserID) store.Update {
	return store.Update{Kind: store.KindDeviceList, UserID: user, Body: []byte("{}")}
}

func signature(signer, of matrix.UserID) store.Update {
	return store.Update{Kind: store.KindDeviceList, UserID: signer, Key: string(of), Body: []byte("{}")}
}

// listed is a device_lists as "changed…|left…".
func listed(answer gjson.Result) string {
	var lists []string
	for _, name := range []string{"changed", "left"} {
		var names []string
		for _, id := range answer.Get("device_lists." + name).Array() {
			names = append(names, matrix.UserID(id.String()).Localpart())
		}
		lists = append(lists, strings.Join(names, " "))
	}
	return strings.Join(lists, "|")
}

func TestDeviceListsAreToldToThoseWhoShareARoom(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	room := p.create(alice, roomserver.PresetPublic)
	p.join(bob, room)
	p.join(dave, p.create(carol, roomserver.PresetPublic))
	before := p.get(alice)
	want(t, "at first", listed(before), "|")
	p.put(deviceChange(bob), deviceChange(carol))
	first := p.since(before, alice)
	want(t, "bob's devices", listed(first), "bob|")
	want(t, "once", listed(p.since(first, alice)), "|")
	want(t, "again", listed(p.since(before, alice)), "bob|")
	p.put(deviceChange(alice))
	second := p.since(first, alice)
	want(t, "one's own", listed(second), "alice|")
	p.put(signature(alice, bob), signature(carol, alice))
	third := p.since(second, alice)
	want(t, "what one has signed", listed(third), "bob|")
	want(t, "what another has signed", listed(p.since(second, bob)), "|")
	p.join(carol, room)
	p.leave(bob, room)
	want(t, "who came and who went", listed(p.since(third, alice)), "carol|bob")
	want(t, "who joined", listed(p.since(third, carol)), "alice|")
	want(t, "who left", listed(p.since(third, bob)), "|alice")
}

// A new name or avatar is a member event as well.
func TestAProfileIsNoChangeOfDevices(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	room, other := p.create(alice, roomserver.PresetPublic), p.create(alice, roomserver.PresetPublic)
	p.join(bob, room)
	before := p.get(alice)
	p.state(bob, room, typeMember, string(bob), `{"membership":"join","displayname":"Bobby"}`)
	p.join(bob, other)
	p.leave(bob, room)
	p.on(p.rooms.Invite, alice, room, carol)
	want(t, "a room is still shared", listed(p.since(before, alice)), "|")
}

// A waiting client is told at once, of devices of somebody whom the process has never heard of as well.
func TestAChangeOfDevicesWakes(t *testing.T) {
	t.Parallel()
	dsn := storetest.DSN(t)
	one, two := start(t, storetest.Open(t, dsn), options{number: 1}), start(t, storetest.Open(t, dsn), options{number: 2})
	room := one.create(alice, roomserver.PresetPublic)
	one.join(bob, room)
	two.must(two.journal.WaitFor(context.Background(), one.journal.Head()))
	before := two.get(alice)
	answer := make(chan gjson.Result, 1)
	go func() { answer <- two.since(before, alice, "timeout", "300000") }()
	one.put(deviceChange(carol), deviceChange(bob))
	select {
	case a := <-answer:
		want(t, "bob's devices", listed(a), "bob|")
	case <-time.After(time.Minute):
		t.Fatal("nobody was woken")
	}
}

// offer publishes one-time keys.
func (p *process) offer(user matrix.UserID, device matrix.DeviceID, names ...string) {
	p.t.Helper()
	ctx := context.Background()
	var list []store.OneTimeKey
	for _, n := range names {
		list = append(list, store.OneTimeKey{Algorithm: "signed_curve25519", KeyID: n, JSON: []byte(`"k"`)})
	}
	p.must(p.journal.Write(ctx, func(tx *store.Tx) ([]store.Update, error) {
		if err := tx.PutDeviceKeys(ctx, user, device, []byte(`{}`)); err != nil {
			return nil, err
		}
		return []store.Update{keyCount(user, device)}, tx.InsertOneTimeKeys(ctx, user, device, list, 100)
	}))
}

func keyCount(user matrix.UserID, device matrix.DeviceID) store.Update {
	return store.Update{Kind: store.KindKeyCount, UserID: user, Key: string(device), Body: []byte("{}")}
}

// claim takes a key of a device.
func (p *process) claim(user matrix.UserID, device matrix.DeviceID) {
	p.t.Helper()
	ctx := context.Background()
	p.must(p.journal.Write(ctx, func(tx *store.Tx) ([]store.Update, error) {
		wanted := []store.KeyWanted{{UserID: user, DeviceID: device, Algorithm: "signed_curve25519"}}
		keys, err := tx.ClaimOneTimeKeys(ctx, wanted, 1)
		if err == nil && len(keys) == 0 {
			_, err = tx.UseFallbackKeys(ctx, wanted)
		}
		return []store.Update{keyCount(user, device)}, err
	}))
}

func counts(answer gjson.Result) string {
	return answer.Get("device_one_time_keys_count").Raw + answer.Get("device_unused_fallback_key_types").Raw
}

func TestEveryAnswerHasTheCountsOfKeys(t *testing.T) {
	t.Parallel()
	dsn := storetest.DSN(t)
	one, two := start(t, storetest.Open(t, dsn), options{number: 1}), start(t, storetest.Open(t, dsn), options{number: 2})
	one.device(alice)
	want(t, "without keys", counts(one.get(alice)), "{}[]")
	one.offer(alice, "D")
	want(t, "device keys alone", counts(one.get(alice)), `{"signed_curve25519":0}[]`)
	one.offer(alice, "D", "1", "2", "3")
	one.must(one.journal.Write(context.Background(), func(tx *store.Tx) ([]store.Update, error) {
		return []store.Update{keyCount(alice, "D")}, tx.PutFallbackKey(context.Background(), store.OneTimeKey{
			UserID: alice, DeviceID: "D", Algorithm: "signed_curve25519", KeyID: "f", JSON: []byte(`"f"`)})
	}))
	first := one.get(alice)
	want(t, "a first answer", counts(first), `{"signed_curve25519":3}["signed_curve25519"]`)
	nothing := one.since(first, alice)
	want(t, "nothing new", counts(nothing), `{"signed_curve25519":3}["signed_curve25519"]`)
	if nothing.Get("rooms").Exists() || nothing.Get("next_batch").String() != first.Get("next_batch").String() {
		t.Errorf("something was new: %s", nothing.Raw)
	}
	one.say(alice, one.create(alice, roomserver.PresetPrivate), "hello")
	want(t, "something new", counts(one.since(first, alice)), `{"signed_curve25519":3}["signed_curve25519"]`)

	// Another process gives keys away while the device waits.
	latest := one.since(first, alice)
	for _, expected := range []string{`{"signed_curve25519":2}["signed_curve25519"]`, `{"signed_curve25519":1}["signed_curve25519"]`,
		`{"signed_curve25519":0}["signed_curve25519"]`, `{"signed_curve25519":0}[]`} {
		answer := make(chan gjson.Result, 1)
		go func() { answer <- one.since(latest, alice, "timeout", "300000") }()
		two.claim(alice, "D")
		select {
		case latest = <-answer:
			want(t, "after a claim", counts(latest), expected)
		case <-time.After(time.Minute):
			t.Fatalf("the device was not told %s", expected)
		}
	}
	// Who was away is told at once, by a process that knew nothing before.
	three := start(t, storetest.Open(t, dsn), options{number: 3})
	late := three.since(first, alice, "timeout", "300000")
	want(t, "after a start", counts(late), `{"signed_curve25519":0}[]`)
	want(t, "another device", counts(gjson.Parse(func() string {
		_, body := one.request(context.Background(), "GET", query("since", first.Get("next_batch").String()), alice, "OTHER", "")
		return body
	}())), "{}[]")
}

// A token from the future means that the database was put back: nobody knows to whom the keys in it were given since.
func TestATokenFromTheFutureTakesTheKeysAway(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	p.device(alice)
	p.offer(alice, "D", "1", "2")
	p.device(bob)
	p.offer(bob, "D", "1")
	want(t, "before", counts(p.get(alice)), `{"signed_curve25519":2}[]`)
	status, body := p.request(context.Background(), "GET", query("since", "s999999999"), alice, "D", "")
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	want(t, "after", counts(gjson.Parse(body)), `{"signed_curve25519":0}[]`)
	want(t, "another's", counts(p.get(bob)), `{"signed_curve25519":1}[]`)
}

// listModel is what device lists are, in the plainest words: who is joined to what, and whose devices changed when.
type listModel struct {
	joined  map[matrix.RoomID]map[matrix.UserID]bool
	changes []matrix.UserID
	signed  map[matrix.UserID][]matrix.UserID
	moments []listMoment
}

// listMoment is the model at a token.
type listMoment struct {
	token   int64
	joined  map[matrix.RoomID]map[matrix.UserID]bool
	changes int
	signed  map[matrix.UserID]int
}

func (m *listModel) note(token int64) {
	moment := listMoment{token, make(map[matrix.RoomID]map[matrix.UserID]bool), len(m.changes), make(map[matrix.UserID]int)}
	for room, users := range m.joined {
		moment.joined[room] = maps.Clone(users)
	}
	for user, list := range m.signed {
		moment.signed[user] = len(list)
	}
	m.moments = append(m.moments, moment)
}

func (lm listMoment) shares(a, b matrix.UserID) bool {
	for _, users := range lm.joined {
		if users[a] && users[b] {
			return true
		}
	}
	return false
}

// expected is what a user is told who knew everything at one moment and asks at another.
func (m *listModel) expected(user matrix.UserID, from, to listMoment, users []matrix.UserID) string {
	var changed, left []string
	for _, other := range users {
		renewed := slices.Contains(m.changes[from.changes:to.changes], other)
		signed := slices.Contains(m.signed[user][from.signed[user]:to.signed[user]], other)
		before, after := from.shares(user, other), to.shares(user, other)
		switch {
		case other == user:
			if renewed || signed {
				changed = append(changed, other.Localpart())
			}
		case before && !after:
			left = append(left, other.Localpart())
		case signed, after && (renewed || !before):
			changed = append(changed, other.Localpart())
		}
	}
	return strings.Join(changed, " ") + "|" + strings.Join(left, " ")
}

// Device lists are as the model says, whichever process answers and however far back the token lies.
func TestDeviceListsAreAsTheModelSays(t *testing.T) {
	t.Parallel()
	number := *seed
	if number == 0 {
		number = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed %d", number)
	rnd := rand.New(rand.NewPCG(number, 2))
	ctx := context.Background()
	dsn := storetest.DSN(t)
	writer := start(t, storetest.Open(t, dsn), options{number: 1})
	processes := map[string]*process{
		"ring": writer, "ring of another process": start(t, storetest.Open(t, dsn), options{number: 2}),
		"tiny ring": start(t, storetest.Open(t, dsn), options{number: 3, ring: 5}),
		"database":  start(t, storetest.Open(t, dsn), options{number: 4, noRing: true}),
	}
	users := []matrix.UserID{alice, bob, carol, dave, erin}
	model := &listModel{joined: make(map[matrix.RoomID]map[matrix.UserID]bool), signed: make(map[matrix.UserID][]matrix.UserID)}
	var rooms []matrix.RoomID
	for _, u := range users[:4] {
		room := writer.create(u, roomserver.PresetPublic)
		rooms = append(rooms, room)
		model.joined[room] = map[matrix.UserID]bool{u: true}
	}
	user := func() matrix.UserID { return users[rnd.IntN(len(users))] }
	step := func() {
		room, who := rooms[rnd.IntN(len(rooms))], user()
		in := model.joined[room]
		switch rnd.IntN(10) {
		case 0, 1, 2:
			if writer.rooms.Join(ctx, writer.member(who, room)) == nil {
				in[who] = true
			}
		case 3, 4:
			if writer.rooms.Leave(ctx, writer.member(who, room)) == nil {
				delete(in, who)
			}
		case 5:
			by := user()
			if target := user(); writer.rooms.Kick(ctx, roomserver.Membership{Room: room, Sender: by, Target: target}) == nil {
				delete(in, target)
			}
		case 6:
			if in[who] {
				writer.state(who, room, typeMember, string(who), fmt.Sprintf(`{"membership":"join","displayname":"%d"}`, rnd.IntN(1000)))
			}
		case 7:
			writer.rooms.Invite(ctx, roomserver.Membership{Room: room, Sender: who, Target: user()})
		case 8:
			writer.put(deviceChange(who))
			model.changes = append(model.changes, who)
		case 9:
			of := user()
			writer.put(signature(who, of))
			model.signed[who] = append(model.signed[who], of)
		}
	}
	model.note(writer.journal.Head())
	told := 0
	for range 120 {
		for range rnd.IntN(8) {
			step()
		}
		head := writer.journal.Head()
		for _, p := range processes {
			p.must(p.journal.WaitFor(ctx, head))
		}
		model.note(head)
		now := model.moments[len(model.moments)-1]
		from := model.moments[rnd.IntN(len(model.moments))]
		if rnd.IntN(2) == 0 {
			from = model.moments[max(0, len(model.moments)-1-rnd.IntN(4))]
		}
		who := user()
		expected := model.expected(who, from, now, users)
		if expected != "|" {
			told++
		}
		for name, p := range processes {
			if have := listed(p.get(who, "since", fmt.Sprintf("s%d", from.token))); have != expected {
				t.Fatalf("%s: %s from s%d to s%d: have %s, want %s", name, who, from.token, now.token, have, expected)
			}
		}
		// The same between two tokens, of which the last need not be the present.
		to := model.moments[rnd.IntN(len(model.moments))]
		if to.token < from.token {
			from, to = to, from
		}
		for _, to := range []listMoment{now, to} {
			list, err := writer.store.ListDeviceListChanges(ctx, who, from.token, to.token)
			writer.must(err)
			changed, left := store.DeviceLists(who, list)
			if have, want := localparts(changed)+"|"+localparts(left), model.expected(who, from, to, users); have != want {
				t.Fatalf("changes of %s from s%d to s%d: have %s, want %s", who, from.token, to.token, have, want)
			}
		}
	}
	if told < 40 {
		t.Errorf("only %d answers had anything in them", told)
	}
}

func localparts(users []matrix.UserID) string {
	var names []string
	for _, u := range users {
		names = append(names, u.Localpart())
	}
	return strings.Join(names, " ")
}

// Whose changes are too many to keep is rather listed once too often.
func TestDeviceListsOfWhoChangesOften(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	room := p.create(alice, roomserver.PresetPublic)
	p.join(bob, room)
	list := func(from, to int64) string {
		t.Helper()
		changes, err := p.store.ListDeviceListChanges(context.Background(), alice, from, to)
		p.must(err)
		changed, left := store.DeviceLists(alice, changes)
		return localparts(changed) + "|" + localparts(left)
	}
	before := p.journal.Head()
	p.put(deviceChange(bob))
	first := p.journal.Head()
	p.say(alice, room, "quiet")
	quiet := p.journal.Head()
	for range 20 {
		p.put(deviceChange(bob))
	}
	for what, have := range map[string]string{"change": list(before, first), "quiet": list(first, quiet), "changes": list(quiet, p.journal.Head())} {
		if want := map[string]string{"change": "bob|", "quiet": "|", "changes": "bob|"}[what]; have != want {
			t.Errorf("%s: %s; want %s", what, have, want)
		}
	}
	for range 40 {
		p.put(deviceChange(bob))
	}
	now := p.journal.Head()
	for what, have := range map[string]string{"forgotten": list(before, first), "nobody knows": list(first, quiet), "lately": list(now-5, now-4)} {
		if have != "bob|" {
			t.Errorf("%s: %s", what, have)
		}
	}
	p.say(alice, room, "quiet again")
	if have := list(now, p.journal.Head()); have != "|" {
		t.Errorf("quiet again: %s", have)
	}
}
