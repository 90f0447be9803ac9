package mediaapi_test

import (
	"bytes"
	"fmt"
	"image"
	_ "image/jpeg"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
)

const (
	uploadEndpoint   = "/_matrix/media/v3/upload"
	downloadEndpoint = "/_matrix/client/v1/media/download"
)

func downloadPath(uri string) string { return hstest.MediaPath(downloadEndpoint, uri) }

// ask sends a request with headers and no body.
func ask(t testing.TB, u *hstest.User, method, path string, header ...string) hstest.Response {
	t.Helper()
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	resp, err := u.Request(t.Context(), method, path, h, nil)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return resp
}

// upload sends a file to any endpoint.
func upload(t testing.TB, u *hstest.User, method, path, contentType string, file []byte) hstest.Response {
	t.Helper()
	resp, err := u.Request(t.Context(), method, path, http.Header{"Content-Type": {contentType}}, bytes.NewReader(file))
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return resp
}

func wantError(t testing.TB, what string, resp hstest.Response, status int, code string) {
	t.Helper()
	if resp.Status != status || resp.ErrCode() != code {
		t.Errorf("%s: got %s, want %d %s", what, resp, status, code)
	}
}

func TestUploadToAnnouncedURI(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, d *hstest.Deployment, b bucket) {
		alice, bob, stranger := d.User(t, "alice"), d.User(t, "bob"), foreigner(t, d, "stranger")
		create := func() (uri, path string) {
			answer := alice.MustDo(t, http.MethodPost, "/_matrix/media/v1/create", nil)
			if in := time.Until(time.UnixMilli(answer.Get("unused_expires_at").Int())); in < 23*time.Hour || in > 25*time.Hour {
				t.Errorf("an announced URI expires in %s", in)
			}
			uri = answer.Get("content_uri").String()
			return uri, hstest.MediaPath(uploadEndpoint, uri)
		}
		uri, path := create()
		wantError(t, "not yet", ask(t, alice, http.MethodGet, downloadPath(uri)+"?timeout_ms=0"), http.StatusGatewayTimeout, "M_NOT_YET_UPLOADED")
		wantError(t, "not yet, a thumbnail", ask(t, alice, http.MethodGet, thumbnailPath(uri, "width=32&height=32&timeout_ms=10")),
			http.StatusGatewayTimeout, "M_NOT_YET_UPLOADED")
		wantError(t, "not bob's", ask(t, bob, http.MethodGet, downloadPath(uri)+"?timeout_ms=0"), http.StatusNotFound, "M_NOT_FOUND")
		wantError(t, "bob fills it", upload(t, bob, http.MethodPut, path, "text/plain", []byte("x")), http.StatusForbidden, "M_FORBIDDEN")
		wantError(t, "a stranger fills it", upload(t, stranger, http.MethodPut, path, "text/plain", []byte("x")), http.StatusNotFound, "M_NOT_FOUND")
		wantError(t, "unknown", upload(t, alice, http.MethodPut, hstest.MediaPath(uploadEndpoint, "mxc://hs.test/abcdef"), "text/plain", nil),
			http.StatusNotFound, "M_NOT_FOUND")

		// It may be sent before it is there, and a download waits for it.
		room := alice.MustCreateRoom(t, map[string]any{"preset": "private_chat", "invite": []string{bob.ID}})
		bob.MustJoin(t, room)
		alice.MustSend(t, room, "m.room.message", message("m.file", uri))
		waiting := make(chan hstest.Response, 1)
		go func() {
			resp, err := bob.Request(t.Context(), http.MethodGet, downloadPath(uri), nil, nil)
			if err != nil {
				t.Error(err)
			}
			waiting <- resp
		}()
		time.Sleep(300 * time.Millisecond)
		if resp := upload(t, alice, http.MethodPut, path+"?filename=late.txt", "text/plain", []byte("at last")); resp.Status != http.StatusOK ||
			string(resp.Body) != "{}" {
			t.Fatalf("upload: %s", resp)
		}
		if resp := <-waiting; resp.Status != http.StatusOK || string(resp.Body) != "at last" {
			t.Errorf("the waiting download: %s", resp)
		}
		wantError(t, "again", upload(t, alice, http.MethodPut, path, "text/plain", []byte("other")), http.StatusConflict, "M_CANNOT_OVERWRITE_MEDIA")
		alice.MustSee(t, uri, []byte("at last"))
		b.mustHave(t, 1)

		uri, path = create()
		change(t, d, "UPDATE media SET expires_ts = 1 WHERE object_key IS NULL")
		wantError(t, "expired", upload(t, alice, http.MethodPut, path, "text/plain", []byte("x")), http.StatusNotFound, "M_NOT_FOUND")
		wantError(t, "expired", ask(t, alice, http.MethodGet, downloadPath(uri)+"?timeout_ms=0"), http.StatusNotFound, "M_NOT_FOUND")
		b.mustHave(t, 1)
	})
}

