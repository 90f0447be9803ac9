package event

import (
	"crypto/ed25519"

	vectorised "github.com/oasisprotocol/curve25519-voi/primitives/ed25519"
)

// sign is ed25519.Sign in two thirds of the time: the signature is most of what making an event takes, and this library computes it with
// AVX2 where the processor has that. RFC 8032 leaves no choice in a signature, so it is the same to the last bit. Whatever else is
// signed, and everything that is verified, is left to the standard library.
func sign(key ed25519.PrivateKey, message []byte) []byte {
	return vectorised.Sign(vectorised.PrivateKey(key), message)
}
