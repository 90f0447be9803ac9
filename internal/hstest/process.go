package hstest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/roomline/roomline/internal/child"
	"github.com/roomline/roomline/internal/hstest/freeport"
)

// stopPatience is how long a process may take to stop in good order.
const stopPatience = time.Minute

// process is one server process through all its lives.
type process struct {
	program
	index          int
	binary         string
	config         string
	env            []string
	address, admin string
}

// program is a program of the test's own through all its lives.
type program struct {
	logs logBuffer

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // closed when cmd has ended
}

func newProcess(binary, dir string, index int, opts Options) (*process, error) {
	p := &process{index: index, binary: binary, env: opts.Env}
	var err error
	if p.address, err = freeport.Address(); err != nil {
		return nil, err
	}
	if p.admin, err = freeport.Address(); err != nil {
		return nil, err
	}
	own := filepath.Join(dir, fmt.Sprintf("process%d", index))
	if err := os.MkdirAll(own, 0o700); err != nil {
		return nil, err
	}
	p.config = filepath.Join(own, "roomline.yaml")
	text, err := configuration(p, opts)
	if err != nil {
		return nil, err
	}
	return p, os.WriteFile(p.config, text, 0o600)
}

func (p *process) start() error { return p.run(p.command("serve")) }

// command is roomline with the configuration of the process.
func (p *process) command(args ...string) *exec.Cmd {
	cmd := exec.Command(p.binary, append(args, "--config", p.config)...)
	cmd.Dir = filepath.Dir(p.config)
	// storetest's PostgreSQL runs without fsync.
	cmd.Env = append(append(os.Environ(), "ROOMLINE_ALLOW_UNSAFE_DATABASE=1"), p.env...)
	return cmd
}

func (p *program) run(cmd *exec.Cmd) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		return errors.New("it is running")
	}
	cmd.Stdout, cmd.Stderr = &p.logs, &p.logs
	// A test that is killed leaves nothing behind.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := child.Start(cmd); err != nil {
		return err
	}
	done := make(chan struct{})
	p.cmd, p.done = cmd, done
	go func() {
		_ = cmd.Wait() // its state is read from cmd
		close(done)
	}()
	return nil
}

func (p *program) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// waitReady waits until the process answers, or has ended.
func (p *process) waitReady(ctx context.Context, client *http.Client) error {
	p.mu.Lock()
	done := p.done
	p.mu.Unlock()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.address+"/_matrix/client/versions", nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if err == nil && resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-done:
			return errors.New("it has ended")
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// kill ends the process with SIGKILL. A process that is not running is no error.
func (p *program) kill() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return nil
	}
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.done
	p.cmd = nil
	return nil
}

// stop ends the process with SIGTERM, and says when it did not end well.
func (p *program) stop() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return nil
	}
	cmd := p.cmd
	p.cmd = nil
	select {
	case <-p.done:
		return fmt.Errorf("it ended by itself: %s", cmd.ProcessState)
	default:
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.done:
	case <-time.After(stopPatience):
		_ = cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("it did not stop within %s of SIGTERM", stopPatience)
	}
	if code := cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("it ended with %s after SIGTERM", cmd.ProcessState)
	}
	return nil
}

// logBuffer keeps what a process writes.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// find returns the first line with text in it, or "".
func (l *logBuffer) find(text string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.buf.String()
	i := strings.Index(all, text)
	if i < 0 {
		return ""
	}
	start := strings.LastIndexByte(all[:i], '\n') + 1
	line, _, _ := strings.Cut(all[start:], "\n")
	return line
}

// tail returns the last bytes of the log.
func (l *logBuffer) tail(max int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buf.Bytes()
	if len(b) > max {
		b = b[len(b)-max:]
	}
	return string(b)
}
