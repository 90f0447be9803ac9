package scim

import (
	"strings"

	"github.com/roomline/roomline/internal/matrix"
)

// URNs of schemas and messages.
//
// Spec: RFC 7643 §10.3, RFC 7644 §10.1
const (
	schemaUser       = "urn:ietf:params:scim:schemas:core:2.0:User"
	schemaGroup      = "urn:ietf:params:scim:schemas:core:2.0:Group"
	schemaEnterprise = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
	schemaRoomline   = "urn:roomline:params:scim:schemas:extension:1.0:User"
	schemaRoom       = "urn:roomline:params:scim:schemas:extension:1.0:Group"

	schemaConfig       = "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"
	schemaResourceType = "urn:ietf:params:scim:schemas:core:2.0:ResourceType"
	schemaSchema       = "urn:ietf:params:scim:schemas:core:2.0:Schema"

	messageList   = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
	messagePatch  = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
	messageSearch = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"
	messageBulk   = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
	messageBulked = "urn:ietf:params:scim:api:messages:2.0:BulkResponse"
	messageError  = "urn:ietf:params:scim:api:messages:2.0:Error"
)

// attribute is a line of a schema. The tables below are what /Schemas serves, what values are checked against, and where names in
// filters and paths are looked up.
//
// Spec: RFC 7643 §7
type attribute struct {
	Name        string      `json:"name"`
	Type        string      `json:"type"`
	Multi       bool        `json:"multiValued"`
	Description string      `json:"description"`
	Required    bool        `json:"required"`
	CaseExact   bool        `json:"caseExact"`
	Mutability  string      `json:"mutability"`
	Returned    string      `json:"returned"`
	Uniqueness  string      `json:"uniqueness"`
	References  []string    `json:"referenceTypes,omitempty"`
	Sub         []attribute `json:"subAttributes,omitempty"`
}

const (
	typeString    = "string"
	typeBoolean   = "boolean"
	typeComplex   = "complex"
	typeReference = "reference"
	typeDateTime  = "dateTime"

	readOnly  = "readOnly"
	readWrite = "readWrite"
	immutable = "immutable"
	writeOnly = "writeOnly"
)

// text is an attribute of type string.
func text(name, description string) attribute {
	return attribute{Name: name, Type: typeString, Description: description, Mutability: readWrite, Returned: "default", Uniqueness: "none"}
}

func (a attribute) of(kind string) attribute       { a.Type = kind; return a }
func (a attribute) mutable(how string) attribute   { a.Mutability = how; return a }
func (a attribute) required() attribute            { a.Required = true; return a }
func (a attribute) exact() attribute               { a.CaseExact = true; return a }
func (a attribute) unique(where string) attribute  { a.Uniqueness = where; return a }
func (a attribute) returned(when string) attribute { a.Returned = when; return a }
func (a attribute) refers(kinds ...string) attribute {
	a.Type, a.References = typeReference, kinds
	return a
}
func (a attribute) with(sub ...attribute) attribute    { a.Type, a.Sub = typeComplex, sub; return a }
func (a attribute) several(sub ...attribute) attribute { a = a.with(sub...); a.Multi = true; return a }

// values is a multi-valued attribute of the usual form.
//
// Spec: RFC 7643 §2.4
func values(name, description string) attribute {
	return text(name, description).several(
		text("value", "The value."), text("display", "The value as people read it."), text("type", "What it is for, such as work or home."),
		text("primary", "Whether it is the preferred one.").of(typeBoolean))
}

// userAttributes is the core schema of a user.
//
// Spec: RFC 7643 §4.1
var userAttributes = []attribute{
	text("userName", "The name by which the directory knows the person; unique in the organisation.").required().unique("server"),
	text("name", "The parts of the name.").with(
		text("formatted", "The full name."), text("familyName", "The family name."), text("givenName", "The given name."),
		text("middleName", "The middle names."), text("honorificPrefix", "Such as Dr."), text("honorificSuffix", "Such as III.")),
	text("displayName", "The name that others see."),
	text("nickName", "A casual name."),
	text("profileUrl", "A page about the person.").refers("external"),
	text("title", "The person's title."),
	text("userType", "How the person belongs to the organisation."),
	text("preferredLanguage", "The preferred language."),
	text("locale", "The locale."),
	text("timezone", "The time zone."),
	text("active", "False locks the account: no device of the person can do anything until it is true again.").of(typeBoolean),
	text("password", "A password to sign in with.").mutable(writeOnly).returned("never").exact(),
	values("emails", "E-mail addresses. Nobody else in the organisation may have the same."),
	values("phoneNumbers", "Phone numbers."),
	values("ims", "Addresses for instant messages."),
	values("photos", "A picture, as a data: or mxc: URI."),
	text("addresses", "Postal addresses.").several(
		text("formatted", "The whole address."), text("streetAddress", "Street and number."), text("locality", "City."), text("region", "Region."),
		text("postalCode", "Postal code."), text("country", "Country."), text("type", "What it is for."),
		text("primary", "Whether it is the preferred one.").of(typeBoolean)),
	text("groups", "The groups that the person is in.").several(
		text("value", "The group's id.").mutable(readOnly), text("$ref", "The group.").refers("Group").mutable(readOnly),
		text("display", "The group's name.").mutable(readOnly), text("type", "How the person is in the group.").mutable(readOnly)).mutable(readOnly),
	values("entitlements", "What the person is entitled to; kept and not used."),
	values("roles", "The person's roles in the directory; kept and not used."),
	values("x509Certificates", "Certificates; kept and not used."),
}

