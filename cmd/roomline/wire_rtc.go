package main

import (
	"github.com/roomline/roomline/clientapi/meetings"
)

// newMeetings makes the part that lets people into calls.
func (a *app) newMeetings(sealKey [32]byte) (*meetings.Server, error) {
	return meetings.New(meetings.Config{
		Store: a.store, Journal: a.journal, Rooms: a.rooms, Clock: a.clock, Log: a.log, Key: derivedKey(sealKey, "rooms of the SFU"),
		BaseURL: a.cfg.PublicBaseURL, IsLocal: a.keys.IsLocal, Others: a.outbound,
	})
}
