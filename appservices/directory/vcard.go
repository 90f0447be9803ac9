package directory

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/emersion/go-vcard"
)

// VCardConfig is a folder of .vcf files, with one or more cards each. A card's UID is the person's id; NICKNAME, or what stands before
// the @ of the first EMAIL, the user name; CATEGORIES are groups.
type VCardConfig struct {
	Folder string `yaml:"folder"`
}

func (c *VCardConfig) check() error {
	if c.Folder == "" {
		return errors.New("source.vcard.folder: is missing")
	}
	return nil
}

type vcardSource struct{ cfg VCardConfig }

func (s *vcardSource) Name() string { return s.cfg.Folder }

// Read reads all files each time.
func (s *vcardSource) Read(ctx context.Context, _ string) (Snapshot, error) {
	entries, err := os.ReadDir(s.cfg.Folder)
	if err != nil {
		return Snapshot{}, err
	}
	snapshot := Snapshot{Groups: []Group{}}
	groups := map[string]*Group{}
	for _, entry := range entries {
		if !strings.EqualFold(filepath.Ext(entry.Name()), ".vcf") || entry.IsDir() {
			continue
		}
		file := filepath.Join(s.cfg.Folder, entry.Name())
		text, err := readBounded(file, maxFile)
		if err != nil {
			return Snapshot{}, err
		}
		if err := readCards(ctx, text, &snapshot, groups); err != nil {
			return Snapshot{}, fmt.Errorf("%s: %w", file, err)
		}
	}
	for _, name := range sortedKeys(groups) {
		snapshot.Groups = append(snapshot.Groups, *groups[name])
	}
	return snapshot, nil
}

func readCards(ctx context.Context, text []byte, snapshot *Snapshot, groups map[string]*Group) error {
	decoder := vcard.NewDecoder(bytes.NewReader(text))
	for n := 1; ctx.Err() == nil; n++ {
		card, err := decoder.Decode()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("card %d: %w", n, err)
		}
		p := cardPerson(card)
		if p.ID == "" {
			return fmt.Errorf("card %d: there is no UID", n)
		}
		snapshot.People, snapshot.Present = append(snapshot.People, p), append(snapshot.Present, p.ID)
		for _, name := range card.Categories() {
			if name = strings.TrimSpace(name); name == "" {
				continue
			}
			if groups[name] == nil {
				groups[name] = &Group{ID: "vcard:" + name, Name: name}
			}
			groups[name].Members = append(groups[name].Members, p.ID)
		}
	}
	return ctx.Err()
}

func cardPerson(card vcard.Card) Person {
	p := Person{ID: card.Value(vcard.FieldUID), Active: true, Name: card.PreferredValue(vcard.FieldFormattedName), Title: card.PreferredValue(vcard.FieldTitle)}
	if name := card.Name(); name != nil {
		p.GivenName, p.FamilyName = name.GivenName, name.FamilyName
	}
	if organisation, unit, ok := strings.Cut(card.PreferredValue(vcard.FieldOrganization), ";"); ok && organisation != "" {
		p.Department = unit
	}
	for _, f := range card[vcard.FieldEmail] {
		p.Emails = append(p.Emails, Address{f.Value, kindOf(f)})
	}
	for _, f := range card[vcard.FieldTelephone] {
		p.Phones = append(p.Phones, Address{strings.TrimPrefix(f.Value, "tel:"), kindOf(f)})
	}
	if p.Localpart = card.PreferredValue(vcard.FieldNickname); p.Localpart == "" && len(p.Emails) > 0 {
		p.Localpart = p.Emails[0].Value
	}
	p.Photo = cardPhoto(card.Get(vcard.FieldPhoto))
	return p
}

func kindOf(f *vcard.Field) string {
	types := f.Params.Types()
	for want, kind := range map[string]string{"cell": "mobile", "mobile": "mobile"} {
		if slices.Contains(types, want) {
			return kind
		}
	}
	for _, kind := range []string{"work", "home"} {
		if slices.Contains(types, kind) {
			return kind
		}
	}
	return "other"
}

// cardPhoto is a picture that is in the card; nothing is fetched.
func cardPhoto(f *vcard.Field) []byte {
	if f == nil {
		return nil
	}
	text := f.Value
	if _, after, ok := strings.Cut(text, ";base64,"); ok && strings.HasPrefix(text, "data:") {
		text = after
	} else if strings.Contains(text, ":") {
		return nil
	}
	data, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		return nil
	}
	return data
}
