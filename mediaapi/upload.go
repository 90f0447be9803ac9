package mediaapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/mediaapi/blob"
	"github.com/roomline/roomline/mediaapi/scan"
)

const (
	// largestUpload is what a route lets through; how much an organisation may upload at once is in its rules.
	largestUpload = 5 << 30
	// growBy is how many bytes are charged at a time while nobody knows how many there will be.
	growBy = 5 << 20
)

type uploadResponse struct {
	ContentURI string `json:"content_uri"`
}

// upload stores a file. The URI is given out when the file is durable.
//
// Spec: client-server v1.19 §content-repository, POST /_matrix/media/v3/upload
func (s *Server) upload(ctx context.Context, c *httpapi.Call) (any, error) {
	return s.uploadNew(ctx, c, false)
}

// uploadRestricted stores a file that nobody but the uploader has until it is attached to something.
//
// Spec: MSC3911 §detailed-spec-changes
func (s *Server) uploadRestricted(ctx context.Context, c *httpapi.Call) (any, error) {
	return s.uploadNew(ctx, c, true)
}

func (s *Server) uploadNew(ctx context.Context, c *httpapi.Call, restricted bool) (any, error) {
	m, err := s.described(c)
	if err != nil {
		return nil, err
	}
	m.URI = matrix.ContentURI{Server: c.Requester.User.Domain(), MediaID: newID()}
	m.Restricted = restricted
	if err := s.receive(ctx, c, m, false); err != nil {
		return nil, err
	}
	return uploadResponse{m.URI.String()}, nil
}

type createResponse struct {
	ContentURI      string           `json:"content_uri"`
	UnusedExpiresAt matrix.Timestamp `json:"unused_expires_at"`
}

// create gives out a URI for a file that is to be uploaded later.
//
// Spec: client-server v1.19 §content-repository, POST /_matrix/media/v1/create
func (s *Server) create(ctx context.Context, c *httpapi.Call) (any, error) {
	if err := mayUpload(c); err != nil {
		return nil, err
	}
	now := s.now()
	m := store.Media{
		URI:            matrix.ContentURI{Server: c.Requester.User.Domain(), MediaID: newID()},
		OrganisationID: c.Requester.Org, UserID: c.Requester.User, DeviceID: c.Requester.Device,
		CreatedTS: now, ExpiresTS: now.Add(limits.MediaAnnouncedFor),
	}
	ok, err := s.cfg.Store.AnnounceMedia(ctx, m, limits.MediaAnnounced, now)
	if err != nil {
		return nil, fmt.Errorf("announce media: %w", err)
	}
	if !ok {
		return nil, matrix.LimitExceeded(time.Minute)
	}
	return createResponse{m.URI.String(), m.ExpiresTS}, nil
}

// uploadTo stores the file of a URI that create gave out.
//
// Spec: client-server v1.19 §content-repository, PUT /_matrix/media/v3/upload/{serverName}/{mediaId}
func (s *Server) uploadTo(ctx context.Context, c *httpapi.Call) (any, error) {
	uri, err := contentURI(c)
	if err != nil {
		return nil, err
	}
	m, err := s.described(c)
	if err != nil {
		return nil, err
	}
	announced, err := s.cfg.Store.GetMedia(ctx, uri)
	switch {
	case errors.Is(err, store.ErrNotFound) || err == nil && announced.OrganisationID != c.Requester.Org:
		return nil, noSuchMedia()
	case err != nil:
		return nil, fmt.Errorf("look up %s: %w", uri, err)
	case announced.UserID != c.Requester.User:
		return nil, matrix.Forbidden("somebody else created this URI")
	case announced.ObjectKey != "":
		return nil, alreadyUploaded()
	case announced.ExpiresTS != 0 && announced.ExpiresTS <= s.now():
		return nil, noSuchMedia()
	}
	m.URI = uri
	return nil, s.receive(ctx, c, m, true)
}

func alreadyUploaded() *matrix.Error {
	return matrix.NewError(http.StatusConflict, matrix.ErrCannotOverwriteMedia, "this URI has its content already")
}

