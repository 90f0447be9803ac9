package hstest

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/hstest/freeport"
)

// SMSCServer is a short message centre of the test's own, which speaks SMPP 3.4. It is of others' making (tests/smsc).
type SMSCServer struct {
	Address, TLSAddress string // host:port
	SystemID, Password  string
	RootCAs             *x509.CertPool
	CAFile              string

	control string
	program
	command func() *exec.Cmd
}

// SMSCSeen is what came to a centre.
type SMSCSeen struct {
	Binds []struct {
		Kind     string `json:"kind"`
		SystemID string `json:"systemId"`
	} `json:"binds"`
	Submits []SMSCSubmit `json:"submits"`
	// Texts are whole messages, put together of their parts.
	Texts          []SMSCText `json:"texts"`
	Enquiries      int        `json:"enquiries"`
	Unbinds        int        `json:"unbinds"`
	ReceiptAnswers []int      `json:"receiptAnswers"` // command_status
	Connections    int        `json:"connections"`
	Nacks          int        `json:"nacks"`
	Outstanding    int        `json:"outstanding"` // the most submit_sm without an answer
	Owed           int        `json:"owed"`        // receipts
	Bound          int        `json:"bound"`
}

// SMSCSubmit is a submit_sm.
type SMSCSubmit struct {
	To        string `json:"to"`
	From      string `json:"from"`
	SourceTON int    `json:"sourceTon"`
	SourceNPI int    `json:"sourceNpi"`
	DestTON   int    `json:"destTon"`
	DestNPI   int    `json:"destNpi"`
	Coding    int    `json:"coding"`
	ESMClass  int    `json:"esmClass"`
	Receipt   int    `json:"receipt"`
	Validity  bool   `json:"validity"`
	UDH       string `json:"udh"`
	Text      string `json:"text"`
	Length    int    `json:"length"`
}

// SMSCText is a message as a phone shows it.
type SMSCText struct {
	To     string `json:"to"`
	From   string `json:"from"`
	Coding int    `json:"coding"`
	Text   string `json:"text"`
	Parts  int    `json:"parts"`
}

// SMSC starts a centre and stops it at the end of the test.
func SMSC(t testing.TB) *SMSCServer {
	t.Helper()
	_, file, _, _ := runtime.Caller(0)
	folder := filepath.Join(filepath.Dir(file), "../../tests/smsc")
	if _, err := os.Stat(filepath.Join(folder, "node_modules/smpp/package.json")); err != nil {
		t.Fatal("hstest: the short message centre is not installed: make tests/smsc/node_modules")
	}
	s := &SMSCServer{SystemID: "roomline", Password: "secret", CAFile: filepath.Join(t.TempDir(), "cert.pem")}
	key := filepath.Join(filepath.Dir(s.CAFile), "key.pem")
	s.RootCAs = Certificate(t, s.CAFile, key)
	for _, address := range []*string{&s.Address, &s.TLSAddress, &s.control} {
		var err error
		if *address, err = freeport.Address(); err != nil {
			t.Fatalf("hstest: %v", err)
		}
	}
	port := func(address string) string { _, port, _ := net.SplitHostPort(address); return port }
	s.command = func() *exec.Cmd {
		return exec.Command("node", filepath.Join(folder, "smsc.mjs"), "--smpp", port(s.Address), "--tls", port(s.TLSAddress),
			"--control", port(s.control), "--cert", s.CAFile, "--key", key)
	}
	t.Cleanup(func() {
		_ = s.kill()
		if t.Failed() {
			t.Logf("hstest: log of the short message centre:\n%s", s.logs.tail(16<<10))
		}
	})
	s.Restart(t)
	return s
}

// Behave changes what the centre does: a JSON object of what differs from the usual (tests/smsc/smsc.mjs).
func (s *SMSCServer) Behave(t testing.TB, behaviour string) {
	t.Helper()
	s.post(t, "/behave", behaviour)
}

// Receipts sends receipts that are owed; state is DELIVRD, UNDELIV and so on, count 0 is all.
func (s *SMSCServer) Receipts(t testing.TB, count int, state string) {
	t.Helper()
	s.post(t, "/receipts", fmt.Sprintf(`{"count":%d,"state":%q}`, count, state))
}

// Do does one of again (the last receipt), drop, unbind, odd and garbage (to all connections).
func (s *SMSCServer) Do(t testing.TB, what string) { t.Helper(); s.post(t, "/"+what, "{}") }

// Seen is what has come in.
func (s *SMSCServer) Seen(t testing.TB) SMSCSeen {
	t.Helper()
	var seen SMSCSeen
	if err := json.Unmarshal(s.ask(t, http.MethodGet, "/seen", ""), &seen); err != nil {
		t.Fatalf("hstest: %v", err)
	}
	return seen
}

// Await waits until what has come in is as wanted.
func (s *SMSCServer) Await(t testing.TB, what string, wanted func(SMSCSeen) bool) SMSCSeen {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		seen := s.Seen(t)
		if wanted(seen) {
			return seen
		}
		if time.Now().After(deadline) {
			t.Fatalf("the short message centre never saw %s: %+v", what, seen)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Kill9 ends the centre at once.
func (s *SMSCServer) Kill9(t testing.TB) {
	t.Helper()
	if err := s.kill(); err != nil {
		t.Fatalf("hstest: kill the short message centre: %v", err)
	}
}

// Restart starts the centre anew, without memory.
func (s *SMSCServer) Restart(t testing.TB) {
	t.Helper()
	if err := s.run(s.command()); err != nil {
		t.Fatalf("hstest: start the short message centre (is Node.js installed?): %v", err)
	}
	s.wait(t, func(context.Context) error {
		line := s.logs.find("listening smpp=")
		if !strings.HasSuffix(line, " .") {
			return errors.New("it does not listen yet")
		}
		resp, err := http.Get("http://" + s.control + "/seen")
		if err == nil {
			resp.Body.Close()
		}
		return err
	})
}

func (s *SMSCServer) post(t testing.TB, path, body string) {
	t.Helper()
	s.ask(t, http.MethodPost, path, body)
}

func (s *SMSCServer) ask(t testing.TB, method, path, body string) []byte {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+s.control+path, bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatalf("hstest: %v", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("hstest: the short message centre: %v", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("hstest: the short message centre: %s: %d %s %v", path, resp.StatusCode, text, err)
	}
	return text
}
