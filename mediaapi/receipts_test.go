package mediaapi_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
)

func TestReceiptsCanBeVerifiedAsDocumented(t *testing.T) {
	t.Parallel()
	d, _ := start(t, folder, nil)
	admin, alice := d.Admin(t, "root"), d.User(t, "alice")
	uri := alice.MustUpload(t, "text/plain", "", []byte("to be deleted"))
	admin.MustDo(t, http.MethodDelete, ofMedia("media", uri), nil)
	receipt := receiptOf(t, admin, uri).Raw
	for text, want := range map[string]string{
		receipt: uri + ": deleted under the rule admin, signed by hs.test with ed25519:",
		strings.Replace(receipt, admin.ID, alice.ID, 1): "the signature is wrong",
	} {
		file := filepath.Join(t.TempDir(), "receipt.json")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		output, err := exec.Command("node", "../docs/verify-receipt.mjs", d.BaseURL(0), file).CombinedOutput()
		if (err == nil) != strings.HasPrefix(want, uri) || !strings.Contains(string(output), want) {
			t.Errorf("%s: %v\n%s", text, err, output)
		}
	}
}

// deletions are the receipts that an administrator reads, as soon as there are n of them.
func deletions(t testing.TB, admin *hstest.User, n int) []gjson.Result {
	t.Helper()
	var list []gjson.Result
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		list = admin.MustDo(t, http.MethodGet, "/_roomline/admin/v1/media/deletions", nil).Get("deletions").Array()
		pending := slices.ContainsFunc(list, func(r gjson.Result) bool { return r.Get("pending").Bool() })
		if len(list) >= n && !pending {
			break
		}
	}
	if len(list) != n {
		t.Fatalf("%d receipts, want %d: %v", len(list), n, list)
	}
	return list
}

// verify checks a receipt's signature against the keys that the server publishes.
func verify(t testing.TB, d *hstest.Deployment, receipt gjson.Result) {
	t.Helper()
	resp, err := d.Do(t.Context(), 0, "", http.MethodGet, "/_matrix/key/v2/server", nil)
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	resp.JSON().Get("verify_keys").ForEach(func(id, key gjson.Result) bool {
		public, err := base64.RawStdEncoding.DecodeString(key.Get("key").String())
		if err == nil {
			err = gomatrixserverlib.VerifyJSON(d.ServerName, gomatrixserverlib.KeyID(id.String()), ed25519.PublicKey(public), []byte(receipt.Raw))
		}
		if err != nil {
			t.Errorf("receipt %s: %v", receipt, err)
		}
		checked++
		return true
	})
	if checked == 0 {
		t.Fatal("the server publishes no key")
	}
}

func TestEachDeletionLeavesAReceipt(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, d *hstest.Deployment, b bucket) {
		owner, member, room := together(t, d)
		root := administrator(t, d, "root")
		before := time.Now().UnixMilli()
		var uris, events []string
		for i := range 3 {
			uris = append(uris, member.MustUpload(t, "text/plain", "", fmt.Append(nil, "file ", i)))
			events = append(events, member.MustSend(t, room, "m.room.message", message("m.file", uris[i])))
		}
		keys := b.keys(t)
		member.MustDo(t, http.MethodPut, redact(room, events[0], "r1"), map[string]any{})
		owner.MustDo(t, http.MethodPut, redact(room, events[1], "r2"), map[string]any{})
		member.MustDo(t, http.MethodDelete, deletePath(uris[2]), nil)
		list := deletions(t, root, 3)
		b.mustHave(t, 0)
		for i, want := range []struct {
			rule, by, event string
		}{{"redaction.sender", member.ID, events[0]}, {"redaction.owner", owner.ID, events[1]}, {"uploader", member.ID, ""}} {
			at := slices.IndexFunc(list, func(r gjson.Result) bool { return r.Get("content_uri").String() == uris[i] })
			if at < 0 {
				t.Fatalf("no receipt of %s: %v", uris[i], list)
			}
			r := list[at]
			verify(t, d, r)
			if r.Get("rule").String() != want.rule || r.Get("deleted_by").String() != want.by || r.Get("event_id").String() != want.event ||
				r.Get("user_id").String() != member.ID || r.Get("size").Int() != 6 {
				t.Errorf("receipt %s, want %v", r, want)
			}
			deleted, removed := r.Get("deleted_ts").Int(), r.Get("removed_ts").Int()
			if deleted < before || removed < deleted || removed > time.Now().UnixMilli() {
				t.Errorf("receipt %s: its times are not those of the deletion", r)
			}
			objects := r.Get("objects").Array()
			if len(objects) != 1 {
				t.Fatalf("receipt %s: want one object", r)
			}
			name := objects[0].String()[strings.LastIndex(objects[0].String(), "/")+1:]
			if !slices.ContainsFunc(keys, func(k string) bool { return strings.HasSuffix(k, name) }) {
				t.Errorf("receipt %s names an object that was not in the store: %v", r, keys)
			}
		}
		owner.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", http.MethodGet, "/_roomline/admin/v1/media/deletions", nil)
	})
}
