package admin_test

import (
	"net/http"
	"testing"

	"github.com/roomline/roomline/internal/hstest"
)

func TestMain(m *testing.M) { hstest.Main(m) }

const (
	own      = "/_roomline/admin/v1"
	operator = "/_roomline/operator/v1"
)

func TestOrganisationIsMadeWithDomainAndOwner(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{Processes: 2})
	acme := d.Organisation(t, "Acme", "acme.test")
	if acme.Owner.ID != "@owner:acme.test" || acme.ID < 2 {
		t.Fatalf("made %+v", acme)
	}
	alice := acme.User(t, "alice")
	mine := acme.Owner.MustDo(t, http.MethodGet, own+"/organisation", nil)
	if mine.Get("name").String() != "Acme" || mine.Get("domains").Raw != `["acme.test"]` || mine.Get("people").Int() != 2 {
		t.Errorf("the organisation is %s", mine)
	}
	// Every process signs for the domain.
	room := alice.On(1).MustCreateRoom(t, nil)
	alice.MustSendText(t, room, "from a domain that was not there at the start")
	for _, who := range []*hstest.User{alice, acme.Owner} {
		who.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", http.MethodGet, operator+"/organisations", nil)
	}
	alice.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", http.MethodGet, own+"/organisation", nil)
}
