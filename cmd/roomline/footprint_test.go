package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestProgramPages(t *testing.T) {
	const smaps = `
00400000-02267000 r-xp 00000000 fe:00 123                /opt/roomline
Size:              31132 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
02267000-04c0c000 r--p 01e67000 fe:00 123                /opt/roomline
Anonymous:             0 kB
04c0c000-04f17000 r--p 0480c000 fe:00 123                /opt/roomline
Size:               3116 kB
Anonymous:            12 kB
04f17000-04f20000 rw-p 04b17000 fe:00 123                /opt/roomline
Anonymous:             0 kB
7f0000000000-7f0000001000 r-xp 00000000 fe:00 77         /lib/other
Anonymous:             0 kB
7f0000002000-7f0000003000 r-xp 00000000 00:00 0
Anonymous:             0 kB
what-ever r-xp 00000000 fe:00 123                        /opt/roomline
Anonymous:             0 kB
`
	if got, want := programPages(strings.NewReader(smaps), "/opt/roomline"), []pages{{0x400000, 0x1e67000}, {0x2267000, 0x29a5000}}; !slices.Equal(got, want) {
		t.Errorf("%x", got)
	}
}

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
