package archtest

import (
	"net/http"
	"strings"
	"testing"

	"github.com/roomline/roomline/appservices"
	"github.com/roomline/roomline/appservices/telephony/inbox"
	"github.com/roomline/roomline/clientapi"
	"github.com/roomline/roomline/clientapi/admin"
	"github.com/roomline/roomline/clientapi/branding"
	"github.com/roomline/roomline/clientapi/contacts"
	"github.com/roomline/roomline/clientapi/guests"
	"github.com/roomline/roomline/clientapi/identity"
	"github.com/roomline/roomline/clientapi/invitations"
	"github.com/roomline/roomline/clientapi/meetings"
	"github.com/roomline/roomline/clientapi/meetings/schedule"
	"github.com/roomline/roomline/clientapi/outbox"
	"github.com/roomline/roomline/clientapi/scim"
	clientsync "github.com/roomline/roomline/clientapi/sync"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/mediaapi"
	"github.com/roomline/roomline/roomserver/federation"
)

// routes are all route tables. Nothing is served, so that empty servers do.
func routes() []httpapi.Route {
	var all []httpapi.Route
	all = append(all, (&clientapi.Server{}).Routes()...)
	all = append(all, (&clientsync.Server{}).Routes()...)
	all = append(all, (&mediaapi.Server{}).Routes()...)
	all = append(all, (&appservices.Server{}).Routes()...)
	all = append(all, (&admin.Server{}).Routes()...)
	all = append(all, (&contacts.Server{}).Routes()...)
	all = append(all, (&scim.Server{}).Routes()...)
	all = append(all, (&identity.Server{}).Routes()...)
	all = append(all, (&outbox.Server{}).Routes()...)
	all = append(all, (&invitations.Server{}).Routes()...)
	all = append(all, (&schedule.Server{}).Routes()...)
	all = append(all, (&guests.Server{}).Routes()...)
	all = append(all, (&meetings.Server{}).Routes()...)
	all = append(all, (&meetings.Server{}).FederationRoutes()...)
	all = append(all, (&branding.Server{}).Routes()...)
	all = append(all, (&inbox.Inbox{}).Routes()...)
	return append(all, federation.Routes(nil, nil, nil)...)
}

