package main

import (
	"bufio"
	"fmt"
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
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return // not Linux
	}
	defer maps.Close()
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		if start, size, ok := programPages(lines.Text(), self); ok {
			_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, start, size, syscall.MADV_DONTNEED)
		}
	}
}

// programPages reads a line of /proc/self/maps: where pages of the program's file are that nobody can have written to.
func programPages(line, file string) (start, size uintptr, ok bool) {
	fields := strings.Fields(line) // addresses, rights, offset, device, inode, file
	if len(fields) != 6 || fields[5] != file || strings.Contains(fields[1], "w") {
		return 0, 0, false
	}
	var end uintptr
	if _, err := fmt.Sscanf(fields[0], "%x-%x", &start, &end); err != nil || end <= start {
		return 0, 0, false
	}
	return start, end - start, true
}
