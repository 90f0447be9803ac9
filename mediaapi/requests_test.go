package mediaapi_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/roomline/roomline/internal/hstest"
)

// counting is a MinIO behind a proxy that notes what is asked.
type counting struct {
	inBucket
	address string
	mu      sync.Mutex
	asked   []string
}

func newCounting(t testing.TB) *counting {
	c := &counting{inBucket: minIO(t).(inBucket)}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: c.Endpoint})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		c.asked = append(c.asked, r.Method+" "+r.URL.Path)
		c.mu.Unlock()
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	c.address = server.URL
	return c
}

func (c *counting) configure(media map[string]any) {
	c.inBucket.configure(media)
	s3 := media["s3"].(map[string]any)
	s3["endpoint"], s3["path_style"] = c.address, true
}

// take returns what was asked of objects since it was called last.
func (c *counting) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var asked []string
	for _, one := range c.asked {
		if strings.Contains(one, "/o/") {
			asked = append(asked, one)
		}
	}
	c.asked = nil
	return asked
}

func (c *counting) mustHaveAsked(t *testing.T, what, method string, n int) {
	t.Helper()
	asked := c.take()
	for _, one := range asked {
		if !strings.HasPrefix(one, method+" ") {
			t.Errorf("%s: %s", what, one)
		}
	}
	if len(asked) != n {
		t.Errorf("%s: %d requests, want %d: %v", what, len(asked), n, asked)
	}
}

func TestOneRequestToTheStoreForAFile(t *testing.T) {
	t.Parallel()
	c := newCounting(t)
	d, _ := start(t, func(testing.TB) storage { return c }, nil)
	u := d.User(t, "alice")
	for i, size := range []int{0, 1, 1000, 1 << 20, 1<<20 + 1, 3 << 20} {
		file := noise(uint64(100+i), size)
		c.take()
		uri := u.MustUpload(t, "image/png", "", file)
		c.mustHaveAsked(t, fmt.Sprintf("upload of %d bytes", size), http.MethodPut, 1)
		u.MustSee(t, uri, file)
		c.mustHaveAsked(t, fmt.Sprintf("download of %d bytes", size), http.MethodGet, 1)
	}
}

// A thumbnail is put into the store once, however many ask for it at once, and later.
func TestThumbnailsAreMadeOnce(t *testing.T) {
	t.Parallel()
	c := newCounting(t)
	d, _ := start(t, func(testing.TB) storage { return c }, nil)
	u := d.User(t, "alice")
	uri := u.MustUpload(t, "image/png", "", picture(t, 2400, 1800))
	c.take()
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			resp, err := u.Request(context.WithoutCancel(t.Context()), http.MethodGet, thumbnailPath(uri, "width=640&height=480"), nil, nil)
			if err != nil || resp.Status != http.StatusOK {
				t.Errorf("%v %d", err, resp.Status)
			}
		})
	}
	all.Wait()
	if resp := ask(t, u, http.MethodGet, thumbnailPath(uri, "width=640&height=480")); resp.Status != http.StatusOK {
		t.Errorf("later: %s", resp)
	}
	puts := 0
	for _, one := range c.take() {
		if strings.HasPrefix(one, "PUT ") {
			puts++
		}
	}
	if puts != 1 {
		t.Errorf("a thumbnail was stored %d times", puts)
	}
}

// What was stored before there were CRCs is checked by its SHA-256.
func TestObjectsWithoutCRCAreChecked(t *testing.T) {
	t.Parallel()
	d, b := start(t, minIO, nil)
	u := d.User(t, "alice")
	file := noise(7, 1<<20)
	uri := u.MustUpload(t, "image/png", "", file)
	if n := number(t, d, "SELECT count(*) FROM media_objects WHERE crc32c IS NOT NULL"); n != 1 {
		t.Fatalf("%d objects have a CRC", n)
	}
	key := b.keys(t)[0]
	refuse := func(what string) {
		t.Helper()
		replaceObject(t, b.storage.(inBucket), key, noise(8, 1<<20))
		if resp, err := u.Request(t.Context(), http.MethodGet, downloadPath(uri), nil, nil); err == nil && resp.Status == http.StatusOK {
			t.Errorf("%s: other content is sent", what)
		}
		replaceObject(t, b.storage.(inBucket), key, file)
		u.MustSee(t, uri, file)
	}
	refuse("with a CRC")
	change(t, d, "UPDATE media_objects SET crc32c = NULL")
	refuse("without a CRC")
	// The same content again gives it one.
	u.MustSee(t, u.MustUpload(t, "image/png", "", file), file)
	if n := number(t, d, "SELECT count(*) FROM media_objects WHERE crc32c IS NOT NULL AND state = 'stored'"); n != 1 {
		t.Errorf("%d objects have a CRC", n)
	}
	refuse("with a CRC again")
	change(t, d, "UPDATE media_objects SET crc32c = (crc32c + 1) % 4294967296")
	if resp, err := u.Request(t.Context(), http.MethodGet, downloadPath(uri), nil, nil); err == nil && bytes.Equal(resp.Body, file) && resp.Status == http.StatusOK {
		t.Error("the CRC is not looked at")
	}
}

