package tests

import "testing"

// What needs a browser runs one after the other beside the other tests: many browsers at once would starve each other on two cores. These tests take
// longest, and stand in the last file, from whose end Go begins with parallel tests.

// TestHydrogenInABrowser is what the folder hydrogen has.
func TestHydrogenInABrowser(t *testing.T) {
	t.Parallel()
	t.Run("chat", hydrogenInABrowser)
	t.Run("guests come in by their messages", guestsComeInByTheirMessages)
	t.Run("SEC-71 hostile files", hostileFilesInABrowser)
}

// TestMeetingInABrowser is of the folder guest: the page that comes with the server. The folder's other tests run by themselves.
func TestMeetingInABrowser(t *testing.T) {
	t.Parallel()
	meetingInABrowser(t)
}
