package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// collectorRoom is the garbage that may gather between two collections while little is in use.
	collectorRoom = 72 << 20
	// The bounds of GOGC: 100 is Go's own, with which a heap of 10 MB is collected every 10 MB, many times a second under load.
	leastGOGC, mostGOGC = 100, 500

	// A second in which less is allocated is calm.
	calmBytes = 1 << 20
	// What was allocated in the meantime is worth collecting in a calm second if it is this much, and this part of what is in use.
	worthBytes, worthPart = 16 << 20, 2

	liveHeap  = "/gc/heap/live:bytes"
	allocated = "/gc/heap/allocs:bytes"
)

// tuneCollector gives the garbage collector more room while the heap is small, and Go's usual share of it when it is large: it decides
// anew after each collection, as the heap may grow to many times its size within a second. What a busy time leaves behind goes back to the
// system in the first calm second after it; the collector alone would wait for the next busy time. Who sets GOGC or GOMEMLIMIT decides for
// themselves.
func tuneCollector(ctx context.Context) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	percent := mostGOGC
	debug.SetGCPercent(percent)
	collected := make(chan struct{}, 1)
	tellCollected(ctx, collected)
	heap := []metrics.Sample{{Name: liveHeap}, {Name: allocated}}
	read := func() (live, total uint64) {
		metrics.Read(heap)
		return heap[0].Value.Uint64(), heap[1].Value.Uint64()
	}
	second := time.NewTicker(time.Second)
	defer second.Stop()
	var p pace
	for {
		select {
		case <-ctx.Done():
			return
		case <-collected:
			live, _ := read()
			if now := percentFor(live); now != percent {
				percent = now
				debug.SetGCPercent(percent)
			}
		case <-second.C:
			if p.giveBack(read()) {
				debug.FreeOSMemory()
			}
		}
	}
}

// pace is how much the process had allocated since its start: a second ago, and when it last gave memory back.
type pace struct{ before, atReturn uint64 }

// giveBack is asked every second, and reports whether it is time to collect and to give back what is free.
func (p *pace) giveBack(live, total uint64) bool {
	calm := total-p.before < calmBytes
	p.before = total
	if !calm || total-p.atReturn < max(worthBytes, live/worthPart) {
		return false
	}
	p.atReturn = total
	return true
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
