package tests

import "testing"

// TestInABrowser is what needs a browser, one after the other beside the other tests: two browsers at once would starve each other on two cores. It
// takes longest, and stands in the last file, from whose end Go begins with parallel tests.
func TestInABrowser(t *testing.T) {
	t.Parallel()
	t.Run("meeting", meetingInABrowser)
	t.Run("guest page", guestPageInABrowser)
	t.Run("room", roomInABrowser)
	t.Run("SEC-71 hostile files", hostileFilesInABrowser)
	t.Run("guests by their messages", guestsComeInByTheirMessages)
	t.Run("hydrogen", hydrogenInABrowser)
}
