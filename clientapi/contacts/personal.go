package contacts

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// personal is a user's own address book.
type personal struct {
	s    *Server
	user matrix.UserID
	org  int64
}

func (p *personal) about() *bookInfo {
	return &bookInfo{segment: "personal", name: "Personal", description: "Your own contacts: nobody else can read them"}
}

func (p *personal) owner(ctx context.Context) (*owner, error) {
	return p.s.vault.owner(ctx, p.org, p.user)
}

func (p *personal) state(ctx context.Context) (string, error) {
	b, err := p.s.store.GetAddressBook(ctx, p.user)
	return personalToken(b, b.Change), err
}

// personalToken names the moment after a change. A book that was made anew has other tokens.
func personalToken(b store.AddressBook, change int64) string {
	return fmt.Sprintf("%sp%d.%d", tokenPrefix, b.CreatedTS, change)
}

func personalETag(b store.AddressBook, change int64) string {
	return `"` + strconv.FormatInt(int64(b.CreatedTS), 36) + "-" + strconv.FormatInt(change, 36) + `"`
}

func (p *personal) all(ctx context.Context) ([]object, error) {
	var rows []store.Contact
	var b store.AddressBook
	err := p.s.store.Read(ctx, func(tx *store.Tx) (err error) {
		if b, err = tx.GetAddressBook(ctx, p.user); err == nil {
			rows, err = tx.ListContactNames(ctx, p.user)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list contacts: %w", err)
	}
	return p.open(ctx, b, rows)
}

// open makes objects of rows, with their cards if these were read.
func (p *personal) open(ctx context.Context, b store.AddressBook, rows []store.Contact) ([]object, error) {
	o, err := p.owner(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]object, 0, len(rows))
	for _, row := range rows {
		one := object{etag: personalETag(b, row.Change), size: row.Size - sealOverhead, gone: row.UIDHash == nil}
		if one.name, err = o.openName(row); err != nil {
			return nil, fmt.Errorf("open the name of a contact: %w", err)
		}
		if row.CardSealed != nil {
			if one.card, err = o.openCard(row); err != nil {
				return nil, fmt.Errorf("open a contact: %w", err)
			}
		}
		list = append(list, one)
	}
	return list, nil
}

func (p *personal) load(ctx context.Context, names []string) ([]object, error) {
	o, err := p.owner(ctx)
	if err != nil {
		return nil, err
	}
	hashes := make([][]byte, len(names))
	for i, name := range names {
		hashes[i] = o.nameHash(name)
	}
	b, err := p.s.store.GetAddressBook(ctx, p.user)
	if err != nil {
		return nil, fmt.Errorf("read contacts: %w", err)
	}
	rows, err := p.s.store.ListContacts(ctx, p.user, hashes)
	if err != nil {
		return nil, fmt.Errorf("read contacts: %w", err)
	}
	return p.open(ctx, b, rows)
}

// changes implements book.
//
// Spec: RFC 6578 §3.2 to §3.6
func (p *personal) changes(ctx context.Context, token string, limit int) (list []object, next string, more bool, err error) {
	var rows []store.Contact
	var b store.AddressBook
	err = p.s.store.Read(ctx, func(tx *store.Tx) error {
		if b, err = tx.GetAddressBook(ctx, p.user); err != nil {
			return err
		}
		after, err := p.after(b, token)
		if err == nil {
			rows, err = tx.ListChangedContacts(ctx, p.user, after, limit+1)
		}
		return err
	})
	if err != nil {
		return nil, "", false, err
	}
	next = personalToken(b, b.Change)
	if more = len(rows) > limit; more {
		rows = rows[:limit]
		next = personalToken(b, rows[limit-1].Change)
	}
	list, err = p.open(ctx, b, rows)
	return list, next, more, err
}

// after is the change that a token names.
func (p *personal) after(b store.AddressBook, token string) (int64, error) {
	if token == "" {
		return 0, nil
	}
	var created, after int64
	text, ok := strings.CutPrefix(token, tokenPrefix+"p")
	if _, err := fmt.Sscanf(text, "%d.%d", &created, &after); !ok || err != nil || token != fmt.Sprintf("%sp%d.%d", tokenPrefix, created, after) {
		return 0, errToken
	}
	if created == 0 && after == 0 { // before there was anything
		return 0, nil
	}
	if created != int64(b.CreatedTS) || after > b.Change || after < b.Forgotten {
		return 0, errToken
	}
	return after, nil
}

// condition is what a request demands of the object's present state (RFC 9110 §13.1).
type condition struct{ ifMatch, ifNoneMatch string }

func conditionOf(h http.Header) condition {
	return condition{strings.Join(h.Values("If-Match"), ","), strings.Join(h.Values("If-None-Match"), ",")}
}

// holds compares with the present entity tag, "" where there is no object.
func (c condition) holds(etag string) bool {
	return (c.ifMatch == "" || matchesTag(c.ifMatch, etag)) && (c.ifNoneMatch == "" || !matchesTag(c.ifNoneMatch, etag))
}

func matchesTag(list, etag string) bool {
	if etag == "" {
		return false
	}
	for tag := range strings.SplitSeq(list, ",") {
		if tag = strings.TrimSpace(tag); tag == "*" || tag == etag {
			return true
		}
	}
	return false
}

func conditionFailed() *matrix.Error {
	return matrix.NewError(http.StatusPreconditionFailed, matrix.ErrUnknown, "the contact is not what the condition says")
}

// uidConflict is another object with the same UID.
type uidConflict struct{ name string }

func (u *uidConflict) Error() string { return "another contact has the same UID" }

func tooMany() *matrix.Error {
	return matrix.NewError(http.StatusInsufficientStorage, matrix.ErrUserLimitExceeded,
		"an address book has at most %d contacts and %d bytes", limits.ContactsPerUser, limits.ContactBytes)
}

// put stores a contact and returns its entity tag. created says that there was none of this name.
func (p *personal) put(ctx context.Context, name, uid string, card []byte, when condition) (etag string, created bool, err error) {
	o, err := p.owner(ctx)
	if err != nil {
		return "", false, err
	}
	row, err := o.sealObject(name, uid, card)
	if err != nil {
		return "", false, err
	}
	now := p.s.now()
	err = p.s.store.Write(ctx, func(tx *store.Tx) error {
		b, err := tx.LockAddressBook(ctx, p.user, now)
		if err != nil {
			return err
		}
		if created, err = p.check(ctx, tx, b, row.NameHash, when); err != nil {
			return err
		}
		same, err := tx.ListContactsByUID(ctx, p.user, [][]byte{row.UIDHash})
		if err != nil {
			return err
		}
		if len(same) > 0 && string(same[0].NameHash) != string(row.NameHash) {
			other, err := o.openName(same[0])
			if err != nil {
				return err
			}
			return &uidConflict{other}
		}
		if b, err = tx.PutContacts(ctx, b, []store.Contact{row}, now); err != nil {
			return err
		}
		if b.Contacts > limits.ContactsPerUser || b.Bytes > limits.ContactBytes {
			return tooMany()
		}
		etag = personalETag(b, b.Change)
		return nil
	})
	if err != nil {
		return "", false, fmt.Errorf("store a contact: %w", err)
	}
	return etag, created, nil
}

// check looks whether a condition holds. missing says that there is no such object.
func (p *personal) check(ctx context.Context, tx *store.Tx, b store.AddressBook, nameHash []byte, when condition) (missing bool, err error) {
	present, ok, err := tx.GetContactChange(ctx, p.user, nameHash)
	if err != nil {
		return false, err
	}
	etag := ""
	if ok {
		etag = personalETag(b, present)
	}
	if !when.holds(etag) {
		return !ok, conditionFailed()
	}
	return !ok, nil
}

// remove deletes a contact.
func (p *personal) remove(ctx context.Context, name string, when condition) error {
	o, err := p.owner(ctx)
	if err != nil {
		return err
	}
	hash := o.nameHash(name)
	now := p.s.now()
	err = p.s.store.Write(ctx, func(tx *store.Tx) error {
		b, err := tx.LockAddressBook(ctx, p.user, now)
		if err != nil {
			return err
		}
		missing, err := p.check(ctx, tx, b, hash, condition{})
		switch {
		case err != nil:
			return err
		case missing:
			return noResource()
		}
		if _, err := p.check(ctx, tx, b, hash, when); err != nil {
			return err
		}
		_, err = tx.DeleteContact(ctx, b, hash, now)
		return err
	})
	if err != nil {
		return fmt.Errorf("delete a contact: %w", err)
	}
	return nil
}
