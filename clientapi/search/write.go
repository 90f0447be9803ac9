package search

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver/event"
	"github.com/roomline/roomline/roomserver/view"
)

// write puts the answer together.
func (a *answer) write(context.Context) (any, error) {
	now := matrix.TimestampOf(a.s.cfg.Clock.Now())
	dst := fmt.Appendf(nil, `{"search_categories":{"room_events":{"count":%d,"highlights":`, a.count)
	dst = appendJSON(dst, a.highlights())
	dst = append(dst, `,"results":[`...)
	for i, r := range a.results {
		dst = comma(dst, i)
		dst = append(dst, `{"rank":`...)
		dst = strconv.AppendFloat(dst, float64(r.Rank), 'g', -1, 32)
		dst = a.appendEvent(append(dst, `,"result":`...), r.event, now)
		if a.req.Context != nil {
			dst = a.appendContext(append(dst, `,"context":`...), r, now)
		}
		dst = append(dst, '}')
	}
	dst = append(dst, ']')
	if a.req.IncludeState {
		dst = a.appendState(append(dst, `,"state":{`...), now)
	}
	if len(a.req.Groupings.GroupBy) > 0 {
		dst = a.appendGroups(append(dst, `,"groups":{`...))
	}
	// Interop: the last page could go without a token, but clients look for one behind every page that has results.
	if len(a.matches) > 0 {
		next := a.next(a.matches[len(a.matches)-1], a.s.cfg.Journal.Head())
		dst = fmt.Appendf(dst, `,"next_batch":%q`, next.token())
	}
	return httpapi.Raw(append(dst, "}}}"...)), nil
}

func (a *answer) appendEvent(dst []byte, e *store.Event, now matrix.Timestamp) []byte {
	sight := a.visible[e.RoomNID]
	opts := view.Options{
		IncludeRoomID: true, Now: now, Viewer: a.who.User, Device: a.who.Device, Membership: sight.MembershipAt(e.Position),
	}
	a.related.Add(&opts, e, sight.CanSee)
	return view.Render(dst, e, opts)
}

func (a *answer) appendEvents(dst []byte, list []*store.Event, now matrix.Timestamp) []byte {
	dst = append(dst, '[')
	for i, e := range list {
		dst = a.appendEvent(comma(dst, i), e, now)
	}
	return append(dst, ']')
}

// appendContext appends what stands around a result: what comes before it with the nearest first, as /context has it.
func (a *answer) appendContext(dst []byte, r *result, now matrix.Timestamp) []byte {
	nearest := slices.Clone(r.before)
	slices.Reverse(nearest)
	dst = fmt.Appendf(dst, `{"start":%q,"end":%q,"events_before":`,
		token(r.before, r.Position-1, true), token(r.after, r.Position, false))
	dst = a.appendEvents(dst, nearest, now)
	dst = a.appendEvents(append(dst, `,"events_after":`...), r.after, now)
	if a.req.Context.IncludeProfile {
		profiles := make(map[matrix.UserID]profile)
		for _, e := range slices.Concat(r.before, []*store.Event{r.event}, r.after) {
			profiles[e.Sender] = a.profiles[profileKey{r.Position, e.Sender}]
		}
		dst = appendJSON(append(dst, `,"profile_info":`...), profiles)
	}
	return append(dst, '}')
}

func (a *answer) appendState(dst []byte, now matrix.Timestamp) []byte {
	for i, nid := range slices.Sorted(maps.Keys(a.state)) {
		dst = appendJSON(comma(dst, i), a.ids[nid])
		dst = append(dst, ':', '[')
		for n, e := range a.state[nid] {
			opts := view.Options{IncludeRoomID: true, Now: now, Viewer: a.who.User, Device: a.who.Device}
			a.redactions.Add(&opts, e, a.visible[nid].CanSee)
			dst = view.Render(comma(dst, n), e, opts)
		}
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

func (a *answer) appendGroups(dst []byte) []byte {
	type group struct {
		Next    string           `json:"next_batch,omitempty"`
		Order   int              `json:"order"`
		Results []matrix.EventID `json:"results"`
	}
	seen := make(map[string]bool)
	for _, by := range a.req.Groupings.GroupBy {
		if seen[by.Key] {
			continue
		}
		values, members, next := a.groups(by.Key)
		groups := make(map[string]group, len(values))
		for order, value := range values {
			g := group{Next: next[value], Order: order + 1}
			for _, r := range members[value] {
				g.Results = append(g.Results, r.event.EventID)
			}
			groups[value] = g
		}
		dst = appendJSON(comma(dst, len(seen)), by.Key)
		dst = appendJSON(append(dst, ':'), groups)
		seen[by.Key] = true
	}
	return append(dst, '}')
}

// textOf is the text that a result was found by.
func (a *answer) textOf(r *result) string {
	content := event.Content(r.event.JSON)
	if r.edit != nil {
		content = []byte(gjson.GetBytes(event.Content(r.edit.JSON), `m\.new_content`).Raw)
	}
	switch r.event.Type {
	case "m.room.name":
		return gjson.GetBytes(content, "name").String()
	case "m.room.topic":
		return topic(content)
	}
	return gjson.GetBytes(content, "body").String()
}

func comma(dst []byte, i int) []byte {
	if i == 0 {
		return dst
	}
	return append(dst, ',')
}

// appendJSON appends what can always be encoded: strings, and maps and lists of them.
func appendJSON(dst []byte, v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic("search: " + err.Error())
	}
	return append(dst, text...)
}
