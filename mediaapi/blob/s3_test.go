package blob

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/hstest/faultproxy"
	"github.com/roomline/roomline/internal/limits"
)

// servers are the kinds of S3 server: a bucket of one that others use, too.
var servers = map[string]func(testing.TB) *hstest.ObjectStore{"MinIO": hstest.MinIOBucket, "VersityGW": hstest.VersityGWBucket}

// eachServer runs a test on each kind of S3 server.
func eachServer(t *testing.T, kinds map[string]func(testing.TB) *hstest.ObjectStore, test func(t *testing.T, server *hstest.ObjectStore)) {
	for name, server := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, server(t))
		})
	}
}

// hastyStall is how long a hasty store waits for a server that does nothing.
const hastyStall = 3 * time.Second

// hasty is a store that waits for nothing for long.
func hasty(t *testing.T, c S3Config, stall time.Duration) *S3 {
	t.Helper()
	s, err := newS3(c, (&net.Dialer{}).DialContext, stall)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func wantUnavailable(t *testing.T, what string, err error) {
	t.Helper()
	if !isUnavailable(err) || errors.Is(err, ErrNotFound) {
		t.Errorf("%s: got error %v, want one that says that the store is not available", what, err)
	}
}

// REL-17
func TestServerKilledDuringUpload(t *testing.T) {
	t.Parallel()
	own := map[string]func(testing.TB) *hstest.ObjectStore{"MinIO": hstest.MinIO, "VersityGW": hstest.VersityGW}
	eachServer(t, own, func(t *testing.T, server *hstest.ObjectStore) {
		p := bucketPlace(t, server, S3Config{})
		for _, announced := range []int64{32 << 20, -1} {
			r := &calls{r: noise(1, 32<<20), after: 16 << 20, f: func() { server.Kill9(t) }}
			wantUnavailable(t, "put", p.store.Put(t.Context(), key(1), r, announced))
			_, err := p.store.Get(t.Context(), key(1), 0, -1)
			wantUnavailable(t, "get", err)
			wantUnavailable(t, "delete", p.store.Delete(t.Context(), key(1)))
			wantUnavailable(t, "list", p.store.List(t.Context(), "", func(Object) error { return nil }))
			wantUnavailable(t, "check", p.store.Check(t.Context()))
			server.Restart(t)
			if _, err := p.store.Get(t.Context(), key(1), 0, -1); !errors.Is(err, ErrNotFound) {
				t.Errorf("after the restart: got error %v, want ErrNotFound", err)
			}
			put(t, p.store, key(2), []byte("goes on"))
			if err := p.store.Delete(t.Context(), key(1), key(2)); err != nil {
				t.Error(err)
			}
			p.wantEmpty(t)
		}
	})
}

// The server has stored something, and its answer is lost: what can be repeated is, and what cannot is taken back.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	eachServer(t, servers, func(t *testing.T, server *hstest.ObjectStore) {
		p := bucketPlace(t, server, S3Config{})
		proxy := faultproxy.NewTCP(t, server.Endpoint)
		s := newStore(t, bucketConfig(server, S3Config{Endpoint: proxy.Address()}))
		for _, tc := range []struct {
			size, announced, lost int64
			repeats               bool
		}{
			{1000, 1000, 1000, true}, {2 << 20, 2 << 20, 2 << 20, false}, {1000, -1, 1000, true}, {12 << 20, -1, 1000, true}, {12 << 20, -1, 12 << 20, true},
		} {
			r := &calls{r: noise(1, tc.size), after: tc.lost, f: func() { proxy.CutAfter(0) }}
			err := s.Put(t.Context(), key(1), r, tc.announced)
			if !tc.repeats {
				wantUnavailable(t, "put", err)
				p.wantEmpty(t)
				continue
			}
			if err != nil {
				t.Fatalf("%+v: %v", tc, err)
			}
			if !bytes.Equal(get(t, s, key(1), 0, -1), noiseBytes(t, 1, tc.size)) {
				t.Errorf("%+v: the object is not what was put", tc)
			}
			if err := s.Delete(t.Context(), key(1)); err != nil {
				t.Fatal(err)
			}
			p.wantEmpty(t)
		}
	})
}

