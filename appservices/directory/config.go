package directory

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// Config is the file of a directory bridge. Relative paths begin at the file's folder.
type Config struct {
	Homeserver struct {
		// URL of the homeserver, https.
		URL string `yaml:"url"`
		// CAFile are the authorities to believe instead of the system's.
		CAFile string `yaml:"ca_file"`
		// Insecure allows http, for trials.
		Insecure bool `yaml:"insecure"`
	} `yaml:"homeserver"`
	// Registration is the file of the application service.
	Registration string `yaml:"registration"`
	// Domain is the part of user ids after the colon.
	Domain string `yaml:"domain"`
	// StateFile is where the bridge remembers what it has done.
	StateFile string `yaml:"state_file"`
	// Poll is the time between two looks at the source. A leaver can sign in for that long, and some seconds more.
	Poll time.Duration `yaml:"poll"`
	// Full is the time between two comparisons with all that the homeserver has.
	Full time.Duration `yaml:"full"`
	// Guard stops the bridge when more people left than likely.
	Guard Guard `yaml:"guard"`
	// Leavers says what becomes of accounts whose people are gone.
	Leavers struct {
		// EraseAfterDays is after how many days a locked account is erased; 0 is never.
		EraseAfterDays int `yaml:"erase_after_days"`
	} `yaml:"leavers"`
	Source struct {
		LDAP  *LDAPConfig  `yaml:"ldap"`
		CSV   *CSVConfig   `yaml:"csv"`
		VCard *VCardConfig `yaml:"vcard"`
	} `yaml:"source"`
	// Rooms are the groups that become rooms; the first line that fits a group holds.
	Rooms []RoomConfig `yaml:"rooms"`
}

// Guard allows at most so many people to leave at one time: those of Always, or Percent of those that were there.
type Guard struct {
	Percent int `yaml:"percent"`
	Always  int `yaml:"always"`
}

// allows reports whether of so many people so many may leave.
func (g Guard) allows(leavers, of int) bool {
	return leavers <= g.Always && leavers < of || leavers*100 <= g.Percent*of
}

// RoomConfig makes rooms of groups.
type RoomConfig struct {
	// Group is a regular expression for the whole name of a group.
	Group string `yaml:"group"`
	// Name of the room; {group} is the group's name, which it is by default.
	Name string `yaml:"name"`
	// Space makes it a space.
	Space bool `yaml:"space"`
	// In is the name of a group whose space has the room.
	In string `yaml:"in"`
	// Encrypted makes the room's messages end-to-end encrypted. Not of a space.
	Encrypted bool `yaml:"encrypted"`

	pattern *regexp.Regexp
}

// ReadConfig reads a configuration. All mistakes are reported at once, with the names of their fields.
func ReadConfig(file string) (*Config, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	c := &Config{Poll: 20 * time.Second, Full: 24 * time.Hour, Guard: Guard{Percent: 10, Always: 3}}
	decoder, err := yaml.NewLoader(bytes.NewReader(text), yaml.WithKnownFields())
	if err == nil {
		err = decoder.Load(c)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	dir := filepath.Dir(file)
	for _, path := range c.paths() {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(dir, *path)
		}
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return c, nil
}

func (c *Config) paths() []*string {
	paths := []*string{&c.Homeserver.CAFile, &c.Registration, &c.StateFile}
	if l := c.Source.LDAP; l != nil {
		paths = append(paths, &l.PasswordFile, &l.CAFile)
	}
	if s := c.Source.CSV; s != nil {
		paths = append(paths, &s.File)
	}
	if v := c.Source.VCard; v != nil {
		paths = append(paths, &v.Folder)
	}
	return paths
}

func (c *Config) check() error {
	var errs []error
	complain := func(field, what string) { errs = append(errs, fmt.Errorf("%s: %s", field, what)) }
	u, err := url.Parse(c.Homeserver.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		complain("homeserver.url", "must be an https URL")
	case u.Scheme == "http" && !c.Homeserver.Insecure:
		complain("homeserver.url", "http would send the token and everybody's data in the clear; homeserver.insecure allows it for a trial")
	}
	for field, value := range map[string]string{"registration": c.Registration, "domain": c.Domain, "state_file": c.StateFile} {
		if value == "" {
			complain(field, "is missing")
		}
	}
	if c.Poll < time.Second || c.Full < c.Poll {
		complain("poll", "must be at least 1s, and not more than full")
	}
	if c.Guard.Percent < 0 || c.Guard.Percent > 100 || c.Guard.Always < 0 {
		complain("guard", "percent is from 0 to 100, always is not negative")
	}
	if c.Leavers.EraseAfterDays < 0 {
		complain("leavers.erase_after_days", "must not be negative")
	}
	n := 0
	if l := c.Source.LDAP; l != nil {
		n++
		errs = append(errs, l.check())
	}
	if s := c.Source.CSV; s != nil {
		n++
		errs = append(errs, s.check())
	}
	if v := c.Source.VCard; v != nil {
		n++
		errs = append(errs, v.check())
	}
	if n != 1 {
		complain("source", "exactly one of ldap, csv and vcard must be given")
	}
	for i := range c.Rooms {
		r := &c.Rooms[i]
		if r.pattern, err = regexp.Compile("^(?:" + r.Group + ")$"); err != nil || r.Group == "" {
			complain(fmt.Sprintf("rooms[%d].group", i), "must be a regular expression")
		}
		if r.Space && r.Encrypted {
			complain(fmt.Sprintf("rooms[%d].encrypted", i), "a space has no messages")
		}
		r.Name = cmp.Or(r.Name, "{group}")
	}
	return errors.Join(errs...)
}

// source returns the one that is configured.
func (c *Config) source() Source {
	switch {
	case c.Source.LDAP != nil:
		return &ldapSource{*c.Source.LDAP}
	case c.Source.CSV != nil:
		return &csvSource{*c.Source.CSV}
	default:
		return &vcardSource{*c.Source.VCard}
	}
}

// roomOf is what is made of a group, or nil.
func (c *Config) roomOf(g *Group) *RoomConfig {
	for i := range c.Rooms {
		if c.Rooms[i].pattern.MatchString(g.Name) {
			return &c.Rooms[i]
		}
	}
	return nil
}

// secretFile reads a password from a file that nobody else can read.
func secretFile(file string) (string, error) {
	info, err := os.Stat(file)
	if err != nil {
		return "", err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", &fs.PathError{Op: "read", Path: file, Err: errors.New("others can read it: chmod 600")}
	}
	text, err := os.ReadFile(file)
	return strings.TrimRight(string(text), "\r\n"), err
}
