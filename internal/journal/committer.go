package journal

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

const (
	// maxBatchUnits and maxBatchBytes bound one batch, so that no writer waits for a huge one.
	maxBatchUnits = 256
	maxBatchBytes = 4 << 20
	// maxQueued bounds what waits while the database is slow or away; more is refused at once.
	maxQueued = 8192
	// commitPatience is how long a batch is tried again while the database is away. A writer waits a little longer.
	commitPatience = 8 * time.Second
	waitPatience   = 10 * time.Second
	// attemptTimeout bounds one attempt: a connection that died silently must not hold everybody.
	attemptTimeout = 6 * time.Second
	reconnectPause = 50 * time.Millisecond
)

// errBusy is answered while the database can't take more: it counts as unavailable.
type errBusy struct{ why string }

func (e errBusy) Error() string     { return e.why }
func (e errBusy) Unavailable() bool { return true }

// Pending is a unit on its way into the journal.
type Pending struct {
	j      *Journal
	unit   store.Unit
	done   chan struct{}
	result store.Result
	err    error
}

// Wait returns what became of the unit. When ctx ends first the unit is stored all the same. Whoever enqueues a unit has to call
// Wait: while nobody else commits, the caller does it.
func (p *Pending) Wait(ctx context.Context) (store.Result, error) {
	began := time.Now()
	p.j.lead()
	select {
	case <-p.done:
		return p.result, p.err
	default:
	}
	patience := time.NewTimer(waitPatience - time.Since(began))
	defer patience.Stop()
	select {
	case <-p.done:
		return p.result, p.err
	case <-ctx.Done():
		return store.Result{}, ctx.Err()
	case <-patience.C:
		return store.Result{}, errBusy{"the database did not answer in time"}
	}
}

func (p *Pending) finish(r store.Result, err error) {
	p.result, p.err = r, err
	close(p.done)
}

// queue is what waits for the next batch, in order.
type queue struct {
	mu      sync.Mutex
	waiting []*Pending
	closed  bool
	news    chan struct{}
}

func newQueue() *queue { return &queue{news: make(chan struct{}, 1)} }

// Enqueue hands a unit to the committer. Units of one room are stored in the order in which they were enqueued.
func (j *Journal) Enqueue(unit store.Unit) (*Pending, error) {
	if len(unit.Events)+len(unit.Updates) == 0 {
		return nil, errors.New("journal: a unit of nothing")
	}
	p := &Pending{j: j, unit: unit, done: make(chan struct{})}
	q := j.queue
	q.mu.Lock()
	switch {
	case q.closed:
		q.mu.Unlock()
		return nil, errBusy{"the server is stopping"}
	case len(q.waiting) >= maxQueued:
		q.mu.Unlock()
		return nil, errBusy{"too much waits for the database"}
	}
	q.waiting = append(q.waiting, p)
	q.mu.Unlock()
	return p, nil
}

// lead commits one batch, unless somebody else is committing; that one will find what waits. Why: a lone writer commits in its own
// goroutine, and is spared two changes of thread. What the database does not take at once is left to the committer, who has
// the patience for it.
func (j *Journal) lead() {
	c := j.committer
	if !c.turn.TryLock() {
		return
	}
	if batch := j.queue.take(); batch != nil {
		j.queue.putBack(c.commitOnce(batch))
	}
	c.turn.Unlock()
	if !j.queue.empty() {
		j.signal(j.queue.news)
	}
}

// putBack returns a batch to the front.
func (q *queue) putBack(batch []*Pending) {
	if len(batch) == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(batch, q.waiting...)
}

func (q *queue) empty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting) == 0
}

// take returns the next batch, or nothing.
func (q *queue) take() []*Pending {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, bytes := 0, 0
	for n < len(q.waiting) && n < maxBatchUnits && bytes < maxBatchBytes {
		bytes += unitBytes(&q.waiting[n].unit)
		n++
	}
	if n == 0 {
		return nil
	}
	batch := q.waiting[:n:n]
	q.waiting = q.waiting[n:]
	if len(q.waiting) == 0 {
		q.waiting = nil
	}
	return batch
}

func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
}

func unitBytes(u *store.Unit) int {
	n := 256
	for i := range u.Events {
		n += len(u.Events[i].JSON)
	}
	for i := range u.Updates {
		n += len(u.Updates[i].Body)
	}
	return n + u.ToDevice.ToDeviceBytes()
}

// runCommitter stores what waits, batch after batch, until ctx ends and the queue is empty.
func (j *Journal) runCommitter(ctx context.Context) {
	for {
		j.committer.commitWaiting()
		if ctx.Err() != nil {
			// Nobody may be left waiting in a queue that nobody empties.
			j.queue.close()
			j.committer.commitWaiting()
			j.committer.disconnect()
			return
		}
		select {
		case <-j.queue.news:
		case <-ctx.Done():
		}
	}
}

// committer owns the connection that batches go through. Whoever uses it holds turn.
type committer struct {
	j    *Journal
	turn sync.Mutex
	conn *store.JournalConn
}

