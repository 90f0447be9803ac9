package mediaapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/mediaapi/blob"
)

// Checker compares the database with the store, in both directions. It may run beside servers: what looks wrong is looked at again, and
// what may only be on its way is left alone.
type Checker struct {
	Store *store.Store
	Blobs blob.Store
	Clock matrix.Clock
	// Hash reads every object and compares its SHA-256, too.
	Hash bool
	// Settled is for how long an object is left alone that the database does not know.
	Settled time.Duration

	// looked counts objects for Progress.
	looked atomic.Int64
}

// Fault is what is wrong with an object.
type Fault string

// The faults. Repair removes what is Unknown, Unneeded and Stuck; what media is Missing, has another Size or is Damaged is lost.
const (
	Unknown  Fault = "in the store, and unknown to the database"
	Missing  Fault = "not in the store"
	Size     Fault = "of another size than it was"
	Damaged  Fault = "of another content than it was"
	Unneeded Fault = "kept, and needed by no media"
	Stuck    Fault = "waiting to be removed for too long"
)

// Faults in the order in which they are told.
var Faults = []Fault{Unknown, Missing, Size, Damaged, Unneeded, Stuck}

// Findings are what a check has found.
type Findings struct {
	// InStore and InDatabase count the objects, Bytes are those in the store.
	InStore, InDatabase, Bytes int64
	// Keys are the objects that something is wrong with.
	Keys map[Fault][]string
}

// Wrong is how many objects something is wrong with.
func (f *Findings) Wrong() (n int) {
	for _, keys := range f.Keys {
		n += len(keys)
	}
	return n
}

const (
	// stuckAfter is for how long an object is left alone that is to be removed.
	stuckAfter = 10 * time.Minute
	// checkParallel is how many objects are read at a time.
	checkParallel = 8
)

// Looked is how many objects were looked at so far.
func (c *Checker) Looked() int64 { return c.looked.Load() }

// Check looks for what is wrong. The store comes first: what is written after that is looked for by its key.
func (c *Checker) Check(ctx context.Context) (*Findings, error) {
	if err := c.Blobs.Check(ctx); err != nil {
		return nil, err
	}
	found := &Findings{Keys: map[Fault][]string{}}
	seen, err := c.checkStore(ctx, found)
	if err != nil {
		return nil, err
	}
	slices.Sort(seen)
	if err := c.checkDatabase(ctx, found, seen); err != nil {
		return nil, err
	}
	for _, keys := range found.Keys {
		slices.Sort(keys)
	}
	return found, nil
}

// digest stands for a key: eight bytes for each object can be kept in memory.
func digest(key string) uint64 {
	h := fnv.New64a()
	_, _ = io.WriteString(h, key)
	return h.Sum64()
}

// checkStore looks at everything in the store, and returns the digests of the keys.
func (c *Checker) checkStore(ctx context.Context, found *Findings) (seen []uint64, err error) {
	var batch []blob.Object
	flush := func() error {
		defer func() { batch = batch[:0] }()
		return c.checkListed(ctx, found, batch)
	}
	err = c.Blobs.List(ctx, "", func(o blob.Object) error {
		found.InStore++
		found.Bytes += o.Size
		c.looked.Add(1)
		seen = append(seen, digest(o.Key))
		if batch = append(batch, o); len(batch) == sweepBatch {
			return flush()
		}
		return nil
	})
	if err == nil {
		err = flush()
	}
	if err != nil {
		return nil, fmt.Errorf("list the store: %w", err)
	}
	return seen, nil
}

// checkListed looks for objects of the store in the database.
func (c *Checker) checkListed(ctx context.Context, found *Findings, objects []blob.Object) error {
	keys := make([]string, len(objects))
	for i, o := range objects {
		keys[i] = o.Key
	}
	rows, err := c.Store.ListObjectsOf(ctx, keys)
	if err != nil {
		return fmt.Errorf("look objects up: %w", err)
	}
	known := make(map[string]*store.ObjectInfo, len(rows))
	for i := range rows {
		known[rows[i].Key] = &rows[i]
	}
	for _, o := range objects {
		row := known[o.Key]
		switch {
		case row == nil && o.Modified.Before(c.Clock.Now().Add(-c.Settled)):
			// It may have been removed since it was listed.
			there, err := c.there(ctx, o.Key)
			if err != nil {
				return err
			}
			if there {
				found.Keys[Unknown] = append(found.Keys[Unknown], o.Key)
			}
		case row != nil && row.Stored && row.Size != o.Size:
			found.Keys[Size] = append(found.Keys[Size], o.Key)
		}
	}
	return nil
}

// there reports whether the store has an object.
func (c *Checker) there(ctx context.Context, key string) (bool, error) {
	r, err := c.Blobs.Get(ctx, key, 0, 1)
	if errors.Is(err, blob.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for %s: %w", key, err)
	}
	return true, r.Close()
}

