package auth

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"strings"

	"github.com/roomline/roomline/internal/matrix"
)

// Tokens are opaque to clients. To us, and to programs that look for leaked secrets, they say what they are: a prefix, the secret
// in base64url, and a checksum, so that a mistyped or invented token is refused without asking the database.
const (
	accessPrefix  = "rla_"
	refreshPrefix = "rlr_"

	accessBytes = 32
	// A refresh token is the family's secret, the same for the life of the session, and the generation's.
	familyBytes     = 16
	generationBytes = 32
	refreshBytes    = familyBytes + generationBytes

	rotationSaltBytes = 16
)

// formatToken makes a token of a secret.
func formatToken(prefix string, secret []byte) string {
	sum := binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(append([]byte(prefix), secret...)))
	return prefix + base64.RawURLEncoding.EncodeToString(secret) + base64.RawURLEncoding.EncodeToString(sum)
}

// parseToken returns the secret of a token that formatToken could have made.
func parseToken(prefix string, size int, token string) ([]byte, bool) {
	if len(token) != len(prefix)+base64.RawURLEncoding.EncodedLen(size)+base64.RawURLEncoding.EncodedLen(4) || !strings.HasPrefix(token, prefix) {
		return nil, false
	}
	secret, err := base64.RawURLEncoding.DecodeString(token[len(prefix) : len(prefix)+base64.RawURLEncoding.EncodedLen(size)])
	// base64 has several spellings of the last bits; only ours is a token.
	if err != nil || formatToken(prefix, secret) != token {
		return nil, false
	}
	return secret, true
}

// digest is what is stored of a secret.
type digest = [sha256.Size]byte

func digestOf(secret []byte) digest { return sha256.Sum256(secret) }

// secrets are the secrets of one generation of a session's tokens.
type secrets struct {
	access     []byte
	family     []byte
	generation []byte
}

func (s secrets) accessToken() string { return formatToken(accessPrefix, s.access) }
func (s secrets) refreshToken() string {
	return formatToken(refreshPrefix, append(append([]byte(nil), s.family...), s.generation...))
}

// newSecrets makes the tokens of a new session.
func newSecrets(random io.Reader) (secrets, error) {
	b, err := randomBytes(random, accessBytes+refreshBytes)
	if err != nil {
		return secrets{}, err
	}
	return secrets{access: b[:accessBytes], family: b[accessBytes : accessBytes+familyBytes], generation: b[accessBytes+familyBytes:]}, nil
}

// next makes the tokens that replace a refresh token. They follow from that token and a salt that only the database
// has: two processes that are asked for the same refresh, or one that is asked again because the answer was lost,
// answer the same tokens; the database alone, or an old token alone, gives none.
func (s secrets) next(salt []byte) (secrets, error) {
	b, err := hkdf.Key(sha256.New, s.generation, salt, "roomline refresh token rotation", accessBytes+generationBytes)
	if err != nil {
		return secrets{}, fmt.Errorf("derive tokens: %w", err)
	}
	return secrets{access: b[:accessBytes], family: s.family, generation: b[accessBytes:]}, nil
}

func randomBytes(random io.Reader, n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(random, b); err != nil {
		return nil, fmt.Errorf("read random bytes: %w", err)
	}
	return b, nil
}

// newDeviceID makes the id of a device that did not name itself: ten capital letters.
func newDeviceID(random io.Reader) (matrix.DeviceID, error) {
	id, err := randomName(random, "ABCDEFGHIJKLMNOPQRSTUVWXYZ", 10)
	return matrix.DeviceID(id), err
}

// randomName makes a string of n letters of an alphabet of at most 32 letters.
func randomName(random io.Reader, alphabet string, n int) (string, error) {
	name := make([]byte, 0, n)
	for len(name) < n {
		b, err := randomBytes(random, n)
		if err != nil {
			return "", err
		}
		for _, c := range b {
			// The letters that 32 does not divide evenly into are drawn again, so that all are equally likely.
			if i := int(c & 31); i < len(alphabet) && len(name) < n {
				name = append(name, alphabet[i])
			}
		}
	}
	return string(name), nil
}

// randomSource is cfg or the system's.
func randomSource(cfg io.Reader) io.Reader {
	if cfg == nil {
		return rand.Reader
	}
	return cfg
}
