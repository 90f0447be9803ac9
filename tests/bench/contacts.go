package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"
)

// held is the size of the address book, and heldWithin how long a phone may take to have all of it.
const (
	held       = 10_000
	heldWithin = 5 * time.Second
	// fetched is how many contacts a phone asks for at once.
	fetched = 100
)

// addressBook measures how a phone fetches an address book for the first time: a list of what there is, and then the contacts, some at a time.
func (b *bench) addressBook() ([]figure, error) {
	people, err := b.people(1)
	if err != nil {
		return nil, err
	}
	var file strings.Builder
	for i := range held {
		fmt.Fprintf(&file, "BEGIN:VCARD\r\nVERSION:3.0\r\nUID:bench-%d\r\nFN:Person %d\r\nN:%d;Person;;;\r\nORG:Customer %d\r\nTITLE:Buyer\r\n"+
			"TEL;TYPE=CELL:+49170%07d\r\nTEL;TYPE=WORK:+4930%07d\r\nEMAIL;TYPE=WORK:person%d@example.org\r\nADR;TYPE=WORK:;;Street %d;Town;;10115;DE\r\nEND:VCARD\r\n",
			i, i, i, i%500, i, i, i, i)
	}
	began := time.Now()
	if _, err := people[0].client.do(http.MethodPost, "/_roomline/client/v1/contacts/import", []byte(file.String())); err != nil {
		return nil, err
	}
	imported := time.Since(began)
	text, err := people[0].ask(http.MethodPost, "/_roomline/client/v1/app_passwords", map[string]any{"name": "bench"})
	if err != nil {
		return nil, err
	}
	var made struct{ Username, Password string }
	if err := json.Unmarshal(text, &made); err != nil {
		return nil, err
	}
	p := &addressBookClient{
		book: "http://" + b.server.address + "/_roomline/dav/addressbooks/" + strings.TrimPrefix(people[0].id, "@") + "/personal/", user: made.Username, password: made.Password,
	}
	began = time.Now()
	if err := p.fetch(""); err != nil {
		return nil, err
	}
	took := time.Since(began)
	if p.contacts != held {
		return nil, fmt.Errorf("the phone has %d contacts of %d", p.contacts, held)
	}
	began = time.Now()
	rows, err := b.data.Query(`SELECT name_sealed, card_sealed FROM contacts WHERE user_id = $1`, people[0].id)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var name, card []byte
		if err := rows.Scan(&name, &card); err != nil {
			return nil, err
		}
	}
	yard := time.Since(began)
	return []figure{{
		what: "address book of 10,000, first sync", measured: fmt.Sprintf("%s, %.1f MB", short(took), float64(p.bytes)/1e6),
		yardstick: short(yard) + " reading the rows", goal: "≤ " + heldWithin.String(), met: took <= heldWithin,
	}, {
		what: "… imported as a file", measured: short(imported), yardstick: "", goal: "", met: true,
	}}, rows.Err()
}

// addressBookClient is a phone.
type addressBookClient struct {
	book, user, password string
	contacts, bytes      int
}

func (p *addressBookClient) report(body string) (string, error) {
	req, err := http.NewRequest("REPORT", p.book, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	req.SetBasicAuth(p.user, p.password)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusMultiStatus {
		err = fmt.Errorf("REPORT: %s: %.200s", resp.Status, text)
	}
	p.bytes += len(text)
	return string(text), err
}

var (
	objectHref = regexp.MustCompile(`<d:href>([^<]*\.vcf)</d:href>`)
	nextToken  = regexp.MustCompile(`<d:sync-token>([^<]*)</d:sync-token></d:multistatus>`)
)

// fetch asks what there is, page by page, and for all of it.
func (p *addressBookClient) fetch(token string) error {
	for more := true; more; {
		text, err := p.report(`<d:sync-collection xmlns:d="DAV:"><d:sync-token>` + token + `</d:sync-token><d:sync-level>1</d:sync-level><d:prop><d:getetag/></d:prop></d:sync-collection>`)
		if err != nil {
			return err
		}
		found := objectHref.FindAllStringSubmatch(text, -1)
		for len(found) > 0 {
			some := found[:min(len(found), fetched)]
			found = found[len(some):]
			var hrefs strings.Builder
			for _, m := range some {
				hrefs.WriteString("<d:href>" + m[1] + "</d:href>")
			}
			cards, err := p.report(`<c:addressbook-multiget xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:carddav"><d:prop><d:getetag/><c:address-data/></d:prop>` +
				hrefs.String() + `</c:addressbook-multiget>`)
			if err != nil {
				return err
			}
			p.contacts += strings.Count(cards, "END:VCARD")
		}
		next := nextToken.FindStringSubmatch(text)
		if next == nil {
			return fmt.Errorf("the answer has no token")
		}
		token, more = next[1], strings.Contains(text, "507")
	}
	return nil
}
