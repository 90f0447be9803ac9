package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// program finds a program that a test needs; packages are those of Debian that have it.
func program(t *testing.T, name, packages string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing: install it (Debian: apt-get install %s)", name, packages)
	}
	return path
}

// installNodeModules installs what a folder's package-lock.json names, if make test has not; module is one of them.
func installNodeModules(t *testing.T, folder, module string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(folder, "node_modules", module, "package.json")); err == nil {
		return
	}
	cmd := exec.CommandContext(t.Context(), program(t, "npm", "npm"), "ci", "--no-audit", "--no-fund")
	cmd.Dir = folder
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
}
