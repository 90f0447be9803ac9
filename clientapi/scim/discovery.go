package scim

import (
	"context"
	"strings"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
)

// getConfig says what of SCIM there is.
//
// Spec: RFC 7643 §5
func (s *Server) getConfig(context.Context, *httpapi.Call) (any, error) {
	type supported struct {
		Supported bool `json:"supported"`
	}
	return map[string]any{
		"schemas": []string{schemaConfig},
		"patch":   supported{true},
		"bulk": map[string]any{
			"supported": true, "maxOperations": limits.ScimBulk, "maxPayloadSize": limits.ScimBulkBody,
		},
		"filter":         map[string]any{"supported": true, "maxResults": limits.ScimPage},
		"changePassword": supported{true},
		"sort":           supported{false},
		"etag":           supported{true},
		"authenticationSchemes": []map[string]any{{
			"type": "oauthbearertoken", "name": "Bearer token", "primary": true,
			"description": "The token of an application service with the grant people, or the access token of somebody who manages people",
		}},
		"meta": map[string]any{"resourceType": "ServiceProviderConfig", "location": s.cfg.BaseURL + base + "/ServiceProviderConfig"},
	}, nil
}

var resourceTypes = []*resourceType{userType, groupType}

func (s *Server) resourceTypeOf(r *resourceType) resource {
	extensions := []map[string]any{}
	for _, e := range r.Extensions {
		extensions = append(extensions, map[string]any{"schema": e.URN, "required": false})
	}
	return resource{
		"schemas": []string{schemaResourceType}, "id": r.Name, "name": r.Name, "endpoint": r.Endpoint, "description": r.Description,
		"schema": r.URN, "schemaExtensions": extensions,
		"meta": map[string]any{"resourceType": "ResourceType", "location": s.cfg.BaseURL + base + "/ResourceTypes/" + r.Name},
	}
}

func listOf(list []resource) listResponse {
	return listResponse{Schemas: []string{messageList}, TotalResults: int64(len(list)), StartIndex: 1, ItemsPerPage: len(list), Resources: list}
}

// listResourceTypes says what kinds of resources there are.
//
// Spec: RFC 7643 §6
func (s *Server) listResourceTypes(context.Context, *httpapi.Call) (any, error) {
	var list []resource
	for _, r := range resourceTypes {
		list = append(list, s.resourceTypeOf(r))
	}
	return listOf(list), nil
}

func (s *Server) getResourceType(_ context.Context, c *httpapi.Call) (any, error) {
	for _, r := range resourceTypes {
		if r.Name == c.Path("name") {
			return s.resourceTypeOf(r), nil
		}
	}
	return nil, matrix.NotFound("there is no such type of resource")
}

// schemas are all schemas of resources.
func (s *Server) schemas() []resource {
	var list []resource
	add := func(urn, name, description string, attributes []attribute) {
		list = append(list, resource{
			"schemas": []string{schemaSchema}, "id": urn, "name": name, "description": description, "attributes": attributes,
			"meta": map[string]any{"resourceType": "Schema", "location": s.cfg.BaseURL + base + "/Schemas/" + urn},
		})
	}
	for _, r := range resourceTypes {
		add(r.URN, r.Name, r.Description, r.Attributes)
		for _, e := range r.Extensions {
			add(e.URN, e.Name, "Extension of "+r.Name, e.Attributes)
		}
	}
	return list
}

// listSchemas says what resources are made of.
//
// Spec: RFC 7643 §7
func (s *Server) listSchemas(context.Context, *httpapi.Call) (any, error) {
	return listOf(s.schemas()), nil
}

func (s *Server) getSchema(_ context.Context, c *httpapi.Call) (any, error) {
	for _, schema := range s.schemas() {
		if strings.EqualFold(schema["id"].(string), c.Path("urn")) {
			return schema, nil
		}
	}
	return nil, matrix.NotFound("there is no such schema")
}
