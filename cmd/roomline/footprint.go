package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"syscall"
)

// forgetStart gives back to the system what only the start needed: garbage, such as what hashed the passwords of example users, and those
// pages of the program's own file that nothing has run or read since. They come back from the page cache when they are wanted; until then they
// are not the process's, and the first to go when memory is short. What can't be given back is kept.
func forgetStart() {
	debug.FreeOSMemory()
	smaps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return // not Linux
	}
	defer smaps.Close()
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	for _, p := range programPages(smaps, self) {
		_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, p.start, p.size, syscall.MADV_DONTNEED)
	}
}

// pages are some in a row.
type pages struct {
	start, size uintptr
}

// programPages reads /proc/self/smaps: where pages of the program's file are that nobody can write to, and nobody has. Where a program is linked
// for the system's loader, as one with C in it is, that writes addresses into pages before it makes them read-only; the file does not have them.
func programPages(smaps io.Reader, file string) (all []pages) {
	var current pages // none: not the program's
	for lines := bufio.NewScanner(smaps); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) == 0:
		case fields[0] == "Anonymous:":
			if current.size > 0 && fields[1] == "0" {
				all = append(all, current)
			}
		case !strings.HasSuffix(fields[0], ":"):
			current = programPart(fields, file)
		}
	}
	return all
}

// programPart is where a part of the program's file is that nobody can write to.
func programPart(fields []string, file string) pages {
	if len(fields) != 6 || fields[5] != file || strings.Contains(fields[1], "w") { // addresses, rights, offset, device, inode, file
		return pages{}
	}
	var start, end uintptr
	if _, err := fmt.Sscanf(fields[0], "%x-%x", &start, &end); err != nil || end <= start {
		return pages{}
	}
	return pages{start, end - start}
}
