package meetings_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
)

// otherServer is a homeserver that publishes a key, knows whose one OpenID token is, and gives tokens for its SFU.
type otherServer struct {
	name, roots string
	key         ed25519.PrivateKey
	sub         string // whom the OpenID token "good" belongs to

	mu    sync.Mutex
	asked []string
	// authorization and body are of the last request for a token.
	authorization, body string
}

func other(t *testing.T) *otherServer {
	t.Helper()
	o := &otherServer{roots: filepath.Join(t.TempDir(), "roots.pem")}
	_, o.key, _ = ed25519.GenerateKey(rand.Reader)
	certificate, key := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}, must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	der := must(x509.CreateCertificate(rand.Reader, certificate, certificate, &key.PublicKey, key))
	if err := os.WriteFile(o.roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(o.serve))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	server.StartTLS()
	t.Cleanup(server.Close)
	o.name = server.Listener.Addr().String()
	o.sub = "@rita:" + o.name
	return o
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func (o *otherServer) serve(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked = append(o.asked, r.URL.Path)
	switch r.URL.Path {
	case "/_matrix/key/v2/server":
		text := fmt.Appendf(nil, `{"old_verify_keys":{},"server_name":%q,"valid_until_ts":%d,"verify_keys":{"ed25519:1":{"key":%q}}}`,
			o.name, time.Now().Add(time.Hour).UnixMilli(), base64Of(o.key.Public().(ed25519.PublicKey)))
		w.Write(must(gomatrixserverlib.SignJSON(o.name, "ed25519:1", o.key, text)))
	case "/_matrix/federation/v1/openid/userinfo":
		if r.URL.Query().Get("access_token") != "good" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprintf(w, `{"sub":%q}`, o.sub)
	case "/_matrix/federation/v1/rtc/livekit/get_token":
		o.authorization = r.Header.Get("Authorization")
		o.body = string(must(io.ReadAll(r.Body)))
		io.WriteString(w, `{"url":"wss://sfu.other.test","jwt":"a.b.c"}`)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (o *otherServer) requests() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.asked)
}

// ask asks for a token for a user of the server, with its signature.
func (o *otherServer) ask(t *testing.T, s *side, user string, change func(authorization string) string) hstest.Response {
	t.Helper()
	const path = "/_matrix/federation/v1/rtc/livekit/get_token"
	content := must(json.Marshal(map[string]any{"room_id": s.room, "slot_id": slot, "member": map[string]any{"id": "m", "claimed_user_id": user, "claimed_device_id": "PHONE"}}))
	text := must(gomatrixserverlib.CanonicalJSON(fmt.Appendf(nil, `{"method":"POST","uri":%q,"origin":%q,"destination":"hs.test","content":%s}`, path, o.name, content)))
	signed := must(gomatrixserverlib.SignJSON(o.name, "ed25519:1", o.key, text))
	sig := gjson.GetBytes(signed, "signatures."+gjson.Escape(o.name)+".ed25519:1").String()
	request := must(http.NewRequest(http.MethodPost, s.BaseURL(0)+path, strings.NewReader(string(content))))
	request.Header.Set("Authorization", change(fmt.Sprintf(`X-Matrix origin="%s",destination="hs.test",key="ed25519:1",sig="%s"`, o.name, sig)))
	request.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return hstest.Response{Status: resp.StatusCode, Header: resp.Header, Body: must(io.ReadAll(resp.Body))}
}

