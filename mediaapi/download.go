package mediaapi

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/mediaapi/blob"
)

// download sends a file to somebody who may see what it hangs on.
//
// Spec: client-server v1.19 §content-repository, GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
//
// Differs: MSC3911 has 403 for media that one may not see; ours is 404, as for media that is not there.
func (s *Server) download(ctx context.Context, c *httpapi.Call) (any, error) {
	m, err := s.visible(ctx, c)
	if err != nil {
		return nil, err
	}
	return s.send(ctx, c, &m, m.FileName)
}

// downloadAs is download under another file name.
//
// Spec: client-server v1.19 §content-repository, GET /_matrix/client/v1/media/download/{serverName}/{mediaId}/{fileName}
func (s *Server) downloadAs(ctx context.Context, c *httpapi.Call) (any, error) {
	name, err := fileName(c)
	if err != nil {
		return nil, err
	}
	m, err := s.visible(ctx, c)
	if err != nil {
		return nil, err
	}
	return s.send(ctx, c, &m, name)
}

// downloadLegacy sends what was uploaded before media needed an access token.
//
// Spec: client-server v1.19 §content-repository, GET /_matrix/media/v3/download/{serverName}/{mediaId}
func (s *Server) downloadLegacy(ctx context.Context, c *httpapi.Call) (any, error) {
	m, err := s.frozen(ctx, c)
	if err != nil {
		return nil, err
	}
	return s.send(ctx, c, &m, m.FileName)
}

// downloadLegacyAs is downloadLegacy under another file name.
//
// Spec: client-server v1.19 §content-repository, GET /_matrix/media/v3/download/{serverName}/{mediaId}/{fileName}
func (s *Server) downloadLegacyAs(ctx context.Context, c *httpapi.Call) (any, error) {
	name, err := fileName(c)
	if err != nil {
		return nil, err
	}
	m, err := s.frozen(ctx, c)
	if err != nil {
		return nil, err
	}
	return s.send(ctx, c, &m, name)
}

// fileName is the name in the path.
func fileName(c *httpapi.Call) (string, error) {
	name := c.Path("fileName")
	if len(name) > limits.FileName {
		return "", matrix.InvalidParam("fileName is longer than %d bytes", limits.FileName)
	}
	return name, nil
}

// frozen is the media of the path if it may be fetched without an access token.
func (s *Server) frozen(ctx context.Context, c *httpapi.Call) (store.Media, error) {
	return s.find(ctx, c, func(m *store.Media) (bool, error) {
		return !m.Restricted && m.QuarantinedBy == "" && m.CreatedTS < s.cfg.UnauthenticatedUntil, nil
	})
}

// visible is the media of the path if the requester may see it.
func (s *Server) visible(ctx context.Context, c *httpapi.Call) (store.Media, error) {
	return s.find(ctx, c, func(m *store.Media) (bool, error) { return s.cfg.Rooms.MaySeeMedia(ctx, viewer(c), m) })
}

// find is the media of the path if may says that it may be seen. Of media that is announced and not uploaded the upload is waited for.
func (s *Server) find(ctx context.Context, c *httpapi.Call, may func(*store.Media) (bool, error)) (store.Media, error) {
	uri, err := contentURI(c)
	if err != nil {
		return store.Media{}, err
	}
	wait, err := c.QueryInt("timeout_ms", int(defaultWait.Milliseconds()), 0, int(limits.MediaWait.Milliseconds()))
	if err != nil {
		return store.Media{}, err
	}
	until := s.cfg.Clock.Now().Add(time.Duration(wait) * time.Millisecond)
	for {
		m, err := s.cfg.Store.GetMedia(ctx, uri)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return store.Media{}, fmt.Errorf("look up %s: %w", uri, err)
		}
		ok := err == nil
		if ok {
			if ok, err = may(&m); err != nil {
				return store.Media{}, err
			}
		}
		switch {
		case !ok:
			return store.Media{}, noSuchMedia()
		case m.ObjectKey != "":
			return m, nil
		case m.ExpiresTS != 0 && m.ExpiresTS <= s.now():
			return store.Media{}, noSuchMedia()
		case !s.cfg.Clock.Now().Before(until):
			return store.Media{}, matrix.NewError(http.StatusGatewayTimeout, matrix.ErrNotYetUploaded, "the content is not uploaded yet")
		}
		select {
		case <-ctx.Done():
			return store.Media{}, ctx.Err()
		case <-time.After(waitStep):
		}
	}
}

const (
	// defaultWait is for how long a client waits that does not say; set by the spec.
	defaultWait = 20 * time.Second
	waitStep    = 250 * time.Millisecond
)

// presignedFor is how long an address of the store itself is good.
const presignedFor = time.Minute

// send answers with the content of media.
func (s *Server) send(ctx context.Context, c *httpapi.Call, m *store.Media, name string) (any, error) {
	disposition := dispositionOf(m.ContentType, name)
	if s.cfg.Presigned && c.QueryBool("allow_redirect") {
		// What the store answers we can't protect by headers of ours, so that a browser may show nothing of it.
		url, err := s.cfg.Blobs.Presign(ctx, m.ObjectKey, presignedFor, m.ContentType, "attachment"+strings.TrimPrefix(strings.TrimPrefix(disposition, "inline"), "attachment"))
		if err != nil {
			return nil, storeError(err)
		}
		if url != "" {
			c.W.Header().Set("Location", url)
			return httpapi.Status{Code: http.StatusTemporaryRedirect}, nil
		}
	}
	return nil, s.sendObject(ctx, c, content{
		key: m.ObjectKey, size: m.Size, sha256: m.SHA256, crc32c: m.CRC32C, contentType: m.ContentType, disposition: disposition,
	})
}

