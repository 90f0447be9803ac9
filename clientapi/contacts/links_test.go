package contacts_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/roomline/roomline/internal/hstest"
)

func TestLinkedPeopleAreInTheBookAsTheLinkSays(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{Processes: 2})
	p := newPhone(t, d, d.User(t, "alice"))
	other := d.Organisation(t, "Other Ltd", "other.test")
	other.User(t, "stranger")
	_, _, token, _ := p.sync(p.orgBook(), "", 0)

	const links = "/_roomline/admin/v1/links"
	everything := map[string]any{"name": true, "avatar": true, "email": true, "phone": true, "presence": true, "phone_presence": true, "invite": true}
	proposed := d.Operator(t).MustDo(t, http.MethodPost, links, map[string]any{"domain": "other.test", "gives": everything})
	id := fmt.Sprint(proposed.Get("link_id").Int())
	if changed, gone, _, _ := p.sync(p.orgBook(), token, 0); len(changed)+len(gone) > 0 {
		t.Errorf("a link that is only proposed: %v, %v", changed, gone)
	}
	theirs := fmt.Sprint(other.Owner.MustDo(t, http.MethodGet, links, nil).Get("links.0.link_id").Int())
	other.Owner.MustDo(t, http.MethodPost, links+"/"+theirs+"/accept", map[string]any{"gives": map[string]any{"name": true}})
	changed, gone, token, _ := p.sync(p.orgBook(), token, 0)
	if len(changed) != 2 || len(gone) > 0 { // the stranger and the owner
		t.Fatalf("after the link: %v, %v", changed, gone)
	}
	cards := p.must(207, "REPORT", p.orgBook(), `<c:addressbook-query xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:carddav"><d:prop><c:address-data/></d:prop></c:addressbook-query>`).body
	if !strings.Contains(cards, "FN:stranger") || !strings.Contains(cards, "ORG:Other Ltd") {
		t.Errorf("the book: %s", cards)
	}
	object := p.orgBook() + changed[0]
	p.must(200, "GET", object, "")

	d.Operator(t).MustDo(t, http.MethodPost, links+"/"+id+"/revoke", map[string]any{})
	p.base = d.BaseURL(1)
	p.must(404, "GET", object, "")
	if changed, gone, _, _ = p.sync(p.orgBook(), token, 0); len(changed) != 0 || len(gone) != 2 {
		t.Errorf("after the link was revoked: %v, gone %v", changed, gone)
	}
}

func TestPrivateContactsAreFoundInTheDirectoryByTheirOwner(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{})
	alice, bob := d.User(t, "alice"), d.User(t, "bob")
	p := newPhone(t, d, alice)
	p.must(201, "PUT", p.book()+"a.vcf", contact("Zacharias Quast", "a", "TEL:+49 30 1234567\r\n"))
	for term, want := range map[string]string{"zach qua": "Zacharias Quast", "4567": "Zacharias Quast", "nobody": ""} {
		search := map[string]any{"search_term": term}
		answer := alice.MustDo(t, "POST", hstest.Path("user_directory", "search"), search)
		if strings.Contains(answer.Raw, "Zacharias") != (want != "") {
			t.Errorf("%q finds %s", term, answer)
		}
		if others := bob.MustDo(t, "POST", hstest.Path("user_directory", "search"), search); strings.Contains(others.Raw, "Zacharias") {
			t.Errorf("%q finds somebody else's contact: %s", term, others)
		}
	}
}
