package store_test

import (
	"bytes"
	"fmt"
	"sync"
	"testing"

	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/store/storetest"
)

func TestAuditLogsAreChainedAndAppendOnly(t *testing.T) {
	t.Parallel()
	dsn := storetest.DSN(t)
	s := storetest.Open(t, dsn)
	db := storetest.DB(t, dsn)
	if _, err := db.Exec(`INSERT INTO organisations (organisation_id, name, created_ts) VALUES (2, 'two', 0)`); err != nil {
		t.Fatal(err)
	}
	const writers, each = 8, 20
	var wait sync.WaitGroup
	errs := make([]error, writers)
	for w := range writers {
		wait.Go(func() {
			for i := range each {
				one := store.AuditEntry{OrganisationID: 1, TS: 7, Actor: "@ä:b", Action: "test", Target: "x\x00\xff", Detail: fmt.Appendf(nil, `{"n":%d}`, i)}
				two := store.AuditEntry{OrganisationID: 2, TS: 8, Actor: "operator", IP: "::1", Action: "test.more"}
				if w%2 == 0 {
					one, two = two, one
				}
				if err := s.AppendAudit(t.Context(), one, two); err != nil {
					errs[w] = err
					return
				}
			}
		})
	}
	wait.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	for org := int64(1); org <= 2; org++ {
		list, err := s.ListAudit(t.Context(), store.AuditFilter{OrganisationID: org}, 1000)
		if err != nil || len(list) != writers*each {
			t.Fatalf("organisation %d has %d entries: %v", org, len(list), err)
		}
		var previous []byte
		for i := range list {
			if e := &list[i]; e.Seq != int64(i+1) || !bytes.Equal(e.Hash, e.Digest(previous)) {
				t.Fatalf("organisation %d: entry %d does not follow from the one before: %+v", org, i, e)
			}
			previous = list[i].Hash
		}
		if seq, hash, err := s.GetAuditHead(t.Context(), org); err != nil || seq != writers*each || !bytes.Equal(hash, previous) {
			t.Errorf("the head of organisation %d is %d %x: %v", org, seq, hash, err)
		}
	}
	for _, statement := range []string{`UPDATE audit_log SET actor = ''`, `DELETE FROM audit_log`, `TRUNCATE audit_log`} {
		if _, err := db.Exec(statement); err == nil {
			t.Errorf("%s was done", statement)
		}
	}
}
