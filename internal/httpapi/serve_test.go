package httpapi

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
)

func TestAccessTokens(t *testing.T) {
	t.Parallel()
	who := func(_ context.Context, c *Call) (any, error) {
		if c.Requester == nil {
			return map[string]any{"user": "nobody"}, nil
		}
		return map[string]any{"user": c.Requester.User}, nil
	}
	s := newSite(t,
		Route{Method: "GET", Path: "/none", Auth: NoAuth, Handle: who},
		Route{Method: "GET", Path: "/must", Auth: AccessToken, Handle: who},
		Route{Method: "GET", Path: "/may", Auth: OptionalToken, Handle: who},
		Route{Method: "GET", Path: "/as", Auth: AppserviceToken, Handle: who},
	)
	tests := []struct {
		target, header string
		status         int
		code           matrix.ErrCode
		user           string
	}{
		{"/must", "Bearer alice", 200, "", "@alice:hs1"},
		{"/must", "bearer  alice ", 200, "", "@alice:hs1"},
		{"/must?access_token=alice", "", 200, "", "@alice:hs1"},
		{"/must?a=b&access%5Ftoken=%61lice", "", 200, "", "@alice:hs1"},
		{"/must?access_token=wrong", "Bearer alice", 200, "", "@alice:hs1"},
		{"/must", "", 401, matrix.ErrMissingToken, ""},
		{"/must", "Bearer ", 401, matrix.ErrMissingToken, ""},
		{"/must", "Basic alice", 401, matrix.ErrMissingToken, ""},
		{"/must", "Bearer wrong", 401, matrix.ErrUnknownToken, ""},
		{"/must", "Bearer " + strings.Repeat("x", limits.AccessToken+1), 401, matrix.ErrUnknownToken, ""},
		{"/must", "Bearer database-away", 503, matrix.ErrUnknown, ""},
		{"/may", "", 200, "", "nobody"},
		{"/may", "Bearer alice", 200, "", "@alice:hs1"},
		{"/may", "Bearer wrong", 401, matrix.ErrUnknownToken, ""},
		{"/none", "Bearer wrong", 200, "", "nobody"},
		{"/as", "Bearer alice", 403, matrix.ErrForbidden, ""},
		{"/as", "Bearer irc", 200, "", "@irc:hs1"},
	}
	for _, tt := range tests {
		var headers []string
		if tt.header != "" {
			headers = append(headers, "Authorization: "+tt.header)
		}
		a := s.send("GET", tt.target, "", headers...)
		a.wants(t, tt.status, tt.code)
		if user, _ := a.body["user"].(string); user != tt.user {
			t.Errorf("%s with %.20q: user %q, want %q", tt.target, tt.header, user, tt.user)
		}
	}
	if strings.Contains(s.log.String(), "alice") || strings.Contains(s.log.String(), "wrong") {
		t.Errorf("a token was logged: %s", s.log)
	}
}

type nameRequest struct {
	Name  string `json:"name"`
	Limit int    `json:"limit"`
}

func bodyRoutes() []Route {
	f := func(_ context.Context, _ *Call, req *nameRequest) (any, error) { return req, nil }
	return []Route{
		{Method: "POST", Path: "/must", Handle: JSON(f)},
		{Method: "POST", Path: "/may", Handle: OptionalJSON(f)},
		{Method: "PUT", Path: "/raw", Handle: func(_ context.Context, c *Call) (any, error) { return Raw(c.Body), nil }},
		{Method: "PUT", Path: "/small", MaxBody: 10, Handle: func(_ context.Context, c *Call) (any, error) { return Raw(c.Body), nil }},
		{Method: "POST", Path: "/upload", AnyBody: true, Handle: func(_ context.Context, c *Call) (any, error) {
			return map[string]int{"size": len(c.Body)}, nil
		}},
		{Method: "DELETE", Path: "/thing", Handle: func(context.Context, *Call) (any, error) { return nil, nil }},
	}
}

