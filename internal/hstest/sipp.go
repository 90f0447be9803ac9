package hstest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/hstest/freeport"
)

// SIPpCall is a carrier with a phone behind it, played by SIPp from a scenario.
type SIPpCall struct {
	// Address is where it speaks SIP.
	Address string

	cmd    *exec.Cmd
	dir    string
	output bytes.Buffer
	done   chan error
}

// SIPpOptions say what it does.
type SIPpOptions struct {
	// Scenario is XML. {key N} in it presses a key, as RFC 4733 has it in payload type 101, and waits for its end; N is 0 to 9, star or pound.
	Scenario string
	// To is host:port of whom it calls; empty: it waits to be called.
	To string
	// V6 speaks by IPv6: scenarios write [media_ip] in descriptions, since [local_ip] has brackets then.
	V6 bool
	// TCP speaks SIP by TCP, and not by UDP.
	TCP bool
	// Echo sends all audio back.
	Echo bool
	// Number is the value of [service] in the scenario.
	Number string
}

// SIPp starts one call, as caller or as called.
func SIPp(t testing.TB, o SIPpOptions) *SIPpCall {
	t.Helper()
	binary, err := exec.LookPath("sipp")
	if err != nil {
		t.Fatal("hstest: sipp is not installed: make sipp")
	}
	c := &SIPpCall{dir: t.TempDir(), done: make(chan error, 1)}
	scenario := o.Scenario
	for _, key := range []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "star", "pound"} {
		scenario = strings.ReplaceAll(scenario, "{key "+key+"}",
			`<nop><action><exec play_pcap_audio="/usr/share/sip-tester/dtmf_2833_`+key+`.pcap"/></action></nop><pause milliseconds="450"/>`)
	}
	file := filepath.Join(c.dir, "scenario.xml")
	if err := os.WriteFile(file, []byte(scenario), 0o600); err != nil {
		t.Fatalf("hstest: %v", err)
	}
	port, err := freeport.Claim()
	if err != nil {
		t.Fatalf("hstest: %v", err)
	}
	media, err := freeport.Claim()
	for err == nil && media%2 != 0 { // RTP wants an even one
		media, err = freeport.Claim()
	}
	if err != nil {
		t.Fatalf("hstest: %v", err)
	}
	host := "127.0.0.1"
	if o.V6 {
		host = "::1"
	}
	c.Address = net.JoinHostPort(host, strconv.Itoa(port))
	args := []string{"-sf", file, "-m", "1", "-i", host, "-mi", host, "-p", strconv.Itoa(port), "-mp", strconv.Itoa(media),
		"-nostdin", "-trace_err", "-timeout", "300s", "-timeout_error", "-default_behaviors", "all,-bye"}
	if o.TCP {
		args = append(args, "-t", "t1")
	}
	if o.Echo {
		args = append(args, "-rtp_echo")
	}
	if o.Number != "" {
		args = append(args, "-s", o.Number)
	}
	if o.To != "" {
		args = append(args, o.To)
	}
	c.cmd = exec.Command(binary, args...)
	c.cmd.Dir, c.cmd.Stdout, c.cmd.Stderr = c.dir, &c.output, &c.output
	if err := c.cmd.Start(); err != nil {
		t.Fatalf("hstest: start sipp: %v", err)
	}
	go func() { c.done <- c.cmd.Wait(); close(c.done) }()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		<-c.done
	})
	if o.To == "" {
		c.listens(t, o.TCP)
	}
	return c
}

// listens waits until it can be called.
func (c *SIPpCall) listens(t testing.TB, tcp bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(25 * time.Millisecond) {
		if isTaken(t, c.Address, tcp) {
			return
		}
	}
	t.Fatalf("hstest: sipp does not listen: %s", c.log())
}

// isTaken reports whether somebody listens at a port. The kernel is asked: who tried it by listening would be in the way of who is about to.
func isTaken(t testing.TB, address string, tcp bool) bool {
	t.Helper()
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatalf("hstest: %v", err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("hstest: %v", err)
	}
	files, state := []string{"/proc/net/udp", "/proc/net/udp6"}, ""
	if tcp {
		files, state = []string{"/proc/net/tcp", "/proc/net/tcp6"}, "0A" // listening
	}
	for _, file := range files {
		list, err := os.ReadFile(file)
		if err != nil {
			continue // a machine without IPv6
		}
		for line := range strings.Lines(string(list)) {
			fields := strings.Fields(line)
			if len(fields) > 3 && strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", port)) && (state == "" || fields[3] == state) {
				return true
			}
		}
	}
	return false
}

// Tell sends a request within its call, for which a scenario may wait: it goes on when the test says so. callID is what it calls the call.
func (c *SIPpCall) Tell(t testing.TB, method, callID string) {
	t.Helper()
	conn, err := net.Dial("udp", c.Address)
	if err != nil {
		t.Fatalf("hstest: %v", err)
	}
	defer conn.Close()
	from := conn.LocalAddr().String()
	if _, err := fmt.Fprintf(conn, "%s sip:sipp@%s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bKtold\r\nFrom: <sip:test@%s>;tag=test\r\nTo: <sip:sipp@%s>\r\nCall-ID: %s\r\nCSeq: 1 %s\r\nContent-Length: 0\r\n\r\n",
		method, c.Address, from, from, c.Address, callID, method); err != nil {
		t.Fatalf("hstest: %v", err)
	}
}

// Wait returns when the scenario is over, and fails the test if it went otherwise than written.
func (c *SIPpCall) Wait(t testing.TB) {
	t.Helper()
	if err := c.End(t.Context()); err != nil {
		t.Fatalf("hstest: sipp: %v", err)
	}
}

// End returns when the scenario is over: nil if it went as written.
func (c *SIPpCall) End(ctx context.Context) error {
	select {
	case err, ok := <-c.done:
		if err != nil || !ok {
			return fmt.Errorf("%v: %s", err, c.log())
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// log is what it printed last, and the errors that it wrote into a file.
func (c *SIPpCall) log() string {
	var text strings.Builder
	files, _ := filepath.Glob(filepath.Join(c.dir, "*_errors.log"))
	for _, file := range files {
		b, _ := os.ReadFile(file)
		text.Write(b)
	}
	b := c.output.Bytes()
	text.Write(b[max(0, len(b)-2000):])
	return text.String()
}
