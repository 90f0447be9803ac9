package verify_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/roomline/roomline/clientapi/verify"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/ratelimit"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/store/storetest"
)

// clock stands still until it is moved.
type clock struct{ now atomic.Int64 }

func (c *clock) Now() time.Time          { return time.UnixMilli(c.now.Load()) }
func (c *clock) forward(d time.Duration) { c.now.Add(d.Milliseconds()) }

// side is a Verifier that writes down what it sends.
type side struct {
	*verify.Verifier
	store  *store.Store
	clock  *clock
	mu     sync.Mutex
	sent   []verify.Message
	refuse error
}

func newSide(t *testing.T, dsn string, limiter bool) *side {
	t.Helper()
	s := &side{store: storetest.Open(t, dsn), clock: &clock{}}
	s.clock.now.Store(time.Now().UnixMilli())
	cfg := verify.Config{
		Store: s.store, Clock: s.clock, Key: []byte("key of the test"), BaseURL: "https://matrix.example.com",
		Allowed: []string{"https://app.example.com/chat/"},
		Enqueue: func(_ context.Context, _ *store.Tx, m verify.Message) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.refuse != nil {
				return s.refuse
			}
			s.sent = append(s.sent, m)
			return nil
		},
	}
	if limiter {
		cfg.Limiter = ratelimit.New(ratelimit.Config{Store: s.store, Clock: s.clock})
	}
	var err error
	if s.Verifier, err = verify.New(cfg); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *side) last(t *testing.T) verify.Message {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sent) == 0 {
		t.Fatal("nothing was sent")
	}
	return s.sent[len(s.sent)-1]
}

func (s *side) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sent)
}

func email(purpose verify.Purpose) verify.Request {
	return verify.Request{Purpose: purpose, Organisation: store.DefaultOrganisation, Medium: "email", Address: "anna@example.com",
		ClientSecret: "geheim", SendAttempt: 1, Language: "fr", Host: "example.com", Asker: "192.0.2.1"}
}

