package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/roomline/roomline/internal/child"
	"github.com/roomline/roomline/internal/hstest/freeport"
)

// server is a roomline process on the bench's database.
type server struct {
	binary, config string
	settings       map[string]any
	address, admin string
	log            *os.File
	cmd            *exec.Cmd
}

func newServer(binary, dir, dsn string) (*server, error) {
	s := &server{binary: binary, config: filepath.Join(dir, "roomline.yaml")}
	var err error
	if s.address, err = freeport.Address(); err != nil {
		return nil, err
	}
	if s.admin, err = freeport.Address(); err != nil {
		return nil, err
	}
	s.settings = map[string]any{
		"server_name":     serverName,
		"public_base_url": "http://" + s.address,
		"database":        map[string]any{"url": dsn},
		"listeners": []any{
			map[string]any{"address": s.address, "serve": []string{"client"}},
			map[string]any{"address": s.admin, "serve": []string{"admin"}},
		},
		"registration": map[string]any{"mode": "open"},
		"rate_limits":  map[string]any{"enabled": false},
		"data_dir":     filepath.Join(dir, "data"),
	}
	if s.log, err = os.Create(filepath.Join(dir, "roomline.log")); err != nil {
		return nil, err
	}
	return s, s.configure(nil)
}

// configure changes settings for the next start.
func (s *server) configure(settings map[string]any) error {
	maps.Copy(s.settings, settings)
	text, err := json.Marshal(s.settings) // JSON is YAML
	if err != nil {
		return err
	}
	return os.WriteFile(s.config, text, 0o600)
}

// start starts the process and says how long it took until it was ready.
func (s *server) start() (time.Duration, error) {
	cmd := exec.Command(s.binary, "serve", "--config", s.config)
	cmd.Dir = filepath.Dir(s.config)
	cmd.Stdout, cmd.Stderr = s.log, s.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	began := time.Now()
	if err := child.Start(cmd); err != nil {
		return 0, err
	}
	s.cmd = cmd
	probe := newClient(s.admin, "")
	defer probe.close()
	var err error
	for time.Since(began) < 30*time.Second {
		if _, err = probe.do("GET", "/readyz", nil); err == nil {
			return time.Since(began), nil
		}
		time.Sleep(2 * time.Millisecond)
	}
	return 0, fmt.Errorf("the server did not become ready: %w; see %s", err, s.log.Name())
}

func (s *server) stop() error {
	if s.cmd == nil {
		return nil
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	err := s.cmd.Wait()
	s.cmd = nil
	return err
}

// restart gives a process without memories, and says how long it took until it was ready.
func (s *server) restart() (time.Duration, error) {
	if err := s.stop(); err != nil {
		return 0, err
	}
	return s.start()
}

// memory is the resident set of the process in bytes.
func (s *server) memory() (int64, error) { return s.status("VmRSS:") }

// peakMemory is the largest resident set since forgetPeak.
func (s *server) peakMemory() (int64, error) { return s.status("VmHWM:") }

func (s *server) forgetPeak() error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", s.cmd.Process.Pid), []byte("5"), 0)
}

// status is a number of bytes that the kernel keeps of the process.
func (s *server) status(name string) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name); ok {
			kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("the kernel does not say %s", name)
}

// cpu is the time that the process has worked since its start.
func (s *server) cpu() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	// The second field, the name, may have spaces; it ends with the last parenthesis.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	user, err := strconv.Atoi(fields[11])
	if err != nil {
		return 0, err
	}
	system, err := strconv.Atoi(fields[12])
	return time.Duration(user+system) * (time.Second / 100), err
}

// buildServer builds roomline from this tree.
func buildServer(dir string) (string, error) {
	_, here, _, _ := runtime.Caller(0)
	binary := filepath.Join(dir, "roomline")
	cmd := exec.Command("go", "build", "-o", binary, "./cmd/roomline")
	cmd.Dir = filepath.Join(filepath.Dir(here), "..", "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build roomline: %w\n%s", err, out)
	}
	return binary, nil
}
