package hstest

import (
	"testing"
	"time"
)

// Patience is how long what is waited for may take: what a killed process had begun is begun anew after half a minute, and machines are busy.
const Patience = 3 * time.Minute

// Eventually waits until something holds, and fails the test if it never does.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(Patience); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it did not come to pass within %s: %s", Patience, what)
		}
	}
}
