package identity

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// index finds the people of an organisation by the hashes of their addresses. PostgreSQL would have to hash all addresses at each lookup: 100 ms
// for 100,000. What the index has is a hint, brought up to date with each lookup by the numbers of the directory's changes; what is answered
// is read from the database. So it may be forgotten at any time, and processes need not agree.
type index struct {
	mu     sync.Mutex
	tables map[int64]*table
	// uses counts lookups, so that what was not asked for longest is forgotten first.
	uses int64
}

// table is an organisation's part.
type table struct {
	used int64 // under index.mu
	size int   // under index.mu

	mu     sync.Mutex
	period int64
	// change is the last change of the directory that is in it.
	change int64
	users  []matrix.UserID
	// number is the place of a user in users, owner that of who has the hash, of which the first eight bytes are kept; hashes are a user's.
	number map[matrix.UserID]int32
	owner  map[uint64]int32
	hashes map[int32][]uint64
}

func (x *index) table(org int64) *table {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.uses++
	t := x.tables[org]
	if t == nil {
		if x.tables == nil {
			x.tables = map[int64]*table{}
		}
		t = &table{}
		x.tables[org] = t
	}
	t.used = x.uses
	return t
}

// sized notes how large a table is, and forgets others if all together are too large.
func (x *index) sized(t *table, size int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	t.size = size
	for {
		total, oldest := 0, int64(0)
		for org, other := range x.tables {
			total += other.size
			if other != t && (oldest == 0 || other.used < x.tables[oldest].used) {
				oldest = org
			}
		}
		if total <= limits.LookupKept || oldest == 0 {
			return
		}
		delete(x.tables, oldest)
	}
}

// find returns those who may have an address with one of the hashes.
func (x *index) find(ctx context.Context, st *store.Store, sources []source, period int64, pepper string, asked map[[sha256.Size]byte]string) ([]matrix.UserID, error) {
	if err := settle(ctx, st); err != nil {
		return nil, err
	}
	var meant []matrix.UserID
	for _, src := range sources {
		t := x.table(src.org)
		found, size, err := t.find(ctx, st, src.org, period, pepper, asked)
		if err != nil {
			return nil, fmt.Errorf("look people up by hashes: %w", err)
		}
		x.sized(t, size)
		meant = append(meant, found...)
	}
	return meant, nil
}

// settle numbers what has changed in directories.
func settle(ctx context.Context, st *store.Store) error {
	for {
		some, err := st.HasDirectoryChanges(ctx)
		if err != nil || !some {
			return err
		}
		if _, err := st.SettleDirectory(ctx, limits.LookupSettled); err != nil {
			return err
		}
	}
}

func (t *table) find(
	ctx context.Context, st *store.Store, org, period int64, pepper string, asked map[[sha256.Size]byte]string,
) (found []matrix.UserID, size int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.period != period || t.owner == nil {
		t.period, t.change, t.users = period, 0, nil
		t.number, t.owner, t.hashes = map[matrix.UserID]int32{}, map[uint64]int32{}, map[int32][]uint64{}
	}
	if err := t.update(ctx, st, org, pepper); err != nil {
		return nil, 0, err
	}
	for sum := range asked {
		if i, ok := t.owner[key(sum)]; ok {
			found = append(found, t.users[i])
		}
	}
	return found, len(t.owner) + len(t.users), nil
}

// update takes in what has changed since the last lookup.
func (t *table) update(ctx context.Context, st *store.Store, org int64, pepper string) error {
	var last int64
	var changed []store.DirectoryAddress
	err := st.Read(ctx, func(tx *store.Tx) (err error) {
		if last, err = tx.GetDirectoryChange(ctx, org); err != nil || last == t.change {
			return err
		}
		changed, err = tx.ListDirectoryAddresses(ctx, org, t.change)
		return err
	})
	if err != nil {
		return err
	}
	cleared := map[int32]bool{}
	for _, a := range changed {
		i, known := t.number[a.UserID]
		if !known {
			if a.Medium == "" {
				continue
			}
			i = int32(len(t.users))
			t.number[a.UserID] = i
			t.users = append(t.users, a.UserID)
		}
		if !cleared[i] {
			cleared[i] = true
			for _, h := range t.hashes[i] {
				if t.owner[h] == i {
					delete(t.owner, h)
				}
			}
			delete(t.hashes, i)
		}
		if a.Medium != "" {
			h := key(hashAddress(a.Address, a.Medium, pepper))
			t.owner[h] = i
			t.hashes[i] = append(t.hashes[i], h)
		}
	}
	t.change = last
	return nil
}

func key(sum [sha256.Size]byte) uint64 { return binary.BigEndian.Uint64(sum[:8]) }
