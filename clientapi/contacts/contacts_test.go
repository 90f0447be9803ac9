package contacts_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/emersion/go-webdav"
	"github.com/emersion/go-webdav/carddav"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/store/storetest"
)

func TestMain(m *testing.M) { hstest.Main(m) }

// phone is a device with an app password.
type phone struct {
	t        testing.TB
	base     string
	user     string
	password string
	id       string
}

func newPhone(t testing.TB, d *hstest.Deployment, u *hstest.User) *phone {
	t.Helper()
	made := u.MustDo(t, http.MethodPost, "/_roomline/client/v1/app_passwords", map[string]any{"name": "Phone"})
	p := &phone{t: t, base: u.BaseURL(), user: u.ID, password: made.Get("password").String(), id: made.Get("id").String()}
	d.Secret(p.password, "an app password")
	if len(p.password) != 29 {
		t.Fatalf("an app password: %s", made)
	}
	return p
}

type reply struct {
	status int
	header http.Header
	body   string
}

// do sends a request as the phone. headers are pairs.
func (p *phone) do(method, path, body string, headers ...string) reply {
	p.t.Helper()
	req, err := http.NewRequest(method, p.base+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	if p.password != "" {
		req.SetBasicAuth(p.user, p.password)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(text)}
}

func (p *phone) must(status int, method, path, body string, headers ...string) reply {
	p.t.Helper()
	r := p.do(method, path, body, headers...)
	if r.status != status {
		p.t.Fatalf("%s %s: %d %s, want %d", method, path, r.status, r.body, status)
	}
	return r
}

func (p *phone) home() string {
	return "/_roomline/dav/addressbooks/" + strings.TrimPrefix(p.user, "@") + "/"
}
func (p *phone) book() string { return p.home() + "personal/" }
func (p *phone) orgBook() string {
	return p.home() + "organisation/"
}

func contact(name, uid, more string) string {
	return "BEGIN:VCARD\r\nVERSION:3.0\r\nFN:" + name + "\r\nN:" + name + ";;;;\r\nUID:" + uid + "\r\n" + more + "END:VCARD\r\n"
}

// sync asks what changed since a token, and returns the names, those that are gone, and the next token.
func (p *phone) sync(book, token string, limit int) (changed, gone []string, next string, more bool) {
	p.t.Helper()
	body := `<d:sync-collection xmlns:d="DAV:"><d:sync-token>` + token + `</d:sync-token><d:sync-level>1</d:sync-level>`
	if limit > 0 {
		body += fmt.Sprintf(`<d:limit><d:nresults>%d</d:nresults></d:limit>`, limit)
	}
	r := p.must(207, "REPORT", book, body+`<d:prop><d:getetag/></d:prop></d:sync-collection>`)
	for _, m := range regexp.MustCompile(`<d:response><d:href>([^<]*)</d:href>(.*?)</d:response>`).FindAllStringSubmatch(r.body, -1) {
		name := strings.TrimPrefix(m[1], book)
		switch {
		case name == "":
			more = strings.Contains(m[2], "507")
		case strings.HasPrefix(m[2], "<d:status>HTTP/1.1 404"):
			gone = append(gone, name)
		default:
			changed = append(changed, name)
		}
	}
	next = regexp.MustCompile(`<d:sync-token>([^<]*)</d:sync-token></d:multistatus>`).FindStringSubmatch(r.body)[1]
	return changed, gone, next, more
}

func TestClientsFindTheAddressBooks(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{})
	p := newPhone(t, d, d.User(t, "alice"))
	for _, method := range []string{"GET", "PROPFIND"} {
		if r := (&phone{t: t, base: p.base}).must(301, method, "/.well-known/carddav", ""); r.header.Get("Location") != "/_roomline/dav/" {
			t.Errorf("%s: Location %q", method, r.header.Get("Location"))
		}
	}
	nobody := &phone{t: t, base: p.base}
	if r := nobody.must(401, "PROPFIND", "/_roomline/dav/", "", "Depth", "0"); !strings.HasPrefix(r.header.Get("WWW-Authenticate"), "Basic ") {
		t.Errorf("401 asks for %q", r.header.Get("WWW-Authenticate"))
	}
	if r := nobody.must(204, "OPTIONS", p.book(), ""); !strings.Contains(r.header.Get("DAV"), "addressbook") {
		t.Errorf("OPTIONS says DAV: %q", r.header.Get("DAV"))
	}

	// A client of others, from nothing but the address.
	ctx := context.Background()
	client, err := carddav.NewClient(webdav.HTTPClientWithBasicAuth(nil, p.user, p.password), p.base+"/_roomline/dav/")
	if err != nil {
		t.Fatal(err)
	}
	principal, err := client.FindCurrentUserPrincipal(ctx)
	if err != nil {
		t.Fatal(err)
	}
	home, err := client.FindAddressBookHomeSet(ctx, principal)
	if err != nil || home != p.home() {
		t.Fatalf("home %q, %v", home, err)
	}
	books, err := client.FindAddressBooks(ctx, home)
	if err != nil || len(books) != 2 {
		t.Fatalf("address books %+v, %v", books, err)
	}
	if !books[0].SupportsAddressData("text/vcard", "4.0") || books[0].MaxResourceSize == 0 || books[0].Name != "Personal" {
		t.Errorf("address book %+v", books[0])
	}
	for name, want := range map[string]bool{p.book(): true, p.orgBook(): false} {
		r := p.must(207, "PROPFIND", name, `<d:propfind xmlns:d="DAV:"><d:prop><d:current-user-privilege-set/><d:supported-report-set/><x:none xmlns:x="urn:x"/></d:prop></d:propfind>`, "Depth", "0")
		if got := strings.Contains(r.body, "<d:write/>"); got != want {
			t.Errorf("%s: may write: %v: %s", name, got, r.body)
		}
		if !strings.Contains(r.body, "sync-collection") || !strings.Contains(r.body, `<x:none xmlns:x="urn:x"/></d:prop><d:status>HTTP/1.1 404`) {
			t.Errorf("%s: %s", name, r.body)
		}
	}
	p.must(403, "PROPFIND", p.book(), "", "Depth", "infinity")
	// Clients leave out the last slash.
	p.must(207, "PROPFIND", strings.TrimSuffix(p.book(), "/"), "", "Depth", "1")
}

