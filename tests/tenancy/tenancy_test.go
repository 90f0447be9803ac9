// Package tenancy tries the wall between organisations: every route of the server is called by people of one organisation with
// identifiers of another one. Nothing of the other may come back, the answer has to be the same as for an identifier that does not exist,
// and nothing of the other may have changed.
//
// The routes are those that `roomline routes` prints, so that a new one is tried as soon as it is served; one that takes a body has to be
// given one in requests_test.go. side_test.go makes an organisation with something in every field; crawl_test.go is the crawl.
package tenancy

import (
	"testing"

	"github.com/roomline/roomline/internal/hstest"
)

func TestMain(m *testing.M) { hstest.Main(m) }