func TestAnnouncedURIsAreFew(t *testing.T) {
	t.Parallel()
	d, _ := start(t, folder, nil)
	u := d.User(t, "alice")
	for range 100 {
		u.MustDo(t, http.MethodPost, "/_matrix/media/v1/create", nil)
	}
	u.MustFail(t, http.StatusTooManyRequests, "M_LIMIT_EXCEEDED", http.MethodPost, "/_matrix/media/v1/create", nil)
}

func TestConfig(t *testing.T) {
	t.Parallel()
	d, _ := start(t, folder, func(media map[string]any) { media["max_upload_size"] = 123456 })
	u := d.User(t, "alice")
	for _, path := range []string{"/_matrix/client/v1/media/config", "/_matrix/media/v3/config"} {
		if n := u.MustDo(t, http.MethodGet, path, nil).Get(`m\.upload\.size`).Int(); n != 123456 {
			t.Errorf("%s: %d", path, n)
		}
		if resp, err := d.Do(t.Context(), 0, "", http.MethodGet, path, nil); err != nil || resp.Status != http.StatusUnauthorized {
			t.Errorf("%s without a token: %v %v", path, resp, err)
		}
	}
}

func TestFileNames(t *testing.T) {
	t.Parallel()
	d, _ := start(t, folder, nil)
	u := d.User(t, "alice")
	for _, name := range []string{
		"plain.txt", "with space.txt", "naïve – Überraschung 🎉.txt", `quotes".txt`, `back\slash.txt`, "semi;colon.txt", "per%cent.txt", "../../etc/passwd",
		"<script>.html",
	} {
		uri := u.MustUpload(t, "text/plain", url.Values{"filename": {name}}.Encode(), []byte("content"))
		for what, path := range map[string]string{
			"as uploaded": downloadPath(uri), "in the path": downloadPath(u.MustUpload(t, "text/plain", "filename=other", []byte("content"))) + "/" + url.PathEscape(name),
		} {
			resp := ask(t, u, http.MethodGet, path)
			text := resp.Header.Get("Content-Disposition")
			how, parameters, err := mime.ParseMediaType(text)
			if resp.Status != http.StatusOK || err != nil || how != "inline" || parameters["filename"] != name {
				t.Errorf("%q, %s: %d, %q is %q %v (%v)", name, what, resp.Status, text, how, parameters, err)
			}
		}
	}
	for what, bad := range map[string]string{"CR LF": "a\r\nSet-Cookie: x=y", "NUL": "a\x00b", "not UTF-8": "a\xffb", "too long": strings.Repeat("a", 256)} {
		wantError(t, what, upload(t, u, http.MethodPost, uploadEndpoint+"?"+url.Values{"filename": {bad}}.Encode(), "text/plain", []byte("x")),
			http.StatusBadRequest, "M_INVALID_PARAM")
	}
	uri := u.MustUpload(t, "text/plain", "", []byte("content"))
	if got := ask(t, u, http.MethodGet, downloadPath(uri)).Header.Get("Content-Disposition"); got != "inline" {
		t.Errorf("without a name: %q", got)
	}
	wantError(t, "a long name in the path", ask(t, u, http.MethodGet, downloadPath(uri)+"/"+strings.Repeat("a", 300)), http.StatusBadRequest, "M_INVALID_PARAM")
	resp := ask(t, u, http.MethodGet, downloadPath(uri)+"/"+url.PathEscape("a\r\nSet-Cookie: x=y"))
	if resp.Header.Get("Set-Cookie") != "" || strings.ContainsAny(resp.Header.Get("Content-Disposition"), "\r\n") {
		t.Errorf("CR LF in the path: %v", resp.Header)
	}
}

