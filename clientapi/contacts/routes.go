package contacts

import (
	"net/http"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/ratelimit"
)

const (
	get       = http.MethodGet
	put       = http.MethodPut
	post      = http.MethodPost
	remove    = http.MethodDelete
	propfind  = httpapi.MethodPropfind
	proppatch = httpapi.MethodProppatch
	report    = httpapi.MethodReport

	reads   = false
	changes = true
)

// Routes is every endpoint.
func (s *Server) Routes() []httpapi.Route {
	return append(s.davRoutes(), s.appRoutes()...)
}

// davRoutes is CardDAV. Clients write the path of a collection with and without its last slash.
func (s *Server) davRoutes() []httpapi.Route {
	const (
		principal = davRoot + "principals/{user}/"
		home      = booksFolder + "{user}/"
		book      = home + "{book}/"
		object    = book + "{object}"
	)
	var routes []httpapi.Route
	add := func(method, path string, change bool, body int64, handle httpapi.Handler) {
		for _, p := range withSlash(path) {
			routes = append(routes, httpapi.Route{
				Method: method, Path: p, Auth: httpapi.AppPassword, Limit: ratelimit.AddressBook, MaxBody: body, AnyBody: true,
				Handle: forPeople(change, handle),
			})
		}
	}
	add(propfind, davRoot, reads, limits.SmallBody, s.propfindRoot)
	add(propfind, principal, reads, limits.SmallBody, s.propfindPrincipal)
	add(report, principal, reads, limits.SmallBody, s.reportNothing)
	add(propfind, home, reads, limits.SmallBody, s.propfindHome)
	add(report, home, reads, limits.SmallBody, s.reportNothing)
	add(propfind, book, reads, limits.SmallBody, s.propfindBook)
	add(proppatch, book, changes, limits.SmallBody, s.proppatch)
	add(report, book, reads, limits.DAVBody, s.reportBook)
	add(propfind, object, reads, limits.SmallBody, s.propfindObject)
	add(get, object, reads, 0, s.getObject)
	add(put, object, changes, limits.VCard, s.putObject)
	add(remove, object, changes, limits.SmallBody, s.deleteObject)

	for _, path := range []string{davRoot, principal, home, book, object} {
		for _, p := range withSlash(path) {
			routes = append(routes, httpapi.Route{Method: http.MethodOptions, Path: p, Limit: ratelimit.AddressBook, Handle: s.options})
		}
	}
	for _, method := range []string{get, propfind} {
		routes = append(routes, httpapi.Route{
			Method: method, Path: "/.well-known/carddav", AnyBody: true, MaxBody: limits.SmallBody, Limit: ratelimit.AddressBook, Handle: s.wellKnown,
		})
	}
	return routes
}

// withSlash is the path of a collection without and with its last slash, and that of an object as it is.
func withSlash(path string) []string {
	if last := len(path) - 1; path[last] == '/' {
		return []string{path[:last], path + "{$}"}
	}
	return []string{path}
}

// appRoutes is what an app needs: app passwords, a profile for the phone, and private contacts as JSON.
func (s *Server) appRoutes() []httpapi.Route {
	const (
		passwords = "/_roomline/client/v1/app_passwords"
		contacts  = "/_roomline/client/v1/contacts"
	)
	table := []struct {
		method, path string
		limit        string
		change       bool
		body         int64
		handle       httpapi.Handler
	}{
		{get, passwords, ratelimit.Read, reads, 0, s.listAppPasswords},
		{post, passwords, ratelimit.Account, changes, limits.SmallBody, httpapi.JSON(s.createAppPassword)},
		{remove, passwords + "/{id}", ratelimit.Account, reads, limits.SmallBody, s.deleteAppPassword},

		{post, profileLinks, ratelimit.Account, changes, limits.SmallBody, httpapi.JSON(s.createProfileLink)},

		{get, contacts, ratelimit.Search, reads, 0, s.listContacts},
		{get, contacts + "/export", ratelimit.Import, reads, 0, s.exportContacts},
		{post, contacts + "/import", ratelimit.Import, changes, limits.ContactImport, s.importContacts},
		{get, contacts + "/{contactId}", ratelimit.AddressBook, reads, 0, s.getContact},
		{put, contacts + "/{contactId}", ratelimit.AddressBook, changes, 0, httpapi.JSON(s.putContact)},
		{remove, contacts + "/{contactId}", ratelimit.AddressBook, changes, limits.SmallBody, s.deleteContact},
	}
	var routes []httpapi.Route
	for _, r := range table {
		routes = append(routes, httpapi.Route{
			Method: r.method, Path: r.path, Auth: httpapi.AccessToken, Limit: r.limit, MaxBody: r.body,
			AnyBody: r.path == contacts+"/import", Handle: forPeople(r.change, r.handle),
		})
	}
	// The link is the secret: a phone's browser has no access token.
	return append(routes, httpapi.Route{Method: get, Path: profileLinks + "/{link}", Limit: ratelimit.Probe, Handle: s.getProfile})
}
