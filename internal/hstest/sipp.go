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
	if err != nil {
		t.Fatalf("hstest: %v", err)
	}
	host := "127.0.0.1"
	if o.V6 {
		host = "::1"
	}
	c.Address = net.JoinHostPort(host, strconv.Itoa(port))
	args := []string{"-sf", file, "-m", "1", "-i", host, "-mi", host, "-p", strconv.Itoa(port), "-mp", strconv.Itoa(media &^ 1),
		"-nostdin", "-trace_err", "-timeout", "80s", "-timeout_error", "-default_behaviors", "all,-bye"}
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
	network := map[bool]string{true: "tcp", false: "udp"}[tcp]
	for range 200 {
		conn, err := net.ListenPacket("udp", c.Address)
		if network == "tcp" {
			var l net.Listener
			if l, err = net.Listen("tcp", c.Address); err == nil {
				l.Close()
			}
		} else if err == nil {
			conn.Close()
		}
		if err != nil { // somebody has it: sipp
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Fatalf("hstest: sipp does not listen: %s", c.log())
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