func TestConditionsAndRanges(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, d *hstest.Deployment, b bucket) {
		u := d.User(t, "alice")
		file := []byte("0123456789abcdefghij")
		uri := u.MustUpload(t, "text/plain", "filename=a.txt", file)
		path := downloadPath(uri)
		whole := ask(t, u, http.MethodGet, path)
		tag := whole.Header.Get("ETag")
		if len(tag) < 10 || tag[0] != '"' || whole.Header.Get("Accept-Ranges") != "bytes" || whole.Header.Get("Content-Length") != "20" {
			t.Fatalf("headers of a download: %v", whole.Header)
		}
		head := ask(t, u, http.MethodHead, path)
		if head.Status != http.StatusOK || len(head.Body) != 0 {
			t.Errorf("HEAD: %s", head)
		}
		for _, name := range []string{"Content-Type", "Content-Length", "Content-Disposition", "ETag", "Content-Security-Policy", "Accept-Ranges"} {
			if head.Header.Get(name) != whole.Header.Get(name) {
				t.Errorf("HEAD: %s is %q, GET says %q", name, head.Header.Get(name), whole.Header.Get(name))
			}
		}
		for _, header := range []string{tag, `"other", ` + tag, "*", "W/" + tag} {
			if resp := ask(t, u, http.MethodGet, path, "If-None-Match", header); resp.Status != http.StatusNotModified || len(resp.Body) != 0 {
				t.Errorf("If-None-Match %s: %s", header, resp)
			}
		}
		if resp := ask(t, u, http.MethodGet, path, "If-None-Match", `"other"`); resp.Status != http.StatusOK || !bytes.Equal(resp.Body, file) {
			t.Errorf("If-None-Match of something else: %s", resp)
		}
		for _, tc := range []struct {
			header, contentRange, body string
			status                     int
		}{
			{"bytes=0-3", "bytes 0-3/20", "0123", 206},
			{"bytes=10-", "bytes 10-19/20", "abcdefghij", 206},
			{"bytes=-3", "bytes 17-19/20", "hij", 206},
			{"bytes=5-5", "bytes 5-5/20", "5", 206},
			{"bytes=18-99", "bytes 18-19/20", "ij", 206},
			{"bytes=20-", "bytes */20", "", 416},
			{"bytes=7-3", "", "", 416},
			{"bytes=x", "", "", 416},
		} {
			resp := ask(t, u, http.MethodGet, path, "Range", tc.header)
			if resp.Status != tc.status || resp.Header.Get("Content-Range") != tc.contentRange || tc.status == 206 && string(resp.Body) != tc.body {
				t.Errorf("Range %s: %s, Content-Range %q", tc.header, resp, resp.Header.Get("Content-Range"))
			}
		}
		several := ask(t, u, http.MethodGet, path, "Range", "bytes=0-1,10-11")
		if several.Status != 206 || !strings.HasPrefix(several.Header.Get("Content-Type"), "multipart/byteranges") ||
			!bytes.Contains(several.Body, []byte("\r\n01\r\n")) || !bytes.Contains(several.Body, []byte("\r\nab\r\n")) {
			t.Errorf("two ranges: %s %v", several, several.Header)
		}
		if resp := ask(t, u, http.MethodGet, path, "Range", "bytes=0-3", "If-Range", tag); resp.Status != 206 || string(resp.Body) != "0123" {
			t.Errorf("If-Range: %s", resp)
		}
		if resp := ask(t, u, http.MethodGet, path, "Range", "bytes=0-3", "If-Range", `"other"`); resp.Status != 200 || !bytes.Equal(resp.Body, file) {
			t.Errorf("If-Range of something else: %s", resp)
		}
		empty := u.MustUpload(t, "text/plain", "", nil)
		u.MustSee(t, empty, nil)
		if resp := ask(t, u, http.MethodGet, downloadPath(empty), "Range", "bytes=0-0"); resp.Status != 416 && resp.Status != 200 {
			t.Errorf("a range of nothing: %s", resp)
		}
	})
}

