package pgcluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/roomline/roomline/internal/child"
)

const (
	// fastStop is how long PostgreSQL may take to write out what is committed before it is told to stop at once (it then
	// reads its log at the next start; nothing is lost).
	fastStop = 30 * time.Second
	// immediateStop is how long it may take for that before it is killed.
	immediateStop = 5 * time.Second
	// backOffMax bounds the pause between two attempts to start it again.
	backOffMax = 5 * time.Second
	// healthy is how long it must have run for the pauses to begin small again.
	healthy = time.Minute
)

// supervise keeps PostgreSQL running until Stop. What ends its first run goes to first.
func (c *Cluster) supervise(first chan<- error) {
	defer close(c.done)
	defer c.release()
	backOff := 100 * time.Millisecond
	for {
		began := time.Now()
		err, stopped := c.runOnce()
		if stopped {
			c.stopErr = err
			return
		}
		if first != nil {
			first <- fmt.Errorf("postgres: %w%s", err, c.lines.said())
			first = nil
		}
		if time.Since(began) > healthy {
			backOff = 100 * time.Millisecond
		}
		c.opts.Log.Error("PostgreSQL has ended by itself and is started again", "error", err, "pause", backOff, "last_words", c.lines.said())
		select {
		case <-c.stop:
			return
		case <-time.After(backOff):
		}
		backOff = min(2*backOff, backOffMax)
	}
}

// runOnce runs PostgreSQL until it ends, or until Stop; then stopped is true.
func (c *Cluster) runOnce() (err error, stopped bool) {
	if err := c.clearLeftovers(); err != nil {
		return err, false
	}
	cmd, logged, err := c.startPostgres()
	if err != nil {
		return err, false
	}
	exited := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		select { // its last words; a backend that has not noticed yet may hold the pipe open
		case <-logged:
		case <-time.After(200 * time.Millisecond):
		}
		exited <- err
	}()
	select {
	case err := <-exited:
		if err == nil {
			err = errors.New("exit status 0")
		}
		return err, false
	case <-c.stop:
	}
	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGINT, fastStop}, {syscall.SIGQUIT, immediateStop}} {
		if err := cmd.Process.Signal(step.signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("stop postgres: %w", err), true
		}
		select {
		case err := <-exited:
			return err, true
		case <-time.After(step.wait):
		}
	}
	if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill postgres: %w", err), true
	}
	<-exited
	return errors.New("postgres did not stop and was killed"), true
}

// startPostgres starts the server. logged is closed when the last of its processes has closed its standard error.
func (c *Cluster) startPostgres() (cmd *exec.Cmd, logged <-chan struct{}, err error) {
	cmd, release, err := c.command(context.Background(), "postgres", c.data)
	if err != nil {
		return nil, nil, err
	}
	defer release()
	for _, setting := range c.settings() {
		cmd.Args = append(cmd.Args, "-c", setting)
	}
	out, in, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer in.Close()
	cmd.Stdout, cmd.Stderr = in, in
	if err := child.Start(cmd); err != nil {
		out.Close()
		return nil, nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer out.Close()
		c.readLog(out)
	}()
	return cmd, done, nil
}

// settings for a machine with a few cores that PostgreSQL shares with the server and, at home, with everything else.
func (c *Cluster) settings() []string {
	s := []string{
		"listen_addresses=",
		"unix_socket_directories=" + c.socket,
		"unix_socket_permissions=0700",
		"port=5432",
		"max_connections=" + strconv.Itoa(c.opts.MaxConnections),
		"shared_buffers=128MB",
		// Rarer checkpoints: after each one every touched page is written to the log as a whole.
		"max_wal_size=2GB",
		"checkpoint_timeout=15min",
		// All statements are short; compiling or spreading one costs more than running it.
		"jit=off",
		"max_parallel_workers_per_gather=0",
		"random_page_cost=1.1",
		"timezone=UTC",
		"log_timezone=UTC",
		// What a statement or a row contains belongs to users: neither may get into the log. Errors of statements
		// reach the caller anyway.
		"log_min_messages=fatal",
		"log_min_error_statement=panic",
		"log_error_verbosity=terse",
		"log_checkpoints=off",
		"log_line_prefix=",
		"logging_collector=off",
		"log_destination=stderr",
	}
	if c.opts.UnsafeFast {
		// Minimal: what a new database or index is made of is not written to the log as well.
		return append(s, "fsync=off", "full_page_writes=off", "autovacuum=off", "wal_level=minimal", "max_wal_senders=0", "wal_init_zero=off",
			"max_wal_size=512MB")
	}
	return append(s, "fsync=on", "full_page_writes=on", "synchronous_commit=on")
}

// readLog hands PostgreSQL's messages on.
func (c *Cluster) readLog(out io.Reader) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		line := lines.Text()
		c.lines.add(line)
		severity, text, ok := strings.Cut(line, ":  ")
		if !ok {
			severity, text = "", line
		}
		if severity == "PANIC" {
			c.opts.Log.Error("PostgreSQL: " + text)
		} else { // FATAL is the end of one connection, or of all: then supervise reports it
			c.opts.Log.Debug("PostgreSQL: " + text)
		}
	}
	io.Copy(io.Discard, out) // a line too long for the scanner must not block PostgreSQL
}

// lastLines keeps the last messages, for the error that says why the cluster did not start.
type lastLines struct {
	mu    sync.Mutex
	lines []string
}

func (l *lastLines) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
	if len(l.lines) > 10 {
		l.lines = l.lines[1:]
	}
}

// said is the last messages as the end of an error's text.
func (l *lastLines) said() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lines) == 0 {
		return ""
	}
	return "; PostgreSQL says:\n  " + strings.Join(l.lines, "\n  ")
}
