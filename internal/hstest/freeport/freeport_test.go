package freeport_test

import (
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/roomline/roomline/internal/hstest/freeport"
)

// Processes that claim at the same time get different ports, on all of which they can listen.
func TestProcessesShareNoPort(t *testing.T) {
	const processes, each = 8, 200
	if os.Getenv("FREEPORT_CLAIMS") != "" {
		for range each {
			port, err := freeport.Claim()
			if err != nil {
				t.Fatal(err)
			}
			l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
			if err != nil {
				t.Fatal(err)
			}
			l.Close()
			os.Stdout.WriteString("claimed " + strconv.Itoa(port) + "\n")
		}
		os.Stdout.WriteString("ready\n")
		_, _ = os.Stdin.Read(make([]byte, 1)) // holds them until all have claimed
		return
	}
	seen := map[string]int{}
	for i := range processes {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestProcessesShareNoPort$")
		cmd.Env = append(os.Environ(), "FREEPORT_CLAIMS=1")
		hold, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { hold.Close(); _ = cmd.Wait() })
		text, buffer := "", make([]byte, 4096)
		for !strings.Contains(text, "ready\n") {
			n, err := out.Read(buffer)
			if err != nil {
				t.Fatalf("process %d: %v after %s", i, err, text)
			}
			text += string(buffer[:n])
		}
		for line := range strings.Lines(text) {
			if port, ok := strings.CutPrefix(strings.TrimSpace(line), "claimed "); ok {
				seen[port]++
			}
		}
	}
	if len(seen) != processes*each {
		t.Errorf("%d different ports for %d claims", len(seen), processes*each)
	}
}
