package main

import (
	"log/slog"

	"github.com/roomline/roomline/cmd/internal/livekit"
	"github.com/roomline/roomline/config"
)

// runLiveKit is the media server of meetings as a child of another roomline. It reads its configuration from the standard input.
func runLiveKit(c *call) error {
	if _, err := c.parse(c.flags(), 0); err != nil {
		return err
	}
	newLog := func(level, format string) (*slog.Logger, error) {
		return newLogger(config.Log{Level: level, Format: format}, c.stderr)
	}
	quiet := slog.New(slog.DiscardHandler)
	ctx, stop := untilSignal(quiet)
	defer stop()
	return livekit.Run(ctx, c.stdin, newLog)
}
