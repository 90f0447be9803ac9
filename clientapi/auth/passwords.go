package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
)

// Params are the costs of argon2id.
type Params struct {
	MemoryKiB uint32
	Passes    uint32
	Lanes     uint8
}

// defaultParams are OWASP's: 19 MiB, two passes, one lane; about 30 ms of one core.
var defaultParams = Params{MemoryKiB: 19 << 10, Passes: 2, Lanes: 1}

const (
	saltBytes = 16
	keyBytes  = 32
)

// PasswordConfig configures Passwords. The zero value is right for production.
type PasswordConfig struct {
	// MinLength is the least number of characters of a new password: limits.PasswordMin if zero.
	MinLength int
	// Params are the costs of new hashes. Older hashes are made again at the next sign-in.
	Params Params
	// Concurrency is how many passwords are hashed at once, which bounds the memory: 2 to 4 by number of cores if zero.
	Concurrency int
	Rand        io.Reader
}

// Passwords hashes and verifies passwords.
//
// A password is normalised to Unicode NFC before it is hashed, because keyboards differ in how they send an é (RFC 8265
// §4.2.2 does the same); nothing is cut off, folded or trimmed.
type Passwords struct {
	minLength int
	params    Params
	gate      chan struct{}
	rand      io.Reader
	// decoy is verified where there is no hash, so that this takes as long.
	decoy string
}

// NewPasswords returns a Passwords.
func NewPasswords(cfg PasswordConfig) (*Passwords, error) {
	if cfg.MinLength == 0 {
		cfg.MinLength = limits.PasswordMin
	}
	if cfg.Params == (Params{}) {
		cfg.Params = defaultParams
	}
	if cfg.Concurrency == 0 {
		cfg.Concurrency = min(max(2, runtime.GOMAXPROCS(0)), 4)
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	p := &Passwords{minLength: cfg.MinLength, params: cfg.Params, gate: make(chan struct{}, cfg.Concurrency), rand: cfg.Rand}
	salt := make([]byte, saltBytes+keyBytes)
	if _, err := io.ReadFull(p.rand, salt); err != nil {
		return nil, fmt.Errorf("read random bytes: %w", err)
	}
	// Nobody knows a password with this key, and nobody may have it accepted: see Verify.
	p.decoy = encodeHash(p.params, salt[:saltBytes], salt[saltBytes:])
	return p, nil
}

// Check says whether the password may become the password of an account.
//
// Spec: client-server v1.19 §password-management
func (p *Passwords) Check(password string) error {
	if err := checkPasswordSize(password); err != nil {
		return err
	}
	if n := utf8.RuneCountInString(norm.NFC.String(password)); n < p.minLength {
		return matrix.WeakPassword("password is too short: it must have at least %d characters", p.minLength)
	}
	return nil
}

func checkPasswordSize(password string) error {
	if len(password) > limits.Password {
		return matrix.InvalidParam("password must have at most %d bytes", limits.Password)
	}
	return nil
}

// Hash returns the PHC string of a password. It waits while others are hashing.
func (p *Passwords) Hash(ctx context.Context, password string) (string, error) {
	salt := make([]byte, saltBytes)
	if _, err := io.ReadFull(p.rand, salt); err != nil {
		return "", fmt.Errorf("read random bytes: %w", err)
	}
	key, err := p.derive(ctx, p.params, password, salt)
	if err != nil {
		return "", err
	}
	return encodeHash(p.params, salt, key), nil
}

// Verify reports whether the password belongs to the hash, and whether the hash should be made again because the parameters
// have changed. An empty hash belongs to no password, which takes as long to find out.
func (p *Passwords) Verify(ctx context.Context, hash, password string) (ok, stale bool, err error) {
	exists := hash != ""
	if !exists {
		hash = p.decoy
	}
	params, salt, want, err := decodeHash(hash)
	if err != nil {
		return false, false, err
	}
	got, err := p.derive(ctx, params, password, salt)
	if err != nil {
		return false, false, err
	}
	ok = subtle.ConstantTimeCompare(got, want) == 1 && exists
	return ok, ok && params != p.params, nil
}

func (p *Passwords) derive(ctx context.Context, params Params, password string, salt []byte) ([]byte, error) {
	select {
	case p.gate <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-p.gate }()
	return argon2.IDKey(norm.NFC.Bytes([]byte(password)), salt, params.Passes, params.MemoryKiB, params.Lanes, keyBytes), nil
}

func encodeHash(params Params, salt, key []byte) string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, params.MemoryKiB, params.Passes, params.Lanes,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(key))
}

// decodeHash reads a PHC string of argon2id. A damaged one is an error of ours, not a wrong password.
func decodeHash(hash string) (params Params, salt, key []byte, err error) {
	bad := func(why string) (Params, []byte, []byte, error) {
		return Params{}, nil, nil, fmt.Errorf("stored password hash: %s", why)
	}
	parts := strings.Split(hash, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != "v="+strconv.Itoa(argon2.Version) {
		return bad("not an argon2id PHC string")
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &params.MemoryKiB, &params.Passes, &params.Lanes); err != nil {
		return bad("parameters")
	}
	if params.MemoryKiB > 1<<20 || params.Passes == 0 || params.Passes > 64 || params.Lanes == 0 {
		return bad("parameters out of range")
	}
	if salt, err = base64.RawStdEncoding.DecodeString(parts[4]); err != nil || len(salt) < 8 {
		return bad("salt")
	}
	if key, err = base64.RawStdEncoding.DecodeString(parts[5]); err != nil || len(key) != keyBytes {
		return bad("key")
	}
	return params, salt, key, nil
}
