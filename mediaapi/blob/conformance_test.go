package blob

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/roomline/roomline/internal/hstest"
)

func TestMain(m *testing.M) { hstest.Main(m) }

// place is a store under test, and how to see all that it keeps, also what is no object yet or any more.
type place struct {
	store Store
	// traces are the names of files, objects, versions and unfinished uploads, however they are named.
	traces func(t *testing.T) []string
}

// everywhere runs a test on each kind of store.
func everywhere(t *testing.T, test func(t *testing.T, p place)) {
	for name, newPlace := range map[string]func(*testing.T) place{
		"Folder":    folderPlace,
		"MinIO":     func(t *testing.T) place { return bucketPlace(t, hstest.MinIOBucket(t), S3Config{}) },
		"VersityGW": func(t *testing.T) place { return bucketPlace(t, hstest.VersityGWBucket(t), S3Config{}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newPlace(t))
		})
	}
}

func folderPlace(t *testing.T) place {
	dir := filepath.Join(t.TempDir(), "media")
	f, err := NewFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	return place{f, func(t *testing.T) []string { return filesIn(t, dir) }}
}

func filesIn(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// bucketConfig completes a configuration with what leads to a server.
func bucketConfig(server *hstest.ObjectStore, c S3Config) S3Config {
	c.Region, c.PathStyle, c.AccessKey, c.SecretKey = server.Region, true, server.AccessKey, server.SecretKey
	if c.Bucket == "" {
		c.Bucket = server.Bucket
	}
	if c.Endpoint == "" {
		c.Endpoint = server.Endpoint
	}
	return c
}

func newStore(t *testing.T, c S3Config) *S3 {
	t.Helper()
	s, err := NewS3(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func bucketPlace(t *testing.T, server *hstest.ObjectStore, c S3Config) place {
	t.Helper()
	return place{newStore(t, bucketConfig(server, c)), func(t *testing.T) []string { return bucketTraces(t, server) }}
}

func bucketTraces(t *testing.T, server *hstest.ObjectStore) []string {
	t.Helper()
	client := server.Client(t)
	var all []string
	for o := range client.ListObjectsIter(t.Context(), server.Bucket, minio.ListObjectsOptions{Recursive: true, WithVersions: true}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		all = append(all, o.Key)
	}
	// MinIO knows uploads by their whole key only: all keys of tests are tried.
	for _, prefix := range []string{"", key(1), key(2)} {
		for u := range client.ListIncompleteUploads(t.Context(), server.Bucket, prefix, true) {
			if u.Err != nil {
				t.Fatal(u.Err)
			}
			all = append(all, "upload of "+u.Key)
		}
	}
	return all
}

// key is a key as the server makes them.
func key(i int) string { return fmt.Sprintf("o/acme/%026d", i*7919) }

// noise yields bytes that are the same for the same seed, and nothing that a transport could seek in.
func noise(seed uint64, size int64) io.Reader {
	return io.LimitReader(mathrand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}), size)
}

func noiseBytes(t *testing.T, seed uint64, size int64) []byte {
	t.Helper()
	b, err := io.ReadAll(noise(seed, size))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func put(t *testing.T, s Store, key string, content []byte) {
	t.Helper()
	if err := s.Put(t.Context(), key, bytes.NewReader(content), int64(len(content))); err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
}

func get(t *testing.T, s Store, key string, offset, length int64) []byte {
	t.Helper()
	r, err := s.Get(t.Context(), key, offset, length)
	if err != nil {
		t.Fatalf("get %s: %v", key, err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("read %s: %v", key, err)
	}
	return b
}

func list(t *testing.T, s Store, prefix string) map[string]int64 {
	t.Helper()
	all := map[string]int64{}
	err := s.List(t.Context(), prefix, func(o Object) error {
		all[o.Key] = o.Size
		if age := time.Since(o.Modified); age < -time.Hour || age > time.Hour {
			t.Errorf("%s was changed %s ago", o.Key, age)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("list %q: %v", prefix, err)
	}
	return all
}

func (p place) wantEmpty(t *testing.T) {
	t.Helper()
	if left := p.traces(t); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestObjectsComeBack(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, p place) {
		if err := p.store.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i, size := range []int64{0, 1, 64 << 10, 1<<20 + 1, 5 << 20, 5<<20 + 1, 11 << 20} {
			content := noiseBytes(t, uint64(i), size)
			for known, announced := range map[string]int64{"known": size, "unknown": -1} {
				if err := p.store.Put(t.Context(), key(1), noise(uint64(i), size), announced); err != nil {
					t.Fatalf("%d bytes, size %s: %v", size, known, err)
				}
				if !bytes.Equal(get(t, p.store, key(1), 0, -1), content) {
					t.Errorf("%d bytes, size %s: something else came back", size, known)
				}
				if found := list(t, p.store, ""); len(found) != 1 || found[key(1)] != size {
					t.Errorf("%d bytes, size %s: list says %v", size, known, found)
				}
			}
		}
		if err := p.store.Delete(t.Context(), key(1)); err != nil {
			t.Fatal(err)
		}
		p.wantEmpty(t)
	})
}

func TestContentWaitsUntilItIsNoted(t *testing.T) {
	everywhere(t, func(t *testing.T, p place) {
		refused := errors.New("refused")
		for _, size := range []int64{0, 1, 2, 1000, 1 << 20} {
			content := noiseBytes(t, 1, size)
			sum := sha256.Sum256(content)
			asked := 0
			err := p.store.PutBytes(t.Context(), key(1), content, sum, func() error { asked++; return refused })
			if !errors.Is(err, refused) || isUnavailable(err) || asked != 1 {
				t.Errorf("%d bytes that are not noted: got error %v, asked %d times", size, err, asked)
			}
			p.wantEmpty(t)
			noted := func() error {
				time.Sleep(50 * time.Millisecond)
				if _, err := p.store.Get(t.Context(), key(1), 0, -1); !errors.Is(err, ErrNotFound) {
					t.Errorf("%d bytes are an object before they are noted: error %v", size, err)
				}
				return nil
			}
			if err := p.store.PutBytes(t.Context(), key(1), content, sum, sync.OnceValue(noted)); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(get(t, p.store, key(1), 0, -1), content) {
				t.Errorf("%d bytes did not come back", size)
			}
			if err := p.store.Delete(t.Context(), key(1)); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestRanges(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, p place) {
		content := noiseBytes(t, 1, 1000)
		put(t, p.store, key(1), content)
		put(t, p.store, key(2), nil)
		for _, r := range [][2]int64{{0, -1}, {0, 0}, {0, 1}, {0, 1000}, {0, 2000}, {1, 1}, {1, -1}, {999, -1}, {999, 5}, {500, 100}, {500, 0}, {1000, -1}, {1000, 5}, {2000, -1}} {
			from := min(r[0], 1000)
			to := int64(1000)
			if r[1] >= 0 {
				to = min(to, r[0]+r[1])
			}
			if b := get(t, p.store, key(1), r[0], r[1]); !bytes.Equal(b, content[from:max(from, to)]) {
				t.Errorf("%d bytes from %d: got %d bytes, want %d", r[1], r[0], len(b), max(0, to-from))
			}
			if b := get(t, p.store, key(2), r[0], r[1]); len(b) != 0 {
				t.Errorf("%d bytes from %d of nothing: got %d", r[1], r[0], len(b))
			}
		}
		if _, err := p.store.Get(t.Context(), key(1), -1, 5); err == nil {
			t.Error("a range before the beginning was read")
		}
	})
}

func TestHundredMebibytesStream(t *testing.T) {
	t.Parallel()
	const size = 100 << 20
	want := sha256.New()
	io.Copy(want, noise(7, size))
	everywhere(t, func(t *testing.T, p place) {
		for _, announced := range []int64{size, -1} {
			if err := p.store.Put(t.Context(), key(1), noise(7, size), announced); err != nil {
				t.Fatal(err)
			}
			r, err := p.store.Get(t.Context(), key(1), 0, -1)
			if err != nil {
				t.Fatal(err)
			}
			got := sha256.New()
			n, err := io.Copy(got, r)
			if err != nil || n != size || !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
				t.Errorf("announced %d: %d bytes came back, error %v, equal %t", announced, n, err, bytes.Equal(got.Sum(nil), want.Sum(nil)))
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

// REL-17, REL-18: what did not come whole is not there.
func TestUploadThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	broken := errors.New("the client has gone")
	const size = 12 << 20
	cases := []struct {
		name      string
		r         func() io.Reader
		announced int64
		want      error
	}{
		{"reader fails", func() io.Reader { return io.MultiReader(noise(1, size/2), iotest.ErrReader(broken)) }, size, broken},
		{"reader fails at once", func() io.Reader { return iotest.ErrReader(broken) }, size, broken},
		{"empty reader fails", func() io.Reader { return iotest.ErrReader(broken) }, 0, broken},
		{"reader fails after its last byte", func() io.Reader { return io.MultiReader(noise(1, size), iotest.ErrReader(broken)) }, size, broken},
		{"reader fails with its last byte", func() io.Reader { return &failsWithLast{noise(1, size), size, broken} }, size, broken},
		{"reader of unknown size fails in the first part", func() io.Reader { return io.MultiReader(noise(1, 100), iotest.ErrReader(broken)) }, -1, broken},
		{"reader of unknown size fails in the third part", func() io.Reader { return io.MultiReader(noise(1, size), iotest.ErrReader(broken)) }, -1, broken},
		{"reader of unknown size is torn off", func() io.Reader { return io.MultiReader(noise(1, size), iotest.ErrReader(io.ErrUnexpectedEOF)) }, -1, io.ErrUnexpectedEOF},
		{"too short", func() io.Reader { return noise(1, size-1) }, size, ErrSize},
		{"much too short", func() io.Reader { return noise(1, 3) }, size, ErrSize},
		{"too long", func() io.Reader { return noise(1, size+1) }, size, ErrSize},
		{"not empty", func() io.Reader { return noise(1, 1) }, 0, ErrSize},
	}
	everywhere(t, func(t *testing.T, p place) {
		for _, tc := range cases {
			err := p.store.Put(t.Context(), key(1), tc.r(), tc.announced)
			if !errors.Is(err, tc.want) {
				t.Errorf("%s: got error %v, want %v", tc.name, err, tc.want)
			}
			if isUnavailable(err) {
				t.Errorf("%s: the store is blamed for what the reader did: %v", tc.name, err)
			}
			if _, err := p.store.Get(t.Context(), key(1), 0, -1); !errors.Is(err, ErrNotFound) {
				t.Errorf("%s: get: got error %v, want ErrNotFound", tc.name, err)
			}
			if left := p.traces(t); len(left) > 0 {
				t.Fatalf("%s: left behind: %q", tc.name, left)
			}
		}
	})
}

type failsWithLast struct {
	r    io.Reader
	left int64
	err  error
}

func (f *failsWithLast) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if f.left -= int64(n); f.left == 0 {
		err = f.err
	}
	return n, err
}

func TestCancelledUploadLeavesNothing(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, p place) {
		for _, announced := range []int64{12 << 20, -1} {
			ctx, cancel := context.WithCancel(t.Context())
			r := &calls{r: noise(1, 12<<20), after: 8 << 20, f: cancel}
			if err := p.store.Put(ctx, key(1), r, announced); !errors.Is(err, context.Canceled) {
				t.Errorf("got error %v, want that of the context", err)
			}
			p.wantEmpty(t)
		}
	})
}

// calls calls f once, when it has yielded some bytes.
type calls struct {
	r     io.Reader
	after int64
	f     func()
}

func (c *calls) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.after -= int64(n)
	if c.after <= 0 && c.f != nil {
		c.f()
		c.f = nil
	}
	return n, err
}

func TestReaderIsNotReadAfterPut(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, p place) {
		ctx, cancel := context.WithCancel(t.Context())
		r := &watched{r: noise(1, 64<<20)}
		time.AfterFunc(20*time.Millisecond, cancel)
		_ = p.store.Put(ctx, key(1), r, 64<<20)
		r.mu.Lock()
		r.over = true
		r.mu.Unlock()
		time.Sleep(50 * time.Millisecond)
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.late {
			t.Error("the reader was read after Put had returned")
		}
	})
}

type watched struct {
	mu         sync.Mutex
	r          io.Reader
	over, late bool
}

func (w *watched) Read(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.late = w.late || w.over
	return w.r.Read(p)
}

func TestMissingObjects(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, p place) {
		put(t, p.store, key(1), []byte("here"))
		for _, length := range []int64{-1, 0, 3} {
			if _, err := p.store.Get(t.Context(), key(2), 0, length); !errors.Is(err, ErrNotFound) {
				t.Errorf("get %d bytes: got error %v, want ErrNotFound", length, err)
			}
		}
		if err := p.store.Delete(t.Context(), key(2), key(1), "other/place/0001"); err != nil {
			t.Errorf("delete what is partly not there: %v", err)
		}
		if err := p.store.Delete(t.Context()); err != nil {
			t.Errorf("delete nothing: %v", err)
		}
		p.wantEmpty(t)
	})
}

func TestList(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, p place) {
		want := map[string]int64{}
		for i := range 30 {
			k := fmt.Sprintf("o/org%d/%s", i%3, strings.ToLower(rand.Text()))
			put(t, p.store, k, noiseBytes(t, 1, int64(i)))
			want[k] = int64(i)
		}
		put(t, p.store, "o/org", []byte("a key like a prefix"))
		put(t, p.store, "plain", []byte("no slash"))
		want["o/org"], want["plain"] = 19, 8
		for _, prefix := range []string{"", "o", "o/", "o/org1", "o/org1/", "o/org", "nothing/here"} {
			below := map[string]int64{}
			for k, size := range want {
				if prefix == "" || strings.HasPrefix(k, strings.TrimSuffix(prefix, "/")+"/") {
					below[k] = size
				}
			}
			if found := list(t, p.store, prefix); fmt.Sprint(found) != fmt.Sprint(below) {
				t.Errorf("below %q: got %v, want %v", prefix, found, below)
			}
		}
		enough, calls := errors.New("enough"), 0
		err := p.store.List(t.Context(), "", func(Object) error { calls++; return enough })
		if err != enough || calls != 1 {
			t.Errorf("a function that fails: %d calls, error %v", calls, err)
		}
	})
}

