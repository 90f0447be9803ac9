package archtest

import (
	"regexp"
	"strings"
	"testing"
)

// TestReferencesNameWhatTheSpecificationHas makes a new version of the specification show each place to read again.
func TestReferencesNameWhatTheSpecificationHas(t *testing.T) {
	references, err := References("../..")
	if err != nil {
		t.Fatal(err)
	}
	if len(references) < 100 {
		t.Fatalf("only %d references were found: is this the tree?", len(references))
	}
	endpoints := map[string]bool{}
	for _, e := range Endpoints() {
		endpoints[e.Name()] = true
	}
	slugs := Slugs()
	for _, r := range references {
		for _, problem := range problems(r, slugs, endpoints) {
			t.Errorf("%s: %s\n\tSpec: %s", r.File, problem, r.Text)
		}
	}
}

// problems says what is wrong with a reference.
func problems(r Reference, slugs map[string]map[string]bool, endpoints map[string]bool) []string {
	var all []string
	if r.Version != "" && r.Version != "v1.19" {
		all = append(all, "it is about "+r.Version+", not v1.19")
	}
	if len(r.Sections) == 0 && len(r.Endpoints) == 0 && r.Version == "" {
		all = append(all, "it names nothing of the specification")
	}
	for _, s := range r.Sections {
		if !known(slugs, s) {
			all = append(all, "there is no section §"+s.Slug+" in "+s.Document)
		}
	}
	for _, e := range r.Endpoints {
		if !endpoints[e] {
			all = append(all, "there is no endpoint "+e)
		}
	}
	return all
}

// repeated is the number that the site gives to the second and later headings of one name in a document.
var repeated = regexp.MustCompile(`-\d+$`)

// known looks a section up. "room versions" is all of them; without a document any will do.
func known(slugs map[string]map[string]bool, s Section) bool {
	for document, of := range slugs {
		isMeant := document == s.Document || s.Document == "" || s.Document == "room versions" && strings.HasPrefix(document, "room")
		if isMeant && (of[s.Slug] || of[repeated.ReplaceAllString(s.Slug, "")]) {
			return true
		}
	}
	return false
}

func TestWrongReferencesAreFound(t *testing.T) {
	endpoints := map[string]bool{"GET /_matrix/client/v3/sync": true}
	for text, want := range map[string]int{
		"client-server v1.19 §syncing, GET /_matrix/client/v3/sync":                              0,
		"client-server v1.19 §typing-notifications, §receipts; appendices §typing-notifications": 1,
		"client-server v1.18 §syncing":                                                           1,
		"client-server v1.19 §authorization-rules":                                               1,
		"client-server v1.19 §syncing, POST /_matrix/client/v3/sync":                             1,
		"room v12 §authorisation-rules, rule 4":                                                  0,
		"room v1 §nonsense":                                                                      1,
		"room versions v1.19 §complete-list-of-room-versions":                                    0,
		"client-server v1.19 §syncing; MSC4222 §unstable-prefix":                                 0,
		"the chapter about rooms":                                                                1,
	} {
		if got := problems(parse(text), Slugs(), endpoints); len(got) != want {
			t.Errorf("%q: %q, want %d problems", text, got, want)
		}
	}
}