func TestWhatACrashLeftIsDeleted(t *testing.T) {
	t.Parallel()
	eachServer(t, servers, func(t *testing.T, server *hstest.ObjectStore) {
		p := bucketPlace(t, server, S3Config{})
		core := minio.Core{Client: server.Client(t)}
		for range 2 {
			id, err := core.NewMultipartUpload(t.Context(), server.Bucket, key(1), minio.PutObjectOptions{})
			if err == nil {
				_, err = core.PutObjectPart(t.Context(), server.Bucket, key(1), id, 1, noise(1, 5<<20), 5<<20, minio.PutObjectPartOptions{})
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if n := len(p.traces(t)); n < 2 {
			t.Fatalf("%d uploads are seen, want two", n)
		}
		if err := p.store.Delete(t.Context(), key(1)); err != nil {
			t.Fatal(err)
		}
		p.wantEmpty(t)
	})
}

func TestVersionsAreDeleted(t *testing.T) {
	t.Parallel()
	eachServer(t, servers, func(t *testing.T, server *hstest.ObjectStore) {
		p := bucketPlace(t, server, S3Config{})
		put(t, p.store, key(1), []byte("from before there were versions"))
		if err := server.Client(t).EnableVersioning(t.Context(), server.Bucket); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			put(t, p.store, key(1), []byte("again"))
			put(t, p.store, key(2), []byte("another"))
		}
		put(t, p.store, key(1)+"0", []byte("a longer key"))
		if n := len(p.traces(t)); n < 7 {
			t.Fatalf("%d versions are there, want at least 7", n)
		}
		if err := p.store.Delete(t.Context(), key(1), key(2)); err != nil {
			t.Fatal(err)
		}
		if left := p.traces(t); len(left) != 1 || left[0] != key(1)+"0" {
			t.Errorf("left: %q", left)
		}
		broken := errors.New("broken")
		if err := p.store.Put(t.Context(), key(2), io.MultiReader(noise(1, 9), iotest.ErrReader(broken)), 10); !errors.Is(err, broken) {
			t.Error(err)
		}
		if err := p.store.Delete(t.Context(), key(1)+"0", key(2)); err != nil {
			t.Fatal(err)
		}
		p.wantEmpty(t)
	})
}

func TestWrongConfiguration(t *testing.T) {
	t.Parallel()
	eachServer(t, servers, func(t *testing.T, server *hstest.ObjectStore) {
		right := bucketConfig(server, S3Config{})
		secret, access, bucket := right, right, right
		secret.SecretKey = "wrong-secret-key"
		access.AccessKey = "nobody"
		bucket.Bucket = server.Bucket + "-2"
		for name, c := range map[string]S3Config{"secret": secret, "access key": access, "bucket": bucket} {
			s := newStore(t, c)
			_, getErr := s.Get(t.Context(), key(1), 0, -1)
			for what, err := range map[string]error{
				"check": s.Check(t.Context()), "get": getErr, "put": s.Put(t.Context(), key(1), noise(1, 1000), 1000),
				"put in parts": s.Put(t.Context(), key(1), noise(1, 6<<20), -1), "delete": s.Delete(t.Context(), key(1)),
			} {
				if err == nil || isUnavailable(err) || errors.Is(err, ErrNotFound) {
					t.Errorf("wrong %s: %s: got error %v, want one that says it", name, what, err)
				}
				if err != nil && strings.Contains(err.Error(), c.SecretKey) {
					t.Errorf("wrong %s: the error of %s has the secret in it: %v", name, what, err)
				}
			}
		}
		bucket.CreateBucket = true
		s := newStore(t, bucket)
		for range 2 {
			if err := s.Check(t.Context()); err != nil {
				t.Errorf("create the bucket: %v", err)
			}
		}
		put(t, s, key(1), []byte("in a new bucket"))
	})
}

// REL-17: an answer that is torn off is an error, not a short object.
func TestTruncatedDownload(t *testing.T) {
	t.Parallel()
	eachServer(t, servers, func(t *testing.T, server *hstest.ObjectStore) {
		proxy := faultproxy.NewTCP(t, server.Endpoint)
		s := newStore(t, bucketConfig(server, S3Config{Endpoint: proxy.Address()}))
		content := noiseBytes(t, 1, 1<<20)
		put(t, s, key(1), content)
		for _, length := range []int64{-1, 1 << 20, 900 << 10} {
			proxy.CutAfter(300 << 10)
			r, err := s.Get(t.Context(), key(1), 0, length)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r)
			r.Close()
			wantUnavailable(t, "read", err)
			if len(got) == 0 || !bytes.HasPrefix(content, got) {
				t.Errorf("%d bytes came, not those of the object", len(got))
			}
			proxy.Heal()
		}
		if !bytes.Equal(get(t, s, key(1), 0, -1), content) {
			t.Error("the object is not what was put")
		}
	})
}

