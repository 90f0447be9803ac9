package appservices

import (
	"context"
	"net/url"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
)

// Directory answers third-party lookups from the server's own directory of people. Its fields may be nil: then it knows nobody.
//
// Why one protocol of its own, and not tel and mailto: these are names that bridges to telephone and mail networks go by, and one lookup may be by
// several fields.
type Directory struct {
	// ByFields finds people by the fields of the protocol, ByID says who a user is. Who is none of the requester's business is not found.
	ByFields func(ctx context.Context, who *httpapi.Requester, fields url.Values) ([]DirectoryUser, error)
	ByID     func(ctx context.Context, who *httpapi.Requester, user matrix.UserID) ([]DirectoryUser, error)
}

// DirectoryUser is somebody in the directory, as far as the one who asks may see them.
type DirectoryUser struct {
	UserID matrix.UserID
	Fields map[string]any
}

// DirectoryProtocol is the protocol that the server itself answers; application services are not asked for it.
const DirectoryProtocol = "roomline"

// directoryProtocol describes it. It has no instances: it is no network whose rooms could be listed.
func directoryProtocol() *protocol {
	return &protocol{
		UserFields: []string{"query", "name", "email", "phone"}, LocationFields: []string{},
		FieldTypes: map[string]fieldType{
			"query": {Regexp: ".+", Placeholder: "name, e-mail address, phone number or keypad digits"},
			"name":  {Regexp: ".+", Placeholder: "Alice Adams"},
			"email": {Regexp: "[^@]+@[^@]+", Placeholder: "alice@example.org"},
			"phone": {Regexp: "[+0-9 ./()-]+", Placeholder: "+44 20 7946 0018"},
		},
		Instances: []instance{},
	}
}

// inDirectory makes answers of lookups out of people of the directory.
func inDirectory(found []DirectoryUser, err error) ([]person, error) {
	list := make([]person, 0, len(found))
	for _, u := range found {
		list = append(list, person{UserID: u.UserID, Protocol: DirectoryProtocol, Fields: u.Fields})
	}
	return list, err
}

// findInDirectory answers a lookup by fields.
func (s *Server) findInDirectory(ctx context.Context, c *httpapi.Call) (any, error) {
	if s.cfg.Directory.ByFields == nil {
		return nil, unknownProtocol()
	}
	list, err := inDirectory(s.cfg.Directory.ByFields(ctx, c.Requester, c.Request.URL.Query()))
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, nothingFound()
	}
	return list, nil
}

func nothingFound() *matrix.Error { return matrix.NotFound("nothing of the kind was found") }
