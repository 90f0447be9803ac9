package appservices

import (
	"context"
	"fmt"
	"net/http"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/ratelimit"
	"github.com/roomline/roomline/internal/store"
)

// Service is what is told of an application service. Its tokens are not.
type Service struct {
	ID             string         `json:"id"`
	URL            string         `json:"url"`
	UserID         matrix.UserID  `json:"user_id"`
	OrganisationID int64          `json:"organisation_id"`
	Everywhere     bool           `json:"everywhere"`
	Grants         []string       `json:"grants"`
	Source         string         `json:"source"` // file, api, or built in
	CreatedBy      string         `json:"created_by,omitempty"`
	Registration   any            `json:"registration"`
	Delivery       *DeliveryState `json:"delivery,omitempty"`
}

// DeliveryState says how far an application service has been told of what happened.
type DeliveryState struct {
	Transactions int64 `json:"transactions"`
	// Behind is how many positions of the journal are still to be looked at.
	Behind       int64            `json:"behind"`
	DeliveredTS  matrix.Timestamp `json:"delivered_ts"`
	Failures     int              `json:"failures"`
	FailingSince matrix.Timestamp `json:"failing_since_ts,omitempty"`
	LastError    string           `json:"last_error,omitempty"`
}

type servicesResponse struct {
	Appservices []Service `json:"appservices"`
}

type registeredResponse struct {
	Service
	Tokens
}

// adminRoutes are the endpoints for owners of an organisation and for the operator.
func (s *Server) adminRoutes() []httpapi.Route {
	var routes []httpapi.Route
	for _, half := range []struct {
		prefix, who string
		may         func(*httpapi.Requester) (Who, bool)
	}{
		{"/_roomline/admin/v1", "owner", func(r *httpapi.Requester) (Who, bool) {
			return Who{Actor: r.Actor(), Organisation: r.Org}, r.Admin
		}},
		{"/_roomline/operator/v1", "operator", func(r *httpapi.Requester) (Who, bool) {
			return Who{Actor: r.Actor(), Organisation: r.Org, Operator: true}, r.Operator()
		}},
	} {
		add := func(method, path, limit string, doc httpapi.Doc, handle func(context.Context, *httpapi.Call, Who) (any, error)) {
			doc.Who = half.who
			routes = append(routes, httpapi.Route{
				Method: method, Path: half.prefix + path, Auth: httpapi.AccessToken, Limit: limit, MaxBody: limits.RegistrationFile, AnyBody: true, Doc: &doc,
				Handle: func(ctx context.Context, c *httpapi.Call) (any, error) {
					who, ok := half.may(c.Requester)
					if !ok {
						return nil, matrix.Forbidden("only administrators with the right role may do this")
					}
					who.IP = c.ClientAddr()
					return handle(ctx, c, who)
				},
			})
		}
		add(http.MethodGet, "/appservices", ratelimit.Read, httpapi.Doc{Summary: "All application services.", Response: servicesResponse{}}, s.listServices)
		add(http.MethodPost, "/appservices", ratelimit.Account, httpapi.Doc{
			Summary: "Register an application service. The body is a registration, YAML or JSON; tokens that it lacks are made, and shown once.", Response: registeredResponse{},
		}, s.register)
		add(http.MethodGet, "/appservices/{appserviceId}", ratelimit.Read, httpapi.Doc{Summary: "An application service.", Response: Service{}}, s.getService)
		add(http.MethodDelete, "/appservices/{appserviceId}", ratelimit.Account, httpapi.Doc{
			Summary: "Remove an application service. Its token, and the sessions of the users that it made, end at once."}, s.removeService)
		add(http.MethodPost, "/appservices/{appserviceId}/tokens", ratelimit.Account, httpapi.Doc{
			Summary: "Replace both tokens of an application service; they are shown once.", Response: Tokens{}}, s.renewTokens)
	}
	return routes
}

func (s *Server) listServices(ctx context.Context, _ *httpapi.Call, who Who) (any, error) {
	list, err := s.Describe(ctx, who, s.List(who))
	return servicesResponse{list}, err
}

func (s *Server) getService(ctx context.Context, c *httpapi.Call, who Who) (any, error) {
	as, err := s.find(who, c.Path("appserviceId"))
	if err != nil {
		return nil, err
	}
	list, err := s.Describe(ctx, who, []*Registration{as})
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

func (s *Server) register(ctx context.Context, c *httpapi.Call, who Who) (any, error) {
	as, tokens, err := s.Register(ctx, who, c.Body)
	if err != nil {
		return nil, err
	}
	list, err := s.Describe(ctx, who, []*Registration{as})
	if err != nil {
		return nil, err
	}
	return registeredResponse{list[0], tokens}, nil
}

func (s *Server) removeService(ctx context.Context, c *httpapi.Call, who Who) (any, error) {
	return nil, s.Remove(ctx, who, c.Path("appserviceId"))
}

func (s *Server) renewTokens(ctx context.Context, c *httpapi.Call, who Who) (any, error) {
	return s.NewTokens(ctx, who, c.Path("appserviceId"))
}

// Describe tells of application services, with how far they have been told.
func (s *Server) Describe(ctx context.Context, who Who, services []*Registration) ([]Service, error) {
	ids := make([]string, len(services))
	for i, as := range services {
		ids[i] = as.ID
	}
	deliveries, err := s.cfg.Store.ListDeliveries(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("list deliveries: %w", err)
	}
	byID := make(map[string]*store.Delivery, len(deliveries))
	for i := range deliveries {
		byID[deliveries[i].AppserviceID] = &deliveries[i]
	}
	list := make([]Service, 0, len(services))
	for _, as := range services {
		one := Service{
			ID: as.ID, URL: as.URL, UserID: as.Sender, OrganisationID: as.organisation, Everywhere: as.Everywhere, Grants: as.Grants,
			Source: "file", CreatedBy: as.createdBy, Registration: as.document,
		}
		if !who.Operator {
			one.ID = as.document.ID
		}
		if one.Grants == nil {
			one.Grants = []string{}
		}
		if as.stored {
			one.Source = "api"
		}
		if as.inProcess != nil {
			one.Source, one.URL = "built in", ""
		}
		if d := byID[as.ID]; d != nil {
			one.Delivery = &DeliveryState{
				Transactions: d.Txn, Behind: max(0, s.cfg.Journal.Head()-d.Position), DeliveredTS: d.DeliveredTS,
				Failures: d.Failures, FailingSince: d.FailingSince, LastError: d.LastError,
			}
			if d.Failures == 0 {
				one.Delivery.FailingSince, one.Delivery.LastError = 0, ""
			}
		}
		list = append(list, one)
	}
	return list, nil
}
