package store

import (
	"context"
	"database/sql"
	"errors"

	"github.com/roomline/roomline/internal/matrix"
)

// AddressBook is what is known of a user's personal address book without its contacts.
type AddressBook struct {
	UserID matrix.UserID
	// Change is the number of the last change. Deletions up to Forgotten are not known any more.
	Change, Forgotten int64
	// Contacts and Bytes are how much there is.
	Contacts, Bytes int64
	// CreatedTS tells the book from an earlier one of the same user. It is 0 for a book that nothing was put into.
	CreatedTS matrix.Timestamp
}

// Contact is an object of a personal address book, as it is stored: sealed.
type Contact struct {
	// NameHash and UIDHash are keyed hashes of the object's name and of its vCard's UID.
	NameHash, UIDHash []byte
	// NameSealed is the name, CardSealed the vCard: nil for one that was deleted, and where it was not asked for.
	NameSealed, CardSealed []byte
	// Size is that of CardSealed, 0 for a contact that was deleted.
	Size      int64
	Change    int64
	ChangedTS matrix.Timestamp
}

// GetAddressBook returns a user's personal address book, an empty one if nothing was ever put into it.
func (s *Store) GetAddressBook(ctx context.Context, user matrix.UserID) (AddressBook, error) {
	return getAddressBook(ctx, s, user, "")
}

// GetAddressBook returns a user's personal address book, an empty one if nothing was ever put into it.
func (tx *Tx) GetAddressBook(ctx context.Context, user matrix.UserID) (AddressBook, error) {
	return getAddressBook(ctx, tx, user, "")
}

// LockAddressBook is GetAddressBook for who changes it: the book is made, and nobody else changes it until the transaction ends.
func (tx *Tx) LockAddressBook(ctx context.Context, user matrix.UserID, now matrix.Timestamp) (AddressBook, error) {
	_, err := tx.exec(ctx, `INSERT INTO address_books (user_id, created_ts) VALUES ($1, $2) ON CONFLICT DO NOTHING`, string(user), int64(now))
	if err != nil {
		return AddressBook{}, err
	}
	return getAddressBook(ctx, tx, user, "FOR UPDATE")
}

func getAddressBook(ctx context.Context, q querier, user matrix.UserID, lock string) (AddressBook, error) {
	b := AddressBook{UserID: user}
	err := q.queryRow(ctx, `SELECT change, forgotten, contacts, bytes, created_ts FROM address_books WHERE user_id = $1 `+lock, string(user)).
		Scan(&b.Change, &b.Forgotten, &b.Contacts, &b.Bytes, &b.CreatedTS)
	if errors.Is(err, ErrNotFound) {
		return b, nil
	}
	return b, err
}

// The vCards are left out where only names are asked for: they are most of the bytes.
const (
	contactNames = `name_hash, uid_hash, name_sealed, NULL::bytea, coalesce(length(card_sealed), 0), change, changed_ts`
	contactAll   = `name_hash, uid_hash, name_sealed, card_sealed, coalesce(length(card_sealed), 0), change, changed_ts`
)

func scanContact(scan func(...any) error) (Contact, error) {
	var c Contact
	err := scan(&c.NameHash, &c.UIDHash, &c.NameSealed, &c.CardSealed, &c.Size, &c.Change, &c.ChangedTS)
	return c, err
}

// ListContactNames returns a user's contacts without their vCards, in the order of their last changes.
func (tx *Tx) ListContactNames(ctx context.Context, user matrix.UserID) ([]Contact, error) {
	rows, err := tx.query(ctx, `
		SELECT `+contactNames+` FROM contacts WHERE user_id = $1 AND card_sealed IS NOT NULL ORDER BY change`, string(user))
	return scanAll(rows, err, func(rows *sql.Rows) (Contact, error) { return scanContact(rows.Scan) })
}

