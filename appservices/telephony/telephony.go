// Package telephony is the telephony bridge: the program that carries out what the server wants sent to mailboxes and phones.
//
// It takes messages from the server by HTTP, with a lease (client.go, bridge.go), has a Transport write each of them and give it to its
// network (transport.go; the folders mail, sms and inbox have them), and reports what became of it. It runs inside the server's process or as a program of its
// own, roomline-telephony: the code and the API are the same.
//
// What is promised:
//   - A message is sent at least once, and given up only when it has expired or the network refused it for good.
//   - Before the network gets a short message, the server has stored that it is under way. If the bridge dies then, nobody sends it again
//     before the window of the server's configuration is over.
//   - What became of a message is reported until the server has heard it.
//
// Start reading at Bridge.
package telephony

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
)

// Config of a Bridge.
type Config struct {
	// Homeserver is the server's address, Token the as_token of the bridge's registration.
	Homeserver, Token string
	// HTTP asks the server. Its own timeout has to be longer than a lease is waited for; none is best.
	HTTP *http.Client
	// Transports are by medium: email, msisdn. Without any the bridge only hears of events.
	Transports map[string]Transport
	// HSToken is what the server shows when it tells of events, and Events takes a transaction of them, once it has been stored; nil for a bridge
	// that has no bot.
	HSToken string
	Events  func(ctx context.Context, transaction []byte) error
	Log     *slog.Logger
	// Parallel is how many messages of a medium are sent at a time, 32 if 0.
	Parallel int
}

// parallel is how many messages of a medium are sent at a time.
const parallel = 32

// New returns a Bridge.
func New(cfg Config) (*Bridge, error) {
	switch {
	case cfg.Homeserver == "" || cfg.Token == "":
		return nil, errors.New("telephony: the server's address or the as_token is missing")
	case cfg.HTTP == nil || cfg.Log == nil:
		return nil, errors.New("telephony: Config.HTTP or Config.Log is missing")
	}
	if cfg.Parallel == 0 {
		cfg.Parallel = parallel
	}
	b := &Bridge{cfg: cfg, server: Client{URL: cfg.Homeserver, Token: cfg.Token, HTTP: cfg.HTTP}}
	for _, t := range cfg.Transports {
		if r, ok := t.(Receiver); ok {
			r.Receive(b.receipts)
		}
	}
	return b, nil
}
