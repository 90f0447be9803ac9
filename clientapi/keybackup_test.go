package clientapi_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

const (
	backups   = "/room_keys/version"
	backedUp  = "/room_keys/keys"
	algorithm = "m.megolm_backup.v1.curve25519-aes-sha2"
	aRoom     = "!room:one.test"
)

func newBackup(key string) object {
	return object{"algorithm": algorithm, "auth_data": object{"public_key": key, "signatures": object{}}}
}

// backupKey is a key as clients store it.
func backupKey(verified bool, first, forwarded int, data string) object {
	return object{"is_verified": verified, "first_message_index": first, "forwarded_count": forwarded,
		"session_data": object{"ephemeral": "e", "ciphertext": data, "mac": "m"}}
}

func (c *client) backup(key string) string {
	c.p.t.Helper()
	return c.ok("POST", backups, newBackup(key)).text("version")
}

func TestVersionsOfKeyBackups(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	one, two := d.process(), d.process()
	alice, bob := one.client("alice"), one.client("bob")
	alice.refused(404, "M_NOT_FOUND", "GET", backups, nil)
	alice.refused(404, "M_NOT_FOUND", "PUT", backedUp+"?version=1", object{"rooms": object{}})
	first := alice.backup("one")
	second := alice.at(two).backup("two")
	if first == second || first == "" {
		t.Fatalf("versions %q and %q", first, second)
	}
	got := alice.ok("GET", backups, nil)
	equal(t, "current", got, object{"algorithm": algorithm, "auth_data": object{"public_key": "two", "signatures": object{}},
		"count": 0, "etag": "0", "version": second})
	equal(t, "the first's key", alice.ok("GET", backups+"/"+first, nil).inner("auth_data").text("public_key"), "one")

	alice.ok("PUT", backups+"/"+second, object{"algorithm": algorithm, "auth_data": object{"public_key": "changed"}, "version": second})
	equal(t, "changed", alice.at(two).ok("GET", backups, nil).inner("auth_data").text("public_key"), "changed")
	alice.refused(400, "M_INVALID_PARAM", "PUT", backups+"/"+second, object{"algorithm": algorithm, "auth_data": object{}, "version": first})
	alice.refused(400, "M_INVALID_PARAM", "PUT", backups+"/"+second, object{"algorithm": "other", "auth_data": object{}})
	alice.refused(404, "M_NOT_FOUND", "PUT", backups+"/77", newBackup("x"))
	for _, unknown := range []string{"77", "0", "-1", "01", "x", "99999999999999999999", "1%201"} {
		alice.refused(404, "M_NOT_FOUND", "GET", backups+"/"+unknown, nil)
		alice.refused(404, "M_NOT_FOUND", "DELETE", backups+"/"+unknown, nil)
		alice.refused(404, "M_NOT_FOUND", "GET", backedUp+"?version="+unknown, nil)
		alice.refused(404, "M_NOT_FOUND", "DELETE", backedUp+"?version="+unknown, nil)
	}
	// Another user's backups are not there.
	bob.refused(404, "M_NOT_FOUND", "GET", backups+"/"+first, nil)
	bob.refused(404, "M_NOT_FOUND", "DELETE", backups+"/"+first, nil)
	bob.refused(404, "M_NOT_FOUND", "GET", backedUp+"?version="+first, nil)

	for range 2 { // deleting twice is no mistake
		alice.ok("DELETE", backups+"/"+second, nil)
	}
	alice.refused(404, "M_NOT_FOUND", "GET", backups+"/"+second, nil)
	equal(t, "current after the deletion", alice.ok("GET", backups, nil).text("version"), first)
	third := alice.backup("three")
	if third == second || third == first {
		t.Errorf("version %s was given out again", third)
	}
	alice.ok("DELETE", backups+"/"+first, nil)
	alice.ok("DELETE", backups+"/"+second, nil)
	alice.ok("DELETE", backups+"/"+third, nil)
	alice.refused(404, "M_NOT_FOUND", "GET", backups, nil)

	for range limits.KeyBackupVersions {
		alice.backup("many")
	}
	alice.refused(403, "M_FORBIDDEN", "POST", backups, newBackup("too many"))
}

