package directory

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// LDAPConfig is an LDAP server or an Active Directory.
type LDAPConfig struct {
	// URL is ldaps://host[:port], or ldap:// with StartTLS.
	URL string `yaml:"url"`
	// StartTLS turns a plain connection into an encrypted one before anything is said.
	StartTLS bool `yaml:"start_tls"`
	// Insecure allows a plain connection, for trials.
	Insecure bool `yaml:"insecure"`
	// CAFile are the authorities to believe instead of the system's.
	CAFile string `yaml:"ca_file"`
	// BindDN and the password are of an account that may read. Without a BindDN it is anonymous.
	BindDN       string `yaml:"bind_dn"`
	PasswordFile string `yaml:"password_file"`
	// Base and Filter say who is read.
	Base   string `yaml:"base"`
	Filter string `yaml:"filter"`
	// GroupBase and GroupFilter say which groups are read; no groups without a GroupFilter.
	GroupBase   string `yaml:"group_base"`
	GroupFilter string `yaml:"group_filter"`
	// Kind is "active_directory" or "ldap", and decides what the attributes are by default.
	Kind string `yaml:"kind"`
	// Attributes name those of a person, for what is called otherwise than usual.
	Attributes LDAPAttributes `yaml:"attributes"`
}

// LDAPAttributes are the names of attributes.
type LDAPAttributes struct {
	ID         string `yaml:"id"`
	Localpart  string `yaml:"localpart"`
	Name       string `yaml:"name"`
	GivenName  string `yaml:"given_name"`
	FamilyName string `yaml:"family_name"`
	Title      string `yaml:"title"`
	Department string `yaml:"department"`
	Email      string `yaml:"email"`
	Phone      string `yaml:"phone"`
	Mobile     string `yaml:"mobile"`
	Manager    string `yaml:"manager"`
	Photo      string `yaml:"photo"`
	Member     string `yaml:"member"`
	GroupName  string `yaml:"group_name"`
	// Changed is what grows with each change of an entry.
	Changed string `yaml:"changed"`
}

const (
	kindActiveDirectory = "active_directory"
	kindLDAP            = "ldap"

	// ldapPage is how many entries a server is asked for at one time: no server gives more than a thousand.
	ldapPage = 500
	// ldapPatience bounds each answer.
	ldapPatience = 30 * time.Second
	// maxPeople bounds a source, so that a filter that is too wide ends with a message.
	maxPeople = 500_000

	// accountDisabled is a bit of an Active Directory's userAccountControl.
	accountDisabled = 0x2
	// lockedByHand is the time that stands for a lock which does not end by itself; others are of wrong passwords.
	lockedByHand = "000001010000Z"
)

func (c *LDAPConfig) check() error {
	c.Kind = cmp.Or(c.Kind, kindLDAP)
	defaults := LDAPAttributes{
		ID: "entryUUID", Localpart: "uid", Name: "cn", GivenName: "givenName", FamilyName: "sn", Title: "title", Department: "departmentNumber",
		Email: "mail", Phone: "telephoneNumber", Mobile: "mobile", Manager: "manager", Photo: "jpegPhoto", Member: "member", GroupName: "cn",
		Changed: "modifyTimestamp",
	}
	filter := "(objectClass=inetOrgPerson)"
	if c.Kind == kindActiveDirectory {
		defaults.ID, defaults.Localpart, defaults.Name = "objectGUID", "sAMAccountName", "displayName"
		defaults.Department, defaults.Photo, defaults.Changed = "department", "thumbnailPhoto", "uSNChanged"
		filter = "(&(objectCategory=person)(objectClass=user))"
	}
	c.Attributes.fill(defaults)
	c.Filter, c.GroupBase = cmp.Or(c.Filter, filter), cmp.Or(c.GroupBase, c.Base)
	var errs []error
	complain := func(field, what string) { errs = append(errs, fmt.Errorf("source.ldap.%s: %s", field, what)) }
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "ldap" && u.Scheme != "ldaps":
		complain("url", "must be ldaps://host or ldap://host")
	case u.Scheme == "ldap" && !c.StartTLS && !c.Insecure:
		complain("url", "ldap:// needs start_tls: the password and everybody's data would be in the clear (insecure allows it for a trial)")
	}
	if c.Base == "" {
		complain("base", "is missing")
	}
	if c.Kind != kindLDAP && c.Kind != kindActiveDirectory {
		complain("kind", "is ldap or active_directory")
	}
	if (c.BindDN == "") != (c.PasswordFile == "") {
		complain("password_file", "goes together with bind_dn")
	}
	for field, filter := range map[string]string{"filter": c.Filter, "group_filter": c.GroupFilter} {
		if _, err := ldap.CompileFilter(filter); filter != "" && err != nil {
			complain(field, "is no LDAP filter")
		}
	}
	return errors.Join(errs...)
}