func TestContactsAreStoredByteForByteUnderConditions(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{})
	p := newPhone(t, d, d.User(t, "alice"))
	card := contact("Jörg", "u1", "X-ODD;X-Q=\"a:b,c\":x\\,y,z\r\nCATEGORIES:a,b\r\n")
	path := p.book() + "u%201.vcf"
	made := p.must(201, "PUT", path, card, "Content-Type", "text/vcard", "If-None-Match", "*")
	etag := made.header.Get("ETag")
	p.must(412, "PUT", path, card, "If-None-Match", "*")
	p.must(412, "PUT", path, card, "If-Match", `"other"`)
	p.must(412, "PUT", p.book()+"missing.vcf", card, "If-Match", "*")
	got := p.must(200, "GET", path, "")
	if got.body != card || got.header.Get("ETag") != etag || !strings.HasPrefix(got.header.Get("Content-Type"), "text/vcard") {
		t.Errorf("GET: %q, ETag %s, was %s", got.body, got.header.Get("ETag"), etag)
	}
	p.must(304, "GET", path, "", "If-None-Match", etag)
	changed := p.must(204, "PUT", path, contact("Jörg B", "u1", ""), "If-Match", etag).header.Get("ETag")
	if changed == etag || changed == "" {
		t.Errorf("the entity tag after a change is %q, was %q", changed, etag)
	}
	if r := p.must(200, "GET", path, "", "Accept", "text/vcard; version=4.0"); !strings.Contains(r.body, "VERSION:4.0") {
		t.Errorf("as 4.0: %s", r.body)
	}
	for body, want := range map[string]string{
		"no card": "valid-address-data", strings.Replace(card, "3.0", "2.1", 1): "supported-address-data", strings.Replace(card, "UID:u1", "UID:u1", 1): "no-uid-conflict",
	} {
		r := p.do("PUT", p.book()+"other.vcf", body)
		if r.status != 403 && r.status != 409 || !strings.Contains(r.body, "c:"+want) {
			t.Errorf("PUT %.20q: %d %s, want %s", body, r.status, r.body, want)
		}
	}
	p.must(412, "DELETE", path, "", "If-Match", etag)
	p.must(204, "DELETE", path, "", "If-Match", changed)
	p.must(404, "GET", path, "")
	p.must(404, "DELETE", path, "")
	p.must(201, "PUT", path, card)
	p.must(413, "PUT", p.book()+"large.vcf", contact("L", "l", "NOTE:"+strings.Repeat("x", 1<<20)+"\r\n"))
}

