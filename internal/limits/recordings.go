package limits

import "time"

// Recordings of meetings.
const (
	// RecordingSweep is how often those are looked at that are on, RecordingIdle how long one goes on with nobody there.
	RecordingSweep = 2 * time.Second
	RecordingIdle  = 30 * time.Second

	// RecordingBatch bounds what one look finds.
	RecordingBatch = 100
)