// mayUpload refuses those who may only look.
//
// Spec: client-server v1.19 §guest-access, §account-suspension
func mayUpload(c *httpapi.Call) error {
	if c.Requester.Suspended {
		return matrix.NewError(http.StatusForbidden, matrix.ErrUserSuspended, "the account is suspended")
	}
	return nil
}

// described is what the request says of the file that it carries.
func (s *Server) described(c *httpapi.Call) (store.Media, error) {
	if err := mayUpload(c); err != nil {
		return store.Media{}, err
	}
	name := c.Query("filename")
	if len(name) > limits.FileName {
		return store.Media{}, matrix.InvalidParam("filename is longer than %d bytes", limits.FileName)
	}
	if strings.ContainsFunc(name, unicode.IsControl) || !utf8.ValidString(name) {
		return store.Media{}, matrix.InvalidParam("filename must not contain control characters")
	}
	now := s.now()
	return store.Media{
		OrganisationID: c.Requester.Org, UserID: c.Requester.User, DeviceID: c.Requester.Device,
		ContentType: cleanType(c.Request.Header.Get("Content-Type")), FileName: name,
		CreatedTS: now, ExpiresTS: now.Add(s.cfg.UnusedFor),
	}, nil
}

// cleanType is a content type as it may stand in a header, application/octet-stream for what is none.
func cleanType(text string) string {
	const unknown = "application/octet-stream"
	if text == "" || len(text) > limits.ContentType {
		return unknown
	}
	kind, parameters, err := mime.ParseMediaType(text)
	if err != nil || !strings.Contains(kind, "/") {
		return unknown
	}
	if clean := mime.FormatMediaType(kind, parameters); clean != "" {
		return clean
	}
	return unknown
}

// receive reads the request's file into the store and makes it the content of m.
func (s *Server) receive(ctx context.Context, c *httpapi.Call, m store.Media, announced bool) error {
	r, err := s.rulesFor(ctx, c.Requester)
	if err != nil {
		return err
	}
	size := c.Request.ContentLength
	if size > r.maxUpload {
		return tooLarge(r.maxUpload)
	}
	body := c.Upload()
	defer body.Close()
	return s.take(ctx, incoming{media: m, announced: announced, size: size, body: body, rules: r})
}

func tooLarge(most int64) *matrix.Error {
	return matrix.TooLarge("the file is larger than %d bytes", most)
}

// incoming is a file on its way into the store. size is -1 if nobody knows it.
type incoming struct {
	media     store.Media
	announced bool
	size      int64
	body      io.Reader
	rules     rules
}

// take stores a file. Until it is done nobody can see it, and after an error nothing is left but a note for the sweeper.
func (s *Server) take(ctx context.Context, in incoming) error {
	object := store.NewObject{
		Key: newKey(in.media.OrganisationID), OrganisationID: in.media.OrganisationID, UserID: in.media.UserID, Size: max(in.size, 0),
		Quota: in.rules.quota,
	}
	var unnoted error
	note := func() error {
		unnoted = s.cfg.Store.BeginObject(ctx, object, s.now())
		return unnoted
	}
	reader := &counted{ctx: ctx, s: s, body: in.body, sums: newChecksums(), most: in.rules.maxUpload, object: object, charged: object.Size}
	err := s.write(ctx, object.Key, reader, in.size, note)
	if unnoted != nil {
		return s.quotaError(unnoted)
	}
	if err == nil {
		sum := reader.sums.sha256()
		err = s.cfg.Store.FinishObject(ctx, store.Uploaded{
			Key: object.Key, SHA256: sum[:], CRC32C: reader.sums.crc, Size: reader.read, Media: in.media, Announced: in.announced,
		}, s.now())
	}
	if err == nil {
		return nil
	}
	// The client may be gone; what it began is to be undone all the same. If that fails the sweeper finds it.
	undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoPatience)
	defer cancel()
	if undone := s.cfg.Store.AbortObject(undo, object.Key, s.now()); undone != nil {
		s.cfg.Log.Warn("media: an upload could not be undone at once", "error", undone)
	}
	s.wakeSweeper()
	if errors.Is(err, store.ErrMediaTaken) {
		return alreadyUploaded()
	}
	return s.quotaError(storeError(err))
}