func (a *LDAPAttributes) fill(d LDAPAttributes) {
	for _, f := range []struct {
		to   *string
		from string
	}{
		{&a.ID, d.ID}, {&a.Localpart, d.Localpart}, {&a.Name, d.Name}, {&a.GivenName, d.GivenName}, {&a.FamilyName, d.FamilyName},
		{&a.Title, d.Title}, {&a.Department, d.Department}, {&a.Email, d.Email}, {&a.Phone, d.Phone}, {&a.Mobile, d.Mobile},
		{&a.Manager, d.Manager}, {&a.Photo, d.Photo}, {&a.Member, d.Member}, {&a.GroupName, d.GroupName}, {&a.Changed, d.Changed},
	} {
		*f.to = cmp.Or(*f.to, f.from)
	}
}

type ldapSource struct{ cfg LDAPConfig }

func (s *ldapSource) Name() string { return s.cfg.URL }

// Read asks for the names and ids of all, which is little, and for the rest of those that changed.
func (s *ldapSource) Read(ctx context.Context, mark string) (Snapshot, error) {
	conn, err := s.connect(ctx)
	if err != nil {
		return Snapshot{}, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	a := &s.cfg.Attributes
	ids := map[string]string{} // by DN
	snapshot := Snapshot{Mark: mark}
	err = s.search(conn, s.cfg.Base, s.cfg.Filter, []string{a.ID, a.Changed}, func(e *ldap.Entry) {
		id := s.id(e)
		if id == "" {
			return
		}
		ids[dnKey(e.DN)] = id
		snapshot.Present = append(snapshot.Present, id)
		snapshot.Mark = later(snapshot.Mark, e.GetAttributeValue(a.Changed))
	})
	if err != nil {
		return Snapshot{}, err
	}
	filter := s.cfg.Filter
	if mark != "" {
		// Not "after": two changes may have one time.
		filter = fmt.Sprintf("(&%s(%s>=%s))", parenthesised(filter), a.Changed, ldap.EscapeFilter(mark))
	}
	attributes := []string{a.ID, a.Localpart, a.Name, a.GivenName, a.FamilyName, a.Title, a.Department, a.Email, a.Phone, a.Mobile, a.Manager, a.Photo,
		"proxyAddresses", "userAccountControl", "pwdAccountLockedTime", "nsAccountLock"}
	err = s.search(conn, s.cfg.Base, filter, attributes, func(e *ldap.Entry) {
		if p := s.person(e, ids); p.ID != "" {
			snapshot.People = append(snapshot.People, p)
		}
	})
	if err != nil || s.cfg.GroupFilter == "" {
		return snapshot, err
	}
	snapshot.Groups = []Group{}
	err = s.search(conn, s.cfg.GroupBase, s.cfg.GroupFilter, []string{a.ID, a.GroupName, a.Member}, func(e *ldap.Entry) {
		g := Group{ID: s.id(e), Name: e.GetAttributeValue(a.GroupName), Members: []string{}}
		for _, dn := range e.GetAttributeValues(a.Member) {
			if id := ids[dnKey(dn)]; id != "" {
				g.Members = append(g.Members, id)
			}
		}
		if g.ID != "" && g.Name != "" {
			snapshot.Groups = append(snapshot.Groups, g)
		}
	})
	return snapshot, err
}

func (s *ldapSource) connect(ctx context.Context) (*ldap.Conn, error) {
	u, err := url.Parse(s.cfg.URL)
	if err != nil {
		return nil, err
	}
	secure := &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}
	if s.cfg.CAFile != "" {
		pem, err := os.ReadFile(s.cfg.CAFile)
		if err != nil {
			return nil, err
		}
		secure.RootCAs = x509.NewCertPool()
		if !secure.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("source.ldap.ca_file: there is no certificate in %s", s.cfg.CAFile)
		}
	}
	deadline, ok := ctx.Deadline()
	if !ok || time.Until(deadline) > ldapPatience {
		deadline = time.Now().Add(ldapPatience)
	}
	conn, err := ldap.DialURL(s.cfg.URL, ldap.DialWithDialer(&net.Dialer{Deadline: deadline}), ldap.DialWithTLSConfig(secure))
	if err != nil {
		return nil, fmt.Errorf("connect to the directory: %w", err)
	}
	conn.SetTimeout(ldapPatience)
	if err := s.signIn(conn, secure); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

