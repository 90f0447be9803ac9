package keys

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/strictjson"
)

type uploadRequest struct {
	DeviceKeys   json.RawMessage            `json:"device_keys"`
	OneTimeKeys  map[string]json.RawMessage `json:"one_time_keys"`
	FallbackKeys map[string]json.RawMessage `json:"fallback_keys"`
}

type uploadResponse struct {
	OneTimeKeyCounts map[string]int `json:"one_time_key_counts"`
}

// upload is an uploadRequest that was checked.
type upload struct {
	user     matrix.UserID
	device   matrix.DeviceID
	identity *signedObject // or nil
	oneTime  []store.OneTimeKey
	fallback []store.OneTimeKey
}

// UploadKeys publishes keys of the device that asks.
//
// The device's own signature is not verified: who uses the keys has to verify it anyway, and trusts nobody with that.
//
// Spec: client-server v1.19 §uploading-keys, POST /_matrix/client/v3/keys/upload
func (s *Server) UploadKeys(ctx context.Context, c *httpapi.Call, req *uploadRequest) (any, error) {
	if c.Requester.Device == "" {
		return nil, matrix.InvalidParam("only a device can have keys")
	}
	up, err := parseUpload(c.Requester, req)
	if err != nil {
		return nil, err
	}
	var counts store.KeyCounts
	err = s.cfg.Journal.Write(ctx, func(tx *store.Tx) ([]store.Update, error) {
		locked, err := tx.LockDevice(ctx, up.user, up.device)
		if err != nil {
			return nil, err
		}
		if !locked { // it was signed out a moment ago
			return nil, matrix.UnknownToken(false)
		}
		updates, err := up.store(ctx, tx)
		if err != nil {
			return nil, err
		}
		counts, err = tx.GetKeyCounts(ctx, up.user, up.device)
		return updates, err
	})
	if err != nil {
		return nil, fmt.Errorf("store keys of a device of %s: %w", up.user, err)
	}
	answer := uploadResponse{OneTimeKeyCounts: map[string]int{"signed_curve25519": 0}}
	for _, k := range counts.OneTime {
		answer.OneTimeKeyCounts[k.Algorithm] = k.Count
	}
	return answer, nil
}

func parseUpload(who *httpapi.Requester, req *uploadRequest) (*upload, error) {
	up := &upload{user: who.User, device: who.Device}
	var err error
	if len(req.DeviceKeys) > 0 && string(req.DeviceKeys) != "null" {
		if up.identity, err = up.parseIdentity(req.DeviceKeys); err != nil {
			return nil, err
		}
	}
	if len(req.OneTimeKeys) > limits.OneTimeKeys {
		return nil, matrix.InvalidParam("one_time_keys must have at most %d entries", limits.OneTimeKeys)
	}
	if up.oneTime, err = up.parseKeys("one_time_keys", req.OneTimeKeys); err != nil {
		return nil, err
	}
	if up.fallback, err = up.parseKeys("fallback_keys", req.FallbackKeys); err != nil {
		return nil, err
	}
	seen := make(map[string]bool)
	for _, k := range up.fallback {
		if seen[k.Algorithm] {
			return nil, matrix.InvalidParam("fallback_keys must have at most one key of each algorithm")
		}
		seen[k.Algorithm] = true
	}
	if len(seen) > limits.FallbackKeys {
		return nil, matrix.InvalidParam("fallback_keys must have at most %d entries", limits.FallbackKeys)
	}
	return up, nil
}

// parseIdentity reads device_keys. What is not as the specification says would break other servers that get it.
//
// Spec: client-server v1.19 §device-keys
func (up *upload) parseIdentity(raw []byte) (*signedObject, error) {
	o, err := parseSigned("device_keys", raw, limits.DeviceKeys)
	if err != nil {
		return nil, err
	}
	var user, device string
	var algorithms []string
	var keys map[string]string
	switch {
	case !o.field("user_id", &user):
		return nil, matrix.BadJSON("device_keys.user_id must be a string")
	case !o.field("device_id", &device):
		return nil, matrix.BadJSON("device_keys.device_id must be a string")
	case !o.field("algorithms", &algorithms):
		return nil, matrix.BadJSON("device_keys.algorithms must be an array of strings")
	case !o.field("keys", &keys):
		return nil, matrix.BadJSON("device_keys.keys must be an object of strings")
	case o.by == nil:
		return nil, matrix.BadJSON("device_keys.signatures is missing")
	case matrix.UserID(user) != up.user:
		return nil, matrix.InvalidParam("device_keys.user_id must be your user id")
	case matrix.DeviceID(device) != up.device:
		return nil, matrix.InvalidParam("device_keys.device_id must be the id of the device that you use")
	}
	return o, nil
}

// parseKeys reads one_time_keys or fallback_keys.
//
// Spec: client-server v1.19 §key-algorithms
func (up *upload) parseKeys(name string, keys map[string]json.RawMessage) ([]store.OneTimeKey, error) {
	list := make([]store.OneTimeKey, 0, len(keys))
	for id, raw := range keys {
		algorithm, keyID, ok := strings.Cut(id, ":")
		if !ok || algorithm == "" || keyID == "" || len(algorithm) > limits.KeyID || len(keyID) > limits.KeyID {
			return nil, matrix.InvalidParam("%s: a key is called <algorithm>:<key id>, each of 1 to %d bytes", name, limits.KeyID)
		}
		value, err := parseKey(name+"."+id, raw)
		if err != nil {
			return nil, err
		}
		list = append(list, store.OneTimeKey{UserID: up.user, DeviceID: up.device, Algorithm: algorithm, KeyID: keyID, JSON: value})
	}
	return list, nil
}