// undoPatience bounds the undoing of an upload that failed. Where a busy database takes longer the user is charged until the sweeper comes.
const undoPatience = 20 * time.Second

// smallUploads are the files that are in memory, and smallBuffers what they are in.
var (
	smallUploads = make(chan struct{}, limits.SmallUploads)
	smallBuffers = sync.Pool{New: func() any { return new([limits.SmallUpload]byte) }}
)

// write writes an object that is noted in the database: a small one from memory, so that it is hashed once and is on its way while it is
// noted, and else as it comes. When write returns, note has been called and is over.
func (s *Server) write(ctx context.Context, key string, r *counted, size int64, note func() error) error {
	if size >= 0 && size <= limits.SmallUpload {
		select {
		case smallUploads <- struct{}{}:
			defer func() { <-smallUploads }()
			return s.writeSmall(ctx, key, r, size, note)
		default:
		}
	}
	if err := note(); err != nil {
		return err
	}
	return s.putJudged(ctx, key, r, size)
}

func (s *Server) writeSmall(ctx context.Context, key string, r *counted, size int64, note func() error) error {
	result := make(chan error, 1)
	go func() { result <- note() }()
	noted := sync.OnceValue(func() error { return <-result })
	buffer := smallBuffers.Get().(*[limits.SmallUpload]byte)
	content := buffer[:size]
	err := readExactly(r, content)
	if err == nil {
		err = s.putBytesJudged(ctx, key, content, r.sums.sha256(), noted)
		if err != nil {
			buffer = nil // a request may still be reading it
		}
	}
	if buffer != nil {
		smallBuffers.Put(buffer)
	}
	if unnoted := noted(); unnoted != nil {
		return unnoted
	}
	return err
}

