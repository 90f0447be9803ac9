package httpapi

import "context"

// CallOf returns the call that ctx belongs to. For an Authenticator, which is asked before there is a handler and wants to know
// from where a token was used; handlers have their Call.
func CallOf(ctx context.Context) (*Call, bool) {
	c, ok := ctx.Value(callKey{}).(*Call)
	return c, ok
}
