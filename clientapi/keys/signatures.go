package keys

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// signaturesRequest is signed objects by user and by device or public key.
type signaturesRequest map[matrix.UserID]map[string]json.RawMessage

type signatureFailure struct {
	Code    matrix.ErrCode `json:"errcode"`
	Message string         `json:"error"`
}

type signaturesResponse struct {
	Failures map[matrix.UserID]map[string]signatureFailure `json:"failures"`
}

// UploadSignatures stores what the user has signed: own devices by the self-signing key, the own master key by a device, and others'
// master keys by the user-signing key. Users whom the signer may not know have no keys. Each object stands or fails alone; of one, every new signature has to be right.
//
// Spec: client-server v1.19 §cross-signing, POST /_matrix/client/v3/keys/signatures/upload
func (s *Server) UploadSignatures(ctx context.Context, c *httpapi.Call, req *signaturesRequest) (any, error) {
	users, err := checkUsers("the body", *req)
	if err != nil {
		return nil, err
	}
	strangers, err := s.cfg.Store.ListStrangers(ctx, viewerOf(c.Requester), users)
	if err != nil {
		return nil, err
	}
	known := slices.DeleteFunc(slices.Clone(users), func(user matrix.UserID) bool { return strangers[user] })
	answer := signaturesResponse{}
	err = s.cfg.Journal.Write(ctx, func(tx *store.Tx) ([]store.Update, error) {
		answer.Failures = make(map[matrix.UserID]map[string]signatureFailure)
		sg, err := newSigner(ctx, tx, c.Requester.User, known)
		if err != nil {
			return nil, err
		}
		for _, user := range users {
			for _, keyID := range slices.Sorted(maps.Keys((*req)[user])) {
				err := sg.sign(ctx, tx, user, keyID, (*req)[user][keyID])
				e, ok := matrix.AsError(err)
				if err != nil && !ok {
					return nil, err
				}
				if ok {
					if answer.Failures[user] == nil {
						answer.Failures[user] = make(map[string]signatureFailure)
					}
					answer.Failures[user][keyID] = signatureFailure{e.Code, e.Message}
				}
			}
		}
		return sg.updates(), nil
	})
	if err != nil {
		return nil, fmt.Errorf("store signatures of %s: %w", c.Requester.User, err)
	}
	return answer, nil
}

// signer is a user who signs keys, with what is stored of everybody concerned.
type signer struct {
	user       matrix.UserID
	own        identity
	devices    map[string][]byte
	signers    map[string]publicKey
	masters    map[matrix.UserID]store.CrossSigningKey
	ownChanged bool
	signed     []matrix.UserID
}

func newSigner(ctx context.Context, tx *store.Tx, user matrix.UserID, users []matrix.UserID) (*signer, error) {
	// The lock keeps the user's other requests from changing the keys meanwhile.
	if _, err := tx.LockUser(ctx, user); err != nil {
		return nil, err
	}
	sg := &signer{user: user, devices: make(map[string][]byte), masters: make(map[matrix.UserID]store.CrossSigningKey)}
	rows, err := tx.ListCrossSigningKeys(ctx, append(slices.Clone(users), user))
	if err != nil {
		return nil, err
	}
	var own []store.CrossSigningKey
	for _, row := range rows {
		if row.UserID == user {
			own = append(own, row)
		} else if row.Usage == store.UsageMaster {
			sg.masters[row.UserID] = row
		}
	}
	if sg.own, err = loadIdentity(own); err != nil {
		return nil, err
	}
	devices, err := tx.LockDeviceKeys(ctx, user)
	if err != nil {
		return nil, err
	}
	for _, d := range devices {
		sg.devices[string(d.DeviceID)] = d.JSON
	}
	sg.signers = deviceSigners(devices)
	return sg, nil
}

func unknownKey() *matrix.Error {
	return matrix.NotFound("there is no such key, or not one that you can sign")
}

