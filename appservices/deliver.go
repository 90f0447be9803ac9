package appservices

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/wake"
)

// How application services are told what happens.
//
// Each of them follows the journal from a position of its own, in one process at a time: the queue is the journal. What it is told next is
// stored, byte for byte, before it is sent, and is sent until it has been acknowledged; only then is the next transaction made. So the
// order holds, nothing is left out, and what comes twice is the same under the same id. One that is slow or away holds up nobody: it has a
// goroutine, and at most one transaction in the database.
//
// Why not journal.Follower: its lease is a connection to the database, and there may be hundreds of application services. And the lease of a
// process that was stopped, with its connections open, would never end. Here the lease is a row with a time; whoever takes it over counts
// its fence up, and then the former holder can neither store a transaction nor acknowledge one.
const (
	// leaseFor is how long a process may be silent before another one takes over, leaseRenewed how often it renews, and leaseTrusted for how
	// long after the last renewal it believes itself.
	leaseFor     = 12 * time.Second
	leaseRenewed = 2 * time.Second
	leaseTrusted = 8 * time.Second
	// gather lets what happens at the same time go into one transaction: what comes after a quiet time is told at once.
	gather = 30 * time.Millisecond
	// readAtOnce bounds the positions that are looked at for one transaction.
	readAtOnce  = 500
	failedPause = time.Second
	// legacyFor is for how long the old path is used once it was found to be the right one.
	legacyFor = time.Hour
)

// worker delivers to one application service while this process has its lease.
type worker struct {
	s        *Server
	as       *Registration
	interest *interest
	cancel   context.CancelFunc
	ended    chan struct{}
	// renewed is when the lease was last known to be ours.
	renewed atomic.Pointer[time.Time]
	hurry   chan struct{}

	// mu guards what is read to renew the lease.
	mu sync.Mutex
	d  store.Delivery

	// more are devices of which the last transaction had not all messages, done up to where the messages of devices are acknowledged but not
	// removed yet.
	more        []deviceMark
	done        map[deviceOf]int64
	legacyUntil time.Time
}

// deliver has this process deliver to those application services that no other one delivers to, until ctx ends.
func (s *Server) deliver(ctx context.Context) {
	workers := make(map[string]*worker)
	defer func() {
		for _, w := range workers {
			w.stop()
		}
		release, cancel := context.WithTimeout(context.WithoutCancel(ctx), failedPause)
		defer cancel()
		if err := s.cfg.Store.ReleaseDeliveries(release, s.cfg.ProcessID); err != nil {
			s.cfg.Log.Info("application services: leases were not given back", "error", err)
		}
	}()
	for ctx.Err() == nil {
		if err := s.assign(ctx, workers); err != nil && ctx.Err() == nil && !store.IsUnavailable(err) {
			s.cfg.Log.Error("application services: leases", "error", err)
		}
		wake.PauseUntil(ctx, s.reassign, leaseRenewed)
	}
}

// assign renews leases, gives up those that were lost or whose registration has changed, and takes those that are free.
func (s *Server) assign(ctx context.Context, workers map[string]*worker) error {
	ctx, cancel := context.WithTimeout(ctx, leaseRenewed)
	defer cancel()
	present := s.cfg.Registry.present.Load()
	var have []store.Delivery
	for id, w := range workers {
		if present.byID(id) != w.as || w.over() {
			w.stop()
			delete(workers, id)
			continue
		}
		have = append(have, w.state())
	}
	if len(have) > 0 {
		asked := time.Now()
		kept, err := s.cfg.Store.RenewDeliveries(ctx, have, leaseFor)
		if err != nil {
			return fmt.Errorf("renew: %w", err)
		}
		for id, w := range workers {
			if kept[id] {
				w.renewed.Store(&asked)
			} else {
				w.stop()
				delete(workers, id)
			}
		}
	}
	var free []string
	for _, as := range present.services {
		if workers[as.ID] == nil && as.reachable() {
			free = append(free, as.ID)
		}
	}
	if len(free) == 0 {
		return nil
	}
	asked := time.Now()
	taken, err := s.cfg.Store.TakeDeliveries(ctx, free, s.cfg.ProcessID, leaseFor)
	if err != nil {
		return fmt.Errorf("take: %w", err)
	}
	for _, d := range taken {
		workers[d.AppserviceID] = s.startWorker(present.byID(d.AppserviceID), d, asked)
	}
	s.setWorkers(workers)
	return nil
}

// setWorkers lets the rest of the server find the workers of this process.
func (s *Server) setWorkers(workers map[string]*worker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.workers = make(map[string]*worker, len(workers))
	for id, w := range workers {
		s.workers[id] = w
	}
}

