package contacts_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/hstest"
)

func TestTheOrganisationsBookIsItsPeople(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{Processes: 2})
	alice, bob := d.User(t, "alice"), d.User(t, "bob")
	p := newPhone(t, d, alice)
	other := d.Organisation(t, "Other", "other.test")
	stranger := other.User(t, "stranger")

	changed, gone, token, _ := p.sync(p.orgBook(), "", 0)
	cards := p.must(207, "REPORT", p.orgBook(), `<c:addressbook-query xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:carddav"><d:prop><d:getetag/><c:address-data/></d:prop></c:addressbook-query>`).body
	for _, want := range []string{"FN:alice", "FN:bob", "matrix:u/bob:" + d.ServerName} {
		if !strings.Contains(cards, want) {
			t.Errorf("the book has no %s: %s", want, cards)
		}
	}
	if strings.Contains(cards, "stranger") || len(changed) != strings.Count(cards, "BEGIN:VCARD") || len(gone) > 0 {
		t.Errorf("first sync: %d, gone %v; %s", len(changed), gone, cards)
	}
	// A change on the other process is there at once, and alone.
	bob.On(1).MustDo(t, "PUT", hstest.Path("profile", bob.ID, "displayname"), map[string]any{"displayname": "Bob Builder"})
	changed, gone, token, _ = p.sync(p.orgBook(), token, 0)
	if len(changed) != 1 || len(gone) != 0 {
		t.Fatalf("after one changed: %v, gone %v", changed, gone)
	}
	object := p.orgBook() + changed[0]
	if got := p.must(200, "GET", object, ""); !strings.Contains(got.body, "FN:Bob Builder\r\nN:Builder;Bob;;;\r\n") {
		t.Errorf("bob is %s", got.body)
	}
	for _, r := range []reply{
		p.do("PUT", object, contact("x", "x", "")), p.do("PUT", p.orgBook()+"new.vcf", contact("x", "x", "")), p.do("DELETE", object, ""),
	} {
		if r.status != 403 || !strings.Contains(r.body, "need-privileges") {
			t.Errorf("the organisation's book is written: %d %s", r.status, r.body)
		}
	}
	strangers := newPhone(t, d, stranger)
	strangers.must(404, "GET", strangers.orgBook()+changed[0], "")
	strangers.must(404, "GET", strangers.orgBook()+"missing.vcf", "")

	// A leaver is gone, and comes back.
	lock := func(locked bool) {
		d.Operator(t).MustDo(t, "PUT", "/_matrix/client/v1/admin/lock/"+bob.ID, map[string]any{"locked": locked})
	}
	lock(true)
	changed, gone, token, _ = p.sync(p.orgBook(), token, 0)
	if len(changed) != 0 || len(gone) != 1 {
		t.Errorf("after bob left: %v, gone %v", changed, gone)
	}
	p.must(404, "GET", object, "")
	lock(false)
	if changed, gone, _, _ = p.sync(p.orgBook(), token, 0); len(changed) != 1 || len(gone) != 0 {
		t.Errorf("after bob came back: %v, gone %v", changed, gone)
	}
	// In pages, each person once.
	seen := map[string]int{}
	token, more := "", true
	for pages := 0; more && pages < 20; pages++ {
		var some []string
		some, _, token, more = p.sync(p.orgBook(), token, 1)
		for _, name := range some {
			seen[name]++
		}
	}
	if n := strings.Count(p.must(207, "PROPFIND", p.orgBook(), "", "Depth", "1").body, ".vcf</d:href>"); len(seen) != n || more {
		t.Errorf("in pages %v, in the book %d", seen, n)
	}
}

func TestFilesOfEveryVersionComeInAndGoOut(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{})
	alice := d.User(t, "alice")
	var all []byte
	files, _ := filepath.Glob("vcard/testdata/*.vcf")
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text...)
	}
	all = append(all, "BEGIN:VCARD\r\nVERSION:3.0\r\nbroken\r\nEND:VCARD\r\n"...)
	const path = "/_roomline/client/v1/contacts/"
	for i, want := range []string{"4 0 0 1", "0 0 4 1"} {
		r := alice.MustDo(t, "POST", path+"import", all)
		if got := fmt.Sprint(r.Get("created"), " ", r.Get("updated"), " ", r.Get("unchanged"), " ", r.Get("failed")); got != want || r.Get("errors.0.card").Int() != 5 {
			t.Errorf("import %d: %s", i, r)
		}
	}
	changed := bytes.ReplaceAll(all, []byte("FN:John Appleseed"), []byte("FN:Johnny Appleseed"))
	if r := alice.MustDo(t, "POST", path+"import", changed); r.Get("updated").Int() != 1 {
		t.Errorf("import of a change: %s", r)
	}
	for _, version := range []string{"2.1", "3.0", "4.0"} {
		r, err := alice.Do(t.Context(), "GET", path+"export?version="+version, nil)
		if err != nil || r.Status != 200 || strings.Count(string(r.Body), "VERSION:"+version) != 4 || !strings.HasPrefix(r.Header.Get("Content-Type"), "text/vcard") {
			t.Fatalf("export %s: %v %s", version, err, r)
		}
		// What goes out comes in again, elsewhere, as the same people.
		friend := d.User(t, "friend"+version[:1])
		if got := friend.MustDo(t, "POST", path+"import", r.Body); got.Get("created").Int() != 4 {
			t.Errorf("import of the export %s: %s", version, got)
		}
		list := friend.MustDo(t, "GET", "/_roomline/client/v1/contacts", nil)
		if names := list.Get("contacts.#.name").String(); names != `["Ayşe Öztürk","J. Doe","Johnny Appleseed","Only"]` {
			t.Errorf("after export and import as %s: %s", version, names)
		}
	}
	alice.MustFail(t, 400, "M_INVALID_PARAM", "POST", path+"import", []byte("no cards"))
}

