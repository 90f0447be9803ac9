package mediaapi_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/hstest/faultproxy"
)

// wantAway makes sure that somebody is told to come back later.
func wantAway(t testing.TB, what string, resp hstest.Response) {
	t.Helper()
	if resp.Status != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" || resp.ErrCode() == "" {
		t.Errorf("%s: %s, Retry-After %q; want 503 with Retry-After", what, resp, resp.Header.Get("Retry-After"))
	}
	if text := resp.JSON().Get("error").String(); strings.Contains(text, "127.0.0.1") || strings.Contains(text, "minio") || strings.Contains(text, "database") {
		t.Errorf("%s: the error names what it should not: %s", what, text)
	}
}

func noise(seed uint64, size int) []byte {
	b := make([]byte, size)
	rnd := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = rnd.Read(b)
	return b
}

// REL-17: the store is away: chat goes on, media says 503, nothing acknowledged is lost, and all is well again without a restart.
func TestREL17StoreAway(t *testing.T) {
	t.Parallel()
	d, b := start(t, func(t testing.TB) storage { return ofBucket(t, hstest.MinIO(t)) }, nil)
	server := b.storage.(inBucket)
	owner, member, room := together(t, d)
	file := picture(t, 400, 400)
	uri := member.MustUpload(t, "image/png", "", file)
	member.MustSend(t, room, "m.room.message", message("m.image", uri))
	doomed := member.MustUpload(t, "text/plain", "", []byte("to be deleted meanwhile"))
	event := member.MustSend(t, room, "m.room.message", message("m.file", doomed))
	tag := ask(t, owner, http.MethodGet, downloadPath(uri)).Header.Get("ETag")
	b.mustHave(t, 2)

	server.Kill9(t)
	chat := member.MustSendText(t, room, "can you see this?")
	owner.MustSyncUntil(t, "", hstest.TimelineHas(room, chat))
	wantAway(t, "upload", upload(t, member, http.MethodPost, uploadEndpoint, "text/plain", []byte("x")))
	wantAway(t, "upload of unknown length", func() hstest.Response {
		resp, err := member.Request(t.Context(), http.MethodPost, uploadEndpoint, nil, io.MultiReader(strings.NewReader("x")))
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}())
	wantAway(t, "download", ask(t, owner, http.MethodGet, downloadPath(uri)))
	wantAway(t, "a part", ask(t, owner, http.MethodGet, downloadPath(uri), "Range", "bytes=1-5"))
	wantAway(t, "another version", ask(t, owner, http.MethodGet, downloadPath(uri), "If-None-Match", `"other"`))
	wantAway(t, "thumbnail", ask(t, owner, http.MethodGet, thumbnailPath(uri, "width=32&height=32")))
	if resp := ask(t, owner, http.MethodGet, downloadPath(uri), "If-None-Match", tag); resp.Status != http.StatusNotModified {
		t.Errorf("what the client has is still good: %s", resp)
	}
	member.MustDo(t, http.MethodPut, redact(room, event, "r1"), map[string]any{})
	owner.MustNotSee(t, doomed)

	server.Restart(t)
	owner.MustSee(t, uri, file)
	b.mustHave(t, 1)
	member.MustSee(t, member.MustUpload(t, "text/plain", "", []byte("again")), []byte("again"))
	b.mustHave(t, 2)
	// They are forgotten after their bytes are gone.
	hstest.Eventually(t, "all objects are stored or forgotten", func() bool {
		return number(t, d, "SELECT count(*) FROM media_objects WHERE state <> 'stored'") == 0
	})
}

// behind is a MinIO with a proxy before it.
type behind struct {
	inBucket
	proxy *faultproxy.Proxy
}

func (b behind) configure(media map[string]any) {
	b.inBucket.configure(media)
	media["s3"].(map[string]any)["endpoint"] = "http://" + b.proxy.Address()
}

func startBehindProxy(t testing.TB) (*hstest.Deployment, bucket, *faultproxy.Proxy) {
	server := minIO(t).(inBucket)
	proxy := faultproxy.NewTCP(t, server.Endpoint)
	d, b := start(t, func(testing.TB) storage { return behind{server, proxy} }, nil)
	return d, b, proxy
}