func TestServerThatHangsIsGivenUp(t *testing.T) {
	t.Parallel()
	eachServer(t, servers, func(t *testing.T, server *hstest.ObjectStore) {
		proxy := faultproxy.NewTCP(t, server.Endpoint)
		config := bucketConfig(server, S3Config{Endpoint: proxy.Address()})
		put(t, newStore(t, config), key(1), noiseBytes(t, 1, 8<<20))
		s := hasty(t, config, hastyStall)
		r, err := s.Get(t.Context(), key(1), 0, -1)
		for attempt := 1; isUnavailable(err) && attempt < 10; attempt++ { // a busy machine is slow before anything hangs
			r, err = s.Get(t.Context(), key(1), 0, -1)
		}
		if err != nil {
			t.Fatal(err)
		}
		proxy.Hang()
		_, err = io.ReadAll(r)
		r.Close()
		wantUnavailable(t, "download", err)
		proxy.Heal()
		hang := &calls{r: noise(2, 64<<20), after: 8 << 20, f: proxy.Hang}
		wantUnavailable(t, "upload", s.Put(t.Context(), key(2), hang, 64<<20))
		proxy.Heal()
		// A reader that is slow is no server that hangs.
		// On a busy machine the server may be slow as well: then it is given more time, and the reader takes still more.
		for stall := hastyStall; ; stall *= 2 {
			slow := io.MultiReader(noise(3, 1<<20), &calls{r: noise(4, 1<<20), after: 1, f: func() { time.Sleep(stall * 6 / 5) }})
			err := hasty(t, config, stall).Put(t.Context(), key(2), slow, 2<<20)
			if err == nil {
				break
			}
			if stall > 20*time.Second {
				t.Errorf("a slow reader: %v", err)
				break
			}
		}
	})
}

func TestLargestObjectsGoInParts(t *testing.T) {
	t.Parallel()
	eachServer(t, servers, func(t *testing.T, server *hstest.ObjectStore) {
		p := bucketPlace(t, server, S3Config{})
		s := p.store.(*S3)
		s.onePut, s.partSize = 5<<20, 5<<20
		const size = 12 << 20
		if err := s.Put(t.Context(), key(1), noise(1, size), size); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(get(t, s, key(1), 0, -1), noiseBytes(t, 1, size)) {
			t.Error("the object is not what was put")
		}
		info, err := server.Client(t).StatObject(t.Context(), server.Bucket, key(1), minio.StatObjectOptions{})
		if err != nil || !strings.HasSuffix(info.ETag, "-3") {
			t.Errorf("got ETag %s, error %v, want that of three parts", info.ETag, err)
		}
		if err := s.Delete(t.Context(), key(1)); err != nil {
			t.Fatal(err)
		}
		for announced, want := range map[int64]error{size + 1: ErrSize, size - 1: ErrSize} {
			if err := s.Put(t.Context(), key(1), noise(1, size), announced); !errors.Is(err, want) {
				t.Errorf("announced %d: got error %v, want %v", announced, err, want)
			}
			p.wantEmpty(t)
		}
	})
}

func TestPrefixesShareABucket(t *testing.T) {
	t.Parallel()
	server := hstest.MinIOBucket(t)
	all := newStore(t, bucketConfig(server, S3Config{}))
	one, other := newStore(t, bucketConfig(server, S3Config{Prefix: "one"})), newStore(t, bucketConfig(server, S3Config{Prefix: "other/"}))
	put(t, one, key(1), []byte("one"))
	put(t, other, key(1), []byte("other"))
	if found := list(t, one, ""); len(found) != 1 || found[key(1)] != 3 {
		t.Errorf("list: got %v", found)
	}
	if err := one.Delete(t.Context(), key(1)); err != nil {
		t.Fatal(err)
	}
	if found := list(t, all, ""); len(found) != 1 || found["other/"+key(1)] != 5 {
		t.Errorf("list of all: got %v", found)
	}
	if _, err := NewS3(bucketConfig(server, S3Config{Prefix: "../up"})); !errors.Is(err, ErrKey) {
		t.Errorf("a wrong prefix: got error %v", err)
	}
}

func TestServerSideEncryption(t *testing.T) {
	t.Parallel()
	server := hstest.MinIOBucket(t)
	for sse, want := range map[string]string{"S3": "AES256", "KMS:" + server.KMSKey: "aws:kms"} {
		s := newStore(t, bucketConfig(server, S3Config{SSE: sse}))
		for _, announced := range []int64{6 << 20, -1} {
			if err := s.Put(t.Context(), key(1), noise(1, 6<<20), announced); err != nil {
				t.Fatal(err)
			}
			info, err := server.Client(t).StatObject(t.Context(), server.Bucket, key(1), minio.StatObjectOptions{})
			if got := info.Metadata.Get("X-Amz-Server-Side-Encryption"); err != nil || got != want {
				t.Errorf("%s: got %q, error %v, want %q", sse, got, err, want)
			}
			if !bytes.Equal(get(t, s, key(1), 5<<20, 100), noiseBytes(t, 1, 6<<20)[5<<20:][:100]) {
				t.Errorf("%s: the object is not what was put", sse)
			}
		}
	}
	if _, err := NewS3(bucketConfig(server, S3Config{SSE: "AES"})); err == nil {
		t.Error("an encryption that there is not is taken")
	}
}

