package blob

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Folder keeps each object in a file: o/acme/k7f3q in <dir>/o/acme/3q.d/k7f3q. The directory before the name is made of the name's
// last two characters, as many as a folder with a million objects needs, and its dot tells it from the segments of keys.
//
// A file is written under a temporary name beside its own, .<name>.<random>, and renamed when it is on the disk.
type Folder struct {
	dir string
}

var _ Store = (*Folder)(nil)

// fanEnd ends the names of directories that hold files.
const fanEnd = ".d"

// NewFolder returns the store in dir, which is made if it is missing.
func NewFolder(dir string) (*Folder, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of media: %w", err)
	}
	return &Folder{dir}, nil
}

// place is the directory of a key's file, and the file's name in it.
func (f *Folder) place(key string) (dir, name string, err error) {
	if err := checkKey(key); err != nil {
		return "", "", err
	}
	parent, name := filepath.Split(filepath.FromSlash(key))
	fan := name[max(0, len(name)-2):]
	return filepath.Join(f.dir, parent, fan+fanEnd), name, nil
}

// Put implements Store.
func (f *Folder) Put(ctx context.Context, key string, r io.Reader, size int64) error {
	dir, name, err := f.place(key)
	if err != nil {
		return err
	}
	if err := f.makeDir(dir); err != nil {
		return f.wrap(err)
	}
	e := newExact(r, size)
	defer e.stop()
	temporary := filepath.Join(dir, "."+name+"."+rand.Text())
	if err := f.write(ctx, temporary, e); err != nil {
		_ = os.Remove(temporary) // or Delete does, later
		if failure := e.failure(); failure != nil {
			return failure
		}
		return f.wrap(err)
	}
	if err := os.Rename(temporary, filepath.Join(dir, name)); err != nil {
		_ = os.Remove(temporary)
		return f.wrap(err)
	}
	if err := syncDir(dir); err != nil {
		_ = os.Remove(filepath.Join(dir, name))
		return f.wrap(err)
	}
	return nil
}

// PutBytes implements Store. Nothing is on the disk before it is noted: not even what a process leaves of a file when it is killed.
func (f *Folder) PutBytes(ctx context.Context, key string, content []byte, _ [sha256.Size]byte, noted func() error) error {
	if err := noted(); err != nil {
		return err
	}
	return f.Put(ctx, key, bytes.NewReader(content), int64(len(content)))
}

// copyBuffers are what files are written by.
var copyBuffers = sync.Pool{New: func() any { return new([128 << 10]byte) }}

// write makes a file of what e yields, on the disk when it returns.
func (f *Folder) write(ctx context.Context, path string, e *exact) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	buffer := copyBuffers.Get().(*[128 << 10]byte)
	defer copyBuffers.Put(buffer)
	for err == nil {
		if err = ctx.Err(); err != nil {
			break
		}
		n, readErr := e.Read(buffer[:])
		if n > 0 {
			_, err = file.Write(buffer[:n])
		}
		if err == nil {
			err = readErr
		}
	}
	if err == io.EOF {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// makeDir makes a directory below the store's, and sees to it that each is on the disk before something is put into it. The store's own
// is not made: where it is missing a disk may not be mounted.
func (f *Folder) makeDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrNotExist) && filepath.Dir(dir) != f.dir {
		if err := f.makeDir(filepath.Dir(dir)); err != nil {
			return err
		}
		err = os.Mkdir(dir, 0o700)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// wrap says what an error of the file system means.
func (f *Folder) wrap(err error) error {
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: %w", ErrFull, err)
	case errors.Is(err, syscall.EIO), errors.Is(err, syscall.ESTALE), errors.Is(err, syscall.EROFS), errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return &unavailable{err}
	}
	if _, statErr := os.Stat(f.dir); statErr != nil {
		return &unavailable{statErr}
	}
	return err
}

