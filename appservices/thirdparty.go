package appservices

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
)

// protocol describes a third-party network, or several of a kind.
//
// Spec: application-service v1.19 §third-party-networks
type protocol struct {
	UserFields     []string             `json:"user_fields"`
	LocationFields []string             `json:"location_fields"`
	Icon           string               `json:"icon"`
	FieldTypes     map[string]fieldType `json:"field_types"`
	Instances      []instance           `json:"instances"`
}

type fieldType struct {
	Regexp      string `json:"regexp"`
	Placeholder string `json:"placeholder"`
}

type instance struct {
	Desc      string         `json:"desc"`
	Icon      string         `json:"icon,omitempty"`
	Fields    map[string]any `json:"fields"`
	NetworkID string         `json:"network_id"`
	// InstanceID is ours: what tells the networks of all application services apart.
	InstanceID string `json:"instance_id"`
}

// place is a room that stands for a third-party location.
type place struct {
	Alias    matrix.RoomAlias `json:"alias"`
	Protocol string           `json:"protocol"`
	Fields   map[string]any   `json:"fields"`
}

// person is a user who stands for a third-party user.
type person struct {
	UserID   matrix.UserID  `json:"userid"`
	Protocol string         `json:"protocol"`
	Fields   map[string]any `json:"fields"`
}

func (p place) valid() bool {
	_, err := matrix.ParseRoomAlias(string(p.Alias))
	return err == nil && p.Protocol != "" && p.Fields != nil
}

func (p person) valid() bool {
	_, err := matrix.ParseUserID(string(p.UserID))
	return err == nil && p.Protocol != "" && p.Fields != nil
}

// getProtocols describes the third-party networks that the requester's organisation reaches.
//
// Spec: client-server v1.19 §third-party-networks, GET /_matrix/client/v3/thirdparty/protocols
func (s *Server) getProtocols(ctx context.Context, c *httpapi.Call) (any, error) {
	all := s.protocols(ctx, s.of(c.Requester), nil)
	if s.cfg.Directory.ByFields != nil {
		all[DirectoryProtocol] = directoryProtocol()
	}
	return all, nil
}

// getProtocolMetadata describes one kind of third-party network.
//
// Spec: client-server v1.19 §third-party-networks, GET /_matrix/client/v3/thirdparty/protocol/{protocol}
func (s *Server) getProtocolMetadata(ctx context.Context, c *httpapi.Call) (any, error) {
	name := c.Path("protocol")
	if name == DirectoryProtocol && s.cfg.Directory.ByFields != nil {
		return directoryProtocol(), nil
	}
	found, ok := s.protocols(ctx, s.of(c.Requester), &name)[name]
	if !ok {
		return nil, unknownProtocol()
	}
	return found, nil
}

func unknownProtocol() *matrix.Error { return matrix.NotFound("there is no such third-party protocol") }

// of lists the application services that somebody's organisation has and that can be asked.
func (s *Server) of(who *httpapi.Requester) []*Registration {
	var list []*Registration
	for _, as := range s.cfg.Registry.services() {
		if (as.organisation == who.Org || as.Everywhere) && as.URL != "" {
			list = append(list, as)
		}
	}
	return list
}

// protocols asks the application services for all protocols, or the one that only names. Where several have the same one, its
// instances are those of all.
func (s *Server) protocols(ctx context.Context, services []*Registration, only *string) map[string]*protocol {
	type question struct {
		as   *Registration
		name string
	}
	var questions []question
	for _, as := range services {
		for _, name := range as.Protocols {
			if only == nil || *only == name {
				questions = append(questions, question{as, name})
			}
		}
	}
	answers := each(questions, func(q question) *protocol {
		var p protocol
		path := "/_matrix/app/v1/thirdparty/protocol/" + url.PathEscape(q.name)
		if !s.get(ctx, q.as, path, nil, &p) || p.UserFields == nil || p.LocationFields == nil || p.FieldTypes == nil {
			return nil
		}
		p.Instances = slices.DeleteFunc(p.Instances, func(i instance) bool { return i.NetworkID == "" || i.Fields == nil })
		for i := range p.Instances {
			p.Instances[i].InstanceID = matrix.InstanceID(q.as.ID, p.Instances[i].NetworkID)
		}
		return &p
	})
	found := make(map[string]*protocol)
	for i, p := range answers {
		name := questions[i].name
		switch {
		case p == nil:
		case found[name] != nil:
			found[name].Instances = append(found[name].Instances, p.Instances...)
		default:
			if p.Instances == nil {
				p.Instances = []instance{}
			}
			found[name] = p
		}
	}
	return found
}

// queryLocationByProtocol finds the rooms that stand for a third-party location.
//
// Spec: client-server v1.19 §third-party-networks, GET /_matrix/client/v3/thirdparty/location/{protocol}
func (s *Server) queryLocationByProtocol(ctx context.Context, c *httpapi.Call) (any, error) {
	return findByProtocol(ctx, s, c, "location", place.valid)
}

