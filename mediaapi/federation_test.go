package mediaapi

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestOtherServersGetTwoParts(t *testing.T) {
	t.Parallel()
	file := []byte("bytes\r\n--that look like a boundary")
	w := httptest.NewRecorder()
	what := content{size: int64(len(file)), contentType: "text/plain", disposition: `attachment; filename="a.txt"`}
	if err := writeParts(w, restrictions{EventID: "$event"}, what, bytes.NewReader(file)); err != nil {
		t.Fatal(err)
	}
	kind, parameters, err := mime.ParseMediaType(w.Header().Get("Content-Type"))
	if err != nil || kind != "multipart/mixed" {
		t.Fatalf("content type %q, %v", w.Header().Get("Content-Type"), err)
	}
	parts := multipart.NewReader(w.Body, parameters["boundary"])
	for _, want := range []struct{ contentType, disposition, body string }{
		{"application/json", "", `{"restrictions":{"event_id":"$event"}}` + "\n"},
		{"text/plain", what.disposition, string(file)},
	} {
		p, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(p)
		if err != nil || string(body) != want.body || p.Header.Get("Content-Type") != want.contentType || p.Header.Get("Content-Disposition") != want.disposition {
			t.Errorf("part %v %q, %v", p.Header, body, err)
		}
	}
	if _, err := parts.NextPart(); err != io.EOF {
		t.Errorf("after the second part: %v", err)
	}
}

// A store that breaks off must not look like a short file.
func TestOtherServersNoticeABrokenStore(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	err := writeParts(w, restrictions{}, content{size: 10, contentType: "text/plain"}, strings.NewReader("short"))
	if !errors.Is(err, io.ErrUnexpectedEOF) || strings.Contains(w.Body.String(), "--\r\n") {
		t.Errorf("%v after %q", err, w.Body)
	}
}
