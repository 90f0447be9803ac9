package preview

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/roomline/roomline/internal/hstest/freeport"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbound"
)

// inside listens in the blocked range and counts who connects.
func inside(t *testing.T, address string) (port int, connections *atomic.Int32) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Skipf("nothing can listen on %s: %v", address, err)
	}
	connections = new(atomic.Int32)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<title>secret</title>")
			conn.Close()
		}
	}()
	t.Cleanup(func() { listener.Close() })
	return listener.Addr().(*net.TCPAddr).Port, connections
}

// mustBeNothing insists on the one error.
func mustBeNothing(t *testing.T, what string, err error) {
	t.Helper()
	if !reflect.DeepEqual(err, noPreview()) {
		t.Errorf("%s: %v", what, err)
	}
}

// names is a name server: it answers each name with its next list of addresses, and stays with the last.
func names(t *testing.T, hosts map[string][][]string) *net.Resolver {
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := socket.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			q := m.Questions[0]
			host := strings.TrimSuffix(strings.ToLower(q.Name.String()), ".")
			m.Response, m.RCode, m.Additionals = true, dnsmessage.RCodeNameError, nil
			if lists := hosts[host]; len(lists) > 0 {
				m.RCode = dnsmessage.RCodeSuccess
				if q.Type == dnsmessage.TypeA {
					for _, a := range lists[0] {
						m.Answers = append(m.Answers, dnsmessage.Resource{
							Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class},
							Body:   &dnsmessage.AResource{A: netip.MustParseAddr(a).As4()},
						})
					}
					if len(lists) > 1 {
						hosts[host] = lists[1:]
					}
				}
			}
			if out, err := m.Pack(); err == nil {
				_, _ = socket.WriteTo(out, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		conn, err := net.DialUDP("udp", nil, socket.LocalAddr().(*net.UDPAddr))
		return patient{conn}, err
	}}
}

// patient waits for an answer as long as it takes: a question that is asked again would get the next list.
type patient struct{ *net.UDPConn }

func (patient) SetDeadline(time.Time) error { return nil }

func TestURLsThatAreNotOfTheWebAreRefused(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{"", "x", "//host/", "ftp://host/", "file:///etc/passwd", "gopher://host/", "http:host", "http://", "http://:80/", "http://user@host/", "https://u:p@host/",
		"http://host:0/", "http://host:99999/", "http://host:/", "http://ho st/", "javascript:alert(1)", "http://host/\n", "http://host/" + strings.Repeat("x", limits.PreviewURL)} {
		_, err := newFetcher(nil).Fetch(t.Context(), raw, "")
		if e, ok := matrix.AsError(err); !ok || e.Status != http.StatusBadRequest {
			t.Errorf("%.40q: %v", raw, err)
		}
	}
}

// SEC-60: nothing inside is connected to, however it is written, and it looks like what is not there.
func TestAddressesInsideAreNeverConnectedTo(t *testing.T) {
	t.Parallel()
	port, connections := inside(t, "127.0.0.2:0")
	if listener, err := net.Listen("tcp", fmt.Sprintf("[::1]:%d", port)); err == nil {
		listener.Close()
		inside6 := fmt.Sprintf("[::1]:%d", port)
		_, connections6 := inside(t, inside6)
		defer func() {
			if n := connections6.Load(); n > 0 {
				t.Errorf("%d connections to %s", n, inside6)
			}
		}()
	}
	s := newSite(t)
	siteURL, _ := url.Parse(s.URL)
	f := newFetcher(func(_ *Config, out *outbound.Config) {
		out.Resolver = names(t, map[string][][]string{
			"inside.test": {{"127.0.0.2"}},
			"zero.test":   {{"0.0.0.0"}},
			"rebind.test": {{"127.0.0.1"}, {"127.0.0.2"}},
			"public.test": {{"127.0.0.1"}},
		})
	})
	hosts := []string{"127.0.0.2", "2130706434", "0x7f000002", "0x7f.0.0.2", "0177.0.0.2", "017700000002", "127.2", "127.0.0.2.", "①②⑦.0.0.2", "0.0.0.0", "[::]", "[::1]",
		"[::ffff:127.0.0.2]", "[::ffff:7f00:2]", "[::127.0.0.2]", "[64:ff9b::7f00:2]", "[2002:7f00:2::]", "[2001:0:7f00:2::]", "[fe80::1]", "169.254.169.254", "10.0.0.1", "240.0.0.1",
		"192.168.0.1", "100.64.0.1", "inside.test", "INSIDE.test.", "zero.test"}
	for i, host := range hosts {
		to := fmt.Sprintf("http://%s:%d/", host, port)
		_, err := f.Fetch(t.Context(), to, "")
		if e, ok := matrix.AsError(err); !ok || e.Status != http.StatusBadRequest { // some are no URLs
			mustBeNothing(t, to, err)
		}
		path := fmt.Sprintf("/to/%d", i)
		s.redirect(path, to, []int{301, 302, 303, 307, 308}[i%5])
		_, err = f.Fetch(t.Context(), s.URL+path, "")
		mustBeNothing(t, "redirect to "+to, err)
	}
	for i, to := range []string{"ftp://127.0.0.1/", "file:///etc/passwd", "http://user@127.0.0.1/", "http://127.0.0.1:0/", "", "::::"} {
		path := "/odd/" + strconv.Itoa(i)
		s.redirect(path, to, 302)
		_, err := f.Fetch(t.Context(), s.URL+path, "")
		mustBeNothing(t, "redirect to "+to, err)
	}

	// The first answer is public and is used; the next one is not.
	s.redirect("/again", fmt.Sprintf("http://rebind.test:%d/", port), 302)
	_, err := f.Fetch(t.Context(), "http://rebind.test:"+siteURL.Port()+"/again", "")
	mustBeNothing(t, "a name that changes its address", err)
	if s.last.Load().Host != "rebind.test:"+siteURL.Port() {
		t.Errorf("the public address was not asked: %v", s.last.Load().Host)
	}
	if n := connections.Load(); n > 0 {
		t.Errorf("%d connections", n)
	}

	// What is not there looks the same; what is there and public is found.
	s.serve("/here", "text/html", "<title>here</title>")
	for _, raw := range []string{"http://nowhere.test/", "http://127.0.0.1:1/", s.URL + "/missing"} {
		_, err := f.Fetch(t.Context(), raw, "")
		mustBeNothing(t, raw, err)
	}
	if p, err := f.Fetch(t.Context(), "http://public.test:"+siteURL.Port()+"/here", ""); err != nil || p.Properties["og:title"] != "here" {
		t.Errorf("%v %v", p, err)
	}
}

