package sync

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/roomline/roomline/clientapi/filter"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver/view"
)

// writer puts an answer's bytes together.
type writer struct {
	b       *build
	dst     []byte
	related view.Related
	opts    view.Options
}

// write returns the answer's body.
func (b *build) write() ([]byte, error) {
	detailed, size := b.detailedEvents()
	related, err := b.s.related(b.ctx, detailed)
	if err != nil {
		return nil, err
	}
	if err := b.aggregate(&related); err != nil {
		return nil, err
	}
	w := &writer{
		b: b, related: related, dst: make([]byte, 0, size),
		opts: view.Options{
			Now: matrix.TimestampOf(b.s.cfg.Clock.Now()), Viewer: b.e.id, Device: b.r.device,
			Federation: b.r.filter.EventFormat == filter.FormatFederation, Fields: b.r.filter.EventFields,
		},
	}
	w.dst = appendStart(w.dst, b.now, b.toDeviceReached, b.toDevice)
	w.dst = appendEncryption(w.dst, b.devicesChanged, b.devicesLeft, b.counts)
	w.accountAndPresence()
	w.rooms()
	w.dst = append(w.dst, '}')
	return w.dst, nil
}

// detailed reports whether an event of a room's state is told with what it replaced: changes are, and the user's own membership,
// from which clients learn whether an invitation was to a direct chat. The rest of a whole state is not: it is long,
// and nobody shows it as something that happened.
func (b *build) detailed(rm *room, e *store.Event) bool {
	return rm.stateAfter > 0 || e.RedactedBy != "" || isMember(e, string(b.e.id))
}

// detailedEvents are those events of the answer that refer to others, and about how many bytes the answer takes.
func (b *build) detailedEvents() (list []*store.Event, size int) {
	size = 1024
	for i := range b.toDevice {
		size += len(b.toDevice[i].Content) + 128
	}
	for _, rm := range b.rooms {
		size += 512
		for _, e := range rm.events {
			size += len(e.JSON) + 128
			if e.StateKey != nil || e.RedactedBy != "" {
				list = append(list, e)
			}
		}
		for _, e := range rm.sticky {
			size += len(e.JSON) + 128
		}
		for _, e := range rm.state {
			size += len(e.JSON)
			if b.detailed(rm, e) {
				list = append(list, e)
			}
		}
	}
	return list, size
}

// related loads what the events refer to.
func (s *Server) related(ctx context.Context, events []*store.Event) (view.Related, error) {
	if len(events) == 0 {
		return view.Related{}, nil
	}
	positions := make([]int64, len(events), len(events)+1)
	redacted := int64(0)
	for i, e := range events {
		positions[i] = e.Position
		if e.RedactedBy != "" {
			redacted++
		}
	}
	return once(ctx, s, "related", append(positions, redacted), func(ctx context.Context) (view.Related, error) {
		return view.Load(ctx, s.cfg.Store, events...)
	})
}

func (w *writer) text(s string)   { w.dst = append(w.dst, s...) }
func (w *writer) comma(skip bool) { w.dst = appendComma(w.dst, skip) }

func (w *writer) accountAndPresence() {
	if list := w.b.accountData; len(list) > 0 {
		w.text(`,"account_data":{"events":[`)
		w.accountData(list)
		w.text(`]}`)
	}
	if list := w.b.presence; len(list) > 0 {
		w.text(`,"presence":{"events":[`)
		for i, up := range list {
			w.comma(i == 0)
			w.dst = appendPresence(w.dst, up, w.opts.Now)
		}
		w.text(`]}`)
	}
}

func (w *writer) accountData(list []*store.Update) {
	for i, up := range list {
		w.comma(i == 0)
		w.dst = appendAccountData(w.dst, up)
	}
}

// rooms writes the sections of rooms that have any.
func (w *writer) rooms() {
	if len(w.b.rooms) == 0 && len(w.b.invites) == 0 {
		return
	}
	w.text(`,"rooms":{`)
	start := len(w.dst)
	section := func(name string, list func(each func(matrix.RoomID))) {
		before := len(w.dst)
		w.comma(before == start)
		w.text(`"` + name + `":{`)
		any := false
		list(func(id matrix.RoomID) {
			w.comma(!any)
			w.dst = append(appendText(w.dst, string(id)), ':')
			any = true
		})
		w.dst = append(w.dst, '}')
		if !any {
			w.dst = w.dst[:before]
		}
	}
	for _, left := range []bool{false, true} {
		section(map[bool]string{false: "join", true: "leave"}[left], func(each func(matrix.RoomID)) {
			for _, rm := range w.b.rooms {
				if rm.left == left {
					each(rm.room)
					w.room(rm)
				}
			}
		})
	}
	for _, kind := range [][2]string{{memberInvite, "invite_state"}, {memberKnock, "knock_state"}} {
		section(kind[0], func(each func(matrix.RoomID)) {
			for _, inv := range w.b.invites {
				if inv.value == kind[0] {
					each(inv.room)
					w.invitation(inv, kind[1])
				}
			}
		})
	}
	w.dst = append(w.dst, '}')
}