func mustStart(t *testing.T, s *side, r verify.Request) string {
	t.Helper()
	sid, err := s.Start(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return sid
}

// code is the errcode of an error, "" for none.
func code(err error) matrix.ErrCode {
	if e, ok := matrix.AsError(err); ok {
		return e.Code
	}
	if err != nil {
		return matrix.ErrCode(err.Error())
	}
	return ""
}

func TestACodeValidatesOnce(t *testing.T) {
	t.Parallel()
	s := newSide(t, storetest.DSN(t), false)
	sid := mustStart(t, s, email(verify.Add))
	m := s.last(t)
	if m.Address != "anna@example.com" || m.Language != "fr" || m.Code.Purpose != "add" || len(m.Code.Code) != 8 || !strings.Contains(m.Code.Link, m.Code.Code) {
		t.Fatalf("sent %+v", m)
	}
	if strings.Contains(m.Code.Link, "geheim") {
		t.Error("the link has the client's secret")
	}
	if _, _, err := s.Validated(t.Context(), sid, "geheim", verify.Add); code(err) != matrix.ErrSessionNotValidated {
		t.Errorf("before the code: %v", err)
	}
	typed := strings.ToLower(m.Code.Code[:4]) + "-" + m.Code.Code[4:] + " "
	if err := s.Check(t.Context(), sid, "geheim", typed); err != nil {
		t.Fatal(err)
	}
	for name, get := range map[string]func() error{
		"another purpose": func() error { _, _, err := s.Validated(t.Context(), sid, "geheim", verify.Password); return err },
		"another secret":  func() error { _, _, err := s.Validated(t.Context(), sid, "geraten", verify.Add); return err },
		"another sid":     func() error { _, _, err := s.Validated(t.Context(), sid+"x", "geheim", verify.Add); return err },
		"no sid":          func() error { _, _, err := s.Validated(t.Context(), "", "geheim", verify.Add); return err },
		"a zero byte":     func() error { _, _, err := s.Validated(t.Context(), "\x00", "geheim", verify.Add); return err },
	} {
		if err := get(); code(err) != matrix.ErrNoValidSession {
			t.Errorf("%s: %v", name, err)
		}
	}
	found, err := s.Get(t.Context(), sid, "geheim", verify.Add)
	if err != nil || found.Address != "anna@example.com" {
		t.Fatal(found, err)
	}
	use := func() error {
		return s.store.Write(t.Context(), func(tx *store.Tx) error { return s.Use(t.Context(), tx, found) })
	}
	if err := use(); err != nil {
		t.Fatal(err)
	}
	if err := use(); code(err) != matrix.ErrNoValidSession {
		t.Errorf("used twice: %v", err)
	}
}

func TestTheSameAttemptSendsNothing(t *testing.T) {
	t.Parallel()
	s := newSide(t, storetest.DSN(t), false)
	r := email(verify.Add)
	r.SendAttempt = 3
	sid := mustStart(t, s, r)
	first := s.last(t).Code.Code
	for _, attempt := range []int64{3, 2, 0} {
		r.SendAttempt = attempt
		if again := mustStart(t, s, r); again != sid || s.count() != 1 {
			t.Errorf("attempt %d: sid %s, %d sent", attempt, again, s.count())
		}
	}
	r.SendAttempt = 4
	if again := mustStart(t, s, r); again != sid || s.count() != 2 {
		t.Fatalf("a new attempt: sid %s, %d sent", again, s.count())
	}
	if err := s.Check(t.Context(), sid, "geheim", first); code(err) != matrix.ErrTokenIncorrect {
		t.Errorf("the first code after the second: %v", err)
	}
	if err := s.Check(t.Context(), sid, "geheim", s.last(t).Code.Code); err != nil {
		t.Error(err)
	}
	r.SendAttempt = 5
	if again := mustStart(t, s, r); again != sid || s.count() != 2 {
		t.Errorf("after it was validated: sid %s, %d sent", again, s.count())
	}
	r.ClientSecret = "ein-anderes"
	if other := mustStart(t, s, r); other == sid {
		t.Error("another secret has the same sid")
	}
}

func TestWrongCodesEndAValidationOnAllProcesses(t *testing.T) {
	t.Parallel()
	dsn := storetest.DSN(t)
	one, two := newSide(t, dsn, false), newSide(t, dsn, false)
	r := email(verify.Guest)
	sid := mustStart(t, one, r)
	right := one.last(t).Code.Code
	if len(right) != 6 || strings.Trim(right, "0123456789") != "" {
		t.Fatalf("a guest's code is %q", right)
	}
	// Another code within the validation does not begin to count anew.
	for i := range limits.ValidationTries - 1 {
		if err := []*side{one, two}[i%2].Check(t.Context(), sid, "geheim", "x"); code(err) != matrix.ErrTokenIncorrect {
			t.Fatalf("try %d: %v", i, err)
		}
	}
	r.SendAttempt++
	if again := mustStart(t, two, r); again != sid {
		t.Fatal("another sid")
	}
	right = two.last(t).Code.Code
	if err := two.Check(t.Context(), sid, "geheim", "000-00x"); code(err) != matrix.ErrTokenIncorrect {
		t.Fatal(err)
	}
	for _, s := range []*side{one, two} {
		if err := s.Check(t.Context(), sid, "geheim", right); code(err) != matrix.ErrSessionExpired {
			t.Errorf("the right code after five wrong ones: %v", err)
		}
	}
	r.SendAttempt++
	if next := mustStart(t, one, r); next == sid {
		t.Error("a validation that has ended goes on")
	}
}

func TestParallelGuessesAreCountedEach(t *testing.T) {
	t.Parallel()
	dsn := storetest.DSN(t)
	sides := []*side{newSide(t, dsn, false), newSide(t, dsn, false)}
	r := email(verify.Guest)
	sid := mustStart(t, sides[0], r)
	right := sides[0].last(t).Code.Code
	var wrong, ended, other atomic.Int64
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			guess := fmt.Sprintf("%06d", i)
			if guess == right {
				guess = "999999x"
			}
			switch code(sides[i%2].Check(context.Background(), sid, "geheim", guess)) {
			case matrix.ErrTokenIncorrect:
				wrong.Add(1)
			case matrix.ErrSessionExpired:
				ended.Add(1)
			default:
				other.Add(1)
			}
		})
	}
	all.Wait()
	if wrong.Load() != limits.ValidationTries || other.Load() != 0 {
		t.Errorf("%d guesses were looked at, %d refused, %d otherwise", wrong.Load(), ended.Load(), other.Load())
	}
}

