package keys

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

type crossSigningRequest struct {
	MasterKey      json.RawMessage `json:"master_key"`
	SelfSigningKey json.RawMessage `json:"self_signing_key"`
	UserSigningKey json.RawMessage `json:"user_signing_key"`
	Auth           json.RawMessage `json:"auth"`
}

// crossSigningKey is a key that was checked by itself.
type crossSigningKey struct {
	*signedObject
	usage string
	id    string // the public key as text
	key   publicKey
}

// identity is a user's cross-signing keys by usage.
type identity map[string]*crossSigningKey

// errUnproved says that the user has to prove to be there.
var errUnproved = errors.New("keys: user-interactive authentication is needed")

// UploadCrossSigningKeys publishes the user's cross-signing keys. Who has none yet need not prove anything, nor who sends again what
// is there.
//
// A new master key takes those keys with it that it has not signed.
//
// Spec: client-server v1.19 §cross-signing, POST /_matrix/client/v3/keys/device_signing/upload; MSC3967
func (s *Server) UploadCrossSigningKeys(ctx context.Context, c *httpapi.Call, req *crossSigningRequest) (any, error) {
	sent := make(identity)
	for usage, raw := range map[string]json.RawMessage{
		store.UsageMaster: req.MasterKey, store.UsageSelfSigning: req.SelfSigningKey, store.UsageUserSigning: req.UserSigningKey,
	} {
		if len(raw) == 0 || string(raw) == "null" {
			continue
		}
		key, err := parseCrossSigningKey(usage, raw, c.Requester.User)
		if err != nil {
			return nil, err
		}
		for _, other := range sent {
			if other.id == key.id {
				return nil, matrix.InvalidParam("the %s and the %s key must not be the same", other.usage, usage)
			}
		}
		sent[usage] = key
	}
	// What cannot be stored is refused before anybody types a password.
	proved := c.Requester.Appservice != ""
	err := s.putIdentity(ctx, c.Requester.User, sent, proved)
	if errors.Is(err, errUnproved) {
		proof, answer, err := s.confirm(ctx, c, "POST /keys/device_signing/upload "+sent.fingerprint(), req.Auth)
		if proof == nil {
			return answer, err
		}
		return nil, s.putIdentity(ctx, c.Requester.User, sent, true)
	}
	return nil, err
}

// confirm is user-interactive authentication.
func (s *Server) confirm(ctx context.Context, c *httpapi.Call, operation string, data json.RawMessage) (*auth.Proof, any, error) {
	if c.Requester.Guest {
		return nil, nil, matrix.NewError(403, matrix.ErrGuestAccessForbidden, "guests may not do this")
	}
	return s.cfg.Interactive.Authenticate(ctx, auth.Challenge{
		Operation: operation, User: c.Requester.User, Flows: [][]string{{auth.StagePassword}}, Address: c.ClientAddr(),
	}, data)
}

