package main

import (
	"context"
	"crypto/tls"
	"net/http"

	"github.com/roomline/roomline/appservices/telephony"
	"github.com/roomline/roomline/appservices/telephony/voice"
	"github.com/roomline/roomline/clientapi/meetings/phones"
	"github.com/roomline/roomline/cmd/internal/transports"
	"github.com/roomline/roomline/config"
	"github.com/roomline/roomline/internal/sfu"
)

// startVoice carries phone calls in this process, if the configuration has trunks for it. It asks this process's own handler, as the bridge
// does that sends messages.
func (a *app) startVoice(inside *http.Client) (stop func(), err error) {
	v := &a.cfg.Telephony.Voice
	if a.cfg.Telephony.Mode != config.TelephonyInProcess || !v.Carries() {
		return func() {}, nil
	}
	var shown func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	if v.SIP.TLS.Enabled() {
		c, err := loadCertificate(v.SIP.TLS, a.log)
		if err != nil {
			return nil, err
		}
		shown = c.get
	}
	as, _ := telephonyTokens(a.sealKey)
	client := &telephony.Client{URL: inProcess, Token: as, HTTP: inside}
	bridge, err := transports.Voice(v, client.Post, shown, a.sfu, a.cfg.Dev, a.log)
	if err != nil {
		return nil, err
	}
	a.voice.Store(bridge)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := bridge.Run(ctx); err != nil {
			a.log.Error("a part stopped", "part", "voice", "error", err)
		}
	}()
	return func() { cancel(); <-done }, nil
}

// phoneCame gives a phone that LiveKit SIP has brought to what carries calls. One that was called is there already.
func (a *app) phoneCame(room string, p sfu.Participant) {
	if bridge := a.voice.Load(); bridge != nil && phones.IsRoom(room) {
		reference, called, caller := p.SIPCall()
		bridge.Arrived(voice.Arrival{Room: room, Identity: p.Identity, Reference: reference, Called: called, Caller: caller})
	}
}
