package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	// collectorRoom is the garbage that may gather between two collections while little is in use.
	collectorRoom = 72 << 20
	// The bounds of GOGC: 100 is Go's own, with which a heap of 10 MB is collected every 10 MB, many times a second under load.
	leastGOGC, mostGOGC = 100, 500

	liveHeap = "/gc/heap/live:bytes"
)

// tuneCollector gives the garbage collector more room while the heap is small, and Go's usual share of it when it is large: it decides
// anew after each collection, as the heap may grow to many times its size within a second. Who sets GOGC or GOMEMLIMIT decides for themselves.
func tuneCollector(ctx context.Context) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	percent := mostGOGC
	debug.SetGCPercent(percent)
	collected := make(chan struct{}, 1)
	tellCollected(ctx, collected)
	live := []metrics.Sample{{Name: liveHeap}}
	for {
		select {
		case <-ctx.Done():
			return
		case <-collected:
		}
		metrics.Read(live)
		if now := percentFor(live[0].Value.Uint64()); now != percent {
			percent = now
			debug.SetGCPercent(percent)
		}
	}
}

// tellCollected sends to collected after each collection, until ctx ends: what nobody refers to is finalized then.
func tellCollected(ctx context.Context, collected chan<- struct{}) {
	type unused struct{ _ *byte }
	runtime.SetFinalizer(&unused{new(byte)}, func(*unused) {
		select {
		case collected <- struct{}{}:
		default:
		}
		if ctx.Err() == nil {
			tellCollected(ctx, collected)
		}
	})
}

// percentFor is GOGC for a heap of which so many bytes are in use.
func percentFor(live uint64) int {
	return int(min(max(collectorRoom*100/max(live, 1), leastGOGC), mostGOGC))
}