func TestTheAppReadsAndChangesContacts(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{Processes: 2})
	alice := d.User(t, "alice")
	p := newPhone(t, d, alice)
	const path = "/_roomline/client/v1/contacts"
	p.must(201, "PUT", p.book()+"a.vcf", contact("Jörg Müller", "a", "TEL;TYPE=CELL:0301234567\r\nPHOTO;ENCODING=b;TYPE=JPEG:QUJD\r\n"))
	found := func(search string) string {
		return alice.On(1).MustDo(t, "GET", path+"?search="+search, nil).Get("contacts.#.name").String()
	}
	for search, want := range map[string]string{"jorg": `["Jörg Müller"]`, "muel": `["Jörg Müller"]`, "4567": `["Jörg Müller"]`, "nobody": `[]`} {
		if got := found(search); got != want {
			t.Errorf("search %s: %s", search, got)
		}
	}
	got := alice.MustDo(t, "GET", path+"/a.vcf", nil)
	if got.Get("phones.0.value").String() != "0301234567" || got.Get("phones.0.type").String() != "cell" {
		t.Errorf("the contact: %s", got)
	}
	put := alice.MustDo(t, "PUT", path+"/a.vcf", map[string]any{"name": "Jörg Maier", "family_name": "Maier", "given_name": "Jörg",
		"phones": []any{map[string]any{"value": "0301234567", "type": "cell"}}, "emails": []any{map[string]any{"value": "j@example.org", "type": "work"}}})
	card := p.must(200, "GET", p.book()+"a.vcf", "")
	if card.header.Get("ETag") != put.Get("etag").String() || !strings.Contains(card.body, "PHOTO;ENCODING=b;TYPE=JPEG:QUJD") ||
		!strings.Contains(card.body, "N:Maier;Jörg;;;") || !strings.Contains(card.body, "EMAIL;TYPE=work:j@example.org") {
		t.Errorf("after the app changed it: %s", card.body)
	}
	if got := found("maier"); got != `["Jörg Maier"]` {
		t.Errorf("the change is not found on the other process: %s", got)
	}
	alice.MustDo(t, "PUT", path+"/new.vcf", map[string]any{"name": "New"})
	if got := alice.MustDo(t, "GET", path+"?limit=1", nil); got.Get("total").Int() != 2 || got.Get("next_from").Int() != 1 || got.Get("contacts.#").Int() != 1 {
		t.Errorf("the first page: %s", got)
	}
	alice.MustDo(t, "DELETE", path+"/new.vcf", nil)
	alice.MustFail(t, 404, "M_NOT_FOUND", "GET", path+"/new.vcf", nil)
	d.User(t, "bob").MustFail(t, 404, "M_NOT_FOUND", "GET", path+"/a.vcf", nil)
}

// certificate makes a certificate and returns its files.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "profiles.example.org"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "EC PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func TestPhonesGetASignedProfileOnce(t *testing.T) {
	t.Parallel()
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Fatal("openssl is missing: install it (Debian: apt-get install openssl)")
	}
	cert, key := certificate(t)
	d := hstest.Start(t, hstest.Options{Configure: func(_ int, c map[string]any) {
		c["public_base_url"] = "https://matrix.example.org"
		c["address_books"] = map[string]any{"profile_signing": map[string]any{"cert": cert, "key": key}}
	}})
	alice := d.User(t, "alice")
	link := alice.MustDo(t, "POST", "/_roomline/client/v1/contacts/profile", map[string]any{"name": "Alice's iPhone"}).Get("url").String()
	path := strings.TrimPrefix(link, "https://matrix.example.org")
	safari := &phone{t: t, base: alice.BaseURL()}
	r := safari.must(200, "GET", path, "")
	if r.header.Get("Content-Type") != "application/x-apple-aspen-config" {
		t.Errorf("type %s", r.header.Get("Content-Type"))
	}
	safari.must(404, "GET", path, "")
	signed := filepath.Join(t.TempDir(), "profile")
	if err := os.WriteFile(signed, []byte(r.body), 0o600); err != nil {
		t.Fatal(err)
	}
	profile, err := exec.Command(openssl, "smime", "-verify", "-inform", "DER", "-in", signed, "-CAfile", cert, "-purpose", "any").Output()
	if err != nil {
		t.Fatalf("openssl does not verify the profile: %v", err)
	}
	field := func(key string) string {
		m := regexp.MustCompile(`<key>` + key + `</key><(?:string|integer)>([^<]*)<`).FindSubmatch(profile)
		if m == nil {
			t.Fatalf("no %s in %s", key, profile)
		}
		return string(m[1])
	}
	if field("PayloadType") != "com.apple.carddav.account" || field("CardDAVHostName") != "matrix.example.org" || field("CardDAVPort") != "443" {
		t.Errorf("profile %s", profile)
	}
	p := &phone{t: t, base: alice.BaseURL(), user: field("CardDAVUsername"), password: field("CardDAVPassword")}
	d.Secret(p.password, "an app password")
	p.must(207, "PROPFIND", field("CardDAVPrincipalURL"), "", "Depth", "0")
	if got := alice.MustDo(t, "GET", "/_roomline/client/v1/app_passwords", nil).Get("app_passwords.0.name").String(); got != "Alice's iPhone" {
		t.Errorf("the app password is called %q", got)
	}
}

func TestWithoutACertificateThereIsNoProfile(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{Configure: func(_ int, c map[string]any) { c["public_base_url"] = "https://matrix.example.org" }})
	d.User(t, "alice").MustFail(t, http.StatusNotFound, "M_NOT_FOUND", "POST", "/_roomline/client/v1/contacts/profile", map[string]any{"name": "x"})
}