func TestLegacyPathsServeWhatIsFrozen(t *testing.T) {
	t.Parallel()
	until := time.Now().Add(-time.Hour)
	onEach := func(t *testing.T, frozen bool) {
		t.Parallel()
		d, _ := start(t, folder, func(media map[string]any) {
			if frozen {
				media["unauthenticated_until"] = until.UTC().Format(time.RFC3339)
			}
		})
		u := d.User(t, "alice")
		old, young := u.MustUpload(t, "image/png", "", picture(t, 50, 50)), u.MustUpload(t, "image/png", "", picture(t, 60, 50))
		restricted := u.MustUploadAt(t, restrictedUpload, "image/png", picture(t, 70, 50))
		_, id, _ := strings.Cut(strings.TrimPrefix(young, "mxc://"), "/")
		change(t, d, "UPDATE media SET created_ts = $1 WHERE media_id <> $2", until.Add(-time.Hour).UnixMilli(), id)
		for _, uri := range []string{old, young, restricted} {
			for _, path := range []string{
				hstest.MediaPath("/_matrix/media/v3/download", uri), hstest.MediaPath("/_matrix/media/v3/download", uri) + "/name.png",
				hstest.MediaPath("/_matrix/media/v3/thumbnail", uri) + "?width=32&height=32",
			} {
				resp, err := d.Do(t.Context(), 0, "", http.MethodGet, path, nil)
				if err != nil {
					t.Fatal(err)
				}
				if frozen && uri == old {
					if resp.Status != http.StatusOK {
						t.Errorf("GET %s: %s", path, resp)
					}
					continue
				}
				wantError(t, path, resp, http.StatusNotFound, "M_NOT_FOUND")
			}
		}
	}
	t.Run("never", func(t *testing.T) { onEach(t, false) })
	t.Run("until a date", func(t *testing.T) { onEach(t, true) })
}

func TestPresignedDownloads(t *testing.T) {
	t.Parallel()
	d, _ := start(t, minIO, func(media map[string]any) { media["presigned_downloads"] = true })
	u, other := d.User(t, "alice"), d.User(t, "other")
	file := []byte("<script>alert(1)</script>")
	uri := u.MustUpload(t, "text/html", "filename="+url.QueryEscape(`naïve".html`), file)
	u.MustSee(t, uri, file)
	wantError(t, "of others", ask(t, other, http.MethodGet, downloadPath(uri)+"?allow_redirect=true"), http.StatusNotFound, "M_NOT_FOUND")
	resp := ask(t, u, http.MethodGet, downloadPath(uri)+"?allow_redirect=true")
	if resp.Status != http.StatusTemporaryRedirect && resp.Status != http.StatusPermanentRedirect {
		t.Fatalf("allow_redirect: %s", resp)
	}
	to, err := url.Parse(resp.Header.Get("Location"))
	if err != nil || to.Query().Get("X-Amz-Expires") == "" || len(to.Query().Get("X-Amz-Expires")) > 2 {
		t.Errorf("Location %s: %v; want it to expire within a minute", to, err)
	}
	got, err := http.Get(to.String())
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	how, parameters, err := mime.ParseMediaType(got.Header.Get("Content-Disposition"))
	if got.StatusCode != http.StatusOK || how != "attachment" || parameters["filename"] != `naïve".html` || got.ContentLength != int64(len(file)) {
		t.Errorf("the store answers %d with %v: %q %v %v", got.StatusCode, got.Header, how, parameters, err)
	}
	picture := u.MustUpload(t, "image/png", "filename=a.png", []byte("no picture"))
	resp = ask(t, u, http.MethodGet, downloadPath(picture)+"?allow_redirect=true")
	if to, err := url.Parse(resp.Header.Get("Location")); err != nil || !strings.HasPrefix(to.Query().Get("response-content-disposition"), "attachment") {
		t.Errorf("a picture is sent from the store as %s", resp.Header.Get("Location"))
	}
}

