package appservices

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// What a token with a view may do, in the words of view.act. Without a view a token may do all that the application-service API says.
const (
	actAlways   = "" // asks for nothing that is anybody's
	actRead     = "read"
	actSend     = "send"
	actState    = "state"
	actRooms    = "rooms"
	actRegister = "register"
	actDevices  = "devices"
	actProfile  = "profile"
	actMedia    = "media"
	actPresence = "presence"
	// actDirectory is not in view.act: it is a grant.
	actDirectory = GrantDirectory
)

var acts = []string{actRead, actSend, actState, actRooms, actRegister, actDevices, actProfile, actMedia, actPresence}

// told says what is done with an answer before a token with a view gets it.
type told int

const (
	// plain: there is nothing in it that a view is about.
	plain told = iota
	// events: it has events in it, somewhere.
	events
	// content: it is the content of a state event whose type is in the path.
	content
)

// rule says what a route is to a token with a view.
type rule struct {
	act  string
	told told
}

// accessible are the routes that a token with a view can be allowed. What is not here it may not ask, so that an endpoint that is added is
// closed until somebody decides otherwise: sync among them, because what there is to be told comes in transactions, and searches, because
// what is found says what was written. Paths are without /_matrix/client.
var accessible = map[string]rule{
	"GET /v3/account/whoami":                  {actAlways, plain},
	"GET /v3/capabilities":                    {actAlways, plain},
	"POST /v1/appservice/{appserviceId}/ping": {actAlways, plain},

	"GET /v3/joined_rooms":                                             {actRead, events},
	"GET /v3/rooms/{roomId}/event/{eventId}":                           {actRead, events},
	"GET /v3/rooms/{roomId}/context/{eventId}":                         {actRead, events},
	"GET /v3/rooms/{roomId}/messages":                                  {actRead, events},
	"GET /v3/rooms/{roomId}/members":                                   {actRead, events},
	"GET /v3/rooms/{roomId}/state":                                     {actRead, events},
	"GET /v3/rooms/{roomId}/state/{eventType}":                         {actRead, content},
	"GET /v3/rooms/{roomId}/state/{eventType}/{$}":                     {actRead, content},
	"GET /v3/rooms/{roomId}/state/{eventType}/{stateKey}":              {actRead, content},
	"GET /v1/rooms/{roomId}/relations/{eventId}":                       {actRead, events},
	"GET /v1/rooms/{roomId}/relations/{eventId}/{relType}":             {actRead, events},
	"GET /v1/rooms/{roomId}/relations/{eventId}/{relType}/{eventType}": {actRead, events},
	"GET /v1/rooms/{roomId}/threads":                                   {actRead, events},
	"GET /v1/rooms/{roomId}/timestamp_to_event":                        {actRead, plain},
	"GET /v3/rooms/{roomId}/aliases":                                   {actRead, plain},
	"PUT /v3/rooms/{roomId}/send/{eventType}/{txnId}":                  {actSend, plain},
	"PUT /v3/rooms/{roomId}/redact/{eventId}/{txnId}":                  {actSend, plain},
	"PUT /v3/rooms/{roomId}/typing/{userId}":                           {actSend, plain},
	"POST /v3/rooms/{roomId}/receipt/{receiptType}/{eventId}":          {actSend, plain},
	"POST /v3/rooms/{roomId}/read_markers":                             {actSend, plain},
	"PUT /v3/rooms/{roomId}/state/{eventType}":                         {actState, plain},
	"PUT /v3/rooms/{roomId}/state/{eventType}/{$}":                     {actState, plain},
	"PUT /v3/rooms/{roomId}/state/{eventType}/{stateKey}":              {actState, plain},
	"POST /v3/createRoom":                                              {actRooms, plain},
	"PUT /v3/directory/room/{roomAlias}":                               {actRooms, plain},
	"DELETE /v3/directory/room/{roomAlias}":                            {actRooms, plain},
	"PUT /v3/directory/list/appservice/{networkId}/{roomId}":           {actRooms, plain},
	"POST /v3/join/{roomIdOrAlias}":                                    {actRooms, plain},
	"POST /v3/knock/{roomIdOrAlias}":                                   {actRooms, plain},
	"POST /v3/rooms/{roomId}/join":                                     {actRooms, plain},
	"POST /v3/rooms/{roomId}/leave":                                    {actRooms, plain},
	"POST /v3/rooms/{roomId}/forget":                                   {actRooms, plain},
	"POST /v3/rooms/{roomId}/invite":                                   {actRooms, plain},
	"POST /v3/rooms/{roomId}/kick":                                     {actRooms, plain},
	"POST /v3/rooms/{roomId}/ban":                                      {actRooms, plain},
	"POST /v3/rooms/{roomId}/unban":                                    {actRooms, plain},
	"POST /v3/register":                                                {actRegister, plain},
	"GET /v3/devices":                                                  {actDevices, plain},
	"GET /v3/devices/{deviceId}":                                       {actDevices, plain},
	"PUT /v3/devices/{deviceId}":                                       {actDevices, plain},
	"DELETE /v3/devices/{deviceId}":                                    {actDevices, plain},
	"POST /v3/delete_devices":                                          {actDevices, plain},
	"POST /v3/keys/upload":                                             {actDevices, plain},
	"POST /v3/keys/query":                                              {actDevices, plain},
	"POST /v3/keys/claim":                                              {actDevices, plain},
	"POST /v3/keys/device_signing/upload":                              {actDevices, plain},
	"POST /v3/keys/signatures/upload":                                  {actDevices, plain},
	"PUT /v3/sendToDevice/{eventType}/{txnId}":                         {actDevices, plain},
	"GET /v3/profile/{userId}":                                         {actProfile, plain},
	"GET /v3/profile/{userId}/{keyName}":                               {actProfile, plain},
	"PUT /v3/profile/{userId}/{keyName}":                               {actProfile, plain},
	"DELETE /v3/profile/{userId}/{keyName}":                            {actProfile, plain},
	"GET /v3/presence/{userId}/status":                                 {actPresence, plain},
	"PUT /v3/presence/{userId}/status":                                 {actPresence, plain},
	"GET /v1/media/config":                                             {actMedia, plain},
	"GET /v1/media/download/{serverName}/{mediaId}":                    {actMedia, plain},
	"GET /v1/media/download/{serverName}/{mediaId}/{fileName}":         {actMedia, plain},
	"GET /v1/media/thumbnail/{serverName}/{mediaId}":                   {actMedia, plain},
	"POST /_matrix/media/v3/upload":                                    {actMedia, plain},
	"POST /_matrix/media/v1/create":                                    {actMedia, plain},
	"PUT /_matrix/media/v3/upload/{serverName}/{mediaId}":              {actMedia, plain},
	"POST /v3/user_directory/search":                                   {actDirectory, plain},
	"GET /v3/thirdparty/protocols":                                     {actDirectory, plain},
	"GET /v3/thirdparty/protocol/{protocol}":                           {actDirectory, plain},
	"GET /v3/thirdparty/user/{protocol}":                               {actDirectory, plain},
	"GET /v3/thirdparty/user":                                          {actDirectory, plain},
}