func TestBackedUpKeysAreStoredAndRestored(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	one, two := d.process(), d.process()
	alice := one.client("alice")
	old := alice.backup("old")
	alice.ok("PUT", backedUp+"/"+esc(aRoom)+"/old?version="+old, backupKey(true, 0, 0, "old"))
	version := alice.backup("new")
	v := "?version=" + version
	for _, wrong := range []string{old, "77", "x"} {
		answer := alice.refused(403, "M_WRONG_ROOM_KEYS_VERSION", "PUT", backedUp+"?version="+wrong, object{"rooms": object{}})
		equal(t, "current_version", answer["current_version"], version)
	}
	equal(t, "empty", alice.ok("GET", backedUp+v, nil), object{"rooms": object{}})
	equal(t, "empty", alice.ok("GET", backedUp+"/"+esc(aRoom)+v, nil), object{"sessions": object{}})

	answer := alice.ok("PUT", backedUp+v, object{"rooms": object{
		aRoom:         object{"sessions": object{"s1": backupKey(true, 1, 0, "a"), "s2": backupKey(false, 2, 1, "b")}},
		"!b:one.test": object{"sessions": object{"s1": backupKey(false, 0, 0, "c")}},
	}})
	equal(t, "answer", answer, object{"count": 3, "etag": "1"})
	answer = alice.ok("PUT", backedUp+"/"+esc(aRoom)+v, object{"sessions": object{"s3/+=": backupKey(false, 0, 0, "d")}})
	equal(t, "answer", answer, object{"count": 4, "etag": "2"})
	answer = alice.ok("PUT", backedUp+"/"+esc(aRoom)+"/s4"+v, backupKey(false, 0, 0, "e"))
	equal(t, "answer", answer, object{"count": 5, "etag": "3"})
	equal(t, "the version", alice.ok("GET", backups, nil)["count"], 5)

	rooms := alice.at(two).ok("GET", backedUp+v, nil).inner("rooms")
	equal(t, "rooms", slices.Sorted(maps.Keys(rooms)), []string{"!b:one.test", aRoom})
	sessions := object(rooms.inner(aRoom)).inner("sessions")
	equal(t, "sessions", slices.Sorted(maps.Keys(sessions)), []string{"s1", "s2", "s3/+=", "s4"})
	equal(t, "s2", sessions["s2"], backupKey(false, 2, 1, "b"))
	equal(t, "of the room", len(alice.ok("GET", backedUp+"/"+esc(aRoom)+v, nil).inner("sessions")), 4)
	equal(t, "one", alice.ok("GET", backedUp+"/"+esc(aRoom)+"/"+esc("s3/+=")+v, nil), backupKey(false, 0, 0, "d"))
	equal(t, "of the old version", len(alice.ok("GET", backedUp+"?version="+old, nil).inner("rooms")), 1)
	alice.refused(404, "M_NOT_FOUND", "GET", backedUp+"/"+esc(aRoom)+"/none"+v, nil)

	equal(t, "after none", alice.ok("DELETE", backedUp+"/"+esc(aRoom)+"/none"+v, nil), object{"count": 5, "etag": "3"})
	equal(t, "after one", alice.ok("DELETE", backedUp+"/"+esc(aRoom)+"/s1"+v, nil), object{"count": 4, "etag": "4"})
	equal(t, "after a room", alice.ok("DELETE", backedUp+"/"+esc(aRoom)+v, nil), object{"count": 1, "etag": "5"})
	equal(t, "after all", alice.ok("DELETE", backedUp+v, nil), object{"count": 0, "etag": "6"})
}

