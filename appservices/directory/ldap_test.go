package directory

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
	"github.com/tidwall/gjson"
	"maunium.net/go/mautrix/id"

	"github.com/roomline/roomline/internal/hstest"
)

func TestMain(m *testing.M) { hstest.Main(m) }

const (
	peopleBase = "ou=people," + hstest.SlapdSuffix
	groupsBase = "ou=groups," + hstest.SlapdSuffix
)

// png is the smallest picture that there is.
var png, _ = base64.StdEncoding.DecodeString("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")

// company is an LDIF of so many people, a tenth of whom manage the others, with a group of all and one for each manager.
func company(n int) []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, "dn: %s\nobjectClass: organizationalUnit\nou: people\n\ndn: %s\nobjectClass: organizationalUnit\nou: groups\n\n", peopleBase, groupsBase)
	dn := func(i int) string { return fmt.Sprintf("uid=p%05d,%s", i, peopleBase) }
	for i := range n {
		fmt.Fprintf(&out, "dn: %s\nobjectClass: inetOrgPerson\nuid: p%05d\ncn: Person Number %d\ngivenName: Person\nsn: Number%d\nmail: p%05d@company.test\n"+
			"telephoneNumber: +49 30 9%06d\nmobile: +49 170 8%06d\ndepartmentNumber: Department %d\ntitle: Engineer\n", dn(i), i, i, i, i, i, i, i%10)
		if i >= 10 {
			fmt.Fprintf(&out, "manager: %s\n", dn(i%10))
		}
		if i == 3 {
			fmt.Fprintf(&out, "jpegPhoto:: %s\n", base64.StdEncoding.EncodeToString(png))
		}
		out.WriteByte('\n')
	}
	fmt.Fprintf(&out, "dn: cn=Everybody,%s\nobjectClass: groupOfNames\ncn: Everybody\n", groupsBase)
	for i := range min(n, 100) {
		fmt.Fprintf(&out, "member: %s\n", dn(i))
	}
	fmt.Fprintf(&out, "\ndn: cn=Team Red,%s\nobjectClass: groupOfNames\ncn: Team Red\nmember: %s\nmember: %s\n\n", groupsBase, dn(1), dn(2))
	fmt.Fprintf(&out, "dn: cn=Printers,%s\nobjectClass: groupOfNames\ncn: Printers\nmember: %s\n\n", groupsBase, dn(1))
	return out.Bytes()
}

// customer is a directory beside a homeserver.
type customer struct {
	dep   *hstest.Deployment
	slapd *hstest.SlapdServer
	cfg   *Config
}

func newCustomer(t *testing.T, people int) *customer {
	t.Helper()
	dir := t.TempDir()
	registration := filepath.Join(dir, "registration.yaml")
	const asToken = "the-as-token-of-the-directory-bridge"
	text := "{id: directory, url: null, as_token: " + asToken + ", hs_token: the-hs-token-of-the-bridge, sender_localpart: directory, rate_limited: false, " +
		"namespaces: {aliases: [{exclusive: true, regex: '#directory_.*:hs\\.test'}]}, roomline: {organisation: hs.test, grants: [people]}}"
	password := filepath.Join(dir, "password")
	c := &customer{slapd: hstest.Slapd(t, company(people))}
	for file, text := range map[string]string{registration: text, password: c.slapd.Password + "\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c.dep = hstest.Start(t, hstest.Options{Processes: 2, Configure: func(_ int, config map[string]any) {
		config["appservices"] = map[string]any{"registrations": []string{registration}}
	}})
	c.dep.Secret(asToken, "an as_token")
	file := filepath.Join(dir, "directory.yaml")
	err := os.WriteFile(file, fmt.Appendf(nil, `homeserver: {url: %q, insecure: true}
registration: registration.yaml
domain: hs.test
state_file: state.json
source:
  ldap: {url: %q, ca_file: %q, bind_dn: %q, password_file: password, base: %q, group_base: %q, group_filter: (objectClass=groupOfNames)}
rooms:
  - {group: Everybody, space: true, name: Company}
  - {group: Team .*, in: Everybody}
`, c.dep.BaseURL(0), c.slapd.URL, c.slapd.CAFile, c.slapd.Reader, peopleBase, groupsBase), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if c.cfg, err = ReadConfig(file); err != nil {
		t.Fatal(err)
	}
	return c
}