// ListChangedContacts returns what was changed or deleted after a change, without vCards, in the order of the changes, at most limit.
func (tx *Tx) ListChangedContacts(ctx context.Context, user matrix.UserID, after int64, limit int) ([]Contact, error) {
	rows, err := tx.query(ctx, `
		SELECT `+contactNames+` FROM contacts WHERE user_id = $1 AND change > $2 ORDER BY change LIMIT $3`, string(user), after, limit)
	return scanAll(rows, err, func(rows *sql.Rows) (Contact, error) { return scanContact(rows.Scan) })
}

// ListContacts returns those of a user's contacts that have these names, in no order.
func (s *Store) ListContacts(ctx context.Context, user matrix.UserID, names [][]byte) ([]Contact, error) {
	rows, err := s.query(ctx, `
		SELECT `+contactAll+` FROM contacts WHERE user_id = $1 AND name_hash = ANY ($2) AND card_sealed IS NOT NULL`,
		string(user), byteaArray(names))
	return scanAll(rows, err, func(rows *sql.Rows) (Contact, error) { return scanContact(rows.Scan) })
}

// ListContactsAfter returns a user's contacts with their vCards, in the order of their last changes, from the one that follows after a
// change: as many as have bytes together, but at least one, and at most limit.
func (s *Store) ListContactsAfter(ctx context.Context, user matrix.UserID, after, bytes int64, limit int) ([]Contact, error) {
	rows, err := s.query(ctx, `
		SELECT `+contactAll+` FROM contacts WHERE user_id = $1 AND change = ANY (ARRAY (
			SELECT change FROM (
				SELECT change, sum(length(card_sealed)) OVER (ORDER BY change) - length(card_sealed) AS before
				FROM (SELECT change, card_sealed FROM contacts WHERE user_id = $1 AND change > $2 AND card_sealed IS NOT NULL ORDER BY change LIMIT $4) c
			) s WHERE before < $3))
		ORDER BY change`, string(user), after, bytes, limit)
	return scanAll(rows, err, func(rows *sql.Rows) (Contact, error) { return scanContact(rows.Scan) })
}

// GetContactChange returns when a contact changed last. ok is false when there is none.
func (tx *Tx) GetContactChange(ctx context.Context, user matrix.UserID, nameHash []byte) (change int64, ok bool, err error) {
	err = tx.queryRow(ctx, `
		SELECT change FROM contacts WHERE user_id = $1 AND name_hash = $2 AND card_sealed IS NOT NULL`, string(user), nameHash).Scan(&change)
	if errors.Is(err, ErrNotFound) {
		return 0, false, nil
	}
	return change, err == nil, err
}

// ListContactsByUID returns those of a user's contacts whose vCards have these UIDs, in no order.
func (tx *Tx) ListContactsByUID(ctx context.Context, user matrix.UserID, uids [][]byte) ([]Contact, error) {
	rows, err := tx.query(ctx, `
		SELECT `+contactAll+` FROM contacts WHERE user_id = $1 AND uid_hash = ANY ($2)`, string(user), byteaArray(uids))
	return scanAll(rows, err, func(rows *sql.Rows) (Contact, error) { return scanContact(rows.Scan) })
}

// PutContacts stores contacts in a book that the caller has locked, each under a change of its own, and returns the book as it is then.
// No two may have the same name or UID.
func (tx *Tx) PutContacts(ctx context.Context, book AddressBook, contacts []Contact, now matrix.Timestamp) (AddressBook, error) {
	var names, uids, boxes, cards [][]byte
	added := int64(0)
	for _, c := range contacts {
		names, uids = append(names, c.NameHash), append(uids, c.UIDHash)
		boxes, cards = append(boxes, c.NameSealed), append(cards, c.CardSealed)
		added += int64(len(c.CardSealed))
	}
	replaced, freed, err := tx.countContacts(ctx, book.UserID, names)
	if err != nil {
		return book, err
	}
	_, err = tx.exec(ctx, `
		INSERT INTO contacts (user_id, name_hash, uid_hash, name_sealed, card_sealed, change, changed_ts)
		SELECT $1, x.name, x.uid, x.box, x.card, $6 + x.n, $7
		FROM unnest($2::bytea[], $3::bytea[], $4::bytea[], $5::bytea[]) WITH ORDINALITY AS x (name, uid, box, card, n)
		ON CONFLICT (user_id, name_hash) DO UPDATE SET uid_hash = excluded.uid_hash, name_sealed = excluded.name_sealed,
			card_sealed = excluded.card_sealed, change = excluded.change, changed_ts = excluded.changed_ts`,
		string(book.UserID), byteaArray(names), byteaArray(uids), byteaArray(boxes), byteaArray(cards), book.Change, int64(now))
	if err != nil {
		return book, err
	}
	book.Change += int64(len(contacts))
	book.Contacts += int64(len(contacts)) - replaced
	book.Bytes += added - freed
	return book, tx.putAddressBook(ctx, book)
}

