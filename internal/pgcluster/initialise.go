package pgcluster

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/roomline/roomline/internal/child"
)

// socketPathMax is the longest path of a unix socket (sun_path without its NUL).
const socketPathMax = 107

// lockDirectory makes this process the only one that runs a cluster in dir.
func lockDirectory(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := os.ReadFile(f.Name())
		f.Close()
		return nil, fmt.Errorf("%w by process %s: stop it, or use another data directory", ErrInUse, strings.TrimSpace(string(holder)))
	}
	if err := f.Truncate(0); err != nil {
		f.Close()
		return nil, err
	}
	if _, err := f.WriteString(strconv.Itoa(os.Getpid()) + "\n"); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// socketNote is the file that says where the socket is, for Running.
func socketNote(dir string) string { return filepath.Join(dir, "socket") }

// makeSocketDirectory uses run/ where a socket fits and PostgreSQL may reach it, else a directory for temporary files.
func (c *Cluster) makeSocketDirectory() error {
	fits := func(dir string) bool { return len(filepath.Join(dir, ".s.PGSQL.5432")) <= socketPathMax }
	c.socket = filepath.Join(c.opts.Dir, "run")
	if !fits(c.socket) || !c.owner.mayEnter(c.opts.Dir) {
		dir, err := os.MkdirTemp("", "roomline-pg-")
		if err != nil {
			return err
		}
		c.socket, c.removeSocket = dir, true
		if !fits(dir) {
			return fmt.Errorf("the path %s is too long for a unix socket; set TMPDIR to a shorter one", dir)
		}
		if !c.owner.mayEnter(filepath.Dir(dir)) {
			return fmt.Errorf("user %s, as whom PostgreSQL runs, may not enter %s; set TMPDIR to a directory that it may enter", c.owner.name, filepath.Dir(dir))
		}
	}
	if err := os.MkdirAll(c.socket, 0o700); err != nil {
		return err
	}
	if err := c.owner.own(c.socket); err != nil {
		return err
	}
	return writeFileSync(socketNote(c.opts.Dir), c.socket+"\n")
}

func (c *Cluster) initialised() bool {
	_, err := os.Stat(filepath.Join(c.data, "PG_VERSION"))
	return err == nil
}

// initialise makes data/, once. It is made under another name first, so that data/ is whole when it exists.
func (c *Cluster) initialise(ctx context.Context) error {
	if c.initialised() {
		return nil
	}
	unfinished := c.data + ".new"
	if err := os.RemoveAll(unfinished); err != nil {
		return err
	}
	if err := os.Mkdir(unfinished, 0o700); err != nil {
		return err
	}
	if err := c.owner.own(unfinished); err != nil {
		return err
	}
	handedOver := filepath.Join(c.socket, "password") // a copy that initdb may read
	defer os.Remove(handedOver)
	if err := os.WriteFile(handedOver, []byte(c.password+"\n"), 0o600); err != nil {
		return err
	}
	if err := c.owner.own(handedOver); err != nil {
		return err
	}
	cmd, release, err := c.command(ctx, "initdb", unfinished)
	if err != nil {
		return err
	}
	defer release()
	cmd.Args = append(cmd.Args, "--username="+superuser, "--pwfile="+handedOver, "--auth=scram-sha-256",
		"--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums")
	if c.opts.UnsafeFast {
		cmd.Args = append(cmd.Args, "--no-sync")
	}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := child.Start(cmd); err != nil {
		return fmt.Errorf("initdb: %w", err)
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, said.Bytes())
	}
	return os.Rename(unfinished, c.data)
}

// command prepares a PostgreSQL program that works on the directory data. release is called when it has been started.
func (c *Cluster) command(ctx context.Context, program, data string) (cmd *exec.Cmd, release func(), err error) {
	dir, err := os.Open(data)
	if err != nil {
		return nil, nil, err
	}
	seen := data
	if c.owner != nil {
		seen = "/proc/self/fd/3" // the first of ExtraFiles
	}
	cmd = exec.CommandContext(ctx, filepath.Join(c.bin, program), "-D", seen)
	cmd.ExtraFiles = []*os.File{dir}
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + c.bin + ":/usr/bin:/bin", "LC_ALL=C.UTF-8", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential: c.owner.credential(),
		// Fast shutdown when we die. Its own process group, so that Ctrl-C reaches us only.
		Pdeathsig: syscall.SIGINT,
		Setpgid:   true,
	}
	return cmd, func() { dir.Close() }, nil
}

// writeFileSync writes a file of mode 0600 that is complete when it exists.
func writeFileSync(path, text string) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