// Get implements Store.
func (f *Folder) Get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	dir, name, err := f.place(key)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(checkRange(offset, length), ctx.Err()); err != nil {
		return nil, err
	}
	file, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		if err = f.wrap(err); errors.Is(err, fs.ErrNotExist) && !isUnavailable(err) {
			return nil, ErrNotFound
		}
		return nil, err
	}
	info, err := file.Stat()
	if err == nil {
		_, err = file.Seek(offset, io.SeekStart)
	}
	if err != nil {
		file.Close()
		return nil, f.wrap(err)
	}
	rest := max(0, info.Size()-offset)
	if length >= 0 {
		rest = min(rest, length)
	}
	return &fileRange{io.LimitedReader{R: file, N: rest}, file}, nil
}

func isUnavailable(err error) bool {
	var u *unavailable
	return errors.As(err, &u)
}

// fileRange is a part of a file.
type fileRange struct {
	io.LimitedReader
	file *os.File
}

// Read says so when the file ends before the range does.
func (r *fileRange) Read(p []byte) (int, error) {
	n, err := r.LimitedReader.Read(p)
	if err == io.EOF && r.N > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// WriteTo lets the kernel copy from the file to a socket.
func (r *fileRange) WriteTo(w io.Writer) (int64, error) {
	n, err := io.Copy(w, &r.LimitedReader)
	if err == nil && r.N > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (r *fileRange) Close() error { return r.file.Close() }

// DeleteStored implements Store.
func (f *Folder) DeleteStored(ctx context.Context, keys ...string) error {
	return f.Delete(ctx, keys...)
}

// Delete implements Store. The directories stay: there are not many, and a Put may be about to use one.
func (f *Folder) Delete(ctx context.Context, keys ...string) error {
	byDir := map[string]map[string]bool{}
	for _, key := range keys {
		dir, name, err := f.place(key)
		if err != nil {
			return err
		}
		if byDir[dir] == nil {
			byDir[dir] = map[string]bool{}
		}
		byDir[dir][name] = true
	}
	for dir, names := range byDir {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := deleteIn(dir, names); err != nil {
			return f.wrap(err)
		}
	}
	// A directory that is not there is empty, unless all of them are not there.
	_, err := os.Stat(f.dir)
	return f.wrap(err)
}

// deleteIn removes files and the temporary ones of these names, on the disk too when it returns.
func deleteIn(dir string, names map[string]bool) error {
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.Close()
	there, err := d.Readdirnames(-1)
	if err != nil {
		return err
	}
	removed := false
	for _, file := range there {
		name := file
		if temporary, ok := strings.CutPrefix(file, "."); ok {
			name, _, _ = strings.Cut(temporary, ".")
		}
		if !names[name] {
			continue
		}
		if err := os.Remove(filepath.Join(dir, file)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		removed = true
	}
	if !removed {
		return nil
	}
	return d.Sync()
}

// List implements Store.
func (f *Folder) List(ctx context.Context, prefix string, call func(Object) error) error {
	prefix, err := checkPrefix(prefix)
	if err != nil {
		return err
	}
	top := filepath.Join(f.dir, filepath.FromSlash(prefix))
	err = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path != f.dir {
			return nil // not there, or not any more
		}
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		dir, fan := filepath.Split(filepath.Dir(path))
		if d.IsDir() || !strings.HasSuffix(fan, fanEnd) || strings.HasPrefix(d.Name(), ".") {
			return nil
		}
		parent, err := filepath.Rel(f.dir, dir)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return call(Object{Key: filepath.ToSlash(filepath.Join(parent, d.Name())), Size: info.Size(), Modified: info.ModTime()})
	})
	return f.wrap(err)
}

// Presign implements Store: files have no URL.
func (f *Folder) Presign(context.Context, string, time.Duration, string, string) (string, error) {
	return "", nil
}

// Check implements Store: a file can be made.
func (f *Folder) Check(context.Context) error {
	file, err := os.CreateTemp(f.dir, ".check.")
	if err != nil {
		return f.wrap(fmt.Errorf("write into the folder of media: %w", err))
	}
	return f.wrap(errors.Join(file.Close(), os.Remove(file.Name())))
}