func TestSyncSendsWhatChanged(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{})
	p := newPhone(t, d, d.User(t, "alice"))
	_, _, empty, _ := p.sync(p.book(), "", 0)
	for i := range 5 {
		p.must(201, "PUT", fmt.Sprintf("%sc%d.vcf", p.book(), i), contact("C", fmt.Sprint("c", i), ""))
	}
	changed, gone, token, _ := p.sync(p.book(), "", 0)
	if len(changed) != 5 || len(gone) != 0 {
		t.Fatalf("first sync: %v, gone %v", changed, gone)
	}
	if changed, _, next, _ := p.sync(p.book(), empty, 0); len(changed) != 5 || next != token {
		t.Errorf("from the empty book: %v, %s", changed, next)
	}
	p.must(204, "PUT", p.book()+"c1.vcf", contact("D", "c1", ""))
	p.must(204, "DELETE", p.book()+"c2.vcf", "")
	changed, gone, next, _ := p.sync(p.book(), token, 0)
	if fmt.Sprint(changed, gone) != "[c1.vcf] [c2.vcf]" {
		t.Errorf("second sync: %v, gone %v", changed, gone)
	}
	if changed, gone, again, _ := p.sync(p.book(), next, 0); len(changed)+len(gone) > 0 || again != next {
		t.Errorf("nothing changed: %v, %v, %s after %s", changed, gone, again, next)
	}
	// In pages.
	var all []string
	token, more := "", true
	for pages := 0; more; pages++ {
		if pages > 5 {
			t.Fatal("the pages do not end")
		}
		changed, _, token, more = p.sync(p.book(), token, 2)
		all = append(all, changed...)
	}
	if len(all) != 4 || token != next {
		t.Errorf("in pages: %v, token %s, want %s", all, token, next)
	}
	for _, bad := range []string{"urn:roomline:sync:p1.1", "urn:roomline:sync:o1.1.x", "x", next + "0"} {
		r := p.must(403, "REPORT", p.book(), `<d:sync-collection xmlns:d="DAV:"><d:sync-token>`+bad+`</d:sync-token><d:prop/></d:sync-collection>`)
		if !strings.Contains(r.body, "<d:valid-sync-token") {
			t.Errorf("token %q: %s", bad, r.body)
		}
	}
	if r := p.must(207, "PROPFIND", p.book(), `<d:propfind xmlns:d="DAV:"><d:prop><d:sync-token/></d:prop></d:propfind>`, "Depth", "0"); !strings.Contains(r.body, next) {
		t.Errorf("the book's sync token is not %s: %s", next, r.body)
	}
}

