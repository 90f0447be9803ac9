package push

import "context"

func (s *Server) wakeSender() {
	select {
	case s.queued <- struct{}{}:
	default:
	}
}

func (s *Server) send(ctx context.Context) { <-ctx.Done() }
