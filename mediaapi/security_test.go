package mediaapi_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/hstest"
)

// SEC-70: nothing in a path or a name leads to another object or file.
func TestSEC70NothingIsTraversed(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, d *hstest.Deployment, b bucket) {
		u := d.User(t, "alice")
		uri := u.MustUpload(t, "text/plain", "filename="+url.QueryEscape("../../../escape.txt"), []byte("content"))
		_, id, _ := strings.Cut(strings.TrimPrefix(uri, "mxc://"), "/")
		evil := []string{
			"..", "../" + id, "..%2f..%2fetc%2fpasswd", "%2e%2e", "%2e%2e%2f" + id, "a%00b", `a%5c..%5cb`, strings.Repeat("a", 4096), "%c3%bc", "%ff", ".", "a.b", "a%20b", id + "%2f",
		}
		for _, bad := range evil {
			for _, path := range []string{
				downloadEndpoint + "/hs.test/" + bad, downloadEndpoint + "/" + bad + "/" + id,
				"/_matrix/client/v1/media/thumbnail/hs.test/" + bad + "?width=32&height=32", "/_matrix/media/v3/download/hs.test/" + bad,
			} {
				resp, err := raw(d, "GET "+path+" HTTP/1.1\r\nHost: hs.test\r\nConnection: close\r\nAuthorization: Bearer "+u.AccessToken+"\r\n\r\n")
				if err != nil {
					t.Fatal(err)
				}
				// A path that is cleaned leads to another route or to none.
				if !strings.HasPrefix(resp, "HTTP/1.1 400") && !strings.HasPrefix(resp, "HTTP/1.1 404") && !strings.HasPrefix(resp, "HTTP/1.1 405") {
					line, _, _ := strings.Cut(resp, "\r\n")
					t.Errorf("GET %.100s: %s", path, line)
				}
			}
			wantBad := upload(t, u, http.MethodPut, uploadEndpoint+"/hs.test/"+bad, "text/plain", []byte("x"))
			if wantBad.Status/100 == 2 || wantBad.Status >= 500 {
				t.Errorf("PUT to %.100s: %s", bad, wantBad)
			}
		}
		for _, key := range b.keys(t) {
			if strings.Contains(key, "escape") || strings.Contains(key, id) || strings.Contains(key, "..") {
				t.Errorf("the key %s says what a client has said", key)
			}
		}
		b.mustHave(t, 1)
		u.MustSee(t, uri, []byte("content"))
	})
}

// raw sends bytes to the first process and reads the answer until the connection ends.
func raw(d *hstest.Deployment, request string) (string, error) {
	conn, err := net.Dial("tcp", strings.TrimPrefix(d.BaseURL(0), "http://"))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, request); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	return string(answer), err
}

// SEC-71: what a browser would run is attached, whatever it calls itself, and nothing is guessed.
func TestSEC71NothingIsServedThatABrowserRuns(t *testing.T) {
	t.Parallel()
	d, _ := start(t, folder, nil)
	u := d.User(t, "alice")
	for _, tc := range []struct{ sent, served, disposition string }{
		{"text/html", "text/html", "attachment"}, {"TEXT/HTML", "text/html", "attachment"}, {"text/html; charset=utf-8", "text/html; charset=utf-8", "attachment"},
		{"text/html;x", "application/octet-stream", "attachment"}, {"image/svg+xml", "image/svg+xml", "attachment"}, {"application/xml", "application/xml", "attachment"},
		{"text/xml", "text/xml", "attachment"}, {"application/xhtml+xml", "application/xhtml+xml", "attachment"}, {"application/pdf", "application/pdf", "attachment"},
		{"text/javascript", "text/javascript", "attachment"}, {"application/javascript", "application/javascript", "attachment"}, {"", "application/octet-stream", "attachment"},
		{"image/png, text/html", "application/octet-stream", "attachment"}, {"multipart/form-data; boundary=x", "multipart/form-data; boundary=x", "attachment"},
		{"nonsense", "application/octet-stream", "attachment"}, {strings.Repeat("a", 300) + "/b", "application/octet-stream", "attachment"},
		{"image/png", "image/png", "inline"}, {"image/png; x=y", "image/png; x=y", "inline"}, {"text/plain; charset=utf-8", "text/plain; charset=utf-8", "inline"},
		{"application/json", "application/json", "inline"}, {"video/mp4", "video/mp4", "inline"}, {"audio/ogg", "audio/ogg", "inline"},
	} {
		uri := u.MustUpload(t, tc.sent, "filename=evil.html", []byte("<html><script>alert(1)</script>"))
		for _, path := range []string{downloadPath(uri), downloadPath(uri) + "/evil.html"} {
			h := ask(t, u, http.MethodGet, path).Header
			if h.Get("Content-Type") != tc.served || h.Get("Content-Disposition") != tc.disposition+"; filename=evil.html" {
				t.Errorf("%q is served as %q, %q", tc.sent, h.Get("Content-Type"), h.Get("Content-Disposition"))
			}
			policy := h.Get("Content-Security-Policy")
			for _, part := range []string{"sandbox;", "default-src 'none'", "script-src 'none'"} {
				if !strings.Contains(policy, part) || strings.Contains(policy, "allow-scripts") {
					t.Errorf("Content-Security-Policy: %s", policy)
				}
			}
			if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Cross-Origin-Resource-Policy") != "cross-origin" {
				t.Errorf("headers of a download: %v", h)
			}
		}
	}
}

