package matrix

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Error is what a client (or a peer) did wrong, in the protocol's terms. Any layer may return one; only internal/httpapi
// writes it. An error that is not an *Error is the server's own fault and is answered with a bare 500.
type Error struct {
	Status     int            // HTTP status
	Code       ErrCode        // errcode
	Message    string         // error: a sentence for humans that names the field
	RetryAfter time.Duration  // > 0: the Retry-After header
	Fields     map[string]any // further keys of the body, such as soft_logout
}

// Error gives code and message, for logs.
func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }

// With adds a key to the body and returns the error, for use in a return statement.
func (e *Error) With(key string, value any) *Error {
	if e.Fields == nil {
		e.Fields = make(map[string]any, 1)
	}
	e.Fields[key] = value
	return e
}

// AsError finds the *Error in a chain of wrapped errors.
func AsError(err error) (*Error, bool) { return errors.AsType[*Error](err) }

// NewError makes an error with any code and status, for the codes that one endpoint alone uses.
func NewError(status int, code ErrCode, format string, a ...any) *Error {
	return &Error{Status: status, Code: code, Message: message(format, a)}
}

// message leaves a format without arguments as it is, so that a sentence may contain a percent sign.
func message(format string, a []any) string {
	if len(a) == 0 {
		return format
	}
	return fmt.Sprintf(format, a...)
}

// Forbidden: the requester may not do this (403).
func Forbidden(format string, a ...any) *Error {
	return NewError(http.StatusForbidden, ErrForbidden, format, a...)
}

// NotFound: the thing asked for does not exist, or the requester may not know that it does (404).
func NotFound(format string, a ...any) *Error {
	return NewError(http.StatusNotFound, ErrNotFound, format, a...)
}

// BadJSON: the body is JSON, but a key is missing or has the wrong shape (400).
func BadJSON(format string, a ...any) *Error {
	return NewError(http.StatusBadRequest, ErrBadJSON, format, a...)
}

// NotJSON: the body is not JSON (400).
func NotJSON(format string, a ...any) *Error {
	return NewError(http.StatusBadRequest, ErrNotJSON, format, a...)
}

// InvalidParam: a parameter has a wrong value (400).
func InvalidParam(format string, a ...any) *Error {
	return NewError(http.StatusBadRequest, ErrInvalidParam, format, a...)
}

// MissingParam: a required parameter is not there (400).
func MissingParam(format string, a ...any) *Error {
	return NewError(http.StatusBadRequest, ErrMissingParam, format, a...)
}

// Unrecognized: no such endpoint (404).
func Unrecognized() *Error {
	return NewError(http.StatusNotFound, ErrUnrecognized, "unrecognised request")
}

// MethodNotAllowed: the endpoint exists, with other methods (405).
func MethodNotAllowed() *Error {
	return NewError(http.StatusMethodNotAllowed, ErrUnrecognized, "unrecognised request: this path does not take this method")
}

// MissingToken: the endpoint wants an access token and none was given (401).
func MissingToken() *Error {
	return NewError(http.StatusUnauthorized, ErrMissingToken, "missing access token")
}

// UnknownToken: the access token is not (or no longer) valid (401). With softLogout the client may log in again and keep
// its keys.
//
// Spec: client-server v1.19 §soft-logout
func UnknownToken(softLogout bool) *Error {
	return NewError(http.StatusUnauthorized, ErrUnknownToken, "unknown access token").With("soft_logout", softLogout)
}

// LimitExceeded: too many requests; come back after the given time (429).
//
// Spec: client-server v1.19 §rate-limiting
func LimitExceeded(after time.Duration) *Error {
	e := NewError(http.StatusTooManyRequests, ErrLimitExceeded, "too many requests")
	e.RetryAfter = max(after, time.Millisecond)
	return e
}

// TooLarge: the request or one of its parts is larger than allowed (413).
func TooLarge(format string, a ...any) *Error {
	return NewError(http.StatusRequestEntityTooLarge, ErrTooLarge, format, a...)
}

// UserInUse: the user id is taken (400).
func UserInUse(format string, a ...any) *Error {
	return NewError(http.StatusBadRequest, ErrUserInUse, format, a...)
}

// InvalidUsername: the user id is not a valid one (400).
func InvalidUsername(format string, a ...any) *Error {
	return NewError(http.StatusBadRequest, ErrInvalidUsername, format, a...)
}

// Exclusive: the id lies in the namespace of an application service (400).
func Exclusive(format string, a ...any) *Error {
	return NewError(http.StatusBadRequest, ErrExclusive, format, a...)
}

// WeakPassword: the password does not satisfy the policy (400).
func WeakPassword(format string, a ...any) *Error {
	return NewError(http.StatusBadRequest, ErrWeakPassword, format, a...)
}

// BadState: the change of state cannot be made, such as unbanning a user who is not banned (403).
func BadState(format string, a ...any) *Error {
	return NewError(http.StatusForbidden, ErrBadState, format, a...)
}

// UnsupportedRoomVersion: the server does not make rooms of this version (400).
func UnsupportedRoomVersion(format string, a ...any) *Error {
	return NewError(http.StatusBadRequest, ErrUnsupportedRoomVersion, format, a...)
}

// IncompatibleRoomVersion: the room to be joined has a version the server does not know (400). The caller adds the
// version: .With("room_version", v).
func IncompatibleRoomVersion(format string, a ...any) *Error {
	return NewError(http.StatusBadRequest, ErrIncompatibleRoomVersion, format, a...)
}

// RoomInUse: the room alias is taken (400).
func RoomInUse(format string, a ...any) *Error {
	return NewError(http.StatusBadRequest, ErrRoomInUse, format, a...)
}

// UserSuspended: a suspended account may not do this (403).
func UserSuspended() *Error {
	return NewError(http.StatusForbidden, ErrUserSuspended, "this account has been suspended")
}

// UserDeactivated: the account has been closed (403).
func UserDeactivated(format string, a ...any) *Error {
	return NewError(http.StatusForbidden, ErrUserDeactivated, format, a...)
}

// UnknownPos: the position of a connection of sliding sync is not known, or no longer (400).
func UnknownPos() *Error {
	return NewError(http.StatusBadRequest, ErrUnknownPos, "pos is not known, or no longer; start without it")
}

// Unavailable: the server cannot reach something it needs; the same request may succeed after the given time (503).
func Unavailable(after time.Duration) *Error {
	e := NewError(http.StatusServiceUnavailable, ErrUnknown, "the server is not able to answer at the moment; try again")
	e.RetryAfter = max(after, time.Second)
	return e
}