// readExactly fills p, with all that r has.
func readExactly(r io.Reader, p []byte) error {
	n := 0
	for {
		var more [1]byte
		rest := p[n:]
		if len(rest) == 0 {
			rest = more[:]
		}
		m, err := r.Read(rest)
		if n += m; n > len(p) || err == io.EOF && n < len(p) {
			return blob.ErrSize
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// putBytesJudged writes what is in memory, while the scanner, if there is one, judges it.
func (s *Server) putBytesJudged(ctx context.Context, key string, content []byte, sum [sha256.Size]byte, noted func() error) error {
	if s.cfg.Scanner == nil {
		return s.cfg.Blobs.PutBytes(ctx, key, content, sum, noted)
	}
	verdict := make(chan error, 1)
	go func() { verdict <- s.judge(ctx, bytes.NewReader(content)) }()
	err := s.cfg.Blobs.PutBytes(ctx, key, content, sum, noted)
	judged := <-verdict
	if err != nil {
		return err
	}
	return judged
}

// putJudged writes an object, while the scanner, if there is one, judges what is written.
func (s *Server) putJudged(ctx context.Context, key string, r io.Reader, size int64) error {
	if s.cfg.Scanner == nil {
		return s.cfg.Blobs.Put(ctx, key, r, size)
	}
	copied, copies := io.Pipe()
	verdict := make(chan error, 1)
	go func() {
		verdict <- s.judge(ctx, copied)
		// The upload goes on in any case: what is wrong with the file is said when it is over.
		_, _ = io.Copy(io.Discard, copied)
	}()
	err := s.cfg.Blobs.Put(ctx, key, io.TeeReader(r, copies), size)
	if err != nil {
		_ = copies.CloseWithError(err)
		<-verdict
		return err
	}
	_ = copies.Close()
	return <-verdict
}

func (s *Server) judge(ctx context.Context, r io.Reader) error {
	found, err := s.cfg.Scanner.Scan(ctx, r)
	switch {
	case errors.Is(err, scan.ErrTooLarge) && s.cfg.AcceptOversize:
		return nil
	case errors.Is(err, scan.ErrTooLarge):
		return matrix.TooLarge("the file is too large to be scanned for viruses")
	case err != nil:
		s.cfg.Log.Warn("media: an upload could not be scanned for viruses", "error", err)
		e := matrix.Unavailable(storeRetry)
		e.Message = "the file can't be scanned for viruses at the moment; try again"
		return e
	case found != "":
		s.cfg.Log.Info("media: a virus was found in an upload", "signature", found)
		return matrix.Forbidden("a virus was found in the file")
	}
	return nil
}

// counted reads an upload: it sums up and counts what comes, and charges for what nobody had announced.
type counted struct {
	ctx    context.Context
	s      *Server
	body   io.Reader
	sums   *checksums
	most   int64
	object store.NewObject
	read   int64
	// charged is how many bytes the user is charged with so far.
	charged int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.body.Read(p)
	c.read += int64(n)
	if c.read > c.most {
		return 0, tooLarge(c.most)
	}
	if c.read > c.charged {
		more := max(growBy, c.read-c.charged)
		if err := c.s.cfg.Store.GrowObject(c.ctx, c.object, more); err != nil {
			return 0, c.s.quotaError(err)
		}
		c.charged += more
	}
	c.sums.Write(p[:n])
	return n, err
}

// quotaError turns an exceeded quota into what the client is told.
//
// Spec: MSC4335
func (s *Server) quotaError(err error) error {
	var e *matrix.Error
	switch {
	case errors.Is(err, store.ErrUserQuota):
		e = matrix.NewError(http.StatusForbidden, matrix.ErrUserLimitExceeded, "you have used up your space for files; delete some")
	case errors.Is(err, store.ErrOrganisationQuota):
		e = matrix.NewError(http.StatusForbidden, matrix.ErrUserLimitExceeded, "your organisation has used up its space for files")
	default:
		return err
	}
	return e.With("info_uri", s.cfg.QuotaInfoURL)
}

// copyMedia makes new media of the same content, to be attached to another event.
//
// Spec: MSC3911 §detailed-spec-changes
func (s *Server) copyMedia(ctx context.Context, c *httpapi.Call) (any, error) {
	if err := mayUpload(c); err != nil {
		return nil, err
	}
	m, err := s.visible(ctx, c)
	if err != nil {
		return nil, err
	}
	// Content is never shared between organisations: what comes from another one has to be uploaded anew.
	if m.OrganisationID != c.Requester.Org {
		return nil, matrix.Forbidden("media of another organisation can't be copied; download it and upload it again")
	}
	r, err := s.rulesOf(ctx, c.Requester.Org)
	if err != nil {
		return nil, err
	}
	now := s.now()
	m.URI = matrix.ContentURI{Server: c.Requester.User.Domain(), MediaID: newID()}
	m.UserID, m.DeviceID, m.Restricted = c.Requester.User, c.Requester.Device, true
	m.CreatedTS, m.ExpiresTS = now, now.Add(s.cfg.UnusedFor)
	err = s.cfg.Store.CopyMedia(ctx, m, r.quota)
	if errors.Is(err, store.ErrNotFound) {
		return nil, noSuchMedia()
	}
	if err != nil {
		return nil, s.quotaError(err)
	}
	return uploadResponse{m.URI.String()}, nil
}

// contentURI is the URI in the path.
func contentURI(c *httpapi.Call) (matrix.ContentURI, error) {
	return matrix.NewContentURI(c.Path("serverName"), c.Path("mediaId"))
}

// Open reads the bytes of media.
func (s *Server) Open(ctx context.Context, m *store.Media) (io.ReadCloser, error) {
	return s.cfg.Blobs.Get(ctx, m.ObjectKey, 0, -1)
}

// StorePicture stores a picture that the server was given for a user, such as the one of a directory.
func (s *Server) StorePicture(ctx context.Context, user store.User, contentType string, content []byte) (matrix.ContentURI, error) {
	r, err := s.rulesOf(ctx, user.OrganisationID)
	if err != nil {
		return matrix.ContentURI{}, err
	}
	now := s.now()
	m := store.Media{
		URI:            matrix.ContentURI{Server: user.UserID.Domain(), MediaID: newID()},
		OrganisationID: user.OrganisationID, UserID: user.UserID, ContentType: cleanType(contentType),
		CreatedTS: now, ExpiresTS: now.Add(s.cfg.UnusedFor),
	}
	err = s.take(ctx, incoming{media: m, size: int64(len(content)), body: bytes.NewReader(content), rules: r})
	return m.URI, err
}
