// Package tests is what is tested from outside: the real server as processes, and clients that others have written.
//
//	mautrix_test.go, jssdk_test.go    two SDKs chat through two processes
//	*_crypto_test.go                  the same, encrypted
//	carddav_test.go                   a program for address books keeps a folder and the server the same
//	hydrogen_test.go                  two people use a whole web client in a browser
//	web_test.go                       all that needs a browser, one after the other; more in the folders guest and meetings
//	kill_test.go, database_test.go    processes and the database die under load, an auditor compares (package auditor)
//	calls_test.go                     clients that are in calls die, too
//	order_test.go                     several processes write at once: one order, one state, one event a transaction
//	input_test.go                     malformed requests to every endpoint
//	newcomer_test.go                  the first steps of the README
//	upgrade_test.go                   a database of the first release
//	bench/                            how fast it is (make bench)
//
// ROOMLINE_ENDURANCE=1 makes the faults many (make endurance).
package tests

import (
	"os"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/hstest/caller"
)

func TestMain(m *testing.M) {
	caller.Main()
	hstest.Main(m)
}

// endurance reports whether there is time.
func endurance() bool { return os.Getenv("ROOMLINE_ENDURANCE") == "1" }

// times is how often something is done: often in an endurance run, enough otherwise.
func times(enough, often int) int {
	if endurance() {
		return often
	}
	return enough
}

// patience is how long a test waits for something that comes at once unless the machine is busy.
const patience = 3 * time.Minute