// REL-17: an object whose transfer breaks off, or that is not what was stored, is a broken connection and never a short file.
func TestREL17BrokenObjectsAreNoFiles(t *testing.T) {
	t.Parallel()
	d, b, proxy := startBehindProxy(t)
	u := d.User(t, "alice")
	file := noise(1, 8<<20)
	uri := u.MustUpload(t, "video/mp4", "", file)
	u.MustSee(t, uri, file)
	for _, at := range []int64{1 << 20, 7 << 20} {
		proxy.CutAfter(at)
		resp, err := u.Request(t.Context(), http.MethodGet, downloadPath(uri), nil, nil)
		if err == nil && (resp.Status == http.StatusOK || resp.Status == http.StatusPartialContent) {
			t.Errorf("a transfer that was cut after %d bytes is a whole answer of %d bytes", at, len(resp.Body))
		}
		proxy.Heal()
		u.MustSee(t, uri, file)
	}

	// Somebody puts something else into the bucket, or takes it out.
	server := b.storage.(behind).inBucket
	key := b.keys(t)[0]
	replaceObject(t, server, key, noise(2, 8<<20))
	if resp, err := u.Request(t.Context(), http.MethodGet, downloadPath(uri), nil, nil); err == nil && resp.Status == http.StatusOK {
		t.Errorf("other content is served as what was stored: %d bytes", len(resp.Body))
	}
	replaceObject(t, server, key, file[:1<<20])
	if resp, err := u.Request(t.Context(), http.MethodGet, downloadPath(uri), nil, nil); err == nil && resp.Status == http.StatusOK {
		t.Errorf("a short object is served as whole: %d bytes", len(resp.Body))
	}
	removeObject(t, server, key)
	resp := ask(t, u, http.MethodGet, downloadPath(uri))
	wantError(t, "a lost object", resp, http.StatusBadGateway, "M_UNKNOWN")
	if resp.Header.Get("ETag") != "" || resp.Header.Get("Content-Disposition") != "" {
		t.Errorf("headers of the error: %v", resp.Header)
	}
}

// slowly yields all of a file but its last MiB, says when that has been taken, and waits before it goes on.
type slowly struct {
	file      []byte
	began, on chan struct{}
	once      sync.Once
}

func (s *slowly) Read(p []byte) (int, error) {
	if len(s.file) == 0 {
		return 0, io.EOF
	}
	if len(s.file) <= 1<<20 {
		s.once.Do(func() { close(s.began) })
		<-s.on
	}
	n := copy(p, s.file[:min(64<<10, len(s.file))])
	s.file = s.file[n:]
	return n, nil
}

// REL-17: a process that is killed while it takes uploads loses nothing that it acknowledged, and what it left is swept.
func TestREL17KilledWhileUploading(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, d *hstest.Deployment, b bucket) {
		u := d.User(t, "alice")
		var mu sync.Mutex
		acknowledged := map[string][]byte{}
		var wait sync.WaitGroup
		killed, stop := context.WithCancel(t.Context())
		for i := range 4 {
			wait.Go(func() {
				for n := 0; killed.Err() == nil; n++ {
					file := noise(uint64(i*256+n), 100_000+n)
					resp, err := u.Request(t.Context(), http.MethodPost, uploadEndpoint, nil, bytes.NewReader(file))
					if err == nil && resp.Status == http.StatusOK {
						mu.Lock()
						acknowledged[resp.JSON().Get("content_uri").String()] = file
						mu.Unlock()
					}
				}
			})
		}
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			mu.Lock()
			n := len(acknowledged)
			mu.Unlock()
			if n >= 10 {
				break
			}
		}
		// The last to begin: a body that stands still for long is refused.
		slow := &slowly{file: noise(9999, 24<<20), began: make(chan struct{}), on: make(chan struct{})}
		wait.Go(func() {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.BaseURL(0)+uploadEndpoint, slow)
			if err != nil {
				t.Error(err)
				return
			}
			req.Header.Set("Authorization", "Bearer "+u.AccessToken)
			if status, err := statusOf(req); err == nil {
				t.Errorf("the upload that was killed is answered %d", status)
			}
		})
		<-slow.began
		stop()
		d.Kill9(t, 0)
		close(slow.on)
		wait.Wait()
		d.Restart(t, 0)
		mu.Lock()
		defer mu.Unlock()
		if len(acknowledged) == 0 {
			t.Fatal("nothing was acknowledged before the kill")
		}
		for uri, file := range acknowledged {
			u.MustSee(t, uri, file)
		}
		if n := number(t, d, "SELECT count(*) FROM media_objects WHERE state = 'writing'"); n == 0 {
			t.Fatal("no upload was interrupted: the test shows nothing")
		}
		change(t, d, "UPDATE media_objects SET since_ts = 1 WHERE state = 'writing'")
		tidy(t, d)
		stored := func() int {
			return int(number(t, d, "SELECT count(*) FROM media_objects WHERE state = 'stored'"))
		}
		hstest.Eventually(t, "interrupted uploads are swept", func() bool {
			return number(t, d, "SELECT count(*) FROM media_objects WHERE state <> 'stored'") == 0
		})
		b.mustHave(t, stored())
		if n := number(t, d, "SELECT (SELECT bytes FROM media_usage WHERE owner = $1) - (SELECT sum(size) FROM media)", u.ID); n != 0 {
			t.Errorf("the user is charged with %d bytes more than there are", n)
		}
		t.Logf("%d acknowledged, %d stored", len(acknowledged), stored())
	})
}

