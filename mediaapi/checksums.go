package mediaapi

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"hash/crc32"
	"io"
	"sync"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksums are the two of a content: its SHA-256, which is its name, and its CRC-32C, by which it is checked each time it is sent. That
// finds what a store has lost or mixed up, and costs a twentieth.
type checksums struct {
	sha hash.Hash
	crc uint32
}

func newChecksums() *checksums { return &checksums{sha: sha256.New()} }

func (c *checksums) Write(p []byte) (int, error) {
	c.crc = crc32.Update(c.crc, castagnoli, p)
	return c.sha.Write(p)
}

func (c *checksums) sha256() (sum [sha256.Size]byte) {
	c.sha.Sum(sum[:0])
	return sum
}

// verifier compares what passes with what was stored.
type verifier struct {
	hash hash.Hash
	want []byte
}

// verifier is for the whole content. What was stored before there were CRCs is checked by its SHA-256.
func (c *content) verifier() *verifier {
	if c.crc32c == nil {
		return &verifier{sha256.New(), c.sha256}
	}
	return &verifier{crc32.New(castagnoli), binary.BigEndian.AppendUint32(nil, *c.crc32c)}
}

func (v *verifier) ok() bool { return bytes.Equal(v.hash.Sum(nil), v.want) }

// copyBuffer is how much of a file is read and written at a time.
const copyBuffer = 128 << 10

var copyBuffers = sync.Pool{New: func() any { return new([copyBuffer]byte) }}

// copyTo copies all of r. Neither side does it by itself.
func copyTo(w io.Writer, r io.Reader) (int64, error) {
	buffer := copyBuffers.Get().(*[copyBuffer]byte)
	defer copyBuffers.Put(buffer)
	return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, buffer[:])
}
