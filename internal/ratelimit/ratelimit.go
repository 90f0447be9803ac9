// Package ratelimit holds requests back. Its limits hold for the deployment: the buckets are rows in PostgreSQL, so it makes no
// difference which process is asked, and nothing is forgotten when one is killed.
//
// A limit is a token bucket: a burst, then one request per interval. It is stored as one number, the moment at which the bucket
// will be full again (generic cell rate algorithm), which one statement reads and advances.
//
// Asking the database costs a round trip, which is nothing for a sign-in and too much for a message. Limits with a wide burst
// are therefore spent on credit: a process admits a few requests of a key by itself, notes what it owes, and settles all keys
// together, in the background and before a key's credit is used up (hot.go). Everything admitted is written to the row in the
// end, also beyond what the bucket holds: who has been given too much waits longer for the next. So a limit may be exceeded
// once, by the credit of the processes together, and never again and again; that is at most a twentieth of the burst, because the
// credit is the twentieth divided by the number of processes. What has no credit asks the database each time and is exact: what
// guards passwords and accounts (onCredit), and a burst below 100 or so.
//
// Roads not taken: a share of the limit for each process (a client that stays with one process would have a third of it), leases of
// tokens taken ahead (a client that asks once a minute would pay a round trip each time, or hold what others need).
//
// When the database is away, what is exact refuses (an error, 503), and what is spent on credit goes by what this process knows.
//
// Who is limited is the key: a user, a device, an address, an organisation. Only its hash is stored. An IPv6 address counts as
// its /64, since that is what one customer gets.
//
// Spec: client-server v1.19 §rate-limiting
//
// Start reading at the table in classes.go, then Admit, Allow.
package ratelimit

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// Config of a Limiter. Store, Clock and Log are required.
type Config struct {
	Store *store.Store
	Clock matrix.Clock
	Log   *slog.Logger
	// Classes replace lines of the table; Check says whether they fit.
	Classes map[string]Class
	// ExemptUsers and ExemptAppservices are never limited; the latter by their ids.
	ExemptUsers       []string
	ExemptAppservices []string
}

// Limiter answers whether a request may be made now. A nil *Limiter allows everything.
type Limiter struct {
	cfg     Config
	classes map[string]Class
	exempt  map[string]bool
	// processes is how many there were when they were last counted.
	processes atomic.Int64
	hot       hot
}

// Check reports classes that the table does not have.
func Check(classes map[string]Class) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(classes)) {
		if !Known(name) {
			errs = append(errs, fmt.Errorf("rate_limits.classes.%s: there is no such class; known here: %s", name, strings.Join(Names(), ", ")))
		}
	}
	return errors.Join(errs...)
}

// New returns a Limiter with the classes of classes.go and those of the configuration.
func New(cfg Config) *Limiter {
	l := &Limiter{cfg: cfg, classes: maps.Clone(defaults), exempt: map[string]bool{}}
	maps.Copy(l.classes, cfg.Classes)
	for _, user := range cfg.ExemptUsers {
		l.exempt[user] = true
	}
	for _, id := range cfg.ExemptAppservices {
		l.exempt[appserviceKey(id)] = true
	}
	l.hot.init(l)
	return l
}

// appserviceKey can't be mistaken for a user id, an address or a device.
func appserviceKey(id string) string { return "appservice " + id }

// Admit counts a request of a route: for its class by user, or by address where there is no user, and for the groups that the
// requester belongs to. What is refused counts nowhere. It is an httpapi.Limiter.
//
// An application service counts as one requester, whoever it acts for.
func (l *Limiter) Admit(ctx context.Context, class string, who *httpapi.Requester, address string) (time.Duration, error) {
	if l == nil {
		return 0, nil
	}
	type spent struct{ class, key string }
	var todo [4]spent
	n := 1
	switch {
	case who == nil:
		todo[0] = spent{class, address}
	case who.Unlimited || l.exempt[string(who.User)] || who.Appservice != "" && l.exempt[appserviceKey(who.Appservice)]:
		return 0, nil
	case who.Appservice != "":
		todo[0] = spent{class, appserviceKey(who.Appservice)}
	default:
		todo[0] = spent{class, string(who.User)}
		todo[1] = spent{ByDevice, string(who.User) + " " + string(who.Device)}
		todo[2] = spent{ByOrganisation, strconv.FormatInt(who.Org, 10)}
		n = 3
	}
	todo[n] = spent{ByAddress, address}
	for i, s := range todo[:n+1] {
		wait, err := l.Allow(ctx, s.class, s.key)
		if err == nil && wait == 0 {
			continue
		}
		for _, before := range todo[:i] {
			err = errors.Join(err, l.PutBack(ctx, before.class, before.key))
		}
		return wait, err
	}
	return 0, nil
}

