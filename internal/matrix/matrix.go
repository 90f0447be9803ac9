// Package matrix holds the words that every other package speaks: identifiers, error codes and time.
//
// Spec: appendices v1.19 §identifier-grammar, client-server v1.19 §standard-error-response.
//
// Identifiers are string types, so that a user id cannot be handed over as a room id. They are parsed once, at the edge
// (ParseUserID and its siblings); inside the server a value of such a type has passed its parser. The empty value means
// "none". An *Error says what a client did wrong; every other error is the server's own fault.
//
// Only the standard library is imported. Start reading at user.go and error.go.
package matrix

import "time"

// Timestamp is the protocol's time: milliseconds since the Unix epoch.
//
// Spec: appendices v1.19 §canonical-json, which bounds it to integers that a double can hold.
type Timestamp int64

// TimestampOf converts a time to the protocol's milliseconds.
func TimestampOf(t time.Time) Timestamp { return Timestamp(t.UnixMilli()) }

// Time converts back; the result is in UTC.
func (t Timestamp) Time() time.Time { return time.UnixMilli(int64(t)).UTC() }

// Add is the moment d later.
func (t Timestamp) Add(d time.Duration) Timestamp { return t + Timestamp(d.Milliseconds()) }

// Clock is handed to whatever needs the time, so that tests can stand still.
type Clock interface{ Now() time.Time }

// SystemClock is the machine's clock.
type SystemClock struct{}

// Now returns the current time.
func (SystemClock) Now() time.Time { return time.Now() }
