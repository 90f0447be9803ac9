package livekit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/roomline/roomline/internal/child"
)

const (
	// stopTime is how long LiveKit may take to say goodbye before it is killed.
	stopTime = 5 * time.Second
	// backOffMin and backOffMax bound the pause between two attempts to start it again, healthy is how long it must have run for the pauses to
	// begin small again.
	backOffMin = 200 * time.Millisecond
	backOffMax = 10 * time.Second
	healthy    = time.Minute
)

// errAway is why nobody can be asked.
var errAway = errors.New("livekit: it is not running")

// Supervisor runs LiveKit as a child and starts it again when it ends.
type Supervisor struct {
	config Config
	log    *slog.Logger
	stderr io.Writer
	// port is where the running child is asked; 0 while there is none.
	port   atomic.Int32
	client *http.Client
}

// NewSupervisor makes one. The child's port is the supervisor's to choose.
func NewSupervisor(c Config, log *slog.Logger, stderr io.Writer) *Supervisor {
	s := &Supervisor{config: c, log: log, stderr: stderr}
	s.config.Bind = "127.0.0.1"
	s.client = &http.Client{
		Transport: &http.Transport{DialContext: s.dial, MaxIdleConnsPerHost: 32, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
	return s
}

// URL is a name that Client knows.
const URL = "http://livekit.invalid"

// Client reaches the child, whatever the address, and nothing else.
func (s *Supervisor) Client() *http.Client { return s.client }

func (s *Supervisor) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	port := s.port.Load()
	if port == 0 {
		return nil, errAway
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
}

// Proxy passes requests on to the child, without the prefix of their path.
func (s *Supervisor) Proxy(prefix string) http.Handler {
	to := &url.URL{Scheme: "http", Host: strings.TrimPrefix(URL, "http://")}
	return &httputil.ReverseProxy{
		Transport: s.client.Transport,
		ErrorLog:  slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), // it names addresses
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.URL.Path, r.Out.URL.RawPath = strings.TrimPrefix(r.In.URL.Path, prefix), ""
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			w.Header().Set("Access-Control-Allow-Origin", "*")
			w.Header().Set("Retry-After", "2")
			http.Error(w, "meetings are away for a moment", http.StatusServiceUnavailable)
		},
	}
}

// Run keeps LiveKit running until ctx ends, and has it tell webhook what happens.
func (s *Supervisor) Run(ctx context.Context, webhook string) error {
	s.config.Webhooks = []string{webhook}
	backOff := backOffMin
	for {
		began := time.Now()
		err := s.once(ctx)
		if ctx.Err() != nil {
			return err
		}
		if time.Since(began) > healthy {
			backOff = backOffMin
		}
		s.log.Error("LiveKit has ended by itself and is started again; there are no meetings until then", "error", err, "pause", backOff)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(backOff):
		}
		backOff = min(2*backOff, backOffMax)
	}
}

// once runs LiveKit until it ends, or until ctx does.
func (s *Supervisor) once(ctx context.Context) error {
	cmd, exited, err := s.start()
	if err != nil {
		return err
	}
	defer s.port.Store(0)
	answering, stop := context.WithCancel(ctx)
	defer stop()
	go s.await(answering, cmd.port)
	select {
	case err := <-exited:
		if err == nil {
			err = errors.New("exit status 0")
		}
		return err
	case <-ctx.Done():
	}
	s.port.Store(0)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop LiveKit: %w", err)
	}
	select {
	case <-exited:
		return nil
	case <-time.After(stopTime):
	}
	if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill LiveKit: %w", err)
	}
	<-exited
	return nil
}

type process struct {
	*exec.Cmd
	port int
}

// start starts this program's hidden command livekit.
func (s *Supervisor) start() (*process, <-chan error, error) {
	c := s.config
	var err error
	if c.Port, err = freePort(); err != nil {
		return nil, nil, err
	}
	text, err := json.Marshal(c)
	if err != nil {
		return nil, nil, err
	}
	// Not os.Executable: a binary that was replaced meanwhile is of another version.
	cmd := exec.Command("/proc/self/exe", "livekit")
	cmd.Args[0] = "roomline"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(text), s.stderr, s.stderr
	// It has no need of our environment, which holds secrets.
	cmd.Env = []string{"PATH=/usr/bin:/bin"}
	// Its own process group, so that Ctrl-C reaches us only.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := child.Start(cmd); err != nil {
		return nil, nil, fmt.Errorf("start LiveKit: %w", err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	return &process{cmd, c.Port}, exited, nil
}

// await makes the port known when the child answers at it.
func (s *Supervisor) await(ctx context.Context, port int) {
	began := time.Now()
	for {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			conn.Close()
			s.port.Store(int32(port))
			s.log.Info("meetings: LiveKit runs", "udp_port", s.config.UDPPort, "tcp_port", s.config.TCPPort, "node_ip", s.config.NodeIP, "took", time.Since(began).Round(time.Millisecond))
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// freePort is one that nobody listens on at the moment. If somebody takes it before the child does, the child ends and is started again.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