func TestWithoutTheSecretNobodyGuesses(t *testing.T) {
	t.Parallel()
	s := newSide(t, storetest.DSN(t), false)
	sid := mustStart(t, s, email(verify.Guest))
	right := s.last(t).Code.Code
	for i := range 2 * limits.ValidationTries {
		if err := s.Check(t.Context(), sid, fmt.Sprint("geraten", i), right); code(err) != matrix.ErrTokenIncorrect {
			t.Fatal(err)
		}
		if err := s.Check(t.Context(), "nichtda", "geheim", right); code(err) != matrix.ErrTokenIncorrect {
			t.Fatal(err)
		}
		if err := s.Check(t.Context(), sid, "", right); code(err) != matrix.ErrTokenIncorrect {
			t.Fatal(err)
		}
	}
	if err := s.Check(t.Context(), sid, "geheim", right); err != nil {
		t.Errorf("strangers used the tries up: %v", err)
	}
}

func TestValidationsExpire(t *testing.T) {
	t.Parallel()
	s := newSide(t, storetest.DSN(t), false)
	r := email(verify.Add)
	sid := mustStart(t, s, r)
	late := s.last(t).Code.Code
	s.clock.forward(limits.Validation)
	if err := s.Check(t.Context(), sid, "geheim", late); code(err) != matrix.ErrSessionExpired {
		t.Errorf("a code after its time: %v", err)
	}
	next := mustStart(t, s, r)
	if next == sid {
		t.Error("an expired validation goes on")
	}
	if err := s.Check(t.Context(), next, "geheim", s.last(t).Code.Code); err != nil {
		t.Fatal(err)
	}
	s.clock.forward(limits.ValidationKept)
	if _, _, err := s.Validated(t.Context(), next, "geheim", verify.Add); code(err) != matrix.ErrSessionExpired {
		t.Errorf("what was validated long ago: %v", err)
	}
	n, err := s.store.DeleteValidationsBefore(t.Context(), matrix.TimestampOf(s.clock.Now().Add(time.Hour)), 10)
	if err != nil || n != 1 {
		t.Errorf("forgot %d, %v", n, err)
	}
}

func TestSilenceLooksTheSame(t *testing.T) {
	t.Parallel()
	s := newSide(t, storetest.DSN(t), false)
	r := email(verify.Password)
	r.Silent, r.Anonymous = true, true
	sid := mustStart(t, s, r)
	// The message was made, and taken back with the transaction's part.
	guess := s.last(t).Code.Code
	if again := mustStart(t, s, r); again != sid {
		t.Error("another sid for the same attempt")
	}
	if err := s.Check(t.Context(), sid, "geheim", "x"); code(err) != matrix.ErrTokenIncorrect {
		t.Error(err)
	}
	if err := s.Check(t.Context(), sid, "geheim", guess); err != nil {
		t.Error(err)
	}
	// A refusal would tell how much was sent to the address.
	s.refuse = matrix.LimitExceeded(time.Second)
	for _, silent := range []bool{false, true} {
		r.Silent, r.ClientSecret = silent, fmt.Sprint("secret-", silent)
		mustStart(t, s, r)
	}
	s.refuse = matrix.NewError(403, matrix.ErrThreepidDenied, "premium")
	r.ClientSecret = "noch-eins"
	mustStart(t, s, r)
	r.Purpose = verify.Add
	if _, err := s.Start(t.Context(), r); code(err) != matrix.ErrThreepidDenied {
		t.Errorf("a number of a kind that nothing is sent to: %v", err)
	}
}