// hurryUp has an application service that was away told at once what waits for it, if this process delivers to it.
func (s *Server) hurryUp(id string) {
	s.mu.Lock()
	w := s.workers[id]
	s.mu.Unlock()
	if w != nil {
		select {
		case w.hurry <- struct{}{}:
		default:
		}
	}
}

func (s *Server) startWorker(as *Registration, d store.Delivery, asked time.Time) *worker {
	ctx, cancel := context.WithCancel(context.Background())
	w := &worker{
		s: s, as: as, interest: newInterest(as, s.cfg.Store), cancel: cancel, ended: make(chan struct{}), hurry: make(chan struct{}, 1),
		d: d, done: make(map[deviceOf]int64),
	}
	w.renewed.Store(&asked)
	go func() {
		defer close(w.ended)
		w.run(ctx)
	}()
	return w
}

// stop ends the worker and waits for it.
func (w *worker) stop() {
	w.cancel()
	<-w.ended
}

// over reports that the worker found out by itself that it has lost the lease.
func (w *worker) over() bool {
	select {
	case <-w.ended:
		return true
	default:
		return false
	}
}

// state is what the lease is renewed with.
func (w *worker) state() store.Delivery {
	w.mu.Lock()
	defer w.mu.Unlock()
	return store.Delivery{AppserviceID: w.d.AppserviceID, Fence: w.d.Fence, Position: w.d.Position}
}

func (w *worker) set(f func(d *store.Delivery)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(&w.d)
}

// leased reports whether the lease is surely ours. The clock that is asked goes on while a process is stopped.
func (w *worker) leased() bool { return time.Since(*w.renewed.Load()) < leaseTrusted }

// run delivers until ctx ends.
func (w *worker) run(ctx context.Context) {
	w.more = openMarks(w.d.ToDevice)
	for ctx.Err() == nil {
		err := w.step(ctx)
		if err == nil || ctx.Err() != nil {
			continue
		}
		if !store.IsUnavailable(err) {
			w.s.cfg.Log.Error("an application service can't be told", "appservice", w.as.ID, "error", err)
		}
		wake.Pause(ctx, failedPause)
	}
}

// step sends what is not acknowledged, or else makes what comes next and waits for it.
func (w *worker) step(ctx context.Context) error {
	if !w.leased() {
		wake.Pause(ctx, leaseRenewed/4)
		return nil
	}
	if w.d.Body != nil {
		if err := w.send(ctx); err != nil {
			if ctx.Err() == nil {
				w.failed(ctx, err)
			}
			return nil
		}
		return w.acknowledged(ctx)
	}
	next, err := w.next(ctx)
	if err != nil {
		return err
	}
	if next.body != nil {
		return w.put(ctx, next)
	}
	_, err = w.s.cfg.Journal.Wait(ctx, w.d.Position)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// next looks for what comes next; the body is nil when there is nothing up to the present.
func (w *worker) next(ctx context.Context) (transaction, error) {
	from := w.d.Position
	if active, err := w.active(ctx); err != nil || !active {
		wake.Pause(ctx, failedPause)
		return transaction{}, err
	}
	for {
		to := min(w.s.cfg.Journal.Head(), from+readAtOnce)
		if to <= from && len(w.more) == 0 {
			return transaction{from: from, upTo: from}, nil
		}
		entries, err := w.s.cfg.Journal.Read(ctx, from, max(to, from))
		if err != nil {
			return transaction{}, fmt.Errorf("read the journal: %w", err)
		}
		t, err := w.build(ctx, entries, from, max(to, from))
		if err != nil || t.body != nil {
			return t, err
		}
		w.more = nil // nothing was left of them
		from = t.upTo
		if w.d.Body == nil {
			w.set(func(d *store.Delivery) { d.Position = from })
		}
		if ctx.Err() != nil {
			return transaction{}, nil
		}
	}
}

// active reports whether the application service may be told anything: its organisation has not been suspended, nor its own account locked.
func (w *worker) active(ctx context.Context) (bool, error) {
	account, err := w.s.cfg.Store.GetUser(ctx, w.as.Sender)
	if err != nil {
		return false, fmt.Errorf("look up the account of an application service: %w", err)
	}
	return !account.Locked && !account.Deactivated(), nil
}

// put stores the next transaction. With it what went before is acknowledged.
func (w *worker) put(ctx context.Context, t transaction) error {
	d := w.d
	d.Position, d.Txn, d.Body, d.BodyPosition = t.from, w.d.Txn+1, t.body, t.upTo
	d.TxnID, d.ToDevice = txnID(d.Txn, t.body), encodeMarks(t.toDevice)
	held, err := w.s.cfg.Store.PutTransaction(ctx, d, w.removals())
	if err != nil {
		return fmt.Errorf("store a transaction: %w", err)
	}
	if !held {
		w.cancel()
		return nil
	}
	clear(w.done)
	w.set(func(have *store.Delivery) { *have = d })
	w.more = nil
	return nil
}

// acknowledged goes on after a transaction that was acknowledged: the next one is stored with the news of it, if there is one already.
func (w *worker) acknowledged(ctx context.Context) error {
	marks := openMarks(w.d.ToDevice)
	for _, m := range decodeMarks(w.d.ToDevice) {
		w.done[deviceOf{m.User, m.Device}] = m.UpTo
	}
	w.more = marks
	w.set(func(d *store.Delivery) {
		d.Body, d.Position, d.DeliveredTS, d.Failures = nil, d.BodyPosition, w.s.now(), 0
		d.ToDevice = encodeMarks(marks)
	})
	if w.s.cfg.Journal.Head() <= w.d.Position && len(w.more) == 0 {
		wake.Pause(ctx, gather)
	}
	if w.leased() && ctx.Err() == nil {
		next, err := w.next(ctx)
		if err == nil && next.body != nil {
			return w.put(ctx, next)
		}
	}
	// It was acknowledged, whether there is time to go on or not.
	saving, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseRenewed)
	defer cancel()
	for {
		held, err := w.s.cfg.Store.PutDelivered(saving, w.d, w.removals())
		switch {
		case err == nil && held:
			clear(w.done)
			return nil
		case err == nil:
			w.cancel()
			return nil
		case ctx.Err() != nil || saving.Err() == nil && !store.IsUnavailable(err):
			return fmt.Errorf("note what was acknowledged: %w", err)
		}
		// Until it is noted nothing else is sent: another process would send it once more, and then what follows.
		if wake.Pause(ctx, failedPause); ctx.Err() != nil {
			return nil
		}
		saving, cancel = context.WithTimeout(ctx, leaseRenewed)
		defer cancel()
	}
}

