package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/roomline/roomline/config"
)

func roomline(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(args, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

func TestCommandLine(t *testing.T) {
	t.Chdir(t.TempDir()) // --dev makes its data there
	for _, tc := range []struct {
		args string
		code int
		want string
	}{
		{"", 0, "roomline serve --dev"},
		{"--help", 0, "user create"},
		{"nonsense", 2, `there is no command "nonsense"`},
		{"user", 2, `there is no command "user"`},
		{"serve", 1, "give --config FILE, or --dev"},
		{"serve --help", 0, "--config FILE | --dev"},
		{"serve --nonsense", 2, "flag provided but not defined"},
		{"serve --dev --config x", 1, "--dev can't be used with --config"},
		{"serve --config /does/not/exist", 1, "no such file"},
		{"serve --dev --server-name a_b", 1, "server_name"},
		{"user create --dev", 2, "0 arguments, not 1"},
		{"user create --dev @alice:elsewhere.test", 1, "elsewhere.test is not a domain of this server"},
		{"media check", 1, "give --config FILE, or --dev"},
		{"media repair --help", 0, "more than half of the objects"},
		{"config example", 0, "server_name: example.org"},
		{"version", 0, "Matrix v1.19"},
	} {
		code, stdout, stderr := roomline(strings.Fields(tc.args)...)
		if code != tc.code || !strings.Contains(stdout+stderr, tc.want) {
			t.Errorf("roomline %s: %d\n%s%s", tc.args, code, stdout, stderr)
		}
	}
}

func TestConfigCheck(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := "server_name: example.org\nlisteners: [{address: \"127.0.0.1:8008\", serve: [client]}]\n"
	for text, want := range map[string]string{
		good:                   "is right: server example.org",
		good + "nonsense: 1\n": ":3: nonsense: there is no such field",
		good + "federation: {ca_file: " + write("ca.pem", "no certificate") + "}\n":  "federation.ca_file: ",
		good + "appservices: {registrations: [" + dir + "/missing.yaml]}\n":          "appservices.registrations: registration ",
		strings.Replace(good, "serve:", "tls: {cert: a.crt, key: a.key}, serve:", 1): "listeners[0].tls: ",
	} {
		code, stdout, stderr := roomline("config", "check", write("roomline.yaml", text))
		if (code == 0) != strings.Contains(want, "is right") || !strings.Contains(stdout+stderr, want) {
			t.Errorf("%s\ngave %d %s%s\nwant …%s…", text, code, stdout, stderr, want)
		}
	}
}

func TestClientBehindProxies(t *testing.T) {
	w := &web{}
	for _, n := range []string{"10.0.0.0/8", "::1"} {
		network, err := config.Network(n)
		if err != nil {
			t.Fatal(err)
		}
		w.trusted = append(w.trusted, network)
	}
	for _, tc := range []struct {
		peer, forwarded, want string
	}{
		{"10.0.0.1:1234", "203.0.113.7", "203.0.113.7"},
		{"[::1]:1234", "2001:db8::7", "2001:db8::7"},
		{"[::ffff:10.0.0.1]:1234", "203.0.113.7", "203.0.113.7"},
		{"10.0.0.1:1234", "198.51.100.1, 203.0.113.7, 10.0.0.2", "203.0.113.7"}, // the first is the client's invention
		{"10.0.0.1:1234", "nonsense, 203.0.113.7", "203.0.113.7"},
		{"10.0.0.1:1234", "203.0.113.7, nonsense", ""},
		{"10.0.0.1:1234", "10.0.0.3, 10.0.0.2", "10.0.0.3"},
		{"10.0.0.1:1234", "", ""},
		{"203.0.113.9:1234", "203.0.113.7", ""}, // not a proxy of ours
	} {
		r := &http.Request{RemoteAddr: tc.peer, Header: http.Header{}}
		if tc.forwarded != "" {
			r.Header.Set("X-Forwarded-For", tc.forwarded)
		}
		client, ok := w.forwardedFor(r)
		want, err := netip.ParseAddr(tc.want)
		if ok != (err == nil) || ok && client != want {
			t.Errorf("%s with %q: %v %v, want %q", tc.peer, tc.forwarded, client, ok, tc.want)
		}
	}
}

// writeCertificate writes a self-signed certificate with the serial number.
func writeCertificate(t *testing.T, files config.TLS, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{files.Cert: {Type: "CERTIFICATE", Bytes: der}, files.Key: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		// The clock of the file system may be coarser than this test.
		stamp := time.Now().Add(time.Duration(serial) * time.Minute)
		if err := os.Chtimes(path, stamp, stamp); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRenewedCertificateIsUsedWithoutARestart(t *testing.T) {
	dir := t.TempDir()
	files := config.TLS{Cert: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key")}
	writeCertificate(t, files, 1)
	c, err := loadCertificate(files, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	serial := func() int64 {
		t.Helper()
		c.looked = time.Time{} // as if some time had passed
		pair, err := c.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		return pair.Leaf.SerialNumber.Int64()
	}
	if got := serial(); got != 1 {
		t.Fatalf("first: %d", got)
	}
	writeCertificate(t, files, 2)
	if got := serial(); got != 2 {
		t.Fatalf("renewed: %d", got)
	}
	if err := os.WriteFile(files.Key, []byte("half written"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := serial(); got != 2 {
		t.Fatalf("while the key is being replaced: %d", got)
	}
	writeCertificate(t, files, 3)
	if got := serial(); got != 3 {
		t.Fatalf("renewed again: %d", got)
	}
}
