package seal_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/roomline/roomline/internal/seal"
)

func sealer(t *testing.T, key byte, purpose string) seal.Sealer {
	t.Helper()
	s, err := seal.New([32]byte{key}, purpose)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestABoxOpensWithItsKeyForItsPurposeAndItsOwner(t *testing.T) {
	s := sealer(t, 1, "letters")
	box := s.Seal([]byte("a letter"), "alice")
	if plain, err := s.Open(box, "alice"); err != nil || string(plain) != "a letter" {
		t.Fatalf("opened %q, %v", plain, err)
	}
	changed := bytes.Clone(box)
	changed[len(changed)-1] ^= 1
	for name, open := range map[string]func() ([]byte, error){
		"another key":     func() ([]byte, error) { return sealer(t, 2, "letters").Open(box, "alice") },
		"another purpose": func() ([]byte, error) { return sealer(t, 1, "parcels").Open(box, "alice") },
		"another owner":   func() ([]byte, error) { return s.Open(box, "bob") },
		"changed":         func() ([]byte, error) { return s.Open(changed, "alice") },
		"cut off":         func() ([]byte, error) { return s.Open(box[:5], "alice") },
	} {
		if plain, err := open(); !errors.Is(err, seal.ErrSealed) {
			t.Errorf("%s: opened %q, %v", name, plain, err)
		}
	}
	if bytes.Equal(box, s.Seal([]byte("a letter"), "alice")) {
		t.Error("the same twice looks the same")
	}
}
