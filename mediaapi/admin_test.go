package mediaapi_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/store/storetest"
)

const (
	synapse  = "/_synapse/admin/v1/"
	roomline = "/_roomline/admin/v1/"
)

// administer is a path with escaped segments: "room", "!a:b", "media".
func administer(segments ...string) string {
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	return synapse + strings.Join(segments, "/")
}

// ofMedia is a path that ends with a URI's halves.
func ofMedia(path, uri string) string { return hstest.MediaPath(synapse+path, uri) }

func mediaID(uri string) string { return uri[strings.LastIndex(uri, "/")+1:] }

// move makes another organisation, number 77, and moves into it what the statements say.
func move(t testing.TB, d *hstest.Deployment, statements ...string) {
	t.Helper()
	const organisation = `INSERT INTO organisations (organisation_id, name, created_ts) VALUES (77, 'other', 0) ON CONFLICT DO NOTHING`
	db := storetest.DB(t, d.DSN)
	for _, statement := range append([]string{organisation}, statements...) {
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
}

// elsewhere moves an account into another organisation, and signs it in there.
func elsewhere(t testing.TB, d *hstest.Deployment, u *hstest.User) *hstest.User {
	t.Helper()
	move(t, d, `UPDATE users SET organisation_id = 77 WHERE user_id = '`+u.ID+`'`)
	return u.NewSession(t)
}

// receiptOf waits for the receipt of a deletion.
func receiptOf(t testing.TB, admin *hstest.User, uri string) gjson.Result {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		for _, d := range admin.MustDo(t, http.MethodGet, roomline+"media/deletions", nil).Get("deletions").Array() {
			if d.Get("content_uri").String() == uri && !d.Get("pending").Bool() {
				return d
			}
		}
	}
	t.Fatalf("there is no receipt of %s", uri)
	return gjson.Result{}
}

func mustEqual(t testing.TB, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("%s: %v, want %v", what, got, want)
	}
}

// adminRequests are all requests of administrators about a room, a user, an event and media.
func adminRequests(room, user, event, uri string) map[string]any {
	const aside = "?before_ts=4000000000000"
	return map[string]any{
		"GET " + administer("room", room, "media"):                nil,
		"POST " + administer("room", room, "media", "quarantine"): map[string]any{},
		"GET " + administer("users", user, "media"):               nil,
		"DELETE " + administer("users", user, "media"):            nil,
		"POST " + administer("user", user, "media", "quarantine"): map[string]any{},
		"GET " + ofMedia("media", uri):                            nil,
		"DELETE " + ofMedia("media", uri):                         nil,
		"POST " + ofMedia("media/quarantine", uri):                map[string]any{},
		"POST " + ofMedia("media/unquarantine", uri):              map[string]any{},
		"POST " + administer("media", "protect", mediaID(uri)):    map[string]any{},
		"POST " + administer("media", "unprotect", mediaID(uri)):  map[string]any{},
		"POST " + synapse + "media/delete" + aside:                map[string]any{},
		"POST " + synapse + "media/hs.test/delete" + aside:        map[string]any{},
		"POST " + synapse + "purge_media_cache" + aside:           map[string]any{},
		"GET " + synapse + "statistics/users/media":               nil,
		"POST " + roomline + "delete#room":                        map[string]any{"room_id": room},
		"POST " + roomline + "delete#user":                        map[string]any{"user_id": user},
		"POST " + roomline + "delete#event":                       map[string]any{"event_id": event},
	}
}

func TestAdministrationIsForAdministratorsOfTheOrganisation(t *testing.T) {
	t.Parallel()
	d, bucket := start(t, folder, nil)
	alice, bob := d.User(t, "alice"), d.User(t, "bob")
	stranger := elsewhere(t, d, d.Admin(t, "stranger"))
	file := []byte("nobody else's business")
	uri := alice.MustUpload(t, "text/plain", "", file)
	room := alice.MustCreateRoom(t, nil)
	event := alice.MustSend(t, room, "m.room.message", message("m.file", uri))

	for request, body := range adminRequests(room, alice.ID, event, uri) {
		method, path, _ := strings.Cut(strings.Split(request, "#")[0], " ")
		bob.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", method, path, body)
		answer, err := stranger.Do(t.Context(), method, path, body)
		if err != nil {
			t.Fatal(err)
		}
		named := strings.Contains(path, url.PathEscape(room)) || strings.Contains(path, alice.ID) || strings.Contains(path, mediaID(uri)) ||
			strings.Contains(request, "#")
		switch {
		case named && answer.Status != http.StatusNotFound:
			t.Errorf("another organisation's administrator gets %v of %s", answer, request)
		case !named && answer.Status != http.StatusOK:
			t.Errorf("another organisation's administrator gets %v of %s", answer, request)
		case strings.Contains(string(answer.Body), "alice") || strings.Contains(string(answer.Body), mediaID(uri)):
			t.Errorf("another organisation's administrator is told %v of %s", answer, request)
		}
	}
	alice.MustSee(t, uri, file)
	bucket.mustHave(t, 1)
}