func TestQueriesFindWithoutCase(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{})
	p := newPhone(t, d, d.User(t, "alice"))
	p.must(201, "PUT", p.book()+"a.vcf", contact("Jörg Müller", "a", "EMAIL;TYPE=WORK:joerg@example.org\r\nEMAIL;TYPE=HOME:home@example.net\r\n"))
	p.must(201, "PUT", p.book()+"b.vcf", contact("Bob", "b", "TEL:+1 555\r\n"))
	for filter, want := range map[string]string{
		``: "ab",
		`<c:filter><c:prop-filter name="fn"><c:text-match>JÖRG</c:text-match></c:prop-filter></c:filter>`:                                                                                                                      "a",
		`<c:filter><c:prop-filter name="FN"><c:text-match collation="i;octet">jörg</c:text-match></c:prop-filter></c:filter>`:                                                                                                  "",
		`<c:filter><c:prop-filter name="FN"><c:text-match match-type="starts-with" negate-condition="yes">b</c:text-match></c:prop-filter></c:filter>`:                                                                         "a",
		`<c:filter><c:prop-filter name="EMAIL"><c:text-match match-type="ends-with">.NET</c:text-match></c:prop-filter></c:filter>`:                                                                                            "a",
		`<c:filter><c:prop-filter name="EMAIL"><c:is-not-defined/></c:prop-filter></c:filter>`:                                                                                                                                 "b",
		`<c:filter test="allof"><c:prop-filter name="FN"/><c:prop-filter name="TEL"/></c:filter>`:                                                                                                                              "b",
		`<c:filter><c:prop-filter name="EMAIL"/><c:prop-filter name="TEL"/></c:filter>`:                                                                                                                                        "ab",
		`<c:filter><c:prop-filter name="EMAIL" test="allof"><c:text-match>example</c:text-match><c:param-filter name="type"><c:text-match match-type="equals">home</c:text-match></c:param-filter></c:prop-filter></c:filter>`: "a",
		`<c:filter><c:prop-filter name="EMAIL" test="allof"><c:text-match>joerg</c:text-match><c:param-filter name="type"><c:text-match match-type="equals">home</c:text-match></c:param-filter></c:prop-filter></c:filter>`:   "",
	} {
		r := p.must(207, "REPORT", p.book(), `<c:addressbook-query xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:carddav"><d:prop><d:getetag/><c:address-data version="4.0"><c:prop name="FN"/></c:address-data></d:prop>`+filter+`</c:addressbook-query>`)
		got := ""
		for _, name := range []string{"a", "b"} {
			if strings.Contains(r.body, "/"+name+".vcf<") {
				got += name
			}
		}
		if got != want || want != "" && (!strings.Contains(r.body, "VERSION:4.0") || strings.Contains(r.body, "EMAIL")) {
			t.Errorf("%s: found %q, want %q: %s", filter, got, want, r.body)
		}
	}
	for body, want := range map[string]string{
		`<c:addressbook-query xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:carddav"><d:prop/><c:filter><c:prop-filter name="FN"><c:text-match collation="i;klingon">x</c:text-match></c:prop-filter></c:filter></c:addressbook-query>`: "supported-collation",
		`<c:addressbook-query xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:carddav"><d:prop><c:address-data version="2.1"/></d:prop></c:addressbook-query>`:                                                                            "supported-address-data",
		`<d:expand-property xmlns:d="DAV:"><d:prop/></d:expand-property>`: "supported-report",
	} {
		if r := p.must(403, "REPORT", p.book(), body); !strings.Contains(r.body, want) {
			t.Errorf("%s: %s", want, r.body)
		}
	}
}

func TestHostileXMLIsRefused(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{})
	p := newPhone(t, d, d.User(t, "alice"))
	for _, body := range []string{
		`<!DOCTYPE x [<!ENTITY a "b">]><d:propfind xmlns:d="DAV:"><d:allprop/></d:propfind>`,
		`<!DOCTYPE x SYSTEM "file:///etc/passwd"><d:propfind xmlns:d="DAV:"><d:allprop/></d:propfind>`,
		`<d:propfind xmlns:d="DAV:">&a;<d:allprop/></d:propfind>`,
		strings.Repeat("<a>", 20) + strings.Repeat("</a>", 20),
		`<d:propfind xmlns:d="DAV:"><d:allprop/></d:propfind><x/>`,
		`<d:propfind xmlns:d="DAV:"><d:allprop>`, `{}`, `<d:other xmlns:d="DAV:"/>`, `<d:propfind xmlns:d="DAV:"/>`,
		"\xff\xfe<d:propfind/>", `<?xml version="1.0" encoding="utf-16"?><d:propfind xmlns:d="DAV:"><d:allprop/></d:propfind>`,
	} {
		if r := p.do("PROPFIND", p.book(), body, "Depth", "0"); r.status != 400 {
			t.Errorf("%.60q: %d %s", body, r.status, r.body)
		}
	}
	p.must(413, "PROPFIND", p.book(), strings.Repeat(" ", 64<<10), "Depth", "0")
}

