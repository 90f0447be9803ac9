package main

import (
	"os"
	"testing"
)

// A server inside a test starts this program again as LiveKit, which has to be that and not the tests once more.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "livekit" {
		os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}
