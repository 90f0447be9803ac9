package moderation

import (
	"net/http"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/ratelimit"
)

// ofRoom is the meeting of a room.
const ofRoom = "/_roomline/client/v1/rooms/{roomId}/meeting"

// actions are what moderators may do, as GET tells it.
var actions = []string{
	"mute", "mute_all", "stop", "publish", "lock", "unlock", "lower_hand", "remove", "role", "end", "lobby", "admit", "deny", "recording/start", "recording/stop",
}

// Routes are the endpoints.
func (s *Server) Routes() []httpapi.Route {
	const forModerators = "who has power level 50 in the room"
	table := []struct {
		action string
		handle httpapi.Handler
		doc    httpapi.Doc
	}{
		{"lobby", httpapi.JSON(s.postLobby), httpapi.Doc{
			Summary: "Say who has to wait to be let in: nobody, guests, or everybody. Where nobody has to any more all are let in.", Request: lobbyRequest{}}},
		{"admit", httpapi.JSON(s.postAdmit), httpapi.Doc{Summary: "Let in somebody who waits, or all.", Request: admitRequest{}}},
		{"mute", httpapi.JSON(s.postMute), httpapi.Doc{Summary: "Mute somebody, who can speak again when it suits them.", Request: muteRequest{}}},
		{"mute_all", httpapi.JSON(s.postMuteAll), httpapi.Doc{Summary: "Mute everybody who has less power.", Request: muteRequest{}}},
		{"stop", httpapi.JSON(s.postStop), httpapi.Doc{Summary: "Take away the camera or the screen that somebody shows.", Request: muteRequest{}}},
		{"publish", httpapi.JSON(s.postPublish), httpapi.Doc{Summary: "Say from which role on people may speak, film, or share a screen.", Request: publishRequest{}}},
		{"lock", httpapi.OptionalJSON(s.postLock), httpapi.Doc{Summary: "Let nobody join the call any more but moderators."}},
		{"unlock", httpapi.OptionalJSON(s.postUnlock), httpapi.Doc{Summary: "Let people join the call again."}},
		{"lower_hand", httpapi.JSON(s.postLowerHand), httpapi.Doc{Summary: "Take down the hand that somebody has raised.", Request: userRequest{}}},
		{"remove", httpapi.JSON(s.postRemove), httpapi.Doc{Summary: "Take somebody out of the room and its meeting, for good with ban.", Request: removeRequest{}}},
		{"role", httpapi.JSON(s.postRole), httpapi.Doc{Summary: "Make somebody attendee, presenter, moderator or organiser.", Request: roleRequest{}}},
		{"end", httpapi.OptionalJSON(s.postEnd), httpapi.Doc{Summary: "End the call for all. Whoever manages people of the organisation may, too."}},
		{"deny", httpapi.JSON(s.postDeny), httpapi.Doc{Summary: "Send away somebody who waits. They need an invite to come again.", Request: denyRequest{}}},
	}
	routes := []httpapi.Route{{
		Method: http.MethodGet, Path: ofRoom, Auth: httpapi.AccessToken, Limit: ratelimit.Read, Handle: s.getMeeting, Doc: &httpapi.Doc{
			Summary: "Who is in the meeting of a room, who waits to be let in, how it is held, and what the asker may do.", Who: "who is in the room", Response: Status{}},
	}}
	for _, r := range table {
		r.doc.Who = forModerators
		routes = append(routes, httpapi.Route{
			Method: http.MethodPost, Path: ofRoom + "/" + r.action, Auth: httpapi.AccessToken, Limit: ratelimit.Room, MaxBody: limits.SmallBody,
			Handle: r.handle, Doc: &r.doc,
		})
	}
	return routes
}
