package store_test

import (
	"testing"

	"github.com/roomline/roomline/internal/hstest/faultproxy"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/store/storetest"
)

// The connection ends after a statement was sent and before its answer came. Whatever says that it did something must not have done it
// and say that it did nothing: it may say that it does not know.
func TestAStatementWhoseAnswerIsLostDoesNotRunTwice(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, pattern string
		prepare       func(s *store.Store) error
		run           func(s *store.Store) (bool, error)
		count         func(s *store.Store) (int, error)
	}{
		{"a nonce is used up", "DELETE FROM registration_nonces WHERE nonce",
			func(s *store.Store) error { return s.InsertRegistrationNonce(t.Context(), "n", 1, 100) },
			func(s *store.Store) (bool, error) { return s.DeleteRegistrationNonce(t.Context(), "n", 2) }, nil},
		{"an alias is made", "INSERT INTO room_aliases", func(*store.Store) error { return nil },
			func(s *store.Store) (bool, error) {
				return s.InsertAlias(t.Context(), store.Alias{Alias: "#a:one.test", RoomNID: 1, Creator: "@a:one.test"}, 1)
			}, nil},
		{"a report", "INSERT INTO reports", func(*store.Store) error { return nil },
			func(s *store.Store) (bool, error) {
				return true, s.InsertReport(t.Context(), store.Report{OrganisationID: 1, Reporter: "@a:one.test", ReportedUser: "@b:one.test"}, 10)
			},
			func(s *store.Store) (int, error) {
				list, err := s.ListReports(t.Context(), 1, 1<<30, 10)
				return len(list), err
			}},
	} {
		dsn := storetest.DSN(t)
		proxy := faultproxy.New(t, dsn, test.pattern)
		s := storetest.Open(t, proxy.DSN())
		if err := test.prepare(s); err != nil {
			t.Fatal(err)
		}
		proxy.Arm(faultproxy.BeforeAnswer)
		ok, err := test.run(s)
		if proxy.Cuts() == 0 {
			t.Errorf("%s: nothing was cut", test.name)
		}
		if err == nil && !ok || err != nil && !store.IsUnavailable(err) {
			t.Errorf("%s: %v, %v", test.name, ok, err)
		}
		if test.count == nil {
			continue
		}
		if n, err := test.count(storetest.Open(t, dsn)); err != nil || n > 1 {
			t.Errorf("%s: there are %d, %v", test.name, n, err)
		}
	}
}
