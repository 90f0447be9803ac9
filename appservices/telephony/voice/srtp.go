package voice

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/pion/srtp/v3"
)

// suite is a way to encrypt packets (RFC 4568 §6.2, RFC 6188).
type suite struct {
	name      string
	profile   srtp.ProtectionProfile
	key, salt int
}

// suites are those that we know, the best first.
var suites = []*suite{
	{"AES_256_CM_HMAC_SHA1_80", srtp.ProtectionProfileAes256CmHmacSha1_80, 32, 14},
	{"AES_CM_128_HMAC_SHA1_80", srtp.ProtectionProfileAes128CmHmacSha1_80, 16, 14},
	{"AES_CM_128_HMAC_SHA1_32", srtp.ProtectionProfileAes128CmHmacSha1_32, 16, 14},
}

// cryptoLine is a key that one side encrypts with: what stands in a=crypto.
type cryptoLine struct {
	tag   string
	suite *suite
	key   []byte // with the salt behind it
}

func (c cryptoLine) String() string {
	return c.tag + " " + c.suite.name + " inline:" + base64.StdEncoding.EncodeToString(c.key)
}

// newKeys makes a key for each suite.
func newKeys() []cryptoLine {
	keys := make([]cryptoLine, len(suites))
	for i, s := range suites {
		keys[i] = cryptoLine{tag: strconv.Itoa(i + 1), suite: s, key: make([]byte, s.key+s.salt)}
		rand.Read(keys[i].key)
	}
	return keys
}

// parseCrypto reads a line. One that asks for what we don't do, such as packets that are not encrypted, is an error.
func parseCrypto(text string) (cryptoLine, error) {
	fields := strings.Fields(text)
	if len(fields) < 3 {
		return cryptoLine{}, errors.New("a key line that is too short")
	}
	line := cryptoLine{tag: fields[0]}
	if _, err := strconv.ParseUint(line.tag, 10, 30); err != nil {
		return cryptoLine{}, errors.New("a key line without a number")
	}
	for _, s := range suites {
		if s.name == fields[1] {
			line.suite = s
		}
	}
	if line.suite == nil {
		return cryptoLine{}, fmt.Errorf("an unknown suite %.40q", fields[1])
	}
	for _, parameter := range fields[3:] {
		// The hints of RFC 4568 §6.3 for windows and forward error correction change nothing; all others do.
		if !strings.HasPrefix(parameter, "WSH=") {
			return cryptoLine{}, fmt.Errorf("the parameter %.40q of a key", parameter)
		}
	}
	inline, ok := strings.CutPrefix(fields[2], "inline:")
	if !ok || strings.Contains(inline, ";") {
		return cryptoLine{}, errors.New("a key line without one key")
	}
	parts := strings.Split(inline, "|")
	if len(parts) > 2 || len(parts) == 2 && strings.Contains(parts[1], ":") {
		return cryptoLine{}, errors.New("a key with an index of master keys")
	}
	key, err := base64.StdEncoding.DecodeString(parts[0])
	if err != nil {
		key, err = base64.RawStdEncoding.DecodeString(parts[0])
	}
	if err != nil || len(key) != line.suite.key+line.suite.salt {
		return cryptoLine{}, errors.New("a key of a wrong length")
	}
	line.key = key
	return line, nil
}

// context encrypts or decrypts with a key. Each side uses its own for what it sends.
func (c cryptoLine) context() (*srtp.Context, error) {
	return srtp.CreateContext(c.key[:c.suite.key], c.key[c.suite.key:], c.suite.profile, srtp.SRTPReplayProtection(64), srtp.SRTCPReplayProtection(64))
}
