package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// collectorRoom is the garbage that may gather between two collections while little is in use.
	collectorRoom = 72 << 20
	// The bounds of GOGC: 100 is Go's own, with which a heap of 10 MB is collected every 10 MB, many times a second under load.
	leastGOGC, mostGOGC = 100, 500

	collectorInterval = 10 * time.Second
	liveHeap          = "/gc/heap/live:bytes"
)

// tuneCollector gives the garbage collector more room while the heap is small, and Go's usual share of it when it is large. Who
// sets GOGC or GOMEMLIMIT decides for themselves.
func tuneCollector(ctx context.Context) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	debug.SetGCPercent(mostGOGC)
	tick := time.NewTicker(collectorInterval)
	defer tick.Stop()
	live := []metrics.Sample{{Name: liveHeap}}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		metrics.Read(live)
		debug.SetGCPercent(percentFor(live[0].Value.Uint64()))
	}
}

// percentFor is GOGC for a heap of which so many bytes are in use.
func percentFor(live uint64) int {
	return int(min(max(collectorRoom*100/max(live, 1), leastGOGC), mostGOGC))
}
