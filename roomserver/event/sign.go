package event

import (
	"crypto/ed25519"

	vectorised "github.com/oasisprotocol/curve25519-voi/primitives/ed25519"
)

// sign is ed25519.Sign, two thirds as long: the signature is most of what an event costs us, and this library computes it with the
// processor's vector instructions where there are any. RFC 8032 leaves no choice in a signature, so it is the same to the last bit; what is
// rarely signed, and everything that is verified, is left to the standard library.
func sign(key ed25519.PrivateKey, message []byte) []byte {
	return vectorised.Sign(vectorised.PrivateKey(key), message)
}