// extra are routes that the specification's table does not have, with the reason. Routes that the OpenAPI document describes need none.
var extra = map[string]string{
	"GET /_roomline/client/v1/app_passwords":           "passwords for address books on phones, one for each device",
	"POST /_roomline/client/v1/app_passwords":          "passwords for address books on phones",
	"DELETE /_roomline/client/v1/app_passwords/{id}":   "passwords for address books on phones",
	"POST /_roomline/client/v1/contacts/profile":       "a link to a profile for iPhones",
	"GET /_roomline/client/v1/contacts/profile/{link}": "the profile",
	"GET /_roomline/client/v1/contacts":                "private contacts for the app",
	"GET /_roomline/client/v1/contacts/export":         "private contacts as vCards",
	"POST /_roomline/client/v1/contacts/import":        "private contacts as vCards",
	"GET /_roomline/client/v1/contacts/{contactId}":    "private contacts for the app",
	"PUT /_roomline/client/v1/contacts/{contactId}":    "private contacts for the app",
	"DELETE /_roomline/client/v1/contacts/{contactId}": "private contacts for the app",

	"GET /_roomline/guest/v1/logo/{organisation}": "an organisation's logo, in mails and on the page for guests",
	"GET /_roomline/dev/inbox":                    "the development inbox, with --dev only",
	"GET /_roomline/dev/inbox.json":               "the development inbox",
	"GET /_roomline/dev/inbox/{id}/mail":          "the development inbox",
	"GET /_roomline/dev/inbox/{id}/source":        "the development inbox",
	"GET /_roomline/client/v1/submitToken":        "the page that a mail with a code links to",
	"POST /_roomline/client/v1/submitToken":       "giving a code (submit_url)",

	"GET /_roomline/sso/callback": "where OpenID providers send the browser back to",

	"GET /_synapse/admin/v1/register":  "shared-secret registration, which existing tools use",
	"POST /_synapse/admin/v1/register": "shared-secret registration, which existing tools use",

	"PUT /_matrix/client/unstable/org.matrix.msc4140/rooms/{roomId}/delayed_event/{eventType}/{txnId}": "MSC4140, what ends calls",
	"GET /_matrix/client/unstable/org.matrix.msc4140/delayed_events":                                   "MSC4140",
	"GET /_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delayId}":                         "MSC4140",
	"POST /_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delayId}":                        "MSC4140, the older form",
	"POST /_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delayId}/send":                   "MSC4140",
	"POST /_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delayId}/restart":                "MSC4140",
	"POST /_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delayId}/cancel":                 "MSC4140",
	"POST /_synapse/admin/v1/send_server_notice":                                                       "server notices, which existing tools send",
	"PUT /_synapse/admin/v1/send_server_notice/{txnId}":                                                "server notices, which existing tools send",
	"GET /_matrix/client/unstable/uk.half-shot.msc2666/user/mutual_rooms":                              "mutual rooms as clients of the proposal ask for them",
	"GET /_matrix/client/unstable/im.nheko.summary/summary/{roomIdOrAlias}":                            "room summaries as clients of the proposal ask for them",
	"GET /_matrix/client/unstable/im.nheko.summary/rooms/{roomIdOrAlias}/summary":                      "room summaries as clients of the proposal ask for them",

	"PUT /_matrix/client/unstable/io.element.msc4306/rooms/{roomId}/thread/{eventId}/subscription":    "MSC4306, thread subscriptions",
	"DELETE /_matrix/client/unstable/io.element.msc4306/rooms/{roomId}/thread/{eventId}/subscription": "MSC4306",
	"GET /_matrix/client/unstable/io.element.msc4306/rooms/{roomId}/thread/{eventId}/subscription":    "MSC4306",
	"GET /_matrix/client/unstable/io.element.msc4308/thread_subscriptions":                            "MSC4308, the subscriptions that sliding sync had no room for",

	"PUT /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device":                    "MSC3814, dehydrated devices",
	"GET /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device":                    "MSC3814",
	"DELETE /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device":                 "MSC3814",
	"POST /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device/{deviceId}/events": "MSC3814, as SDKs call it",
	"GET /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device/{deviceId}/events":  "MSC3814, as the proposal has it by now",
	"POST /_matrix/client/v1/media/upload":                                                    "MSC3911, linking media to events, where the proposal has it",
	"POST /_matrix/client/v1/media/copy/{serverName}/{mediaId}":                               "MSC3911",
	"POST /_matrix/client/unstable/org.matrix.msc3911/media/upload":                           "MSC3911",
	"POST /_matrix/client/unstable/org.matrix.msc3911/media/copy/{serverName}/{mediaId}":      "MSC3911",
	"DELETE /_matrix/client/unstable/org.roomline.media/{serverName}/{mediaId}":               "deleting what one uploaded",
	"GET /_roomline/admin/v1/media/deletions":                                                 "receipts of deletions, for an organisation's administrators",

	"POST /_roomline/admin/v1/delete": "an organisation's administrator deletes everything",

	"GET /_roomline/admin/v1/appservices":                           "application services, for administrators",
	"POST /_roomline/admin/v1/appservices":                          "application services, for administrators",
	"GET /_roomline/admin/v1/appservices/{appserviceId}":            "application services, for administrators",
	"DELETE /_roomline/admin/v1/appservices/{appserviceId}":         "application services, for administrators",
	"POST /_roomline/admin/v1/appservices/{appserviceId}/tokens":    "application services, for administrators",
	"GET /_roomline/operator/v1/appservices":                        "application services, for administrators",
	"POST /_roomline/operator/v1/appservices":                       "application services, for administrators",
	"GET /_roomline/operator/v1/appservices/{appserviceId}":         "application services, for administrators",
	"DELETE /_roomline/operator/v1/appservices/{appserviceId}":      "application services, for administrators",
	"POST /_roomline/operator/v1/appservices/{appserviceId}/tokens": "application services, for administrators",

	"GET /_synapse/admin/v1/room/{roomId}/media":                        "media for administrators, as existing tools ask",
	"GET /_synapse/admin/v1/users/{userId}/media":                       "media for administrators, as existing tools ask",
	"DELETE /_synapse/admin/v1/users/{userId}/media":                    "media for administrators, as existing tools ask",
	"GET /_synapse/admin/v1/media/{serverName}/{mediaId}":               "media for administrators, as existing tools ask",
	"DELETE /_synapse/admin/v1/media/{serverName}/{mediaId}":            "media for administrators, as existing tools ask",
	"POST /_synapse/admin/v1/media/quarantine/{serverName}/{mediaId}":   "media for administrators, as existing tools ask",
	"POST /_synapse/admin/v1/media/unquarantine/{serverName}/{mediaId}": "media for administrators, as existing tools ask",
	"POST /_synapse/admin/v1/room/{roomId}/media/quarantine":            "media for administrators, as existing tools ask",
	"POST /_synapse/admin/v1/user/{userId}/media/quarantine":            "media for administrators, as existing tools ask",
	"POST /_synapse/admin/v1/media/protect/{mediaId}":                   "media for administrators, as existing tools ask",
	"POST /_synapse/admin/v1/media/unprotect/{mediaId}":                 "media for administrators, as existing tools ask",
	"POST /_synapse/admin/v1/media/delete":                              "media for administrators, as existing tools ask",
	"POST /_synapse/admin/v1/media/{serverName}/delete":                 "media for administrators, as existing tools ask",
	"POST /_synapse/admin/v1/purge_media_cache":                         "media for administrators, as existing tools ask",
	"GET /_synapse/admin/v1/statistics/users/media":                     "media for administrators, as existing tools ask",

	"POST /_roomline/telephony/v1/lease":                                 "the telephony bridge takes messages",
	"POST /_roomline/telephony/v1/outcomes":                              "the telephony bridge reports what became of messages",
	"GET /_roomline/guest/v1/refuse/{token}":                             "the page on which an address refuses messages",
	"POST /_roomline/guest/v1/refuse/{token}":                            "an address refuses messages",
	"GET /_roomline/admin/v1/messages":                                   "messages that were sent, for administrators",
	"GET /_roomline/admin/v1/messages/spending":                          "what messages cost, for administrators",
	"POST /_roomline/admin/v1/messages/resume":                           "short messages that were paused go on",
	"DELETE /_roomline/operator/v1/messages/refusals/{medium}/{address}": "an address gets messages again",

	"POST /_roomline/guest/v1/open":                  "the page of guests: what an invitation is to",
	"POST /_roomline/guest/v1/code":                  "the page of guests: a code to the invitation's address",
	"POST /_roomline/guest/v1/answer":                "the page of guests: whether an invitation's addressee comes",
	"POST /_roomline/guest/v1/redeem":                "the page of guests: an account for an invitation",
	"GET /_roomline/client/v1/rooms/{roomId}/guests": "the guests in a room",
	"PUT /_roomline/client/v1/guests/{userId}":       "a guest may stay longer",
	"DELETE /_roomline/client/v1/guests/{userId}":    "a guest ends",

	"GET /_matrix/client/v1/rtc/transports":                                               "MSC4143",
	"GET /_matrix/client/unstable/org.matrix.msc4143/rtc/transports":                      "MSC4143",
	"POST /_matrix/client/v1/rtc/livekit/get_token":                                       "MSC4195",
	"POST /_matrix/client/unstable/io.element.msc4195/rtc/livekit/get_token":              "MSC4195",
	"POST /_matrix/client/v1/rtc/livekit/delegate_delayed_leave":                          "MSC4195",
	"POST /_matrix/client/unstable/io.element.msc4195/rtc/livekit/delegate_delayed_leave": "MSC4195",
	"POST /_roomline/livekit/webhook":                                                     "the media server of meetings says what happens",
	"POST /_roomline/rtc/sfu/get":                                                         "MSC4195 as it was: older clients of calls",
	"POST /_matrix/federation/v1/rtc/livekit/get_token":                                   "MSC4195, between servers",
	"POST /_roomline/rtc/get_token":                                                       "MSC4195 as it was",

	"GET /i":                 "the page of guests",
	"GET /i/":                "the page of guests",
	"GET /i/{file}":          "the page of guests",
	"GET /i/{folder}/{file}": "the page of guests",

	"POST /_roomline/client/v1/rooms/{roomId}/meeting/lobby":      "who has to wait to be let into a meeting",
	"POST /_roomline/client/v1/rooms/{roomId}/meeting/admit":      "who waits is let in",
	"POST /_roomline/client/v1/rooms/{roomId}/meeting/deny":       "who waits is sent away",
	"GET /_roomline/client/v1/rooms/{roomId}/meeting":             "who is in a room's meeting, and what one may do there",
	"POST /_roomline/client/v1/rooms/{roomId}/meeting/mute":       "somebody is muted",
	"POST /_roomline/client/v1/rooms/{roomId}/meeting/mute_all":   "all are muted",
	"POST /_roomline/client/v1/rooms/{roomId}/meeting/stop":       "a camera or a share is taken away",
	"POST /_roomline/client/v1/rooms/{roomId}/meeting/publish":    "who may speak, film and share",
	"POST /_roomline/client/v1/rooms/{roomId}/meeting/lock":       "nobody joins the call any more",
	"POST /_roomline/client/v1/rooms/{roomId}/meeting/unlock":     "people may join the call again",
	"POST /_roomline/client/v1/rooms/{roomId}/meeting/lower_hand": "a raised hand is taken down",
	"POST /_roomline/client/v1/rooms/{roomId}/meeting/remove":     "somebody is taken out of the room",
	"POST /_roomline/client/v1/rooms/{roomId}/meeting/role":       "somebody becomes presenter or moderator",
	"POST /_roomline/client/v1/rooms/{roomId}/meeting/end":        "the call ends for all",

	"POST /_roomline/client/v1/rooms/{roomId}/meeting/recording/start":   "a meeting is recorded",
	"POST /_roomline/client/v1/rooms/{roomId}/meeting/recording/stop":    "a meeting is not recorded any more",
	"POST /_roomline/client/v1/rooms/{roomId}/meeting/recording/consent": "somebody agrees to a recording, or does not",
	"POST /_roomline/record/v1/rooms/{roomId}/token":                     "an application service comes to record",

	"GET /_roomline/scim/v2/ServiceProviderConfig": "SCIM, by which directories make and change people",
	"GET /_roomline/scim/v2/ResourceTypes":         "SCIM, by which directories make and change people",
	"GET /_roomline/scim/v2/ResourceTypes/{name}":  "SCIM, by which directories make and change people",
	"GET /_roomline/scim/v2/Schemas":               "SCIM, by which directories make and change people",
	"GET /_roomline/scim/v2/Schemas/{urn}":         "SCIM, by which directories make and change people",
	"GET /_roomline/scim/v2/Users":                 "SCIM, by which directories make and change people",
	"POST /_roomline/scim/v2/Users":                "SCIM, by which directories make and change people",
	"POST /_roomline/scim/v2/Users/.search":        "SCIM, by which directories make and change people",
	"GET /_roomline/scim/v2/Users/{id}":            "SCIM, by which directories make and change people",
	"PUT /_roomline/scim/v2/Users/{id}":            "SCIM, by which directories make and change people",
	"PATCH /_roomline/scim/v2/Users/{id}":          "SCIM, by which directories make and change people",
	"DELETE /_roomline/scim/v2/Users/{id}":         "SCIM, by which directories make and change people",
	"GET /_roomline/scim/v2/Groups":                "SCIM, by which directories make and change people",
	"POST /_roomline/scim/v2/Groups":               "SCIM, by which directories make and change people",
	"POST /_roomline/scim/v2/Groups/.search":       "SCIM, by which directories make and change people",
	"GET /_roomline/scim/v2/Groups/{id}":           "SCIM, by which directories make and change people",
	"PUT /_roomline/scim/v2/Groups/{id}":           "SCIM, by which directories make and change people",
	"PATCH /_roomline/scim/v2/Groups/{id}":         "SCIM, by which directories make and change people",
	"DELETE /_roomline/scim/v2/Groups/{id}":        "SCIM, by which directories make and change people",
	"POST /_roomline/scim/v2/Bulk":                 "SCIM, by which directories make and change people",

	"POST /_matrix/client/v4/sync":                                     "MSC4186, simplified sliding sync",
	"POST /_matrix/client/unstable/org.matrix.simplified_msc3575/sync": "MSC4186 in the form that Element X speaks",
}