// parseKey reads a key, which is a string or a signed object, and returns its canonical form.
func parseKey(name string, raw []byte) ([]byte, error) {
	if len(raw) > limits.OneTimeKey {
		return nil, matrix.TooLarge("%s must have at most %d bytes", name, limits.OneTimeKey)
	}
	var text string
	if json.Unmarshal(raw, &text) == nil && string(raw) != "null" {
		return raw, nil
	}
	o, err := parseSigned(name, raw, limits.OneTimeKey)
	if err != nil {
		return nil, err
	}
	if !o.field("key", &text) || o.by == nil {
		return nil, matrix.BadJSON("%s must be a string, or an object with key and signatures", name)
	}
	return strictjson.Canonical(raw)
}

// store stores what is new, and returns what others have to learn of it.
func (up *upload) store(ctx context.Context, tx *store.Tx) (updates []store.Update, err error) {
	published, err := up.storeIdentity(ctx, tx)
	if err != nil {
		return nil, err
	}
	if published {
		updates = append(updates, deviceListChanged(up.user))
	}
	offered, err := up.storeOneTime(ctx, tx)
	if err != nil {
		return nil, err
	}
	kept, err := up.storeFallback(ctx, tx)
	if err != nil {
		return nil, err
	}
	if offered || kept || published {
		updates = append(updates, keyCountChanged(up.user, up.device))
	}
	return updates, nil
}

// storeIdentity stores the identity keys, unless they are what is there. Signatures that came later, by the self-signing key, stay
// as long as the keys do.
func (up *upload) storeIdentity(ctx context.Context, tx *store.Tx) (changed bool, err error) {
	if up.identity == nil {
		return false, nil
	}
	old, err := tx.GetDeviceKeys(ctx, up.user, up.device)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return false, err
	}
	o := *up.identity
	if old != nil {
		before, err := parseSigned("device_keys", old, len(old))
		if err != nil {
			return false, err
		}
		if bytes.Equal(before.message, o.message) {
			before.add(up.user, o.by[up.user])
			o = *before
		}
	}
	public, err := o.public(up.user)
	if err != nil || bytes.Equal(public, old) {
		return false, err
	}
	return true, tx.PutDeviceKeys(ctx, up.user, up.device, public)
}

// storeOneTime stores those keys that are new. One that was given away is not offered again.
func (up *upload) storeOneTime(ctx context.Context, tx *store.Tx) (changed bool, err error) {
	if len(up.oneTime) == 0 {
		return false, nil
	}
	ids := make([]string, len(up.oneTime))
	for i, k := range up.oneTime {
		ids[i] = k.KeyID
	}
	known, err := tx.ListOneTimeKeys(ctx, up.user, up.device, ids)
	if err != nil {
		return false, err
	}
	byName := make(map[[2]string]store.OneTimeKey, len(known))
	for _, k := range known {
		byName[[2]string{k.Algorithm, k.KeyID}] = k
	}
	var fresh []store.OneTimeKey
	for _, k := range up.oneTime {
		old, ok := byName[[2]string{k.Algorithm, k.KeyID}]
		switch digest := sha256.Sum256(k.JSON); {
		case !ok:
			fresh = append(fresh, k)
		case old.Claimed && !bytes.Equal(old.JSON, digest[:]):
			return false, matrix.InvalidParam("One time key %s:%s already exists and was given away", k.Algorithm, k.KeyID)
		case !old.Claimed && !bytes.Equal(old.JSON, k.JSON):
			// Interop: clients know this mistake of theirs, for which they have to start anew, by its words.
			return false, matrix.InvalidParam("One time key %s:%s already exists. Old key: %s; new key: %s", k.Algorithm, k.KeyID, old.JSON, k.JSON)
		}
	}
	if len(fresh) == 0 {
		return false, nil
	}
	return true, tx.InsertOneTimeKeys(ctx, up.user, up.device, fresh, limits.OneTimeKeys)
}

// storeFallback stores those keys that are new. A key that is there stays used if it was.
func (up *upload) storeFallback(ctx context.Context, tx *store.Tx) (changed bool, err error) {
	if len(up.fallback) == 0 {
		return false, nil
	}
	list, err := tx.ListFallbackKeys(ctx, up.user, up.device)
	if err != nil {
		return false, err
	}
	known := make(map[string]store.OneTimeKey, len(list))
	for _, k := range list {
		known[k.Algorithm] = k
	}
	for _, k := range up.fallback {
		old, ok := known[k.Algorithm]
		if ok && old.KeyID == k.KeyID && bytes.Equal(old.JSON, k.JSON) {
			continue
		}
		if known[k.Algorithm] = k; len(known) > limits.FallbackKeys {
			return false, matrix.InvalidParam("a device may have fallback keys of at most %d algorithms", limits.FallbackKeys)
		}
		if err := tx.PutFallbackKey(ctx, k); err != nil {
			return false, err
		}
		changed = true
	}
	return changed, nil
}

// deviceListChanged tells everybody who shares a room with the user.
func deviceListChanged(user matrix.UserID) store.Update {
	return store.Update{Kind: store.KindDeviceList, UserID: user, Body: []byte("{}")}
}

// keyCountChanged tells the device, and each process that remembers what the device has on offer.
func keyCountChanged(user matrix.UserID, device matrix.DeviceID) store.Update {
	return store.Update{Kind: store.KindKeyCount, UserID: user, Key: string(device), Body: []byte("{}")}
}