// SEC-70: nothing but a key gets to a store.
func TestWhatIsNoKeyIsRefused(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, p place) {
		for _, k := range []string{"", "/", "a/", "/a", "a//b", "..", "../a", "a/../b", "a/..", ".a", "a.d/b", "%2e%2e/a", "a\x00b", `a\b`, "naïve", "媒体", "a b", "a\n", "a\xff", strings.Repeat("a", 4096)} {
			if err := p.store.Put(t.Context(), k, strings.NewReader("x"), 1); !errors.Is(err, ErrKey) {
				t.Errorf("put %q: got error %v", k, err)
			}
			if _, err := p.store.Get(t.Context(), k, 0, -1); !errors.Is(err, ErrKey) {
				t.Errorf("get %q: got error %v", k, err)
			}
			if err := p.store.Delete(t.Context(), key(1), k); !errors.Is(err, ErrKey) {
				t.Errorf("delete %q: got error %v", k, err)
			}
			if k == "" || k == "/" || k == "a/" {
				continue // prefixes
			}
			if err := p.store.List(t.Context(), k, func(Object) error { return nil }); !errors.Is(err, ErrKey) {
				t.Errorf("list %q: got error %v", k, err)
			}
		}
		p.wantEmpty(t)
	})
}

func TestConcurrentPuts(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, p place) {
		var group sync.WaitGroup
		for i := range 40 {
			size := int64(i) * 100_000
			group.Go(func() {
				announced := size
				if i%2 == 1 {
					announced = -1
				}
				if err := p.store.Put(t.Context(), key(i), noise(uint64(i), size), announced); err != nil {
					t.Errorf("put %d: %v", i, err)
				}
			})
			// The same key by several: one of them wins, whole.
			group.Go(func() {
				if err := p.store.Put(t.Context(), "same/key", bytes.NewReader(bytes.Repeat([]byte{byte(i)}, 100_000)), 100_000); err != nil {
					t.Errorf("put the same key: %v", err)
				}
			})
		}
		group.Wait()
		for i := range 40 {
			if !bytes.Equal(get(t, p.store, key(i), 0, -1), noiseBytes(t, uint64(i), int64(i)*100_000)) {
				t.Errorf("object %d is not what was put", i)
			}
		}
		same := get(t, p.store, "same/key", 0, -1)
		if len(same) != 100_000 || len(slices.Compact(same)) != 1 {
			t.Errorf("the object that several wrote has %d bytes of several", len(same))
		}
		if n := len(p.traces(t)); n != 41 {
			t.Errorf("%d names are there, want 41", n)
		}
	})
}

