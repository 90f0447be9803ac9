package wake

import (
	"context"
	"time"
)

// Pause waits for d, or until ctx ends.
func Pause(ctx context.Context, d time.Duration) { PauseUntil(ctx, nil, d) }

// PauseUntil waits until there is news, at most for d, or until ctx ends.
func PauseUntil(ctx context.Context, news <-chan struct{}, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-news:
	case <-time.After(d):
	}
}
