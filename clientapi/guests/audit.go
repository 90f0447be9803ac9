package guests

import (
	"context"
	"encoding/json"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// actor is who does something to a guest, as the audit log calls it.
type actor struct{ name, ip string }

func actorOf(c *httpapi.Call) actor { return actor{c.Requester.Actor(), c.ClientAddr()} }

// audit notes an act in the transaction of the act.
func (s *Server) audit(ctx context.Context, tx *store.Tx, org int64, a actor, action string, guest matrix.UserID, detail map[string]any) error {
	e, err := s.entry(org, a, action, guest, detail)
	if err != nil {
		return err
	}
	return tx.AppendAudit(ctx, e)
}

func (s *Server) entry(org int64, a actor, action string, guest matrix.UserID, detail map[string]any) (e store.AuditEntry, err error) {
	e = store.AuditEntry{OrganisationID: org, TS: s.now(), Actor: a.name, IP: a.ip, Action: action, Target: string(guest)}
	if detail != nil {
		e.Detail, err = json.Marshal(detail)
	}
	return e, err
}
