package archtest

import (
	"encoding/json"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// atLeast are the versions from which on what is known against the modules that take packets of strangers is mended (SEC-104).
var atLeast = map[string]string{
	"github.com/pion/interceptor":           "v0.1.39", // CVE-2025-49140: a packet ends the program
	"github.com/pion/dtls/v3":               "v3.1.4",  // CVE-2026-26014: nonces that repeat; CVE-2026-54908, CVE-2026-54909: a message ends the program
	"github.com/pion/webrtc/v4":             "v4.0.0",  // CVE-2021-28681, CVE-2019-20786 are older
	"github.com/livekit/livekit-server":     "v1.13.1",
	"github.com/livekit/server-sdk-go/v2":   "v2.16.7",
	"github.com/livekit/mediatransportutil": "v0.0.0-20260608063931-a3417d38cda0",
}

type module struct {
	Path, Version string
	Replace       *module
}

// tooOld says which modules of a list are older than they may be, or replaced by something whose version says nothing.
func tooOld(modules []module) []string {
	var problems []string
	seen := map[string]bool{}
	for _, m := range modules {
		least, watched := atLeast[m.Path]
		if !watched {
			if strings.HasPrefix(m.Path, "github.com/pion/dtls") {
				problems = append(problems, m.Path+" is another version of what is watched")
			}
			continue
		}
		seen[m.Path] = true
		if m.Replace != nil {
			problems = append(problems, m.Path+" is replaced by "+m.Replace.Path)
		} else if older(m.Version, least) {
			problems = append(problems, m.Path+" is "+m.Version+", older than "+least)
		}
	}
	for path := range atLeast {
		if !seen[path] {
			problems = append(problems, path+" is not linked any more; take it off the list")
		}
	}
	return problems
}

// older compares versions as v1.2.3, and pseudo-versions by their times.
func older(a, b string) bool {
	av, apre, _ := strings.Cut(strings.TrimPrefix(a, "v"), "-")
	bv, bpre, _ := strings.Cut(strings.TrimPrefix(b, "v"), "-")
	as, bs := strings.Split(av, "."), strings.Split(bv, ".")
	for i := range min(len(as), len(bs)) {
		x, errX := strconv.Atoi(as[i])
		y, errY := strconv.Atoi(bs[i])
		if errX != nil || errY != nil {
			return true
		}
		if x != y {
			return x < y
		}
	}
	switch {
	case apre == bpre || apre == "":
		return false
	case bpre == "":
		return true // before the release
	}
	return apre < bpre
}

func TestMediaModulesAreMended(t *testing.T) {
	cmd := exec.Command("go", "list", "-m", "-json", "all")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list -m: %v", err)
	}
	var all []module
	for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); {
		var m module
		if err := d.Decode(&m); err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	for _, problem := range tooOld(all) {
		t.Error(problem)
	}
}

func TestOldMediaModulesAreFound(t *testing.T) {
	var fine []module
	for path, version := range atLeast {
		fine = append(fine, module{Path: path, Version: version})
	}
	if problems := tooOld(fine); len(problems) > 0 {
		t.Errorf("as old as they may be: %v", problems)
	}
	for _, tc := range []struct {
		path, version string
		replace       *module
	}{
		{"github.com/pion/interceptor", "v0.1.38", nil},
		{"github.com/pion/dtls/v3", "v3.1.4-rc.1", nil},
		{"github.com/pion/dtls/v3", "v3.0.11", nil},
		{"github.com/livekit/livekit-server", "v1.9.12", nil},
		{"github.com/livekit/mediatransportutil", "v0.0.0-20250608063931-a3417d38cda0", nil},
		{"github.com/pion/dtls/v3", "v3.1.4", &module{Path: "example.org/dtls"}},
		{"github.com/pion/dtls/v2", "v2.2.12", nil},
	} {
		changed := []module{{Path: tc.path, Version: tc.version, Replace: tc.replace}}
		for _, m := range fine {
			if m.Path != tc.path {
				changed = append(changed, m)
			}
		}
		if len(tooOld(changed)) != 1 {
			t.Errorf("%s %s: %v", tc.path, tc.version, tooOld(changed))
		}
	}
}
