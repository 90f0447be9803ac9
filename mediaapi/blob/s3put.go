package blob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/roomline/roomline/internal/limits"
)

// Put implements Store. An object of known size streams in one request. One of unknown size goes out in parts, each of which has to be
// in memory, as its length must be known when it is sent; there are few such uploads at a time.
func (s *S3) Put(ctx context.Context, key string, r io.Reader, size int64) error {
	name, err := s.name(key)
	if err != nil {
		return err
	}
	e := newExact(r, size)
	defer e.stop()
	switch {
	case size < 0:
		err = s.putUnsized(ctx, name, e)
	case size <= s.onePut:
		err = s.putOnce(ctx, name, e, size)
	default:
		err = s.putParts(ctx, name, e, &streamedParts{e: e, left: size, partSize: s.partSize})
	}
	e.stop()
	if failure := e.failure(); failure != nil {
		return failure
	}
	return wrap(ctx, err)
}

// PutBytes implements Store: one request, signed with the sum, which is repeated when a connection breaks.
func (s *S3) PutBytes(ctx context.Context, key string, content []byte, sum [sha256.Size]byte, noted func() error) error {
	name, err := s.name(key)
	if err != nil {
		return err
	}
	options := s.options()
	options.DisableContentSha256 = true // not another one, of pieces
	own, refuse := context.WithCancelCause(ctx)
	defer refuse(nil)
	body := &held{content: bytes.NewReader(content), noted: noted, failure: refuse} // nor is it tried again
	if len(content) == 0 {
		if err := noted(); err != nil {
			return err
		}
	}
	_, err = s.core.PutObject(own, s.bucket, name, body, int64(len(content)), "", hex.EncodeToString(sum[:]), options)
	if err != nil && own.Err() != nil && ctx.Err() == nil {
		return context.Cause(own) // before all was sent
	}
	if err != nil {
		s.undo(ctx, name, err)
	}
	return wrap(ctx, err)
}

func (s *S3) options() minio.PutObjectOptions {
	return minio.PutObjectOptions{ServerSideEncryption: s.sse}
}

// repeatable is the size up to which an object is held in memory to be sent again when a connection breaks.
const repeatable = 64 << 10

func (s *S3) putOnce(ctx context.Context, name string, e *exact, size int64) error {
	if size == 0 {
		if _, err := e.Read(nil); err != io.EOF {
			return err
		}
		return s.send(ctx, name, http.NoBody, 0)
	}
	r := io.Reader(e)
	if size <= repeatable {
		buffer := make([]byte, size)
		if _, err := e.fill(buffer); err != nil && err != io.EOF {
			return err
		}
		r = bytes.NewReader(buffer)
	}
	err := s.send(ctx, name, r, size)
	if err != nil && e.ended() {
		s.undo(ctx, name, err)
	}
	return err
}

// send puts an object with one request, which is repeated if r can seek.
func (s *S3) send(ctx context.Context, name string, r io.Reader, size int64) error {
	_, err := s.core.PutObject(ctx, s.bucket, name, r, size, "", "", s.options())
	return err
}

// undoPatience bounds what is done after a failure, when nobody waits for it any more.
const undoPatience = 20 * time.Second

// undo removes what the server may have made although it did not say so: an object, or an upload whose name nobody got.
func (s *S3) undo(ctx context.Context, name string, err error) {
	var answer minio.ErrorResponse
	if errors.As(err, &answer) && answer.StatusCode < http.StatusInternalServerError {
		return // it refused
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoPatience)
	defer cancel()
	_ = s.delete(ctx, []string{name}) // or Delete does, later
}

// unsized are the uploads of unknown size that are under way, and parts their buffers.
var (
	unsized = make(chan struct{}, limits.UnsizedUploads)
	parts   = sync.Pool{New: func() any { return new([limits.UploadPart]byte) }}
)

var errBusy = errors.New("too many uploads of unknown size at a time")

func (s *S3) putUnsized(ctx context.Context, name string, e *exact) error {
	wait := time.NewTimer(limits.UnsizedWait)
	defer wait.Stop()
	select {
	case unsized <- struct{}{}:
		defer func() { <-unsized }()
	case <-wait.C:
		return errBusy
	case <-ctx.Done():
		return ctx.Err()
	}
	buffer := parts.Get().(*[limits.UploadPart]byte)
	n, err := e.fill(buffer[:])
	switch err {
	case nil:
		err = s.putParts(ctx, name, e, &bufferedParts{e: e, buffer: buffer[:], n: n})
	case io.EOF:
		if err = s.send(ctx, name, bytes.NewReader(buffer[:n]), int64(n)); err != nil {
			s.undo(ctx, name, err)
		}
	}
	if err == nil {
		parts.Put(buffer) // after an error the transport may still be reading it
	}
	return err
}

// partSource yields the parts of an object, and io.EOF after the last.
type partSource interface {
	next() (io.Reader, int64, error)
}

// putParts uploads an object in parts. It is there when they all are, and the request that says so was answered.
func (s *S3) putParts(ctx context.Context, name string, e *exact, source partSource) error {
	id, err := s.core.NewMultipartUpload(ctx, s.bucket, name, s.options())
	if err != nil {
		s.undo(ctx, name, err)
		return err
	}
	err = s.sendParts(ctx, name, id, source)
	if err == nil {
		return nil
	}
	if e.ended() {
		s.undo(ctx, name, err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoPatience)
	defer cancel()
	_ = s.core.AbortMultipartUpload(ctx, s.bucket, name, id) // or Delete does, later
	return err
}

func (s *S3) sendParts(ctx context.Context, name, id string, source partSource) error {
	var done []minio.CompletePart
	for {
		r, size, err := source.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		number := len(done) + 1
		part, err := s.core.PutObjectPart(ctx, s.bucket, name, id, number, r, size, minio.PutObjectPartOptions{})
		if err != nil {
			return fmt.Errorf("part %d: %w", number, err)
		}
		done = append(done, minio.CompletePart{PartNumber: number, ETag: part.ETag})
	}
	_, err := s.core.CompleteMultipartUpload(ctx, s.bucket, name, id, done, minio.PutObjectOptions{})
	return err
}

// streamedParts cuts an object of known size.
type streamedParts struct {
	e              *exact
	left, partSize int64
}

func (p *streamedParts) next() (io.Reader, int64, error) {
	size := min(p.left, p.partSize)
	if size == 0 {
		return nil, 0, io.EOF
	}
	p.left -= size
	return io.LimitReader(p.e, size), size, nil
}

// bufferedParts reads an object of unknown size part by part. The first n bytes of the buffer have been read.
type bufferedParts struct {
	e      *exact
	buffer []byte
	n      int
}

func (p *bufferedParts) next() (io.Reader, int64, error) {
	n := p.n
	p.n = 0
	if n == 0 {
		var err error
		n, err = p.e.fill(p.buffer)
		if err != nil && (err != io.EOF || n == 0) {
			return nil, 0, err
		}
	}
	return bytes.NewReader(p.buffer[:n]), int64(n), nil
}
