package keys

import (
	"context"
	"fmt"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

type claimRequest struct {
	Timeout     *int64                                       `json:"timeout"`
	OneTimeKeys map[matrix.UserID]map[matrix.DeviceID]string `json:"one_time_keys"`
}

// ClaimKeys gives away a key of each device that is asked for: the one-time key that was uploaded first, or else the fallback key.
//
// Spec: client-server v1.19 §one-time-and-fallback-keys, POST /_matrix/client/v3/keys/claim; MSC4225
func (s *Server) ClaimKeys(ctx context.Context, c *httpapi.Call, req *claimRequest) (any, error) {
	if req.OneTimeKeys == nil {
		return nil, matrix.MissingParam("one_time_keys is missing")
	}
	users, err := checkUsers("one_time_keys", req.OneTimeKeys)
	if err != nil {
		return nil, err
	}
	local, failures, err := s.splitUsers(ctx, c.Requester, users)
	if err != nil {
		return nil, err
	}
	var wanted []store.KeyWanted
	for _, user := range local {
		for device, algorithm := range req.OneTimeKeys[user] {
			wanted = append(wanted, store.KeyWanted{UserID: user, DeviceID: device, Algorithm: algorithm})
		}
	}
	var keys []store.OneTimeKey
	if len(wanted) > 0 {
		if keys, err = s.claim(ctx, wanted); err != nil {
			return nil, fmt.Errorf("claim one-time keys: %w", err)
		}
	}
	a := newAnswer(256 * (len(keys) + 1))
	a.object("one_time_keys", func() {
		byUser := make(map[matrix.UserID][]store.OneTimeKey)
		for _, k := range keys {
			byUser[k.UserID] = append(byUser[k.UserID], k)
		}
		for user, list := range byUser {
			a.object(string(user), func() {
				for _, k := range list {
					a.object(string(k.DeviceID), func() { a.value(k.Algorithm+":"+k.KeyID, k.JSON) })
				}
			})
		}
	})
	a.failures(failures)
	return a.done(), nil
}

// claim takes the keys in one transaction, which tells the devices as well. A copy of the database that was restored since the keys were
// uploaded gives none away.
func (s *Server) claim(ctx context.Context, wanted []store.KeyWanted) (keys []store.OneTimeKey, err error) {
	for {
		in, err := s.incarnation(ctx)
		if err != nil {
			return nil, err
		}
		same := false
		err = s.cfg.Journal.Write(ctx, func(tx *store.Tx) (updates []store.Update, err error) {
			if same, err = tx.SameEpoch(ctx, in); err != nil || !same {
				return nil, err
			}
			keys, updates, err = s.take(ctx, tx, wanted)
			return updates, err
		})
		if err != nil || same {
			return keys, err
		}
		if err := s.CheckEpoch(ctx); err != nil {
			return nil, err
		}
	}
}

func (s *Server) take(ctx context.Context, tx *store.Tx, wanted []store.KeyWanted) ([]store.OneTimeKey, []store.Update, error) {
	keys, err := tx.ClaimOneTimeKeys(ctx, wanted, s.now())
	if err != nil {
		return nil, nil, err
	}
	var updates []store.Update
	found := make(map[store.KeyWanted]bool, len(keys))
	for _, k := range keys {
		found[store.KeyWanted{UserID: k.UserID, DeviceID: k.DeviceID, Algorithm: k.Algorithm}] = true
		updates = append(updates, keyCountChanged(k.UserID, k.DeviceID))
	}
	var exhausted []store.KeyWanted
	for _, w := range wanted {
		if !found[w] {
			exhausted = append(exhausted, w)
		}
	}
	if len(exhausted) == 0 {
		return keys, updates, nil
	}
	fallback, err := tx.UseFallbackKeys(ctx, exhausted)
	if err != nil {
		return nil, nil, err
	}
	for _, k := range fallback {
		if !k.Claimed {
			updates = append(updates, keyCountChanged(k.UserID, k.DeviceID))
		}
	}
	return append(keys, fallback...), updates, nil
}
