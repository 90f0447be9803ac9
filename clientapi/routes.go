package clientapi

import (
	"net/http"

	"github.com/roomline/roomline/clientapi/sso"
	"github.com/roomline/roomline/clientapi/verify"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/ratelimit"
)

const (
	get    = http.MethodGet
	put    = http.MethodPut
	post   = http.MethodPost
	remove = http.MethodDelete

	nobody   = httpapi.NoAuth
	token    = httpapi.AccessToken
	optional = httpapi.OptionalToken
	secret   = httpapi.SharedSecret

	unlimited = ""

	delayedEvents = "/_matrix/client/unstable/org.matrix.msc4140"
)

// Routes is every endpoint, in the order of the spec: method, path, who may ask, rate limit, handler.
func (s *Server) Routes() []httpapi.Route {
	table := []struct {
		method, path string
		auth         httpapi.AuthClass
		limit        string
		handle       httpapi.Handler
	}{
		// §server-discovery
		{get, "/.well-known/matrix/client", nobody, unlimited, s.getWellKnownClient},
		{get, "/.well-known/matrix/server", nobody, unlimited, s.getWellKnownServer},
		{get, "/.well-known/matrix/support", nobody, unlimited, s.getWellKnownSupport},
		{get, "/.well-known/matrix/policy_server", nobody, unlimited, s.getWellKnownPolicyServer},
		{get, "/_matrix/client/versions", nobody, unlimited, s.getVersions},

		// §client-authentication
		{get, "/_matrix/client/v3/login", nobody, ratelimit.Read, s.getLoginFlows},
		{post, "/_matrix/client/v3/login", nobody, ratelimit.Login, httpapi.JSON(s.login)},
		{post, "/_matrix/client/v1/login/get_token", token, ratelimit.LoginToken, httpapi.OptionalJSON(s.generateLoginToken)},
		{get, "/_matrix/client/v3/login/sso/redirect", nobody, ratelimit.Login, s.sso.Redirect},
		{get, "/_matrix/client/v3/login/sso/redirect/{idpId}", nobody, ratelimit.Login, s.sso.Redirect},
		{get, sso.CallbackPath, nobody, ratelimit.Login, s.sso.Callback},
		{post, "/_matrix/client/v3/refresh", nobody, ratelimit.Refresh, httpapi.JSON(s.refresh)},
		{post, "/_matrix/client/v3/logout", token, unlimited, s.logout},
		{post, "/_matrix/client/v3/logout/all", token, unlimited, s.logoutAll},
		{post, "/_matrix/client/v3/register", nobody, ratelimit.Register, httpapi.OptionalJSON(s.register)},
		{get, "/_matrix/client/v3/register/available", nobody, ratelimit.Probe, s.getUsernameAvailable},
		{get, "/_matrix/client/v1/register/m.login.registration_token/validity", nobody, ratelimit.Probe, s.getRegistrationTokenValidity},
		{post, "/_matrix/client/v3/register/email/requestToken", nobody, ratelimit.CodeCheck, httpapi.JSON(s.requestTokenToRegisterEmail)},
		{post, "/_matrix/client/v3/register/msisdn/requestToken", nobody, ratelimit.CodeCheck, httpapi.JSON(s.requestTokenToRegisterMsisdn)},
		{post, "/_matrix/client/v3/account/password", optional, ratelimit.Account, httpapi.JSON(s.changePassword)},
		{post, "/_matrix/client/v3/account/password/email/requestToken", nobody, ratelimit.CodeCheck, httpapi.JSON(s.requestTokenToResetPasswordEmail)},
		{post, "/_matrix/client/v3/account/password/msisdn/requestToken", nobody, ratelimit.CodeCheck, httpapi.JSON(s.requestTokenToResetPasswordMsisdn)},
		{post, "/_matrix/client/v3/account/deactivate", token, ratelimit.Account, httpapi.OptionalJSON(s.deactivateAccount)},
		{get, "/_matrix/client/v3/account/3pid", token, ratelimit.Read, s.getAccount3PIDs},
		{post, "/_matrix/client/v3/account/3pid", token, ratelimit.Account, httpapi.JSON(s.post3PIDs)},
		{post, "/_matrix/client/v3/account/3pid/add", token, ratelimit.Account, httpapi.JSON(s.add3PID)},
		{post, "/_matrix/client/v3/account/3pid/bind", token, ratelimit.Account, httpapi.JSON(s.bind3PID)},
		{post, "/_matrix/client/v3/account/3pid/delete", token, ratelimit.Account, httpapi.JSON(s.delete3PID)},
		{post, "/_matrix/client/v3/account/3pid/unbind", token, ratelimit.Account, httpapi.JSON(s.unbind3PID)},
		{post, "/_matrix/client/v3/account/3pid/email/requestToken", optional, ratelimit.CodeCheck, httpapi.JSON(s.requestTokenTo3PIDEmail)},
		{post, "/_matrix/client/v3/account/3pid/msisdn/requestToken", optional, ratelimit.CodeCheck, httpapi.JSON(s.requestTokenTo3PIDMsisdn)},
		{get, verify.SubmitPath, nobody, ratelimit.CodeCheck, s.verifier.ShowPage},
		{post, verify.SubmitPath, nobody, ratelimit.CodeCheck, s.verifier.Submit},
		{get, "/_matrix/client/v3/account/whoami", token, ratelimit.Read, s.getTokenOwner},

		// §capabilities-negotiation
		{get, "/_matrix/client/v3/capabilities", token, ratelimit.Read, s.getCapabilities},

		// §sending-events-to-a-room, §redactions, §getting-events-for-a-room
		{get, "/_matrix/client/v3/rooms/{roomId}/event/{eventId}", token, ratelimit.Read, s.getOneRoomEvent},
		{get, "/_matrix/client/v3/rooms/{roomId}/joined_members", token, ratelimit.Read, s.getJoinedMembersByRoom},
		{get, "/_matrix/client/v3/rooms/{roomId}/members", token, ratelimit.Read, s.getMembersByRoom},
		{get, "/_matrix/client/v3/rooms/{roomId}/state", token, ratelimit.Read, s.getRoomState},
		{get, "/_matrix/client/v3/rooms/{roomId}/state/{eventType}", token, ratelimit.Read, s.getRoomStateEvent},
		{get, "/_matrix/client/v3/rooms/{roomId}/state/{eventType}/{$}", token, ratelimit.Read, s.getRoomStateEvent},
		{get, "/_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}", token, ratelimit.Read, s.getRoomStateEvent},
		{get, "/_matrix/client/v3/rooms/{roomId}/messages", token, ratelimit.Read, s.getRoomEvents},
		{put, "/_matrix/client/v3/rooms/{roomId}/state/{eventType}", token, ratelimit.Send, s.setRoomState},
		{put, "/_matrix/client/v3/rooms/{roomId}/state/{eventType}/{$}", token, ratelimit.Send, s.setRoomState},
		{put, "/_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}", token, ratelimit.Send, s.setRoomState},
		{put, "/_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}", token, ratelimit.Send, s.sendMessage},
		{put, "/_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}", token, ratelimit.Send, s.redactEvent},

		// MSC4140 (delayed events)
		{put, delayedEvents + "/rooms/{roomId}/delayed_event/{eventType}/{txnId}", token, ratelimit.Send, httpapi.JSON(s.scheduleEvent)},
		{get, delayedEvents + "/delayed_events", token, ratelimit.Read, s.delayed.List},
		{get, delayedEvents + "/delayed_events/{delayId}", token, ratelimit.Read, s.delayed.Get},
		{post, delayedEvents + "/delayed_events/{delayId}", optional, ratelimit.Read, httpapi.JSON(s.delayed.Update)},
		{post, delayedEvents + "/delayed_events/{delayId}/send", optional, ratelimit.Read, s.delayed.Send},
		{post, delayedEvents + "/delayed_events/{delayId}/restart", optional, ratelimit.Read, s.delayed.Restart},
		{post, delayedEvents + "/delayed_events/{delayId}/cancel", optional, ratelimit.Read, s.delayed.Cancel},

		// §syncing, the deprecated forms
		{get, "/_matrix/client/v3/events", token, ratelimit.Read, s.getEvents},
		{get, "/_matrix/client/v3/events/{eventId}", token, ratelimit.Read, s.getOneEvent},
		{get, "/_matrix/client/v3/initialSync", token, ratelimit.Read, s.initialSync},
		{get, "/_matrix/client/v3/rooms/{roomId}/initialSync", token, ratelimit.Read, s.roomInitialSync},

		// §relationships-api
		{get, "/_matrix/client/v1/rooms/{roomId}/relations/{eventId}", token, ratelimit.Read, s.getRelatingEvents},
		{get, "/_matrix/client/v1/rooms/{roomId}/relations/{eventId}/{relType}", token, ratelimit.Read, s.getRelatingEvents},
		{get, "/_matrix/client/v1/rooms/{roomId}/relations/{eventId}/{relType}/{eventType}", token, ratelimit.Read, s.getRelatingEvents},

		// §creation, §room-aliases
		{post, "/_matrix/client/v3/createRoom", token, ratelimit.Room, httpapi.JSON(s.createRoom)},
		{get, "/_matrix/client/v3/directory/room/{roomAlias}", optional, ratelimit.Read, s.getRoomIDByAlias},
		{put, "/_matrix/client/v3/directory/room/{roomAlias}", token, ratelimit.Room, httpapi.JSON(s.setRoomAlias)},
		{remove, "/_matrix/client/v3/directory/room/{roomAlias}", token, ratelimit.Room, s.deleteRoomAlias},
		{get, "/_matrix/client/v3/rooms/{roomId}/aliases", token, ratelimit.Read, s.getLocalAliases},

		// §room-membership
		{get, "/_matrix/client/v3/joined_rooms", token, ratelimit.Read, s.listJoinedRooms},
		{post, "/_matrix/client/v3/rooms/{roomId}/invite", token, ratelimit.Room, httpapi.JSON(s.inviteUser)},
		{post, "/_matrix/client/v3/join/{roomIdOrAlias}", token, ratelimit.Room, httpapi.OptionalJSON(s.joinRoom)},
		{post, "/_matrix/client/v3/rooms/{roomId}/join", token, ratelimit.Room, httpapi.OptionalJSON(s.joinRoomByID)},
		{post, "/_matrix/client/v3/knock/{roomIdOrAlias}", token, ratelimit.Room, httpapi.OptionalJSON(s.knockRoom)},
		{post, "/_matrix/client/v3/rooms/{roomId}/forget", token, ratelimit.Room, s.forgetRoom},
		{post, "/_matrix/client/v3/rooms/{roomId}/leave", token, ratelimit.Room, httpapi.OptionalJSON(s.leaveRoom)},
		{post, "/_matrix/client/v3/rooms/{roomId}/kick", token, ratelimit.Room, httpapi.JSON(s.kickUser)},
		{post, "/_matrix/client/v3/rooms/{roomId}/ban", token, ratelimit.Room, httpapi.JSON(s.banUser)},
		{post, "/_matrix/client/v3/rooms/{roomId}/unban", token, ratelimit.Room, httpapi.JSON(s.unbanUser)},

		{get, "/_matrix/client/v1/mutual_rooms", token, ratelimit.Search, s.getMutualRooms},
		{get, "/_matrix/client/unstable/uk.half-shot.msc2666/user/mutual_rooms", token, ratelimit.Search, s.getMutualRoomsUnstable},

		// §room-discovery, §joining-rooms
		{get, "/_matrix/client/v3/directory/list/room/{roomId}", optional, ratelimit.Read, s.getRoomVisibility},
		{put, "/_matrix/client/v3/directory/list/room/{roomId}", token, ratelimit.Room, httpapi.OptionalJSON(s.setRoomVisibility)},
		{put, "/_matrix/client/v3/directory/list/appservice/{networkId}/{roomId}", httpapi.AppserviceToken, ratelimit.Room,
			httpapi.JSON(s.setNetworkVisibility)},
		{get, "/_matrix/client/v3/publicRooms", optional, ratelimit.Search, s.getPublicRooms},
		{post, "/_matrix/client/v3/publicRooms", token, ratelimit.Search, httpapi.OptionalJSON(s.queryPublicRooms)},
		{get, "/_matrix/client/v1/room_summary/{roomIdOrAlias}", optional, ratelimit.Search, s.getRoomSummary},
		{get, "/_matrix/client/unstable/im.nheko.summary/summary/{roomIdOrAlias}", optional, ratelimit.Search, s.getRoomSummary},
		{get, "/_matrix/client/unstable/im.nheko.summary/rooms/{roomIdOrAlias}/summary", optional, ratelimit.Search, s.getRoomSummary},

		// §user-directory
		{post, "/_matrix/client/v3/user_directory/search", token, ratelimit.Search, httpapi.JSON(s.searchUserDirectory)},

		// §profiles
		{get, "/_matrix/client/v3/profile/{userId}", optional, unlimited, s.getProfile},
		{get, "/_matrix/client/v3/profile/{userId}/{keyName}", optional, unlimited, s.getProfileField},
		{put, "/_matrix/client/v3/profile/{userId}/{keyName}", token, ratelimit.Account, httpapi.JSON(s.putProfileField)},
		{remove, "/_matrix/client/v3/profile/{userId}/{keyName}", token, ratelimit.Account, s.deleteProfileField},

		// §typing-notifications, §receipts, §fully-read-markers
		{put, "/_matrix/client/v3/rooms/{roomId}/typing/{userId}", token, ratelimit.Send, httpapi.JSON(s.setTyping)},
		{post, "/_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}", token, ratelimit.Send, httpapi.OptionalJSON(s.postReceipt)},
		{post, "/_matrix/client/v3/rooms/{roomId}/read_markers", token, ratelimit.Send, httpapi.JSON(s.setReadMarker)},

		// §presence
		{put, "/_matrix/client/v3/presence/{userId}/status", token, ratelimit.Account, httpapi.JSON(s.presence.SetStatus)},
		{get, "/_matrix/client/v3/presence/{userId}/status", token, ratelimit.Read, s.presence.GetStatus},

		// §send-to-device-messaging
		{put, "/_matrix/client/v3/sendToDevice/{eventType}/{txnId}", token, ratelimit.ToDevice, httpapi.JSON(s.sendToDevice)},

		// §voice-over-ip, §openid
		{get, "/_matrix/client/v3/voip/turnServer", token, ratelimit.Read, s.getTURNServer},
		{post, "/_matrix/client/v3/user/{userId}/openid/request_token", token, ratelimit.Account, s.requestOpenIDToken},

		// §device-management
		{get, "/_matrix/client/v3/devices", token, unlimited, s.listDevices},
		{get, "/_matrix/client/v3/devices/{deviceId}", token, unlimited, s.getDevice},
		{put, "/_matrix/client/v3/devices/{deviceId}", token, unlimited, httpapi.JSON(s.putDevice)},
		{remove, "/_matrix/client/v3/devices/{deviceId}", token, unlimited, httpapi.OptionalJSON(s.deleteDevice)},
		{post, "/_matrix/client/v3/delete_devices", token, unlimited, httpapi.JSON(s.deleteDevices)},

		// §server-side-key-backups
		{post, "/_matrix/client/v3/room_keys/version", token, ratelimit.Read, httpapi.JSON(s.keys.PostRoomKeysVersion)},
		{get, "/_matrix/client/v3/room_keys/version", token, ratelimit.Read, s.keys.GetRoomKeysVersionCurrent},
		{get, "/_matrix/client/v3/room_keys/version/{version}", token, ratelimit.Read, s.keys.GetRoomKeysVersion},
		{put, "/_matrix/client/v3/room_keys/version/{version}", token, ratelimit.Read, httpapi.JSON(s.keys.PutRoomKeysVersion)},
		{remove, "/_matrix/client/v3/room_keys/version/{version}", token, ratelimit.Read, s.keys.DeleteRoomKeysVersion},
		{put, "/_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}", token, ratelimit.Read, httpapi.JSON(s.keys.PutRoomKeyBySessionID)},
		{get, "/_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}", token, ratelimit.Read, s.keys.GetRoomKeyBySessionID},
		{remove, "/_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}", token, ratelimit.Read, s.keys.DeleteRoomKeyBySessionID},
		{put, "/_matrix/client/v3/room_keys/keys/{roomId}", token, ratelimit.Backup, httpapi.JSON(s.keys.PutRoomKeysByRoomID)},
		{get, "/_matrix/client/v3/room_keys/keys/{roomId}", token, ratelimit.Read, s.keys.GetRoomKeysByRoomID},
		{remove, "/_matrix/client/v3/room_keys/keys/{roomId}", token, ratelimit.Read, s.keys.DeleteRoomKeysByRoomID},
		{put, "/_matrix/client/v3/room_keys/keys", token, ratelimit.Backup, httpapi.JSON(s.keys.PutRoomKeys)},
		{get, "/_matrix/client/v3/room_keys/keys", token, ratelimit.Read, s.keys.GetRoomKeys},
		{remove, "/_matrix/client/v3/room_keys/keys", token, ratelimit.Read, s.keys.DeleteRoomKeys},

		// MSC3814 (dehydrated devices)
		{put, "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device", token, ratelimit.Keys, httpapi.JSON(s.keys.PutDehydratedDevice)},
		{get, "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device", token, ratelimit.Keys, s.keys.GetDehydratedDevice},
		{remove, "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device", token, ratelimit.Keys, s.keys.DeleteDehydratedDevice},
		{post, "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device/{deviceId}/events", token, ratelimit.Keys, httpapi.OptionalJSON(s.keys.PostDehydratedEvents)},
		{get, "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device/{deviceId}/events", token, ratelimit.Keys, s.keys.GetDehydratedEvents},

		// §client-config
		{put, "/_matrix/client/v3/user/{userId}/account_data/{type}", token, ratelimit.Read, s.setAccountData},
		{get, "/_matrix/client/v3/user/{userId}/account_data/{type}", token, ratelimit.Read, s.getAccountData},
		{put, "/_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}", token, ratelimit.Read, s.setAccountDataPerRoom},
		{get, "/_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}", token, ratelimit.Read, s.getAccountDataPerRoom},

		// §room-tagging
		{get, "/_matrix/client/v3/user/{userId}/rooms/{roomId}/tags", token, ratelimit.Read, s.getRoomTags},
		{put, "/_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}", token, ratelimit.Read, httpapi.OptionalJSON(s.setRoomTag)},
		{remove, "/_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}", token, ratelimit.Read, s.deleteRoomTag},

		// §end-to-end-encryption
		{post, "/_matrix/client/v3/keys/device_signing/upload", token, ratelimit.Keys, httpapi.JSON(s.keys.UploadCrossSigningKeys)},
		{post, "/_matrix/client/v3/keys/signatures/upload", token, ratelimit.Keys, httpapi.JSON(s.keys.UploadSignatures)},
		{post, "/_matrix/client/v3/keys/upload", token, ratelimit.Keys, httpapi.JSON(s.keys.UploadKeys)},
		{post, "/_matrix/client/v3/keys/query", token, ratelimit.Keys, httpapi.JSON(s.keys.QueryKeys)},
		{post, "/_matrix/client/v3/keys/claim", token, ratelimit.Keys, httpapi.JSON(s.keys.ClaimKeys)},
		{get, "/_matrix/client/v3/keys/changes", token, ratelimit.Keys, s.keys.GetKeysChanges},

		// §push-notifications
		{get, "/_matrix/client/v3/pushers", token, ratelimit.Read, s.push.GetPushers},
		{post, "/_matrix/client/v3/pushers/set", token, ratelimit.Account, httpapi.JSON(s.push.SetPusher)},

		// §listing-notifications
		{get, "/_matrix/client/v3/notifications", token, ratelimit.Read, s.getNotifications},

		// §push-rules-api
		{get, "/_matrix/client/v3/pushrules/{$}", token, ratelimit.Read, s.push.GetAll},
		{get, "/_matrix/client/v3/pushrules/global/{$}", token, ratelimit.Read, s.push.GetGlobal},
		{get, "/_matrix/client/v3/pushrules/global/{kind}/{ruleId}", token, ratelimit.Read, s.push.GetRule},
		{put, "/_matrix/client/v3/pushrules/global/{kind}/{ruleId}", token, ratelimit.Read, httpapi.JSON(s.push.PutRule)},
		{remove, "/_matrix/client/v3/pushrules/global/{kind}/{ruleId}", token, ratelimit.Read, s.push.DeleteRule},
		{get, "/_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled", token, ratelimit.Read, s.push.GetEnabled},
		{put, "/_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled", token, ratelimit.Read, httpapi.JSON(s.push.PutEnabled)},
		{get, "/_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions", token, ratelimit.Read, s.push.GetActions},
		{put, "/_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions", token, ratelimit.Read, httpapi.JSON(s.push.PutActions)},

		// §event-context
		{get, "/_matrix/client/v3/rooms/{roomId}/context/{eventId}", token, ratelimit.Read, s.getEventContext},

		{get, "/_matrix/client/v1/rooms/{roomId}/timestamp_to_event", token, ratelimit.Read, s.getEventByTimestamp},

		// §server-side-search
		{post, "/_matrix/client/v3/search", token, ratelimit.Search, httpapi.JSON(s.search.Search)},

		// §threading
		{get, "/_matrix/client/v1/rooms/{roomId}/threads", token, ratelimit.Read, s.getThreadRoots},

		// §server-administration
		{get, "/_matrix/client/v3/admin/whois/{userId}", token, ratelimit.Read, s.getWhoIs},
		{get, "/_matrix/client/v1/admin/suspend/{userId}", token, ratelimit.Read, s.getAdminSuspendUser},
		{put, "/_matrix/client/v1/admin/suspend/{userId}", token, ratelimit.Account, httpapi.JSON(s.setAdminSuspendUser)},
		{get, "/_matrix/client/v1/admin/lock/{userId}", token, ratelimit.Read, s.getAdminLockUser},
		{put, "/_matrix/client/v1/admin/lock/{userId}", token, ratelimit.Account, httpapi.JSON(s.setAdminLockUser)},

		// §reporting-content
		{post, "/_matrix/client/v3/rooms/{roomId}/report", token, ratelimit.Report, httpapi.JSON(s.reportRoom)},
		{post, "/_matrix/client/v3/rooms/{roomId}/report/{eventId}", token, ratelimit.Report, httpapi.OptionalJSON(s.reportEvent)},
		{post, "/_matrix/client/v3/users/{userId}/report", token, ratelimit.Report, httpapi.JSON(s.reportUser)},

		// §room-upgrades
		{post, "/_matrix/client/v3/rooms/{roomId}/upgrade", token, ratelimit.Room, httpapi.JSON(s.upgradeRoom)},

		// §spaces
		{get, "/_matrix/client/v1/rooms/{roomId}/hierarchy", token, ratelimit.Search, s.getSpaceHierarchy},

		// MSC4306 (thread subscriptions)
		{put, threadSubscriptions, token, ratelimit.Read, httpapi.JSON(s.subscribeThread)},
		{remove, threadSubscriptions, token, ratelimit.Read, s.unsubscribeThread},
		{get, threadSubscriptions, token, ratelimit.Read, s.getThreadSubscription},

		// §server-notices, through the endpoint that existing tools use
		{post, "/_synapse/admin/v1/send_server_notice", token, ratelimit.Read, httpapi.OptionalJSON(s.sendServerNotice)},
		{put, "/_synapse/admin/v1/send_server_notice/{txnId}", token, ratelimit.Read, httpapi.OptionalJSON(s.sendServerNoticeOnce)},

		// Not in the spec: what existing tools make accounts with.
		{get, "/_synapse/admin/v1/register", secret, ratelimit.Register, s.getRegistrationNonce},
		{post, "/_synapse/admin/v1/register", secret, ratelimit.Register, httpapi.JSON(s.registerWithSecret)},
	}
	routes := make([]httpapi.Route, len(table))
	for i, line := range table {
		routes[i] = httpapi.Route{Method: line.method, Path: line.path, Auth: line.auth, Limit: line.limit,
			Handle: s.heedSuspension(line.method, line.path, line.handle)}
		if line.auth == nobody || line.auth == secret {
			// Who has not said who they are may not say much.
			routes[i].MaxBody = limits.SmallBody
		}
		switch {
		case line.method == post && line.path == verify.SubmitPath:
			routes[i].AnyBody = true // browsers send forms
		case line.limit == ratelimit.Send:
			routes[i].MaxBody = limits.EventBody
		case line.limit == ratelimit.ToDevice, line.limit == ratelimit.Backup, line.limit == ratelimit.Keys && line.method != get:
			routes[i].MaxBody = limits.LargeBody
		}
	}
	return routes
}
