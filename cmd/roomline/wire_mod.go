package main

import "github.com/roomline/roomline/clientapi/meetings/moderation"

// newModeration makes what leads meetings.
func (a *app) newModeration() (*moderation.Server, error) {
	leads := moderation.Config{
		Store: a.store, Journal: a.journal, Rooms: a.rooms, Clock: a.clock, Log: a.log, IsLocal: a.keys.IsLocal,
		Calls: a.meetings, EndRoom: a.meetings.EndRoom, CheckUser: a.meetings.OrderCheckUser,
	}
	if a.sfu != nil {
		leads.SFU = a.sfu
	}
	return moderation.New(leads)
}
