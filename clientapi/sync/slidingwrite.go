package sync

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver/view"
)

// slidingWriter puts an answer's bytes together.
type slidingWriter struct {
	b       *slide
	dst     []byte
	related view.Related
	opts    view.Options
}

// nothingSliding is the answer that there is nothing new. Messages to the device have been sent up to reached.
func (s *Server) nothingSliding(ctx context.Context, e *user, r *slidingRequest, next slidingPos, counts []byte, reached int64) (any, error) {
	d := deviceAnswers{reached: max(reached, 0)}
	if r.extensions.E2EE.on() {
		var err error
		if d.counts, err = s.keyCounts(ctx, e, r.conn.Device); err != nil {
			return nil, err
		}
	}
	body := append(appendSlidingStart(make([]byte, 0, 512), r, next, counts), `,"rooms":{},"extensions":{`...)
	return httpapi.Raw(append(d.appendDevice(body, r, true), `}}`...)), nil
}

func appendSlidingStart(dst []byte, r *slidingRequest, next slidingPos, counts []byte) []byte {
	next.config, next.bind = r.hash, bindOf(r.conn)
	dst = append(append(append(dst, `{"pos":"`...), next.String()...), '"')
	if r.txnID != nil && !r.stable {
		dst = appendText(append(dst, `,"txn_id":`...), *r.txnID)
	}
	return append(append(append(dst, `,"lists":{`...), counts...), '}')
}

// write returns the answer's body.
func (b *slide) write() ([]byte, error) {
	var detailed []*store.Event
	size := 1024
	for i := range b.extensions.messages {
		size += len(b.extensions.messages[i].Content) + 128
	}
	for _, rm := range b.rooms {
		for _, e := range rm.events {
			size += len(e.JSON) + 128
			if e.StateKey != nil || e.RedactedBy != "" {
				detailed = append(detailed, e)
			}
		}
		for _, e := range rm.state {
			size += len(e.JSON)
			if b.detailed(rm, e) {
				detailed = append(detailed, e)
			}
		}
		size += 512
	}
	related, err := b.s.related(b.ctx, detailed)
	if err != nil {
		return nil, err
	}
	if err := b.aggregate(&related); err != nil {
		return nil, err
	}
	w := &slidingWriter{
		b: b, related: related, dst: make([]byte, 0, size),
		opts: view.Options{Now: matrix.TimestampOf(b.s.cfg.Clock.Now()), Viewer: b.e.id, Device: b.r.conn.Device},
	}
	w.dst = appendSlidingStart(w.dst, b.r, b.next, b.counts)
	w.text(`,"rooms":{`)
	first := true
	for _, rm := range b.rooms {
		if rm.say {
			w.comma(first)
			first = false
			w.dst = append(appendText(w.dst, string(rm.room)), ':')
			w.room(rm)
		}
	}
	w.text(`},"extensions":{`)
	w.extensions()
	w.text(`}}`)
	return w.dst, nil
}

// aggregate adds to related what later events say of those in the timelines, as in /sync: where the client may have missed them.
//
// Spec: MSC4186, RoomResult, timeline; client-server v1.19 §aggregations-of-child-events
func (b *slide) aggregate(related *view.Related) error {
	var events []*store.Event
	sights := make(map[int64]store.Sight)
	for _, rm := range b.rooms {
		if !rm.limited && !rm.fresh && !rm.expanded {
			continue
		}
		events = append(events, rm.events...)
		if rm.visible != nil {
			sights[rm.nid] = rm.visible.Sight()
		}
	}
	return related.Aggregate(b.ctx, b.s.cfg.Store, view.Viewer{
		User:      b.e.id,
		Ignored:   func(context.Context) ([]matrix.UserID, error) { return slices.Collect(maps.Keys(b.ignored)), nil },
		Sight:     func(room int64) store.Sight { return sights[room] },
		Childless: b.s.cfg.Rooms.Childless,
	}, events...)
}

// detailed reports whether an event of a room's state is told with what it replaced, as in /sync.
func (b *slide) detailed(rm *slidingRoom, e *store.Event) bool {
	return !rm.fresh || e.RedactedBy != "" || isMember(e, string(b.e.id))
}