// enterpriseAttributes is the extension for companies.
//
// Spec: RFC 7643 §4.3
var enterpriseAttributes = []attribute{
	text("employeeNumber", "The employee's number."),
	text("costCenter", "The cost centre."),
	text("organization", "The organisation."),
	text("division", "The division."),
	text("department", "The department."),
	text("manager", "The manager.").with(
		text("value", "The manager's id."), text("$ref", "The manager.").refers("User").mutable(readOnly),
		text("displayName", "The manager's name.").mutable(readOnly)),
}

// roomlineAttributes is what Matrix adds to a person.
var roomlineAttributes = []attribute{
	text("matrixUserId", "The Matrix user id.").mutable(readOnly).exact().unique("server"),
	text("localpart", "The first half of the Matrix user id; made from userName if it is not given.").mutable(immutable),
	text("domain", "The second half of the Matrix user id, one of the organisation's domains.").mutable(immutable),
}

// groupAttributes is the core schema of a group.
//
// Spec: RFC 7643 §4.2
var groupAttributes = []attribute{
	text("displayName", "The group's name, which its room gets.").required(),
	text("members", "The people in the group.").several(
		text("value", "The person's id.").mutable(immutable), text("$ref", "The person.").refers("User").mutable(immutable),
		text("display", "The person's name.").mutable(readOnly), text("type", "Always User.").mutable(immutable)),
}

// roomAttributes says what a group is in Matrix.
var roomAttributes = []attribute{
	text("kind", "room, space or none: what is made for the group.").mutable(immutable),
	text("roomId", "The room or space. Given when the group is made, it is an existing one of the organisation.").mutable(immutable).exact(),
}

// commonAttributes are those of every resource.
//
// Spec: RFC 7643 §3.1
var commonAttributes = []attribute{
	text("schemas", "The schemas.").exact(),
	text("id", "The id.").mutable(readOnly).exact(),
	text("externalId", "The directory's own id.").exact(),
	text("meta", "About the resource.").mutable(readOnly).with(
		text("resourceType", "User or Group.").exact(), text("created", "When it was made.").of(typeDateTime),
		text("lastModified", "When it was changed last.").of(typeDateTime), text("location", "Where it is.").exact(),
		text("version", "Its ETag.").exact()),
}

// extension is a schema that adds to another one.
type extension struct {
	URN        string
	Name       string
	Attributes []attribute
}

// resourceType is a kind of resource.
type resourceType struct {
	Name, Endpoint, URN string
	Description         string
	Attributes          []attribute
	Extensions          []extension
}

var userType = &resourceType{
	Name: "User", Endpoint: "/Users", URN: schemaUser, Description: "A person of the organisation", Attributes: userAttributes,
	Extensions: []extension{{schemaEnterprise, "EnterpriseUser", enterpriseAttributes}, {schemaRoomline, "RoomlineUser", roomlineAttributes}},
}

var groupType = &resourceType{
	Name: "Group", Endpoint: "/Groups", URN: schemaGroup, Description: "People who share a room or a space", Attributes: groupAttributes,
	Extensions: []extension{{schemaRoom, "RoomlineGroup", roomAttributes}},
}

// find looks an attribute up; names do not tell capitals from small letters.
//
// Spec: RFC 7643 §2.1
func find(list []attribute, name string) *attribute {
	for i := range list {
		if strings.EqualFold(list[i].Name, name) {
			return &list[i]
		}
	}
	return nil
}

// place is where an attribute stands in a resource.
type place struct {
	// Extension is the URN of the extension that the attribute belongs to, or empty.
	Extension string
	Attribute *attribute
	// Sub is nil for the whole attribute.
	Sub *attribute
}

// names are the keys from the resource to the value.
func (p place) names() []string {
	var names []string
	if p.Extension != "" {
		names = append(names, p.Extension)
	}
	names = append(names, p.Attribute.Name)
	if p.Sub != nil {
		names = append(names, p.Sub.Name)
	}
	return names
}

// leaf is the attribute that is meant in the end. Who names a multi-valued attribute means its values.
func (p place) leaf() *attribute {
	if p.Sub != nil {
		return p.Sub
	}
	return p.Attribute
}

// resolve finds what a name such as userName, name.familyName or urn:…:User:department means.
//
// Spec: RFC 7644 §3.10
func (r *resourceType) resolve(name string) (place, error) {
	unknown := invalid("invalidPath", "there is no attribute %q", name)
	rest, list, urn := name, r.Attributes, ""
	if strings.HasPrefix(strings.ToLower(name), "urn:") {
		for _, e := range append([]extension{{URN: r.URN, Attributes: r.Attributes}}, r.Extensions...) {
			if len(name) > len(e.URN) && strings.EqualFold(name[:len(e.URN)], e.URN) && name[len(e.URN)] == ':' {
				rest, list, urn = name[len(e.URN)+1:], e.Attributes, e.URN
			}
		}
		if rest == name {
			return place{}, unknown
		}
		if urn == r.URN {
			urn = ""
		}
	}
	head, sub, nested := strings.Cut(rest, ".")
	p := place{Extension: urn, Attribute: find(list, head)}
	if p.Attribute == nil && urn == "" {
		p.Attribute = find(commonAttributes, head)
	}
	if p.Attribute == nil {
		return place{}, unknown
	}
	if nested {
		if p.Sub = find(p.Attribute.Sub, sub); p.Sub == nil {
			return place{}, unknown
		}
	}
	return p, nil
}

// extensionOf is the extension that a key names, nil if it names none.
func (r *resourceType) extensionOf(key string) *extension {
	for i := range r.Extensions {
		if strings.EqualFold(r.Extensions[i].URN, key) {
			return &r.Extensions[i]
		}
	}
	return nil
}

// invalid is the error of a request that can't be carried out as it stands.
//
// Spec: RFC 7644 §3.12
func invalid(scimType, format string, a ...any) *matrix.Error {
	return matrix.InvalidParam(format, a...).With("scimType", scimType)
}
