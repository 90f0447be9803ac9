package tests

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
)

// endpoint is a row of the spec's endpoint list.
type endpoint struct {
	method, path string
}

func readEndpoints(t *testing.T) []endpoint {
	t.Helper()
	text, err := os.ReadFile("../internal/archtest/testdata/endpoints-v1.19.tsv")
	if err != nil {
		t.Fatal(err)
	}
	var list []endpoint
	for line := range strings.Lines(string(text)) {
		columns := strings.Split(line, "\t")
		if columns[0] == "client-server" || columns[0] == "server-server" {
			list = append(list, endpoint{columns[2], strings.TrimSpace(columns[3])})
		}
	}
	if len(list) < 200 {
		t.Fatalf("only %d endpoints in the list", len(list))
	}
	return append(list, endpoint{http.MethodPost, "/_synapse/admin/v1/register"})
}

// rude sends requests that no HTTP library would, over connections of its own.
type rude struct {
	address string
	conn    net.Conn
	reader  *bufio.Reader
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// send writes one request and reads its answer. A connection that breaks before the answer is an error.
func (r *rude) send(method, target, token string, body []byte) (answer, error) {
	fresh := r.conn == nil
	if fresh {
		conn, err := net.Dial("tcp", r.address)
		if err != nil {
			return answer{}, err
		}
		r.conn, r.reader = conn, bufio.NewReader(conn)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, target, r.address)
	if token != "" {
		fmt.Fprintf(&b, "Authorization: Bearer %s\r\n", token)
	}
	if body != nil {
		fmt.Fprintf(&b, "Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n")
	b.Write(body)
	_ = r.conn.SetDeadline(time.Now().Add(patience))
	// A server may answer before it has read everything: then writing fails and the answer is there all the same.
	_, writeErr := r.conn.Write(b.Bytes())
	resp, err := http.ReadResponse(r.reader, &http.Request{Method: method})
	if err != nil {
		r.close()
		return answer{}, errors.Join(err, writeErr)
	}
	text, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || resp.Close {
		r.close()
	}
	return answer{resp.StatusCode, resp.Header, text}, err
}

func (r *rude) close() {
	if r.conn != nil {
		r.conn.Close()
		r.conn = nil
	}
}

// judge says what is wrong with an answer to a bad request, or "".
func judge(a answer, err error, mustRefuse bool) string {
	switch {
	case err != nil && errors.Is(err, syscall.ECONNREFUSED):
		return "the server is gone"
	case err != nil:
		return "no answer: " + err.Error()
	case a.status >= 500:
		return "a fault of the server"
	case a.status < 400 && mustRefuse:
		return "it was accepted"
	case a.status < 400:
		return ""
	case !strings.HasPrefix(a.header.Get("Content-Type"), "application/json"):
		return "the content type is " + a.header.Get("Content-Type")
	case !gjson.ValidBytes(a.body):
		return "the error is not JSON"
	case !strings.HasPrefix(gjson.GetBytes(a.body, "errcode").String(), "M_") && !gjson.GetBytes(a.body, "flows").Exists():
		return "the error has no errcode"
	}
	return ""
}

// badBody is a body and whether it must be refused, whatever the endpoint.
type badBody struct {
	name    string
	body    string
	refused bool
}

// fields are names that requests have, so that each can be given a value of the wrong type.
var fields = strings.Fields(`type user password identifier auth session device_id initial_device_display_name refresh_token token
	new_password logout_devices erase username inhibit_login kind room_id user_id reason name topic visibility preset invite
	invite_3pid initial_state creation_content power_level_content_override room_version room_alias_name is_direct typing timeout
	presence status_msg displayname avatar_url m.fully_read m.read m.read.private event_id thread_id room servers aliases order
	msgtype body membership limit from to dir filter event_fields account_data ephemeral state timeline devices display_name
	third_party_signed generic_search_term since include_all_networks search_categories nonce mac admin messages device_keys
	one_time_keys keys signatures scope pushkey app_id data rule_id actions conditions pattern enabled score new_version via`)

func badBodies() []badBody {
	deep := 50_000
	list := []badBody{
		{"nothing", "", false},
		{"an empty object", "{}", false},
		{"an unfinished object", `{"a":`, true},
		{"text", "nope", true},
		{"two values", `{}{}`, true},
		{"a trailing comma", `{"a":1,}`, true},
		{"single quotes", `{'a':1}`, true},
		{"a list", `[]`, false},
		{"a string", `"x"`, false},
		{"null", `null`, false},
		{"deep lists", `{"a":` + strings.Repeat("[", deep) + strings.Repeat("]", deep) + `}`, true},
		{"deep objects", strings.Repeat(`{"a":`, deep/4) + "1" + strings.Repeat("}", deep/4), true},
		{"deep and unfinished", `{"a":` + strings.Repeat(`[`, deep), true},
		{"a duplicate key", `{"type":"a","type":"b"}`, true},
		{"a duplicate key, escaped", `{"type":"a","t\u0079pe":"b"}`, true},
		{"a duplicate key inside", `{"x":[{"y":{"a":1,"a":2}}]}`, true},
		{"NUL, escaped", `{"body":"a\u0000b","msgtype":"m.text"}`, true},
		{"NUL in a key", `{"a\u0000":1}`, true},
		{"NUL", "{\"body\":\"a\x00b\"}", true},
		{"invalid UTF-8", "{\"body\":\"a\xffb\"}", true},
		{"an overlong encoding", "{\"body\":\"\xc0\xaf\"}", true},
		{"a lone surrogate", `{"body":"\ud800"}`, true},
		{"a lone surrogate in UTF-8", "{\"body\":\"\xed\xa0\x80\"}", true},
		{"a huge number", `{"x":1e99999}`, false},
		{"a bad escape", `{"x":"\q"}`, true},
		{"a BOM", "\xef\xbb\xbf{}", true},
		{"many keys", manyKeys(20_000), true},
	}
	for _, value := range []string{`null`, `true`, `-1`, `1.5`, `9007199254740993`, `99999999999999999999999`, `"x"`, `""`, `[]`, `[null]`, `[[1]]`, `["x",1]`, `{}`, `{"x":null}`, `{"type":1}`, `{"type":"m.id.user"}`} {
		parts := make([]string, len(fields))
		for i, f := range fields {
			parts[i] = fmt.Sprintf("%q:%s", f, value)
		}
		list = append(list, badBody{"every field " + value, "{" + strings.Join(parts, ",") + "}", value == "99999999999999999999999" || value == "9007199254740993"})
	}
	return list
}

func manyKeys(n int) string {
	var b strings.Builder
	b.WriteByte('{')
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"k%d":1`, i)
	}
	b.WriteByte('}')
	return b.String()
}

// badQueries are query strings for endpoints that read them.
var badQueries = []string{
	"limit=-1", "limit=x", "limit=99999999999999999999", "limit=0", "limit=1e9", "limit=",
	"from=nope", "from=s-5", "from=s99999999999999999999", "to=nope", "from=s1&to=s0&dir=b", "dir=sideways", "dir=",
	"since=nope", "since=s-1", "since=s99999999999999999999", "since=s9223372036854775807&timeout=1",
	"timeout=-1&since=s0", "timeout=x", "filter={", "filter=%7B%22room%22%3A1%7D", "filter=%7B%22room%22%3A%7B%22timeline%22%3A%7B%22limit%22%3A-1%7D%7D%7D",
	"filter=999999", "filter=%00", "filter=%FF", "set_presence=angry", "full_state=maybe", "at=nope", "membership=maybe", "not_membership=1",
	"ts=-1", "ts=99999999999999999999&dir=f", "username=%00", "username=%FF", "a=%zz", "%zz", "a=1&a=2&a=3", ";", "access_token=", "access_token=%00",
	"user_id=nobody", "room_id=nowhere", "version=x", "via=%00", "key=x", "limit=5&from=" + strings.Repeat("s", 4000),
}

// badValues stand in place of a path's variable. A broken escape is not among them: it is no HTTP, and net/http answers itself.
var badValues = []string{
	"%00", "%FF", "%ED%A0%80", "%2F", "%2e%2e", "%20", "x", "@", "!", "$", "%23", "@x", "!:", "@:hs.test", "%40%C3%84%3Ahs.test",
	strings.Repeat("x", 300), strings.Repeat("x", 8000), "%F0%9F%92%A9", "-1", "99999999999999999999", "null",
}

// inputTest is what the subtests share.
type inputTest struct {
	dep    *hstest.Deployment
	client *rude
	user   *hstest.User
	victim *hstest.User // signs out and worse
	room   string
	event  string
	asked  int
}

func TestMalformedRequestsAreRefusedProperly(t *testing.T) {
	t.Parallel()
	dep := hstest.Start(t, hstest.Options{})
	user := dep.User(t, "alice")
	in := &inputTest{
		dep: dep, user: user, victim: dep.User(t, "victim"),
		client: &rude{address: strings.TrimPrefix(dep.BaseURL(0), "http://")},
		room:   user.MustCreateRoom(t, nil),
	}
	in.event = user.MustSendText(t, in.room, "hello")
	defer in.client.close()
	endpoints := readEndpoints(t)
	t.Run("bodies", func(t *testing.T) { in.bodies(t, endpoints) })
	t.Run("queries", func(t *testing.T) { in.queries(t, endpoints) })
	t.Run("path values", func(t *testing.T) { in.pathValues(t, endpoints) })
	t.Run("paths", func(t *testing.T) { in.paths(t, endpoints) })
	t.Run("keys in other letters", in.otherLetters)
	t.Run("requests", in.requests)
	user.MustSendText(t, in.room, "still here")
	for _, mark := range []string{"panic", "level=ERROR", `"level":"ERROR"`} {
		if log := dep.Log(0); strings.Contains(log, mark) {
			at := strings.Index(log, mark)
			t.Errorf("the server's log has %q: %.600s", mark, log[max(0, at-200):])
		}
	}
	t.Logf("%d requests to %d endpoints", in.asked, len(endpoints))
}

// fill puts good values in place of a path's variables, and value in place of the one numbered which.
func (in *inputTest) fill(path string, which int, value string) string {
	var b strings.Builder
	for i := 0; ; i++ {
		before, rest, found := strings.Cut(path, "{")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		name, after, _ := strings.Cut(rest, "}")
		path = after
		if i == which {
			b.WriteString(value)
			continue
		}
		switch name {
		case "roomId", "roomIdOrAlias":
			b.WriteString(url.PathEscape(in.room))
		case "userId":
			b.WriteString(url.PathEscape(in.user.ID))
		case "eventId":
			b.WriteString(url.PathEscape(in.event))
		case "eventType":
			b.WriteString("m.room.message")
		case "roomAlias":
			b.WriteString("%23x%3A" + in.dep.ServerName)
		case "keyName":
			b.WriteString("displayname")
		case "receiptType":
			b.WriteString("m.read")
		default:
			fmt.Fprintf(&b, "x%d", in.asked)
		}
	}
}

// token is the one to ask an endpoint with.
func (in *inputTest) token(path string) string {
	for _, dangerous := range []string{"/logout", "/account/", "/delete_devices", "/devices/", "/leave", "/forget"} {
		if strings.Contains(path, dangerous) {
			return in.victim.AccessToken
		}
	}
	return in.user.AccessToken
}

// ask sends a request and reports what is wrong with its answer.
func (in *inputTest) ask(t *testing.T, what, method, target, token string, body []byte, mustRefuse bool) answer {
	t.Helper()
	in.asked++
	a, err := in.client.send(method, target, token, body)
	if problem := judge(a, err, mustRefuse); problem != "" {
		t.Errorf("%s: %s %.120s with body %.120q: %s: %d %.200s", what, method, target, body, problem, a.status, a.body)
	}
	return a
}

func (in *inputTest) bodies(t *testing.T, endpoints []endpoint) {
	bodies := badBodies()
	for _, e := range endpoints {
		if e.method == http.MethodGet {
			continue
		}
		// What is uploaded is a file, and no JSON.
		isFile := strings.HasPrefix(e.path, "/_matrix/media/v3/upload")
		for _, b := range bodies {
			in.ask(t, b.name, e.method, in.fill(e.path, -1, ""), in.token(e.path), []byte(b.body), b.refused && !isFile)
		}
	}
}

func (in *inputTest) queries(t *testing.T, endpoints []endpoint) {
	for _, e := range endpoints {
		if e.method != http.MethodGet {
			continue
		}
		for _, q := range badQueries {
			in.ask(t, "query", e.method, in.fill(e.path, -1, "")+"?"+q, in.token(e.path), nil, strings.Contains(q, "%zz"))
		}
	}
}

func (in *inputTest) pathValues(t *testing.T, endpoints []endpoint) {
	for _, e := range endpoints {
		body := []byte("{}")
		if e.method == http.MethodGet {
			body = nil
		}
		for which := range strings.Count(e.path, "{") {
			for _, v := range badValues {
				in.ask(t, "path value", e.method, in.fill(e.path, which, v), in.token(e.path), body, v == "%00" || v == "%FF")
			}
		}
	}
}

// paths asks for what is nearly an endpoint.
func (in *inputTest) paths(t *testing.T, endpoints []endpoint) {
	known := map[endpoint]bool{}
	for _, e := range endpoints {
		known[e] = true
	}
	for _, e := range endpoints {
		good := in.fill(e.path, -1, "")
		targets := []string{
			good + "/x/y/z/w", "/" + good, strings.Replace(good, "/_", "//_", 1), good + "/..", good + "/.", good + "//", "/x/.." + good,
			strings.ToUpper(good), strings.Replace(good, "/v3/", "/v99/", 1) + "/nope/nope/nope",
		}
		if strings.Count(e.path, "{") == 0 {
			targets = append(targets, good+"/", good+"%2F")
		}
		for _, target := range targets {
			a := in.ask(t, "nearly a path", e.method, target, in.user.AccessToken, nil, true)
			if code := gjson.GetBytes(a.body, "errcode").String(); a.status != http.StatusNotFound && a.status != http.StatusMethodNotAllowed && a.status != http.StatusBadRequest {
				t.Errorf("%s %s: got %d %s, want 404 M_UNRECOGNIZED", e.method, target, a.status, code)
			}
		}
		for _, method := range []string{"PATCH", "TRACE", "CONNECT", "BREW", http.MethodDelete, http.MethodPut} {
			if known[endpoint{method, e.path}] {
				continue
			}
			in.ask(t, "another method", method, good, in.user.AccessToken, nil, true)
		}
		if a, err := in.client.send(http.MethodOptions, good, "", nil); err != nil || a.status >= 300 || a.header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("OPTIONS %s: got %d %v, want a CORS preflight's answer", good, a.status, err)
		}
	}
}

// otherLetters gives known fields in letters that a lax JSON decoder would take for the right ones.
func (in *inputTest) otherLetters(t *testing.T) {
	room := url.PathEscape(in.room)
	for _, c := range []struct{ method, target, body string }{
		{http.MethodPost, "/_matrix/client/v3/login", `{"Type":"m.login.password"}`},
		{http.MethodPost, "/_matrix/client/v3/createRoom", `{"Preset":"public_chat"}`},
		{http.MethodPost, "/_matrix/client/v3/createRoom", `{"preset":"private_chat","PRESET":"public_chat"}`},
		{http.MethodPost, "/_matrix/client/v3/rooms/" + room + "/invite", `{"User_Id":"@victim:hs.test"}`},
		{http.MethodPut, "/_matrix/client/v3/rooms/" + room + "/typing/" + url.PathEscape(in.user.ID), `{"Typing":true}`},
	} {
		a := in.ask(t, "other letters", c.method, c.target, in.user.AccessToken, []byte(c.body), true)
		if code := gjson.GetBytes(a.body, "errcode").String(); code != "M_BAD_JSON" {
			t.Errorf("%s %s %s: got %d %s, want M_BAD_JSON", c.method, c.target, c.body, a.status, code)
		}
	}
	// In an event's content every key is the sender's own business.
	in.user.MustSend(t, in.room, "m.room.message", map[string]any{"body": "a", "Body": "b", "msgtype": "m.text"})
}

// requests are malformed as HTTP.
func (in *inputTest) requests(t *testing.T) {
	send := "/_matrix/client/v3/rooms/" + url.PathEscape(in.room) + "/send/m.room.message/"
	big := []byte(`{"body":"` + strings.Repeat("x", 2<<20) + `"}`)
	if a := in.ask(t, "too long a body", http.MethodPut, send+"big", in.user.AccessToken, big, true); a.status != http.StatusRequestEntityTooLarge || gjson.GetBytes(a.body, "errcode").String() != "M_TOO_LARGE" {
		t.Errorf("a body of 2 MiB: got %d %.100s, want 413 M_TOO_LARGE", a.status, a.body)
	}
	event := []byte(`{"body":"` + strings.Repeat("x", 66_000) + `"}`)
	if a := in.ask(t, "too long an event", http.MethodPut, send+"event", in.user.AccessToken, event, true); gjson.GetBytes(a.body, "errcode").String() != "M_TOO_LARGE" {
		t.Errorf("an event of 66,000 bytes: got %d %.100s, want M_TOO_LARGE", a.status, a.body)
	}
	for _, token := range []string{"", "x", strings.Repeat("x", 7000), "%00", "\xff"} {
		a := in.ask(t, "a bad token", http.MethodGet, "/_matrix/client/v3/account/whoami", token, nil, true)
		if a.status != http.StatusUnauthorized {
			t.Errorf("token %.20q: got %d, want 401", token, a.status)
		}
	}
	for name, c := range map[string]struct {
		body    string
		refused bool
	}{
		"an integer beyond 2^53":   {`{"body":"x","n":9007199254740992}`, true},
		"the largest integer":      {`{"body":"x","n":9007199254740991}`, false},
		"a fraction in an event":   {`{"body":"x","n":1.5}`, true},
		"an exponent in an event":  {`{"body":"x","n":1e3}`, true},
		"a negative zero":          {`{"body":"x","n":-0}`, false},
		"keys in different letter": {`{"body":"x","Body":"y"}`, false},
	} {
		a := in.ask(t, name, http.MethodPut, send+url.PathEscape(name), in.user.AccessToken, []byte(c.body), c.refused)
		if !c.refused && a.status != http.StatusOK {
			t.Errorf("%s: got %d %s, want 200", name, a.status, a.body)
		}
	}
}