func (w *slidingWriter) text(s string)   { w.dst = append(w.dst, s...) }
func (w *slidingWriter) comma(skip bool) { w.dst = appendComma(w.dst, skip) }

func (w *slidingWriter) number(key string, n int64) {
	w.text(`,"` + key + `":`)
	w.dst = strconv.AppendInt(w.dst, n, 10)
}

// room writes what is told of a room. Fields that are left out did not change, or are not there if initial is true.
//
// Spec: MSC4186, RoomResult
func (w *slidingWriter) room(rm *slidingRoom) {
	w.text(`{"bump_stamp":`)
	w.dst = strconv.AppendInt(w.dst, rm.bump, 10)
	if w.b.r.stable {
		w.text(`,"membership":"` + rm.value + `"`)
		w.lists(rm.lists)
	}
	if rm.fresh {
		w.text(`,"initial":true`)
	}
	if !rm.full {
		name := "invite_state"
		if w.b.r.stable {
			name = "stripped_state"
		}
		w.text(`,"` + name + `":[`)
		for i, e := range rm.stripped {
			w.comma(i == 0)
			w.dst = view.RenderStripped(w.dst, e)
		}
		w.text(`]}`)
		return
	}
	w.card(rm)
	w.unread(rm)
	if rm.fresh && rm.dm || !rm.fresh && rm.dm != rm.sent.dm {
		w.text(`,"is_dm":`)
		w.dst = strconv.AppendBool(w.dst, rm.dm)
	}
	if rm.expanded {
		w.text(map[bool]string{true: `,"expanded_timeline":true`, false: `,"unstable_expanded_timeline":true`}[w.b.r.stable])
	}
	if len(rm.state) > 0 {
		w.text(`,"required_state":[`)
		for i, e := range rm.state {
			w.comma(i == 0)
			w.event(rm, e, w.b.detailed(rm, e))
		}
		w.text(`]`)
	}
	if len(rm.events) > 0 {
		w.text(`,"timeline":[`)
		for i, e := range rm.events {
			w.comma(i == 0)
			w.event(rm, e, true)
		}
		w.text(`]`)
	}
	if rm.fresh || rm.limited || len(rm.events) > 0 {
		w.text(`,"limited":`)
		w.dst = strconv.AppendBool(w.dst, rm.limited)
		w.number("num_live", int64(rm.live))
		w.text(`,"prev_batch":"s`)
		w.dst = append(strconv.AppendInt(w.dst, max(rm.previous, 0), 10), '"')
	}
	w.text(`}`)
}

func (w *slidingWriter) lists(names []string) {
	if len(names) == 0 {
		return
	}
	w.text(`,"lists":[`)
	for i, name := range names {
		w.dst = appendText(appendComma(w.dst, i == 0), name)
	}
	w.text(`]`)
}

// card writes what a list of rooms shows of a room: its name or its heroes, its avatar, how many are in it.
func (w *slidingWriter) card(rm *slidingRoom) {
	w.named("name", rm.name, "content.name", rm.fresh)
	w.named("avatar", rm.avatar, "content.url", rm.fresh)
	if rm.summary == nil {
		return
	}
	if rm.summary.unnamed {
		w.text(`,"heroes":[`)
		for i, e := range rm.heroes {
			w.comma(i == 0)
			w.text(`{"user_id":`)
			w.dst = appendText(w.dst, *e.StateKey)
			for _, field := range []string{"displayname", "avatar_url"} {
				if v := gjson.GetBytes(e.JSON, "content."+field); v.Type == gjson.String {
					w.text(`,"` + field + `":`)
					w.dst = appendText(w.dst, v.Str)
				}
			}
			w.text(`}`)
		}
		w.text(`]`)
	}
	w.number("joined_count", int64(rm.summary.joined))
	w.number("invited_count", int64(rm.summary.invited))
}

