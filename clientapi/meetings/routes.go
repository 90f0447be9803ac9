package meetings

import "github.com/roomline/roomline/internal/httpapi"

// Routes are the endpoints.
func (s *Server) Routes() []httpapi.Route {
	return nil
}