// granted are the parts of the API that a grant opens, to tokens with a view and without. Their handlers ask Requester.May.
var granted = []struct{ prefix, grant string }{
	{"/_roomline/scim/", GrantPeople},
	{"/_roomline/admin/v1/people", GrantPeople},
	{"/_roomline/dav/", GrantContacts},
	{"/_roomline/telephony/", GrantTelephony},
	{"/_roomline/record/", GrantRecord},
}

// scope is what a request with the token of an application service may do: it is the one place where a view is applied to requests.
type scope struct {
	as       *Registration
	accesses *accesses
}

// ruleOf is the rule of a route.
func ruleOf(c *httpapi.Call) (rule, bool) {
	path := c.Route()
	r, ok := accessible[c.Request.Method+" "+strings.TrimPrefix(path, "/_matrix/client")]
	if ok {
		return r, true
	}
	for _, g := range granted {
		if strings.HasPrefix(path, g.prefix) {
			return rule{g.grant, plain}, true
		}
	}
	return rule{"other", plain}, false
}

// Admit refuses what the view does not allow, and counts.
func (s scope) Admit(c *httpapi.Call) error {
	r, known := ruleOf(c)
	err := s.admit(c, r, known)
	s.accesses.count(s.as, r.act, err != nil)
	return err
}