// DeleteContact deletes a contact from a book that the caller has locked, and returns the book as it is then. The name stays for
// devices to learn of it.
func (tx *Tx) DeleteContact(ctx context.Context, book AddressBook, nameHash []byte, now matrix.Timestamp) (AddressBook, error) {
	n, freed, err := tx.countContacts(ctx, book.UserID, [][]byte{nameHash})
	if err != nil || n == 0 {
		return book, err
	}
	book.Change++
	book.Contacts--
	book.Bytes -= freed
	_, err = tx.exec(ctx, `
		UPDATE contacts SET uid_hash = NULL, card_sealed = NULL, change = $3, changed_ts = $4 WHERE user_id = $1 AND name_hash = $2`,
		string(book.UserID), nameHash, book.Change, int64(now))
	if err != nil {
		return book, err
	}
	return book, tx.putAddressBook(ctx, book)
}

func (tx *Tx) countContacts(ctx context.Context, user matrix.UserID, names [][]byte) (n, bytes int64, err error) {
	err = tx.queryRow(ctx, `
		SELECT count(*), coalesce(sum(length(card_sealed)), 0) FROM contacts
		WHERE user_id = $1 AND name_hash = ANY ($2) AND card_sealed IS NOT NULL`, string(user), byteaArray(names)).Scan(&n, &bytes)
	return n, bytes, err
}

func (tx *Tx) putAddressBook(ctx context.Context, b AddressBook) error {
	_, err := tx.exec(ctx, `UPDATE address_books SET change = $2, contacts = $3, bytes = $4 WHERE user_id = $1`,
		string(b.UserID), b.Change, b.Contacts, b.Bytes)
	return err
}

// DeleteContacts removes all private contacts of a user, with every trace of them. It is for erasure: devices learn nothing.
func (tx *Tx) DeleteContacts(ctx context.Context, user matrix.UserID) error {
	_, err := tx.exec(ctx, `DELETE FROM address_books WHERE user_id = $1`, string(user))
	return err
}

// ForgetDeletedContacts forgets contacts that were deleted before ts, at most limit. Devices that have not asked since begin anew.
func (s *Store) ForgetDeletedContacts(ctx context.Context, ts matrix.Timestamp, limit int) (int64, error) {
	// The book's row is locked before its contacts are, as everywhere.
	var n int64
	err := s.Write(ctx, func(tx *Tx) error {
		return tx.queryRow(ctx, `
			WITH old AS (
				SELECT user_id, name_hash, change FROM contacts WHERE card_sealed IS NULL AND changed_ts < $1 LIMIT $2
			), books AS (
				UPDATE address_books b SET forgotten = greatest(b.forgotten, o.change)
				FROM (SELECT user_id, max(change) AS change FROM old GROUP BY user_id) o WHERE o.user_id = b.user_id
				RETURNING b.user_id
			), gone AS (
				DELETE FROM contacts c USING old, books
				WHERE books.user_id = old.user_id AND c.user_id = old.user_id AND c.name_hash = old.name_hash AND c.change = old.change
				RETURNING 1
			)
			SELECT count(*) FROM gone`, int64(ts), limit).Scan(&n)
	})
	return n, err
}
