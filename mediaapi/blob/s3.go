package blob

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/encrypt"
	"golang.org/x/sync/errgroup"

	"github.com/roomline/roomline/internal/limits"
)

// S3Config says where a bucket is.
type S3Config struct {
	Endpoint string // host or host:port
	// Public is where everybody reaches the same server, to be told to clients: http:// or https:// and a host. The endpoint if empty.
	Public    string
	Region    string // asked for once if empty
	Bucket    string
	Prefix    string // before all keys, if the bucket is shared
	PathStyle bool   // https://endpoint/bucket/key instead of https://bucket.endpoint/key
	AccessKey string
	SecretKey string
	TLS       bool
	RootCAs   *x509.CertPool // instead of the system's
	// SSE is how the server encrypts what it stores: "" as the bucket says, "S3" with its own key, "KMS:<id>" with that one.
	SSE string
	// CreateBucket lets Check make a bucket that is missing.
	CreateBucket bool
}

// S3 keeps objects in a bucket.
//
// Requests are signed with what they carry, so over plain HTTP, too, nothing is stored but what was sent; answers are as long as the
// server says or an error. What was begun is not begun again when it fails, unless it can be: uploads that stream go out once.
type S3 struct {
	core minio.Core
	// public signs what clients ask for themselves.
	public       *minio.Client
	bucket       string
	prefix       string
	region       string
	sse          encrypt.ServerSide
	createBucket bool
	// stall is how long the server may take or send nothing.
	stall time.Duration
	// onePut is the size up to which an object is sent in one request, partSize that of the parts of a larger one.
	onePut, partSize int64
}

var _ Store = (*S3)(nil)

const (
	// attempts is how often a request is sent that can be repeated.
	attempts = 3
	// atOnce is how many requests of one call for many keys are under way together.
	atOnce = 8
	// largestPut is what S3 takes in one request, largestPart the size of the parts of what is larger: 10,000 are allowed.
	largestPut  = 5 << 30
	largestPart = 1 << 30
	// dialPatience bounds connecting, and again the TLS handshake.
	dialPatience = 10 * time.Second
)

// NewS3 returns the store in a bucket. It does not speak to the server: Check does.
func NewS3(config S3Config) (*S3, error) {
	dialer := &net.Dialer{Timeout: dialPatience}
	return newS3(config, dialer.DialContext, limits.StoreStall)
}

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

func newS3(config S3Config, dial dialFunc, stall time.Duration) (*S3, error) {
	prefix, err := checkPrefix(config.Prefix)
	if err != nil {
		return nil, fmt.Errorf("prefix: %w", err)
	}
	sse, err := parseSSE(config.SSE)
	if err != nil {
		return nil, err
	}
	lookup := minio.BucketLookupDNS
	if config.PathStyle {
		lookup = minio.BucketLookupPath
	}
	core, err := minio.NewCore(config.Endpoint, &minio.Options{
		Creds:        credentials.NewStaticV4(config.AccessKey, config.SecretKey, ""),
		Secure:       config.TLS,
		Transport:    transport(config.RootCAs, dial, stall),
		Region:       config.Region,
		BucketLookup: lookup,
		MaxRetries:   attempts,
	})
	if err != nil {
		return nil, fmt.Errorf("S3 endpoint %s: %w", config.Endpoint, err)
	}
	public, err := publicClient(config, core.Client, lookup)
	if err != nil {
		return nil, err
	}
	return &S3{
		core: *core, public: public, bucket: config.Bucket, prefix: prefix, region: config.Region, sse: sse, createBucket: config.CreateBucket,
		stall: stall, onePut: largestPut, partSize: largestPart,
	}, nil
}

// publicClient signs for the public address. It has to know the region, for it is never used to ask for anything.
func publicClient(config S3Config, own *minio.Client, lookup minio.BucketLookupType) (*minio.Client, error) {
	if config.Public == "" {
		return own, nil
	}
	u, err := url.Parse(config.Public)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("public S3 endpoint %q is no address", config.Public)
	}
	if config.Region == "" {
		return nil, errors.New("a public S3 endpoint needs the region")
	}
	return minio.New(u.Host, &minio.Options{
		Creds:  credentials.NewStaticV4(config.AccessKey, config.SecretKey, ""),
		Secure: u.Scheme == "https", Region: config.Region, BucketLookup: lookup,
	})
}

func parseSSE(text string) (encrypt.ServerSide, error) {
	id, isKMS := strings.CutPrefix(text, "KMS:")
	switch {
	case text == "":
		return nil, nil
	case text == "S3":
		return encrypt.NewSSE(), nil
	case isKMS && id != "":
		return encrypt.NewSSEKMS(id, nil)
	}
	return nil, fmt.Errorf("server-side encryption is empty, S3 or KMS:<id>, not %q", text)
}