// pngClaiming is the beginning of a PNG of any size.
func pngClaiming(width, height uint32) []byte {
	header := binary.BigEndian.AppendUint32([]byte("IHDR"), width)
	header = append(binary.BigEndian.AppendUint32(header, height), 8, 6, 0, 0, 0)
	file := append([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0d"), header...)
	return binary.BigEndian.AppendUint32(file, crc32.ChecksumIEEE(header))
}

// SEC-72: no decoder sees anything but a JPEG, PNG, GIF or WebP, whatever the type says.
func TestSEC72OtherFormatsAreRefused(t *testing.T) {
	t.Parallel()
	d, b := start(t, folder, nil)
	u := d.User(t, "alice")
	files := []string{
		"%!PS-Adobe-3.0 EPSF-3.0\n", "II*\x00\x08\x00\x00\x00", "MM\x00*\x00\x00\x00\x08", "icns\x00\x00\x01\x00", "8BPS\x00\x01", "BM\x00\x00\x00\x00",
		"<svg xmlns='http://www.w3.org/2000/svg'/>", "\x00\x00\x00\x18ftypheic", "\x00\x00\x00\x18ftypavif", "push graphic-context\nviewbox 0 0 1 1\n", "%PDF-1.7\n", "",
		"\x00\x00\x01\x00\x01\x00", "RIFF\x00\x00\x00\x00WAVE", "P6 1 1 255\n", "P3\n1 1\n255\n",
	}
	for _, file := range files {
		uri := u.MustUpload(t, "image/png", "", append([]byte(file), make([]byte, 100)...))
		wantError(t, fmt.Sprintf("%.20q", file), ask(t, u, http.MethodGet, thumbnailPath(uri, "width=32&height=32")), http.StatusBadRequest, "M_UNKNOWN")
	}
	b.mustHave(t, len(files))
}

// memory is what a process has in memory, in bytes.
func memory(t testing.TB, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// watchMemory returns a function that says how much more memory the process had at most since.
func watchMemory(t testing.TB, pid int) (most func() int64) {
	before, peak := memory(t, pid), int64(0)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				peak = max(peak, memory(t, pid))
			}
		}
	}()
	return sync.OnceValue(func() int64 {
		close(stop)
		<-done
		return max(0, peak-before)
	})
}