func (w *worker) removals() []store.ToDeviceDone {
	var list []store.ToDeviceDone
	for d, upTo := range w.done {
		list = append(list, store.ToDeviceDone{UserID: d.user, DeviceID: d.device, UpTo: upTo})
	}
	return list
}

// send sends the stored transaction once. Any success is an acknowledgement.
//
// Spec: application-service v1.19 §pushing-events
func (w *worker) send(ctx context.Context) error {
	w.s.accesses.add(w.as, "delivery", 1, false)
	path := "/transactions/" + url.PathEscape(w.d.TxnID)
	if time.Now().Before(w.legacyUntil) {
		got, err := w.s.put(ctx, w.as, path, w.d.Body)
		return failure(got, err)
	}
	got, err := w.s.put(ctx, w.as, "/_matrix/app/v1"+path, w.d.Body)
	if err == nil && got.unknown() {
		if got, err = w.s.put(ctx, w.as, path, w.d.Body); err == nil && got.ok() {
			w.legacyUntil = time.Now().Add(legacyFor)
		}
	}
	return failure(got, err)
}

// failure is what is wrong with an answer.
func failure(got answer, err error) error {
	switch {
	case err != nil:
		return reason(err)
	case !got.ok():
		return fmt.Errorf("status %d", got.status)
	}
	return nil
}

// failed waits longer after each failure.
func (w *worker) failed(ctx context.Context, err error) {
	w.set(func(d *store.Delivery) {
		if d.Failures++; d.Failures == 1 {
			d.FailingSince = w.s.now()
		}
		d.LastError = err.Error()
		d.LastError = d.LastError[:min(len(d.LastError), limits.DeliveryError)]
	})
	wait := min(limits.AppserviceRetry<<min(w.d.Failures-1, 20), limits.AppserviceRetryMost)
	if w.d.Failures == 1 || wait == limits.AppserviceRetryMost {
		w.s.cfg.Log.Info("an application service did not take a transaction", "appservice", w.as.ID, "failures", w.d.Failures, "error", w.d.LastError)
	}
	if err := w.s.cfg.Store.PutDeliveryFailure(ctx, w.d); err != nil && ctx.Err() == nil && !store.IsUnavailable(err) {
		w.s.cfg.Log.Warn("application services: note a failure", "error", err)
	}
	wake.PauseUntil(ctx, w.hurry, wait)
}

// put sends a transaction to a path.
func (s *Server) put(ctx context.Context, as *Registration, path string, body []byte) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, limits.AppserviceTransaction)
	defer cancel()
	return s.exchange(ctx, s.cfg.Deliveries, as, http.MethodPut, path, body)
}

func (s *Server) now() matrix.Timestamp { return matrix.TimestampOf(s.cfg.Clock.Now()) }
