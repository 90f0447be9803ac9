package contacts

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// sealVersion is the first byte of what is sealed, so that another way of sealing can follow.
const sealVersion = 1

// sealOverhead is by how much a box is larger than what is in it: version, nonce, tag.
const sealOverhead = 1 + 12 + 16

// vault has the keys of organisations. A key is made when it is needed first, and does not change.
type vault struct {
	store   *store.Store
	sealKey [32]byte
	rand    io.Reader
	clock   matrix.Clock
	keys    sync.Map // organisation → [32]byte
}

// key is an organisation's key.
func (v *vault) key(ctx context.Context, organisation int64) ([32]byte, error) {
	if key, ok := v.keys.Load(organisation); ok {
		return key.([32]byte), nil
	}
	outer, err := newBox(v.sealKey[:], v.rand)
	if err != nil {
		return [32]byte{}, err
	}
	bound := []byte("organisation key\x00" + strconv.FormatInt(organisation, 10))
	sealed, err := v.store.GetOrganisationKey(ctx, organisation)
	if errors.Is(err, store.ErrNotFound) {
		var made [32]byte
		if _, err := io.ReadFull(v.rand, made[:]); err != nil {
			return [32]byte{}, fmt.Errorf("make the key of organisation %d: %w", organisation, err)
		}
		if sealed, err = outer.seal(made[:], bound); err != nil {
			return [32]byte{}, err
		}
		sealed, err = v.store.EnsureOrganisationKey(ctx, organisation, sealed, matrix.TimestampOf(v.clock.Now()))
	}
	if err != nil {
		return [32]byte{}, fmt.Errorf("the key of organisation %d: %w", organisation, err)
	}
	plain, err := outer.open(sealed, bound)
	if err != nil || len(plain) != 32 {
		return [32]byte{}, fmt.Errorf("the key of organisation %d cannot be opened with the configured signing_keys.encryption_key; "+
			"configure the one that this database was set up with", organisation)
	}
	key := [32]byte(plain)
	v.keys.Store(organisation, key)
	return key, nil
}

// owner is the keys of one user, which follow from the organisation's.
type owner struct {
	user matrix.UserID
	box  *box
	mac  []byte
}

func (v *vault) owner(ctx context.Context, organisation int64, user matrix.UserID) (*owner, error) {
	key, err := v.key(ctx, organisation)
	if err != nil {
		return nil, err
	}
	sealing, err := hkdf.Key(sha256.New, key[:], nil, "contacts\x00"+string(user), 32)
	if err != nil {
		return nil, err
	}
	mac, err := hkdf.Key(sha256.New, key[:], nil, "contacts: names\x00"+string(user), 32)
	if err != nil {
		return nil, err
	}
	b, err := newBox(sealing, v.rand)
	return &owner{user: user, box: b, mac: mac}, err
}

// hash is what a name or a UID is looked up by.
func (o *owner) hash(what, text string) []byte {
	h := hmac.New(sha256.New, o.mac)
	io.WriteString(h, what+"\x00"+text)
	return h.Sum(nil)[:16]
}

func (o *owner) nameHash(name string) []byte { return o.hash("name", name) }

// bound says what a box is for: a box in another row, or in the other column, does not open.
func (o *owner) bound(what string, nameHash []byte) []byte {
	return append([]byte(what+"\x00"+string(o.user)+"\x00"), nameHash...)
}

func (o *owner) sealObject(name, uid string, card []byte) (store.Contact, error) {
	c := store.Contact{NameHash: o.nameHash(name), UIDHash: o.hash("uid", uid)}
	var err error
	if c.NameSealed, err = o.box.seal([]byte(name), o.bound("name", c.NameHash)); err != nil {
		return c, err
	}
	c.CardSealed, err = o.box.seal(card, o.bound("card", c.NameHash))
	return c, err
}

func (o *owner) openName(c store.Contact) (string, error) {
	name, err := o.box.open(c.NameSealed, o.bound("name", c.NameHash))
	return string(name), err
}

func (o *owner) openCard(c store.Contact) ([]byte, error) {
	return o.box.open(c.CardSealed, o.bound("card", c.NameHash))
}

// box seals with AES-256-GCM: version, nonce, ciphertext and tag.
type box struct {
	aead cipher.AEAD
	rand io.Reader
}

func newBox(key []byte, random io.Reader) (*box, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	return &box{aead, random}, err
}

func (b *box) seal(plain, bound []byte) ([]byte, error) {
	n := b.aead.NonceSize()
	sealed := make([]byte, 1+n, len(plain)+sealOverhead)
	sealed[0] = sealVersion
	if _, err := io.ReadFull(b.rand, sealed[1:]); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return b.aead.Seal(sealed, sealed[1:1+n], plain, bound), nil
}

func (b *box) open(sealed, bound []byte) ([]byte, error) {
	n := b.aead.NonceSize()
	if len(sealed) < sealOverhead || sealed[0] != sealVersion {
		return nil, errors.New("what is sealed is damaged or was stored by a newer version")
	}
	return b.aead.Open(nil, sealed[1:1+n], sealed[1+n:], bound)
}