// content is what is sent of the store.
type content struct {
	key         string
	size        int64
	sha256      []byte
	crc32c      *uint32
	contentType string
	disposition string
}

// tag is the content's ETag.
func (c *content) tag() string { return `"` + base64.RawURLEncoding.EncodeToString(c.sha256) + `"` }

// sendObject sends an object, or the parts of it that the client asks for.
//
// Spec: client-server v1.19 §content-repository, §serving-inline-content
func (s *Server) sendObject(ctx context.Context, c *httpapi.Call, what content) error {
	h := c.W.Header()
	h.Set("Content-Type", what.contentType)
	h.Set("Content-Disposition", what.disposition)
	h.Set("Content-Security-Policy",
		"sandbox; default-src 'none'; script-src 'none'; plugin-types application/pdf; style-src 'unsafe-inline'; object-src 'self'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	h.Set("Access-Control-Expose-Headers", "Retry-After, Content-Disposition, Content-Length, Content-Range, ETag, Accept-Ranges")
	// A client may keep the file, and has to ask each time whether it is still there: deleting has to mean something.
	h.Set("Cache-Control", "private, no-cache")
	h.Set("ETag", what.tag())
	body := &object{ctx: ctx, s: s, what: what}
	defer body.Close()
	if err := body.probe(c.Request); err != nil {
		for _, name := range []string{"Content-Type", "Content-Disposition", "ETag"} {
			h.Del(name)
		}
		if errors.Is(err, blob.ErrNotFound) {
			s.cfg.Log.Error("media: the store has lost an object", "object", what.key)
			return matrix.NewError(http.StatusBadGateway, matrix.ErrUnknown, "the content of this media is lost")
		}
		return storeError(err)
	}
	w := paced{c.Paced()}
	defer w.Release()
	http.ServeContent(w, c.Request, "", time.Time{}, body)
	if body.broken != nil {
		s.cfg.Log.Warn("media: a download broke off", "object", what.key, "error", body.broken)
		// Part of it has left: end the connection rather than the answer, so that nobody takes it for the whole.
		panic(http.ErrAbortHandler)
	}
	return nil
}

// object reads an object of the store as net/http wants to: it opens the store where it is asked to read.
type object struct {
	ctx  context.Context
	s    *Server
	what content
	// at is where to read next, pos where the reader is.
	at, pos int64
	reader  io.ReadCloser
	// verifier has seen all that was read; nil when something was left out.
	verifier *verifier
	broken   error
}

// probe opens the store before anything is answered, so that a store that is away is an error and not half an answer.
func (o *object) probe(r *http.Request) error {
	switch {
	case r.Method == http.MethodHead || strings.Contains(r.Header.Get("If-None-Match"), o.what.tag()):
		return nil
	case r.Header.Get("Range") == "":
		return o.open()
	}
	reader, err := o.s.cfg.Blobs.Get(o.ctx, o.what.key, 0, 1)
	if err != nil {
		return err
	}
	return reader.Close()
}

func (o *object) open() error {
	reader, err := o.s.cfg.Blobs.Get(o.ctx, o.what.key, o.at, -1)
	if err != nil {
		return err
	}
	o.reader, o.pos, o.verifier = reader, o.at, nil
	if o.at == 0 {
		o.verifier = o.what.verifier()
	}
	return nil
}

// Seek is where to read next.
func (o *object) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += o.at
	case io.SeekEnd:
		offset += o.what.size
	}
	o.at = offset
	return offset, nil
}

func (o *object) Read(p []byte) (int, error) {
	if o.reader != nil && o.pos != o.at {
		_ = o.Close()
	}
	if o.reader == nil {
		if err := o.open(); err != nil {
			o.broken = err
			return 0, err
		}
	}
	n, err := o.reader.Read(p)
	o.at += int64(n)
	o.pos = o.at
	if o.verifier != nil {
		o.verifier.hash.Write(p[:n])
		if o.at == o.what.size && !o.verifier.ok() {
			err = errors.New("the object is not what was stored")
		}
	}
	if err == io.EOF && o.at < o.what.size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && err != io.EOF {
		o.broken = err
		return 0, err
	}
	return n, err
}

// Close ends reading.
func (o *object) Close() error {
	if o.reader == nil {
		return nil
	}
	err := o.reader.Close()
	o.reader = nil
	return err
}

// paced is an answer that files are copied into.
type paced struct{ *httpapi.Paced }

// ReadFrom is what net/http copies with.
func (w paced) ReadFrom(r io.Reader) (int64, error) { return copyTo(w, r) }

// inline are the types that a browser may show: it can't be made to run them.
//
// Spec: client-server v1.19 §serving-inline-content
var inline = map[string]bool{
	"text/css": true, "text/plain": true, "text/csv": true, "application/json": true, "application/ld+json": true,
	"image/jpeg": true, "image/gif": true, "image/png": true, "image/apng": true, "image/webp": true, "image/avif": true,
	"video/mp4": true, "video/webm": true, "video/ogg": true, "video/quicktime": true,
	"audio/mp4": true, "audio/webm": true, "audio/aac": true, "audio/mpeg": true, "audio/ogg": true, "audio/wave": true, "audio/wav": true,
	"audio/x-wav": true, "audio/x-pn-wav": true, "audio/flac": true, "audio/x-flac": true,
}

// dispositionOf is the Content-Disposition of a file.
func dispositionOf(contentType, name string) string {
	how := "attachment"
	if kind, _, err := mime.ParseMediaType(contentType); err == nil && inline[kind] {
		how = "inline"
	}
	if name == "" {
		return how
	}
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, name)
	if with := mime.FormatMediaType(how, map[string]string{"filename": clean}); with != "" {
		return with
	}
	return how
}