// named writes a string of an event's content: null when it was taken away, nothing when the client never had one.
func (w *slidingWriter) named(field string, e *store.Event, path string, fresh bool) {
	if e == nil {
		return
	}
	v := gjson.GetBytes(e.JSON, path)
	switch {
	case v.Type == gjson.String && v.Str != "":
		w.text(`,"` + field + `":`)
		w.dst = appendText(w.dst, v.Str)
	case !fresh:
		w.text(`,"` + field + `":null`)
	}
}

func (w *slidingWriter) event(rm *slidingRoom, e *store.Event, detailed bool) {
	opts := w.opts
	canSee := func(int64) bool { return true }
	switch {
	case rm.visible != nil:
		opts.Membership = rm.visible.MembershipAt(e.Position)
		canSee = rm.visible.CanSee
	case e.Position > rm.told:
		opts.Membership = memberJoin
	}
	if detailed {
		w.related.Add(&opts, e, canSee)
	}
	w.dst = view.Render(w.dst, e, opts)
}

// extensions writes what the extensions have to tell.
func (w *slidingWriter) extensions() {
	x := &w.b.extensions
	start := len(w.dst)
	next := func(name string) {
		w.comma(len(w.dst) == start)
		w.text(`"` + name + `":{`)
	}
	if len(x.global) > 0 || len(x.accountData) > 0 {
		next("account_data")
		w.text(`"global":[`)
		w.accountData(x.global)
		w.text(`],"rooms":{`)
		eachRoom(w, x.accountData, func(_ *slidingRoom, list []*store.Update) {
			w.text(`[`)
			w.accountData(list)
			w.text(`]`)
		})
		w.text(`}}`)
	}
	if len(x.receipts) > 0 {
		next("receipts")
		w.text(`"rooms":{`)
		eachRoom(w, x.receipts, func(_ *slidingRoom, list []*store.Update) { w.dst = appendReceiptEvent(w.dst, list) })
		w.text(`}}`)
	}
	if len(x.typing) > 0 {
		next("typing")
		w.text(`"rooms":{`)
		eachRoom(w, x.typing, func(_ *slidingRoom, users []string) { w.dst = appendTyping(w.dst, users) })
		w.text(`}}`)
	}
	if len(x.sticky) > 0 {
		next(stickyExtension)
		w.sticky()
	}
	w.dst = x.appendDevice(w.dst, w.b.r, len(w.dst) == start)
}

func (w *slidingWriter) accountData(list []*store.Update) {
	for i, up := range list {
		w.comma(i == 0)
		w.dst = appendAccountData(w.dst, up)
	}
}

// eachRoom writes an object of rooms.
func eachRoom[T any](w *slidingWriter, of map[int64]T, write func(*slidingRoom, T)) {
	for i, nid := range slices.Sorted(maps.Keys(of)) {
		rm := w.b.found[nid]
		w.comma(i == 0)
		w.dst = append(appendText(w.dst, string(rm.room)), ':')
		write(rm, of[nid])
	}
}

func cutReceipt(key string) (typ, thread string) {
	typ, thread, _ = strings.Cut(key, "|")
	return typ, thread
}

// appendReceiptEvent appends the one m.receipt event of a room.
func appendReceiptEvent(dst []byte, list []*store.Update) []byte {
	dst = append(dst, `{"type":"m.receipt","content":{`...)
	events := byEvent(list)
	for i, id := range slices.Sorted(maps.Keys(events)) {
		dst = append(appendText(appendComma(dst, i == 0), id), `:{`...)
		for k, typ := range slices.Sorted(maps.Keys(events[id])) {
			dst = append(appendText(appendComma(dst, k == 0), typ), `:{`...)
			users := events[id][typ]
			for n, user := range slices.Sorted(maps.Keys(users)) {
				dst = append(appendText(appendComma(dst, n == 0), user), `:{"ts":`...)
				dst = strconv.AppendInt(dst, gjson.GetBytes(users[user].up.Body, "ts").Int(), 10)
				if users[user].thread != "" {
					dst = appendText(append(dst, `,"thread_id":`...), users[user].thread)
				}
				dst = append(dst, '}')
			}
			dst = append(dst, '}')
		}
		dst = append(dst, '}')
	}
	return append(dst, `}}`...)
}