func TestListsOfMedia(t *testing.T) {
	t.Parallel()
	d, _ := start(t, folder, nil)
	admin, alice := d.Admin(t, "root"), d.User(t, "alice")
	alice.MustDo(t, http.MethodPut, hstest.Path("profile", alice.ID, "displayname"), map[string]any{"displayname": "Alice <3"})
	small := alice.MustUpload(t, "text/plain", "filename=b.txt", []byte("1"))
	large := alice.MustUpload(t, "image/png", "filename=a.png", []byte("22222"))
	room := alice.MustCreateRoom(t, nil)
	alice.MustSend(t, room, "m.room.message", message("m.image", large))

	answer := admin.MustDo(t, http.MethodGet, administer("room", room, "media"), nil)
	mustEqual(t, "media of the room", answer.Raw, `{"local":["`+large+`"],"remote":[]}`)

	list := func(query string) gjson.Result {
		return admin.MustDo(t, http.MethodGet, administer("users", alice.ID, "media")+query, nil)
	}
	ids := func(uris ...string) string {
		for i := range uris {
			uris[i] = `"` + mediaID(uris[i]) + `"`
		}
		return "[" + strings.Join(uris, ",") + "]"
	}
	mustEqual(t, "total", list("").Get("total"), 2)
	for query, want := range map[string]string{
		"?order_by=media_length":       ids(small, large),
		"?order_by=media_length&dir=b": ids(large, small),
		"?order_by=upload_name":        ids(large, small),
		"?order_by=media_type&dir=b":   ids(small, large),
		"?from=1&order_by=upload_name": ids(small),
		"?from=2":                      "[]",
	} {
		mustEqual(t, query, list(query).Get("media.#.media_id"), want)
	}
	page := list("?limit=1&order_by=upload_name")
	mustEqual(t, "next_token", page.Get("next_token"), 1)
	mustEqual(t, "last page", list("?from=1").Get("next_token").Exists(), false)
	entry := page.Get("media.0")
	mustEqual(t, "entry", []any{entry.Get("media_type"), entry.Get("media_length"), entry.Get("upload_name"), entry.Get("quarantined_by").Raw,
		entry.Get("safe_from_quarantine").Raw, entry.Get("last_access_ts").Raw}, "[image/png 5 a.png null false null]")
	for _, query := range []string{"?order_by=nonsense", "?dir=x", "?from=-1", "?limit=x"} {
		admin.MustFail(t, http.StatusBadRequest, "M_INVALID_PARAM", http.MethodGet, administer("users", alice.ID, "media")+query, nil)
	}

	info := admin.MustDo(t, http.MethodGet, ofMedia("media", large), nil).Get("media_info")
	mustEqual(t, "info", []any{info.Get("media_origin"), info.Get("user_id"), info.Get("media_length"), info.Get("sha256")},
		"[hs.test "+alice.ID+" 5 cc399d73903f06ee694032ab0538f05634ff7e1ce5e8e50ac330a871484f34cf]")

	usage := admin.MustDo(t, http.MethodGet, synapse+"statistics/users/media?order_by=media_length&dir=b", nil)
	mustEqual(t, "usage", usage.Raw,
		`{"users":[{"user_id":"@alice:hs.test","displayname":"Alice <3","media_count":2,"media_length":6}],"total":1}`)
	mustEqual(t, "usage of others", admin.MustDo(t, http.MethodGet, synapse+"statistics/users/media?search_term=bob", nil).Get("total"), 0)
	mustEqual(t, "usage by name", admin.MustDo(t, http.MethodGet, synapse+"statistics/users/media?search_term=ALICE%20%3C", nil).Get("total"), 1)
	mustEqual(t, "usage before", admin.MustDo(t, http.MethodGet, synapse+"statistics/users/media?until_ts=1000", nil).Get("total"), 0)
}