// queryUserByProtocol finds the users who stand for a third-party user.
//
// Spec: client-server v1.19 §third-party-networks, GET /_matrix/client/v3/thirdparty/user/{protocol}
func (s *Server) queryUserByProtocol(ctx context.Context, c *httpapi.Call) (any, error) {
	if c.Path("protocol") == DirectoryProtocol {
		return s.findInDirectory(ctx, c)
	}
	return findByProtocol(ctx, s, c, "user", person.valid)
}

// queryLocationByAlias finds what a room stands for.
//
// Spec: client-server v1.19 §third-party-networks, GET /_matrix/client/v3/thirdparty/location
func (s *Server) queryLocationByAlias(ctx context.Context, c *httpapi.Call) (any, error) {
	alias, err := matrix.ParseRoomAlias(c.Query("alias"))
	if err != nil {
		return nil, matrix.InvalidParam("alias must be a room alias")
	}
	return find(ctx, s, s.of(c.Requester), "location", url.Values{"alias": {string(alias)}}, place.valid)
}

// queryUserByID finds whom a user stands for.
//
// Spec: client-server v1.19 §third-party-networks, GET /_matrix/client/v3/thirdparty/user
func (s *Server) queryUserByID(ctx context.Context, c *httpapi.Call) (any, error) {
	user, err := matrix.ParseUserID(c.Query("userid"))
	if err != nil {
		return nil, matrix.InvalidParam("userid must be a user id")
	}
	var known []person
	if s.cfg.Directory.ByID != nil {
		if known, err = inDirectory(s.cfg.Directory.ByID(ctx, c.Requester, user)); err != nil {
			return nil, err
		}
	}
	found, err := find(ctx, s, s.of(c.Requester), "user", url.Values{"userid": {string(user)}}, person.valid)
	if list, ok := found.([]person); ok || len(known) > 0 {
		return append(list, known...), nil
	}
	return found, err
}

// findByProtocol asks the application services that know a protocol, with the fields of the request.
func findByProtocol[T any](ctx context.Context, s *Server, c *httpapi.Call, what string, valid func(T) bool) (any, error) {
	name := c.Path("protocol")
	services := slices.DeleteFunc(s.of(c.Requester), func(as *Registration) bool { return !slices.Contains(as.Protocols, name) })
	if len(services) == 0 {
		return nil, unknownProtocol()
	}
	fields := c.Request.URL.Query()
	fields.Del("access_token")
	if c.Requester.Appservice != "" {
		fields.Del("user_id")
		fields.Del("device_id")
	}
	return find(ctx, s, services, what+"/"+url.PathEscape(name), fields, valid)
}

// find asks application services for a list and returns what all of them found. What does not have the form of T is left out.
func find[T any](ctx context.Context, s *Server, services []*Registration, path string, query url.Values, valid func(T) bool) (any, error) {
	var all []T
	for _, list := range each(services, func(as *Registration) []T {
		var raw []json.RawMessage
		s.get(ctx, as, "/_matrix/app/v1/thirdparty/"+path, query, &raw)
		var found []T
		for _, text := range raw {
			var one T
			if json.Unmarshal(text, &one) == nil && valid(one) {
				found = append(found, one)
			}
		}
		return found
	}) {
		all = append(all, list...)
	}
	if len(all) == 0 {
		return nil, nothingFound()
	}
	return all[:min(len(all), limits.ThirdPartyFound)], nil
}

// get asks an application service for JSON. false: it does not know, or did not answer as it should.
func (s *Server) get(ctx context.Context, as *Registration, path string, query url.Values, into any) bool {
	got, err := s.askEither(ctx, as, path, strings.Replace(path, "/app/v1/", "/app/unstable/", 1), query)
	if err == nil && got.status == http.StatusOK {
		err = json.Unmarshal(got.body, into)
	}
	switch {
	case err != nil && ctx.Err() == nil:
		s.cfg.Log.Info("an application service did not answer as it should", "appservice", as.ID, "error", reason(err))
	case err == nil && got.status != http.StatusOK && got.status != http.StatusNotFound:
		s.cfg.Log.Info("an application service did not answer as it should", "appservice", as.ID, "status", got.status)
	}
	return err == nil && got.status == http.StatusOK
}

// askedAtOnce bounds the application services that one request asks at a time.
const askedAtOnce = 8

// each runs ask for every item, some at a time, and returns the results in the items' order.
func each[Item, Result any](items []Item, ask func(Item) Result) []Result {
	results := make([]Result, len(items))
	var wg sync.WaitGroup
	slots := make(chan struct{}, askedAtOnce)
	for i, item := range items {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			results[i] = ask(item)
		})
	}
	wg.Wait()
	return results
}