func TestNobodyElseReadsPrivateContacts(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{})
	p := newPhone(t, d, d.User(t, "alice"))
	secret, name := "Very Secret Person", "secret-name-of-object.vcf"
	p.must(201, "PUT", p.book()+name, contact(secret, "secret-uid-1", "TEL:+49301234567\r\n"))
	admin := d.Operator(t)
	for who, other := range map[string]*phone{"another user": newPhone(t, d, d.User(t, "bob")), "an owner": newPhone(t, d, admin)} {
		for _, path := range []string{p.book() + name, p.book() + "missing.vcf", strings.Replace(p.book(), "alice", "nobody", 1) + name} {
			if r := other.must(404, "GET", path, ""); r.body != `{"errcode":"M_NOT_FOUND","error":"there is no such resource"}` {
				t.Errorf("%s, %s: %s", who, path, r.body)
			}
			other.must(404, "PUT", path, contact("x", "x", ""))
			other.must(404, "DELETE", path, "")
			other.must(404, "PROPFIND", path, "", "Depth", "0")
		}
		for _, path := range []string{p.book(), p.home(), "/_roomline/dav/principals/alice:" + d.ServerName + "/"} {
			other.must(404, "PROPFIND", path, "", "Depth", "1")
		}
		r := other.must(207, "REPORT", other.book(), `<c:addressbook-multiget xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:carddav"><d:prop><c:address-data/></d:prop><d:href>`+
			p.book()+name+`</d:href><d:href>`+other.book()+name+`</d:href></c:addressbook-multiget>`)
		if strings.Count(r.body, "HTTP/1.1 404") != 2 || strings.Contains(r.body, secret) {
			t.Errorf("%s, multiget: %s", who, r.body)
		}
	}
	for _, path := range []string{"/_roomline/client/v1/contacts", "/_roomline/client/v1/contacts?search=secret"} {
		if got := admin.MustDo(t, "GET", path, nil).Get("total").Int(); got != 0 {
			t.Errorf("%s finds %d contacts of others", path, got)
		}
	}
	// What the owner is told, the others are not: the test can see the contact where it may be seen.
	if r := p.must(200, "GET", p.book()+name, ""); !strings.Contains(r.body, secret) {
		t.Error("the owner does not read the contact")
	}
	assertSealed(t, d.DSN, secret, name, "secret-uid-1", "49301234567", p.password, strings.ReplaceAll(p.password, "-", ""))
}

// assertSealed looks through every table for texts.
func assertSealed(t *testing.T, dsn string, texts ...string) {
	t.Helper()
	db := storetest.DB(t, dsn)
	rows, err := db.Query(`SELECT tablename FROM pg_tables WHERE schemaname = 'public'`)
	if err != nil {
		t.Fatal(err)
	}
	var tables []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		tables = append(tables, name)
	}
	rows.Close()
	sawAlice := false
	for _, table := range tables {
		var content bytes.Buffer
		rows, err := db.Query(`SELECT to_jsonb(t)::text FROM ` + table + ` t`)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var line string
			if err := rows.Scan(&line); err != nil {
				t.Fatal(err)
			}
			content.WriteString(line)
		}
		rows.Close()
		sawAlice = sawAlice || strings.Contains(content.String(), "@alice:")
		for _, text := range texts {
			// bytea is shown in hexadecimal.
			for _, form := range []string{text, fmt.Sprintf("%x", text)} {
				if strings.Contains(strings.ToLower(content.String()), strings.ToLower(form)) {
					t.Errorf("table %s has %q", table, text)
				}
			}
		}
	}
	if !sawAlice {
		t.Error("the test does not see what is in the database")
	}
}

