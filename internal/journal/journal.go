// Package journal is the one clock of Roomline: everything that a client can learn through sync is stored through it and gets
// its position from it.
//
// Three parts work on one database row, the clock:
//
//   - The committer (committer.go) takes what the process wants to store, in batches: while one batch commits, the next one
//     gathers. A batch is one round trip, and the clock's row is locked once a batch, not once an event. While nobody commits,
//     a writer commits what waits in its own goroutine.
//   - The ring (ring.go) holds the most recent entries in memory, in the order of their positions. What this process commits
//     goes in directly; what others commit is read from the database, once.
//   - The tail (tail.go) learns of others' commits, by notification and, because notifications may be lost, by asking.
//
// Invariants. Positions are given out inside the transaction that stores what they stand for, so position order is commit
// order: whoever has seen position p has seen everything up to p. The ring has no holes: its head is only moved when
// everything up to it is in. An entry is handed to the observers once, in order, before the writer is answered.
//
// Roads not taken: a PostgreSQL sequence (its values are taken before the commit, so that a reader may see 2 and never 1),
// logical replication (a slot per process holds back the database's log), NOTIFY inside the batch (it takes a lock on the
// whole database at commit).
//
// Start reading at Append.
package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// Entry is one position's content: an event or an update.
type Entry struct {
	Position int64
	Event    *store.Event
	Update   *store.Update
}

// Observer is told of entries, in order, each once. lost says that entries before these were missed (the process was
// too far behind), so that nothing remembered from earlier entries may be trusted. An observer must not block.
type Observer func(entries []Entry, lost bool)

// Config of a Journal. Store, Log and Clock are required.
type Config struct {
	Store *store.Store
	Log   *slog.Logger
	Clock matrix.Clock
	// ServerName and ProcessID name this process among those of the deployment.
	ServerName string
	ProcessID  string
	// PollInterval is how often the database is asked for others' commits even without a notification: 1 s if zero.
	PollInterval time.Duration
	// FreshFor is how long a memory of the database may be trusted without having heard from it: 3 s if zero. Longer in tests only.
	FreshFor time.Duration
	// RingEntries and RingBytes bound the ring: 20,000 and 24 MiB if zero.
	RingEntries int
	RingBytes   int
	// NoNotify leaves other processes to find out by asking. Tests only.
	NoNotify bool
}

// Journal is this process's end of the journal. It is safe for concurrent use.
type Journal struct {
	cfg       Config
	ring      *ring
	queue     *queue
	committer *committer

	// publishing orders the hand-over of entries to ring and observers.
	publishing sync.Mutex
	observers  []Observer
	// lostUpTo is where this process went on when it was last too far behind.
	lostUpTo atomic.Int64

	// lastContact is when the tail last knew that it had everything, in nanoseconds since the epoch.
	lastContact atomic.Int64
	others      atomic.Bool
	poke        chan struct{}
	notify      chan struct{}
}

// New returns a Journal that begins at the database's present position. Run has to be called for it to work.
func New(ctx context.Context, cfg Config) (*Journal, error) {
	if cfg.PollInterval == 0 {
		cfg.PollInterval = time.Second
	}
	if cfg.FreshFor == 0 {
		cfg.FreshFor = 3 * time.Second
	}
	if cfg.RingEntries == 0 {
		cfg.RingEntries = 20_000
	}
	if cfg.RingBytes == 0 {
		cfg.RingBytes = 24 << 20
	}
	before := time.Now()
	position, err := cfg.Store.GetPosition(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the journal's position: %w", err)
	}
	j := &Journal{
		cfg:    cfg,
		ring:   newRing(position, cfg.RingEntries, cfg.RingBytes),
		queue:  newQueue(),
		poke:   make(chan struct{}, 1),
		notify: make(chan struct{}, 1),
	}
	j.committer = &committer{j: j}
	j.touch(before)
	return j, nil
}

// Observe adds an observer. It is called while the server is put together, before Run.
func (j *Journal) Observe(o Observer) {
	j.observers = append(j.observers, o)
}

// Run commits and follows until ctx ends; what was queued by then is still committed.
func (j *Journal) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, part := range []func(context.Context){j.runTail, j.runListener, j.runNotifier, j.runHeartbeat} {
		wg.Go(func() { part(ctx) })
	}
	j.runCommitter(ctx)
	wg.Wait()
	return nil
}

// Head is the last position that this process has seen; everything up to it is known here.
func (j *Journal) Head() int64 { return j.ring.headPosition() }

// LostUpTo is the position before which observers were last told that entries were missed. Head comes to it after all have been told.
func (j *Journal) LostUpTo() int64 { return j.lostUpTo.Load() }

// Entries returns the entries with from < position <= to. ok is false when the ring does not go back to from, or has not
// come to to.
func (j *Journal) Entries(from, to int64) (entries []Entry, ok bool) {
	return j.ring.entries(from, to)
}

// Wait returns as soon as Head is greater than after, with Head.
func (j *Journal) Wait(ctx context.Context, after int64) (int64, error) {
	for {
		head, changed := j.ring.watch()
		if head > after {
			return head, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return head, ctx.Err()
		}
	}
}

