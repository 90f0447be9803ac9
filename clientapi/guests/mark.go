package guests

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"strings"

	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

// Prefix is how the localpart of every guest begins.
const Prefix = "guest-"

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

func markOf(g store.Guest) ([]byte, error) {
	return json.Marshal(mark{
		Medium: g.Medium, Address: g.Address, Verified: g.Verified, Role: g.Role, Inviter: g.Inviter, ExpiresTS: g.ExpiresTS,
	})
}

func putMark(ctx context.Context, tx *store.Tx, g store.Guest) error {
	value, err := markOf(g)
	if err != nil {
		return err
	}
	return tx.PutProfileField(ctx, store.ProfileField{UserID: g.UserID, Key: MarkKey, Value: value})
}

// newUserID makes up the name of a guest's account.
func newUserID(domain matrix.ServerName) (matrix.UserID, error) {
	const letters = 16 // 80 bits
	return matrix.NewUserID(Prefix+strings.ToLower(rand.Text()[:letters]), domain)
}

// insert makes a guest in the caller's transaction, with the session.
func (s *Server) insert(ctx context.Context, tx *store.Tx, g store.Guest, name string, session *auth.GuestSession) error {
	switch err := tx.AdmitActive(ctx, g.OrganisationID); {
	case errors.Is(err, store.ErrNotActive):
		return errUsed
	case err != nil:
		return err
	}
	made, err := newGuest(g, name, session)
	if err != nil {
		return err
	}
	return tx.InsertGuests(ctx, []store.NewGuest{made})
}
