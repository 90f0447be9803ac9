package hstest

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// Program finds a program that a test needs; packages are those of Debian that have it.
func Program(t testing.TB, name, packages string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing: install it (Debian: apt-get install %s)", name, packages)
	}
	return path
}

// NodeModules installs what a folder's package-lock.json names, if make test has not; module is one of them.
func NodeModules(t testing.TB, folder, module string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(folder, "node_modules", module, "package.json")); err == nil {
		return
	}
	cmd := exec.CommandContext(t.Context(), Program(t, "npm", "npm"), "ci", "--no-audit", "--no-fund")
	cmd.Dir = folder
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
}

// scriptLimit is how long a script may take on a machine that is busy with other tests.
const scriptLimit = 8 * time.Minute

// RunScript runs a file of a folder in Node.js, with node's options before it, and fails the test if it fails. env is added to the environment,
// which says besides which browser to use (CHROMIUM) and where to keep pictures of what people see, if somebody wants them (SCREENSHOTS).
func RunScript(t testing.TB, folder, file string, options, env []string) {
	t.Helper()
	node, chromium := Program(t, "node", "nodejs npm"), Program(t, "chromium", "chromium")
	ctx, cancel := context.WithTimeout(t.Context(), scriptLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, append(slices.Clone(options), file)...)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "CHROMIUM="+chromium, "SCREENSHOTS="+os.Getenv("ROOMLINE_SCREENSHOTS"))
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", file, err, out)
	}
	t.Logf("%s:\n%s", file, out)
}

// NodeTests are the options of a file that has tests of Node.js.
var NodeTests = []string{"--test", "--test-force-exit", "--test-reporter=spec"}

// AccountsOf is accounts of a deployment with these names, as scripts find them in the environment.
func AccountsOf(t testing.TB, dep *Deployment, names ...string) string {
	t.Helper()
	type account struct {
		ID       string `json:"id"`
		User     string `json:"user"`
		Password string `json:"password"`
		Token    string `json:"token"`
	}
	var accounts []account
	for _, name := range names {
		u := dep.User(t, name)
		accounts = append(accounts, account{ID: u.ID, User: name, Password: u.Password, Token: u.AccessToken})
	}
	text, err := json.Marshal(accounts)
	if err != nil {
		t.Fatal(err)
	}
	return "ROOMLINE_ACCOUNTS=" + string(text)
}
