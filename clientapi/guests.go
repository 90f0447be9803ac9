package clientapi

// whileGuest is everything that guests may do; every other route of this server that asks for a token refuses them, those of other
// packages too, so that an endpoint that is added is closed to guests until somebody decides otherwise. Paths are as in the route tables.
//
// It is what a guest needs to take part in the rooms of an invitation, encrypted ones and calls included, and no more: there is no
// directory, no search, nobody's profile or presence, no making of rooms, no inviting, no uploading, no other account than one's own.
// In those rooms the guest sees what a member sees; every room but those is as if it did not exist.
//
// Spec: client-server v1.19 §guest-access
var whileGuest = map[string]bool{
	// The session.
	"GET /_matrix/client/v3/account/whoami": true,
	"POST /_matrix/client/v3/logout":        true,
	"GET /_matrix/client/v3/capabilities":   true,

	// What happens in the rooms.
	"GET /_matrix/client/v3/sync":                            true,
	"POST /_matrix/client/v3/user/{userId}/filter":           true,
	"GET /_matrix/client/v3/user/{userId}/filter/{filterId}": true,
	"GET /_matrix/client/v3/joined_rooms":                    true,
	"POST /_matrix/client/v3/join/{roomIdOrAlias}":           true,
	"POST /_matrix/client/v3/rooms/{roomId}/join":            true,
	"POST /_matrix/client/v3/rooms/{roomId}/leave":           true,

	"GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}":                   true,
	"GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}":                 true,
	"GET /_matrix/client/v3/rooms/{roomId}/messages":                          true,
	"GET /_matrix/client/v3/rooms/{roomId}/members":                           true,
	"GET /_matrix/client/v3/rooms/{roomId}/joined_members":                    true,
	"GET /_matrix/client/v3/rooms/{roomId}/state":                             true,
	"GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}":                 true,
	"GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{$}":             true,
	"GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}":      true,
	"PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}":          true,
	"PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}":          true,
	"PUT /_matrix/client/v3/rooms/{roomId}/typing/{userId}":                   true,
	"POST /_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}":  true,
	"POST /_matrix/client/v3/rooms/{roomId}/read_markers":                     true,
	"PUT /_matrix/client/v3/profile/{userId}/{keyName}":                       true,
	"GET /_matrix/client/v1/media/download/{serverName}/{mediaId}":            true,
	"GET /_matrix/client/v1/media/download/{serverName}/{mediaId}/{fileName}": true,
	"GET /_matrix/client/v1/media/thumbnail/{serverName}/{mediaId}":           true,

	// Encryption.
	"POST /_matrix/client/v3/keys/upload":                     true,
	"POST /_matrix/client/v3/keys/query":                      true,
	"POST /_matrix/client/v3/keys/claim":                      true,
	"GET /_matrix/client/v3/keys/changes":                     true,
	"PUT /_matrix/client/v3/sendToDevice/{eventType}/{txnId}": true,

	// Calls: the membership of one is state of the room, ended by a delayed event when the client is gone.
	"PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}": true,
	"GET /_matrix/client/v3/voip/turnServer":                             true,
	"POST /_matrix/client/v3/user/{userId}/openid/request_token":         true,

	"PUT " + delayedEvents + "/rooms/{roomId}/delayed_event/{eventType}/{txnId}": true,
	"POST " + delayedEvents + "/delayed_events/{delayId}":                        true,
	"POST " + delayedEvents + "/delayed_events/{delayId}/send":                   true,
	"POST " + delayedEvents + "/delayed_events/{delayId}/restart":                true,
	"POST " + delayedEvents + "/delayed_events/{delayId}/cancel":                 true,
}

// GuestMay reports whether a route is open to guests.
func GuestMay(method, path string) bool { return whileGuest[method+" "+path] }