func TestQuarantine(t *testing.T) {
	t.Parallel()
	b := bucket{folder(t)}
	d := hstest.Start(t, hstest.Options{Processes: 2, Configure: func(_ int, config map[string]any) {
		media := map[string]any{}
		b.configure(media)
		config["media"] = media
	}})
	admin, alice := d.Admin(t, "root"), d.User(t, "alice")
	room := alice.MustCreateRoom(t, nil)
	var uris []string
	for i := range 3 {
		uri := alice.MustUpload(t, "text/plain", "", []byte{byte('0' + i)})
		alice.MustSend(t, room, "m.room.message", message("m.file", uri))
		alice.On(1).MustSee(t, uri, []byte{byte('0' + i)})
		uris = append(uris, uri)
	}
	quarantined := func(path string) int64 {
		return admin.MustDo(t, http.MethodPost, path, map[string]any{}).Get("num_quarantined").Int()
	}
	mustEqual(t, "quarantined", quarantined(ofMedia("media/quarantine", uris[0])), 1)
	for process := range 2 {
		alice.On(process).MustNotSee(t, uris[0])
		alice.On(process).MustSee(t, uris[1], []byte("1"))
	}
	info := admin.MustDo(t, http.MethodGet, ofMedia("media", uris[0]), nil)
	mustEqual(t, "quarantined_by", info.Get("media_info.quarantined_by"), admin.ID)
	mustEqual(t, "given back", quarantined(ofMedia("media/unquarantine", uris[0])), 1)
	alice.On(1).MustSee(t, uris[0], []byte("0"))

	admin.MustDo(t, http.MethodPost, administer("media", "protect", mediaID(uris[1])), map[string]any{})
	mustEqual(t, "protected", quarantined(ofMedia("media/quarantine", uris[1])), 0)
	mustEqual(t, "of the room", quarantined(administer("room", room, "media", "quarantine")), 2)
	for process := range 2 {
		alice.On(process).MustNotSee(t, uris[0])
		alice.On(process).MustSee(t, uris[1], []byte("1"))
		alice.On(process).MustNotSee(t, uris[2])
	}
	admin.MustDo(t, http.MethodPost, administer("media", "unprotect", mediaID(uris[1])), map[string]any{})
	mustEqual(t, "of the user", quarantined(administer("user", alice.ID, "media", "quarantine")), 1)
	alice.On(1).MustNotSee(t, uris[1])
	b.mustHave(t, 3)
}

func TestAdministratorsDeleteMedia(t *testing.T) {
	t.Parallel()
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, bucket := start(t, s, nil)
			admin, alice := d.Admin(t, "root"), d.User(t, "alice")
			room := alice.MustCreateRoom(t, nil)
			send := func(text string) string {
				uri := alice.MustUpload(t, "text/plain", "", []byte(text))
				alice.MustSend(t, room, "m.room.message", message("m.file", uri))
				return uri
			}
			one, large, kept := send("one"), send("a large file"), send("an even larger file")
			avatar := alice.MustUpload(t, "image/png", "", []byte("the largest of all: an avatar"))
			alice.MustDo(t, http.MethodPut, hstest.Path("profile", alice.ID, "avatar_url"), map[string]any{"avatar_url": avatar})

			answer := admin.MustDo(t, http.MethodDelete, ofMedia("media", one), nil)
			mustEqual(t, "deleted", answer.Raw, `{"deleted_media":["`+mediaID(one)+`"],"total":1}`)
			alice.MustNotSee(t, one)
			bucket.mustHave(t, 3)
			receipt := receiptOf(t, admin, one)
			mustEqual(t, "receipt", []any{receipt.Get("deleted_by"), receipt.Get("rule")}, "["+admin.ID+" admin]")
			admin.MustFail(t, http.StatusNotFound, "M_NOT_FOUND", http.MethodDelete, ofMedia("media", one), nil)

			const path = synapse + "media/delete"
			admin.MustFail(t, http.StatusBadRequest, "M_MISSING_PARAM", http.MethodPost, path, nil)
			admin.MustFail(t, http.StatusBadRequest, "M_INVALID_PARAM", http.MethodPost, path+"?before_ts=1700000000", nil)
			admin.MustDo(t, http.MethodPost, administer("media", "protect", mediaID(kept)), nil)
			past := admin.MustDo(t, http.MethodPost, path+"?before_ts=1000000000000", nil)
			mustEqual(t, "deleted of long ago", past.Raw, `{"deleted_media":[],"total":0}`)
			none := admin.MustDo(t, http.MethodPost, synapse+"media/elsewhere.test/delete?before_ts=4000000000000", nil)
			mustEqual(t, "deleted of another domain", none.Get("total"), 0)
			answer = admin.MustDo(t, http.MethodPost, path+"?before_ts=4000000000000&size_gt=11", nil)
			mustEqual(t, "deleted of all", answer.Raw, `{"deleted_media":["`+mediaID(large)+`"],"total":1}`)
			bucket.mustHave(t, 2)
			answer = admin.MustDo(t, http.MethodPost, synapse+"media/hs.test/delete?before_ts=4000000000000&keep_profiles=false", nil)
			mustEqual(t, "deleted with avatars", answer.Raw, `{"deleted_media":["`+mediaID(avatar)+`"],"total":1}`)
			mustEqual(t, "of the user", admin.MustDo(t, http.MethodDelete, administer("users", alice.ID, "media"), nil).Get("total"), 1)
			bucket.mustHave(t, 0)
		})
	}
}

