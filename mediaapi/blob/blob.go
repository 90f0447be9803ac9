// Package blob keeps the bytes of media: in a folder, or in a bucket of a server that speaks S3.
//
// An object is written whole or not at all. Put compares what it reads with the size that it was told before the last byte is on its
// way, so an upload that breaks off, is too long or fails its check at the end never becomes an object. What is large is streamed: an
// object whose size is known costs a few small buffers, however big it is.
//
// Keys are made by us and never of what a client sent (SEC-70). They are checked all the same, and what is no key is refused.
//
// Start reading at Store; exact.go is the check of sizes, folder.go and s3.go the two stores, s3put.go how uploads reach a bucket.
package blob

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Store keeps objects. It is safe for concurrent use.
type Store interface {
	// Put stores what r yields under key. size is the number of bytes that r will yield, or -1 if nobody knows. It returns when the
	// object is durable. After an error nothing is left under key, as far as the store lets us; what a crash leaves, Delete removes.
	// r is not read any more when Put has returned. An error of r is in the chain of the error.
	Put(ctx context.Context, key string, r io.Reader, size int64) error

	// PutBytes is Put for content that is in memory, and whose SHA-256 is known: it is not hashed again. noted is waited for before the
	// last of the content leaves, and its error ends it: there is no object before it has returned nil. After an error content may
	// still be read by a request that is being given up.
	PutBytes(ctx context.Context, key string, content []byte, sum [sha256.Size]byte, noted func() error) error

	// Get returns length bytes from offset, or fewer where the object ends; length -1 is all to the end. The error is ErrNotFound when
	// there is no object. A reader that ends without an error has yielded everything.
	Get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error)

	// Delete removes objects, all their versions, and what interrupted uploads left of them. Objects that are not there are no error.
	Delete(ctx context.Context, keys ...string) error

	// DeleteStored is Delete for objects whose Put has succeeded: it need not look for interrupted uploads, which costs a request for each.
	DeleteStored(ctx context.Context, keys ...string) error

	// List calls f for each object below prefix, which is empty or the beginning of a key up to a slash, in any order. An error of f
	// ends it.
	List(ctx context.Context, prefix string, f func(Object) error) error

	// Presign returns a URL at which anybody may read the object until it expires, or "" if the store can't. It is answered with this
	// Content-Type and Content-Disposition.
	Presign(ctx context.Context, key string, valid time.Duration, contentType, disposition string) (string, error)

	// Check says whether the store can be used.
	Check(ctx context.Context) error
}

// Object is what List finds.
type Object struct {
	Key      string
	Size     int64
	Modified time.Time
}

var (
	// ErrNotFound says that there is no object.
	ErrNotFound = errors.New("no such object")

	// ErrFull says that the store has no space left.
	ErrFull = errors.New("the media store is full")

	// ErrSize says that a reader yielded more or fewer bytes than Put was told.
	ErrSize = errors.New("the upload has not the size that was announced")

	// ErrKey says that a string is no key.
	ErrKey = errors.New("not a key of the media store")
)

// unavailable is an error of the way to the store, or of the store as a whole: the same call may succeed later.
type unavailable struct{ err error }

func (u *unavailable) Error() string     { return "the media store is not available: " + u.err.Error() }
func (u *unavailable) Unwrap() error     { return u.err }
func (u *unavailable) Unavailable() bool { return true }

// maxKey bounds a key in bytes. A folder adds a few bytes to its last segment, which may have 255.
const maxKey = 200

// checkKey refuses what could mean something to a file system or to a server.
func checkKey(key string) error {
	if key == "" || len(key) > maxKey {
		return fmt.Errorf("%w: %d bytes", ErrKey, len(key))
	}
	for segment := range strings.SplitSeq(key, "/") {
		if segment == "" || strings.ContainsFunc(segment, notInKey) {
			return fmt.Errorf("%w: %q", ErrKey, key)
		}
	}
	return nil
}

func notInKey(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '_':
		return false
	}
	return true
}

// checkPrefix returns a prefix with its slash.
func checkPrefix(prefix string) (string, error) {
	prefix = strings.TrimSuffix(prefix, "/")
	if prefix == "" {
		return "", nil
	}
	if err := checkKey(prefix); err != nil {
		return "", err
	}
	return prefix + "/", nil
}

func checkRange(offset, length int64) error {
	if offset < 0 || length < -1 {
		return fmt.Errorf("no range of an object: %d bytes from %d", length, offset)
	}
	return nil
}
