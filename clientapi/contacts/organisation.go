package contacts

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/roomline/roomline/clientapi/contacts/vcard"
	"github.com/roomline/roomline/clientapi/directory"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/store"
)

// organisation is the address book of the people whom an organisation's users may see.
type organisation struct {
	s   *Server
	org int64
	// manages says that the reader manages people.
	manages bool
}

func (g *organisation) about() *bookInfo {
	return &bookInfo{segment: "organisation", name: "Organisation", description: "The people of your organisation and of those linked with it", readOnly: true}
}

// source is an organisation whose people are in the book.
type source struct {
	org int64
	may store.DirectorySource
	// shape tells one form of the entries from another: what is shared, and what is the same in all of them.
	shape string
	// change is the last one there was.
	change int64
}

// cardForm counts the forms that entries had, so that phones fetch them again when it changes.
const cardForm = 1

// sources are the organisations in the book, in the order of their numbers. They are asked for each time, so that a link which was revoked
// shows nothing from then on.
func (g *organisation) sources(ctx context.Context, tx *store.Tx) ([]source, error) {
	found, err := tx.ListDirectorySources(ctx, g.org)
	if err != nil {
		return nil, err
	}
	own, err := directory.Given(ctx, tx, g.org, g.manages)
	if err != nil {
		return nil, fmt.Errorf("look up what people of the organisation see of each other: %w", err)
	}
	var list []source
	for _, f := range found {
		if f.OrganisationID == g.org {
			f.Emails, f.Phones, f.Work = own.Email, own.Phone, own.Work
		}
		src := source{org: f.OrganisationID, may: f}
		sum := sha256.Sum256(fmt.Appendf(nil, "%d %t %t %t %s", cardForm, f.Emails, f.Phones, f.Work, f.Name))
		src.shape = hex.EncodeToString(sum[:4])
		if src.change, err = tx.GetDirectoryChange(ctx, src.org); err != nil {
			return nil, err
		}
		list = append(list, src)
	}
	slices.SortFunc(list, func(a, b source) int { return cmp.Compare(a.org, b.org) })
	return list, nil
}

// read runs f with the sources, after what was changed has been given its numbers.
func (g *organisation) read(ctx context.Context, f func(tx *store.Tx, sources []source) error) error {
	const atOnce = 10_000
	for {
		some, err := g.s.store.HasDirectoryChanges(ctx)
		if err != nil {
			return fmt.Errorf("look for changes of the directory: %w", err)
		}
		if !some {
			break
		}
		if _, err := g.s.store.SettleDirectory(ctx, atOnce); err != nil {
			return fmt.Errorf("number the changes of the directory: %w", err)
		}
	}
	return g.s.store.Read(ctx, func(tx *store.Tx) error {
		sources, err := g.sources(ctx, tx)
		if err != nil {
			return fmt.Errorf("list the linked organisations: %w", err)
		}
		return f(tx, sources)
	})
}

func (g *organisation) state(ctx context.Context) (token string, err error) {
	err = g.read(ctx, func(_ *store.Tx, sources []source) error {
		token = formatSeen(seenOf(sources))
		return nil
	})
	return token, err
}

func (g *organisation) all(ctx context.Context) (list []object, err error) {
	err = g.read(ctx, func(tx *store.Tx, sources []source) error {
		list = nil
		for _, src := range sources {
			people, err := tx.ListDirectory(ctx, src.org, 0, limits.DirectoryPeople)
			if err != nil {
				return fmt.Errorf("list the directory: %w", err)
			}
			for _, p := range people {
				if p.Listed {
					list = append(list, src.object(p))
				}
			}
		}
		return nil
	})
	return list, err
}

func (g *organisation) load(ctx context.Context, names []string) (list []object, err error) {
	var wanted []string
	for _, name := range names {
		if stem, ok := strings.CutSuffix(name, ".vcf"); ok {
			wanted = append(wanted, stem)
		}
	}
	err = g.read(ctx, func(tx *store.Tx, sources []source) error {
		list = nil
		for _, src := range sources {
			people, err := tx.ListDirectoryByName(ctx, src.org, wanted)
			if err != nil {
				return fmt.Errorf("read the directory: %w", err)
			}
			for _, p := range people {
				if p.Listed {
					list = append(list, src.object(p))
				}
			}
		}
		return nil
	})
	return list, err
}

// seen is how far a client has come with a source.
type seen struct {
	change int64
	shape  string
}

func seenOf(sources []source) map[int64]seen {
	all := map[int64]seen{}
	for _, src := range sources {
		all[src.org] = seen{src.change, src.shape}
	}
	return all
}

// formatSeen is a sync token: organisation, change and shape of each source.
func formatSeen(all map[int64]seen) string {
	var parts []string
	for org, at := range all {
		parts = append(parts, fmt.Sprintf("%d.%d.%s", org, at.change, at.shape))
	}
	slices.Sort(parts)
	return tokenPrefix + "o" + strings.Join(parts, "_")
}