// WaitFor is Wait for a position that another process may have given out: it asks the database instead of waiting for news.
func (j *Journal) WaitFor(ctx context.Context, position int64) error {
	if j.Head() >= position {
		return nil
	}
	j.pokeTail()
	_, err := j.Wait(ctx, position-1)
	return err
}

// Fresh reports whether this process has recently had everything that the database has. Caches kept up to date through the
// journal must not be trusted when it is false.
func (j *Journal) Fresh() bool {
	// A clock that was set back makes the contact lie in the future: nothing is known then.
	since := time.Since(time.Unix(0, j.lastContact.Load()))
	return since >= 0 && since < j.cfg.FreshFor
}

// touch notes that this process had, at the given moment, everything that the database had.
func (j *Journal) touch(at time.Time) { j.lastContact.Store(at.UnixNano()) }

// Append stores a unit and says what became of it. An error means that nothing is known: the unit may be stored or not.
func (j *Journal) Append(ctx context.Context, unit store.Unit) (store.Result, error) {
	p, err := j.Enqueue(unit)
	if err != nil {
		return store.Result{}, err
	}
	return p.Wait(ctx)
}

// Put stores updates, and returns the position of the first.
func (j *Journal) Put(ctx context.Context, updates ...store.Update) (int64, error) {
	r, err := j.Append(ctx, store.Unit{Updates: updates})
	return r.Position, err
}

// Replace stores updates that are conditional (store.Update.Replaces), each by itself, and says which were stored: the
// value that one of the others was made from has been replaced by somebody else.
func (j *Journal) Replace(ctx context.Context, updates ...store.Update) (stored []bool, err error) {
	pending := make([]*Pending, len(updates))
	for i := range updates {
		if pending[i], err = j.Enqueue(store.Unit{Updates: updates[i : i+1 : i+1]}); err != nil {
			return nil, err
		}
	}
	stored = make([]bool, len(updates))
	for i, p := range pending {
		r, err := p.Wait(ctx)
		if err != nil {
			return nil, err
		}
		stored[i] = r.Outcome == store.OutcomeStored
	}
	return stored, nil
}

// maxMoved bounds how often Write begins again because somebody else replaced what f had read.
const maxMoved = 16

// Write runs f in a transaction of its own, and stores the updates that f returns in the same commit. When it returns,
// this process has seen them. f may run several times. It must not write to the tables that batches write to: the batch
// would wait for f with the clock in its hands, and f for the clock.
func (j *Journal) Write(ctx context.Context, f func(tx *store.Tx) ([]store.Update, error)) error {
	var position int64
	write := func(tx *store.Tx) error {
		position = 0
		updates, err := f(tx)
		if err != nil || len(updates) == 0 {
			return err
		}
		// The clock's row is taken last, so that it is held for one round trip.
		r, err := tx.Append(ctx, j.now(), store.Unit{Updates: updates})
		if err != nil {
			return err
		}
		if r.Outcome != store.OutcomeStored {
			return errMoved
		}
		position = r.Position + int64(len(updates)) - 1
		return nil
	}
	err := j.cfg.Store.Write(ctx, write)
	for attempt := 1; errors.Is(err, errMoved) && attempt < maxMoved; attempt++ {
		err = j.cfg.Store.Write(ctx, write)
	}
	if err != nil || position == 0 {
		return err
	}
	j.signal(j.notify)
	return j.WaitFor(ctx, position)
}

// errMoved takes back a transaction whose updates were made from values that have been replaced.
var errMoved = errors.New("journal: what the update replaces has been replaced by others again and again")

func (j *Journal) now() matrix.Timestamp { return matrix.TimestampOf(j.cfg.Clock.Now()) }

func (j *Journal) signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (j *Journal) pokeTail() { j.signal(j.poke) }

// Token is the sync and pagination token for a position.
func Token(position int64) string { return "s" + strconv.FormatInt(position, 10) }

// AppendSyncToken appends the token for a position up to which a device has been told everything, except messages to the device,
// which it has been told up to another one. It is Token when both are the same.
func AppendSyncToken(dst []byte, position, toDevice int64) []byte {
	dst = strconv.AppendInt(append(dst, 's'), position, 10)
	if toDevice != position {
		dst = strconv.AppendInt(append(dst, '_'), toDevice, 10)
	}
	return dst
}

// ErrToken says that a token was not made here.
var ErrToken = errors.New("journal: not a token of this server")

// ParseToken returns the position that a token stands for. The tokens of sliding sync begin with one of these and "~": they can be used
// where these can.
func ParseToken(token string) (int64, error) {
	token, _, _ = strings.Cut(token, "~")
	position, _, err := ParseSyncToken(token)
	return position, err
}

// ParseSyncToken returns both positions of a token.
func ParseSyncToken(token string) (position, toDevice int64, err error) {
	text, isToken := strings.CutPrefix(token, "s")
	first, second, two := strings.Cut(text, "_")
	position, ok := parsePosition(first)
	toDevice = position
	if two && ok {
		toDevice, ok = parsePosition(second)
	}
	if !isToken || !ok || toDevice > position {
		return 0, 0, ErrToken
	}
	return position, toDevice, nil
}

func parsePosition(s string) (int64, bool) {
	if s == "" || s[0] < '0' || s[0] > '9' {
		return 0, false
	}
	p, err := strconv.ParseInt(s, 10, 64)
	return p, err == nil
}
