package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestProgramPages(t *testing.T) {
	for line, want := range map[string][2]uintptr{
		"00400000-02267000 r-xp 00000000 fe:00 123                /opt/roomline": {0x400000, 0x1e67000},
		"02267000-04c0c000 r--p 01e67000 fe:00 123                /opt/roomline": {0x2267000, 0x29a5000},
		"04c0c000-04f17000 rw-p 0480c000 fe:00 123                /opt/roomline": {},
		"7f0000000000-7f0000001000 r-xp 00000000 fe:00 77         /lib/other":    {},
		"7f0000000000-7f0000001000 r-xp 00000000 00:00 0":                        {},
		"what-ever r-xp 00000000 fe:00 123                        /opt/roomline": {},
		"": {},
	} {
		start, size, ok := programPages(line, "/opt/roomline")
		if got := [2]uintptr{start, size}; got != want || ok != (want != [2]uintptr{}) {
			t.Errorf("%q: %x %t", line, got, ok)
		}
	}
}

// What the start needed is given back, and the program goes on.
func TestForgetStart(t *testing.T) {
	resident := func() (kib int) {
		text, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), "RssFile:")
		if _, err := fmt.Sscan(rest, &kib); err != nil {
			t.Fatal(err)
		}
		return kib
	}
	before := resident()
	forgetStart()
	if after := resident(); after > before*3/4 {
		t.Errorf("%d KiB of files before, %d after", before, after)
	}
}