// Allow spends one request of the class for the key. When there is none left it returns how long to wait for one, and spends
// nothing.
func (l *Limiter) Allow(ctx context.Context, class, key string) (time.Duration, error) {
	if l == nil {
		return 0, nil
	}
	c, ok := l.classes[class]
	if !ok {
		return 0, fmt.Errorf("rate limit class %q is not in the table", class)
	}
	if credit := l.credit(class); credit > 0 {
		return l.hot.allow(ctx, c, localKey{class, network(key)}, credit)
	}
	return l.take(ctx, c, class, key)
}

// take asks the database.
func (l *Limiter) take(ctx context.Context, c Class, class, key string) (time.Duration, error) {
	now := l.cfg.Clock.Now()
	b := c.bucket(class, key)
	busyUntil, ok, err := l.cfg.Store.TakeFromBucket(ctx, b, now.UnixMicro())
	switch {
	case errors.Is(err, store.ErrNotFound):
		// The row was made after the statement began to look: somebody else got the only request of a burst of one.
		return c.Every, nil
	case err != nil:
		return 0, fmt.Errorf("rate limit %s: %w", class, err)
	case ok:
		return 0, nil
	}
	wait := time.Duration(busyUntil+b.Interval-b.Capacity-now.UnixMicro()) * time.Microsecond
	return max(wait, time.Millisecond), nil
}

// PutBack returns a request that Allow has spent and that turned out not to count, such as a login with the right password.
func (l *Limiter) PutBack(ctx context.Context, class, key string) error {
	if l == nil {
		return nil
	}
	c := l.classes[class]
	if l.credit(class) > 0 {
		l.hot.putBack(c, localKey{class, network(key)})
		return nil
	}
	if err := l.cfg.Store.PutBackIntoBucket(ctx, c.bucket(class, key)); err != nil {
		return fmt.Errorf("rate limit %s: %w", class, err)
	}
	return nil
}

// Reset gives the key its whole burst again. It is for classes without credit.
func (l *Limiter) Reset(ctx context.Context, class, key string) error {
	if l == nil {
		return nil
	}
	hash := hashKey(key)
	if err := l.cfg.Store.DeleteBucket(ctx, class, hash[:]); err != nil {
		return fmt.Errorf("rate limit %s: %w", class, err)
	}
	return nil
}

const (
	// settleInterval is how long a process may owe what it has admitted.
	settleInterval = time.Second
	sweepInterval  = time.Minute
	sweepAtOnce    = 10_000
	// fewProcesses is how many are reckoned with at least, so that a process that has just started needs no count.
	fewProcesses = 5
	// overshoot is the part of a burst that all processes together may admit on credit: a twentieth.
	overshoot = 20
)

// credit is how many requests of a key this process may admit before it settles, 0 when each has to be asked for.
func (l *Limiter) credit(class string) int {
	if !onCredit[class] {
		return 0
	}
	return l.classes[class].Burst / overshoot / int(max(l.processes.Load(), fewProcesses))
}

// Run settles what was admitted on credit and forgets buckets that are full again, until ctx ends.
func (l *Limiter) Run(ctx context.Context) error {
	if l == nil {
		<-ctx.Done()
		return nil
	}
	settle, sweep := time.NewTicker(settleInterval), time.NewTicker(sweepInterval)
	defer settle.Stop()
	defer sweep.Stop()
	l.sweep(ctx)
	for {
		select {
		case <-ctx.Done():
			// The last ones of a process that stops in good order; without a context that has ended.
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
			l.hot.settle(last)
			return nil
		case <-l.hot.due:
			l.hot.settle(ctx)
		case <-settle.C:
			l.hot.settle(ctx)
		case <-sweep.C:
			l.sweep(ctx)
		}
	}
}

func (l *Limiter) sweep(ctx context.Context) {
	now := l.cfg.Clock.Now().UnixMicro()
	l.hot.forget(now)
	_, err := l.cfg.Store.DeleteFullBuckets(ctx, now, sweepAtOnce)
	if err == nil {
		var n int
		if n, err = l.cfg.Store.CountProcesses(ctx); err == nil {
			l.processes.Store(int64(n))
		}
	}
	if err != nil && ctx.Err() == nil && !store.IsUnavailable(err) {
		l.cfg.Log.Error("forget full rate limits", "error", err)
	}
}

// network is the key itself, or the /64 of an IPv6 address.
func network(key string) string {
	if strings.IndexByte(key, ':') < 0 || key[0] == '@' {
		return key
	}
	address, err := netip.ParseAddr(key)
	if err != nil || !address.Is6() || address.Is4In6() {
		return key
	}
	prefix, _ := address.WithZone("").Prefix(64)
	return prefix.String()
}

// hashKey is what of a key is stored.
func hashKey(key string) [sha256.Size]byte { return sha256.Sum256([]byte(network(key))) }
