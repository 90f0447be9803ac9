package contacts

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/roomline/roomline/clientapi/contacts/vcard"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// importResult is what became of a file.
type importResult struct {
	Created   int           `json:"created"`
	Updated   int           `json:"updated"`
	Unchanged int           `json:"unchanged"`
	Failed    int           `json:"failed"`
	Errors    []importError `json:"errors,omitempty"`
}

// importError says what is wrong with a card. Card counts from 1.
type importError struct {
	Card  int    `json:"card"`
	Error string `json:"error"`
}

func (r *importResult) fail(n int, err error) {
	if r.Failed++; len(r.Errors) < limits.ContactImportErrors {
		r.Errors = append(r.Errors, importError{n, err.Error()})
	}
}

// incoming is a card of a file on its way into the book.
type incoming struct {
	n         int
	uid, name string
	card      []byte
}

// importContacts takes a file of vCards of any version into the personal address book. A contact that is there, by its UID, is replaced; a
// card without a UID gets one that follows from what is in it, so that the same file can be imported twice. Broken cards are told of,
// and the others come in.
func (s *Server) importContacts(ctx context.Context, c *httpapi.Call) (any, error) {
	result := &importResult{}
	cards, err := readCards(c.Body, result)
	if err != nil {
		return nil, err
	}
	p := s.personalOf(c)
	const atOnce = 500
	for len(cards) > 0 {
		some := cards[:min(len(cards), atOnce)]
		cards = cards[len(some):]
		if err := p.merge(ctx, some, result); err != nil {
			return nil, fmt.Errorf("import contacts: %w", err)
		}
	}
	return result, nil
}

// readCards reads the cards of a file, each UID once: the last one counts.
func readCards(file []byte, result *importResult) ([]incoming, error) {
	var cards []incoming
	at := map[string]int{}
	scanner := vcard.NewScanner(file)
	for n := 1; ; n++ {
		parsed, err := scanner.Next()
		if errors.Is(err, vcard.ErrNone) {
			break
		}
		if n > limits.ContactImportCards {
			return nil, matrix.TooLarge("a file has at most %d vCards", limits.ContactImportCards)
		}
		if err != nil {
			result.fail(n, err)
			continue
		}
		if parsed.Version == vcard.V21 {
			parsed = parsed.As(vcard.V3)
		}
		uid := parsed.Text("UID")
		if uid == "" {
			sum := sha256.Sum256(parsed.Bytes())
			uid = hex.EncodeToString(sum[:16])
			parsed.Add("UID", uid)
		}
		one := incoming{n: n, uid: uid, card: parsed.Bytes()}
		sum := sha256.Sum256([]byte(uid))
		one.name = hex.EncodeToString(sum[:16]) + ".vcf"
		if len(one.card) > limits.VCard {
			result.fail(n, fmt.Errorf("it has more than %d bytes", limits.VCard))
			continue
		}
		if i, twice := at[uid]; twice {
			cards[i] = one
			result.Unchanged++
			continue
		}
		at[uid] = len(cards)
		cards = append(cards, one)
	}
	if len(cards) == 0 && result.Failed == 0 {
		return nil, matrix.InvalidParam("the file has no vCards")
	}
	return cards, nil
}

// merge stores cards in one transaction.
func (p *personal) merge(ctx context.Context, cards []incoming, result *importResult) error {
	o, err := p.owner(ctx)
	if err != nil {
		return err
	}
	var uids [][]byte
	for _, one := range cards {
		uids = append(uids, o.hash("uid", one.uid))
	}
	var counts importResult
	now := p.s.now()
	err = p.s.store.Write(ctx, func(tx *store.Tx) error {
		counts = importResult{}
		b, err := tx.LockAddressBook(ctx, p.user, now)
		if err != nil {
			return err
		}
		rows, err := tx.ListContactsByUID(ctx, p.user, uids)
		if err != nil {
			return err
		}
		changed, err := o.changes(cards, uids, rows, &counts)
		if err != nil || len(changed) == 0 {
			return err
		}
		if b, err = tx.PutContacts(ctx, b, changed, now); err != nil {
			return err
		}
		if b.Contacts > limits.ContactsPerUser || b.Bytes > limits.ContactBytes {
			return tooMany()
		}
		return nil
	})
	result.Created, result.Updated, result.Unchanged = result.Created+counts.Created, result.Updated+counts.Updated, result.Unchanged+counts.Unchanged
	return err
}

// changes are the contacts to store for cards whose hashed UIDs are uids, where rows are those of them that are there.
func (o *owner) changes(cards []incoming, uids [][]byte, rows []store.Contact, counts *importResult) ([]store.Contact, error) {
	present := map[string]store.Contact{}
	for _, row := range rows {
		present[string(row.UIDHash)] = row
	}
	var changed []store.Contact
	for i, one := range cards {
		if row, there := present[string(uids[i])]; there {
			var err error
			if one.name, err = o.openName(row); err != nil {
				return nil, err
			}
			old, err := o.openCard(row)
			if err != nil {
				return nil, err
			}
			if string(old) == string(one.card) {
				counts.Unchanged++
				continue
			}
			counts.Updated++
		} else {
			counts.Created++
		}
		sealed, err := o.sealObject(one.name, one.uid, one.card)
		if err != nil {
			return nil, err
		}
		changed = append(changed, sealed)
	}
	return changed, nil
}

// exportContacts gives all private contacts as one file, in a version of vCard that the client chooses.
func (s *Server) exportContacts(ctx context.Context, c *httpapi.Call) (any, error) {
	version := c.Query("version")
	switch version {
	case "":
		version = vcard.V3
	case vcard.V21, vcard.V3, vcard.V4:
	default:
		return nil, matrix.InvalidParam("version must be 2.1, 3.0 or 4.0")
	}
	h := c.W.Header()
	h.Set("Content-Type", vcardType)
	h.Set("Content-Disposition", `attachment; filename="contacts.vcf"`)
	download := c.Download()
	defer download.Close()
	return nil, s.Export(ctx, c.Requester.Org, c.Requester.User, version, download)
}

// Export writes a user's private contacts as vCards of a version, a few at a time. It is for the user: nobody else may get what it writes.
func (s *Server) Export(ctx context.Context, org int64, user matrix.UserID, version string, to io.Writer) error {
	w := bufio.NewWriterSize(to, 64<<10)
	p := &personal{s: s, user: user, org: org}
	objects, err := p.all(ctx)
	if err != nil {
		return err
	}
	err = withCards(ctx, p, objects, func(o *object) {
		if o.gone {
			return
		}
		text, err := render(o.card, version, nil)
		if err != nil {
			text = o.card // as the client stored it
		}
		_, _ = w.Write(text)
		if n := len(text); n > 0 && text[n-1] != '\n' {
			_, _ = w.WriteString("\r\n")
		}
	})
	if err != nil {
		return fmt.Errorf("export contacts: %w", err)
	}
	return w.Flush()
}
