package blob

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func newFolder(t *testing.T, dir string) *Folder {
	t.Helper()
	f, err := NewFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// REL-18: an upload for which there is no space fails cleanly, and all goes on when there is space again.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("SKIPPED: the full disk is not tested, because this user may not mount a small one: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	f := newFolder(t, dir)
	put(t, f, key(1), noiseBytes(t, 1, 3<<20))
	for _, announced := range []int64{8 << 20, -1} {
		err := f.Put(t.Context(), key(2), noise(2, 8<<20), announced)
		if !errors.Is(err, ErrFull) || isUnavailable(err) {
			t.Errorf("got error %v, want ErrFull", err)
		}
		if files := filesIn(t, dir); len(files) != 1 {
			t.Errorf("left: %q", files)
		}
	}
	if !bytes.Equal(get(t, f, key(1), 0, -1), noiseBytes(t, 1, 3<<20)) {
		t.Error("what was there is not there any more")
	}
	if err := f.Delete(t.Context(), key(1)); err != nil {
		t.Fatal(err)
	}
	put(t, f, key(2), noiseBytes(t, 2, 3<<20))
}

func TestDeleteRemovesWhatACrashLeft(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := newFolder(t, dir)
	put(t, f, "o/acme/k7f3q", []byte("whole"))
	place := filepath.Join(dir, "o", "acme", "3q.d")
	if _, err := os.Stat(filepath.Join(place, "k7f3q")); err != nil {
		t.Errorf("the file is not where it should be: %v", err)
	}
	for _, name := range []string{".k7f3q.ABC", ".k7f3q.DEF", ".other3q.ABC"} {
		if err := os.WriteFile(filepath.Join(place, name), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if found := list(t, f, ""); len(found) != 1 {
		t.Errorf("list: got %v", found)
	}
	if err := f.Delete(t.Context(), "o/acme/k7f3q"); err != nil {
		t.Fatal(err)
	}
	if files := filesIn(t, dir); len(files) != 1 || filepath.Base(files[0]) != ".other3q.ABC" {
		t.Errorf("left: %q", files)
	}
}

// A folder that is gone is a disk that is not mounted: nothing is written where it would be, and nothing is said to be missing.
func TestMissingFolderIsUnavailable(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "mounted")
	f := newFolder(t, dir)
	put(t, f, key(1), []byte("here"))
	if err := os.Rename(dir, dir+"-elsewhere"); err != nil {
		t.Fatal(err)
	}
	wantUnavailable(t, "put", f.Put(t.Context(), key(2), strings.NewReader("x"), 1))
	_, err := f.Get(t.Context(), key(1), 0, -1)
	wantUnavailable(t, "get", err)
	wantUnavailable(t, "delete", f.Delete(t.Context(), key(1)))
	wantUnavailable(t, "list", f.List(t.Context(), "", func(Object) error { return nil }))
	wantUnavailable(t, "check", f.Check(t.Context()))
	if err := os.Rename(dir+"-elsewhere", dir); err != nil {
		t.Fatal(err)
	}
	if got := get(t, f, key(1), 0, -1); string(got) != "here" {
		t.Errorf("got %q", got)
	}
	if err := f.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// A key may be the beginning of another: files and directories do not get into each other's way.
func TestKeysBelowKeys(t *testing.T) {
	t.Parallel()
	f := newFolder(t, t.TempDir())
	keys := []string{"a", "a/a", "a/a/a", "ab", "ab/ab", "ab/ab/ab", "d", "d/d"}
	for _, k := range keys {
		put(t, f, k, []byte(k))
	}
	for _, k := range keys {
		if got := get(t, f, k, 0, -1); string(got) != k {
			t.Errorf("%s: got %q", k, got)
		}
	}
	if n := len(list(t, f, "")); n != len(keys) {
		t.Errorf("%d keys are listed, want %d", n, len(keys))
	}
}

func TestFileThatWasCutIsNoShortObject(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := newFolder(t, dir)
	put(t, f, key(1), noiseBytes(t, 1, 1<<20))
	for name, read := range map[string]func(io.Reader) error{
		"Read":    func(r io.Reader) error { _, err := io.Copy(io.Discard, struct{ io.Reader }{r}); return err },
		"WriteTo": func(r io.Reader) error { _, err := io.Copy(io.Discard, r); return err },
	} {
		r, err := f.Get(t.Context(), key(1), 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(filesIn(t, dir)[0], 100); err != nil {
			t.Fatal(err)
		}
		if err := read(r); err != io.ErrUnexpectedEOF {
			t.Errorf("%s: got error %v, want an unexpected end", name, err)
		}
		r.Close()
		put(t, f, key(1), noiseBytes(t, 1, 1<<20))
	}
}