func TestCodesAreCounted(t *testing.T) {
	t.Parallel()
	s := newSide(t, storetest.DSN(t), true)
	r := email(verify.Add)
	burst := ratelimit.Default(ratelimit.CodeAddress).Burst
	for i := range burst {
		r.ClientSecret, r.Asker = fmt.Sprint("secret", i), fmt.Sprint("192.0.2.", i)
		mustStart(t, s, r)
	}
	r.ClientSecret = "einer-zuviel"
	if _, err := s.Start(t.Context(), r); code(err) != matrix.ErrLimitExceeded {
		t.Errorf("an address that was written to often: %v", err)
	}
	r.ClientSecret, r.SendAttempt = "secret0", 1
	if _, err := s.Start(t.Context(), r); err != nil {
		t.Errorf("what was asked before is not counted: %v", err)
	}
	burst = ratelimit.Default(ratelimit.CodeAsker).Burst
	r.Asker = "203.0.113.1"
	for i := range burst {
		r.Address, r.ClientSecret = fmt.Sprintf("anna%d@example.com", i), "s"
		mustStart(t, s, r)
	}
	r.Address = "noch-eine@example.com"
	if _, err := s.Start(t.Context(), r); code(err) != matrix.ErrLimitExceeded {
		t.Errorf("who asks often: %v", err)
	}
	if s.count() != ratelimit.Default(ratelimit.CodeAddress).Burst+burst {
		t.Errorf("%d were sent", s.count())
	}
}

func TestRequestsAreChecked(t *testing.T) {
	t.Parallel()
	s := newSide(t, storetest.DSN(t), false)
	for name, change := range map[string]func(*verify.Request){
		"no secret":         func(r *verify.Request) { r.ClientSecret = "" },
		"a long secret":     func(r *verify.Request) { r.ClientSecret = strings.Repeat("a", 256) },
		"an odd secret":     func(r *verify.Request) { r.ClientSecret = "a b" },
		"a negative number": func(r *verify.Request) { r.SendAttempt = -1 },
		"no link":           func(r *verify.Request) { r.NextLink = "::" },
		"a long link":       func(r *verify.Request) { r.NextLink = "https://matrix.example.com/" + strings.Repeat("a", 3000) },
	} {
		r := email(verify.Add)
		change(&r)
		if _, err := s.Start(t.Context(), r); code(err) != matrix.ErrInvalidParam {
			t.Errorf("%s: %v", name, err)
		}
	}
	for link, kept := range map[string]bool{
		"https://matrix.example.com/done":            true,
		"https://app.example.com/chat/#/settings":    true,
		"https://app.example.com/other":              false,
		"http://matrix.example.com/done":             false,
		"https://matrix.example.com.evil.test/":      false,
		"https://matrix.example.com@evil.test/":      false,
		"https://evil.test/https://app.example.com/": false,
		"javascript:alert(1)":                        false,
		"data:text/html,x":                           false,
	} {
		r := email(verify.Add)
		r.NextLink, r.ClientSecret = link, fmt.Sprintf("s%x", link)
		found, err := s.store.GetValidation(t.Context(), mustStart(t, s, r))
		if err != nil || (found.NextLink == link) != kept || !kept && found.NextLink != "" {
			t.Errorf("%s: kept %q, %v", link, found.NextLink, err)
		}
	}
}

func TestLanguage(t *testing.T) {
	t.Parallel()
	for accept, want := range map[string]string{
		"": "en", "fr-BE,fr;q=0.9,en;q=0.8": "fr", "nl-NL": "nl", "de-AT,en;q=0.5": "de", "pt-BR": "en", "xx;;q=": "en", "ja,nl;q=0.3": "nl",
	} {
		if got := verify.Language(accept); got != want {
			t.Errorf("%q: %s, want %s", accept, got, want)
		}
	}
}

func TestTwoProcessesBeginOneValidation(t *testing.T) {
	t.Parallel()
	dsn := storetest.DSN(t)
	sides := []*side{newSide(t, dsn, false), newSide(t, dsn, false)}
	for round := range 10 {
		var mu sync.Mutex
		sids := map[string]int{}
		var all sync.WaitGroup
		before := sides[0].count() + sides[1].count()
		for i := range 8 {
			all.Go(func() {
				r := email(verify.Add)
				r.ClientSecret = fmt.Sprint("round", round)
				sid, err := sides[i%2].Start(context.Background(), r)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				sids[sid]++
			})
		}
		all.Wait()
		if sent := sides[0].count() + sides[1].count() - before; len(sids) != 1 || sent != 1 {
			t.Fatalf("round %d: %v, %d sent", round, sids, sent)
		}
	}
}
