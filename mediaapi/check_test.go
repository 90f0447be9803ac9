package mediaapi_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/store/storetest"
	"github.com/roomline/roomline/mediaapi/blob"
)

// direct opens the store past the server.
func direct(t testing.TB, s storage) blob.Store {
	t.Helper()
	var store blob.Store
	var err error
	switch s := s.(type) {
	case inFolder:
		store, err = blob.NewFolder(s.dir)
	case inBucket:
		store, err = blob.NewS3(blob.S3Config{
			Endpoint: s.Endpoint, Region: s.Region, Bucket: s.Bucket, PathStyle: true, AccessKey: s.AccessKey, SecretKey: s.SecretKey,
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func TestCheckAndRepair(t *testing.T) {
	t.Parallel()
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, bucket := start(t, s, nil)
			store := direct(t, bucket.storage)
			admin, alice := d.Admin(t, "root"), d.User(t, "alice")
			room := alice.MustCreateRoom(t, nil)
			uris, keys := map[string]string{}, map[string]string{}
			for _, text := range []string{"good 1", "good 2", "good 3", "good 4", "lost", "short", "damaged"} {
				uris[text] = alice.MustUpload(t, "text/plain", "", []byte(text))
				alice.MustSend(t, room, "m.room.message", message("m.file", uris[text]))
				var key string
				err := storetest.DB(t, d.DSN).QueryRow(`SELECT object_key FROM media WHERE media_id = $1`, mediaID(uris[text])).Scan(&key)
				if err != nil {
					t.Fatal(err)
				}
				keys[text] = key
			}
			check := func(code int, want []string, args ...string) {
				t.Helper()
				got, output := d.Command(t, 0, append([]string{"media"}, args...)...)
				if got != code {
					t.Fatalf("%v: exit %d, want %d\n%s", args, got, code, output)
				}
				for _, text := range want {
					if !strings.Contains(output, text) {
						t.Fatalf("%v does not say %q:\n%s", args, text, output)
					}
				}
			}
			check(0, []string{"7 objects in the store", "7 in the database", "nothing is wrong"}, "check", "--hash")

			put := func(key, text string) {
				t.Helper()
				if err := store.Put(t.Context(), key, strings.NewReader(text), int64(len(text))); err != nil {
					t.Fatal(err)
				}
			}
			const stray = "o/1/abcdefghijklmnopqrstuvwxyz234567"
			put(stray, "nobody knows this")
			if err := store.Delete(t.Context(), keys["lost"], keys["short"], keys["damaged"]); err != nil {
				t.Fatal(err)
			}
			put(keys["short"], "sh")
			put(keys["damaged"], "demaged")

			// What is young may be on its way.
			check(1, []string{"1 not in the store:\n  " + keys["lost"], "1 of another size than it was:\n  " + keys["short"]}, "check")
			check(1, []string{"1 in the store, and unknown to the database:\n  " + stray}, "check", "--older-than", "0")
			check(1, []string{"1 of another content than it was:\n  " + keys["damaged"]}, "check", "--hash")

			check(0, []string{uris["lost"], uris["short"], uris["damaged"], "deleted 3 media"}, "repair", "--hash", "--older-than", "0")
			check(0, []string{"4 objects in the store", "nothing is wrong"}, "check", "--hash", "--older-than", "0")
			bucket.mustHave(t, 4)
			for text, uri := range uris {
				if strings.HasPrefix(text, "good") {
					alice.MustSee(t, uri, []byte(text))
					continue
				}
				alice.MustNotSee(t, uri)
				mustEqual(t, "receipt of "+text, receiptOf(t, admin, uri).Get("rule"), "lost")
			}
			// The same file can be stored again.
			again := alice.MustUpload(t, "text/plain", "", []byte("damaged"))
			alice.MustSee(t, again, []byte("damaged"))
		})
	}
}

func TestRepairDoesNotEmptyTheWrongStore(t *testing.T) {
	t.Parallel()
	d, bucket := start(t, folder, nil)
	alice := d.User(t, "alice")
	uri := alice.MustUpload(t, "text/plain", "", []byte("the only one"))
	if _, err := storetest.DB(t, d.DSN).Exec(`UPDATE media_objects SET size = size + 1`); err != nil {
		t.Fatal(err)
	}
	code, output := d.Command(t, 0, "media", "repair")
	if code != 1 || !strings.Contains(output, "is it the right store") {
		t.Fatalf("exit %d\n%s", code, output)
	}
	bucket.mustHave(t, 1)
	alice.MustDo(t, http.MethodGet, hstest.MediaPath("/_matrix/client/v1/media/download", uri), nil)
	if code, output = d.Command(t, 0, "media", "repair", "--all"); code != 0 {
		t.Fatalf("exit %d\n%s", code, output)
	}
	bucket.mustHave(t, 0)
}

func TestWhatIsNotNeededIsRepaired(t *testing.T) {
	t.Parallel()
	d, bucket := start(t, folder, nil)
	alice := d.User(t, "alice")
	for _, text := range []string{"kept", "orphan", "stuck"} {
		alice.MustUpload(t, "text/plain", "", []byte(text))
	}
	// A server that runs would do some of this itself.
	d.Stop(t, 0)
	for _, statement := range []string{
		`DELETE FROM media WHERE size IN (6, 5)`,
		`UPDATE media_objects SET state = 'gone', since_ts = 0 WHERE size = 5`,
	} {
		if _, err := storetest.DB(t, d.DSN).Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	code, output := d.Command(t, 0, "media", "check")
	if code != 1 || !strings.Contains(output, "1 kept, and needed by no media") || !strings.Contains(output, "1 waiting to be removed for too long") {
		t.Fatalf("exit %d\n%s", code, output)
	}
	if code, output = d.Command(t, 0, "media", "repair"); code != 0 || !strings.Contains(output, "removed 2 objects") {
		t.Fatalf("exit %d\n%s", code, output)
	}
	bucket.mustHave(t, 1)
	if code, output = d.Command(t, 0, "media", "check"); code != 0 {
		t.Fatalf("exit %d\n%s", code, output)
	}
}
