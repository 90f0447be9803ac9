// Package preview fetches a page and says in a few words what it is: OpenGraph with what stands in for it (Twitter cards, title and
// description), oEmbed by its discovery link, and one picture.
//
// Spec: client-server v1.19 §content-repository
//
// A stranger chooses the URL, and the page chooses the next ones. Each of them, of a page, its redirects, its oEmbed and its
// picture, goes through one function (get), which asks Config.Allowed and lets the client judge the address that it connects to. All
// is bounded: bytes after decompression, redirects, and time for everything together. Pages are read as a stream of tokens without
// a tree, so that nesting costs nothing. What cannot be reached, must not be reached and does not exist is the same error, so that
// nobody can find out with it what there is in the operator's network.
//
// Start reading at Fetch.
package preview

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/html/charset"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/mediaapi/thumbnail"
)

// Config of a Fetcher. Client must be set.
type Config struct {
	// Client decides which addresses may be connected to (internal/outbound). Its redirects are not used.
	Client *http.Client
	// Allowed decides about each URL before it is asked for; nil allows all.
	Allowed func(*url.URL) bool
	// Ports may be asked; none means all.
	Ports []uint16
	// UserAgent, and AcceptLanguage when the client wants no language.
	UserAgent, AcceptLanguage string
	// Timeout bounds one preview; limits.PreviewTime if zero.
	Timeout time.Duration
	// Now is the clock; time.Now if nil.
	Now func() time.Time
}

// Preview is what is told about a URL.
type Preview struct {
	// Properties are og:* as strings, but og:image:width, og:image:height and matrix:image:size as int. og:image is missing: who keeps
	// the picture knows its URI.
	Properties map[string]any
	// Image is nil if there is none.
	Image *Image
	// Expires is when to ask again.
	Expires time.Time
}

// Image is a picture that the page chose: a JPEG, PNG, GIF or WebP by its first bytes.
type Image struct {
	ContentType   string
	Data          []byte
	Width, Height int
}

// Fetcher makes previews. It is safe for concurrent use.
type Fetcher struct {
	cfg    Config
	client *http.Client
	places chan struct{}
}

// New returns a Fetcher.
func New(cfg Config) *Fetcher {
	if cfg.Timeout == 0 {
		cfg.Timeout = limits.PreviewTime
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	client := *cfg.Client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	client.Jar = nil
	return &Fetcher{cfg: cfg, client: &client, places: make(chan struct{}, limits.PreviewParallel)}
}

// noPreview is the one answer about all that did not work.
func noPreview() error { return matrix.NotFound("there is no preview of this URL") }

// Fetch makes a preview of a URL. acceptLanguage is what the client wants to be told, or empty. Errors are *matrix.Error: 400 for
// what is no URL of the web, 404 for everything that did not work, 503 if too many others are waiting; or the context's.
func (f *Fetcher) Fetch(ctx context.Context, raw, acceptLanguage string) (Preview, error) {
	u, err := parseURL(raw)
	if err != nil {
		return Preview{}, err
	}
	whole, cancel := context.WithTimeout(ctx, f.cfg.Timeout)
	defer cancel()
	select {
	case f.places <- struct{}{}:
		defer func() { <-f.places }()
	case <-whole.Done():
		if ctx.Err() != nil {
			return Preview{}, ctx.Err()
		}
		return Preview{}, matrix.Unavailable(f.cfg.Timeout)
	}
	v := visit{f, whole, f.language(acceptLanguage)}
	p, err := v.preview(u)
	if err != nil && ctx.Err() != nil {
		return Preview{}, ctx.Err()
	}
	if err != nil {
		return Preview{}, noPreview()
	}
	return p, nil
}

// Within returns a fetcher that asks only for what allowed lets through, too. Both wait in one queue.
func (f *Fetcher) Within(allowed func(*url.URL) bool) *Fetcher {
	g, before := *f, f.cfg.Allowed
	g.cfg.Allowed = func(u *url.URL) bool { return (before == nil || before(u)) && allowed(u) }
	return &g
}

// language is what to send as Accept-Language: the client's wish if it looks like one.
func (f *Fetcher) language(wish string) string {
	odd := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-,;=.* ", r))
	}
	if wish == "" || len(wish) > limits.PreviewLanguage || strings.ContainsFunc(wish, odd) {
		return f.cfg.AcceptLanguage
	}
	return wish
}

