package main

import "github.com/roomline/roomline/clientapi/meetings/moderation"

// newModeration makes what leads meetings.
func (a *app) newModeration() (*moderation.Server, error) {
	return moderation.New(moderation.Config{
		Store: a.store, Journal: a.journal, Rooms: a.rooms, Clock: a.clock, Log: a.log, IsLocal: a.keys.IsLocal,
	})
}