func (s *ldapSource) signIn(conn *ldap.Conn, secure *tls.Config) error {
	if s.cfg.StartTLS {
		if err := conn.StartTLS(secure); err != nil {
			return fmt.Errorf("encrypt the connection to the directory: %w", err)
		}
	}
	if s.cfg.BindDN == "" {
		return nil
	}
	password, err := secretFile(s.cfg.PasswordFile)
	if err != nil {
		return fmt.Errorf("source.ldap.password_file: %w", err)
	}
	if password == "" {
		// A bind without a password succeeds, as nobody.
		return errors.New("source.ldap.password_file: is empty")
	}
	if err := conn.Bind(s.cfg.BindDN, password); err != nil {
		return fmt.Errorf("sign in to the directory as %s: %w", s.cfg.BindDN, err)
	}
	return nil
}

// search calls do for every entry, page by page.
func (s *ldapSource) search(conn *ldap.Conn, base, filter string, attributes []string, do func(*ldap.Entry)) error {
	paging := ldap.NewControlPaging(ldapPage)
	seen := 0
	for {
		result, err := conn.Search(ldap.NewSearchRequest(base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 0, 0, false, filter, attributes, []ldap.Control{paging}))
		if err != nil {
			return fmt.Errorf("search %s in the directory: %w", filter, err)
		}
		if seen += len(result.Entries); seen > maxPeople {
			return fmt.Errorf("search %s in the directory: more than %d entries", filter, maxPeople)
		}
		for _, e := range result.Entries {
			do(e)
		}
		next, ok := ldap.FindControl(result.Controls, ldap.ControlTypePaging).(*ldap.ControlPaging)
		if !ok || len(next.Cookie) == 0 {
			return nil
		}
		paging.SetCookie(next.Cookie)
	}
}

// id is the entry's, as text: Active Directory's are 16 bytes.
func (s *ldapSource) id(e *ldap.Entry) string {
	if s.cfg.Attributes.ID == "objectGUID" {
		return hex.EncodeToString(e.GetRawAttributeValue("objectGUID"))
	}
	return e.GetAttributeValue(s.cfg.Attributes.ID)
}

func (s *ldapSource) person(e *ldap.Entry, ids map[string]string) Person {
	a := &s.cfg.Attributes
	p := Person{
		ID: s.id(e), Localpart: e.GetAttributeValue(a.Localpart), Active: active(e), Name: e.GetAttributeValue(a.Name),
		GivenName: e.GetAttributeValue(a.GivenName), FamilyName: e.GetAttributeValue(a.FamilyName), Title: e.GetAttributeValue(a.Title),
		Department: e.GetAttributeValue(a.Department), Manager: ids[dnKey(e.GetAttributeValue(a.Manager))], Photo: e.GetRawAttributeValue(a.Photo),
	}
	for _, address := range e.GetAttributeValues(a.Email) {
		p.Emails = append(p.Emails, Address{address, "work"})
	}
	for _, proxy := range e.GetAttributeValues("proxyAddresses") {
		if scheme, address, ok := strings.Cut(proxy, ":"); ok && strings.EqualFold(scheme, "smtp") {
			p.Emails = append(p.Emails, Address{address, "other"})
		}
	}
	for _, number := range e.GetAttributeValues(a.Phone) {
		p.Phones = append(p.Phones, Address{number, "work"})
	}
	for _, number := range e.GetAttributeValues(a.Mobile) {
		p.Phones = append(p.Phones, Address{number, "mobile"})
	}
	return p
}

// active reports whether somebody may sign in, by what the kinds of directories say of it.
func active(e *ldap.Entry) bool {
	if control, err := strconv.ParseInt(e.GetAttributeValue("userAccountControl"), 10, 64); err == nil && control&accountDisabled != 0 {
		return false
	}
	return e.GetAttributeValue("pwdAccountLockedTime") != lockedByHand && !strings.EqualFold(e.GetAttributeValue("nsAccountLock"), "true")
}

// dnKey is the same for two spellings of a distinguished name.
func dnKey(dn string) string {
	parsed, err := ldap.ParseDN(dn)
	if err != nil {
		return strings.ToLower(dn)
	}
	return strings.ToLower(parsed.String())
}

// later is the greater of two marks, which are numbers or times that sort as text.
func later(a, b string) string {
	x, errX := strconv.ParseUint(a, 10, 64)
	y, errY := strconv.ParseUint(b, 10, 64)
	if errX == nil && errY == nil {
		return strconv.FormatUint(max(x, y), 10)
	}
	return max(a, b)
}

func parenthesised(filter string) string {
	if strings.HasPrefix(filter, "(") {
		return filter
	}
	return "(" + filter + ")"
}

// sortedKeys makes messages and requests come in one order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