// sign stores the signatures of one object.
func (sg *signer) sign(ctx context.Context, tx *store.Tx, user matrix.UserID, keyID string, raw []byte) error {
	o, err := parseSigned("the key", raw, limits.DeviceKeys)
	if err != nil {
		return err
	}
	if len(o.by[sg.user]) == 0 {
		return invalidSignature("the key has no signature of yours")
	}
	if user != sg.user {
		return sg.signOther(ctx, tx, user, keyID, o)
	}
	if stored, ok := sg.devices[keyID]; ok {
		return sg.signDevice(ctx, tx, matrix.DeviceID(keyID), stored, o)
	}
	if master := sg.own[store.UsageMaster]; master != nil && master.id == keyID {
		return sg.signMaster(ctx, tx, master, o)
	}
	return unknownKey()
}

// fresh returns the signatures that are not known, each verified with one of the keys. The object must be what is stored.
func fresh(stored, o *signedObject, known, sent signatures, keys map[string]publicKey) (signatures, error) {
	if !bytes.Equal(stored.message, o.message) {
		return nil, matrix.InvalidParam("the key is not the one that is stored")
	}
	added := make(signatures)
	for id, signature := range sent {
		if known[id] == signature {
			continue
		}
		key, ok := keys[id]
		if !ok || !key.verifies(stored, signature) {
			return nil, invalidSignature("the signature of %s is not valid, or that key does not sign such keys", id)
		}
		added[id] = signature
	}
	return added, nil
}

func (sg *signer) signDevice(ctx context.Context, tx *store.Tx, device matrix.DeviceID, json []byte, o *signedObject) error {
	stored, err := parseSigned("a stored key", json, len(json))
	if err != nil {
		return fmt.Errorf("read stored device keys: %v", err)
	}
	keys := make(map[string]publicKey)
	if k := sg.own[store.UsageSelfSigning]; k != nil {
		keys[keyPrefix+k.id] = k.key
	}
	added, err := fresh(stored, o, stored.by[sg.user], o.by[sg.user], keys)
	if err != nil || len(added) == 0 {
		return err
	}
	stored.add(sg.user, added)
	public, err := stored.public(sg.user)
	if err != nil {
		return err
	}
	sg.ownChanged = true
	return tx.PutDeviceKeys(ctx, sg.user, device, public)
}

func (sg *signer) signMaster(ctx context.Context, tx *store.Tx, master *crossSigningKey, o *signedObject) error {
	added, err := fresh(master.signedObject, o, master.by[sg.user], o.by[sg.user], sg.signers)
	if err != nil || len(added) == 0 {
		return err
	}
	master.add(sg.user, added)
	public, err := master.public(sg.user)
	if err != nil {
		return err
	}
	sg.ownChanged = true
	return tx.PutCrossSigningKey(ctx, store.CrossSigningKey{UserID: sg.user, Usage: store.UsageMaster, PublicKey: master.id, JSON: public})
}

func (sg *signer) signOther(ctx context.Context, tx *store.Tx, user matrix.UserID, keyID string, o *signedObject) error {
	row, ok := sg.masters[user]
	if !ok || row.PublicKey != keyID {
		return unknownKey()
	}
	stored, err := parseSigned("a stored key", row.JSON, len(row.JSON))
	if err != nil {
		return fmt.Errorf("read a stored master key: %v", err)
	}
	known := make(signatures)
	text, err := tx.GetKeySignature(ctx, sg.user, user, keyID)
	switch {
	case errors.Is(err, store.ErrNotFound):
	case err != nil:
		return err
	default:
		if err := json.Unmarshal(text, &known); err != nil {
			return fmt.Errorf("read a stored signature: %w", err)
		}
	}
	keys := make(map[string]publicKey)
	if k := sg.own[store.UsageUserSigning]; k != nil {
		keys[keyPrefix+k.id] = k.key
	}
	added, err := fresh(stored, o, known, o.by[sg.user], keys)
	if err != nil || len(added) == 0 {
		return err
	}
	// Only what the present key says counts.
	if text, err = json.Marshal(added); err != nil {
		return err
	}
	sg.signed = append(sg.signed, user)
	return tx.PutKeySignature(ctx, store.KeySignature{Signer: sg.user, UserID: user, KeyID: keyID, Signatures: text})
}

// updates tells who has to know.
func (sg *signer) updates() (updates []store.Update) {
	if sg.ownChanged {
		updates = append(updates, deviceListChanged(sg.user))
	}
	for _, user := range sg.signed {
		updates = append(updates, signedFor(sg.user, user))
	}
	return updates
}