func TestPurgeTakesWhatOthersServe(t *testing.T) {
	t.Parallel()
	d, bucket := start(t, folder, nil)
	admin, alice := d.Admin(t, "root"), d.User(t, "alice")
	mine, theirs := alice.MustUpload(t, "text/plain", "", []byte("mine")), alice.MustUpload(t, "text/plain", "", []byte("theirs"))
	if _, err := storetest.DB(t, d.DSN).Exec(`UPDATE media SET server_name = 'elsewhere.test' WHERE media_id = $1`, mediaID(theirs)); err != nil {
		t.Fatal(err)
	}
	const path = synapse + "purge_media_cache?before_ts="
	mustEqual(t, "young", admin.MustDo(t, http.MethodPost, path+"1000000000000", nil).Raw, `{"deleted":0}`)
	admin.MustDo(t, http.MethodPost, synapse+"media/delete?before_ts=1000000000000", nil)
	mustEqual(t, "old", admin.MustDo(t, http.MethodPost, path+"4000000000000", nil).Raw, `{"deleted":1}`)
	bucket.mustHave(t, 1)
	alice.MustSee(t, mine, []byte("mine"))
}

func TestPoliciesOfTheOrganisation(t *testing.T) {
	t.Parallel()
	d, _ := start(t, folder, nil)
	admin, alice := d.Admin(t, "root"), d.User(t, "alice")
	stranger := elsewhere(t, d, d.User(t, "stranger"))
	room := alice.MustCreateRoom(t, nil)
	text := func(u *hstest.User, room string) error {
		event := u.MustSendText(t, room, "hello")
		answer, err := u.Do(context.Background(), http.MethodPut, redact(room, event, u.TxnID()), map[string]any{})
		if err == nil && answer.Status != http.StatusOK {
			err = fmt.Errorf("%v", answer)
		}
		return err
	}
	member := d.User(t, "member")
	alice.MustInvite(t, room, member)
	member.MustJoin(t, room)

	const deletion, media = roomline + "policies/deletion", roomline + "policies/media"
	capability := func() string {
		return member.MustDo(t, http.MethodGet, hstest.Path("capabilities"), nil).Get(`capabilities.org\.roomline\.deletion.text`).String()
	}
	mustEqual(t, "what clients are told before", capability(), "owner")
	mustEqual(t, "nothing decided", admin.MustDo(t, http.MethodGet, deletion, nil).Get("value").Raw, "{}")
	if text(member, room) == nil {
		t.Fatal("members may delete text before anything is decided")
	}
	admin.MustDo(t, http.MethodPut, deletion, map[string]any{"text": "sender"})
	mustEqual(t, "decided", admin.MustDo(t, http.MethodGet, deletion, nil).Get("value").Raw, `{"text":"sender"}`)
	if err := text(member, room); err != nil {
		t.Fatalf("members may not delete text: %v", err)
	}
	mustEqual(t, "what clients are told", capability(), "sender")
	admin.MustDo(t, http.MethodDelete, deletion, nil)
	if text(member, room) == nil {
		t.Fatal("members may delete text after the decision was taken back")
	}

	admin.MustDo(t, http.MethodPut, media, map[string]any{"max_upload_size": 10})
	mustEqual(t, "largest upload", alice.MustDo(t, http.MethodGet, "/_matrix/client/v1/media/config", nil).Raw, `{"m.upload.size":10}`)
	mustEqual(t, "of another organisation", stranger.MustDo(t, http.MethodGet, "/_matrix/client/v1/media/config", nil).Get("m\\.upload\\.size").Int() > 10, true)
	admin.MustDo(t, http.MethodDelete, media, nil)

	for body, code := range map[string]string{`{"max_upload_size":-1}`: "M_BAD_JSON", `{"nonsense":1}`: "M_BAD_JSON", `[]`: "M_BAD_JSON", `x`: "M_NOT_JSON", ``: "M_NOT_JSON"} {
		admin.MustFail(t, http.StatusBadRequest, code, http.MethodPut, media, []byte(body))
	}
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
		admin.MustFail(t, http.StatusNotFound, "M_NOT_FOUND", method, roomline+"policies/nonsense", nil)
		alice.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", method, media, nil)
	}
}