// commitWaiting commits until nothing waits.
func (c *committer) commitWaiting() {
	c.turn.Lock()
	defer c.turn.Unlock()
	for {
		// Who is about to write goes first: when the machine has no time to spare, fewer and larger batches leave more of it. Otherwise
		// nobody waits for the processor, and this is nothing.
		runtime.Gosched()
		batch := c.j.queue.take()
		if batch == nil {
			return
		}
		c.commit(batch)
	}
}

func (c *committer) disconnect() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// commit stores a batch and answers everybody in it.
func (c *committer) commit(batch []*Pending) {
	batch = dropBroken(batch)
	if len(batch) == 0 {
		return
	}
	units := unitsOf(batch)
	sent := time.Now()
	results, err := c.tryUntilAnswered(c.j.now(), units)
	if err != nil {
		c.refused(batch, err)
		return
	}
	c.stored(batch, units, results, sent)
}

// commitOnce is commit without patience: it returns those that nothing is known of, to be tried again.
func (c *committer) commitOnce(batch []*Pending) (again []*Pending) {
	batch = dropBroken(batch)
	if len(batch) == 0 {
		return nil
	}
	units := unitsOf(batch)
	sent := time.Now()
	results, err := c.try(c.j.now(), units)
	switch {
	case err == nil:
		c.stored(batch, units, results, sent)
		return nil
	case isUnavailable(err):
		c.disconnect()
	case !store.IsConflict(err):
		c.refused(batch, err)
		return nil
	}
	return batch
}

func unitsOf(batch []*Pending) []store.Unit {
	units := make([]store.Unit, len(batch))
	for i, p := range batch {
		units[i] = p.unit
	}
	return units
}

// stored hands a stored batch over, and answers everybody in it.
func (c *committer) stored(batch []*Pending, units []store.Unit, results []store.Result, sent time.Time) {
	if err := c.j.publishOwn(units, results, sent); err != nil {
		// The entries are stored; the tail brings them.
		c.j.cfg.Log.Warn("journal: could not publish a batch at once", "error", err)
		c.j.pokeTail()
	}
	for i, p := range batch {
		p.finish(results[i], nil)
	}
	if c.j.others.Load() {
		c.j.signal(c.j.notify)
	}
}

// refused answers a batch that the database did not take. When that is the fault of what is in it, the halves are tried
// by themselves, so that one unit that can't be stored costs nobody else anything.
func (c *committer) refused(batch []*Pending, err error) {
	if len(batch) > 1 && !isUnavailable(err) {
		half := len(batch) / 2
		c.commit(batch[:half])
		c.commit(batch[half:])
		return
	}
	if !isUnavailable(err) {
		c.j.cfg.Log.Error("journal: a unit was refused by the database", "error", err)
	}
	for _, p := range batch {
		p.finish(store.Result{}, err)
	}
}

func isUnavailable(err error) bool {
	return store.IsUnavailable(err) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, new(errBusy))
}

// dropBroken answers units that can't be stored together with those before them, and returns the others: a unit that does
// not continue the unit of the same room before it (the database compares only the first unit of a room with the
// room's head), and the second unit of a transaction (the database tells the first one apart from what it has).
func dropBroken(batch []*Pending) []*Pending {
	heads := make(map[int64]matrix.EventID, len(batch))
	txns := make(map[store.Txn]bool)
	kept := batch[:0:0]
	for _, p := range batch {
		u := &p.unit
		if len(u.Events) > 0 {
			head, ok := heads[u.RoomNID]
			if ok && head != u.Head || u.Txn != nil && txns[txnKey(u.Txn)] {
				p.finish(store.Result{Outcome: store.OutcomeMoved}, nil)
				continue
			}
			heads[u.RoomNID] = u.Events[len(u.Events)-1].EventID
			if u.Txn != nil {
				txns[txnKey(u.Txn)] = true
			}
		}
		kept = append(kept, p)
	}
	return kept
}

// txnKey is the transaction without the event that this attempt makes of it.
func txnKey(t *store.Txn) store.Txn {
	key := *t
	key.EventID = ""
	return key
}

// tryUntilAnswered sends the batch, again when the connection fails: a batch is recognised by its events, so sending it
// twice stores it once. Statements that fail for another reason are not tried again.
func (c *committer) tryUntilAnswered(now matrix.Timestamp, units []store.Unit) ([]store.Result, error) {
	giveUp := time.Now().Add(commitPatience)
	var pause time.Duration
	for {
		results, err := c.try(now, units)
		if err == nil {
			return results, nil
		}
		if !isUnavailable(err) && !store.IsConflict(err) {
			return nil, err
		}
		if isUnavailable(err) {
			c.disconnect()
		}
		if time.Now().After(giveUp) {
			return nil, errBusy{"the database is not available: " + err.Error()}
		}
		time.Sleep(pause)
		pause = min(2*pause+time.Millisecond, reconnectPause)
	}
}

func (c *committer) try(now matrix.Timestamp, units []store.Unit) ([]store.Result, error) {
	if c.conn == nil {
		conn, err := c.j.cfg.Store.OpenJournal(attemptTimeout)
		if err != nil {
			return nil, err
		}
		c.conn = conn
	}
	return c.conn.Append(now, units)
}
