package clientapi

import "github.com/roomline/roomline/internal/httpapi"

const (
	everyGuest = httpapi.AllGuests
	// sending is not for those who were asked in to look.
	sending = httpapi.SendingGuests
)

// whileGuest is everything that guests may do; every other route of this server that asks for a token refuses them, those of other
// packages too, so that an endpoint that is added is closed to guests until somebody decides otherwise. Paths are as in the route tables.
//
// It is what a guest needs to take part in the rooms of an invitation, encrypted ones and calls included, and no more: there is no
// directory, no search, nobody's profile or presence, no making of rooms, no inviting, no other account than one's own, and of uploads a few.
// In those rooms the guest sees what a member sees; every room but those is as if it did not exist.
//
// Spec: client-server v1.19 §guest-access
var whileGuest = map[string]httpapi.GuestAccess{
	// The session.
	"GET /_matrix/client/v3/account/whoami": everyGuest,
	"POST /_matrix/client/v3/logout":        everyGuest,
	"GET /_matrix/client/v3/capabilities":   everyGuest,

	// What happens in the rooms.
	"GET /_matrix/client/v3/sync":                            everyGuest,
	"POST /_matrix/client/v3/user/{userId}/filter":           everyGuest,
	"GET /_matrix/client/v3/user/{userId}/filter/{filterId}": everyGuest,
	"GET /_matrix/client/v3/pushrules/{$}":                   everyGuest,
	"GET /_matrix/client/v3/joined_rooms":                    everyGuest,
	"POST /_matrix/client/v3/join/{roomIdOrAlias}":           everyGuest,
	"POST /_matrix/client/v3/rooms/{roomId}/join":            everyGuest,
	"POST /_matrix/client/v3/rooms/{roomId}/leave":           everyGuest,

	"GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}":                           everyGuest,
	"GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}":                         everyGuest,
	"GET /_matrix/client/v3/rooms/{roomId}/messages":                                  everyGuest,
	"GET /_matrix/client/v3/rooms/{roomId}/members":                                   everyGuest,
	"GET /_matrix/client/v3/rooms/{roomId}/joined_members":                            everyGuest,
	"GET /_matrix/client/v3/rooms/{roomId}/state":                                     everyGuest,
	"GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}":                         everyGuest,
	"GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{$}":                     everyGuest,
	"GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}":              everyGuest,
	"GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}":                       everyGuest,
	"GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}/{relType}":             everyGuest,
	"GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}/{relType}/{eventType}": everyGuest,
	"POST /_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}":          everyGuest,
	"POST /_matrix/client/v3/rooms/{roomId}/read_markers":                             everyGuest,
	"PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}":                  sending,
	"PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}":                  sending,
	"PUT /_matrix/client/v3/rooms/{roomId}/typing/{userId}":                           sending,

	// The name, and what the guest's own devices tell each other. How much there may be of it is bounded as for everybody.
	"PUT /_matrix/client/v3/profile/{userId}/{keyName}":                       everyGuest,
	"GET /_matrix/client/v3/user/{userId}/account_data/{type}":                everyGuest,
	"PUT /_matrix/client/v3/user/{userId}/account_data/{type}":                everyGuest,
	"GET /_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}": everyGuest,
	"PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}": everyGuest,

	// Files.
	"GET /_matrix/client/v1/media/download/{serverName}/{mediaId}":            everyGuest,
	"GET /_matrix/client/v1/media/download/{serverName}/{mediaId}/{fileName}": everyGuest,
	"GET /_matrix/client/v1/media/thumbnail/{serverName}/{mediaId}":           everyGuest,
	"GET /_matrix/client/v1/media/config":                                     everyGuest,
	"POST /_matrix/media/v3/upload":                                           sending,

	// Encryption.
	"POST /_matrix/client/v3/keys/upload":                     everyGuest,
	"POST /_matrix/client/v3/keys/query":                      everyGuest,
	"POST /_matrix/client/v3/keys/claim":                      everyGuest,
	"GET /_matrix/client/v3/keys/changes":                     everyGuest,
	"POST /_matrix/client/v3/keys/device_signing/upload":      everyGuest,
	"POST /_matrix/client/v3/keys/signatures/upload":          everyGuest,
	"GET /_matrix/client/v3/room_keys/version":                everyGuest,
	"PUT /_matrix/client/v3/sendToDevice/{eventType}/{txnId}": everyGuest,

	// Meetings: who is in one, and, for those who wait, that they do; and whether one agrees to its recording.
	"GET /_roomline/client/v1/rooms/{roomId}/meeting":                    everyGuest,
	"POST /_roomline/client/v1/rooms/{roomId}/meeting/recording/consent": everyGuest,

	// Calls: the membership of one is state of the room, ended by a delayed event when the client is gone.
	"PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}": sending,
	"GET /_matrix/client/v3/voip/turnServer":                             everyGuest,
	"POST /_matrix/client/v3/user/{userId}/openid/request_token":         everyGuest,

	"GET /_matrix/client/v1/rtc/transports":                                  everyGuest,
	"GET /_matrix/client/unstable/org.matrix.msc4143/rtc/transports":         everyGuest,
	"POST /_matrix/client/v1/rtc/livekit/get_token":                          everyGuest,
	"POST /_matrix/client/unstable/io.element.msc4195/rtc/livekit/get_token": everyGuest,
	"GET /_roomline/client/v1/rooms/{roomId}/meeting/phone":                  everyGuest,

	"POST /_matrix/client/v1/rtc/livekit/delegate_delayed_leave":                          everyGuest,
	"POST /_matrix/client/unstable/io.element.msc4195/rtc/livekit/delegate_delayed_leave": everyGuest,

	"PUT " + delayedEvents + "/rooms/{roomId}/delayed_event/{eventType}/{txnId}": sending,
	"POST " + delayedEvents + "/delayed_events/{delayId}":                        sending,
	"POST " + delayedEvents + "/delayed_events/{delayId}/send":                   sending,
	"POST " + delayedEvents + "/delayed_events/{delayId}/restart":                sending,
	"POST " + delayedEvents + "/delayed_events/{delayId}/cancel":                 sending,

	// The meetings whose rooms the guest is in.
	"GET /_roomline/client/v1/meetings":                          everyGuest,
	"GET /_roomline/client/v1/meetings/{meetingId}":              everyGuest,
	"GET /_roomline/client/v1/meetings/{meetingId}/calendar.ics": everyGuest,
	"PUT /_roomline/client/v1/meetings/{meetingId}/answer":       everyGuest,
}

// GuestMay says which guests a route is open to.
func GuestMay(method, path string) httpapi.GuestAccess { return whileGuest[method+" "+path] }