func TestRedirectsAreCounted(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.serve("/0", "text/html", "<title>x</title>")
	for i := range 6 {
		s.redirect(fmt.Sprintf("/%d", i+1), fmt.Sprint(i), 302)
	}
	if p, err := newFetcher(nil).Fetch(t.Context(), s.URL+"/5", ""); err != nil || p.Properties["og:url"] != s.URL+"/0" {
		t.Errorf("five redirects: %v %v", p, err)
	}
	_, err := newFetcher(nil).Fetch(t.Context(), s.URL+"/6", "")
	mustBeNothing(t, "six redirects", err)
}

// SEC-61: what must not be asked is not asked for the sake of a page that may be.
func TestPagesCannotPointPastTheRules(t *testing.T) {
	t.Parallel()
	blockedPort, blocked := inside(t, "127.0.0.2:0")
	deniedAddress, err := freeport.Address() // one that no other program asks by mistake
	if err != nil {
		t.Fatal(err)
	}
	deniedPort, denied := inside(t, deniedAddress)
	s := newSite(t)
	siteURL, _ := url.Parse(s.URL)
	port, _ := strconv.ParseUint(siteURL.Port(), 10, 16)
	targets := []string{fmt.Sprintf("http://127.0.0.2:%d/", blockedPort), fmt.Sprintf("http://127.0.0.1:%d/", deniedPort)}
	for name, change := range map[string]func(*Config, *outbound.Config){
		"allow-list": func(c *Config, _ *outbound.Config) {
			c.Allowed = func(u *url.URL) bool { return u.Host == siteURL.Host }
		},
		"ports": func(c *Config, _ *outbound.Config) { c.Ports = []uint16{443, uint16(port)} },
	} {
		f := newFetcher(change)
		for i, to := range targets {
			base := "/" + url.PathEscape(name) + "/" + strconv.Itoa(i)
			s.redirect("/"+name+"/"+strconv.Itoa(i)+"/away", to, 302)
			for what, head := range map[string]string{
				"image":             `<meta property="og:image" content="` + to + `">`,
				"redirected-image":  `<meta property="og:image" content="away">`,
				"oembed":            `<link rel="alternate" type="application/json+oembed" href="` + to + `">`,
				"redirected-oembed": `<link rel="alternate" type="application/json+oembed" href="away">`,
				"base":              `<base href="` + to + `"><meta property="og:image" content="x.png">`,
				"oembed-thumbnail":  `<link rel="alternate" type="application/json+oembed" href="json">`,
			} {
				page := "/" + name + "/" + strconv.Itoa(i) + "/" + what
				s.serve(page, "text/html", head+"<title>page</title>")
				if what == "oembed-thumbnail" {
					s.serve("/"+name+"/"+strconv.Itoa(i)+"/json", "application/json", `{"type":"photo","url":"`+to+`"}`)
				}
				p, err := f.Fetch(t.Context(), s.URL+base+"/"+url.PathEscape(what), "")
				if err != nil || p.Properties["og:title"] != "page" || p.Image != nil {
					t.Errorf("%s, %s: %v %v", name, what, p, err)
				}
			}
			_, err := f.Fetch(t.Context(), s.URL+base+"/away", "")
			mustBeNothing(t, "redirect", err)
			_, err = f.Fetch(t.Context(), to, "")
			mustBeNothing(t, "page", err)
		}
	}
	if blocked.Load()+denied.Load() > 0 {
		t.Errorf("%d blocked and %d denied connections", blocked.Load(), denied.Load())
	}
	none := newFetcher(func(c *Config, _ *outbound.Config) { c.Allowed = func(*url.URL) bool { return false } })
	_, err = none.Fetch(t.Context(), s.URL, "")
	mustBeNothing(t, "an empty list", err)
	if s.last.Load().URL.Path == "/" {
		t.Error("an empty list allowed something")
	}
}
