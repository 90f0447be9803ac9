// Package sms gives short messages to a telecom: to its short message centre by SMPP 3.4, or to a gateway by HTTP.
//
// What a message says is fixed, in four languages (text.go). It is cut into parts (parts.go), which a centre gets over a connection that is kept
// (link.go, smpp.go), and what becomes of them is told by receipts (receipt.go). A gateway gets the text in a signed request, and sends signed
// receipts (gateway.go).
//
// Invariants:
//   - Nothing leaves before the server has stored that it is under way.
//   - A message whose fate is not known is reported as such (telephony.Later with Unknown), never as not taken.
//   - A message is delivered when all its parts are.
//   - Neither texts nor numbers reach a log line.
//
// Start reading at Transport.
package sms

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/roomline/roomline/appservices/telephony"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/outbox"
)

// Config of a Transport: a centre or a gateway.
type Config struct {
	// Sender is what phones show: a name of up to 11 characters, a short code, or a number with a plus.
	Sender string
	// Unicode leaves names in the letters that they are written in. A message with a letter that the GSM alphabet has not takes two parts.
	Unicode bool
	SMPP    *SMPP
	Gateway *Gateway
	Log     *slog.Logger
	Now     func() time.Time
}

// Transport is a telephony.Receiver and a telephony.Runner.
type Transport struct {
	cfg     Config
	network network
	// reports takes receipts; Receive sets it before anything runs.
	reports func(ctx context.Context, receipts []outbox.Outcome) error
}

// network is a way into a telecom's network.
type network interface {
	run(ctx context.Context) error
	send(ctx context.Context, m *outbox.Message, text string, sending func(reference string) error) (telephony.Handed, error)
	routes() []httpapi.Route
}

var (
	_ telephony.Receiver = (*Transport)(nil)
	_ telephony.Runner   = (*Transport)(nil)
)

// New returns a Transport. All mistakes of the configuration are reported at once.
func New(cfg Config) (*Transport, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	t := &Transport{cfg: cfg}
	var err error
	switch {
	case (cfg.SMPP == nil) == (cfg.Gateway == nil):
		return nil, errors.New("there has to be one of smpp and gateway")
	case cfg.SMPP != nil:
		t.network, err = newSMPP(*cfg.SMPP, cfg, t.report)
	default:
		t.network, err = newGateway(*cfg.Gateway, cfg, t.report)
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

// Run keeps the connections to a centre until ctx ends.
func (t *Transport) Run(ctx context.Context) error { return t.network.run(ctx) }

// Send implements telephony.Transport.
func (t *Transport) Send(ctx context.Context, m *outbox.Message, sending func(reference string) error) (telephony.Handed, error) {
	text, err := render(m, t.cfg.Now(), t.cfg.Unicode)
	if err != nil {
		t.cfg.Log.Error("sms: a message can't be written", "message", m.ID, "error", err)
		return telephony.Handed{}, &telephony.Refusal{Problem: "no_text"}
	}
	return t.network.send(ctx, m, text, sending)
}

// Receive implements telephony.Receiver.
func (t *Transport) Receive(report func(ctx context.Context, receipts []outbox.Outcome) error) {
	t.reports = report
}

// Routes are what a gateway's receipts come to; none with a centre.
func (t *Transport) Routes() []httpapi.Route { return t.network.routes() }

// report returns when the server has heard it. The network is told that its receipts have arrived after that only.
func (t *Transport) report(ctx context.Context, receipts ...outbox.Outcome) error {
	if t.reports == nil {
		return errors.New("nobody takes receipts")
	}
	if len(receipts) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, limits.SMSReport)
	defer cancel()
	return t.reports(ctx, receipts)
}
