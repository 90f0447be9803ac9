package sync

import (
	"maps"
	stdsync "sync"
)

// recent is a bounded map that keeps what was used lately: when the young half is full, the old half is given up.
type recent[K comparable, V any] struct {
	mu         stdsync.Mutex
	max        int
	young, old map[K]V
}

func newRecent[K comparable, V any](max int) *recent[K, V] {
	return &recent[K, V]{max: max, young: make(map[K]V)}
}

func (r *recent[K, V]) get(key K) (V, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v, ok := r.young[key]
	if ok {
		return v, true
	}
	if v, ok = r.old[key]; ok {
		r.add(key, v)
	}
	return v, ok
}

func (r *recent[K, V]) put(key K, v V) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.add(key, v)
}

// deleteFunc forgets the values that del is true for.
func (r *recent[K, V]) deleteFunc(del func(V) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, half := range []map[K]V{r.young, r.old} {
		maps.DeleteFunc(half, func(_ K, v V) bool { return del(v) })
	}
}

// clear forgets everything.
func (r *recent[K, V]) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.young, r.old = make(map[K]V), nil
}

// add is called with mu held.
func (r *recent[K, V]) add(key K, v V) {
	if len(r.young) >= r.max {
		r.old, r.young = r.young, make(map[K]V)
	}
	r.young[key] = v
}