// SEC-73: pictures that claim to be huge are refused by their header, and of animations with too many frames there is a still picture; 50 at
// once cost little.
func TestSEC73BombsAreRefused(t *testing.T) {
	t.Parallel()
	d, _ := start(t, folder, nil)
	u := d.User(t, "alice")
	frames := &gif.GIF{}
	for range 10_000 {
		frames.Image = append(frames.Image, image.NewPaletted(image.Rect(0, 0, 100, 100), color.Palette{color.Black, color.White}))
		frames.Delay = append(frames.Delay, 1)
	}
	var long bytes.Buffer
	if err := gif.EncodeAll(&long, frames); err != nil {
		t.Fatal(err)
	}
	var uris []string
	for _, file := range [][]byte{
		pngClaiming(65_535, 65_535), pngClaiming(1<<31-1, 1<<31-1), []byte("GIF89a\xff\xff\xff\xff\x00\x00\x00;"),
		[]byte("RIFF\x1a\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff"),
	} {
		uris = append(uris, u.MustUpload(t, "image/png", "", file))
	}
	most := watchMemory(t, d.PID(0))
	var wait sync.WaitGroup
	for i := range 50 {
		wait.Go(func() {
			resp, err := u.Request(t.Context(), http.MethodGet, thumbnailPath(uris[i%len(uris)], "width=96&height=96&method=crop"), nil, nil)
			if err != nil || resp.Status != http.StatusRequestEntityTooLarge && resp.Status != http.StatusBadRequest {
				t.Errorf("a bomb: %v %s", err, resp)
			}
		})
	}
	wait.Wait()
	animation := u.MustUpload(t, "image/gif", "", long.Bytes())
	for range 10 {
		wait.Go(func() {
			resp, err := u.Request(t.Context(), http.MethodGet, thumbnailPath(animation, "width=96&height=96&method=crop&animated=true"), nil, nil)
			if err != nil || resp.Status != http.StatusOK || resp.Header.Get("Content-Type") == "image/gif" {
				t.Errorf("10,000 frames: %v %d %s, want a still picture", err, resp.Status, resp.Header.Get("Content-Type"))
			}
		})
	}
	wait.Wait()
	if more := most(); more > 200<<20 {
		t.Errorf("bombs cost %d MiB", more>>20)
	}
}

// SEC-74: without a token there is nothing.
func TestSEC74NothingWithoutAToken(t *testing.T) {
	t.Parallel()
	d, b := start(t, folder, nil)
	u := d.User(t, "alice")
	uri := u.MustUpload(t, "image/png", "", picture(t, 10, 10))
	for _, tc := range []struct {
		method, path string
		status       int
	}{
		{http.MethodGet, downloadPath(uri), 401}, {http.MethodHead, downloadPath(uri), 401}, {http.MethodGet, thumbnailPath(uri, "width=32&height=32"), 401},
		{http.MethodPost, uploadEndpoint, 401}, {http.MethodPost, "/_matrix/media/v1/create", 401}, {http.MethodPut, hstest.MediaPath(uploadEndpoint, uri), 401},
		{http.MethodGet, hstest.MediaPath("/_matrix/media/v3/download", uri), 404}, {http.MethodGet, hstest.MediaPath("/_matrix/media/r0/download", uri), 404},
		{http.MethodGet, hstest.MediaPath("/_matrix/media/v1/download", uri), 404}, {http.MethodDelete, deletePath(uri), 401},
		{http.MethodPost, hstest.MediaPath(copyEndpoint, uri), 401}, {http.MethodPost, restrictedUpload, 401},
		{http.MethodGet, "/_roomline/admin/v1/media/deletions", 401},
	} {
		resp, err := d.Do(t.Context(), 0, "", tc.method, tc.path, nil)
		if err != nil || resp.Status != tc.status {
			t.Errorf("%s %s: %v %s, want %d", tc.method, tc.path, err, resp, tc.status)
		}
	}
	// Media of other servers is fetched for nobody yet.
	wantError(t, "another server's", ask(t, u, http.MethodGet, downloadPath("mxc://elsewhere.test/abc")), http.StatusNotFound, "M_NOT_FOUND")
	b.mustHave(t, 1)
}

// endless yields zeros until it has been read to a bound; it counts them.
type endless struct{ read, bound int64 }

func (e *endless) Read(p []byte) (int, error) {
	if e.read >= e.bound {
		return 0, io.EOF
	}
	n := min(int64(len(p)), e.bound-e.read)
	e.read += n
	return int(n), nil
}

