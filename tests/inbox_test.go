package tests

import (
	"net/http"
	"testing"

	"github.com/roomline/roomline/internal/hstest"
)

// TestOthersHaveNoInbox: where mails are real, nobody reads them without a password.
func TestOthersHaveNoInbox(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{})
	for _, path := range []string{"", ".json", "/1/mail", "/1/source"} {
		resp, err := d.Do(t.Context(), 0, "", http.MethodGet, "/_roomline/dev/inbox"+path, nil)
		if err != nil || resp.Status != http.StatusNotFound || resp.ErrCode() != "M_UNRECOGNIZED" {
			t.Errorf("%s: %v %v", path, resp, err)
		}
	}
}
