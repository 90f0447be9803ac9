package hstest

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// Request sends a request with headers of the test's choice; the body may be anything, of known length if it is a *bytes.Reader or the
// like. The answer's body is read.
func (u *User) Request(ctx context.Context, method, path string, header http.Header, body io.Reader) (Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, u.BaseURL()+path, body)
	if err != nil {
		return Response{}, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	if u.AccessToken != "" {
		req.Header.Set("Authorization", "Bearer "+u.AccessToken)
	}
	client := *u.dep.client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := client.Do(req)
	if err != nil {
		return Response{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return Response{Status: resp.StatusCode, Header: resp.Header, Body: text}, err
}

// MustUpload uploads a file and returns its mxc:// URI. query is added to the path, such as "filename=a.txt".
func (u *User) MustUpload(t testing.TB, contentType, query string, file []byte) string {
	t.Helper()
	return u.MustUploadAt(t, "/_matrix/media/v3/upload?"+query, contentType, file)
}

// MustUploadAt is MustUpload through another endpoint.
func (u *User) MustUploadAt(t testing.TB, path, contentType string, file []byte) string {
	t.Helper()
	resp, err := u.Request(t.Context(), http.MethodPost, path, http.Header{"Content-Type": {contentType}}, bytes.NewReader(file))
	if err != nil {
		t.Fatalf("hstest: upload: %v", err)
	}
	uri := resp.JSON().Get("content_uri").String()
	if resp.Status != http.StatusOK || !strings.HasPrefix(uri, "mxc://") {
		t.Fatalf("hstest: upload: %v", resp)
	}
	return uri
}

// MediaPath is the path of an endpoint that takes a URI: "/_matrix/client/v1/media/download" and the URI's halves.
func MediaPath(endpoint, uri string) string {
	server, id, _ := strings.Cut(strings.TrimPrefix(uri, "mxc://"), "/")
	return endpoint + "/" + url.PathEscape(server) + "/" + url.PathEscape(id)
}

// Download asks for a file by its URI.
func (u *User) Download(t testing.TB, uri string) Response {
	t.Helper()
	// What is not there is not waited for.
	resp, err := u.Request(t.Context(), http.MethodGet, MediaPath("/_matrix/client/v1/media/download", uri)+"?timeout_ms=0", nil, nil)
	if err != nil {
		t.Fatalf("hstest: download %s: %v", uri, err)
	}
	return resp
}

// MustSee downloads a file and compares it.
func (u *User) MustSee(t testing.TB, uri string, file []byte) {
	t.Helper()
	if resp := u.Download(t, uri); resp.Status != http.StatusOK || !bytes.Equal(resp.Body, file) {
		t.Fatalf("hstest: %s downloads %s: status %d, %d bytes, want 200 and %d bytes", u.ID, uri, resp.Status, len(resp.Body), len(file))
	}
}

// MustNotSee makes sure that a file is not there for the user.
func (u *User) MustNotSee(t testing.TB, uri string) {
	t.Helper()
	if resp := u.Download(t, uri); resp.Status != http.StatusNotFound || resp.ErrCode() != "M_NOT_FOUND" {
		t.Fatalf("hstest: %s downloads %s: status %d, want 404 M_NOT_FOUND", u.ID, uri, resp.Status)
	}
}
