package pgcluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
)

// ErrNotInstalled says that the machine has no PostgreSQL programs. Its message says how to get them.
var ErrNotInstalled = errors.New(`the PostgreSQL programs (initdb, postgres) are not installed.
  On Debian or Ubuntu, as root:
    apt-get install -y postgresql-common
    echo 'create_main_cluster = false' >> /etc/postgresql-common/createcluster.conf
    apt-get install -y postgresql
  Or give the URL of a running PostgreSQL 14 or newer as database.url`)

// installed are the places where packages put PostgreSQL, with its version in the path.
var installed = []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql*/bin"}

// oldest is the oldest major version that the schema works with.
const oldest = 14

var majorVersion = regexp.MustCompile(`\d+`)

// findPrograms returns the directory of the PostgreSQL programs that fit the data: those of the version that made it, or the
// newest ones when there is no data yet.
func findPrograms(data string) (string, error) {
	found := map[int]string{}
	for _, pattern := range installed {
		dirs, err := filepath.Glob(pattern)
		if err != nil {
			return "", err
		}
		for _, dir := range dirs {
			addPrograms(found, dir)
		}
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		addPrograms(found, filepath.Dir(path))
	}
	if len(found) == 0 {
		return "", ErrNotInstalled
	}
	if text, err := os.ReadFile(filepath.Join(data, "PG_VERSION")); err == nil {
		version, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			return "", fmt.Errorf("%s/PG_VERSION: %w", data, err)
		}
		if dir, ok := found[version]; ok {
			return dir, nil
		}
		return "", fmt.Errorf("the data was written by PostgreSQL %d, which is not installed: install it (Debian: apt-get install postgresql-%d), or move the data to a newer version with pg_upgrade", version, version)
	}
	newest := 0
	for version := range found {
		newest = max(newest, version)
	}
	if newest < oldest {
		return "", fmt.Errorf("the newest installed PostgreSQL is version %d; version %d or newer is needed", newest, oldest)
	}
	return found[newest], nil
}

// addPrograms adds dir under the version that its postgres reports.
func addPrograms(found map[int]string, dir string) {
	if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
		return
	}
	out, err := exec.Command(filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return
	}
	version, err := strconv.Atoi(majorVersion.FindString(string(out)))
	if err != nil {
		return
	}
	if _, ok := found[version]; !ok {
		found[version] = dir
	}
}

// owner is the user that PostgreSQL runs as when we are root.
type owner struct {
	name     string
	uid, gid int
}

// findOwner returns nil when we are not root: PostgreSQL then runs as the same user.
func findOwner() (*owner, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.Atoi(u.Uid)
		if err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		gid, err := strconv.Atoi(u.Gid)
		if err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		return &owner{name, uid, gid}, nil
	}
	return nil, errors.New("PostgreSQL refuses to run as root, and there is neither a user postgres nor a user nobody to run it as")
}

func (o *owner) credential() *syscall.Credential {
	if o == nil {
		return nil
	}
	return &syscall.Credential{Uid: uint32(o.uid), Gid: uint32(o.gid)}
}

// own gives a file to the user that PostgreSQL runs as.
func (o *owner) own(path string) error {
	if o == nil {
		return nil
	}
	return os.Chown(path, o.uid, o.gid)
}

// mayEnter reports whether the owner may pass through every directory of path.
func (o *owner) mayEnter(path string) bool {
	if o == nil {
		return true
	}
	for {
		info, err := os.Stat(path)
		if err != nil {
			return false
		}
		stat := info.Sys().(*syscall.Stat_t)
		mode := info.Mode().Perm()
		switch {
		case int(stat.Uid) == o.uid:
			mode >>= 6
		case int(stat.Gid) == o.gid:
			mode >>= 3
		}
		if mode&1 == 0 {
			return false
		}
		if path == "/" {
			return true
		}
		path = filepath.Dir(path)
	}
}