// transport is not that of internal/outbound: the operator chose the address, and it is mostly one inside.
func transport(roots *x509.CertPool, dial dialFunc, stall time.Duration) *http.Transport {
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &patientConn{c, stall}, nil
		},
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    dialPatience,
		ResponseHeaderTimeout:  stall,
		MaxResponseHeaderBytes: 64 << 10,
		MaxIdleConnsPerHost:    64,
		IdleConnTimeout:        time.Minute,
		DisableCompression:     true,
		WriteBufferSize:        64 << 10,
		ReadBufferSize:         64 << 10,
	}
}

// patientConn gives up on a server that takes nothing of a request. A slow client does not count: only writing is timed.
type patientConn struct {
	net.Conn
	patience time.Duration
}

// writtenAtOnce is what a server has to take within the patience.
const writtenAtOnce = 256 << 10

func (c *patientConn) Write(p []byte) (n int, err error) {
	for {
		if err := c.SetWriteDeadline(time.Now().Add(c.patience)); err != nil {
			return n, err
		}
		m, err := c.Conn.Write(p[n:min(len(p), n+writtenAtOnce)])
		n += m
		if err != nil || n == len(p) {
			return n, err
		}
	}
}

// name is a key's name in the bucket.
func (s *S3) name(key string) (string, error) {
	if err := checkKey(key); err != nil {
		return "", err
	}
	return s.prefix + key, nil
}

// wrap says what an error of a request means.
func wrap(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	var answer minio.ErrorResponse
	if !errors.As(err, &answer) {
		return &unavailable{err}
	}
	switch code := answer.Code; {
	case code == minio.NoSuchKey:
		return ErrNotFound
	case answer.StatusCode == http.StatusInsufficientStorage, code == "XMinioStorageFull", strings.Contains(code, "QuotaExceeded"):
		return fmt.Errorf("%w: %w", ErrFull, err)
	case answer.StatusCode >= 500, answer.StatusCode == http.StatusTooManyRequests, answer.StatusCode == http.StatusRequestTimeout,
		code == "InternalError", code == "ServiceUnavailable", strings.HasPrefix(code, "SlowDown"):
		return &unavailable{err}
	}
	return fmt.Errorf("the media store refused: %s: %w", answer.Code, err)
}

// Check implements Store.
func (s *S3) Check(ctx context.Context) error {
	there, err := s.core.BucketExists(ctx, s.bucket)
	if err != nil {
		return wrap(ctx, err)
	}
	if there {
		return nil
	}
	if !s.createBucket {
		return fmt.Errorf("there is no bucket %q", s.bucket)
	}
	err = s.core.MakeBucket(ctx, s.bucket, minio.MakeBucketOptions{Region: s.region})
	if code := minio.ToErrorResponse(err).Code; code == "BucketAlreadyOwnedByYou" {
		return nil // by another process, just now
	}
	return wrap(ctx, err)
}

// Get implements Store.
func (s *S3) Get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	name, err := s.name(key)
	if err == nil {
		err = checkRange(offset, length)
	}
	if err != nil {
		return nil, err
	}
	if length == 0 { // no range says this
		_, err := s.core.StatObject(ctx, s.bucket, name, minio.StatObjectOptions{})
		return http.NoBody, wrap(ctx, err)
	}
	var options minio.GetObjectOptions
	ranged := offset > 0 || length > 0
	switch {
	case length > 0:
		err = options.SetRange(offset, offset+length-1)
	case offset > 0:
		err = options.SetRange(offset, 0)
	}
	if err != nil {
		return nil, err
	}
	own, cancel := context.WithCancel(ctx)
	body, _, header, err := s.core.GetObject(own, s.bucket, name, options)
	if minio.ToErrorResponse(err).StatusCode == http.StatusRequestedRangeNotSatisfiable {
		cancel()
		return http.NoBody, nil
	}
	if err == nil && ranged && !strings.HasPrefix(header.Get("Content-Range"), fmt.Sprintf("bytes %d-", offset)) {
		body.Close()
		err = errors.New("the server does not know ranges")
	}
	if err != nil {
		cancel()
		return nil, wrap(ctx, err)
	}
	d := &download{ctx: ctx, body: body, cancel: cancel, patience: s.stall}
	d.timer = time.AfterFunc(s.stall, d.stall)
	d.timer.Stop()
	return d, nil
}

// download gives up on a server that sends nothing. A slow client does not count: only reading is timed.
type download struct {
	ctx      context.Context
	body     io.ReadCloser
	cancel   context.CancelFunc
	patience time.Duration
	timer    *time.Timer
	stalled  atomic.Bool
}

func (d *download) stall() {
	d.stalled.Store(true)
	d.cancel()
}

func (d *download) Read(p []byte) (int, error) {
	d.timer.Reset(d.patience)
	n, err := d.body.Read(p)
	d.timer.Stop()
	if err == nil || err == io.EOF {
		return n, err
	}
	if d.stalled.Load() {
		err = &unavailable{fmt.Errorf("the server sent nothing for %s", d.patience)}
	}
	return n, wrap(d.ctx, err)
}