// REL-18: a full disk refuses the upload, keeps nothing of it, and takes uploads again when there is space.
func TestREL18DiskFull(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("SKIPPED: the full disk is not tested, because this user may not mount a small one: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	d, b := start(t, func(testing.TB) storage { return inFolder{dir} }, nil)
	owner, member, room := together(t, d)
	first := member.MustUpload(t, "video/mp4", "", noise(1, 3<<20))
	event := member.MustSend(t, room, "m.room.message", message("m.video", first))
	for _, body := range []io.Reader{bytes.NewReader(noise(2, 3<<20)), io.MultiReader(bytes.NewReader(noise(3, 3<<20)))} {
		resp, err := member.Request(t.Context(), http.MethodPost, uploadEndpoint, nil, body)
		if err != nil {
			t.Fatal(err)
		}
		wantError(t, "no space", resp, http.StatusInsufficientStorage, "M_UNKNOWN")
	}
	b.mustHave(t, 1)
	owner.MustSee(t, first, noise(1, 3<<20))
	member.MustSendText(t, room, "chat goes on")
	member.MustDo(t, http.MethodPut, redact(room, event, "r1"), map[string]any{})
	b.mustHave(t, 0)
	// A file takes space for as long as somebody has it open who reads it.
	hstest.Eventually(t, "there is space again", func() bool {
		var disk syscall.Statfs_t
		if err := syscall.Statfs(dir, &disk); err != nil {
			t.Fatal(err)
		}
		return int64(disk.Bavail)*disk.Bsize > 3<<20
	})
	member.MustSee(t, member.MustUpload(t, "video/mp4", "", noise(2, 3<<20)), noise(2, 3<<20))
	b.mustHave(t, 1)
}

func TestVirusScanner(t *testing.T) {
	t.Parallel()
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			scanner := hstest.Clamd(t)
			d, b := start(t, s, func(media map[string]any) { media["clamav"] = map[string]any{"address": scanner.Unix} })
			u := d.User(t, "alice")
			infected := []byte(hstest.EICAR())
			hidden := append(bytes.Repeat([]byte{' '}, 1<<20), infected...)
			for _, file := range [][]byte{infected, hidden} {
				resp := upload(t, u, http.MethodPost, uploadEndpoint, "text/plain", file)
				wantError(t, "infected", resp, http.StatusForbidden, "M_FORBIDDEN")
				chunked, err := u.Request(t.Context(), http.MethodPost, uploadEndpoint, nil, io.MultiReader(bytes.NewReader(file)))
				if err != nil {
					t.Fatal(err)
				}
				wantError(t, "infected, of unknown length", chunked, http.StatusForbidden, "M_FORBIDDEN")
			}
			uri := u.MustDo(t, http.MethodPost, "/_matrix/media/v1/create", nil).Get("content_uri").String()
			path := hstest.MediaPath(uploadEndpoint, uri)
			wantError(t, "infected, announced", upload(t, u, http.MethodPut, path, "text/plain", infected), http.StatusForbidden, "M_FORBIDDEN")
			wantError(t, "it is not there", ask(t, u, http.MethodGet, downloadPath(uri)+"?timeout_ms=0"), http.StatusGatewayTimeout, "M_NOT_YET_UPLOADED")
			wantError(t, "too large to be judged", upload(t, u, http.MethodPost, uploadEndpoint, "text/plain", noise(1, hstest.ClamdStreamMax+1<<20)),
				http.StatusRequestEntityTooLarge, "M_TOO_LARGE")
			b.mustHave(t, 0)
			if n := number(t, d, "SELECT coalesce(sum(bytes) + sum(files), 0) FROM media_usage"); n != 0 {
				t.Errorf("refused uploads are still charged: %d", n)
			}

			clean := noise(7, 1<<20)
			u.MustSee(t, u.MustUpload(t, "video/mp4", "", clean), clean)
			if resp := upload(t, u, http.MethodPut, path, "text/plain", []byte("clean")); resp.Status != http.StatusOK {
				t.Errorf("the announced URI can still be filled: %s", resp)
			}
			u.MustSee(t, uri, []byte("clean"))
			b.mustHave(t, 2)

			scanner.Kill9(t)
			wantAway(t, "no scanner", upload(t, u, http.MethodPost, uploadEndpoint, "text/plain", []byte("unjudged")))
			b.mustHave(t, 2)
			scanner.Restart(t)
			u.MustUpload(t, "text/plain", "", []byte("judged"))
			b.mustHave(t, 3)
		})
	}
}

// A client that reads no further keeps neither the store nor the others waiting.
func TestSlowReadersKeepNobodyWaiting(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, d *hstest.Deployment, b bucket) {
		u := d.User(t, "alice")
		file := noise(1, 16<<20)
		uri := u.MustUpload(t, "video/mp4", "", file)
		for range 20 {
			conn, err := net.Dial("tcp", strings.TrimPrefix(d.BaseURL(0), "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: hs.test\r\nAuthorization: Bearer %s\r\n\r\n", downloadPath(uri), u.AccessToken); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(conn, make([]byte, 1000)); err != nil && !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
		}
		u.MustSee(t, uri, file)
		u.MustDo(t, http.MethodDelete, deletePath(uri), nil)
		b.mustHave(t, 0)
	})
}
