package archtest

import "testing"

// Why an endpoint of the specification is not served yet.
const (
	media          = "the content repository is an issue of its own"
	threePIDs      = "third-party identifiers, and invitations and resets by e-mail or phone, are an issue of their own"
	oauth          = "OAuth 2.0 is an issue of its own"
	serverToServer = "the server-server API is an issue of its own"
	owed           = "being built"
)

// missing is every endpoint of the specification that is not served, with the reason: by chapter, or by method and path.
var missing = map[string]string{
	"authed-content-repo":    media,
	"content-repo":           media,
	"administrative_contact": threePIDs,
	"third_party_membership": threePIDs,
	"oauth_server_metadata":  oauth,

	"POST /_matrix/client/v3/account/password/email/requestToken":  threePIDs,
	"POST /_matrix/client/v3/account/password/msisdn/requestToken": threePIDs,
	"POST /_matrix/client/v3/register/email/requestToken":          threePIDs,
	"POST /_matrix/client/v3/register/msisdn/requestToken":         threePIDs,

	"appservice_ping":           owed,
	"appservice_room_directory": owed,
	"third_party_lookup":        owed,
	"notifications":             owed,
	"old_sync":                  owed,
	"peeking_events":            owed,
	"room_initial_sync":         owed,
	"pusher":                    owed,
	"pushrules":                 owed,
	"search":                    owed,
}

func TestEveryEndpointIsServedOrMissingForAReason(t *testing.T) {
	served := map[string]bool{}
	for _, r := range routes() {
		served[nameOf(r)] = true
	}
	implemented, err := Implemented("../..")
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, e := range Endpoints() {
		name, reason := e.Name(), missing[e.Name()]
		key := name
		if reason == "" {
			key, reason = e.Chapter, missing[e.Chapter]
		}
		if reason == "" && e.Area == "server-server" {
			reason = serverToServer
		}
		used[key] = used[key] || !served[name]
		switch {
		case !served[name] && reason == "":
			t.Errorf("%s is not served, and nothing says why (chapter %s)", name, e.Chapter)
		case served[name] && reason != "" && reason != owed && reason != serverToServer:
			t.Errorf("%s is served, and the list says that it is missing", name)
		case served[name] != implemented[name]:
			t.Errorf("%s: in the route tables %v, in a Spec comment %v", name, served[name], implemented[name])
		}
	}
	for key, reason := range missing {
		if !used[key] && reason != owed {
			t.Errorf("%s is on the list of what is missing, and nothing of it is", key)
		}
	}
}