// fingerprint stands for the keys, so that what is confirmed for these isn't done with others.
func (id identity) fingerprint() string {
	h := sha256.New()
	for _, usage := range []string{store.UsageMaster, store.UsageSelfSigning, store.UsageUserSigning} {
		if k := id[usage]; k != nil {
			fmt.Fprintf(h, "%s %d %s", usage, len(k.message), k.message)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// parseCrossSigningKey reads a key.
func parseCrossSigningKey(usage string, raw []byte, owner matrix.UserID) (*crossSigningKey, error) {
	name := usage + "_key"
	if usage == store.UsageMaster {
		name = "master_key"
	}
	o, err := parseSigned(name, raw, limits.DeviceKeys)
	if err != nil {
		return nil, err
	}
	var user string
	var usages []string
	var keys map[string]string
	switch {
	case !o.field("user_id", &user):
		return nil, matrix.BadJSON("%s.user_id must be a string", name)
	case !o.field("usage", &usages):
		return nil, matrix.BadJSON("%s.usage must be an array of strings", name)
	case !o.field("keys", &keys):
		return nil, matrix.BadJSON("%s.keys must be an object of strings", name)
	case matrix.UserID(user) != owner:
		return nil, matrix.InvalidParam("%s.user_id must be your user id", name)
	case !slices.Equal(usages, []string{usage}):
		return nil, matrix.InvalidParam("%s.usage must be [%q]", name, usage)
	case len(keys) != 1:
		return nil, matrix.InvalidParam("%s.keys must have one key", name)
	}
	k := &crossSigningKey{signedObject: o, usage: usage}
	for id, value := range keys {
		public, ok := strings.CutPrefix(id, keyPrefix)
		if !ok || public != value {
			return nil, matrix.InvalidParam("%s.keys must be called ed25519: and the key itself", name)
		}
		if k.key, ok = parsePublicKey(value); !ok {
			return nil, matrix.InvalidParam("%s.keys must have an Ed25519 key in unpadded base64", name)
		}
		k.id = public
	}
	return k, nil
}

// loadIdentity reads what is stored.
func loadIdentity(list []store.CrossSigningKey) (identity, error) {
	id := make(identity, len(list))
	for _, row := range list {
		k, err := parseCrossSigningKey(row.Usage, row.JSON, row.UserID)
		if err != nil {
			return nil, fmt.Errorf("read the %s key of %s: %v", row.Usage, row.UserID, err)
		}
		id[row.Usage] = k
	}
	return id, nil
}

// lacks reports whether there is a key in sent that the user does not have.
func (id identity) lacks(sent identity) bool {
	for usage, k := range sent {
		if id[usage] == nil || !bytes.Equal(id[usage].message, k.message) {
			return true
		}
	}
	return false
}

// putIdentity stores keys, all or none. Without proof it returns errUnproved if the keys replace or add to what the user has.
func (s *Server) putIdentity(ctx context.Context, user matrix.UserID, sent identity, proved bool) error {
	return s.cfg.Journal.Write(ctx, func(tx *store.Tx) ([]store.Update, error) {
		if _, err := tx.LockUser(ctx, user); err != nil {
			return nil, err
		}
		rows, err := tx.ListCrossSigningKeys(ctx, []matrix.UserID{user})
		if err != nil {
			return nil, err
		}
		have, err := loadIdentity(rows)
		if err != nil {
			return nil, err
		}
		if have[store.UsageMaster] == nil && sent[store.UsageMaster] == nil {
			return nil, matrix.MissingParam("there is no master key, neither here nor in the request")
		}
		if !have.lacks(sent) {
			return nil, nil
		}
		if err := s.checkIdentity(ctx, tx, user, have, sent); err != nil {
			return nil, err
		}
		if have[store.UsageMaster] != nil && !proved {
			return nil, errUnproved
		}
		return storeIdentity(ctx, tx, user, have, sent)
	})
}

// checkIdentity verifies the signatures that make the keys one identity. Of the others, those are kept that the user's devices have
// made and that are right.
func (s *Server) checkIdentity(ctx context.Context, tx *store.Tx, user matrix.UserID, have, sent identity) error {
	names := make([]string, 0, len(sent))
	for _, k := range sent {
		names = append(names, k.id)
	}
	collisions, err := tx.ListDevicesNamed(ctx, user, names)
	if err != nil {
		return err
	}
	if len(collisions) > 0 {
		return matrix.Forbidden("one of the keys is called as one of your devices")
	}
	master := sent[store.UsageMaster]
	if master == nil {
		master = have[store.UsageMaster]
	}
	for _, usage := range []string{store.UsageSelfSigning, store.UsageUserSigning} {
		k := sent[usage]
		if k == nil {
			continue
		}
		signature := k.by[user][keyPrefix+master.id]
		if !master.key.verifies(k.signedObject, signature) {
			return invalidSignature("the %s key is not signed by the master key", usage)
		}
		k.by = map[matrix.UserID]signatures{user: {keyPrefix + master.id: signature}}
	}
	if k := sent[store.UsageMaster]; k != nil {
		devices, err := tx.ListDeviceKeys(ctx, []matrix.UserID{user})
		if err != nil {
			return err
		}
		return k.keepVerified(user, devices)
	}
	return nil
}

// keepVerified leaves those signatures on a master key that the owner's devices, or the key itself, have made.
func (k *crossSigningKey) keepVerified(user matrix.UserID, devices []store.DeviceKeys) error {
	signers := deviceSigners(devices)
	signers[keyPrefix+k.id] = k.key
	kept := make(signatures)
	for id, signature := range k.by[user] {
		signer, known := signers[id]
		if !known {
			continue
		}
		if !signer.verifies(k.signedObject, signature) {
			return invalidSignature("the signature of %s on the master key is wrong", id)
		}
		kept[id] = signature
	}
	k.by = map[matrix.UserID]signatures{user: kept}
	return nil
}

// deviceSigners are the signing keys of a user's devices.
func deviceSigners(devices []store.DeviceKeys) map[string]publicKey {
	signers := make(map[string]publicKey)
	for _, d := range devices {
		var keys struct {
			Keys map[string]string `json:"keys"`
		}
		id := keyPrefix + string(d.DeviceID)
		if len(d.JSON) == 0 || json.Unmarshal(d.JSON, &keys) != nil {
			continue
		}
		if key, ok := parsePublicKey(keys.Keys[id]); ok {
			signers[id] = key
		}
	}
	return signers
}

// storeIdentity replaces those keys that are new, and tells who has to know.
func storeIdentity(ctx context.Context, tx *store.Tx, user matrix.UserID, have, sent identity) ([]store.Update, error) {
	master := sent[store.UsageMaster]
	newMaster := master != nil && have.lacks(identity{store.UsageMaster: master})
	public := false
	var put []*crossSigningKey
	// First those go that are replaced: two keys may change places.
	for _, usage := range []string{store.UsageMaster, store.UsageSelfSigning, store.UsageUserSigning} {
		old, k := have[usage], sent[usage]
		if k != nil && old != nil && bytes.Equal(old.message, k.message) && !newMaster {
			continue
		}
		if k == nil && !newMaster {
			continue
		}
		if old != nil {
			if err := tx.DeleteCrossSigningKey(ctx, store.CrossSigningKey{UserID: user, Usage: usage, PublicKey: old.id}); err != nil {
				return nil, err
			}
		}
		if k != nil {
			put = append(put, k)
		}
		public = public || usage != store.UsageUserSigning
	}
	for _, k := range put {
		stored, err := k.public(user)
		if err != nil {
			return nil, err
		}
		if err := tx.PutCrossSigningKey(ctx, store.CrossSigningKey{UserID: user, Usage: k.usage, PublicKey: k.id, JSON: stored}); err != nil {
			return nil, err
		}
	}
	if public {
		return []store.Update{deviceListChanged(user)}, nil
	}
	return []store.Update{signedFor(user, user)}, nil // nobody else can see a user-signing key
}

// signedFor tells a user that a key of somebody's looks different to that user alone.
func signedFor(signer, user matrix.UserID) store.Update {
	return store.Update{Kind: store.KindDeviceList, UserID: signer, Key: string(user), Body: []byte("{}")}
}