func parseSeen(token string) (map[int64]seen, error) {
	text, ok := strings.CutPrefix(token, tokenPrefix+"o")
	if !ok {
		return nil, errToken
	}
	all := map[int64]seen{}
	for part := range strings.SplitSeq(text, "_") {
		fields := strings.Split(part, ".")
		if part == "" {
			continue
		}
		if len(fields) != 3 {
			return nil, errToken
		}
		org, err1 := strconv.ParseInt(fields[0], 10, 64)
		change, err2 := strconv.ParseInt(fields[1], 10, 64)
		if err1 != nil || err2 != nil || change < 0 {
			return nil, errToken
		}
		all[org] = seen{change, fields[2]}
	}
	return all, nil
}

// changes implements book. Of an organisation whose link is gone the client is told once that all its people are.
//
// Spec: RFC 6578 §3.2 to §3.6
func (g *organisation) changes(ctx context.Context, token string, limit int) (list []object, next string, more bool, err error) {
	at := map[int64]seen{}
	if token != "" {
		if at, err = parseSeen(token); err != nil {
			return nil, "", false, err
		}
	}
	err = g.read(ctx, func(tx *store.Tx, sources []source) error {
		list, more = nil, false
		now := seenOf(sources)
		for _, org := range slices.Sorted(mapKeys(at)) {
			if _, there := now[org]; there {
				continue
			}
			people, err := tx.ListDirectory(ctx, org, 0, limits.DirectoryPeople)
			if err != nil {
				return fmt.Errorf("list the directory: %w", err)
			}
			for _, p := range people {
				list = append(list, object{name: p.ObjectName + ".vcf", gone: true})
			}
			delete(at, org)
		}
		for _, src := range sources {
			if more = len(list) >= limit && at[src.org] != now[src.org]; more {
				return nil
			}
			some, reached, err := src.changes(ctx, tx, at[src.org], limit-len(list))
			if err != nil {
				return err
			}
			list = append(list, some...)
			at[src.org] = reached
			if more = reached != now[src.org]; more {
				return nil
			}
		}
		return nil
	})
	return list, formatSeen(at), more, err
}

func mapKeys(m map[int64]seen) func(yield func(int64) bool) {
	return func(yield func(int64) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// changes lists what changed since from, and how far that reaches.
func (src *source) changes(ctx context.Context, tx *store.Tx, from seen, limit int) ([]object, seen, error) {
	if from.change > src.change {
		return nil, from, errToken
	}
	after := from.change
	if from.shape != src.shape {
		after = 0
	}
	if after == src.change {
		return nil, seen{src.change, src.shape}, nil
	}
	people, err := tx.ListDirectory(ctx, src.org, after, limit+1)
	if err != nil {
		return nil, from, fmt.Errorf("list the directory: %w", err)
	}
	reached := seen{src.change, src.shape}
	if len(people) > limit {
		people = people[:limit]
		reached.change = people[limit-1].Change
	}
	var list []object
	for _, p := range people {
		switch {
		case p.Listed:
			list = append(list, src.object(p))
		case from != seen{}: // who comes for the first time has nobody to forget
			list = append(list, object{name: p.ObjectName + ".vcf", gone: true})
		}
	}
	return list, reached, nil
}

// object is somebody's entry, with what is shared.
func (src *source) object(p store.DirectoryPerson) object {
	card := src.card(p)
	return object{
		name: p.ObjectName + ".vcf", etag: fmt.Sprintf(`"%d-%d-%s"`, src.org, p.Change, src.shape), size: int64(len(card)), card: card,
	}
}

func (src *source) card(p store.DirectoryPerson) []byte {
	name := ""
	if json.Unmarshal(p.Name, &name) != nil || name == "" {
		name = p.UserID.Localpart()
	}
	c := &vcard.Card{Version: vcard.V3}
	c.Add("FN", vcard.Escape(name))
	parts := nameParts(name)
	if src.may.Work && p.GivenName+p.FamilyName != "" {
		parts = vcard.Join(";", p.FamilyName, p.GivenName)
	}
	c.Add("N", parts+";;;")
	org := vcard.Escape(src.may.Name)
	if src.may.Work && p.Department != "" {
		org += ";" + vcard.Escape(p.Department)
	}
	if org != "" {
		c.Add("ORG", org)
	}
	if src.may.Work && p.Title != "" {
		c.Add("TITLE", vcard.Escape(p.Title))
	}
	if src.may.Emails {
		for _, address := range p.Emails {
			c.Add("EMAIL", vcard.Escape(address), vcard.Param{Name: "TYPE", Values: []string{"INTERNET", "WORK"}})
		}
	}
	if src.may.Phones {
		for _, number := range p.Phones {
			c.Add("TEL", "+"+strings.TrimPrefix(number, "+"), vcard.Param{Name: "TYPE", Values: []string{"WORK", "VOICE"}})
		}
	}
	c.Add("IMPP", "matrix:u/"+strings.TrimPrefix(string(p.UserID), "@"), vcard.Param{Name: "X-SERVICE-TYPE", Values: []string{"Matrix"}})
	c.Add("UID", p.ObjectName)
	return c.Bytes()
}

// nameParts is a name as family and given name, as well as that can be guessed: lists on phones are sorted by it.
func nameParts(name string) string {
	words := strings.Fields(name)
	if len(words) < 2 {
		return vcard.Escape(name) + ";"
	}
	last := len(words) - 1
	return vcard.Join(";", words[last], strings.Join(words[:last], " "))
}
