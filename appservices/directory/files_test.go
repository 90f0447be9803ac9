package directory

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestCSV(t *testing.T) {
	file := write(t, "people.csv", "\ufeffid;user;Abteilung;email;phone;mobile;groups;active\n"+
		"1;anna;Sales;anna@x.test|a@x.test;+49 30 1;+49 170 1;Team A|Everybody;\n"+
		"2;bert;\"R;D\";bert@x.test;;;Everybody;no\n")
	c := CSVConfig{File: file, Separator: ";", Columns: map[string]string{"department": "abteilung"}}
	if err := c.check(); err != nil {
		t.Fatal(err)
	}
	got, err := (&csvSource{c}).Read(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for i := range got.People {
		got.People[i].tidy()
	}
	want := []Person{
		{ID: "1", Localpart: "anna", Active: true, Department: "Sales", Emails: []Address{{"anna@x.test", "work"}, {"a@x.test", "work"}},
			Phones: []Address{{"+49 30 1", "work"}, {"+49 170 1", "mobile"}}},
		{ID: "2", Localpart: "bert", Department: "R;D", Emails: []Address{{"bert@x.test", "work"}}},
	}
	if !reflect.DeepEqual(got.People, want) {
		t.Errorf("people %+v\nwant   %+v", got.People, want)
	}
	groups := []Group{{"csv:Everybody", "Everybody", []string{"1", "2"}}, {"csv:Team A", "Team A", []string{"1"}}}
	if !reflect.DeepEqual(got.Groups, groups) {
		t.Errorf("groups %+v", got.Groups)
	}
}

func TestBadCSV(t *testing.T) {
	for text, want := range map[string]string{
		"name\nx\n":          "neither a column id nor a column user",
		"id,name\n1,a\n,b\n": "line 3: the id is empty",
		"id,name\n1\n":       "wrong number of fields",
		"":                   "names of the columns",
	} {
		c := CSVConfig{File: write(t, "bad.csv", text)}
		if err := c.check(); err != nil {
			t.Fatal(err)
		}
		if _, err := (&csvSource{c}).Read(t.Context(), ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestVCards(t *testing.T) {
	file := write(t, "people.vcf", strings.ReplaceAll(`BEGIN:VCARD
VERSION:3.0
UID:u-1
FN:Anna Muster
N:Muster;Anna;;;
NICKNAME:anna
ORG:Company;Sales
TITLE:Head
EMAIL;TYPE=WORK:anna@x.test
TEL;TYPE=CELL:+49 170 1
CATEGORIES:Team A,Everybody
END:VCARD
BEGIN:VCARD
VERSION:4.0
UID:u-2
FN:Bert
EMAIL:bert@x.test
PHOTO:data:image/png;base64,iVBORw0KGgo=
END:VCARD
`, "\n", "\r\n"))
	got, err := (&vcardSource{VCardConfig{filepath.Dir(file)}}).Read(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	want := []Person{
		{ID: "u-1", Localpart: "anna", Active: true, Name: "Anna Muster", GivenName: "Anna", FamilyName: "Muster", Title: "Head", Department: "Sales",
			Emails: []Address{{"anna@x.test", "work"}}, Phones: []Address{{"+49 170 1", "mobile"}}},
		{ID: "u-2", Localpart: "bert@x.test", Active: true, Name: "Bert", Emails: []Address{{"bert@x.test", "other"}}, Photo: []byte("\x89PNG\r\n\x1a\n")},
	}
	if !reflect.DeepEqual(got.People, want) {
		t.Errorf("people %+v\nwant   %+v", got.People, want)
	}
	if len(got.Groups) != 2 || !reflect.DeepEqual(got.Groups[1], Group{"vcard:Team A", "Team A", []string{"u-1"}}) {
		t.Errorf("groups %+v", got.Groups)
	}
	broken := write(t, "broken.vcf", "BEGIN:VCARD\r\nVERSION:3.0\r\nFN:x\r\nEND:VCARD\r\n")
	if _, err := (&vcardSource{VCardConfig{filepath.Dir(broken)}}).Read(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "no UID") {
		t.Errorf("a card without UID: %v", err)
	}
}

func TestConfiguration(t *testing.T) {
	good := "homeserver: {url: https://hs.test}\nregistration: r.yaml\ndomain: d.test\nstate_file: s.json\n"
	c, err := ReadConfig(write(t, "c.yaml", good+"source: {csv: {file: people.csv}}\nrooms: [{group: 'Team .*'}]\n"))
	if err != nil || !filepath.IsAbs(c.Source.CSV.File) || c.Rooms[0].Name != "{group}" {
		t.Fatalf("%+v %v", c, err)
	}
	for text, want := range map[string]string{
		good: "source: exactly one",
		strings.Replace(good, "https", "http", 1) + "source: {csv: {file: x}}":    "homeserver.url: http",
		good + "source: {csv: {file: x}}\nunknown: 1\n":                           "unknown",
		good + "source: {csv: {file: x}}\nrooms: [{group: '('}]\n":                "rooms[0].group",
		good + "source: {csv: {file: x}, vcard: {folder: y}}\n":                   "source: exactly one",
		good + "source: {ldap: {url: 'ldap://x', base: 'dc=x'}}\n":                "source.ldap.url: ldap:// needs start_tls",
		good + "source: {ldap: {url: 'ldaps://x', base: 'dc=x', filter: '(('}}\n": "source.ldap.filter",
		good + "source: {ldap: {url: 'ldaps://x', bind_dn: 'cn=x', base: 'x'}}\n": "source.ldap.password_file",
		good + "source: {csv: {file: x, columns: {nonsense: y}}}\n":               "source.csv.columns",
		good + "poll: 1ms\nsource: {csv: {file: x}}\n":                            "poll",
		good + "source: {csv: {file: x}}\nguard: {percent: 101}\n":                "guard",
	} {
		if _, err := ReadConfig(write(t, "c.yaml", text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q:\n%v, want %q", text, err, want)
		}
	}
}
