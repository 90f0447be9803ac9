package clientapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// suspendedRule says whether a suspended user may make a request.
type suspendedRule func(s *Server, ctx context.Context, c *httpapi.Call) error

// whileSuspended is everything that a suspended user may change; reading is never refused. What is not here is refused, so that an
// endpoint that is added is closed until somebody decides otherwise. Paths are those of routes.go without /_matrix/client.
//
// The spec's list is: sign in and out, read, verify devices and write cross-signing data and key backups, leave rooms and reject
// invitations, redact one's own events, deactivate the account. What serves to read is added: searches, the user's own settings
// (secret storage is one of them), how far the user has read, pushers.
//
// Spec: client-server v1.19 §account-suspension
var whileSuspended = map[string]suspendedRule{
	"POST /v3/logout":                nil,
	"POST /v3/logout/all":            nil,
	"POST /v1/login/get_token":       nil,
	"POST /v3/account/password":      nil,
	"POST /v3/account/deactivate":    nil,
	"DELETE /v3/devices/{deviceId}":  nil,
	"POST /v3/delete_devices":        nil,
	"POST /v3/rooms/{roomId}/leave":  nil,
	"POST /v3/rooms/{roomId}/forget": nil,

	"PUT /v3/rooms/{roomId}/redact/{eventId}/{txnId}": (*Server).suspendedRedacts,
	"PUT /v3/rooms/{roomId}/send/{eventType}/{txnId}": (*Server).suspendedRedacts,
	"PUT /v3/sendToDevice/{eventType}/{txnId}":        (*Server).suspendedToDevice,

	"POST /v3/keys/upload":                nil,
	"POST /v3/keys/query":                 nil,
	"POST /v3/keys/claim":                 nil,
	"POST /v3/keys/device_signing/upload": nil,
	"POST /v3/keys/signatures/upload":     nil,

	"POST /v3/room_keys/version":                     nil,
	"PUT /v3/room_keys/version/{version}":            nil,
	"DELETE /v3/room_keys/version/{version}":         nil,
	"PUT /v3/room_keys/keys":                         nil,
	"DELETE /v3/room_keys/keys":                      nil,
	"PUT /v3/room_keys/keys/{roomId}":                nil,
	"DELETE /v3/room_keys/keys/{roomId}":             nil,
	"PUT /v3/room_keys/keys/{roomId}/{sessionId}":    nil,
	"DELETE /v3/room_keys/keys/{roomId}/{sessionId}": nil,

	// MSC3814, a device that receives keys meanwhile; MSC4306, what the user is told of threads.
	"PUT /unstable/org.matrix.msc3814.v1/dehydrated_device":                            nil,
	"DELETE /unstable/org.matrix.msc3814.v1/dehydrated_device":                         nil,
	"POST /unstable/org.matrix.msc3814.v1/dehydrated_device/{deviceId}/events":         nil,
	"PUT /unstable/io.element.msc4306/rooms/{roomId}/thread/{eventId}/subscription":    nil,
	"DELETE /unstable/io.element.msc4306/rooms/{roomId}/thread/{eventId}/subscription": nil,

	"POST /v3/search":                nil,
	"POST /v3/user_directory/search": nil,
	"POST /v3/publicRooms":           nil,

	"PUT /v3/user/{userId}/account_data/{type}":                nil,
	"PUT /v3/user/{userId}/rooms/{roomId}/account_data/{type}": nil,
	"PUT /v3/user/{userId}/rooms/{roomId}/tags/{tag}":          nil,
	"DELETE /v3/user/{userId}/rooms/{roomId}/tags/{tag}":       nil,
	"POST /v3/rooms/{roomId}/receipt/{receiptType}/{eventId}":  nil,
	"POST /v3/rooms/{roomId}/read_markers":                     nil,
	"POST /v3/pushers/set":                                     nil,
	"PUT /v3/pushrules/global/{kind}/{ruleId}":                 nil,
	"DELETE /v3/pushrules/global/{kind}/{ruleId}":              nil,
	"PUT /v3/pushrules/global/{kind}/{ruleId}/enabled":         nil,
	"PUT /v3/pushrules/global/{kind}/{ruleId}/actions":         nil,
}

// heedSuspension is the handler of a route, which refuses suspended users what they may not do.
func (s *Server) heedSuspension(method, path string, handle httpapi.Handler) httpapi.Handler {
	if method == http.MethodGet {
		return handle
	}
	rule, allowed := whileSuspended[method+" "+strings.TrimPrefix(path, "/_matrix/client")]
	if allowed && rule == nil {
		return handle
	}
	return func(ctx context.Context, c *httpapi.Call) (any, error) {
		if c.Requester != nil && c.Requester.Suspended {
			if !allowed {
				return nil, matrix.UserSuspended()
			}
			if err := rule(s, ctx, c); err != nil {
				return nil, err
			}
		}
		return handle(ctx, c)
	}
}

// suspendedRedacts lets users redact their own events. A redaction that has been sent before is found by its transaction later;
// its target is the user's own then as well.
func (s *Server) suspendedRedacts(ctx context.Context, c *httpapi.Call) error {
	target := c.Path("eventId")
	if t := c.Path("eventType"); t == typeRedaction {
		target = gjson.GetBytes(c.Body, "redacts").String()
	} else if t != "" {
		return matrix.UserSuspended()
	}
	id, err := c.RoomID("roomId")
	if err != nil {
		return err
	}
	room, err := s.rooms.Room(ctx, id)
	if _, refused := matrix.AsError(err); refused {
		return matrix.UserSuspended()
	}
	if err != nil {
		return err
	}
	event, err := s.store.GetEvent(ctx, room.NID, matrix.EventID(target))
	if errors.Is(err, store.ErrNotFound) {
		return matrix.UserSuspended()
	}
	if err != nil {
		return fmt.Errorf("look up the event to redact: %w", err)
	}
	if event.Sender != c.Requester.User {
		return matrix.UserSuspended()
	}
	return nil
}

// suspendedToDevice lets users speak to their own devices, and verify anybody's.
func (s *Server) suspendedToDevice(_ context.Context, c *httpapi.Call) error {
	if strings.HasPrefix(c.Path("eventType"), "m.key.verification.") {
		return nil
	}
	allowed := true
	gjson.GetBytes(c.Body, "messages").ForEach(func(user, _ gjson.Result) bool {
		allowed = allowed && user.String() == string(c.Requester.User)
		return allowed
	})
	if !allowed {
		return matrix.UserSuspended()
	}
	return nil
}