// room writes a joined or left room.
func (w *writer) room(rm *room) {
	w.dst = append(w.dst, '{')
	if !rm.left {
		w.text(`"summary":{`)
		w.summary(rm.summary)
		w.text(`},`)
	}
	w.state(rm)
	w.text(`,"timeline":{"events":[`)
	for i, e := range rm.events {
		w.comma(i == 0)
		w.event(rm, e, true)
	}
	w.text(`],"limited":`)
	w.dst = strconv.AppendBool(w.dst, rm.limited)
	w.text(`,"prev_batch":"s`)
	w.dst = strconv.AppendInt(w.dst, max(rm.previous, 0), 10)
	w.text(`"},"account_data":{"events":[`)
	w.accountData(rm.accountData)
	w.text(`]}`)
	w.sticky(rm)
	if !rm.left {
		w.text(`,"ephemeral":{"events":[`)
		if rm.typing {
			w.dst = appendTyping(w.dst, rm.typists)
		}
		w.dst = appendReceipts(w.dst, rm.receipts, !rm.typing)
		w.text(`]}`)
		w.unread(rm)
	}
	w.dst = append(w.dst, '}')
}

func (w *writer) summary(s *summary) {
	if s == nil {
		return
	}
	if heroes := s.heroesFor(w.b.e.id); heroes != nil {
		w.text(`"m.heroes":[`)
		for i, id := range heroes {
			w.comma(i == 0)
			w.dst = appendText(w.dst, string(id))
		}
		w.text(`],`)
	}
	w.text(`"m.joined_member_count":`)
	w.dst = strconv.AppendInt(w.dst, int64(s.joined), 10)
	w.text(`,"m.invited_member_count":`)
	w.dst = strconv.AppendInt(w.dst, int64(s.invited), 10)
}

// state writes the state under the names that the request asks for.
//
// Spec: client-server v1.19 §syncing; MSC4222 §unstable-prefix
func (w *writer) state(rm *room) {
	var names []string
	if w.b.r.after {
		names = append(names, "state_after")
	}
	if w.b.r.afterUnstable {
		names = append(names, "org.matrix.msc4222.state_after")
	}
	if names == nil {
		names = []string{"state"}
	}
	for n, name := range names {
		w.comma(n == 0)
		w.text(`"` + name + `":{"events":[`)
		for i, e := range rm.state {
			w.comma(i == 0)
			w.event(rm, e, w.b.detailed(rm, e))
		}
		w.text(`]}`)
	}
}

// event writes an event of a room.
func (w *writer) event(rm *room, e *store.Event, detailed bool) {
	opts := w.opts
	canSee := func(int64) bool { return true }
	switch {
	case rm.visible != nil:
		opts.Membership = rm.visible.MembershipAt(e.Position)
		canSee = rm.visible.CanSee
	case e.Position > w.b.since:
		opts.Membership = memberJoin
	}
	if detailed {
		w.related.Add(&opts, e, canSee)
	}
	w.dst = view.Render(w.dst, e, opts)
}

func (w *writer) invitation(inv *invitation, name string) {
	w.text(`{"` + name + `":{"events":[`)
	for i, e := range inv.stripped {
		w.comma(i == 0)
		w.dst = view.RenderStripped(w.dst, e)
	}
	w.text(`]}}`)
}

func appendComma(dst []byte, skip bool) []byte {
	if skip {
		return dst
	}
	return append(dst, ',')
}

// appendText appends a JSON string.
func appendText(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c > '~' {
			text, err := json.Marshal(s)
			if err != nil {
				panic(fmt.Sprintf("sync: a string can always be encoded: %v", err))
			}
			return append(dst, text...)
		}
	}
	dst = append(append(dst, '"'), s...)
	return append(dst, '"')
}