// parseURL reads what the client sent.
func parseURL(raw string) (*url.URL, error) {
	if len(raw) > limits.PreviewURL {
		return nil, matrix.InvalidParam("url is longer than %d bytes", limits.PreviewURL)
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, matrix.InvalidParam("url is not a URL")
	}
	if err := ofTheWeb(u); err != nil {
		return nil, matrix.InvalidParam("url %s", err.Error())
	}
	u.Fragment, u.RawFragment = "", ""
	return u, nil
}

// ofTheWeb says what is wrong with a URL, whoever chose it.
func ofTheWeb(u *url.URL) error {
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return errors.New("must begin with http:// or https://")
	case u.Opaque != "" || u.Hostname() == "":
		return errors.New("has no host")
	case u.User != nil:
		return errors.New("must not carry a user name")
	}
	if text := u.Port(); text != "" || strings.HasSuffix(u.Host, ":") {
		if n, err := strconv.ParseUint(text, 10, 16); err != nil || n == 0 {
			return errors.New("has a wrong port")
		}
	}
	return nil
}

// visit is the work for one preview.
type visit struct {
	*Fetcher
	ctx      context.Context
	language string
}

// get asks for a URL, follows redirects, and returns an answer of status 200 with the URL that gave it.
func (v visit) get(u *url.URL, accept string) (*http.Response, *url.URL, error) {
	for range limits.PreviewRedirects + 1 {
		if err := v.mayAsk(u); err != nil {
			return nil, nil, err
		}
		req, err := http.NewRequestWithContext(v.ctx, http.MethodGet, u.String(), nil)
		if err != nil {
			return nil, nil, err
		}
		// No Accept-Encoding: the transport asks for gzip and undoes it, and what it undid is what is counted.
		req.Header.Set("Accept", accept)
		req.Header.Set("User-Agent", v.cfg.UserAgent)
		if v.language != "" {
			req.Header.Set("Accept-Language", v.language)
		}
		resp, err := v.client.Do(req)
		if err != nil {
			return nil, nil, err
		}
		if resp.StatusCode == http.StatusOK {
			return resp, u, nil
		}
		resp.Body.Close()
		switch resp.StatusCode {
		case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		default:
			return nil, nil, fmt.Errorf("status %d", resp.StatusCode)
		}
		if u, err = u.Parse(resp.Header.Get("Location")); err != nil {
			return nil, nil, err
		}
		u.Fragment, u.RawFragment = "", ""
	}
	return nil, nil, errors.New("too many redirects")
}