// SEC-75: a body is never held in memory, whatever its type, and one that is too long is not read to its end. LIM-03, too.
func TestSEC75BodiesAreNotBuffered(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, d *hstest.Deployment, b bucket) {
		u := d.User(t, "alice")
		most := watchMemory(t, d.PID(0))
		paths := []struct{ method, path string }{
			{http.MethodPost, uploadEndpoint}, {http.MethodPost, restrictedUpload}, {http.MethodPost, "/_matrix/client/unstable/org.matrix.msc3911/media/upload"},
			{http.MethodPut, hstest.MediaPath(uploadEndpoint, u.MustDo(t, http.MethodPost, "/_matrix/media/v1/create", nil).Get("content_uri").String())},
			{http.MethodPost, "/_matrix/media/v1/create"}, {http.MethodPost, hstest.MediaPath(copyEndpoint, "mxc://hs.test/abc")},
		}
		for _, contentType := range []string{"multipart/form-data; boundary=x", "Multipart/Form-Data; boundary=x", "application/x-www-form-urlencoded", "", "application/json"} {
			for _, p := range paths {
				body := &endless{bound: 1 << 30}
				// Of a claimed length, and of none.
				for _, length := range []int64{1 << 30, -1} {
					if length < 0 && contentType != "" {
						continue
					}
					req, err := http.NewRequestWithContext(t.Context(), p.method, d.BaseURL(0)+p.path, io.NopCloser(body))
					if err != nil {
						t.Fatal(err)
					}
					req.ContentLength = length
					req.Header.Set("Content-Type", contentType)
					req.Header.Set("Authorization", "Bearer "+u.AccessToken)
					req.Header.Set("Expect", "100-continue")
					status, err := statusOf(req)
					cut := length < 0 && err != nil // while it was sending
					if status != http.StatusRequestEntityTooLarge && !cut {
						t.Errorf("%s %s, %q, length %d: %d %v", p.method, p.path, contentType, length, status, err)
					}
					if length > 0 && body.read > 8<<20 {
						t.Errorf("%s %s: %d bytes of a body that is too long were taken", p.method, p.path, body.read)
					}
				}
			}
		}
		if more := most(); more > 100<<20 {
			t.Errorf("large bodies cost %d MiB", more>>20)
		}
		b.mustHave(t, 0)
		if n := number(t, d, "SELECT coalesce(sum(bytes) + sum(files), 0) FROM media_usage"); n != 0 {
			t.Errorf("refused uploads are still charged: %d", n)
		}
	})
}

// statusOf sends a request whose answer may come before its body has left.
func statusOf(req *http.Request) (int, error) {
	transport := &http.Transport{ExpectContinueTimeout: time.Minute, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	return resp.StatusCode, nil
}

// LIM-03: one byte more than the limit is refused, of known and of unknown length; the limit itself is taken.
func TestLIM03UploadsAreBounded(t *testing.T) {
	t.Parallel()
	const limit = 6 << 20
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, b := start(t, s, func(media map[string]any) { media["max_upload_size"] = limit })
			u := d.User(t, "alice")
			at := func(path string) func() string { return func() string { return path } }
			announced := func() string {
				return hstest.MediaPath(uploadEndpoint, u.MustDo(t, http.MethodPost, "/_matrix/media/v1/create", nil).Get("content_uri").String())
			}
			for _, to := range []struct {
				method string
				path   func() string
			}{{http.MethodPost, at(uploadEndpoint)}, {http.MethodPost, at(restrictedUpload)}, {http.MethodPut, announced}} {
				for _, chunked := range []bool{true, false} {
					send := func(size int64) hstest.Response {
						var body io.Reader = bytes.NewReader(make([]byte, size))
						if chunked {
							body = io.MultiReader(body) // of unknown length
						}
						resp, err := u.Request(t.Context(), to.method, to.path(), http.Header{"Content-Type": {"video/mp4"}}, body)
						if err != nil {
							return hstest.Response{Status: http.StatusRequestEntityTooLarge, Body: []byte(`{"errcode":"M_TOO_LARGE"}`)} // cut while sending
						}
						return resp
					}
					wantError(t, "too large", send(limit+1), http.StatusRequestEntityTooLarge, "M_TOO_LARGE")
					if resp := send(limit); resp.Status != http.StatusOK {
						t.Errorf("exactly the limit, chunked %v: %s", chunked, resp)
					}
				}
			}
			b.mustHave(t, 1)
		})
	}
}

