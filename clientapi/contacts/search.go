package contacts

import (
	"container/list"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/roomline/roomline/clientapi/contacts/vcard"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/people"
	"github.com/roomline/roomline/internal/store"
)

// known is a private contact that was opened and read.
type known struct {
	name, etag string
	sortKey    string
	fields     vcard.Fields
	keys       []people.Key // what it is found by
}

// person is the contact as the directory's search sees it.
func (k *known) person() people.Card {
	c := people.Card{
		Name: k.fields.Name, Given: k.fields.Given, Family: k.fields.Family, Nickname: k.fields.Nickname,
		Organisation: k.fields.Organisation, Department: k.fields.Department, Title: k.fields.Title,
	}
	for _, v := range k.fields.Emails {
		c.Emails = append(c.Emails, v.Value)
	}
	for _, v := range k.fields.Phones {
		c.Phones = append(c.Phones, v.Value)
	}
	return c
}

// bytes is about how much memory the contact takes.
func (k *known) bytes() int64 {
	f := &k.fields
	n := 400 + len(k.name) + len(k.etag) + len(k.sortKey) + len(f.Name) + len(f.Given) + len(f.Family) + len(f.Nickname) +
		len(f.Organisation) + len(f.Department) + len(f.Title) + len(f.Note)
	for _, list := range [][]vcard.Value{f.Emails, f.Phones} {
		for _, v := range list {
			n += 32 + len(v.Value) + len(v.Type)
		}
	}
	for _, key := range k.keys {
		n += 40 + len(key.Text)
	}
	return int64(n)
}

// Find returns the private contacts of a user that a query finds, at most limit, in the order of their names. Nobody else's are looked at.
func (s *Server) Find(ctx context.Context, user matrix.UserID, query people.Query, limit int) ([]people.Card, error) {
	if query.Empty() {
		return nil, nil
	}
	u, err := s.store.GetUser(ctx, user)
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", user, err)
	}
	all, err := s.contactsOf(ctx, u.OrganisationID, user)
	if err != nil {
		return nil, err
	}
	var found []people.Card
	for _, k := range all {
		if query.Meets(k.keys) {
			if found = append(found, k.person()); len(found) == limit {
				break
			}
		}
	}
	return found, nil
}

// contactsOf are a user's private contacts, opened and read, in the order of their names. They are remembered until one changes.
func (s *Server) contactsOf(ctx context.Context, org int64, user matrix.UserID) ([]*known, error) {
	book, err := s.store.GetAddressBook(ctx, user)
	if err != nil {
		return nil, fmt.Errorf("read the address book: %w", err)
	}
	region, err := s.region(ctx, org)
	if err != nil {
		return nil, err
	}
	if remembered, ok := s.cache.get(book, region); ok {
		return remembered, nil
	}
	p := &personal{s: s, user: user, org: org}
	var all []*known
	const atOnce = 4 << 20
	// Those that change meanwhile come again, with a higher number; the later one counts.
	latest := map[string]int{}
	for after := int64(0); ; {
		rows, err := s.store.ListContactsAfter(ctx, user, after, atOnce, chunk*5)
		if err != nil {
			return nil, fmt.Errorf("read contacts: %w", err)
		}
		if len(rows) == 0 {
			break
		}
		after = rows[len(rows)-1].Change
		objects, err := p.open(ctx, book, rows)
		if err != nil {
			return nil, err
		}
		for _, o := range objects {
			k, ok := readKnown(o, region)
			if !ok {
				continue
			}
			if i, seen := latest[o.name]; seen {
				all[i] = k
				continue
			}
			latest[o.name] = len(all)
			all = append(all, k)
		}
	}
	slices.SortFunc(all, byName)
	s.cache.put(book, region, all)
	return all, nil
}

func readKnown(o object, region string) (*known, bool) {
	parsed, err := vcard.Parse(o.card)
	if err != nil {
		return nil, false
	}
	k := &known{name: o.name, etag: o.etag, fields: parsed.Fields()}
	if len(k.fields.Note) > limits.SearchTerm {
		k.fields.Note = "" // it is for the page of the contact, which reads it anew
	}
	k.sortKey = new(textMatch).folded(k.fields.Name)
	k.keys = people.Keys(k.person(), region)
	return k, true
}

// cache remembers opened address books, those that were used last, within limits.ContactsCached.
type cache struct {
	mu    sync.Mutex
	books map[matrix.UserID]*list.Element
	used  *list.List // of *remembered, the last used first
	bytes int64
}

type remembered struct {
	book     store.AddressBook
	region   string
	contacts []*known
	bytes    int64
}

func newCache() *cache { return &cache{books: map[matrix.UserID]*list.Element{}, used: list.New()} }

// get returns a user's contacts as they were at the book's last change.
func (c *cache) get(book store.AddressBook, region string) ([]*known, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.books[book.UserID]
	if e == nil {
		return nil, false
	}
	r := e.Value.(*remembered)
	if r.book != book || r.region != region {
		c.remove(e)
		return nil, false
	}
	c.used.MoveToFront(e)
	return r.contacts, true
}

func (c *cache) put(book store.AddressBook, region string, contacts []*known) {
	r := &remembered{book: book, region: region, contacts: contacts, bytes: 500}
	for _, k := range contacts {
		r.bytes += k.bytes()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.books[book.UserID]; e != nil {
		c.remove(e)
	}
	if r.bytes > limits.ContactsCached {
		return
	}
	c.books[book.UserID] = c.used.PushFront(r)
	for c.bytes += r.bytes; c.bytes > limits.ContactsCached; {
		c.remove(c.used.Back())
	}
}

func (c *cache) remove(e *list.Element) {
	r := c.used.Remove(e).(*remembered)
	delete(c.books, r.book.UserID)
	c.bytes -= r.bytes
}