// checkDatabase looks for the objects of the database in what the store has.
func (c *Checker) checkDatabase(ctx context.Context, found *Findings, seen []uint64) error {
	for after := ""; ; {
		rows, err := c.Store.ListObjects(ctx, after, sweepBatch)
		if err != nil {
			return fmt.Errorf("list objects: %w", err)
		}
		faults := make([]Fault, len(rows))
		var g errgroup.Group
		g.SetLimit(checkParallel)
		for i := range rows {
			found.InDatabase++
			g.Go(func() error {
				c.looked.Add(1)
				_, listed := slices.BinarySearch(seen, digest(rows[i].Key))
				var err error
				faults[i], err = c.faultOf(ctx, &rows[i], listed)
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
		for i, fault := range faults {
			if key := rows[i].Key; fault != "" && !slices.Contains(found.Keys[Size], key) {
				found.Keys[fault] = append(found.Keys[fault], key)
			}
		}
		if len(rows) < sweepBatch {
			return nil
		}
		after = rows[len(rows)-1].Key
	}
}

// faultOf is what is wrong with an object of the database, if anything is.
func (c *Checker) faultOf(ctx context.Context, o *store.ObjectInfo, listed bool) (Fault, error) {
	age := c.Clock.Now().Sub(o.SinceTS.Time())
	switch {
	case o.Writing && age > limits.UploadTime+stuckAfter, !o.Writing && !o.Stored && age > stuckAfter:
		return Stuck, nil
	case !o.Stored:
		return "", nil
	case !o.Needed:
		return Unneeded, nil
	}
	if !listed {
		there, err := c.there(ctx, o.Key)
		if err != nil || !there {
			return c.ifStored(ctx, o.Key, Missing, err)
		}
	}
	if !c.Hash {
		return "", nil
	}
	sum, err := c.hash(ctx, o.Key)
	if errors.Is(err, blob.ErrNotFound) {
		return c.ifStored(ctx, o.Key, Missing, nil)
	}
	if err != nil || bytes.Equal(sum, o.SHA256) {
		return "", err
	}
	return c.ifStored(ctx, o.Key, Damaged, nil)
}

// ifStored is the fault if the object is still said to be stored: it may have been deleted since.
func (c *Checker) ifStored(ctx context.Context, key string, fault Fault, err error) (Fault, error) {
	if err != nil {
		return "", err
	}
	rows, err := c.Store.ListObjectsOf(ctx, []string{key})
	if err != nil || len(rows) == 0 || !rows[0].Stored {
		return "", err
	}
	return fault, nil
}

func (c *Checker) hash(ctx context.Context, key string) ([]byte, error) {
	r, err := c.Blobs.Get(ctx, key, 0, -1)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	return h.Sum(nil), nil
}

// Repaired is what Repair did.
type Repaired struct {
	// Removed counts objects, Lost is media that has no content any more.
	Removed int
	Lost    []matrix.ContentURI
}

// ErrTooMuch says that so much would be removed that it is likely the wrong store, or the wrong database.
var ErrTooMuch = errors.New("more than half of the objects would be lost or removed: is it the right store, and the right database?")

// Repair removes what nobody needs, and deletes media whose bytes are lost, so that it is not said to be there; each leaves a receipt.
// Unless told so by all it removes no more than half.
func (c *Checker) Repair(ctx context.Context, found *Findings, all bool) (*Repaired, error) {
	lost := slices.Concat(found.Keys[Missing], found.Keys[Size], found.Keys[Damaged])
	unknown := found.Keys[Unknown]
	if !all && (int64(len(lost))*2 > found.InDatabase || int64(len(unknown))*2 > found.InStore) {
		return nil, ErrTooMuch
	}
	done := &Repaired{}
	for _, key := range slices.Concat(lost, found.Keys[Unneeded]) {
		media, err := c.Store.LoseObject(ctx, key, ruleLost, c.now())
		done.Lost = append(done.Lost, media...)
		if err != nil {
			return done, fmt.Errorf("give up %s: %w", key, err)
		}
	}
	for keys := range slices.Chunk(unknown, sweepBatch) {
		if err := c.Blobs.Delete(ctx, keys...); err != nil {
			return done, fmt.Errorf("remove objects: %w", err)
		}
		done.Removed += len(keys)
	}
	for {
		n, err := c.Store.AbortObjectsBefore(ctx, c.now().Add(-limits.UploadTime-stuckAfter), c.now(), sweepBatch)
		if err != nil {
			return done, fmt.Errorf("give up interrupted uploads: %w", err)
		}
		if n < sweepBatch {
			break
		}
	}
	n, err := removeGone(ctx, c.Store, c.Blobs)
	done.Removed += n
	return done, err
}

func (c *Checker) now() matrix.Timestamp { return matrix.TimestampOf(c.Clock.Now()) }
