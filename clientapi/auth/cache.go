package auth

import (
	"container/list"
	"sync"
	"sync/atomic"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
)

// cached is what a process remembers of an access token.
type cached struct {
	// token is the SHA-256 of the token as it was sent.
	token     digest
	requester *httpapi.Requester
	// expires is 0 for never.
	expires matrix.Timestamp
	// sightAfter is when the device has to be noted as seen again, in ms.
	sightAfter atomic.Int64
}

// cache holds the access tokens that were used last. What is dropped is only looked up again.
type cache struct {
	mu      sync.Mutex
	max     int
	tokens  map[digest]*list.Element
	users   map[matrix.UserID]map[digest]*list.Element
	recency list.List
	// drops counts what was dropped because it changed. A row that was read before a drop may be from before the
	// change and must not be put in after it.
	drops uint64
}

func newCache(max int) *cache {
	return &cache{max: max, tokens: make(map[digest]*list.Element), users: make(map[matrix.UserID]map[digest]*list.Element)}
}

func (c *cache) get(token digest) (*cached, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.tokens[token]
	if !ok {
		return nil, false
	}
	c.recency.MoveToFront(e)
	return e.Value.(*cached), true
}

// dropCount is asked before a row is read, and handed to put with what was read.
func (c *cache) dropCount() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.drops
}

func (c *cache) put(entry *cached, drops uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.drops != drops {
		return
	}
	if old, ok := c.tokens[entry.token]; ok {
		c.remove(old)
	}
	for len(c.tokens) >= c.max {
		c.remove(c.recency.Back())
	}
	e := c.recency.PushFront(entry)
	c.tokens[entry.token] = e
	of := c.users[entry.requester.User]
	if of == nil {
		of = make(map[digest]*list.Element, 1)
		c.users[entry.requester.User] = of
	}
	of[entry.token] = e
}

func (c *cache) remove(e *list.Element) {
	entry := c.recency.Remove(e).(*cached)
	delete(c.tokens, entry.token)
	of := c.users[entry.requester.User]
	delete(of, entry.token)
	if len(of) == 0 {
		delete(c.users, entry.requester.User)
	}
}

// dropUser forgets the tokens of a user.
func (c *cache) dropUser(user matrix.UserID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drops++
	for _, e := range c.users[user] {
		c.remove(e)
	}
}

// dropAll forgets everything.
func (c *cache) dropAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drops++
	clear(c.tokens)
	clear(c.users)
	c.recency.Init()
}
