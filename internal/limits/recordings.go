package limits

import "time"

// Recordings of meetings.
const (
	// RecordingSweep is how often those are looked at that are on, RecordingIdle how long one goes on with nobody there.
	RecordingSweep = 2 * time.Second
	RecordingIdle  = 30 * time.Second

	// RecordingForgotten is how often what is known of old ones is removed.
	RecordingForgotten = time.Minute

	// RecordingBatch bounds what one look finds.
	RecordingBatch = 100
)