// SEC-76: media of an organisation is no other organisation's, and what is quarantined is nobody's, on every process.
func TestSEC76MediaIsTheOrganisations(t *testing.T) {
	t.Parallel()
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, _ := startProcesses(t, 2, s, nil)
			owner, member, room := together(t, d)
			other := d.Organisation(t, "Other", "other.test")
			stranger := other.User(t, "stranger")
			file := picture(t, 40, 40)
			uri := member.MustUpload(t, "image/png", "", file)
			opaque := member.MustUpload(t, "application/octet-stream", "", []byte("ciphertext"))
			member.MustSend(t, room, "m.room.message", message("m.image", uri))
			member.MustSend(t, room, "m.room.encrypted", map[string]any{"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "x"})
			mustBePresumed(t, d, opaque)
			owner.MustSee(t, uri, file)
			for _, u := range []*hstest.User{stranger, stranger.On(1)} {
				u.MustNotSee(t, uri)
				u.MustNotSee(t, opaque)
				u.MustFail(t, http.StatusNotFound, "M_NOT_FOUND", http.MethodGet, thumbnailPath(uri, "width=32&height=32"), nil)
				u.MustFail(t, http.StatusNotFound, "M_NOT_FOUND", http.MethodDelete, deletePath(uri), nil)
				u.MustFail(t, http.StatusNotFound, "M_NOT_FOUND", http.MethodPost, hstest.MediaPath(copyEndpoint, uri), nil)
			}
			// Naming it gives no right to it.
			own := stranger.MustCreateRoom(t, nil)
			stranger.MustSend(t, own, "m.room.message", message("m.image", uri))
			setAvatar(t, stranger, uri)
			stranger.MustNotSee(t, uri)
			// A stranger who was invited, because the organisations are linked, sees it, and cannot copy it into another organisation.
			const links = "/_roomline/admin/v1/links"
			invite := map[string]any{"invite": true}
			link := d.Operator(t).MustDo(t, http.MethodPost, links, map[string]any{"domain": other.Domain, "gives": invite}).Get("link_id").String()
			other.Owner.MustDo(t, http.MethodPost, links+"/"+link+"/accept", map[string]any{"gives": invite})
			owner.MustInvite(t, room, stranger)
			stranger.MustJoin(t, room)
			member.MustSend(t, room, "m.room.message", message("m.image", uri))
			stranger.MustSee(t, uri, file)
			stranger.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", http.MethodPost, hstest.MediaPath(copyEndpoint, uri), nil)

			_, id, _ := strings.Cut(strings.TrimPrefix(uri, "mxc://"), "/")
			change(t, d, "UPDATE media SET quarantined_by = '@root:hs.test' WHERE media_id = $1", id)
			for i := range 2 {
				owner.On(i).MustNotSee(t, uri)
				member.On(i).MustNotSee(t, uri)
				member.On(i).MustFail(t, http.StatusNotFound, "M_NOT_FOUND", http.MethodGet, thumbnailPath(uri, "width=32&height=32"), nil)
			}
		})
	}
}

// LIM-12: quotas hold against uploads that race on two processes, known length or not, and what is deleted is free again.
func TestLIM12QuotasHold(t *testing.T) {
	t.Parallel()
	const quota, size = 4 << 20, 1 << 20
	for name, s := range stores(t) {
		for _, which := range []string{"user_quota", "organisation_quota"} {
			t.Run(name+"/"+which, func(t *testing.T) {
				t.Parallel()
				d, b := startProcesses(t, 2, s, func(media map[string]any) { media[which] = quota })
				u := d.User(t, "alice")
				var wait sync.WaitGroup
				var mu sync.Mutex
				var uris []string
				for i := range 10 {
					wait.Go(func() {
						file := bytes.Repeat([]byte{byte('a' + i)}, size)
						var body io.Reader = bytes.NewReader(file)
						if i%2 == 0 && which == "organisation_quota" {
							file = file[:len(file)-1]
							body = bytes.NewReader(file)
						}
						resp, err := u.On(i%2).Request(context.Background(), http.MethodPost, uploadEndpoint, http.Header{"Content-Type": {"video/mp4"}}, body)
						switch {
						case err != nil:
							t.Error(err)
						case resp.Status == http.StatusOK:
							mu.Lock()
							uris = append(uris, resp.JSON().Get("content_uri").String())
							mu.Unlock()
						default:
							wantError(t, "over the quota", resp, http.StatusForbidden, "M_USER_LIMIT_EXCEEDED")
							if !strings.HasPrefix(resp.JSON().Get("info_uri").String(), "http") {
								t.Errorf("no info_uri: %s", resp)
							}
						}
					})
				}
				wait.Wait()
				if len(uris) != quota/size {
					t.Errorf("%d uploads of 1 MiB are let through by a quota of 4", len(uris))
				}
				b.mustHave(t, len(uris))
				u.MustDo(t, http.MethodDelete, deletePath(uris[0]), nil)
				u.MustUpload(t, "video/mp4", "", make([]byte, size-100))
				wantError(t, "full again", upload(t, u, http.MethodPost, uploadEndpoint, "video/mp4", make([]byte, size/2)), http.StatusForbidden, "M_USER_LIMIT_EXCEEDED")
				b.mustHave(t, len(uris))
			})
		}
	}
}

