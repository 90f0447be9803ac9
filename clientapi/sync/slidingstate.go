package sync

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// connection is what a client has been told on a connection of sliding sync, as one version of its state says. It does not change:
// an answer that has to be remembered makes another one, so that a client that did not get the answer can be given it again.
type connection struct {
	version int64
	rooms   map[int64]*sentRoom
	// used is when the database was last told that the connection is used, in ms.
	used atomic.Int64
}

// sentRoom is what a client has been told of a room. It does not change either.
type sentRoom struct {
	// at is the position up to which everything was told, 0 for the position of the token: the room is live.
	at int64
	// full: as a member, or a former one; else only what is shown to those who are invited.
	full bool
	dm   bool
	// told are the extensions whose part of the room was told, too.
	told byte
	// limit is the number of events that the timeline had at least, if there are so many; from is the first position of what
	// was told without a gap, 0 from the beginning.
	limit int
	from  int64
	// config is the required_state that was told, by the hashes of its parts.
	config []uint64
	// members are those whose member events were sent because the timeline showed them, sorted.
	members []string
}

// nothingSent is the state of version 0.
var nothingSent = &connection{rooms: map[int64]*sentRoom{}}

// maxConnections bounds the states that a process remembers, times two.
const maxConnections = 500

// connectionKey names a state. A state never changes, so that what is remembered of it is right for ever.
type connectionKey struct {
	store.SlidingConnection
	version int64
}

// usedEvery is how often the database is told that a connection is used.
const usedEvery = 24 * time.Hour

// connection returns the state that a request's pos names.
func (s *Server) connection(ctx context.Context, r *slidingRequest) (*connection, error) {
	if r.initial || r.pos.version == 0 {
		return nothingSent, nil
	}
	now := matrix.TimestampOf(s.cfg.Clock.Now())
	key := connectionKey{r.conn, r.pos.version}
	c, ok := s.connections.get(key)
	if !ok {
		stored, err := s.cfg.Store.GetSlidingState(ctx, r.conn, r.pos.version)
		if errors.Is(err, store.ErrNotFound) {
			return nil, matrix.UnknownPos()
		}
		if err != nil {
			return nil, fmt.Errorf("load connection: %w", err)
		}
		if c, ok = decodeConnection(stored.State); !ok {
			return nil, matrix.UnknownPos() // written by another version of the program
		}
		c.version = stored.Version
		c.used.Store(int64(stored.UsedTS))
		s.connections.put(key, c)
	}
	if last := c.used.Load(); int64(now)-last > usedEvery.Milliseconds() && c.used.CompareAndSwap(last, int64(now)) {
		if err := s.cfg.Store.PutSlidingUsed(ctx, r.conn, now); err != nil {
			return nil, fmt.Errorf("keep connection: %w", err)
		}
	}
	return c, nil
}

// remember stores the state that an answer makes of an earlier one.
func (s *Server) remember(ctx context.Context, conn store.SlidingConnection, base *connection, rooms map[int64]*sentRoom) (*connection, error) {
	c := &connection{version: 1 + rand.Int64N(1<<62), rooms: rooms}
	now := matrix.TimestampOf(s.cfg.Clock.Now())
	c.used.Store(int64(now))
	raw := c.encode()
	if len(raw) > limits.SlidingState {
		return nil, matrix.UnknownPos()
	}
	st := store.SlidingState{Version: c.version, Base: base.version, UsedTS: now, State: raw}
	stored, err := s.cfg.Store.PutSlidingState(ctx, conn, st, limits.SlidingSiblings, limits.SlidingConnections)
	if err != nil {
		return nil, fmt.Errorf("store connection: %w", err)
	}
	if !stored {
		return nil, matrix.UnknownPos()
	}
	s.connections.put(connectionKey{conn, c.version}, c)
	return c, nil
}

// stateFormat is the first byte of an encoded state. Whoever changes the format changes it: older states are then unknown.
const stateFormat = 1

const (
	bitFull = 1 << iota
	bitDM
	bitNotLive
	bitGap // from is not 0
	bitMembers
)

