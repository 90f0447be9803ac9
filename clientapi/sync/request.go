package sync

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/roomline/roomline/clientapi/filter"
	"github.com/roomline/roomline/clientapi/presence"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// request is what a client asks /sync for.
type request struct {
	user   matrix.UserID
	device matrix.DeviceID
	// org is the user's organisation.
	org   int64
	guest bool
	// since is -1 without a since parameter. toDevice is up to where the device has been sent its messages, at most since.
	since     int64
	toDevice  int64
	timeout   time.Duration
	fullState bool
	// sticky asks for sticky events.
	sticky bool
	// presence is what the device says of itself, "" if it says nothing.
	presence string
	filter   *filter.Filter
	// after and afterUnstable ask for state_after instead of state, under its name or that of MSC4222.
	after, afterUnstable bool
}

// incremental reports whether the client knows something already.
func (r *request) incremental() bool { return r.since >= 0 }

// immediate reports whether the answer is due at once, even an empty one.
func (r *request) immediate() bool { return r.since < 0 || r.fullState }

// stateAfter reports whether the client wants the state at the end of timelines.
func (r *request) stateAfter() bool { return r.after || r.afterUnstable }

// parse reads the query.
func (s *Server) parse(ctx context.Context, c *httpapi.Call) (*request, error) {
	r := &request{
		user: c.Requester.User, device: c.Requester.Device, org: c.Requester.Org, guest: c.Requester.Guest, since: -1, toDevice: -1,
		after:         c.QueryBool("use_state_after"),
		afterUnstable: c.QueryBool("org.matrix.msc4222.use_state_after"),
	}
	if token := c.Query("since"); token != "" {
		var err error
		if r.since, r.toDevice, err = journal.ParseSyncToken(token); err != nil {
			return nil, matrix.InvalidParam("since is not a token of this server")
		}
	}
	timeout, err := c.QueryInt("timeout", 0, 0, int(limits.SyncTimeout/time.Millisecond))
	if err != nil {
		return nil, err
	}
	r.sticky = c.QueryBool(stickyQuery)
	r.timeout = time.Duration(timeout) * time.Millisecond
	if until := c.Requester.Until; until != 0 {
		// Whose time is over is told nothing more: the wait ends with it, and the next request is refused.
		r.timeout = max(0, min(r.timeout, until.Time().Sub(s.cfg.Clock.Now())))
	}
	switch full := c.Query("full_state"); full {
	case "", "true", "false":
		r.fullState = full == "true"
	default:
		return nil, matrix.InvalidParam("full_state must be true or false")
	}
	if r.presence = c.Query("set_presence"); r.presence != "" && !presence.Valid(r.presence) {
		return nil, matrix.InvalidParam("set_presence must be online, offline, unavailable or busy")
	}
	r.filter, err = s.requestFilter(ctx, r.user, c.Query("filter"))
	return r, err
}

// maxFilters is how many filters are remembered, times two. An inline filter may have limits.Filter bytes.
const maxFilters = 500

// filterKey names a filter: a stored one by user and id, an inline one by its text alone.
type filterKey struct {
	user matrix.UserID
	text string
}

// noFilter lets everything through.
var noFilter = new(filter.Filter)

// requestFilter returns the filter that the query parameter names or holds.
func (s *Server) requestFilter(ctx context.Context, user matrix.UserID, text string) (*filter.Filter, error) {
	if text == "" {
		return noFilter, nil
	}
	key := filterKey{text: text}
	stored := !strings.HasPrefix(text, "{")
	if stored {
		key.user = user
	}
	if f, ok := s.filters.get(key); ok {
		return f, nil
	}
	raw := []byte(text)
	if stored {
		if len(text) > maxFilterID {
			return nil, matrix.InvalidParam("filter: there is no such filter")
		}
		var err error
		raw, err = s.cfg.Store.GetFilter(ctx, user, text)
		if errors.Is(err, store.ErrNotFound) {
			return nil, matrix.InvalidParam("filter: there is no such filter")
		}
		if err != nil {
			return nil, fmt.Errorf("load filter: %w", err)
		}
	}
	f, err := filter.Parse(raw)
	if err != nil {
		return nil, err
	}
	s.filters.put(key, f)
	return f, nil
}

// timelineLimit is how many events of a room an answer may have.
func (r *request) timelineLimit() int {
	if l := r.filter.Room.Timeline.Limit; l != nil {
		return min(*l, limits.TimelineMax)
	}
	return limits.TimelineDefault
}

// appendStart appends what every answer begins with: messages are those to the device, all of them up to toDevice.
func appendStart(dst []byte, next, toDevice int64, messages []store.ToDeviceMessage) []byte {
	dst = append(dst, `{"next_batch":"`...)
	dst = journal.AppendSyncToken(dst, next, toDevice)
	dst = append(dst, `","to_device":{"events":[`...)
	for i := range messages {
		dst = appendToDevice(appendComma(dst, i == 0), &messages[i])
	}
	return append(dst, `]},`...)
}

// appendEncryption appends what every answer says of devices and keys.
func appendEncryption(dst []byte, changed, left []matrix.UserID, counts *keyCounts) []byte {
	return appendKeyCounts(append(appendDeviceLists(dst, changed, left), ','), counts)
}
