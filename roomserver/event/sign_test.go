package event

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"math/rand/v2"
	"testing"
)

// RFC 8032 §7.1
func TestSignVectors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ seed, message, signature string }{
		{
			"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", "",
			"e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
		},
		{
			"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb", "72",
			"92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
		},
	} {
		seed, err := hex.DecodeString(c.seed)
		if err != nil {
			t.Fatal(err)
		}
		message, err := hex.DecodeString(c.message)
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(sign(ed25519.NewKeyFromSeed(seed), message)); got != c.signature {
			t.Errorf("signature over %q is %s, want %s", c.message, got, c.signature)
		}
	}
}

// Every signature is the standard library's, whatever the key, the message and its length.
func TestSignIsTheStandardLibrarys(t *testing.T) {
	t.Parallel()
	random := rand.NewChaCha8([32]byte{1})
	for i := range 2000 {
		var seed [ed25519.SeedSize]byte
		random.Read(seed[:])
		message := make([]byte, i)
		random.Read(message)
		key := ed25519.NewKeyFromSeed(seed[:])
		if got, want := sign(key, message), ed25519.Sign(key, message); !bytes.Equal(got, want) {
			t.Fatalf("key %x, message %x: signature is %x, want %x", seed, message, got, want)
		}
	}
}

func BenchmarkSign(b *testing.B) {
	message := bytes.Repeat([]byte{1}, 500)
	b.Run("ours", func(b *testing.B) {
		for b.Loop() {
			sign(testKey, message)
		}
	})
	b.Run("standard library", func(b *testing.B) {
		for b.Loop() {
			ed25519.Sign(testKey, message)
		}
	})
}
