package tests

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/roomline/roomline/internal/hstest"
)

// vdirsyncer keeps a folder and the address books of a user the same.
type vdirsyncer struct {
	t               *testing.T
	program, config string
	folder          string
}

func newVdirsyncer(t *testing.T, base, user, password string) *vdirsyncer {
	t.Helper()
	dir := t.TempDir()
	v := &vdirsyncer{t: t, program: hstest.Program(t, "vdirsyncer", "vdirsyncer"), config: filepath.Join(dir, "config"), folder: filepath.Join(dir, "contacts")}
	text := fmt.Sprintf(`[general]
status_path = "%[1]s/status/"
[pair contacts]
a = "local"
b = "remote"
collections = ["from b"]
[storage local]
type = "filesystem"
path = "%[1]s/contacts/"
fileext = ".vcf"
[storage remote]
type = "carddav"
url = "%[2]s"
username = "%[3]s"
password = "%[4]s"
`, dir, base, user, password)
	if err := os.WriteFile(v.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return v
}

func (v *vdirsyncer) run(args ...string) (string, error) {
	cmd := exec.CommandContext(v.t.Context(), v.program, append([]string{"-c", v.config}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+filepath.Dir(v.config))
	cmd.Stdin = strings.NewReader(strings.Repeat("y\n", 10))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (v *vdirsyncer) must(args ...string) string {
	v.t.Helper()
	out, err := v.run(args...)
	if err != nil {
		v.t.Fatalf("vdirsyncer %v: %v\n%s", args, err, out)
	}
	return out
}

func (v *vdirsyncer) files(book string) []string {
	v.t.Helper()
	files, err := filepath.Glob(filepath.Join(v.folder, book, "*.vcf"))
	if err != nil {
		v.t.Fatal(err)
	}
	return files
}

func (v *vdirsyncer) write(name, card string) {
	v.t.Helper()
	if err := os.WriteFile(filepath.Join(v.folder, "personal", name), []byte(card), 0o600); err != nil {
		v.t.Fatal(err)
	}
}

func TestVdirsyncerSynchronisesBothWays(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{})
	alice := d.User(t, "alice")
	d.User(t, "bob")
	made := alice.MustDo(t, http.MethodPost, "/_roomline/client/v1/app_passwords", map[string]any{"name": "Laptop"})
	d.Secret(made.Get("password").String(), "an app password")
	v := newVdirsyncer(t, alice.BaseURL()+"/", made.Get("username").String(), made.Get("password").String())
	const api = "/_roomline/client/v1/contacts"

	v.must("discover")
	v.must("sync")
	if n := len(v.files("organisation")); n != 2 {
		t.Fatalf("the organisation's book has %d files", n)
	}

	card := func(name, uid string) string {
		return "BEGIN:VCARD\r\nVERSION:3.0\r\nUID:" + uid + "\r\nFN:" + name + "\r\nN:" + name + ";;;;\r\nCATEGORIES:a,b\r\nEND:VCARD\r\n"
	}
	v.write("one.vcf", card("One", "uid-1"))
	v.write("two.vcf", card("Zwei é", "uid-2"))
	v.must("sync")
	names := func() string { return alice.MustDo(t, http.MethodGet, api, nil).Get("contacts.#.name").String() }
	if got := names(); got != `["One","Zwei é"]` {
		t.Fatalf("after the upload: %s", got)
	}

	// Changed, made and deleted on the server.
	var id string
	for _, c := range alice.MustDo(t, http.MethodGet, api, nil).Get("contacts").Array() {
		if c.Get("name").String() == "One" {
			id = c.Get("id").String()
		}
	}
	alice.MustDo(t, http.MethodPut, api+"/"+id, map[string]any{"name": "One Changed"})
	alice.MustDo(t, http.MethodPut, api+"/three.vcf", map[string]any{"name": "Three"})
	v.must("sync")
	var all strings.Builder
	for _, f := range v.files("personal") {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	for _, want := range []string{"FN:One Changed", "FN:Three", "FN:Zwei é", "CATEGORIES:a,b"} {
		if !strings.Contains(all.String(), want) {
			t.Errorf("the folder has no %s:\n%s", want, all.String())
		}
	}
	alice.MustDo(t, http.MethodDelete, api+"/three.vcf", nil)
	v.must("sync")
	if n := len(v.files("personal")); n != 2 {
		t.Errorf("after a deletion on the server there are %d files", n)
	}

	// Changed and deleted in the folder.
	v.write("two.vcf", card("Zwei changed", "uid-2"))
	if err := os.Remove(filepath.Join(v.folder, "personal", "one.vcf")); err != nil {
		t.Fatal(err)
	}
	v.must("sync")
	if got := names(); got != `["Zwei changed"]` {
		t.Errorf("after changes in the folder: %s", got)
	}
	if out := v.must("sync"); regexp.MustCompile(`(?i)(copying|deleting)`).MatchString(out) {
		t.Errorf("nothing changed, and vdirsyncer says:\n%s", out)
	}

	// The organisation's book can't be changed.
	file := v.files("organisation")[0]
	if err := os.WriteFile(file, []byte(card("Hacked", "uid-h")), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := v.run("sync", "contacts/organisation"); err == nil {
		t.Errorf("the organisation's book was changed:\n%s", out)
	}
}

// Of 10,000 contacts 10 change: the next synchronisation has these and nothing else.
func TestSecondSynchronisationTransfersWhatChanged(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{})
	alice := d.User(t, "alice")
	made := alice.MustDo(t, http.MethodPost, "/_roomline/client/v1/app_passwords", map[string]any{"name": "Phone"})
	const many, few = 10_000, 10
	file := func(n int, suffix string) []byte {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "BEGIN:VCARD\r\nVERSION:3.0\r\nUID:c%d\r\nFN:Person %d%s\r\nN:%d;Person;;;\r\nEND:VCARD\r\n", i, i, suffix, i)
		}
		return []byte(b.String())
	}
	const api = "/_roomline/client/v1/contacts/import"
	if got := alice.MustDo(t, http.MethodPost, api, file(many, "")).Get("created").Int(); got != many {
		t.Fatalf("%d were imported", got)
	}
	sync := func(token string) (contacts int, size int, next string) {
		t.Helper()
		for more := true; more; {
			body := `<d:sync-collection xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:carddav"><d:sync-token>` + token + `</d:sync-token><d:sync-level>1</d:sync-level>` +
				`<d:prop><d:getetag/><c:address-data/></d:prop></d:sync-collection>`
			req, err := http.NewRequestWithContext(t.Context(), "REPORT", alice.BaseURL()+"/_roomline/dav/addressbooks/alice:"+d.ServerName+"/personal/", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.SetBasicAuth(made.Get("username").String(), made.Get("password").String())
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != http.StatusMultiStatus {
				t.Fatalf("%s: %.500s, %v", resp.Status, answer, err)
			}
			text := string(answer)
			contacts, size = contacts+strings.Count(text, "BEGIN:VCARD"), size+len(text)
			token = regexp.MustCompile(`<d:sync-token>([^<]*)</d:sync-token></d:multistatus>`).FindStringSubmatch(text)[1]
			more = strings.Contains(text, "507")
		}
		return contacts, size, token
	}
	n, first, token := sync("")
	if n != many {
		t.Fatalf("the first synchronisation has %d contacts", n)
	}
	if got := alice.MustDo(t, http.MethodPost, api, file(few, " changed")).Get("updated").Int(); got != few {
		t.Fatalf("%d were changed", got)
	}
	n, second, token := sync(token)
	if n != few || second > first/500 {
		t.Errorf("the second synchronisation has %d contacts, %d bytes of %d", n, second, first)
	}
	if n, _, _ := sync(token); n != 0 {
		t.Errorf("the third synchronisation has %d contacts", n)
	}
}