// The better one of two keys for a session stays.
//
// Spec: client-server v1.19 §server-side-key-backups
func TestBetterBackedUpKeyStays(t *testing.T) {
	t.Parallel()
	alice := newDeployment(t).process().client("alice")
	path := backedUp + "/" + esc(aRoom) + "/s?version=" + alice.backup("x")
	have := backupKey(false, 10, 5, "start")
	alice.ok("PUT", path, have)
	etag := 1
	for n, step := range []struct {
		verified         bool
		first, forwarded int
		replaces         bool
	}{
		{false, 10, 5, false}, {false, 11, 0, false}, {false, 10, 6, false}, {false, 10, 4, true}, {false, 9, 9, true},
		{true, 20, 20, true}, {false, 0, 0, false}, {true, 21, 0, false}, {true, 20, 19, true}, {true, 19, 30, true}, {true, 19, 30, false},
	} {
		key := backupKey(step.verified, step.first, step.forwarded, fmt.Sprint("step ", n))
		answer := alice.ok("PUT", path, key)
		if step.replaces {
			have = key
			etag++
		}
		equal(t, fmt.Sprint("step ", n), answer, object{"count": 1, "etag": fmt.Sprint(etag)})
		equal(t, fmt.Sprint("key after step ", n), alice.ok("GET", path, nil), have)
	}
}

func TestBadKeyBackupsAreRefused(t *testing.T) {
	t.Parallel()
	alice := newDeployment(t).process().client("alice")
	long := strings.Repeat("x", 40<<10)
	for _, bad := range []struct {
		status     int
		code, body string
	}{
		{400, "M_NOT_JSON", ``},
		{400, "M_BAD_JSON", `[]`},
		{400, "M_MISSING_PARAM", `{}`},
		{400, "M_MISSING_PARAM", `{"algorithm":"a"}`},
		{400, "M_MISSING_PARAM", `{"auth_data":{}}`},
		{400, "M_BAD_JSON", `{"algorithm":1,"auth_data":{}}`},
		{400, "M_BAD_JSON", `{"algorithm":"a","auth_data":"x"}`},
		{400, "M_BAD_JSON", `{"algorithm":"a","auth_data":null}`},
		{400, "M_INVALID_PARAM", `{"algorithm":"` + strings.Repeat("x", 256) + `","auth_data":{}}`},
		{413, "M_TOO_LARGE", `{"algorithm":"a","auth_data":{"a":"` + long + `"}}`},
	} {
		alice.refused(bad.status, bad.code, "POST", backups, bad.body)
	}
	version := alice.backup("x")
	key := func(s string) string { return `{"rooms":{"!r:x":{"sessions":{"s":` + s + `}}}}` }
	for _, bad := range []struct {
		status     int
		code, body string
	}{
		{400, "M_MISSING_PARAM", `{}`},
		{400, "M_BAD_JSON", `{"rooms":[]}`},
		{400, "M_MISSING_PARAM", `{"rooms":{"!r:x":{}}}`},
		{400, "M_MISSING_PARAM", `{"rooms":{"!r:x":null}}`},
		{400, "M_INVALID_PARAM", `{"rooms":{"r":{"sessions":{}}}}`},
		{400, "M_INVALID_PARAM", `{"rooms":{"!r:x":{"sessions":{"":{}}}}}`},
		{400, "M_INVALID_PARAM", `{"rooms":{"!r:x":{"sessions":{"` + strings.Repeat("s", 256) + `":{}}}}}`},
		{400, "M_MISSING_PARAM", key(`null`)},
		{400, "M_MISSING_PARAM", key(`{}`)},
		{400, "M_MISSING_PARAM", key(`{"first_message_index":1,"forwarded_count":1,"is_verified":true}`)},
		{400, "M_INVALID_PARAM", key(`{"first_message_index":-1,"forwarded_count":1,"is_verified":true,"session_data":{}}`)},
		{400, "M_INVALID_PARAM", key(`{"first_message_index":1,"forwarded_count":-1,"is_verified":true,"session_data":{}}`)},
		{400, "M_BAD_JSON", key(`{"first_message_index":1.5,"forwarded_count":1,"is_verified":true,"session_data":{}}`)},
		{400, "M_BAD_JSON", key(`{"first_message_index":1,"forwarded_count":1,"is_verified":1,"session_data":{}}`)},
		{400, "M_BAD_JSON", key(`{"first_message_index":1,"forwarded_count":1,"is_verified":true,"session_data":"x"}`)},
		{413, "M_TOO_LARGE", key(`{"first_message_index":1,"forwarded_count":1,"is_verified":true,"session_data":{"a":"` + long + `"}}`)},
	} {
		alice.refused(bad.status, bad.code, "PUT", backedUp+"?version="+version, bad.body)
	}
	for _, method := range []string{"GET", "DELETE"} {
		alice.refused(400, "M_MISSING_PARAM", method, backedUp, nil)
	}
	alice.refused(400, "M_MISSING_PARAM", "PUT", backedUp, `{"rooms":{}}`)
	equal(t, "stored", alice.ok("GET", backedUp+"?version="+version, nil), object{"rooms": object{}})
	(&client{p: alice.p}).refused(401, "M_MISSING_TOKEN", "GET", backedUp+"?version="+version, nil)
}

