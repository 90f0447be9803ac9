package event

import (
	"bytes"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/limits"
)

// stickyMark is the end of the key as canonical JSON has it. It begins with a character that events have few of, so that most are
// told apart by one pass for it.
var stickyMark = []byte(`4354_sticky":`)

// Sticky is what an event says of its being sticky, a JSON value, or nil for an event that is not.
//
// Spec: MSC4354 (sticky events)
func Sticky(pdu []byte) []byte {
	if !bytes.Contains(pdu, stickyMark) {
		return nil
	}
	value, ok := memberOf(pdu, "msc4354_sticky")
	if !ok {
		return nil
	}
	return value
}

// StickyFor is for how long an event is sticky from when it was sent, 0 for one that is not: with a duration that is not valid it is
// an event like any other.
func StickyFor(pdu []byte) time.Duration {
	sticky := Sticky(pdu)
	if sticky == nil {
		return 0
	}
	ms := gjson.GetBytes(sticky, "duration_ms")
	if ms.Type != gjson.Number || ms.Num != float64(int64(ms.Num)) || ms.Num < 0 || ms.Num > float64(limits.StickyFor.Milliseconds()) {
		return 0
	}
	return time.Duration(ms.Num) * time.Millisecond
}
