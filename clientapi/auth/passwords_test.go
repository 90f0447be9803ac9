package auth

import (
	"strings"
	"sync"
	"testing"

	"github.com/roomline/roomline/internal/matrix"
)

var cheap = Params{MemoryKiB: 64, Passes: 1, Lanes: 1}

func newPasswords(t *testing.T, cfg PasswordConfig) *Passwords {
	t.Helper()
	p, err := NewPasswords(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPasswordVerifiesAgainstItsOwnHashOnly(t *testing.T) {
	t.Parallel()
	p := newPasswords(t, PasswordConfig{})
	hash, err := p.Hash(t.Context(), "correct horse battery")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("hash %q does not have OWASP's parameters", hash)
	}
	for password, want := range map[string]bool{
		"correct horse battery": true, "correct horse batterz": false, "": false, "correct horse battery ": false, "Correct horse battery": false,
	} {
		ok, stale, err := p.Verify(t.Context(), hash, password)
		if err != nil || ok != want || stale {
			t.Errorf("Verify(%q) = %v, %v, %v; want %v", password, ok, stale, err, want)
		}
	}
	if other, _ := p.Hash(t.Context(), "correct horse battery"); other == hash {
		t.Error("two hashes of one password are the same: no salt")
	}
}

func TestNothingOfALongPasswordIsCutOff(t *testing.T) {
	t.Parallel()
	p := newPasswords(t, PasswordConfig{Params: cheap})
	long := strings.Repeat("x", 1023)
	hash, err := p.Hash(t.Context(), long+"a")
	if err != nil {
		t.Fatal(err)
	}
	if ok, _, _ := p.Verify(t.Context(), hash, long+"b"); ok {
		t.Error("the last byte of 1,024 does not count")
	}
	if err := p.Check(long + "a"); err != nil {
		t.Errorf("1,024 bytes are refused: %v", err)
	}
	if e, ok := matrix.AsError(p.Check(long + "ab")); !ok || e.Code != matrix.ErrInvalidParam {
		t.Errorf("1,025 bytes: %v", e)
	}
	if e, ok := matrix.AsError(p.Check("1234567")); !ok || e.Code != matrix.ErrWeakPassword {
		t.Errorf("7 characters: %v", e)
	}
	// Eight characters are counted, not bytes, and in their composed form.
	if e, ok := matrix.AsError(p.Check(strings.Repeat("e\u0301", 7))); !ok || e.Code != matrix.ErrWeakPassword {
		t.Errorf("7 characters of two code points: %v", e)
	}
}

func TestPasswordDoesNotDependOnUnicodeComposition(t *testing.T) {
	t.Parallel()
	p := newPasswords(t, PasswordConfig{Params: cheap})
	hash, err := p.Hash(t.Context(), "caf\u00e9 cr\u00e8me")
	if err != nil {
		t.Fatal(err)
	}
	if ok, _, err := p.Verify(t.Context(), hash, "cafe\u0301 cre\u0300me"); err != nil || !ok {
		t.Errorf("the decomposed spelling is refused: %v, %v", ok, err)
	}
}

func TestHashOfOldParametersIsAcceptedAndStale(t *testing.T) {
	t.Parallel()
	before := newPasswords(t, PasswordConfig{Params: cheap})
	hash, err := before.Hash(t.Context(), "some password")
	if err != nil {
		t.Fatal(err)
	}
	after := newPasswords(t, PasswordConfig{Params: Params{MemoryKiB: 128, Passes: 2, Lanes: 1}})
	if ok, stale, err := after.Verify(t.Context(), hash, "some password"); err != nil || !ok || !stale {
		t.Errorf("Verify = %v, stale %v, %v", ok, stale, err)
	}
	if ok, stale, _ := after.Verify(t.Context(), hash, "another password"); ok || stale {
		t.Errorf("wrong password: %v, stale %v", ok, stale)
	}
}

func TestMissingHashVerifiesNothing(t *testing.T) {
	t.Parallel()
	p := newPasswords(t, PasswordConfig{Params: cheap})
	for _, password := range []string{"", "anything", p.decoy} {
		if ok, _, err := p.Verify(t.Context(), "", password); ok || err != nil {
			t.Errorf("Verify(no hash, %q) = %v, %v", password, ok, err)
		}
	}
	for _, hash := range []string{"x", "$argon2id$v=19$m=1$a$b", "$argon2id$v=19$m=99999999,t=1,p=1$c2FsdHNhbHQ$aGFzaA", "$2b$12$abcdefghijklmnopqrstuv"} {
		if ok, _, err := p.Verify(t.Context(), hash, "anything"); ok || err == nil {
			t.Errorf("damaged hash %q: %v, %v", hash, ok, err)
		}
	}
}

// Two hundred logins at once use the memory of as many as the gate lets through.
func TestHashingIsCapped(t *testing.T) {
	t.Parallel()
	p := newPasswords(t, PasswordConfig{Params: cheap, Concurrency: 2})
	var wg sync.WaitGroup
	over := make(chan int, 200)
	for range 200 {
		wg.Go(func() {
			if _, err := p.Hash(t.Context(), "some password"); err != nil {
				t.Error(err)
			}
			over <- len(p.gate)
		})
	}
	wg.Wait()
	close(over)
	for n := range over {
		if n > 2 {
			t.Fatalf("%d hashes at once", n)
		}
	}
}
