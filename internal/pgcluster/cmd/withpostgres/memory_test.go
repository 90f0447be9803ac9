package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func TestWhatAKilledRunLeftIsSwept(t *testing.T) {
	parent := t.TempDir()
	left := map[string]*os.File{}
	for _, name := range []string{"killed", "running", "young"} {
		dir := filepath.Join(parent, prefix+name, "postgres")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		lock, err := os.Create(filepath.Join(dir, "lock"))
		if err != nil {
			t.Fatal(err)
		}
		defer lock.Close()
		left[name] = lock
		if name != "young" {
			before := time.Now().Add(-time.Hour)
			if err := os.Chtimes(lock.Name(), before, before); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := syscall.Flock(int(left["running"].Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	sweep(parent)
	for name, stays := range map[string]bool{"killed": false, "running": true, "young": true} {
		if _, err := os.Stat(left[name].Name()); (err == nil) != stays {
			t.Errorf("%s: %v", name, err)
		}
	}
}
