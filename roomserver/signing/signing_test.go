package signing

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/store/storetest"
)

var testTime = time.UnixMilli(1_700_000_000_000)

type fixedClock struct{}

func (fixedClock) Now() time.Time { return testTime }

func config(s *store.Store, domains ...matrix.ServerName) Config {
	return Config{Store: s, Domains: domains, SealKey: [32]byte{1, 2, 3}, Rand: rand.Reader, Clock: fixedClock{}}
}

func mustOpen(t *testing.T, cfg Config) *Keys {
	t.Helper()
	keys, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestKeysAreMadeOnceAndStay(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	first := mustOpen(t, config(s, "a.example", "b.example"))
	idA, privateA := first.Current("a.example")
	idB, privateB := first.Current("b.example")
	if !regexp.MustCompile(`^ed25519:[a-zA-Z0-9_]+$`).MatchString(idA) {
		t.Errorf("key ID is %q", idA)
	}
	if idA == idB || privateA.Equal(privateB) {
		t.Error("two domains share a key")
	}
	second := mustOpen(t, config(s, "b.example", "a.example", "c.example"))
	if id, private := second.Current("a.example"); id != idA || !private.Equal(privateA) {
		t.Error("the key changed with a restart")
	}
	public := second.VerifyKeys("a.example")
	if len(public) != 1 || public[0].KeyID != idA || public[0].ExpiredTS != 0 || !public[0].Key.Equal(privateA.Public()) {
		t.Errorf("public keys are %+v", public)
	}
	if !second.IsLocal("c.example") || first.IsLocal("c.example") || second.IsLocal("elsewhere.example") {
		t.Error("IsLocal")
	}
	if domains := second.Domains(); !slices.Equal(domains, []matrix.ServerName{"b.example", "a.example", "c.example"}) {
		t.Errorf("domains are %v", domains)
	}
	if id, private := second.Current("elsewhere.example"); id != "" || private != nil {
		t.Error("a foreign domain has a key")
	}
}

func TestProcessesThatStartAtOnceAgree(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	var wait sync.WaitGroup
	ids, errs := make([]string, 8), make([]error, 8)
	for i := range ids {
		wait.Go(func() {
			keys, err := Open(context.Background(), config(s, "a.example"))
			if errs[i] = err; err == nil {
				ids[i], _ = keys.Current("a.example")
			}
		})
	}
	wait.Wait()
	for i := range ids {
		if errs[i] != nil || ids[i] != ids[0] {
			t.Errorf("process %d has key %q (%v), process 0 has %q", i, ids[i], errs[i], ids[0])
		}
	}
}

func TestAnotherSealKeyIsRefused(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	id, _ := mustOpen(t, config(s, "a.example")).Current("a.example")
	other := config(s, "a.example")
	other.SealKey[0]++
	_, err := Open(t.Context(), other)
	if err == nil || !strings.Contains(err.Error(), "a.example") || !strings.Contains(err.Error(), id) {
		t.Errorf("error is %v, want one that names a.example and %s", err, id)
	}
}

func TestSealedKeyDoesNotFitAnotherRow(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	keys := mustOpen(t, config(s, "a.example"))
	rows, err := s.ListSigningKeys(t.Context(), keys.Domains())
	if err != nil || len(rows) != 1 {
		t.Fatal(rows, err)
	}
	_, private := keys.Current("a.example")
	if bytes.Contains(rows[0].PrivateKeySealed, private.Seed()) {
		t.Error("the private key lies open in the database")
	}
	for name, change := range map[string]func(*store.SigningKey){
		"domain":     func(k *store.SigningKey) { k.ServerName = "b.example" },
		"key ID":     func(k *store.SigningKey) { k.KeyID += "x" },
		"public key": func(k *store.SigningKey) { k.PublicKey = make([]byte, ed25519.PublicKeySize) },
		"version":    func(k *store.SigningKey) { k.PrivateKeySealed[0] = 2 },
		"nothing":    func(k *store.SigningKey) { k.PrivateKeySealed = nil },
	} {
		row := rows[0]
		row.PrivateKeySealed = bytes.Clone(row.PrivateKeySealed)
		change(&row)
		if _, err := keys.open(row); err == nil {
			t.Errorf("opened with another %s", name)
		}
	}
	if _, err := keys.open(rows[0]); err != nil {
		t.Error(err)
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	one, two := mustOpen(t, config(s, "a.example")), mustOpen(t, config(s, "a.example"))
	before, _ := one.Current("a.example")
	if err := one.Rotate(t.Context(), "a.example"); err != nil {
		t.Fatal(err)
	}
	after, private := one.Current("a.example")
	if after == before || private == nil {
		t.Fatal("the key did not change")
	}
	// The second process has not looked yet: it rotates nothing, and learns of the new key.
	if err := two.Rotate(t.Context(), "a.example"); err != nil {
		t.Fatal(err)
	}
	if id, _ := two.Current("a.example"); id != after {
		t.Errorf("the second process has key %s, the first %s", id, after)
	}
	public := two.VerifyKeys("a.example")
	if len(public) != 2 || public[0].KeyID != after || public[1].KeyID != before || public[1].ExpiredTS <= matrix.TimestampOf(testTime.Add(ReloadInterval)) {
		t.Errorf("public keys are %+v", public)
	}
	rows, err := s.ListSigningKeys(t.Context(), one.Domains())
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		if (row.KeyID == before) != (row.PrivateKeySealed == nil) {
			t.Errorf("key %s: private half stored: %v", row.KeyID, row.PrivateKeySealed != nil)
		}
	}
	if err := one.Rotate(t.Context(), "elsewhere.example"); err == nil {
		t.Error("a foreign domain was rotated")
	}
	three := mustOpen(t, config(s, "a.example"))
	if id, _ := three.Current("a.example"); id != after {
		t.Errorf("after a restart the key is %s, want %s", id, after)
	}
}

func TestReloadLearnsOfARotation(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	one, two := mustOpen(t, config(s, "a.example")), mustOpen(t, config(s, "a.example"))
	if err := one.Rotate(t.Context(), "a.example"); err != nil {
		t.Fatal(err)
	}
	if err := two.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	want, _ := one.Current("a.example")
	if id, _ := two.Current("a.example"); id != want {
		t.Errorf("key is %s, want %s", id, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := two.Reload(ctx); err == nil {
		t.Error("reload without a database succeeded")
	}
	if id, _ := two.Current("a.example"); id != want {
		t.Error("a failed reload lost the key")
	}
}

func TestNoDomainsIsRefused(t *testing.T) {
	t.Parallel()
	if _, err := Open(t.Context(), Config{}); err == nil {
		t.Error("opened")
	}
}
