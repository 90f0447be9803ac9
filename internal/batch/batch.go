// Package batch serves together those who come while others are served. A transaction costs hardly more for many than for one, and of those that
// need the same row only one goes on at a time.
package batch

import "sync"

// Queue hands what is put into it to a function that runs once at a time.
type Queue[T any] struct {
	most  int
	serve func([]T)

	mu      sync.Mutex
	busy    bool
	waiting []T
}

// New returns a Queue that serves at most so many at a time.
func New[T any](most int, serve func([]T)) *Queue[T] {
	return &Queue[T]{most: most, serve: serve}
}

// Put has one served, and does not wait for it.
func (q *Queue[T]) Put(one T) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, one)
	if !q.busy {
		q.busy = true
		go q.work()
	}
}

func (q *Queue[T]) work() {
	for {
		q.mu.Lock()
		if len(q.waiting) == 0 {
			q.busy = false
			q.mu.Unlock()
			return
		}
		n := min(len(q.waiting), q.most)
		batch := q.waiting[:n:n]
		q.waiting = q.waiting[n:]
		q.mu.Unlock()
		q.serve(batch)
	}
}
