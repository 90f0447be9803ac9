package limits

import "time"

// Meetings that are led: lobbies, and what moderators do.
const (
	// Waiting is how many may wait to be let into a room.
	Waiting = 250

	// LobbyBatch is how many are let in at a time, LobbyParallel how many of these at once.
	LobbyBatch    = 100
	LobbyParallel = 8

	// LobbySweep is how often those are looked for whom somebody has answered and who have not come in: a process died in between.
	LobbySweep = 15 * time.Second
)
