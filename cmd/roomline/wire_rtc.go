package main

import (
	"net/http"

	"github.com/roomline/roomline/clientapi/meetings"
	"github.com/roomline/roomline/internal/sfu"
)

// newSFU is how the media server of meetings is reached; nil where there is none.
func (a *app) newSFU() (*sfu.Client, error) {
	c := &a.cfg.Meetings.LiveKit
	if c.URL == "" {
		return nil, nil
	}
	var keys []sfu.Key
	for _, k := range c.Keys {
		keys = append(keys, sfu.Key{Key: k.Key, Secret: k.Secret.Reveal()})
	}
	// The operator named it, and it may be anywhere in the operator's network.
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy, transport.MaxIdleConnsPerHost = nil, 16
	return sfu.New(sfu.Config{URL: c.URL, PublicURL: c.PublicURL, Keys: keys, HTTP: &http.Client{Transport: transport}, Clock: a.clock})
}

// newMeetings makes the part that lets people into calls.
func (a *app) newMeetings(sealKey [32]byte) (*meetings.Server, error) {
	var err error
	if a.sfu, err = a.newSFU(); err != nil {
		return nil, err
	}
	return meetings.New(meetings.Config{
		Store: a.store, Journal: a.journal, Rooms: a.rooms, Clock: a.clock, Log: a.log, Key: derivedKey(sealKey, "rooms of the SFU"),
		SFU: a.sfu, BaseURL: a.cfg.PublicBaseURL, IsLocal: a.keys.IsLocal, Others: a.outbound,
	})
}
