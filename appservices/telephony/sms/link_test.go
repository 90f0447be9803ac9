package sms

import (
	"crypto/tls"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/outbox"
)

func TestConnectionBreaksBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	centre := hstest.SMSC(t)
	centre.Behave(t, `{"dropAfter":0}`)
	c := connect(t, centre, nil)
	_, told, err := c.give(numbered(1, "32470123456"))
	if l := later(err); l == nil || !l.Unknown || told != 1 {
		t.Errorf("%v", err)
	}
	// The next goes over a new connection.
	c.mustGive(numbered(2, "32470123457"))
	if seen := centre.Seen(t); len(seen.Binds) != 2 || len(seen.Texts) != 2 {
		t.Errorf("%+v", seen)
	}
}

func TestCentreThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	centre := hstest.SMSC(t)
	centre.Behave(t, `{"silent":true}`)
	c := connect(t, centre, func(cfg *Config) { cfg.SMPP.Timeout = 8 * time.Second }) // more than a busy machine takes
	c.bound()
	_, _, err := c.give(numbered(1, "32470123456"))
	if l := later(err); l == nil || !l.Unknown || l.Problem != "no_answer" {
		t.Errorf("%v", err)
	}
	// Nor to a bind: somebody else may have the port.
	centre.Behave(t, `{"silentBind":true}`)
	centre.Do(t, "drop")
	centre.Await(t, "a second attempt", func(s hstest.SMSCSeen) bool { return len(s.Binds) >= 3 })
	if told, err := c.impatiently(numbered(2, "32470123456")); later(err) == nil || later(err).Unknown || told != 0 {
		t.Errorf("%v, told %d times", err, told)
	}
	centre.Behave(t, `{}`)
	c.bound()
	c.mustGive(numbered(3, "32470123456"))
}

func TestConnectionThatIsDeadIsNoticed(t *testing.T) {
	t.Parallel()
	centre := hstest.SMSC(t)
	c := connect(t, centre, func(cfg *Config) { cfg.SMPP.EnquireLink, cfg.SMPP.Timeout = 100*time.Millisecond, 8*time.Second })
	c.mustGive(numbered(1, "32470123456"))
	centre.Await(t, "questions", func(s hstest.SMSCSeen) bool { return s.Enquiries >= 3 })
	before := len(centre.Seen(t).Binds)
	centre.Behave(t, `{"silentLinks":true}`)
	centre.Await(t, "a new connection", func(s hstest.SMSCSeen) bool { return len(s.Binds) > before })
}

func TestRefusedBind(t *testing.T) {
	t.Parallel()
	centre := hstest.SMSC(t)
	var log strings.Builder
	var mu sync.Mutex
	c := connect(t, centre, func(cfg *Config) {
		cfg.SMPP.Password = "wrong"
		cfg.Log = slog.New(slog.NewTextHandler(locked{&mu, &log}, nil))
	})
	if told, err := c.impatiently(numbered(1, "32470123456")); later(err) == nil || later(err).Problem != "no_connection" || told != 0 {
		t.Errorf("%v", err)
	}
	centre.Await(t, "more attempts", func(s hstest.SMSCSeen) bool { return len(s.Binds) >= 2 })
	c.stop()
	mu.Lock()
	defer mu.Unlock()
	if text := log.String(); !strings.Contains(text, "refuses to bind: smpp_invpaswd") || strings.Contains(text, "wrong") || strings.Count(text, "refuses") != 1 {
		t.Errorf("the log says %q", text)
	}
}

type locked struct {
	mu *sync.Mutex
	w  *strings.Builder
}

func (l locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func TestCentreThatIsAwayComesBack(t *testing.T) {
	t.Parallel()
	centre := hstest.SMSC(t)
	c := connect(t, centre, nil)
	c.mustGive(numbered(1, "32470123456"))
	centre.Kill9(t)
	told, err := c.impatiently(numbered(2, "32470123456"))
	if later(err) == nil || later(err).Unknown && told == 0 {
		t.Errorf("%v, told %d times", err, told)
	}
	centre.Restart(t)
	centre.Await(t, "a bind", func(s hstest.SMSCSeen) bool { return len(s.Binds) == 1 })
	c.mustGive(numbered(3, "32470123456"))
	centre.Do(t, "unbind")
	centre.Await(t, "another bind", func(s hstest.SMSCSeen) bool { return len(s.Binds) == 2 })
	c.mustGive(numbered(4, "32470123456"))
}

func TestTLSAndTwoConnections(t *testing.T) {
	t.Parallel()
	centre := hstest.SMSC(t)
	c := connect(t, centre, func(cfg *Config) {
		cfg.SMPP.Address, cfg.SMPP.TLS, cfg.SMPP.TwoConnections = centre.TLSAddress, &tls.Config{RootCAs: centre.RootCAs, ServerName: "127.0.0.1"}, true
	})
	handed := c.mustGive(numbered(1, "32470123456"))
	if o := c.await(handed.Reference); o.State != outbox.Delivered {
		t.Errorf("%+v", o)
	}
	seen := centre.Seen(t)
	kinds := []string{seen.Binds[0].Kind, seen.Binds[1].Kind}
	if slices.Sort(kinds); !slices.Equal(kinds, []string{"receiver", "transmitter"}) {
		t.Errorf("%v", kinds)
	}
	c.stop()
	if seen := centre.Seen(t); seen.Unbinds != 2 {
		t.Errorf("unbound %d times", seen.Unbinds)
	}
	// A certificate that nobody vouches for is no centre.
	other := connect(t, centre, func(cfg *Config) {
		cfg.SMPP.Address, cfg.SMPP.TLS, cfg.SMPP.Timeout = centre.TLSAddress, &tls.Config{ServerName: "127.0.0.1"}, time.Second
	})
	if _, told, err := other.give(numbered(2, "32470123456")); later(err) == nil || told != 0 {
		t.Errorf("%v", err)
	}
}

// Many at once keep to the window, and each gets its own answer. What is under way at the end is sent to its end.
func TestManyAtOnceAndStop(t *testing.T) {
	t.Parallel()
	centre := hstest.SMSC(t)
	// Answers wait until the window is full, and a moment for what would come besides.
	centre.Behave(t, `{"hold":20,"delay":100}`)
	c := connect(t, centre, func(cfg *Config) { cfg.SMPP.Window = 20 })
	var sent sync.WaitGroup
	var mu sync.Mutex
	taken := map[string]bool{}
	for i := range 200 {
		sent.Go(func() {
			handed, _, err := c.give(numbered(int64(i), "3247012"+string(rune('0'+i/100))+string(rune('0'+i/10%10))+string(rune('0'+i%10))))
			if err == nil {
				mu.Lock()
				taken[handed.Reference] = true
				mu.Unlock()
			} else if l := later(err); l == nil || l.Unknown {
				t.Errorf("%v", err)
			}
		})
	}
	centre.Await(t, "some", func(s hstest.SMSCSeen) bool { return len(s.Submits) > 50 })
	centre.Behave(t, `{"delay":50}`)
	c.stop()
	sent.Wait()
	seen := centre.Seen(t)
	if seen.Outstanding != 20 {
		t.Errorf("%d requests were unanswered at a time", seen.Outstanding)
	}
	if len(seen.Texts) != len(taken) || len(taken) < 50 || seen.Unbinds != 1 {
		t.Errorf("the centre has %d messages, %d were taken, unbound %d times", len(seen.Texts), len(taken), seen.Unbinds)
	}
}