// differing are endpoints whose access differs from the specification's table, with the reason.
var differing = map[string]string{
	"GET /_matrix/client/versions":                         "a token is optional there; ours answers everybody alike",
	"POST /_matrix/client/v3/account/password":             "who has forgotten the password has no token; the text says so",
	"GET /_matrix/identity/v2/validate/email/submitToken":  "people open it from a mail, with no token; the text says so",
	"GET /_matrix/identity/v2/validate/msisdn/submitToken": "people open it from a short message, with no token",
	"GET /_matrix/client/v1/room_summary/{roomIdOrAlias}":  "a signed request there, by mistake; its text speaks of users with and without a token",
}

// acceptable is how a route may ask who is there, by the table's word.
var acceptable = map[string][]httpapi.AuthClass{
	"none":       {httpapi.NoAuth, httpapi.OptionalToken},
	"token":      {httpapi.AccessToken},
	"appservice": {httpapi.AppserviceToken},
	"signed":     {httpapi.SignedRequest},
	"identity":   {httpapi.IdentityToken},
}

// nameOf is the endpoint that a route serves.
func nameOf(r httpapi.Route) string {
	name := r.Method + " " + strings.TrimSuffix(r.Path, "{$}")
	// An empty state key may be written with or without the last slash.
	if emptyKey := "/rooms/{roomId}/state/{eventType}"; strings.HasSuffix(strings.TrimSuffix(name, "/"), emptyKey) {
		name = strings.TrimSuffix(name, "/") + "/{stateKey}"
	}
	return name
}