func TestThumbnails(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, d *hstest.Deployment, b bucket) {
		u := d.User(t, "alice")
		uri := u.MustUpload(t, "image/png", "", picture(t, 1600, 1200))
		for i, tc := range []struct{ width, height, method, comesAs string }{
			{"32", "32", "crop", "32x32"}, {"96", "96", "crop", "96x96"}, {"320", "240", "scale", "320x240"},
			{"640", "480", "scale", "640x480"}, {"800", "600", "scale", "800x600"},
		} {
			path := thumbnailPath(uri, fmt.Sprintf("width=%s&height=%s&method=%s", tc.width, tc.height, tc.method))
			resp := ask(t, u, http.MethodGet, path)
			c, _, err := image.DecodeConfig(bytes.NewReader(resp.Body))
			if resp.Status != http.StatusOK || err != nil || fmt.Sprintf("%dx%d", c.Width, c.Height) != tc.comesAs {
				t.Errorf("%s: %d, %dx%d, %v", path, resp.Status, c.Width, c.Height, err)
			}
			head := ask(t, u, http.MethodHead, path)
			if head.Status != http.StatusOK || head.Header.Get("Content-Length") != fmt.Sprint(len(resp.Body)) ||
				!strings.HasPrefix(head.Header.Get("Content-Disposition"), "inline; filename=thumbnail.") {
				t.Errorf("HEAD %s: %d %v", path, head.Status, head.Header)
			}
			if again := ask(t, u, http.MethodGet, path, "If-None-Match", resp.Header.Get("ETag")); again.Status != http.StatusNotModified {
				t.Errorf("%s with its ETag: %d", path, again.Status)
			}
			b.mustHave(t, 2+i)
		}
		// No method is scale; an odd size is made of the next larger one; each is made once, however many ask at once.
		done := make(chan int, 8)
		for range cap(done) {
			go func() {
				resp, err := u.Request(t.Context(), http.MethodGet, thumbnailPath(uri, "width=200&height=100"), nil, nil)
				if err != nil {
					t.Error(err)
				}
				done <- resp.Status
			}()
		}
		for range cap(done) {
			if status := <-done; status != http.StatusOK {
				t.Errorf("an odd size: %d", status)
			}
		}
		b.mustHave(t, 6)

		text := u.MustUpload(t, "image/png", "", []byte("no picture at all"))
		wantError(t, "no picture", ask(t, u, http.MethodGet, thumbnailPath(text, "width=32&height=32")), http.StatusBadRequest, "M_UNKNOWN")
		broken := u.MustUpload(t, "image/png", "", picture(t, 300, 300)[:2000])
		wantError(t, "half a picture", ask(t, u, http.MethodGet, thumbnailPath(broken, "width=32&height=32")), http.StatusBadRequest, "M_UNKNOWN")
		for query, code := range map[string]string{
			"width=32": "M_MISSING_PARAM", "height=32": "M_MISSING_PARAM", "width=0&height=32": "M_INVALID_PARAM", "width=-1&height=32": "M_INVALID_PARAM",
			"width=a&height=32": "M_INVALID_PARAM", "width=32&height=32&method=stretch": "M_INVALID_PARAM",
		} {
			wantError(t, query, ask(t, u, http.MethodGet, thumbnailPath(uri, query)), http.StatusBadRequest, code)
		}
		b.mustHave(t, 8)
	})
}

func TestThumbnailsAreMadeOnceByTwoProcesses(t *testing.T) {
	t.Parallel()
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, b := startProcesses(t, 2, s, nil)
			u := d.User(t, "alice")
			uri := u.MustUpload(t, "image/png", "", picture(t, 1600, 1200))
			tags := make(chan string, 8)
			for i := range cap(tags) {
				go func() {
					resp, err := u.On(i%2).Request(t.Context(), http.MethodGet, thumbnailPath(uri, "width=640&height=480"), nil, nil)
					if err != nil || resp.Status != http.StatusOK {
						t.Errorf("%v %s", err, gjson.ParseBytes(resp.Body))
					}
					tags <- resp.Header.Get("ETag")
				}()
			}
			first := <-tags
			for range cap(tags) - 1 {
				if tag := <-tags; tag != first {
					t.Errorf("two thumbnails of one size: %s, %s", first, tag)
				}
			}
			b.mustHave(t, 2)
		})
	}
}
