// Package guest tests the page that comes with the server, in a browser, one test after the other. Meetings in it, which are other tests' as long, are
// tested by ../guest_meeting_test.go.
//
//	page_test.go    from a link into a room
//	room_test.go    what people do in a room
//
// ROOMLINE_SCREENSHOTS is where pictures of what people see are kept.
package guest

import (
	"testing"

	"github.com/roomline/roomline/internal/hstest"
)

func TestMain(m *testing.M) { hstest.Main(m) }

func TestInABrowser(t *testing.T) {
	t.Run("page", page)
	t.Run("room", room)
}
