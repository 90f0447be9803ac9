// Package meetings tests meetings with what others have written: LiveKit itself, Element Call in a browser, and the page for guests beside it.
//
//	embedded_test.go    the server runs LiveKit itself
//	call_test.go        people in browsers meet; calls.mjs and host.mjs are their side
package meetings

import (
	"testing"
	"time"

	"github.com/livekit/protocol/logger"
	lksdk "github.com/livekit/server-sdk-go/v2"

	"github.com/roomline/roomline/internal/hstest"
)

func TestMain(m *testing.M) { lksdk.SetLogger(logger.GetDiscardLogger()); hstest.Main(m) }

// patience is how long a test waits for something that comes at once unless the machine is busy.
const patience = time.Minute