func TestPresign(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, p place) {
		put(t, p.store, key(1), []byte("for everybody"))
		u, err := p.store.Presign(t.Context(), key(1), time.Minute, "text/plain", `attachment; filename*=utf-8''na%C3%AFve.txt`)
		if err != nil {
			t.Fatal(err)
		}
		if _, isFolder := p.store.(*Folder); isFolder {
			if u != "" {
				t.Errorf("a folder says %q", u)
			}
			return
		}
		resp, err := http.Get(u)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || string(body) != "for everybody" || resp.Header.Get("Content-Type") != "text/plain" ||
			resp.Header.Get("Content-Disposition") != `attachment; filename*=utf-8''na%C3%AFve.txt` {
			t.Errorf("got %s %q %v, error %v", resp.Status, body, resp.Header, err)
		}
		other, err := http.Get(strings.Replace(u, key(1), key(2), 1))
		if err != nil {
			t.Fatal(err)
		}
		other.Body.Close()
		if other.StatusCode != http.StatusForbidden {
			t.Errorf("the URL of another object: got %s, want 403", other.Status)
		}
	})
}

// More than one request may name are deleted, and nothing is left, counted in the store itself.
func TestManyDeletionsLeaveNothing(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, p place) {
		const many = 1100
		var group sync.WaitGroup
		keys := make([]string, many)
		for i := range keys {
			keys[i] = key(i)
		}
		for chunk := range slices.Chunk(keys, many/8+1) {
			group.Go(func() {
				for _, k := range chunk {
					put(t, p.store, k, []byte("x"))
				}
			})
		}
		group.Wait()
		if n := len(list(t, p.store, "")); n != many {
			t.Fatalf("%d objects were put, want %d", n, many)
		}
		begun := time.Now()
		if err := p.store.Delete(t.Context(), keys...); err != nil {
			t.Fatal(err)
		}
		t.Logf("%d deletions took %s", many, time.Since(begun))
		p.wantEmpty(t)
	})
}
