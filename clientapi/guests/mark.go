package guests

import (
	"context"
	"encoding/json"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

// MarkKey is the key of the mark, in profiles and in the content of member events.
const MarkKey = roomserver.GuestKey

// mark says that somebody is a guest, and whose.
type mark struct {
	Medium    string           `json:"medium,omitempty"`
	Address   string           `json:"address,omitempty"`
	Verified  bool             `json:"verified"`
	Role      string           `json:"role"`
	Inviter   matrix.UserID    `json:"inviter,omitempty"`
	ExpiresTS matrix.Timestamp `json:"expires_ts"`
}

func (s *Server) putMark(ctx context.Context, tx *store.Tx, g store.Guest) error {
	value, err := json.Marshal(mark{
		Medium: g.Medium, Address: g.Address, Verified: g.Verified, Role: g.Role, Inviter: g.Inviter, ExpiresTS: g.ExpiresTS,
	})
	if err != nil {
		return err
	}
	return tx.PutProfileField(ctx, store.ProfileField{UserID: g.UserID, Key: MarkKey, Value: value})
}