func TestBodies(t *testing.T) {
	t.Parallel()
	s := newSite(t, bodyRoutes()...)
	tests := []struct {
		method, target, body string
		status               int
		code                 matrix.ErrCode
		text                 string
	}{
		{"POST", "/must", `{"name":"x","limit":3}`, 200, "", `{"name":"x","limit":3}`},
		{"POST", "/must", ``, 400, matrix.ErrNotJSON, ""},
		{"POST", "/must", `  `, 400, matrix.ErrNotJSON, ""},
		{"POST", "/must", `null`, 400, matrix.ErrBadJSON, ""},
		{"POST", "/must", `[]`, 400, matrix.ErrBadJSON, ""},
		{"POST", "/must", `{"name":`, 400, matrix.ErrNotJSON, ""},
		{"POST", "/must", `{"name":1}`, 400, matrix.ErrBadJSON, "name"},
		{"POST", "/must", `{"Name":"x"}`, 400, matrix.ErrBadJSON, "Name"},
		{"POST", "/must", `{"name":"x","name":"x"}`, 400, matrix.ErrBadJSON, "name"},
		{"POST", "/must", `{"limit":9007199254740993}`, 400, matrix.ErrBadJSON, ""},
		{"POST", "/must", `{"name":"\u0000"}`, 400, matrix.ErrBadJSON, ""},
		{"POST", "/must", "{\"name\":\"\xff\"}", 400, matrix.ErrNotJSON, ""},
		{"POST", "/must", strings.Repeat("[", 100_000), 400, matrix.ErrBadJSON, "nested"},
		{"POST", "/may", ``, 200, "", `{"name":"","limit":0}`},
		{"POST", "/may", "\r\n", 200, "", `{"name":"","limit":0}`},
		{"POST", "/may", `{"name":"<&>"}`, 200, "", `{"name":"<&>","limit":0}`},
		{"PUT", "/raw", ` {"a": 1.5} `, 200, "", `{"a": 1.5}`},
		{"PUT", "/raw", `nonsense`, 400, matrix.ErrNotJSON, ""},
		{"PUT", "/small", `{"a":1234}`, 200, "", `{"a":1234}`},
		{"PUT", "/small", `{"a":12345}`, 413, matrix.ErrTooLarge, ""},
		{"POST", "/upload", "\x00\xff", 200, "", `{"size":2}`},
		{"POST", "/upload", strings.Repeat("x", limits.DefaultBody), 200, "", `{"size":262144}`},
		{"POST", "/upload", strings.Repeat("x", limits.DefaultBody+1), 413, matrix.ErrTooLarge, ""},
		{"DELETE", "/thing", ``, 200, "", `{}`},
		{"DELETE", "/thing", `{}`, 200, "", `{}`},
	}
	for _, tt := range tests {
		a := s.send(tt.method, tt.target, tt.body)
		a.wants(t, tt.status, tt.code)
		if !strings.Contains(a.text, tt.text) {
			t.Errorf("%s %.40s: %s, want %s", tt.target, tt.body, a.text, tt.text)
		}
	}
}

func TestABodyOfUnknownLengthIsCappedToo(t *testing.T) {
	t.Parallel()
	s := newSite(t, bodyRoutes()...)
	chunked := func(n int) string { return fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", n, strings.Repeat(" ", n)) }
	for n, status := range map[int]int{10: 200, 11: 413} {
		conn, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "PUT /small HTTP/1.1\r\nHost: hs1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n%s", chunked(n))
		if a := readAnswer(t, conn, "PUT"); a.StatusCode != status {
			t.Errorf("%d bytes: %d, want %d", n, a.StatusCode, status)
		}
		conn.Close()
	}
}

func TestTooLargeIsAnsweredBeforeTheBodyIsSent(t *testing.T) {
	t.Parallel()
	s := newSite(t, bodyRoutes()...)
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "PUT /small HTTP/1.1\r\nHost: hs1\r\nContent-Length: 1000000\r\n\r\n")
	readAnswer(t, conn, "PUT").wants(t, 413, matrix.ErrTooLarge)
}

func TestQueries(t *testing.T) {
	t.Parallel()
	s := newSite(t, Route{Method: "GET", Path: "/q", Handle: func(_ context.Context, c *Call) (any, error) {
		n, err := c.QueryInt("limit", 10, 1, 100)
		if err != nil {
			return nil, err
		}
		return map[string]any{"limit": strconv.Itoa(n), "from": c.Query("from"), "has": c.HasQuery("from"), "full": c.QueryBool("full_state"), "via": c.QueryAll("via")}, nil
	}})
	plain := map[string]any{"limit": "10", "from": "", "has": false, "full": false, "via": nil}
	for query, change := range map[string]map[string]any{
		"":                              {},
		"from=s1&full_state=true":       {"from": "s1", "has": true, "full": true},
		"from=&full_state=1":            {"has": true},
		"from=a%26b%3D+c%F0%9F%98%80":   {"from": "a&b= c😀", "has": true},
		"fr%6Fm=x&from=y":               {"from": "x", "has": true},
		"from=a;b":                      {"from": "a;b", "has": true},
		"limit=50":                      {"limit": "50"},
		"limit=0":                       {"limit": "1"},
		"limit=1000":                    {"limit": "100"},
		"limit=99999999999999999999999": {"limit": "100"},
	} {
		want := maps.Clone(plain)
		maps.Copy(want, change)
		a := s.send("GET", "/q?"+query, "")
		a.wants(t, 200, "")
		if !maps.Equal(a.body, want) {
			t.Errorf("%s: %v, want %v", query, a.body, want)
		}
	}
	via, _ := s.send("GET", "/q?via=a&x=y&via=b%3A1", "").body["via"].([]any)
	if !slices.Equal(via, []any{"a", "b:1"}) {
		t.Errorf("via = %v", via)
	}
	for _, query := range []string{"limit=-1", "limit=x", "limit=1.5", "limit=+1", "limit=%201", "from=%00", "from=%ff", "from=%zz", "x%00=1"} {
		s.send("GET", "/q?"+query, "").wants(t, 400, matrix.ErrInvalidParam)
	}
	s.send("GET", "/q?from="+strings.Repeat("x", limits.Query), "").wants(t, 414, matrix.ErrTooLarge)
}