func TestNumberOfFilesIsBounded(t *testing.T) {
	t.Parallel()
	d, b := start(t, folder, func(media map[string]any) { media["user_files"] = 2 })
	u := d.User(t, "alice")
	first := u.MustUpload(t, "text/plain", "", []byte("same"))
	u.MustUpload(t, "text/plain", "", []byte("same"))
	wantError(t, "a third", upload(t, u, http.MethodPost, uploadEndpoint, "text/plain", []byte("other")), http.StatusForbidden, "M_USER_LIMIT_EXCEEDED")
	wantError(t, "a copy", ask(t, u, http.MethodPost, hstest.MediaPath(copyEndpoint, first)), http.StatusForbidden, "M_USER_LIMIT_EXCEEDED")
	u.MustDo(t, http.MethodDelete, deletePath(first), nil)
	u.MustUpload(t, "text/plain", "", []byte("other"))
	b.mustHave(t, 2)
}

// A body that is shorter than it said, or that stops, leaves nothing; a body of unknown length is as good as another.
func TestBodiesThatEndEarly(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, d *hstest.Deployment, b bucket) {
		u := d.User(t, "alice")
		for _, length := range []string{"Content-Length: 8000000\r\n", "Transfer-Encoding: chunked\r\n"} {
			for _, part := range []int{0, 100, 6 << 20} {
				conn, err := net.Dial("tcp", strings.TrimPrefix(d.BaseURL(0), "http://"))
				if err != nil {
					t.Fatal(err)
				}
				chunk := string(make([]byte, part))
				if strings.HasPrefix(length, "Transfer") && part > 0 {
					chunk = fmt.Sprintf("%x\r\n%s\r\n", part, chunk)
				}
				if _, err := io.WriteString(conn, "POST "+uploadEndpoint+" HTTP/1.1\r\nHost: hs.test\r\nAuthorization: Bearer "+u.AccessToken+"\r\n"+length+"\r\n"+chunk); err != nil {
					t.Fatal(err)
				}
				noted := func() int64 { return number(t, d, "SELECT count(*) FROM media_objects") }
				hstest.Eventually(t, "the upload is noted before its bytes come", func() bool { return noted() > 0 })
				conn.Close()
				hstest.Eventually(t, "what was given up is forgotten", func() bool { return noted() == 0 })
				b.mustHave(t, 0)
			}
		}
		if n := number(t, d, "SELECT (SELECT count(*) FROM media) + coalesce(sum(bytes) + sum(files), 0) FROM media_usage"); n != 0 {
			t.Errorf("uploads that broke off left media or charges: %d", n)
		}
		file := bytes.Repeat([]byte("0123456789"), 1_100_000)
		resp, err := u.Request(t.Context(), http.MethodPost, uploadEndpoint, http.Header{"Content-Type": {"video/mp4"}}, io.MultiReader(bytes.NewReader(file)))
		if err != nil || resp.Status != http.StatusOK {
			t.Fatalf("a chunked upload: %v %s", err, resp)
		}
		u.MustSee(t, resp.JSON().Get("content_uri").String(), file)
		if n := number(t, d, "SELECT bytes FROM media_usage WHERE owner = $1", u.ID); n != int64(len(file)) {
			t.Errorf("a chunked upload of %d bytes is charged with %d", len(file), n)
		}
		b.mustHave(t, 1)
	})
}