// isCardDAV reports a route of address books, which are specified elsewhere: RFC 6352, RFC 6764.
func isCardDAV(r httpapi.Route) bool {
	return strings.HasPrefix(r.Path, "/_roomline/dav") || r.Path == "/.well-known/carddav"
}

func TestRoutesAreThoseOfTheSpecification(t *testing.T) {
	table := map[string]Endpoint{}
	for _, e := range Endpoints() {
		table[e.Name()] = e
	}
	seen := map[string]bool{}
	for _, r := range routes() {
		name := nameOf(r)
		e, ok := table[name]
		if !ok && extra[name] == "" && r.Doc == nil && !isCardDAV(r) {
			t.Errorf("%s %s is not in the specification, nor in the list of extras, nor documented", r.Method, r.Path)
		}
		if !ok {
			continue
		}
		seen[name] = true
		fits := differing[name] != ""
		for _, class := range acceptable[e.Auth] {
			fits = fits || r.Auth == class
		}
		if !fits {
			t.Errorf("%s: the route's auth class is %d, the specification says %s", name, r.Auth, e.Auth)
		}
		if e.RateLimited && r.Limit == "" {
			t.Errorf("%s is to be rate-limited, and has no limit", name)
		}
		if r.Method == http.MethodGet && r.MaxBody > 1<<20 {
			t.Errorf("%s: a GET with a large body", name)
		}
	}
	references, err := References("../..")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, r := range references {
		for _, e := range r.Endpoints {
			documented[e] = true
		}
	}
	for name := range seen {
		if !documented[name] {
			t.Errorf("no handler has a Spec comment for %s", name)
		}
	}
}