// TestOtherServers has a user of another server in the room, whose server vouches for her.
func TestOtherServers(t *testing.T) {
	t.Parallel()
	o := other(t)
	s := start(t, hstest.Options{Env: []string{"SSL_CERT_FILE=" + o.roots}})
	rita := "@rita:" + o.name
	same := func(authorization string) string { return authorization }
	openIDAsk := func(token string) hstest.Response {
		r, err := s.Do(context.Background(), 0, "", "POST", sfuGetPath, map[string]any{
			"room": s.room, "device_id": "PHONE", "openid_token": map[string]any{"access_token": token, "matrix_server_name": o.name}})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	toOther := asking(s.host, s.room)
	toOther["server_name"] = o.name

	// As long as nobody of the server is there, it is not asked, whoever says what.
	if r := o.ask(t, s, rita, same); r.Status != 401 {
		t.Errorf("a server that is not in the room: %s", r)
	}
	if r := openIDAsk("good"); r.Status != 401 {
		t.Errorf("an OpenID token of a server that is not in the room: %s", r)
	}
	if r := s.ask(t, s.host, tokenPath, toOther); r.Status != 401 {
		t.Errorf("a token of a server that is not in the room: %s", r)
	}
	if n := o.requests(); n != 0 {
		t.Errorf("a server that is not in the room was asked %d times", n)
	}

	s.exec(t, `INSERT INTO memberships (user_id, room_nid, membership, sender, position) SELECT $1, room_nid, 'join', $1, 1 FROM rooms WHERE room_id = $2`, rita, s.room)
	identity := hash(fmt.Sprintf(`[%q,"PHONE","m"]`, rita))
	signed := o.ask(t, s, rita, same)
	if got := claims(t, signed).Get("sub").String(); got != identity {
		t.Errorf("the identity is %s, want %s", got, identity)
	}
	mustConnect(t, signed)
	for name, change := range map[string]func(string) string{
		"no signature":             func(string) string { return "" },
		"another signature":        func(a string) string { return strings.Replace(a, `sig="`, `sig="AAAA`, 1) },
		"another key":              func(a string) string { return strings.Replace(a, "ed25519:1", "ed25519:2", 1) },
		"for another server":       func(a string) string { return strings.Replace(a, `"hs.test"`, `"other.test"`, 1) },
		"in the name of our own":   func(a string) string { return strings.Replace(a, o.name, "hs.test", 1) },
		"in the name of a another": func(a string) string { return strings.Replace(a, o.name, "third.test", 1) },
	} {
		if r := o.ask(t, s, rita, change); r.Status != 401 || r.ErrCode() != "M_UNAUTHORIZED" {
			t.Errorf("%s: %s", name, r)
		}
	}
	for name, user := range map[string]string{"who is not in the room": "@rolf:" + o.name, "a user of ours": s.host.ID} {
		if r := o.ask(t, s, user, same); r.Status != 401 {
			t.Errorf("%s: %s", name, r)
		}
	}

	if got := claims(t, openIDAsk("good")).Get("sub").String(); got != rita+":PHONE" {
		t.Errorf("the identity of an older client is %s", got)
	}
	if r := openIDAsk("bad"); r.Status != 401 {
		t.Errorf("a token that the server does not know: %s", r)
	}
	o.sub = s.host.ID
	if r := openIDAsk("good"); r.Status != 401 {
		t.Errorf("a server that vouches for a user of ours: %s", r)
	}

	// And the other way round.
	got := s.ask(t, s.host, tokenPath, toOther)
	if got.Status != 200 || got.JSON().Get("url").String() != "wss://sfu.other.test" || got.JSON().Get("jwt").String() != "a.b.c" {
		t.Fatalf("a token of another server: %s", got)
	}
	if user := gjson.Get(o.body, "member.claimed_user_id").String(); user != s.host.ID {
		t.Errorf("the other server is asked for %s", o.body)
	}
	published := s.host.MustDo(t, http.MethodGet, "/_matrix/key/v2/server", nil)
	published.Get("verify_keys").ForEach(func(id, key gjson.Result) bool {
		signature := o.authorization[strings.Index(o.authorization, `sig="`)+5:]
		text := fmt.Appendf(nil, `{"method":"POST","uri":"/_matrix/federation/v1/rtc/livekit/get_token","origin":"hs.test","destination":%q,"content":%s,"signatures":{"hs.test":{%q:%q}}}`,
			o.name, o.body, id.String(), strings.TrimSuffix(signature, `"`))
		public := must(rawBase64.DecodeString(key.Get("key").String()))
		if err := gomatrixserverlib.VerifyJSON("hs.test", gomatrixserverlib.KeyID(id.String()), public, must(gomatrixserverlib.CanonicalJSON(text))); err != nil {
			t.Errorf("our request is not signed: %v: %s", err, o.authorization)
		}
		return true
	})
	outside := s.User(t, "outside")
	toOther = asking(outside, s.room)
	toOther["server_name"] = o.name
	before := o.requests()
	if r := s.ask(t, outside, tokenPath, toOther); r.Status != 401 || o.requests() != before {
		t.Errorf("who is not in the room asks for a token of another server: %s", r)
	}
}

func base64Of(b []byte) string { return rawBase64.EncodeToString(b) }
