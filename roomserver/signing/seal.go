package signing

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"fmt"
	"io"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// sealVersion is the first byte of a sealed key, so that another way of sealing can follow.
const sealVersion = 1

// seal encrypts a seed: version, nonce, AES-256-GCM. Domain and key ID are bound to it: a row cannot be copied to another domain.
func (k *Keys) seal(domain matrix.ServerName, keyID string, seed []byte) ([]byte, error) {
	aead, err := k.aead()
	if err != nil {
		return nil, err
	}
	sealed := make([]byte, 1+aead.NonceSize(), 1+aead.NonceSize()+len(seed)+aead.Overhead())
	sealed[0] = sealVersion
	if _, err := io.ReadFull(k.cfg.Rand, sealed[1:]); err != nil {
		return nil, fmt.Errorf("signing: seal the key of %s: %w", domain, err)
	}
	return aead.Seal(sealed, sealed[1:], seed, boundTo(domain, keyID)), nil
}

// open decrypts the private key of a row.
func (k *Keys) open(row store.SigningKey) (ed25519.PrivateKey, error) {
	aead, err := k.aead()
	if err != nil {
		return nil, err
	}
	sealed := row.PrivateKeySealed
	if len(sealed) < 1+aead.NonceSize() || sealed[0] != sealVersion {
		return nil, fmt.Errorf("signing: the private key %s of %s in the database is damaged or was stored by a newer version", row.KeyID, row.ServerName)
	}
	nonce, box := sealed[1:1+aead.NonceSize()], sealed[1+aead.NonceSize():]
	seed, err := aead.Open(nil, nonce, box, boundTo(row.ServerName, row.KeyID))
	if err != nil {
		return nil, fmt.Errorf("signing: the private key %s of %s cannot be opened with the configured seal key; "+
			"configure the one that this database was set up with", row.KeyID, row.ServerName)
	}
	if len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("signing: the private key %s of %s has %d bytes", row.KeyID, row.ServerName, len(seed))
	}
	private := ed25519.NewKeyFromSeed(seed)
	if !bytes.Equal(private.Public().(ed25519.PublicKey), row.PublicKey) {
		return nil, fmt.Errorf("signing: the public key %s of %s in the database is not that of its private key", row.KeyID, row.ServerName)
	}
	return private, nil
}

func (k *Keys) aead() (cipher.AEAD, error) {
	block, err := aes.NewCipher(k.cfg.SealKey[:])
	if err != nil {
		return nil, fmt.Errorf("signing: seal key: %w", err)
	}
	return cipher.NewGCM(block)
}

// boundTo joins with a character that neither part can have.
func boundTo(domain matrix.ServerName, keyID string) []byte {
	return []byte(string(domain) + "\x00" + keyID)
}
