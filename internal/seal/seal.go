// Package seal encrypts what stands in the database and may be read by no one who has only a copy of it.
//
// Every purpose has a key of its own, made from the configuration's encryption key, and every box is bound to what it belongs to: a box that
// was moved to another row does not open.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
)

// ErrSealed is what Open answers to bytes that Seal did not make with this key and this binding.
var ErrSealed = errors.New("what was sealed does not open: it was sealed with another key, for something else, or was changed")

// Sealer seals for one purpose. It is safe for concurrent use.
type Sealer struct {
	aead cipher.AEAD
}

// New returns the Sealer of a purpose. The purpose stays what it is for ever.
func New(key [32]byte, purpose string) (Sealer, error) {
	own, err := hkdf.Key(sha256.New, key[:], nil, purpose, 32)
	if err != nil {
		return Sealer{}, fmt.Errorf("key for %s: %w", purpose, err)
	}
	block, err := aes.NewCipher(own)
	if err != nil {
		return Sealer{}, fmt.Errorf("key for %s: %w", purpose, err)
	}
	aead, err := cipher.NewGCM(block)
	return Sealer{aead}, err
}

// Seal encrypts plain, and binds it to the id of what it belongs to.
func (s Sealer) Seal(plain []byte, id string) []byte {
	nonce := make([]byte, s.aead.NonceSize())
	rand.Read(nonce)
	return s.aead.Seal(nonce, nonce, plain, []byte(id))
}

// Open is the opposite of Seal.
func (s Sealer) Open(sealed []byte, id string) ([]byte, error) {
	n := s.aead.NonceSize()
	if len(sealed) < n {
		return nil, ErrSealed
	}
	plain, err := s.aead.Open(nil, sealed[:n], sealed[n:], []byte(id))
	if err != nil {
		return nil, ErrSealed
	}
	return plain, nil
}
