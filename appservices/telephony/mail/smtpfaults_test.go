package mail_test

import (
	"bufio"
	"net"
	"strings"
	"sync"
	"testing"
)

// faults stands between a transport and its mail server, and does something else at one place of the conversation.
type faults struct {
	listener net.Listener
	to       string

	mu          sync.Mutex
	at, say     string // say instead of the answer
	do          string // cut, hang, or cut after the mail server got it
	connections int
	senders     []string // MAIL commands
	open        map[net.Conn]struct{}
}

// Places besides the commands.
const (
	greeting = "greeting"
	body     = "body" // in the middle of a mail
	dot      = "dot"  // after its last line
)

func newFaults(t testing.TB, to string) *faults {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &faults{listener: listener, to: to, open: map[net.Conn]struct{}{}}
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.connections++
			f.open[c] = struct{}{}
			f.mu.Unlock()
			go f.serve(c)
		}
	}()
	t.Cleanup(func() { listener.Close(); f.cut() })
	return f
}

func (f *faults) set(at, say, do string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at, f.say, f.do = at, say, do
}

func (f *faults) fault(at string) (say, do string, is bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.say, f.do, f.at == at
}

func (f *faults) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.connections
}

// cut closes all connections.
func (f *faults) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.open {
		c.Close()
	}
	clear(f.open)
}

func (f *faults) serve(c net.Conn) {
	defer c.Close()
	server, err := net.Dial("tcp", f.to)
	if err != nil {
		return
	}
	defer server.Close()
	clients, servers := bufio.NewReader(c), bufio.NewReader(server)
	if !f.answer(c, servers, greeting) {
		return
	}
	for {
		line, err := clients.ReadString('\n')
		if err != nil {
			return
		}
		command := strings.ToUpper(strings.Fields(line + " x")[0])
		if command == "HELO" {
			command = "EHLO"
		}
		if command == "MAIL" {
			f.mu.Lock()
			f.senders = append(f.senders, strings.TrimSpace(line))
			f.mu.Unlock()
		}
		say, do, is := f.fault(command)
		if is && say != "" {
			if _, err := c.Write([]byte(say + "\r\n")); err != nil || strings.HasPrefix(say, "421") {
				return
			}
			continue
		}
		if is && !f.hangs(c, do) {
			return
		}
		if _, err := server.Write([]byte(line)); err != nil {
			return
		}
		answer, ok := f.relay(c, servers)
		if !ok {
			return
		}
		if command == "DATA" && strings.HasPrefix(answer, "354") && !f.mail(c, server, clients, servers) {
			return
		}
		if command == "STARTTLS" && strings.HasPrefix(answer, "220") {
			go func() { _, _ = servers.WriteTo(c) }()
			_, _ = clients.WriteTo(server)
			return
		}
	}
}

// mail forwards a mail.
func (f *faults) mail(c, server net.Conn, clients, servers *bufio.Reader) bool {
	for lines := 0; ; lines++ {
		line, err := clients.ReadString('\n')
		if err != nil {
			return false
		}
		if _, do, is := f.fault(body); is && lines == 20 && !f.hangs(c, do) {
			return false
		}
		last := line == ".\r\n"
		say, do, is := f.fault(dot)
		if last && is && say != "" {
			_, _ = c.Write([]byte(say + "\r\n"))
			return false // the mail server still waits for the rest
		}
		if _, err := server.Write([]byte(line)); err != nil {
			return false
		}
		if last {
			if is {
				_, _ = servers.ReadString('\n')
				return f.hangs(c, do)
			}
			_, ok := f.relay(c, servers)
			return ok
		}
	}
}

// hangs does nothing for as long as the client bears it, or cuts the connection.
func (f *faults) hangs(c net.Conn, do string) bool {
	if do == "hang" {
		_, _ = c.Read(make([]byte, 1<<20))
	}
	return false
}

func (f *faults) answer(c net.Conn, servers *bufio.Reader, at string) bool {
	say, do, is := f.fault(at)
	switch {
	case is && say != "":
		_, _ = c.Write([]byte(say + "\r\n"))
		return false
	case is:
		return f.hangs(c, do)
	}
	_, ok := f.relay(c, servers)
	return ok
}

// relay forwards an answer of one line or more.
func (f *faults) relay(c net.Conn, servers *bufio.Reader) (string, bool) {
	for {
		line, err := servers.ReadString('\n')
		if err != nil {
			return "", false
		}
		if _, err := c.Write([]byte(line)); err != nil {
			return "", false
		}
		if len(line) > 3 && line[3] != '-' {
			return line, true
		}
	}
}
