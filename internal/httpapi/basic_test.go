package httpapi

import (
	"context"
	"encoding/base64"
	"io"
	"log/slog"
	"net/http/httptest"
	"testing"

	"github.com/roomline/roomline/internal/matrix"
)

// appPasswords stands for the app passwords, which tests here cannot import.
type appPasswords struct{}

func (appPasswords) AuthenticatePassword(_ context.Context, user, password string) (*Requester, error) {
	if user != "alice" || password != "right" {
		return nil, matrix.NewError(401, matrix.ErrUnauthorized, "wrong")
	}
	return &Requester{User: "@alice:hs1"}, nil
}

func basic(user, password string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func TestAppPasswordsAreAskedForAndChecked(t *testing.T) {
	t.Parallel()
	s := &site{t: t, log: new(lockedBuffer)}
	s.Server = httptest.NewServer(New(Config{
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Auth: people, AppPasswords: appPasswords{},
	}, []Route{
		{Method: MethodPropfind, Path: "/dav", Auth: AppPassword, AnyBody: true, Handle: func(_ context.Context, c *Call) (any, error) {
			return Status{207, Content{"application/xml", []byte("<user>" + string(c.Requester.User) + string(c.Body) + "</user>")}}, nil
		}},
		{Method: "OPTIONS", Path: "/dav", Handle: func(_ context.Context, c *Call) (any, error) {
			c.W.Header().Set("DAV", "1")
			c.W.WriteHeader(204)
			return nil, nil
		}},
	}))
	t.Cleanup(s.Close)
	for _, header := range []string{"X-None: 1", basic("alice", "wrong"), basic("bob", "right"), "Authorization: Bearer alice", "Authorization: Basic !"} {
		a := s.send("PROPFIND", "/dav", "", header)
		a.wants(t, 401, matrix.ErrUnauthorized)
		if got := a.Header.Get("WWW-Authenticate"); got != `Basic realm="Roomline", charset="UTF-8"` {
			t.Errorf("%s: WWW-Authenticate is %q", header, got)
		}
	}
	a := s.send("PROPFIND", "/dav", "<x/>", basic("alice", "right"))
	if a.StatusCode != 207 || a.text != "<user>@alice:hs1<x/></user>" || a.Header.Get("Content-Type") != "application/xml" {
		t.Errorf("the right password: %d %s %s", a.StatusCode, a.Header.Get("Content-Type"), a.text)
	}
	if a := s.send("OPTIONS", "/dav", ""); a.Header.Get("DAV") != "1" {
		t.Errorf("OPTIONS is answered without the route's handler: %v", a.Header)
	}
	if a := s.send("OPTIONS", "/dav", "", "Access-Control-Request-Method: PROPFIND"); a.Header.Get("DAV") != "" || a.Header.Get("Access-Control-Max-Age") == "" {
		t.Errorf("a preflight is answered by the route's handler: %v", a.Header)
	}
	if a := s.send("GET", "/dav", "", basic("alice", "right")); a.StatusCode != 405 || a.Header.Get("Allow") != "OPTIONS, PROPFIND" {
		t.Errorf("GET: %d, Allow %q", a.StatusCode, a.Header.Get("Allow"))
	}
}
