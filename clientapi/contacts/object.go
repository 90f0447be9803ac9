package contacts

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/roomline/roomline/clientapi/contacts/vcard"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
)

// object is the one that the path names, with its card.
func (s *Server) object(ctx context.Context, c *httpapi.Call) (book, *object, error) {
	b, err := s.book(c)
	if err != nil {
		return nil, nil, err
	}
	list, err := b.load(ctx, []string{c.Path("object")})
	if err != nil {
		return nil, nil, err
	}
	if len(list) == 0 {
		return nil, nil, noResource()
	}
	return b, &list[0], nil
}

const vcardType = "text/vcard; charset=utf-8"

// getObject gives a contact, in the version that the client accepts or else as it was stored.
//
// Spec: RFC 6352 §5.1, RFC 9110 §12.5.1
func (s *Server) getObject(ctx context.Context, c *httpapi.Call) (any, error) {
	_, o, err := s.object(ctx, c)
	if err != nil {
		return nil, err
	}
	h := c.W.Header()
	h.Set("ETag", o.etag)
	if none := c.Request.Header.Get("If-None-Match"); none != "" && matchesTag(none, o.etag) {
		c.W.WriteHeader(http.StatusNotModified)
		return nil, nil
	}
	data, err := render(o.card, acceptedVersion(c.Request.Header), nil)
	if err != nil {
		return nil, fmt.Errorf("a stored contact can't be read: %w", err)
	}
	return httpapi.Content{Type: vcardType, Bytes: data}, nil
}

// acceptedVersion is the version of vCard that Accept names, "" for any.
func acceptedVersion(h http.Header) string {
	for part := range strings.SplitSeq(strings.Join(h.Values("Accept"), ","), ",") {
		media, params, err := mime.ParseMediaType(part)
		if v := params["version"]; err == nil && media == "text/vcard" && (v == vcard.V3 || v == vcard.V4) {
			return v
		}
	}
	return ""
}

// readOnly is the answer to who wants to change the organisation's address book.
func readOnly(c *httpapi.Call) (any, error) {
	return precondition(http.StatusForbidden, dav("need-privileges"),
		`<d:resource>`+href(c.Request.URL.EscapedPath())+`<d:privilege><d:write/></d:privilege></d:resource>`)
}

// putObject stores a contact as it is.
//
// Spec: RFC 6352 §6.3.2
func (s *Server) putObject(ctx context.Context, c *httpapi.Call) (any, error) {
	b, err := s.book(c)
	if err != nil {
		return nil, err
	}
	mine, ok := b.(*personal)
	if !ok {
		return readOnly(c)
	}
	if text := c.Request.Header.Get("Content-Type"); text != "" {
		media, _, err := mime.ParseMediaType(text)
		if err != nil || media != "text/vcard" && media != "text/x-vcard" && media != "text/directory" {
			return precondition(http.StatusForbidden, card("supported-address-data"), "")
		}
	}
	name := c.Path("object")
	if len(name) > limits.ContactName {
		return nil, matrix.InvalidParam("the name of a contact has at most %d bytes", limits.ContactName)
	}
	parsed, err := vcard.Parse(c.Body)
	if err != nil {
		return precondition(http.StatusForbidden, card("valid-address-data"), escape(err.Error()))
	}
	if parsed.Version == vcard.V21 {
		return precondition(http.StatusForbidden, card("supported-address-data"), "")
	}
	etag, created, err := mine.put(ctx, name, uidOf(parsed, name), c.Body, conditionOf(c.Request.Header))
	if conflict, ok := errors.AsType[*uidConflict](err); ok {
		return precondition(http.StatusConflict, card("no-uid-conflict"), href(bookPath(c.Requester.User, b)+url.PathEscape(conflict.name)))
	}
	if err != nil {
		return nil, err
	}
	c.W.Header().Set("ETag", etag)
	if created {
		c.W.WriteHeader(http.StatusCreated)
	} else {
		c.W.WriteHeader(http.StatusNoContent)
	}
	return nil, nil
}

// uidOf is a card's UID. Interop: some programs store cards without one; the object's name stands for it then.
func uidOf(c *vcard.Card, name string) string {
	if uid := c.Text("UID"); uid != "" {
		return uid
	}
	return "name:" + name
}

// deleteObject deletes a contact.
func (s *Server) deleteObject(ctx context.Context, c *httpapi.Call) (any, error) {
	b, err := s.book(c)
	if err != nil {
		return nil, err
	}
	mine, ok := b.(*personal)
	if !ok {
		return readOnly(c)
	}
	if err := mine.remove(ctx, c.Path("object"), conditionOf(c.Request.Header)); err != nil {
		return nil, err
	}
	c.W.WriteHeader(http.StatusNoContent)
	return nil, nil
}

// options says what can be done here.
//
// Spec: RFC 4918 §10.1, RFC 6352 §6.1
func (s *Server) options(_ context.Context, c *httpapi.Call) (any, error) {
	c.W.Header().Set("DAV", "1, 3, access-control, addressbook")
	c.W.Header().Set("Allow", "OPTIONS, GET, HEAD, PUT, DELETE, PROPFIND, PROPPATCH, REPORT")
	c.W.WriteHeader(http.StatusNoContent)
	return nil, nil
}

// wellKnown sends clients to the address books.
//
// Spec: RFC 6764 §5
func (s *Server) wellKnown(_ context.Context, c *httpapi.Call) (any, error) {
	c.W.Header().Set("Location", strings.TrimSuffix(s.cfg.BaseURL, "/")+davRoot)
	c.W.WriteHeader(http.StatusMovedPermanently)
	return nil, nil
}
