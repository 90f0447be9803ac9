// Package view turns stored events into what one viewer is sent: the client's format, with the unsigned part that is
// different for each viewer. /sync and the endpoints of a room share it.
//
// Spec: client-server v1.19 §room-event-format (ClientEvent, UnsignedData), §redactions, §filtering (event_format, event_fields).
//
// Whether the viewer may see an event at all is decided before (roomserver.Visibility). What an event says of other events
// (prev_content, redacted_because) is loaded for a whole page at once: Load. So is what others say of it (m.relations): Related.Aggregate.
//
// Start reading at Render.
package view

import (
	"strconv"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver/event"
)

// Options say who looks at an event and what is to be told besides it. The zero value tells the bare event.
type Options struct {
	// IncludeRoomID is false in /sync, where the room stands around the event.
	IncludeRoomID bool
	// Now gives unsigned.age; zero leaves it out.
	Now matrix.Timestamp
	// Viewer and Device are whose transaction_id is told.
	Viewer matrix.UserID
	Device matrix.DeviceID
	// Membership is the viewer's at the event, for unsigned.membership; empty leaves it out.
	Membership string
	// PrevContent and ReplacesState: the state that a state event replaced.
	PrevContent   []byte
	ReplacesState matrix.EventID
	// RedactedBecause is the redaction, in the client's format.
	RedactedBecause []byte
	// Relations are the aggregated children, for unsigned.m.relations.
	Relations []byte
	// Federation gives the event as it was signed, without unsigned: event_format of a filter.
	Federation bool
	// Fields are the only ones to give when not nil: event_fields of a filter.
	Fields []string
}

// Render appends the event as JSON.
func Render(dst []byte, e *store.Event, opts Options) []byte {
	if opts.Fields != nil {
		fields := opts.Fields
		opts.Fields = nil
		return appendFields(dst, Render(nil, e, opts), fields)
	}
	if opts.Federation {
		return append(dst, e.JSON...)
	}
	var space [512]byte
	c := clientEvent(e, opts.IncludeRoomID)
	return event.AppendClient(dst, c, appendUnsigned(space[:0], e, c.Sticky != nil, &opts))
}

// RenderStripped appends a state event in stripped form, for invites and knocks.
func RenderStripped(dst []byte, e *store.Event) []byte {
	return event.AppendStripped(dst, clientEvent(e, false))
}

func clientEvent(e *store.Event, roomID bool) event.ClientEvent {
	c := event.ClientEvent{
		EventID: e.EventID, Type: e.Type, Sender: e.Sender, StateKey: e.StateKey, OriginServerTS: e.OriginServerTS, PDU: e.JSON,
		Sticky: event.Sticky(e.JSON),
	}
	if roomID {
		c.RoomID = e.RoomID
	}
	return c
}

// appendUnsigned appends the unsigned object, or nothing when it would be empty.
func appendUnsigned(dst []byte, e *store.Event, sticky bool, opts *Options) []byte {
	start := len(dst)
	if opts.Now != 0 {
		dst = append(dst, `,"age":`...)
		dst = strconv.AppendInt(dst, int64(opts.Now-e.OriginServerTS), 10)
	}
	if len(opts.Relations) > 0 {
		dst = append(append(dst, `,"m.relations":`...), opts.Relations...)
	}
	if opts.Membership != "" {
		dst = append(dst, `,"membership":`...)
		dst = appendText(dst, opts.Membership)
	}
	if sticky {
		if left := stickyLeft(e, opts.Now); left > 0 {
			dst = append(dst, `,"msc4354_sticky_duration_ttl_ms":`...)
			dst = strconv.AppendInt(dst, left, 10)
		}
	}
	if opts.PrevContent != nil {
		dst = append(append(dst, `,"prev_content":`...), opts.PrevContent...)
	}
	if opts.RedactedBecause != nil {
		dst = append(append(dst, `,"redacted_because":`...), opts.RedactedBecause...)
	}
	if opts.ReplacesState != "" {
		dst = append(dst, `,"replaces_state":`...)
		dst = appendText(dst, string(opts.ReplacesState))
	}
	if e.TxnID != "" && e.TxnDevice == opts.Device && e.Sender == opts.Viewer {
		dst = append(dst, `,"transaction_id":`...)
		dst = appendText(dst, e.TxnID)
	}
	if e.TxnDevice == store.DelayedDevice && e.Sender == opts.Viewer {
		dst = append(dst, `,"org.matrix.msc4140.delay_id":`...)
		dst = appendText(dst, e.TxnID)
	}
	if len(dst) == start {
		return nil
	}
	dst[start] = '{'
	return append(dst, '}')
}

// stickyLeft is for how many ms the event is still sticky, 0 for one that is not.
func stickyLeft(e *store.Event, now matrix.Timestamp) int64 {
	if now == 0 {
		return 0
	}
	// An event from the future has not been sticky for a while already, but is no longer so than it says.
	return max(0, event.StickyFor(e.JSON).Milliseconds()-max(0, int64(now-e.OriginServerTS)))
}

// appendText appends a JSON string.
func appendText(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' {
			return append(dst, marshal(s)...)
		}
	}
	dst = append(append(dst, '"'), s...)
	return append(dst, '"')
}
