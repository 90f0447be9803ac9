package appservices

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
)

// sealer encrypts the hs_tokens in the database: whoever reads a copy of it can't speak to anybody's application service.
type sealer struct {
	aead cipher.AEAD
}

func newSealer(key [32]byte) (sealer, error) {
	own, err := hkdf.Key(sha256.New, key[:], nil, "roomline hs_token", 32)
	if err != nil {
		return sealer{}, err
	}
	block, err := aes.NewCipher(own)
	if err != nil {
		return sealer{}, err
	}
	aead, err := cipher.NewGCM(block)
	return sealer{aead}, err
}

// seal binds a token to the id of its application service.
func (s sealer) seal(id, token string) []byte {
	nonce := make([]byte, s.aead.NonceSize())
	rand.Read(nonce)
	return s.aead.Seal(nonce, nonce, []byte(token), []byte(id))
}

func (s sealer) open(id string, sealed []byte) (string, error) {
	n := s.aead.NonceSize()
	if len(sealed) < n {
		return "", fmt.Errorf("the hs_token of %s is cut off", id)
	}
	token, err := s.aead.Open(nil, sealed[:n], sealed[n:], []byte(id))
	if err != nil {
		return "", fmt.Errorf("the hs_token of %s was encrypted with another key", id)
	}
	return string(token), nil
}