// bridge is a newly started one.
func (c *customer) bridge(t *testing.T) *Bridge {
	t.Helper()
	b, err := New(c.cfg, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (c *customer) sync(t *testing.T, o Options) Summary {
	t.Helper()
	done, err := c.bridge(t).Sync(t.Context(), o)
	if err != nil || len(done.Failed) > 0 {
		t.Fatalf("sync: %v, failed %v", err, done.Failed[:min(3, len(done.Failed))])
	}
	return done
}

// change writes to the directory.
func (c *customer) change(t *testing.T, f func(conn *ldap.Conn) error) {
	t.Helper()
	source := &ldapSource{*c.cfg.Source.LDAP}
	source.cfg.BindDN = c.slapd.Admin
	conn, err := source.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := f(conn); err != nil {
		t.Fatal(err)
	}
}

// resource is what the homeserver has of a user name.
func (c *customer) resource(t *testing.T, admin *hstest.User, name string) gjson.Result {
	t.Helper()
	list := admin.MustDo(t, http.MethodGet, scimPath+"/Users?filter="+url.QueryEscape(`userName eq "`+name+`@hs.test"`), nil)
	return list.Get("Resources.0")
}

func TestDirectoryBecomesAccountsAndRooms(t *testing.T) {
	t.Parallel()
	const size = 250
	c := newCustomer(t, size)
	if err := c.bridge(t).Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	dry := c.sync(t, Options{DryRun: true})
	admin := c.dep.Admin(t, "admin")
	if len(dry.Create) != size || len(dry.Groups) != 3 || c.resource(t, admin, "p00003").Exists() {
		t.Fatalf("a dry run plans %d accounts, %d groups", len(dry.Create), len(dry.Groups))
	}
	if done := c.sync(t, Options{}); len(done.Create) != size || len(done.Groups) != 3 {
		t.Fatalf("made %d accounts, %d groups", len(done.Create), len(done.Groups))
	}
	if done := c.sync(t, Options{}); !done.Empty() {
		t.Errorf("the second run has work: %+v", done.Plan)
	}

	third := c.resource(t, admin, "p00003")
	for path, want := range map[string]string{
		"active": "true", "displayName": "Person Number 3", "emails.0.value": "p00003@company.test", "title": "Engineer",
		schemaEnterprise + ".department": "Department 3",
	} {
		if got := third.Get(gjsonPath(path)).String(); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	if got := c.resource(t, admin, "p00013").Get(gjsonPath(schemaEnterprise + ".manager.value")).String(); got != third.Get("id").String() {
		t.Errorf("the manager is %q, want %q", got, third.Get("id"))
	}
	profile := admin.MustDo(t, http.MethodGet, hstest.Path("profile", "@p00003:hs.test"), nil)
	if profile.Get("displayname").String() != "Person Number 3" || !strings.HasPrefix(profile.Get("avatar_url").String(), "mxc://") {
		t.Errorf("the profile is %s", profile)
	}
	c.mustBecome(t, "cn=Team Red,"+groupsBase, "@directory:hs.test @p00001:hs.test @p00002:hs.test")
	// A group that no line of the configuration names is no room.
	groups := admin.MustDo(t, http.MethodGet, scimPath+"/Groups?filter="+url.QueryEscape(`displayName eq "Printers"`), nil)
	if got := groups.Get("Resources.0." + gjson.Escape(schemaRoom)); got.Get("kind").String() != "none" || got.Get("roomId").Exists() {
		t.Errorf("the group without a room has %s", got.Raw)
	}
	// A line that names it later makes one of it.
	c.cfg.Rooms = append(c.cfg.Rooms, RoomConfig{Group: "Printers", Name: "{group}", pattern: regexp.MustCompile("^Printers$")})
	if done := c.sync(t, Options{}); len(done.Groups) != 1 {
		t.Errorf("a new line for rooms changes %d groups", len(done.Groups))
	}
	c.mustBecome(t, "cn=Printers,"+groupsBase, "@directory:hs.test @p00001:hs.test")
	if done := c.sync(t, Options{}); !done.Empty() {
		t.Errorf("the run after has work: %+v", done.Plan)
	}
}

func gjsonPath(path string) string {
	return strings.ReplaceAll(path, "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User", `urn:ietf:params:scim:schemas:extension:enterprise:2\.0:User`)
}

// mustBecome waits for the members of a group's room, which the homeserver sees to after it has answered.
func (c *customer) mustBecome(t *testing.T, dn, want string) {
	t.Helper()
	var got string
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if got = c.members(t, dn); got == want {
			return
		}
	}
	t.Errorf("in the room of %s are %s, want %s", dn, got, want)
}

// members are those of the room of a group, in order.
func (c *customer) members(t *testing.T, dn string) string {
	t.Helper()
	s, err := loadState(c.cfg.StateFile, c.slapd.URL)
	if err != nil {
		t.Fatal(err)
	}
	var group string
	c.change(t, func(conn *ldap.Conn) error {
		r, err := conn.Search(ldap.NewSearchRequest(dn, ldap.ScopeBaseObject, ldap.NeverDerefAliases, 1, 0, false, "(objectClass=*)", []string{"entryUUID"}, nil))
		if err == nil {
			group = r.Entries[0].GetAttributeValue("entryUUID")
		}
		return err
	})
	if s.Groups[group] == nil || s.Groups[group].Room == "" {
		t.Fatalf("%s has no room", dn)
	}
	joined, err := c.bridge(t).rooms.bot.JoinedMembers(t.Context(), id.RoomID(s.Groups[group].Room))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for name := range joined.Joined {
		names = append(names, string(name))
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func TestChangesOfTheDirectoryAreCarriedOver(t *testing.T) {
	t.Parallel()
	c := newCustomer(t, 60)
	c.sync(t, Options{})
	admin := c.dep.Admin(t, "admin")
	admin.MustDo(t, http.MethodPost, "/_synapse/admin/v1/reset_password/"+url.PathEscape("@p00002:hs.test"), map[string]any{"new_password": "correct horse two"})
	login := map[string]any{"type": "m.login.password", "identifier": map[string]any{"type": "m.id.user", "user": "p00002"}, "password": "correct horse two"}
	r, err := c.dep.Do(t.Context(), 1, "", http.MethodPost, hstest.Path("login"), login)
	if err != nil || r.Status != 200 {
		t.Fatalf("login: %v %v", r, err)
	}
	token := r.JSON().Get("access_token").String()

	// One has another number, one left, one came; the team has another member.
	dn := func(i int) string { return fmt.Sprintf("uid=p%05d,%s", i, peopleBase) }
	c.change(t, func(conn *ldap.Conn) error {
		number := ldap.NewModifyRequest(dn(5), nil)
		number.Replace("mobile", []string{"+49 171 1"})
		team := ldap.NewModifyRequest("cn=Team Red,"+groupsBase, nil)
		team.Add("member", []string{dn(7)})
		come := ldap.NewAddRequest("uid=new,"+peopleBase, nil)
		come.Attribute("objectClass", []string{"inetOrgPerson"})
		come.Attribute("uid", []string{"new"})
		come.Attribute("cn", []string{"Newcomer"})
		come.Attribute("sn", []string{"Comer"})
		return errors.Join(conn.Modify(number), conn.Modify(team), conn.Add(come), conn.Del(ldap.NewDelRequest(dn(2), nil)))
	})
	done := c.sync(t, Options{})
	// Five had the one who left as their manager.
	if len(done.Update) != 6 || len(done.Create) != 1 || len(done.Lock) != 1 || len(done.Groups) != 2 {
		t.Errorf("planned %d updates, %d creations, %d locks, %d groups", len(done.Update), len(done.Create), len(done.Lock), len(done.Groups))
	}
	if got := c.resource(t, admin, "p00005").Get("phoneNumbers.#.value").Raw; !strings.Contains(got, "+49") || strings.Contains(got, "8000005") {
		t.Errorf("the numbers are %s", got)
	}
	// Whoever left is out on every device, in every process.
	for process := range 2 {
		if r, err := c.dep.Do(t.Context(), process, token, http.MethodGet, hstest.Path("account", "whoami"), nil); err != nil || r.Status != 401 {
			t.Errorf("process %d: who left is answered %v %v", process, r, err)
		}
	}
	c.mustBecome(t, "cn=Team Red,"+groupsBase, "@directory:hs.test @p00001:hs.test @p00007:hs.test")

	// Without its memory, the bridge finds what is there and has nothing to do but to say everything once more.
	if err := os.Remove(c.cfg.StateFile); err != nil {
		t.Fatal(err)
	}
	if done := c.sync(t, Options{}); len(done.Create)+len(done.Lock)+len(done.Reactivate) != 0 {
		t.Errorf("without its memory the bridge plans %+v", done.Plan)
	}

	// Half of the people are gone at one time: that is not believed.
	c.change(t, func(conn *ldap.Conn) error {
		for i := 30; i < 60; i++ {
			if err := conn.Del(ldap.NewDelRequest(dn(i), nil)); err != nil {
				return err
			}
		}
		return nil
	})
	var shrunk *ShrunkError
	if _, err := c.bridge(t).Sync(t.Context(), Options{}); !errors.As(err, &shrunk) || shrunk.Leavers != 30 {
		t.Fatalf("half of the people are gone: %v", err)
	}
	if !c.resource(t, admin, "p00031").Get("active").Bool() {
		t.Error("the guard stopped after somebody was locked")
	}
	if done := c.sync(t, Options{AcceptLeavers: 30}); len(done.Lock) != 30 || c.resource(t, admin, "p00031").Get("active").Bool() {
		t.Errorf("accepted leavers: %d", len(done.Lock))
	}

	// The directory is away: nothing happens.
	c.slapd.Stop(t)
	if _, err := c.bridge(t).Sync(t.Context(), Options{}); err == nil || errors.As(err, new(*ShrunkError)) {
		t.Errorf("without a directory: %v", err)
	}
	c.slapd.Restart(t)
	if done := c.sync(t, Options{}); !done.Empty() {
		t.Errorf("after the directory was away: %+v", done.Plan)
	}
}

func TestDirectoryIsNotReadInTheClear(t *testing.T) {
	t.Parallel()
	slapd := hstest.Slapd(t, company(3))
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("wrong"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := LDAPConfig{URL: slapd.URL, BindDN: slapd.Reader, PasswordFile: file, Base: peopleBase}
	if err := cfg.check(); err != nil {
		t.Fatal(err)
	}
	source := &ldapSource{cfg}
	if _, err := source.Read(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate of nobody's: %v", err)
	}
	source.cfg.CAFile = slapd.CAFile
	if _, err := source.Read(t.Context(), ""); !ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials) || strings.Contains(err.Error(), "wrong") {
		t.Errorf("a wrong password: %v", err)
	}
	if err := os.WriteFile(file, []byte(slapd.Password), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := source.Read(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "others can read it") {
		t.Errorf("a password that everybody can read: %v", err)
	}
}
