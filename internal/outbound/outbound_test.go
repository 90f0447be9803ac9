package outbound

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

func TestAddresses(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"93.184.216.34:443":              true,
		"[2606:2800:220:1::1]:443":       true,
		"127.0.0.1:80":                   false,
		"127.8.8.8:80":                   false,
		"0.0.0.0:80":                     false,
		"10.1.2.3:80":                    false,
		"100.64.0.1:80":                  false,
		"169.254.169.254:80":             false,
		"172.31.255.255:80":              false,
		"172.32.0.1:80":                  true,
		"192.168.1.1:80":                 false,
		"198.19.255.255:80":              false,
		"224.0.0.1:80":                   false,
		"255.255.255.255:80":             false,
		"[::1]:80":                       false,
		"[::]:80":                        false,
		"[::ffff:127.0.0.1]:80":          false,
		"[::ffff:93.184.216.34]:80":      true,
		"[::127.0.0.1]:80":               false,
		"[64:ff9b::7f00:1]:80":           false,
		"[2002:7f00:1::]:80":             false,
		"[2001:0:1::1]:80":               false,
		"[fd00:ec2::254]:80":             false,
		"[fe80::1%eth0]:80":              false,
		"[ff02::1]:80":                   false,
		"localhost:80":                   false,
		"[2001:db8::1]:80":               false,
		"[2a00:1450:4001:82a::200e]:443": true,
	} {
		network := "tcp4"
		if strings.HasPrefix(address, "[") {
			network = "tcp6"
		}
		if err := check(network, address, nil, false); (err == nil) != want {
			t.Errorf("%s: %v, want reachable: %v", address, err, want)
		}
	}
	if err := check("unix", "/run/socket", nil, false); !errors.Is(err, ErrRefused) {
		t.Errorf("a socket: %v", err)
	}
}

func TestOnlyAllowedAddresses(t *testing.T) {
	t.Parallel()
	inside := prefixes("10.0.0.0/8")
	for address, want := range map[string]bool{"10.1.2.3:80": true, "93.184.216.34:80": false, "192.168.1.1:80": false} {
		if err := check("tcp4", address, inside, true); (err == nil) != want {
			t.Errorf("%s: %v, want reachable: %v", address, err, want)
		}
	}
}

func TestLoopbackOnlyWhereAllowed(t *testing.T) {
	t.Parallel()
	served := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served++
		if r.URL.Path == "/away" {
			http.Redirect(w, r, "/", http.StatusFound)
			return
		}
		_, _ = w.Write([]byte("0123456789"))
	}))
	defer server.Close()
	_, err := New(Config{}).Get(server.URL)
	if !errors.Is(err, ErrRefused) || served != 0 {
		t.Fatalf("loopback was reached: %v, %d requests", err, served)
	}
	// A name is judged by its address.
	_, err = New(Config{}).Get(strings.Replace(server.URL, "127.0.0.1", "localhost", 1))
	if !errors.Is(err, ErrRefused) || served != 0 {
		t.Fatalf("localhost was reached: %v, %d requests", err, served)
	}

	allowed := Config{Allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	resp, err := New(allowed).Get(server.URL + "/away")
	if err != nil || resp.StatusCode != http.StatusFound {
		t.Fatalf("a redirect was followed: %v %v", resp, err)
	}
	resp.Body.Close()
	allowed.Redirects = 1
	resp, err = New(allowed).Get(server.URL + "/away")
	if err != nil {
		t.Fatal(err)
	}
	if body, err := Read(resp, 10); err != nil || string(body) != "0123456789" {
		t.Errorf("body %q, %v", body, err)
	}
	resp, err = New(allowed).Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Read(resp, 9); err == nil {
		t.Error("an answer beyond the limit was read")
	}
}
