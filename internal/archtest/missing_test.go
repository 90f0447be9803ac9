package archtest

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/roomline/roomline/clientapi"
)

// Why an endpoint of the specification is not served yet.
const (
	oauth          = "OAuth 2.0 is an issue of its own"
	serverToServer = "the server-server API is an issue of its own"
	// owed is no reason to end with: as long as something is, GET /versions keeps the later versions back.
	owed = "to be done in this issue"
)

// missing is every endpoint of the specification that is not served, with the reason: by chapter, or by method and path.
var missing = map[string]string{
	"oauth_server_metadata": oauth,
}

func TestEveryEndpointIsServedOrMissingForAReason(t *testing.T) {
	served := map[string]bool{}
	for _, r := range routes() {
		served[nameOf(r)] = true
	}
	const invite = "POST /_matrix/client/v3/rooms/{roomId}/invite"
	served[invite+ThirdParty] = served[invite]
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
		case served[name] && reason != "" && reason != serverToServer:
			t.Errorf("%s is served, and the list says that it is missing", name)
		case served[name] != implemented[name]:
			t.Errorf("%s: in the route tables %v, in a Spec comment %v", name, served[name], implemented[name])
		}
	}
	for key := range missing {
		if !used[key] {
			t.Errorf("%s is on the list of what is missing, and nothing of it is", key)
		}
	}
}

func TestVersionsAreAnnouncedWhenTheyAreServed(t *testing.T) {
	complete := true
	for _, reason := range missing {
		complete = complete && reason != owed
	}
	versions := clientapi.Versions()
	for i, v := range versions {
		if v != fmt.Sprintf("v1.%d", i+1) {
			t.Errorf("version %d is announced as %s; clients look for each", i+1, v)
		}
	}
	if want := 19; complete != (len(versions) == want) {
		t.Errorf("%d versions are announced; that something is owed is %v", len(versions), !complete)
	}
}

func TestReadmeSaysHowMuchIsServed(t *testing.T) {
	table, err := Coverage("../..")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(table, "| client-server | all | ") {
		t.Fatalf("the table is %.300s", table)
	}
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	want, err := WithCoverage(string(text), table)
	if err != nil {
		t.Fatal(err)
	}
	if want != string(text) {
		t.Error("the table of coverage in README.md is not what make spec prints; run make spec-readme")
	}
}
