package clientapi

import (
	"context"
	"maps"

	"github.com/roomline/roomline/internal/httpapi"
)

type versionsResponse struct {
	Versions         []string        `json:"versions"`
	UnstableFeatures map[string]bool `json:"unstable_features"`
}

// supported is what clients are told. They look for a version literally (versions.includes("v1.4")) and then use what came with it,
// so a version stands here when what clients turn on by it is there: v1.3 and v1.4 threads with their counts and private receipts,
// v1.6 jump to date, v1.7 mentions, v1.10 recursive relations.
//
// v1.11 to v1.19 stand here as long as nothing of the client-server API is missing but what is an issue of its own; a test looks
// (internal/archtest). The parts of the versions are announced one by one too, by the names they had as proposals, for clients that look
// for those.
var supported = versionsResponse{
	Versions: []string{"v1.1", "v1.2", "v1.3", "v1.4", "v1.5", "v1.6", "v1.7", "v1.8", "v1.9", "v1.10",
		"v1.11", "v1.12", "v1.13", "v1.14", "v1.15", "v1.16", "v1.17", "v1.18", "v1.19"},
	UnstableFeatures: map[string]bool{
		"org.matrix.msc2285.stable":        true, // private read receipts, in the spec since v1.4
		"org.matrix.msc3771":               true, // receipts for threads, v1.4
		"org.matrix.msc3773":               true, // unread counts of threads, v1.4
		"org.matrix.msc2432":               true, // names of rooms that their members manage, v1.1
		"fi.mau.msc2659.stable":            true, // application services ask for a ping, v1.7
		"uk.tcpip.msc4133":                 true,
		"uk.tcpip.msc4133.stable":          true, // extended profiles, v1.16
		"org.matrix.msc3026.busy_presence": true,
		"org.matrix.msc3814":               true, // dehydrated devices
		"org.matrix.msc3881":               true, // pushers of other devices, and switched off
		"org.matrix.msc4140":               true, // delayed events
		"org.matrix.msc4354":               true, // sticky events
		"org.matrix.msc4222":               true, // state_after in /sync, v1.16
		"org.matrix.msc3030":               true, // jump to date, v1.6
		"org.matrix.msc3440.stable":        true, // threads, v1.4
		"org.matrix.msc3981":               true, // recursive relations, v1.10
		"org.matrix.msc4306":               true, // thread subscriptions
		"org.matrix.e2e_cross_signing":     true, // cross-signing, v1.1
		"org.matrix.msc3827.stable":        true, // room types in the room directory, v1.4
		"org.matrix.msc4380":               true, // who may invite, v1.18
		"org.matrix.msc4380.stable":        true,
		"org.matrix.msc4155":               true, // who may invite, in detail
		// Mutual rooms, v1.19: clients look for the one name or the other.
		"uk.half-shot.msc2666.query_mutual_rooms":        true,
		"uk.half-shot.msc2666.query_mutual_rooms.stable": true,
		// MSC4186, simplified sliding sync: Element X does not sign in without it.
		"org.matrix.simplified_msc3575": true,
	},
}

// Versions are the versions of the spec that clients are told.
func Versions() []string { return supported.Versions }

// getVersions says which versions of the spec we serve.
//
// Spec: client-server v1.19 §api-versions, GET /_matrix/client/versions
func (s *Server) getVersions(ctx context.Context, c *httpapi.Call) (any, error) {
	if s.cfg.WellKnown.CallService == "" {
		return supported, nil
	}
	answer := versionsResponse{supported.Versions, maps.Clone(supported.UnstableFeatures)}
	answer.UnstableFeatures["org.matrix.msc4143"] = true // calls
	return answer, nil
}
