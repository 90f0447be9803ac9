package admin

import (
	"net/http"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/ratelimit"
)

const (
	get    = http.MethodGet
	put    = http.MethodPut
	post   = http.MethodPost
	remove = http.MethodDelete

	own      = "/_roomline/admin/v1"
	operator = "/_roomline/operator/v1"
)

// access is who may ask.
type access struct {
	// name is what the OpenAPI document says.
	name  string
	allow func(*httpapi.Requester) bool
}

var (
	owners    = access{"owner", func(r *httpapi.Requester) bool { return r.Admin }}
	operators = access{"operator", (*httpapi.Requester).Operator}
	auditors  = access{"owner, auditor", (*httpapi.Requester).Audits}
	// administrators are all that have a role: for what each of them has to see.
	administrators = access{"owner, people, auditor", func(r *httpapi.Requester) bool { return r.Role != httpapi.RoleNone || r.ManagesPeople() }}
	// peopleManagers change accounts; peopleReaders may also be auditors.
	peopleManagers = access{"owner, people", (*httpapi.Requester).ManagesPeople}
	peopleReaders  = administrators
)

// endpoint is a line of the table.
type endpoint struct {
	method, path string
	may          access
	limit        string // ratelimit.Read if empty
	handle       httpapi.Handler
	doc          httpapi.Doc
}

// endpoints are all endpoints of the package.
func (s *Server) endpoints() []endpoint {
	var all []endpoint
	for _, chapter := range [][]endpoint{
		s.organisationEndpoints(), s.domainEndpoints(), s.roleEndpoints(), s.policyEndpoints(), s.quotaEndpoints(), s.auditEndpoints(),
		s.linkEndpoints(), s.holdEndpoints(), s.peopleEndpoints(), s.synapseUserEndpoints(), s.synapseRoomEndpoints(),
	} {
		all = append(all, chapter...)
	}
	return all
}

// Routes are the endpoints as the server serves them.
func (s *Server) Routes() []httpapi.Route {
	routes := []httpapi.Route{s.documentEndpoint()}
	for _, e := range s.endpoints() {
		doc := e.doc
		doc.Who = e.may.name
		limit := e.limit
		if limit == "" {
			limit = ratelimit.Read
		}
		routes = append(routes, httpapi.Route{
			Method: e.method, Path: e.path, Auth: httpapi.AccessToken, Limit: limit, Handle: httpapi.ForThose(e.may.allow, e.handle), Doc: &doc,
		})
	}
	return append(routes, httpapi.Route{
		Method: get, Path: exportPath, Auth: httpapi.NoAuth, Limit: ratelimit.Read, Handle: s.fetchExport,
		Doc: &httpapi.Doc{Summary: "An archive, once, for whoever has the link.", Who: "anybody with the link", ContentType: "application/zip"},
	})
}