func TestAppPasswordsAreListedAndEndAtOnceEverywhere(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{Processes: 2})
	alice := d.User(t, "alice")
	p := newPhone(t, d, alice)
	there := *p
	there.base = d.BaseURL(1)
	for _, name := range []string{p.user, "alice", "alice@" + d.ServerName, "ALICE:" + d.ServerName} {
		p.user = name
		p.must(207, "PROPFIND", "/_roomline/dav/", "", "Depth", "0")
	}
	p.user = alice.ID
	p.password = strings.ToUpper(strings.ReplaceAll(p.password, "-", " "))
	p.must(207, "PROPFIND", "/_roomline/dav/", "", "Depth", "0")
	there.must(207, "PROPFIND", "/_roomline/dav/", "", "Depth", "0")
	bob := *p
	bob.user = d.User(t, "bob").ID
	bob.must(401, "PROPFIND", "/_roomline/dav/", "", "Depth", "0")
	if r := p.do("GET", "/_matrix/client/v3/account/whoami", ""); r.status != 401 {
		t.Errorf("an app password opens the client API: %d", r.status)
	}
	token := *p
	token.password = alice.AccessToken
	token.must(401, "PROPFIND", "/_roomline/dav/", "", "Depth", "0")
	password := *p
	password.password = alice.Password
	password.must(401, "PROPFIND", "/_roomline/dav/", "", "Depth", "0")

	list := alice.MustDo(t, "GET", "/_roomline/client/v1/app_passwords", nil).Get("app_passwords")
	if list.Get("#").Int() != 1 || list.Get("0.name").String() != "Phone" || list.Get("0.last_used_ts").Int() == 0 || list.Get("0.password").Exists() {
		t.Errorf("the list: %s", list)
	}
	d.User(t, "carol").MustFail(t, 404, "M_NOT_FOUND", "DELETE", "/_roomline/client/v1/app_passwords/"+p.id, nil)
	alice.MustDo(t, "DELETE", "/_roomline/client/v1/app_passwords/"+p.id, nil)
	there.must(401, "PROPFIND", "/_roomline/dav/", "", "Depth", "0")
	alice.MustFail(t, 404, "M_NOT_FOUND", "DELETE", "/_roomline/client/v1/app_passwords/"+p.id, nil)

	// A new password ends those of all devices.
	p = newPhone(t, d, alice)
	p.must(207, "PROPFIND", "/_roomline/dav/", "", "Depth", "0")
	d.Secret("another good password", "a password")
	change := map[string]any{"new_password": "another good password", "auth": map[string]any{
		"type": "m.login.password", "password": alice.Password, "identifier": map[string]any{"type": "m.id.user", "user": alice.ID}}}
	alice.MustDo(t, "POST", hstest.Path("account", "password"), change)
	p.must(401, "PROPFIND", "/_roomline/dav/", "", "Depth", "0")
}

func TestWrongAppPasswordsAreLimitedAndKeepTheOwnerIn(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{Configure: func(_ int, c map[string]any) {
		c["rate_limits"] = map[string]any{"enabled": true, "classes": map[string]any{"app_password_failure": map[string]any{"burst": 20, "every": "1h"}}}
	}})
	alice := d.User(t, "alice")
	p := newPhone(t, d, alice)
	wrong := *p
	wrong.password = "aaaa-aaaa-aaaa-aaaa-aaaa-aaaa"
	refused := 0
	for range 40 {
		if wrong.do("PROPFIND", "/_roomline/dav/", "", "Depth", "0").status == 429 {
			refused++
		}
	}
	if refused == 0 {
		t.Error("40 wrong app passwords are not limited")
	}
	p.must(207, "PROPFIND", "/_roomline/dav/", "", "Depth", "0")
	alice.NewSession(t)
}

func TestLeaversAreOutAtOnce(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{Processes: 2})
	alice := d.User(t, "alice")
	p := newPhone(t, d, alice)
	p.base = d.BaseURL(1)
	p.must(207, "PROPFIND", "/_roomline/dav/", "", "Depth", "0")
	d.Operator(t).MustDo(t, "PUT", "/_matrix/client/v1/admin/lock/"+alice.ID, map[string]any{"locked": true})
	p.must(401, "PROPFIND", "/_roomline/dav/", "", "Depth", "0")
	d.Operator(t).MustDo(t, "PUT", "/_matrix/client/v1/admin/lock/"+alice.ID, map[string]any{"locked": false})
	p.must(207, "PROPFIND", "/_roomline/dav/", "", "Depth", "0")
	d.Operator(t).MustDo(t, "PUT", "/_matrix/client/v1/admin/suspend/"+alice.ID, map[string]any{"suspended": true})
	p.must(207, "PROPFIND", "/_roomline/dav/", "", "Depth", "0")
	p.must(403, "PUT", p.book()+"a.vcf", contact("A", "a", ""))
}