// SEC-76: addresses of the store itself name the public one, are good for a minute at most, and make a browser save the file.
func TestSEC76PresignedAtThePublicEndpoint(t *testing.T) {
	t.Parallel()
	c := newCounting(t)
	d, _ := start(t, func(testing.TB) storage { return c }, func(media map[string]any) {
		media["presigned_downloads"] = true
		media["s3"].(map[string]any)["endpoint"] = "http://" + c.Endpoint
		media["s3"].(map[string]any)["public_endpoint"] = c.address
	})
	u := d.User(t, "alice")
	file := noise(9, 100_000)
	uri := u.MustUpload(t, "image/png", "filename=a.png", file)
	if asked := c.take(); len(asked) > 0 {
		t.Errorf("the server itself uses the public endpoint: %v", asked)
	}
	resp := ask(t, u, http.MethodGet, downloadPath(uri)+"?allow_redirect=true")
	to := resp.Header.Get("Location")
	if resp.Status != http.StatusTemporaryRedirect || !strings.HasPrefix(to, c.address+"/") || !strings.Contains(to, "X-Amz-Expires=60&") {
		t.Fatalf("%d, Location %s; want one at %s that is good for 60 s", resp.Status, to, c.address)
	}
	got, err := http.Get(to)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(got.Body); err != nil || !bytes.Equal(body.Bytes(), file) {
		t.Errorf("%d with %d bytes: %v", got.StatusCode, body.Len(), err)
	}
	if how := got.Header.Get("Content-Disposition"); !strings.HasPrefix(how, "attachment") {
		t.Errorf("Content-Disposition: %s", how)
	}
	c.mustHaveAsked(t, "a redirected download", http.MethodGet, 1)
}

// Domains that the deployment or the organisation leaves out are not asked, and what was known of them is told no more.
func TestDomainsOfPreviewsAreKept(t *testing.T) {
	t.Parallel()
	var asked sync.Map
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.Host+r.URL.Path, true)
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<title>a page</title>")
	}))
	t.Cleanup(page.Close)
	port := page.URL[strings.LastIndex(page.URL, ":"):]
	d := hstest.Start(t, hstest.Options{Configure: func(_ int, config map[string]any) {
		config["media"] = map[string]any{
			"url_previews": "on", "url_preview_addresses": []string{"127.0.0.0/8"}, "url_preview_deny": []string{"127.0.0.3"}, "folder": t.TempDir(),
		}
	}})
	u, admin := d.User(t, "alice"), administrator(t, d, "admin")
	status := func(to string) int {
		return ask(t, u, http.MethodGet, "/_matrix/client/v1/media/preview_url?url="+url.QueryEscape(to)).Status
	}
	local, number := "http://localhost"+port+"/a", "http://127.0.0.1"+port+"/a"
	for to, want := range map[string]int{local: 200, number: 200, "http://127.0.0.3" + port + "/": 404} {
		if got := status(to); got != want {
			t.Errorf("%s: %d, want %d", to, got, want)
		}
	}
	const policy = "/_roomline/admin/v1/policies/media"
	admin.MustDo(t, http.MethodPut, policy, map[string]any{"url_preview_deny": []string{"localhost"}})
	for to, want := range map[string]int{local: 404, "http://x.localhost" + port + "/": 404, number: 200, "http://127.0.0.1" + port + "/b": 200, "http://127.0.0.3" + port + "/": 404} {
		if got := status(to); got != want {
			t.Errorf("with a deny list, %s: %d, want %d", to, got, want)
		}
	}
	admin.MustDo(t, http.MethodPut, policy, map[string]any{"url_preview_allow": []string{"localhost", "127.0.0.3"}})
	for to, want := range map[string]int{local: 200, number: 404, "http://127.0.0.1" + port + "/c": 404, "http://127.0.0.3" + port + "/": 404} {
		if got := status(to); got != want {
			t.Errorf("with an allow list, %s: %d, want %d", to, got, want)
		}
	}
	for _, never := range []string{"127.0.0.3" + port + "/", "127.0.0.1" + port + "/c"} {
		if _, ok := asked.Load(never); ok {
			t.Errorf("%s was asked", never)
		}
	}
	resp := ask(t, admin, http.MethodPut, policy)
	if resp.Status == http.StatusOK {
		t.Errorf("no policy: %s", resp)
	}
}