func (s scope) admit(c *httpapi.Call, r rule, known bool) error {
	v := s.as.View
	if v == nil {
		return nil
	}
	allowed := known && (r.act == actAlways || v.acts[r.act] || c.Requester.May(r.act))
	if !allowed {
		return matrix.Forbidden("the application service's registration does not allow this")
	}
	for _, name := range []string{"roomId", "roomIdOrAlias"} {
		if room := c.Path(name); room != "" && !v.showsRoom(matrix.RoomID(room)) {
			return matrix.Forbidden("you are not in this room")
		}
	}
	if typ := c.Path("eventType"); (r.act == actSend || r.act == actState) && typ != "" && !anyGlob(v.sends, typ) {
		return matrix.Forbidden("the application service's registration does not allow events of this type")
	}
	// A session would be a token without a view.
	if strings.HasSuffix(c.Route(), "/register") && !gjson.GetBytes(c.Body, "inhibit_login").Bool() {
		return matrix.NewError(400, matrix.ErrAppserviceLoginUnsupported, "the application service can't sign in as its users; set inhibit_login")
	}
	return nil
}

// Answer narrows an answer.
func (s scope) Answer(c *httpapi.Call, result any) (any, error) {
	v := s.as.View
	r, _ := ruleOf(c)
	if v == nil || r.told == plain {
		return result, nil
	}
	var text []byte
	switch x := result.(type) {
	case httpapi.Raw:
		text = x
	default:
		var err error
		if text, err = json.Marshal(result); err != nil {
			return nil, fmt.Errorf("encode an answer: %w", err)
		}
	}
	left, ok := []byte(nil), false
	if r.told == content && c.Query("format") != "event" {
		left, ok = v.state(c.Path("eventType"), text)
	} else {
		left, ok = v.answer(text)
	}
	if !ok {
		return nil, matrix.NotFound("there is no such event")
	}
	return httpapi.Raw(left), nil
}

// accesses counts what application services do, for the audit log: a line for each access would be all that there is in it.
type accesses struct {
	mu     sync.Mutex
	counts map[accessKey]*accessCount
}

type accessKey struct {
	id           string
	organisation int64
	class        string
	hour         matrix.Timestamp
}

type accessCount struct{ requests, refused int64 }

func (a *accesses) count(as *Registration, class string, refused bool) { a.add(as, class, 1, refused) }

func (a *accesses) add(as *Registration, class string, n int64, refused bool) {
	if class == actAlways {
		class = "about itself"
	}
	key := accessKey{as.ID, as.organisation, class, hourOf(time.Now())}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.counts == nil {
		a.counts = make(map[accessKey]*accessCount)
	}
	c := a.counts[key]
	if c == nil {
		c = new(accessCount)
		a.counts[key] = c
	}
	c.requests += n
	if refused {
		c.refused += n
	}
}

func hourOf(t time.Time) matrix.Timestamp { return matrix.TimestampOf(t.Truncate(time.Hour)) }

// flush writes what was counted.
func (s *Server) flush(ctx context.Context) error {
	a := &s.accesses
	a.mu.Lock()
	counts := a.counts
	a.counts = nil
	a.mu.Unlock()
	if len(counts) == 0 {
		return nil
	}
	list := make([]store.Access, 0, len(counts))
	for key, c := range counts {
		list = append(list, store.Access{
			AppserviceID: key.id, OrganisationID: key.organisation, Class: key.class, HourTS: key.hour, Requests: c.requests, Refused: c.refused,
		})
	}
	err := s.cfg.Store.AddAccess(ctx, list)
	if err != nil {
		// Counted again, for the next time.
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.counts == nil {
			a.counts = counts
			return err
		}
		for key, c := range counts {
			if have := a.counts[key]; have != nil {
				have.requests, have.refused = have.requests+c.requests, have.refused+c.refused
			} else {
				a.counts[key] = c
			}
		}
	}
	return err
}

// audit makes lines of the audit log of the hours that are over.
func (s *Server) audit(ctx context.Context) error {
	return s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		list, err := tx.TakeAccessBefore(ctx, hourOf(s.cfg.Clock.Now()), limits.AccessAtOnce)
		if err != nil || len(list) == 0 {
			return err
		}
		entries := make([]store.AuditEntry, 0, len(list))
		for _, a := range list {
			detail, err := json.Marshal(map[string]any{"class": a.Class, "hour_ts": a.HourTS, "requests": a.Requests, "refused": a.Refused})
			if err != nil {
				return err
			}
			name := strings.TrimPrefix(a.AppserviceID, ownID(a.OrganisationID, ""))
			outcome := store.OutcomeDone
			if a.Refused == a.Requests {
				outcome = store.OutcomeRefused
			}
			entries = append(entries, store.AuditEntry{
				OrganisationID: a.OrganisationID, TS: matrix.TimestampOf(s.cfg.Clock.Now()), Actor: "appservice:" + name,
				Action: "appservice.access", Target: name, Outcome: outcome, Detail: detail,
			})
		}
		return tx.AppendAudit(ctx, entries...)
	})
}
