package wake

import (
	"context"
	"testing"
	"time"
)

// A pause that is not broken off makes the test time out.
func TestPausesAreBrokenOff(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	end()
	Pause(ended, 24*time.Hour)
	PauseUntil(ended, nil, 24*time.Hour)
	news := make(chan struct{})
	close(news)
	PauseUntil(t.Context(), news, 24*time.Hour)
	PauseUntil(t.Context(), nil, time.Nanosecond)
}
