package sync

import (
	"slices"
	"sync/atomic"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
)

// poll is a request that waits.
type poll struct {
	entry  *user
	device matrix.DeviceID
	news   chan struct{}
	// ended: the request has to be answered with what there is.
	ended atomic.Bool
}

func (p *poll) wake() {
	select {
	case p.news <- struct{}{}:
	default:
	}
}

func (p *poll) end() {
	p.ended.Store(true)
	p.wake()
}

// wait makes a poll of the user's. A device, or a user, that has too many already loses its oldest.
func (h *hub) wait(u *user, device matrix.DeviceID) *poll {
	p := &poll{entry: u, device: device, news: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	same, all := 0, 0
	for i := len(u.polls) - 1; i >= 0; i-- {
		if u.polls[i].ended.Load() {
			continue
		}
		if all++; u.polls[i].device == device {
			same++
		}
		if u.polls[i].device == device && same >= limits.PollsPerDevice || all >= limits.PollsPerUser {
			u.polls[i].end()
		}
	}
	u.polls = append(u.polls, p)
	return p
}

// leave ends a poll; nil is none.
func (h *hub) leave(p *poll) {
	if p == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	u := p.entry
	if i := slices.Index(u.polls, p); i >= 0 {
		u.polls = slices.Delete(u.polls, i, i+1)
	}
	if len(u.polls) == 0 {
		u.polls = nil
	}
}
