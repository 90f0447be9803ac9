package directory

import (
	"bytes"
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// CSVConfig is a file with a line for each person. Its first line names the columns: id, user, active, name, given_name,
// family_name, title, department, email, phone, mobile, manager, groups. Only id (or user) is needed. email, phone, mobile and groups may have
// several values with | between them.
type CSVConfig struct {
	File string `yaml:"file"`
	// Separator is , unless it is given.
	Separator string `yaml:"separator"`
	// Columns are the names of columns that are called otherwise: {department: Abteilung}.
	Columns map[string]string `yaml:"columns"`
}

var csvColumns = []string{"id", "user", "active", "name", "given_name", "family_name", "title", "department", "email", "phone", "mobile", "manager", "groups"}

// maxFile bounds a file of people, in bytes.
const maxFile = 256 << 20

func (c *CSVConfig) check() error {
	var errs []error
	if c.File == "" {
		errs = append(errs, errors.New("source.csv.file: is missing"))
	}
	c.Separator = cmp.Or(c.Separator, ",")
	if len([]rune(c.Separator)) != 1 {
		errs = append(errs, errors.New("source.csv.separator: must be one character"))
	}
	for column := range c.Columns {
		if !slices.Contains(csvColumns, column) {
			errs = append(errs, fmt.Errorf("source.csv.columns: %q is none of %s", column, strings.Join(csvColumns, ", ")))
		}
	}
	return errors.Join(errs...)
}

type csvSource struct{ cfg CSVConfig }

func (s *csvSource) Name() string { return s.cfg.File }

// Read reads the whole file each time: it says nothing of what changed.
func (s *csvSource) Read(ctx context.Context, _ string) (Snapshot, error) {
	text, err := readBounded(s.cfg.File, maxFile)
	if err != nil {
		return Snapshot{}, err
	}
	reader := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(text, []byte("\ufeff"))))
	reader.Comma = []rune(s.cfg.Separator)[0]
	header, err := reader.Read()
	if err != nil {
		return Snapshot{}, fmt.Errorf("%s: the line with the names of the columns: %w", s.cfg.File, err)
	}
	column := s.columns(header)
	if column["id"] < 0 && column["user"] < 0 {
		return Snapshot{}, fmt.Errorf("%s: there is neither a column id nor a column user", s.cfg.File)
	}
	var snapshot Snapshot
	groups := map[string]*Group{}
	for ctx.Err() == nil {
		line, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Snapshot{}, fmt.Errorf("%s: %w", s.cfg.File, err)
		}
		p, names := csvPerson(line, column)
		if p.ID == "" {
			n, _ := reader.FieldPos(0)
			return Snapshot{}, fmt.Errorf("%s: line %d: the id is empty", s.cfg.File, n)
		}
		snapshot.People, snapshot.Present = append(snapshot.People, p), append(snapshot.Present, p.ID)
		for _, name := range names {
			g := groups[name]
			if g == nil {
				g = &Group{ID: "csv:" + name, Name: name}
				groups[name] = g
			}
			g.Members = append(g.Members, p.ID)
		}
	}
	if column["groups"] >= 0 {
		snapshot.Groups = []Group{}
		for _, name := range sortedKeys(groups) {
			snapshot.Groups = append(snapshot.Groups, *groups[name])
		}
	}
	return snapshot, ctx.Err()
}

// columns are the places of the columns by our names, -1 for one that is missing.
func (s *csvSource) columns(header []string) map[string]int {
	column := map[string]int{}
	for _, name := range csvColumns {
		called := cmp.Or(s.cfg.Columns[name], name)
		column[name] = slices.IndexFunc(header, func(h string) bool { return strings.EqualFold(strings.TrimSpace(h), called) })
	}
	return column
}

func csvPerson(line []string, column map[string]int) (p Person, groups []string) {
	value := func(name string) string {
		if i := column[name]; i >= 0 {
			return strings.TrimSpace(line[i])
		}
		return ""
	}
	p = Person{
		ID: cmp.Or(value("id"), value("user")), Localpart: cmp.Or(value("user"), value("id")), Name: value("name"),
		GivenName: value("given_name"), FamilyName: value("family_name"), Title: value("title"), Department: value("department"),
		Manager: value("manager"), Active: !slices.Contains([]string{"0", "false", "no", "n"}, strings.ToLower(value("active"))),
	}
	for name, kind := range map[string]string{"phone": "work", "mobile": "mobile"} {
		for number := range strings.SplitSeq(value(name), "|") {
			p.Phones = append(p.Phones, Address{number, kind})
		}
	}
	slices.SortStableFunc(p.Phones, func(a, b Address) int { return cmp.Compare(b.Kind, a.Kind) })
	for address := range strings.SplitSeq(value("email"), "|") {
		p.Emails = append(p.Emails, Address{address, "work"})
	}
	for name := range strings.SplitSeq(value("groups"), "|") {
		if name = strings.TrimSpace(name); name != "" {
			groups = append(groups, name)
		}
	}
	return p, groups
}

func readBounded(file string, most int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(text)) > most {
		err = fmt.Errorf("%s: more than %d bytes", file, most)
	}
	return text, err
}