// encode gives the state in the form that is stored: tables of members and configs, then the rooms in the order of their
// numbers. Numbers are varints, of rooms the differences.
func (c *connection) encode() []byte {
	nids := slices.Sorted(maps.Keys(c.rooms))
	var users []string
	userIndex := make(map[string]int)
	var configs [][]uint64
	configIndex := make(map[string]int)
	var body []byte
	put := func(n int64) { body = binary.AppendVarint(body, n) }
	last, from := int64(0), int64(0)
	for _, nid := range nids {
		r := c.rooms[nid]
		put(nid - last)
		last = nid
		body = append(body, r.bits(), r.told)
		name := configName(r.config)
		i, ok := configIndex[name]
		if !ok {
			i = len(configs)
			configIndex[name] = i
			configs = append(configs, r.config)
		}
		put(int64(i))
		put(int64(r.limit))
		if r.at != 0 {
			put(r.at)
		}
		if r.from != 0 {
			put(r.from - from)
			from = r.from
		}
		if len(r.members) > 0 {
			put(int64(len(r.members)))
			for _, m := range r.members {
				i, ok := userIndex[m]
				if !ok {
					i = len(users)
					userIndex[m] = i
					users = append(users, m)
				}
				put(int64(i))
			}
		}
	}
	head := []byte{stateFormat}
	head = binary.AppendVarint(head, int64(len(users)))
	for _, u := range users {
		head = append(binary.AppendVarint(head, int64(len(u))), u...)
	}
	head = binary.AppendVarint(head, int64(len(configs)))
	for _, config := range configs {
		head = binary.AppendVarint(head, int64(len(config)))
		for _, h := range config {
			head = binary.LittleEndian.AppendUint64(head, h)
		}
	}
	head = binary.AppendVarint(head, int64(len(nids)))
	return append(head, body...)
}

func (r *sentRoom) bits() (b byte) {
	for bit, is := range map[byte]bool{bitFull: r.full, bitDM: r.dm, bitNotLive: r.at != 0, bitGap: r.from != 0, bitMembers: len(r.members) > 0} {
		if is {
			b |= bit
		}
	}
	return b
}

func configName(config []uint64) string {
	var b []byte
	for _, h := range config {
		b = binary.LittleEndian.AppendUint64(b, h)
	}
	return string(b)
}

// stateReader reads what encode wrote. bad is set at the first thing that is not so.
type stateReader struct {
	raw []byte
	bad bool
}

func (r *stateReader) number() int64 {
	n, size := binary.Varint(r.raw)
	if size <= 0 {
		r.bad = true
		return 0
	}
	r.raw = r.raw[size:]
	return n
}

// count reads the length of a list whose elements take at least size bytes each.
func (r *stateReader) count(size int) int {
	n := r.number()
	if n < 0 || n > int64(len(r.raw)/size) {
		r.bad = true
		return 0
	}
	return int(n)
}

func (r *stateReader) bytes(n int) []byte {
	if r.bad || n > len(r.raw) {
		r.bad = true
		return make([]byte, n)
	}
	b := r.raw[:n]
	r.raw = r.raw[n:]
	return b
}

func indexed[T any](r *stateReader, table []T) (t T) {
	if i := r.number(); i >= 0 && i < int64(len(table)) {
		return table[i]
	}
	r.bad = true
	return t
}

func decodeConnection(raw []byte) (*connection, bool) {
	r := &stateReader{raw: raw}
	if r.bytes(1)[0] != stateFormat || r.bad {
		return nil, false
	}
	users := make([]string, r.count(1))
	for i := range users {
		users[i] = string(r.bytes(r.count(1)))
	}
	configs := make([][]uint64, r.count(1))
	for i := range configs {
		configs[i] = make([]uint64, r.count(8))
		for k := range configs[i] {
			configs[i][k] = binary.LittleEndian.Uint64(r.bytes(8))
		}
	}
	n := r.count(5)
	c := &connection{rooms: make(map[int64]*sentRoom, n)}
	nid, from := int64(0), int64(0)
	for range n {
		nid += r.number()
		head := r.bytes(2)
		bits := head[0]
		room := &sentRoom{full: bits&bitFull != 0, dm: bits&bitDM != 0, told: head[1]}
		room.config = indexed(r, configs)
		room.limit = int(r.number())
		if bits&bitNotLive != 0 {
			room.at = r.number()
		}
		if bits&bitGap != 0 {
			from += r.number()
			room.from = from
		}
		if bits&bitMembers != 0 {
			room.members = make([]string, r.count(1))
			for i := range room.members {
				room.members[i] = indexed(r, users)
			}
		}
		c.rooms[nid] = room
	}
	return c, !r.bad && len(r.raw) == 0
}

// same reports whether nothing has to be remembered but what was known.
func (r *sentRoom) same(o *sentRoom) bool {
	return r.at == o.at && r.full == o.full && r.dm == o.dm && r.told == o.told && r.limit == o.limit && r.from == o.from &&
		slices.Equal(r.config, o.config) && slices.Equal(r.members, o.members)
}