// mayAsk judges each URL before it is asked for. Its address is judged by the client.
func (v visit) mayAsk(u *url.URL) error {
	if err := ofTheWeb(u); err != nil {
		return err
	}
	if len(u.String()) > limits.PreviewURL {
		return errors.New("the URL is too long")
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || len(v.cfg.Ports) > 0 && !slices.Contains(v.cfg.Ports, uint16(n)) {
		return errors.New("the port is not allowed")
	}
	if v.cfg.Allowed != nil && !v.cfg.Allowed(u) {
		return errors.New("the URL is not allowed")
	}
	return nil
}

const acceptPages = "text/html,application/xhtml+xml,image/*;q=0.9,*/*;q=0.5"

// preview fetches a page, or what else there is.
func (v visit) preview(u *url.URL) (Preview, error) {
	resp, u, err := v.get(u, acceptPages)
	if err != nil {
		return Preview{}, err
	}
	defer resp.Body.Close()
	p := Preview{Properties: map[string]any{}, Expires: expires(resp.Header, v.cfg.Now())}
	declared := resp.Header.Get("Content-Type")
	body := io.Reader(resp.Body)
	if declared == "" {
		head := make([]byte, 512)
		n, _ := io.ReadFull(body, head)
		declared = http.DetectContentType(head[:n])
		body = io.MultiReader(bytes.NewReader(head[:n]), body)
	}
	kind, _, _ := mime.ParseMediaType(declared)
	group, _, _ := strings.Cut(kind, "/")
	p.set("og:url", u.String(), limits.PreviewURL)
	switch {
	case kind == "text/html" || kind == "application/xhtml+xml":
		err = v.page(&p, u, body, declared)
	case group == "image":
		p.set("og:title", fileName(u), limits.PreviewTitle)
		p.setImage(readImage(body, resp.ContentLength))
	case group == "video", group == "audio":
		p.set("og:title", fileName(u), limits.PreviewTitle)
		p.set("og:type", map[string]string{"video": "video.other", "audio": "music.song"}[group], limits.PreviewName)
		p.set("og:"+group+":type", kind, limits.PreviewName)
	case group == "text":
		p.set("og:title", fileName(u), limits.PreviewTitle)
		p.set("og:description", beginning(body, declared), limits.PreviewText)
	default:
		p.set("og:title", fileName(u), limits.PreviewTitle)
	}
	return p, err
}

// page reads a page and fetches what it points to.
func (v visit) page(p *Preview, u *url.URL, body io.Reader, declared string) error {
	text, err := charset.NewReader(io.LimitReader(body, limits.PreviewPage), declared)
	if err != nil && err != io.EOF {
		return err
	}
	found := page{}
	if err == nil {
		found = readPage(text)
	}
	if v.ctx.Err() != nil {
		return v.ctx.Err() // the rest was not seen
	}
	base := found.base(u)
	if found.first("og:title") == "" || found.image() == "" {
		if link := resolve(base, found.oembed); link != nil {
			v.oEmbed(&found, link)
		}
	}
	p.set("og:title", found.first("og:title", "twitter:title", "title"), limits.PreviewTitle)
	p.set("og:description", found.first("og:description", "twitter:description", "description"), limits.PreviewText)
	p.set("og:site_name", found.first("og:site_name"), limits.PreviewName)
	p.set("og:type", found.first("og:type"), limits.PreviewName)
	if own := resolve(base, found.first("og:url")); own != nil && len(own.String()) <= limits.PreviewURL {
		p.set("og:url", own.String(), limits.PreviewURL)
	}
	if link := resolve(base, found.image()); link != nil {
		if resp, _, err := v.get(link, "image/*"); err == nil {
			defer resp.Body.Close()
			p.setImage(readImage(resp.Body, resp.ContentLength))
			if p.Image != nil {
				p.set("og:image:alt", found.first("og:image:alt", "twitter:image:alt"), limits.PreviewTitle)
			}
		}
	}
	return nil
}

// resolve makes a link of a page absolute; nil if it is none, or does not lead into the web.
func resolve(base *url.URL, link string) *url.URL {
	if link == "" {
		return nil
	}
	u, err := base.Parse(link)
	if err != nil || ofTheWeb(u) != nil {
		return nil
	}
	return u
}

// set keeps a property that says something.
func (p *Preview) set(name, value string, most int) {
	if value = clean(value, most); value != "" {
		p.Properties[name] = value
	}
}

// setImage keeps a picture if it is one.
func (p *Preview) setImage(data []byte) {
	info, ok := thumbnail.Inspect(data)
	if !ok || info.Width <= 0 || info.Height <= 0 {
		return
	}
	p.Image = &Image{ContentType: info.ContentType, Data: data, Width: info.Width, Height: info.Height}
	p.Properties["og:image:type"] = info.ContentType
	p.Properties["og:image:width"] = info.Width
	p.Properties["og:image:height"] = info.Height
	p.Properties["matrix:image:size"] = len(data)
}

// readImage reads a picture of a bounded size, whole or not at all. length is what the answer announced, or -1. What does not begin
// like a picture is not read on.
func readImage(r io.Reader, length int64) []byte {
	if length > limits.PreviewImage {
		return nil
	}
	var data []byte
	for _, size := range []int{64 << 10, limits.ThumbnailHeader, limits.PreviewImage + 1} {
		larger := make([]byte, size)
		n := copy(larger, data)
		m, err := io.ReadFull(r, larger[n:])
		data = larger[:n+m]
		switch _, ok := thumbnail.Inspect(data); {
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			return data
		case err != nil, !ok && size >= limits.ThumbnailHeader:
			return nil
		}
	}
	return nil
}

// beginning is the first paragraph or two of a text.
func beginning(r io.Reader, declared string) string {
	text, err := charset.NewReader(io.LimitReader(r, 4*limits.PreviewText), declared)
	if err != nil {
		return ""
	}
	all, _ := io.ReadAll(text)
	return string(all)
}

// fileName is the last part of a path, or the host.
func fileName(u *url.URL) string {
	if name := path.Base(u.Path); name != "/" && name != "." {
		return name
	}
	return u.Host
}

// expires is when the page wants to be asked again, within bounds.
func expires(header http.Header, now time.Time) time.Time {
	kept := time.Duration(limits.PreviewKept)
	for directive := range strings.SplitSeq(strings.Join(header.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(directive)), "=")
		switch name {
		case "no-store", "no-cache":
			return now.Add(limits.PreviewKeptMin)
		case "max-age":
			if seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); err == nil {
				kept = time.Duration(seconds) * time.Second
			}
		}
	}
	return now.Add(min(max(kept, limits.PreviewKeptMin), limits.PreviewKeptMax))
}
