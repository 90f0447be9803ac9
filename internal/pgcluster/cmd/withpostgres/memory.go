package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	shm    = "/dev/shm"
	prefix = "roomline-withpostgres-"
	// enough is the memory that must be free: a run of all tests takes less than a third of it.
	enough = 3 << 30
)

// inMemory is the directory for files in memory if it has room, else "". Every test makes a database of some hundred files, and
// that costs a file system on a disk six times as much work.
func inMemory(dir string) string {
	var fs syscall.Statfs_t
	if syscall.Statfs(dir, &fs) != nil || fs.Bavail*uint64(fs.Bsize) < enough || availableMemory() < enough {
		return ""
	}
	return dir
}

// availableMemory is what programs can still have, 0 if nobody knows.
func availableMemory() uint64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var kib uint64
		if _, err := fmt.Sscanf(lines.Text(), "MemAvailable: %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	return 0
}

// sweep removes what a run that was killed has left in memory: its directory's lock is nobody's.
func sweep(parent string) {
	left, _ := filepath.Glob(filepath.Join(parent, prefix+"*"))
	for _, dir := range left {
		lock, err := os.Open(filepath.Join(dir, "postgres", "lock"))
		if err != nil {
			continue
		}
		// A young one may be about to take its lock.
		info, err := lock.Stat()
		if err == nil && time.Since(info.ModTime()) > time.Minute && syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			_ = os.RemoveAll(dir)
		}
		lock.Close()
	}
}