func TestPathIdentifiersAreParsedAndNamed(t *testing.T) {
	t.Parallel()
	s := newSite(t, Route{Method: "GET", Path: "/{u}/{r}/{e}/{a}", Handle: func(_ context.Context, c *Call) (any, error) {
		u, err1 := c.UserID("u")
		r, err2 := c.RoomID("r")
		e, err3 := c.EventID("e")
		a, err4 := c.Alias("a")
		return []string{string(u), string(r), string(e), string(a)}, cmpOr(err1, err2, err3, err4)
	}})
	if a := s.send("GET", "/@a:hs1/!r:hs1/$e:hs1/%23a:hs1", ""); a.text != `["@a:hs1","!r:hs1","$e:hs1","#a:hs1"]` {
		t.Errorf("%d %s", a.StatusCode, a.text)
	}
	for target, name := range map[string]string{
		"/a/!r:hs1/$e:hs1/%23a:hs1": "u: ", "/@a:hs1/r/$e:hs1/%23a:hs1": "r: ", "/@a:hs1/!r:hs1/e/%23a:hs1": "e: ", "/@a:hs1/!r:hs1/$e:hs1/a": "a: ",
	} {
		a := s.send("GET", target, "")
		a.wants(t, 400, matrix.ErrInvalidParam)
		if msg, _ := a.body["error"].(string); !strings.HasPrefix(msg, name) {
			t.Errorf("%s: %s", target, msg)
		}
	}
}

func cmpOr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// countingLimiter refuses a key after its first request.
type countingLimiter struct {
	mu   sync.Mutex
	seen map[string]bool
	keys []string
}

func (l *countingLimiter) Admit(_ context.Context, class string, who *Requester, key string) (time.Duration, error) {
	if who != nil {
		key = string(who.User)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if class == "broken" {
		return 0, unavailable{}
	}
	id := class + " " + key
	l.keys = append(l.keys, id)
	if l.seen[id] {
		return 3 * time.Second, nil
	}
	l.seen[id] = true
	return 0, nil
}

func TestRateLimitsCountUsersAndOtherwiseAddresses(t *testing.T) {
	t.Parallel()
	l := &countingLimiter{seen: map[string]bool{}}
	s := newLimitedSite(t, l,
		Route{Method: "GET", Path: "/login", Limit: "login", Handle: echo()},
		Route{Method: "GET", Path: "/send", Limit: "send", Auth: AccessToken, Handle: echo()},
		Route{Method: "GET", Path: "/free", Handle: echo()},
		Route{Method: "GET", Path: "/broken", Limit: "broken", Handle: echo()},
	)
	for _, target := range []string{"/login", "/send?access_token=alice"} {
		s.send("GET", target, "").wants(t, 200, "")
		a := s.send("GET", target, "")
		a.wants(t, 429, matrix.ErrLimitExceeded)
		if a.Header.Get("Retry-After") != "3" {
			t.Errorf("Retry-After %q", a.Header.Get("Retry-After"))
		}
	}
	s.send("GET", "/free", "").wants(t, 200, "")
	s.send("GET", "/broken", "").wants(t, 503, matrix.ErrUnknown)
	if want := []string{"login 127.0.0.1", "login 127.0.0.1", "send @alice:hs1", "send @alice:hs1"}; !slices.Equal(l.keys, want) {
		t.Errorf("keys %v, want %v", l.keys, want)
	}
}

func TestHandlersGetALoggerThatKnowsTheRequest(t *testing.T) {
	t.Parallel()
	s := newSite(t, Route{Method: "GET", Path: "/v3/{x}", Auth: AccessToken, Handle: func(ctx context.Context, _ *Call) (any, error) {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		Log(ctx).Info("here")
		return nil, nil
	}})
	s.send("GET", "/v3/hidden?access_token=alice", "")
	if log := s.log.String(); !strings.Contains(log, "msg=here") || !strings.Contains(log, "route=/v3/{x}") || !strings.Contains(log, "user=@alice:hs1") || strings.Contains(log, "hidden") {
		t.Errorf("log: %s", log)
	}
}