func TestTLSWithOwnAuthority(t *testing.T) {
	t.Parallel()
	server := hstest.MinIOWithTLS(t)
	config := bucketConfig(server, S3Config{TLS: true})
	wantUnavailable(t, "without the authority", newStore(t, config).Check(t.Context()))
	config.RootCAs = server.RootCAs
	s := newStore(t, config)
	for _, announced := range []int64{6 << 20, -1} {
		if err := s.Put(t.Context(), key(1), noise(1, 6<<20), announced); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(get(t, s, key(1), 0, -1), noiseBytes(t, 1, 6<<20)) {
			t.Error("the object is not what was put")
		}
	}
	broken := errors.New("broken")
	if err := s.Put(t.Context(), key(2), io.MultiReader(noise(1, 6<<20), iotest.ErrReader(broken)), 6<<20); !errors.Is(err, broken) {
		t.Errorf("got error %v", err)
	}
	if found := list(t, s, ""); len(found) != 1 {
		t.Errorf("left: %v", found)
	}
}

func TestHostStyle(t *testing.T) {
	t.Parallel()
	server := hstest.MinIOBucket(t)
	config := bucketConfig(server, S3Config{})
	_, port, _ := net.SplitHostPort(server.Endpoint)
	config.PathStyle, config.Endpoint = false, server.Domain+":"+port
	var mu sync.Mutex
	asked := map[string]bool{}
	s, err := newS3(config, func(ctx context.Context, network, address string) (net.Conn, error) {
		mu.Lock()
		asked[address] = true
		mu.Unlock()
		return new(net.Dialer).DialContext(ctx, network, server.Endpoint)
	}, limits.StoreStall)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(t, s, key(1), []byte("by host"))
	if found := list(t, newStore(t, bucketConfig(server, S3Config{})), ""); found[key(1)] != 7 {
		t.Errorf("by path: got %v", found)
	}
	if want := server.Bucket + "." + config.Endpoint; len(asked) != 1 || !asked[want] {
		t.Errorf("asked for %v, want %s", asked, want)
	}
}

// gate is a reader that has something when it is open.
type gate struct {
	open    chan struct{}
	reached chan<- struct{}
	once    sync.Once
	r       io.Reader
}

func (g *gate) Read(p []byte) (int, error) {
	g.once.Do(func() { g.reached <- struct{}{} })
	<-g.open
	return g.r.Read(p)
}

func TestUploadsOfUnknownSizeWaitForTheirTurn(t *testing.T) {
	s := newStore(t, bucketConfig(hstest.MinIOBucket(t), S3Config{}))
	const many = limits.UnsizedUploads + 4
	open, reached := make(chan struct{}), make(chan struct{}, many)
	var group sync.WaitGroup
	for i := range many {
		group.Go(func() {
			if err := s.Put(t.Context(), key(i), &gate{open: open, reached: reached, r: noise(1, 6<<20)}, -1); err != nil {
				t.Errorf("put: %v", err)
			}
		})
	}
	for range limits.UnsizedUploads {
		<-reached
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := s.Put(ctx, "one/more", noise(1, 10), -1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one more: got error %v", err)
	}
	put(t, s, "known/size", []byte("does not wait"))
	if n := len(reached); n != 0 {
		t.Errorf("%d more than %d uploads were read at a time", n, limits.UnsizedUploads)
	}
	close(open)
	group.Wait()
	if n := len(list(t, s, "")); n != many+1 {
		t.Errorf("%d objects are there, want %d", n, many+1)
	}
}

// 32 uploads at a time cost 100 MiB of memory at most, all together and however large they are.
func TestUploadsCostLittleMemory(t *testing.T) {
	s := newStore(t, bucketConfig(hstest.MinIOBucket(t), S3Config{}))
	const uploads, size = 32, 16 << 20
	var before, during runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	open, reached := make(chan struct{}), make(chan struct{}, uploads)
	var group sync.WaitGroup
	for i := range uploads {
		group.Go(func() {
			r := io.MultiReader(noise(1, size/2), &gate{open: open, reached: reached, r: noise(2, size/2)})
			if err := s.Put(t.Context(), key(i), r, size); err != nil {
				t.Errorf("put: %v", err)
			}
		})
	}
	for range uploads {
		<-reached
	}
	runtime.ReadMemStats(&during)
	close(open)
	group.Wait()
	grown := int64(during.Sys) - int64(before.Sys)
	t.Logf("%d uploads at a time: %d MiB of memory", uploads, grown>>20)
	if grown > 100<<20 {
		t.Errorf("%d uploads at a time cost %d MiB of memory", uploads, grown>>20)
	}
}
