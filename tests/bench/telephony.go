package main

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

const (
	// invited are the mails that are measured, inviters who send them at the same time.
	invited, inviters = 400, 8
	// mailGoal is within what time 99 of 100 mails are with the mail server.
	mailGoal = 2 * time.Second
)

// invitationsByMail measures the time from asking for an invitation until a mail server has taken the mail, beside that of a mail which is
// given to the same server without anything else.
func (b *bench) invitationsByMail() ([]figure, error) {
	sink, err := newMailSink()
	if err != nil {
		return nil, err
	}
	defer sink.listener.Close()
	limit := 1_000_000
	if err := b.server.configure(map[string]any{"public_base_url": "https://chat.bench.test", "telephony": map[string]any{
		"email":  map[string]any{"smtp": map[string]any{"address": sink.listener.Addr().String(), "tls": "none", "from": "invitations@bench.test"}},
		"limits": map[string]any{"per_member_per_hour": limit, "per_hour": limit, "per_day": limit, "per_domain_per_hour": limit},
	}}); err != nil {
		return nil, err
	}
	if _, err := b.server.restart(); err != nil {
		return nil, err
	}
	people, err := b.people(inviters)
	if err != nil {
		return nil, err
	}
	rooms := make([]string, inviters)
	for i := range rooms {
		if rooms[i], err = people[i].createRoom("invitations"); err != nil {
			return nil, err
		}
	}
	began := make([]time.Time, invited)
	if err := inParallel(inviters, inviters, func(who int) error {
		for i := who; i < invited; i += inviters {
			began[i] = time.Now()
			if _, err := people[who].ask("POST", "/_roomline/client/v1/rooms/"+rooms[who]+"/invitations", map[string]any{
				"medium": "email", "address": fmt.Sprintf("guest%d@mail.test", i),
			}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return nil, err
	}
	took := make([]time.Duration, invited)
	for i := range took {
		at, err := sink.taken(fmt.Sprintf("guest%d@mail.test", i))
		if err != nil {
			return nil, err
		}
		took[i] = at.Sub(began[i])
	}
	alone, err := sink.alone()
	if err != nil {
		return nil, err
	}
	p99 := percentile(took, 0.99)
	return []figure{{
		what: "invitation to mail handed over, p99", measured: fmt.Sprintf("%s, p50 %s", short(p99), short(percentile(took, 0.5))),
		yardstick: short(alone) + " a mail by SMTP alone", ratio: fmt.Sprintf("%.1f ×", float64(p99)/float64(alone)),
		goal: "≤ " + mailGoal.String(), met: p99 <= mailGoal,
	}}, nil
}

// mailSink is a mail server that takes everything and notes when.
type mailSink struct {
	listener net.Listener
	mu       sync.Mutex
	times    map[string]time.Time
}

func newMailSink() (*mailSink, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &mailSink{listener: listener, times: make(map[string]time.Time)}
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return // the row is over
			}
			go s.serve(c)
		}
	}()
	return s, nil
}

func (s *mailSink) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewScanner(c)
	in.Buffer(nil, 1<<20)
	say := func(line string) { fmt.Fprint(c, line+"\r\n") }
	say("220 bench")
	to, data := "", false
	for in.Scan() {
		line := in.Text()
		switch verb, _, _ := strings.Cut(strings.ToUpper(line), " "); {
		case data && line == ".":
			s.note(to)
			data = false
			say("250 taken")
		case data:
		case verb == "DATA":
			data = true
			say("354 go on")
		case verb == "RCPT":
			_, rest, _ := strings.Cut(line, "<")
			to, _, _ = strings.Cut(rest, ">")
			say("250 ok")
		case verb == "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

func (s *mailSink) note(to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.times[to]; !known {
		s.times[to] = time.Now()
	}
}

// taken waits until a mail to an address has come and says when that was.
func (s *mailSink) taken(to string) (time.Time, error) {
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		s.mu.Lock()
		at, ok := s.times[to]
		s.mu.Unlock()
		if ok {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("no mail came to %s", to)
}

// alone is how long a mail takes that is given to the server by nobody but this function.
func (s *mailSink) alone() (time.Duration, error) {
	c, err := net.Dial("tcp", s.listener.Addr().String())
	if err != nil {
		return 0, err
	}
	defer c.Close()
	in := bufio.NewReader(c)
	say := func(line string) error {
		if line != "" {
			fmt.Fprint(c, line+"\r\n")
		}
		_, err := in.ReadString('\n')
		return err
	}
	if err := say(""); err != nil {
		return 0, err
	}
	var times []time.Duration
	for range 100 {
		began := time.Now()
		for _, line := range []string{"MAIL FROM:<a@bench.test>", "RCPT TO:<alone@mail.test>", "DATA", strings.Repeat("x", 4000) + "\r\n."} {
			if err := say(line); err != nil {
				return 0, err
			}
		}
		times = append(times, time.Since(began))
	}
	return percentile(times, 0.5), nil
}