func (d *download) Close() error {
	d.timer.Stop()
	d.cancel()
	return d.body.Close()
}

// List implements Store.
func (s *S3) List(ctx context.Context, prefix string, f func(Object) error) error {
	prefix, err := checkPrefix(prefix)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for o := range s.core.ListObjectsIter(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix + prefix, Recursive: true}) {
		if o.Err != nil {
			return wrap(ctx, o.Err)
		}
		if err := f(Object{Key: strings.TrimPrefix(o.Key, s.prefix), Size: o.Size, Modified: o.LastModified}); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// Presign implements Store.
func (s *S3) Presign(ctx context.Context, key string, valid time.Duration, contentType, disposition string) (string, error) {
	name, err := s.name(key)
	if err != nil {
		return "", err
	}
	answer := url.Values{}
	if contentType != "" {
		answer.Set("response-content-type", contentType)
	}
	if disposition != "" {
		answer.Set("response-content-disposition", disposition)
	}
	u, err := s.public.PresignedGetObject(ctx, s.bucket, name, valid, answer)
	if err != nil {
		return "", wrap(ctx, err)
	}
	return u.String(), nil
}

// Delete implements Store. Uploads go first: one that another process is about to complete must not make the object anew.
//
// They are asked for by key, because MinIO knows them by the whole key only. Versions are asked for where a deletion has left a marker
// instead of nothing, as a bucket with versions answers.
func (s *S3) Delete(ctx context.Context, keys ...string) error {
	names, err := s.names(keys)
	if err != nil {
		return err
	}
	return wrap(ctx, s.delete(ctx, names))
}

// DeleteStored implements Store.
func (s *S3) DeleteStored(ctx context.Context, keys ...string) error {
	names, err := s.names(keys)
	if err != nil {
		return err
	}
	return wrap(ctx, s.deleteObjects(ctx, names))
}

func (s *S3) names(keys []string) ([]string, error) {
	names := make([]string, len(keys))
	for i, key := range keys {
		var err error
		if names[i], err = s.name(key); err != nil {
			return nil, err
		}
	}
	return names, nil
}

func (s *S3) delete(ctx context.Context, names []string) error {
	if err := forEach(ctx, names, s.abortUploads); err != nil {
		return err
	}
	return s.deleteObjects(ctx, names)
}

func (s *S3) deleteObjects(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	marked, err := s.remove(ctx, func(yield func(minio.ObjectInfo) bool) {
		for _, name := range names {
			if !yield(minio.ObjectInfo{Key: name}) {
				return
			}
		}
	})
	if err == nil {
		err = forEach(ctx, marked, s.removeVersions)
	}
	return err
}

// forEach calls f for some at a time and returns the first error.
func forEach(ctx context.Context, names []string, f func(context.Context, string) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for _, name := range names {
		group.Go(func() error { return f(ctx, name) })
	}
	return group.Wait()
}

// remove deletes objects, a thousand a request, and returns the names of which a marker was left.
func (s *S3) remove(ctx context.Context, objects func(yield func(minio.ObjectInfo) bool)) (marked []string, err error) {
	results, err := s.core.RemoveObjectsWithIter(ctx, s.bucket, objects, minio.RemoveObjectsOptions{})
	if err != nil {
		return nil, err
	}
	for r := range results {
		if r.Err != nil && minio.ToErrorResponse(r.Err).Code != minio.NoSuchKey {
			err = errors.Join(err, fmt.Errorf("delete %s: %w", r.ObjectName, r.Err))
			break
		}
		if r.DeleteMarker || r.DeleteMarkerVersionID != "" {
			marked = append(marked, r.ObjectName)
		}
	}
	return marked, errors.Join(err, ctx.Err())
}

func (s *S3) removeVersions(ctx context.Context, name string) error {
	var versions []minio.ObjectInfo
	for o := range s.core.ListObjectsIter(ctx, s.bucket, minio.ListObjectsOptions{Prefix: name, Recursive: true, WithVersions: true}) {
		if o.Err != nil {
			return o.Err
		}
		if o.Key != name {
			break // names come in order
		}
		versions = append(versions, minio.ObjectInfo{Key: name, VersionID: o.VersionID})
	}
	if len(versions) == 0 {
		return ctx.Err()
	}
	_, err := s.remove(ctx, slices.Values(versions))
	return err
}

// abortUploads ends uploads in parts that nobody completed.
func (s *S3) abortUploads(ctx context.Context, name string) error {
	list, err := s.core.ListMultipartUploads(ctx, s.bucket, name, "", "", "", 1000)
	if minio.ToErrorResponse(err).StatusCode == http.StatusNotImplemented {
		return nil
	}
	if err != nil {
		return err
	}
	for _, u := range list.Uploads {
		if u.Key != name {
			continue
		}
		if err := s.core.AbortMultipartUpload(ctx, s.bucket, name, u.UploadID); err != nil && minio.ToErrorResponse(err).Code != minio.NoSuchUpload {
			return err
		}
	}
	return nil
}