// Clients on two processes back up at once: nothing is lost, and the count is right.
func TestBackupsInParallelCountRightly(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	processes := []*process{d.process(), d.process()}
	alice := processes[0].client("alice")
	version := alice.backup("x")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			c := alice.at(processes[i%2])
			for n := range 10 {
				// Every key is stored by two.
				path := fmt.Sprintf("%s/%s/s%d?version=%s", backedUp, esc(aRoom), i/2*10+n, version)
				if status, answer := c.do("PUT", path, backupKey(false, i, 0, "x")); status != 200 {
					t.Errorf("%d %v", status, answer)
				}
			}
		})
	}
	wg.Wait()
	equal(t, "count", alice.ok("GET", backups, nil)["count"], 40)
	equal(t, "keys", len(alice.ok("GET", backedUp+"/"+esc(aRoom)+"?version="+version, nil).inner("sessions")), 40)
	var made sync.Map
	for i := range 8 {
		wg.Go(func() {
			if v, again := made.LoadOrStore(alice.at(processes[i%2]).backup("y"), true); again {
				t.Errorf("a version was given out twice: %v", v)
			}
		})
	}
	wg.Wait()
}

// A large backup comes whole.
func TestLargeBackupIsRestored(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	alice := p.client("alice")
	version := alice.backup("x")
	const rooms, each = 7, 700
	must(t, p.store.Write(t.Context(), func(tx *store.Tx) error {
		b, err := tx.LockKeyBackup(t.Context(), matrix.UserID(alice.user), 0)
		if err != nil {
			return err
		}
		var keys []store.BackedUpKey
		for r := range rooms {
			for n := range each {
				keys = append(keys, store.BackedUpKey{RoomID: matrix.RoomID(fmt.Sprintf("!%d:x", r)), SessionID: fmt.Sprint(n),
					SessionData: fmt.Appendf(nil, `{"r":%d,"n":%d}`, r, n)})
			}
		}
		_, err = tx.PutBackedUpKeys(t.Context(), b, keys)
		return err
	}))
	equal(t, "count", alice.ok("GET", backups, nil)["count"], rooms*each)
	all := alice.ok("GET", backedUp+"?version="+version, nil).inner("rooms")
	equal(t, "rooms", len(all), rooms)
	for r := range rooms {
		sessions := all.inner(fmt.Sprintf("!%d:x", r)).inner("sessions")
		equal(t, "sessions", len(sessions), each)
		equal(t, "data", sessions.inner("699")["session_data"], object{"r": r, "n": 699})
	}
	equal(t, "one room", len(alice.ok("GET", backedUp+"/"+esc("!3:x")+"?version="+version, nil).inner("sessions")), each)
}
