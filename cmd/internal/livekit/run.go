package livekit

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/livekit/livekit-server/pkg/config"
	"github.com/livekit/livekit-server/pkg/routing"
	"github.com/livekit/livekit-server/pkg/service"
	"github.com/livekit/livekit-server/pkg/telemetry/prometheus"
)

// Run is the child. It works until ctx ends, and then tells those in a call that it goes away.
func Run(ctx context.Context, stdin io.Reader, newLogger func(level, format string) (*slog.Logger, error)) error {
	c, err := readConfig(stdin)
	if err != nil {
		return err
	}
	log, err := newLogger(c.LogLevel, c.LogFormat)
	if err != nil {
		return err
	}
	body, err := c.body()
	if err != nil {
		return err
	}
	// Before anything else, since some parts keep the logger that there is when they are made.
	config.SetLogger(logger{log.With("part", "livekit")})
	conf, err := config.NewConfig(string(body), true, nil, nil)
	if err != nil {
		return err
	}
	if err := conf.ValidateKeys(); err != nil {
		return err
	}
	node, err := routing.NewLocalNode(conf)
	if err != nil {
		return err
	}
	if err := prometheus.Init(string(node.NodeID()), node.NodeType()); err != nil {
		return err
	}
	server, err := service.InitializeServer(conf, node)
	if err != nil {
		return fmt.Errorf("start LiveKit: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Start() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		server.Stop(true)
		return nil
	}
}
