package contacts

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
)

// reportBook answers the reports on an address book.
//
// Spec: RFC 3253 §3.6, RFC 6352 §8, RFC 6578 §3
func (s *Server) reportBook(ctx context.Context, c *httpapi.Call) (any, error) {
	b, err := s.book(c)
	if err != nil {
		return nil, err
	}
	root, err := parseXML(c.Body)
	if err != nil {
		return nil, err
	}
	var answer func(context.Context, *httpapi.Call, book, *element, *propRequest) (any, error)
	switch {
	case root.is(nsCardDAV, "addressbook-multiget"):
		answer = s.multiget
	case root.is(nsCardDAV, "addressbook-query"):
		answer = s.query
	case root.is(nsDAV, "sync-collection"):
		answer = s.syncCollection
	default:
		return precondition(http.StatusForbidden, dav("supported-report"), "")
	}
	asked, err := parseProps(root)
	if err != nil {
		return nil, err
	}
	if d := asked.data; d != nil && d.version != "3.0" && d.version != "4.0" {
		return precondition(http.StatusForbidden, card("supported-address-data"), "")
	}
	return answer(ctx, c, b, root, asked)
}

// reportNothing answers reports on what has none.
func (s *Server) reportNothing(context.Context, *httpapi.Call) (any, error) {
	return precondition(http.StatusForbidden, dav("supported-report"), "")
}

// chunk is how many objects are read at once.
const chunk = 200

// withCards calls f for objects and their cards, a chunk at a time; of those that are gone meanwhile it gets what it knew, marked so.
func withCards(ctx context.Context, b book, objects []object, f func(o *object)) error {
	for len(objects) > 0 {
		some := objects[:min(len(objects), chunk)]
		objects = objects[len(some):]
		var names []string
		for i := range some {
			if !some[i].gone && some[i].card == nil {
				names = append(names, some[i].name)
			}
		}
		loaded := map[string]object{}
		if len(names) > 0 {
			list, err := b.load(ctx, names)
			if err != nil {
				return err
			}
			for _, o := range list {
				loaded[o.name] = o
			}
		}
		for i := range some {
			o := some[i]
			if !o.gone && o.card == nil {
				if now, ok := loaded[o.name]; ok {
					o = now
				} else {
					o.gone = true
				}
			}
			f(&o)
		}
	}
	return nil
}

// writeObject writes a response for an object, with its card if it is wanted.
func writeObject(c *httpapi.Call, m *multistatus, b book, href string, o *object, asked *propRequest) {
	if o.gone {
		m.status(href, http.StatusNotFound, "")
		return
	}
	p := objectProperties(c, b, o)
	if asked.data != nil {
		data, err := render(o.card, asked.data.version, asked.data.props)
		if err != nil {
			// It was checked when it was stored.
			httpapi.Log(c.Request.Context()).Error("a stored contact can't be read", "error", err)
			m.status(href, http.StatusInternalServerError, "")
			return
		}
		p = append(p, property{name: card("address-data"), value: escape(string(data)), unasked: true})
	}
	m.response(href, p, asked)
}

// multiget gives the objects that the request names.
//
// Spec: RFC 6352 §8.7
func (s *Server) multiget(ctx context.Context, c *httpapi.Call, b book, root *element, asked *propRequest) (any, error) {
	path := bookPath(c.Requester.User, b)
	var objects []object
	hrefs := map[string]string{} // as the client wrote them
	var elsewhere []string
	for _, e := range root.children {
		if !e.is(nsDAV, "href") {
			continue
		}
		name, ok := objectName(e.text, path)
		if !ok {
			elsewhere = append(elsewhere, strings.TrimSpace(e.text))
			continue
		}
		if hrefs[name] == "" {
			hrefs[name] = strings.TrimSpace(e.text)
			objects = append(objects, object{name: name})
		}
	}
	m := newMultistatus(c)
	for _, href := range elsewhere {
		m.status(href, http.StatusNotFound, "")
	}
	err := withCards(ctx, b, objects, func(o *object) { writeObject(c, m, b, hrefs[o.name], o, asked) })
	if err != nil {
		return nil, err
	}
	return m.close("")
}

// query gives the objects that a filter finds.
//
// Spec: RFC 6352 §8.6
func (s *Server) query(ctx context.Context, c *httpapi.Call, b book, root *element, asked *propRequest) (any, error) {
	f, err := parseFilter(root.child(nsCardDAV, "filter"))
	if errors.Is(err, errCollation) {
		return precondition(http.StatusForbidden, card("supported-collation"), "")
	}
	if err != nil {
		return nil, err
	}
	most, err := resultLimit(root.child(nsCardDAV, "limit"), nsCardDAV)
	if err != nil {
		return nil, err
	}
	objects, err := b.all(ctx)
	if err != nil {
		return nil, err
	}
	path := bookPath(c.Requester.User, b)
	m := newMultistatus(c)
	n, cut := 0, false
	err = withCards(ctx, b, objects, func(o *object) {
		if o.gone || !f.matches(o.card) {
			return
		}
		if n++; most > 0 && n > most {
			cut = true
			return
		}
		writeObject(c, m, b, path+url.PathEscape(o.name), o, asked)
	})
	if err != nil {
		return nil, err
	}
	if cut {
		m.status(path, http.StatusInsufficientStorage, `<d:error><d:number-of-matches-within-limits/></d:error>`)
	}
	return m.close("")
}

// resultLimit reads how many results a client wants at most, 0 for no limit.
func resultLimit(e *element, space string) (int, error) {
	if e == nil {
		return 0, nil
	}
	results := e.child(space, "nresults")
	if results == nil {
		return 0, badXML("limit has no nresults")
	}
	n, err := strconv.Atoi(strings.TrimSpace(results.text))
	if err != nil || n < 1 {
		return 0, badXML("nresults must be a positive number")
	}
	return n, nil
}

// syncCollection gives what changed since a token, and the next token.
//
// Spec: RFC 6578 §3.2, §3.6
func (s *Server) syncCollection(ctx context.Context, c *httpapi.Call, b book, root *element, asked *propRequest) (any, error) {
	token := ""
	if e := root.child(nsDAV, "sync-token"); e != nil {
		token = strings.TrimSpace(e.text)
	}
	limit, err := resultLimit(root.child(nsDAV, "limit"), nsDAV)
	if err != nil {
		return nil, err
	}
	if limit == 0 || limit > limits.DAVSyncPage {
		limit = limits.DAVSyncPage
	}
	objects, next, more, err := b.changes(ctx, token, limit)
	if errors.Is(err, errToken) {
		return precondition(http.StatusForbidden, dav("valid-sync-token"), "")
	}
	if err != nil {
		return nil, err
	}
	path := bookPath(c.Requester.User, b)
	m := newMultistatus(c)
	each := func(o *object) {
		if o.gone && token == "" {
			return // who comes for the first time has nothing to forget
		}
		writeObject(c, m, b, path+url.PathEscape(o.name), o, asked)
	}
	if asked.data == nil {
		for i := range objects {
			each(&objects[i])
		}
	} else if err := withCards(ctx, b, objects, each); err != nil {
		return nil, err
	}
	if more {
		m.status(path, http.StatusInsufficientStorage, `<d:error><d:number-of-matches-within-limits/></d:error>`)
	}
	return m.close(next)
}
