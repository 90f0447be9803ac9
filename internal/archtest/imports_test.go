package archtest

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const root = "github.com/roomline/roomline/"

// layer is a group of packages and what of ours it may import. The first layer that fits a package holds.
type layer struct {
	packages []string // exact, or a prefix that ends with /...
	imports  []string
}

// layers is the shape of the tree: arrows go down only, and API folders do not import each other.
var layers = []layer{
	{[]string{"cmd/..."}, []string{"..."}},
	{[]string{"tests/..."}, []string{"internal/...", "tests/...", "config", "roomserver/event"}},

	// Tools and test servers; nothing below may import them.
	{[]string{"internal/archtest/..."}, []string{"internal/archtest/..."}},
	{[]string{"internal/pgcluster/cmd/..."}, []string{"internal/pgcluster"}},
	{[]string{"internal/store/storetest"}, []string{"internal/pgcluster", "internal/store"}},
	{[]string{"internal/hstest"}, []string{"internal/child", "internal/pgcluster", "internal/store/storetest", "internal/matrix", "internal/hstest/freeport"}},
	{[]string{"internal/hstest/freeport"}, nil},
	{[]string{"internal/hstest/caller", "internal/hstest/whistle"}, []string{"internal/hstest"}},

	// The API folders.
	{[]string{"clientapi/..."}, []string{"clientapi/...", "roomserver", "roomserver/event", "roomserver/signing", "roomserver/view", lower}},
	{[]string{"mediaapi/..."}, []string{"mediaapi/...", "roomserver", lower}},
	{[]string{"appservices/..."}, []string{"appservices/...", "roomserver", "roomserver/event", "roomserver/view", lower}},
	{[]string{"roomserver/federation/..."}, []string{"roomserver/...", lower}},

	// Rooms. An event is only bytes.
	{[]string{"roomserver/event"}, []string{"internal/matrix", "internal/limits", "internal/strictjson"}},
	{[]string{"roomserver/signing", "roomserver/view"}, []string{"roomserver/event", lower}},
	{[]string{"roomserver"}, []string{"roomserver/event", "roomserver/signing", "roomserver/view", lower}},

	// What everything stands on.
	{[]string{"config", "internal/matrix", "internal/limits", "internal/child", "internal/outbound", "internal/seal", "internal/wake", "internal/batch"}, nil},
	{[]string{"internal/pgcluster"}, []string{"internal/child"}},
	{[]string{"internal/people"}, []string{"internal/limits"}},
	{[]string{"internal/strictjson"}, []string{"internal/matrix", "internal/limits"}},
	{[]string{"internal/store"}, []string{"internal/matrix", "internal/limits", "internal/people"}},
	{[]string{"internal/httpapi"}, []string{"internal/matrix", "internal/limits", "internal/strictjson"}},
	{[]string{"internal/..."}, []string{lower}},
}

// lower stands for the packages of internal/ that a server is made of.
const lower = "internal/{matrix,limits,strictjson,store,httpapi,journal,ratelimit,housekeeping,fedclient,outbound,people,seal,outbox,calendar,commands,phone,sfu,wake,batch}"

// standardOnly are the packages that import the standard library only.
var standardOnly = []string{"internal/matrix", "internal/limits"}

// database are the packages that may speak to PostgreSQL themselves.
var database = []string{"internal/store", "internal/store/storetest", "internal/pgcluster", "internal/hstest", "tests/..."}

type pkg struct {
	ImportPath string
	Imports    []string
}

func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	for decoder.More() {
		var p pkg
		if err := decoder.Decode(&p); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

func TestImportsGoDownOnly(t *testing.T) {
	for _, p := range list(t) {
		for _, problem := range wrongImports(strings.TrimPrefix(p.ImportPath, root), p.Imports) {
			t.Error(problem)
		}
	}
}

// wrongImports says which imports of a package break the rules. Paths of ours are given without root.
func wrongImports(name string, imports []string) []string {
	i := slices.IndexFunc(layers, func(l layer) bool { return fits(name, l.packages) })
	if i < 0 {
		return []string{name + " has no place in the table of layers"}
	}
	var problems []string
	for _, imported := range imports {
		ours, isOurs := strings.CutPrefix(imported, root)
		switch {
		case isOurs && !fits(ours, layers[i].imports):
			problems = append(problems, name+" must not import "+ours)
		case (imported == "database/sql" || imported == "github.com/lib/pq") && !fits(name, database):
			problems = append(problems, name+" must not import "+imported+": all SQL is in internal/store")
		case !isOurs && strings.Contains(strings.Split(imported, "/")[0], ".") && fits(name, standardOnly):
			problems = append(problems, name+" must import the standard library only, not "+imported)
		}
	}
	return problems
}

func fits(name string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		if prefix, ok := strings.CutSuffix(p, "..."); ok {
			return strings.HasPrefix(name+"/", prefix)
		}
		if p == lower {
			last, ok := strings.CutPrefix(name, "internal/")
			return ok && slices.Contains(strings.Split(strings.Trim(p[len("internal/"):], "{}"), ","), last)
		}
		return name == p
	})
}

func TestWrongImportsAreFound(t *testing.T) {
	for _, tc := range []struct {
		name, imported string
		wrong          bool
	}{
		{"clientapi", root + "roomserver", false},
		{"clientapi", root + "roomserver/federation", true},
		{"clientapi/sync", root + "mediaapi", true},
		{"clientapi", root + "config", true},
		{"clientapi", root + "internal/store/storetest", true},
		{"clientapi", root + "internal/pgcluster", true},
		{"roomserver", root + "clientapi/auth", true},
		{"roomserver", root + "internal/journal", false},
		{"roomserver/federation", root + "roomserver/signing", false},
		{"internal/journal", root + "roomserver/event", true},
		{"internal/journal", "database/sql", true},
		{"internal/store", "database/sql", false},
		{"internal/store", root + "internal/journal", true},
		{"internal/matrix", "golang.org/x/text", true},
		{"internal/matrix", "net/netip", false},
		{"config", root + "internal/matrix", true},
		{"cmd/roomline", root + "clientapi", false},
		{"helpers", "strings", true}, // no such place
	} {
		if got := len(wrongImports(tc.name, []string{tc.imported})) > 0; got != tc.wrong {
			t.Errorf("%s imports %s: refused %v, want %v", tc.name, tc.imported, got, tc.wrong)
		}
	}
}
