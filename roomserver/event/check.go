package event

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/roomline/roomline/internal/matrix"
)

// AuthState is a set of state events to judge by.
type AuthState map[StateKey]gomatrixserverlib.PDU

func (a AuthState) get(eventType, key string) (gomatrixserverlib.PDU, error) {
	return a[StateKey{eventType, key}], nil
}

// Create, JoinRules, PowerLevels, Member, ThirdPartyInvite and Valid make AuthState a gomatrixserverlib.AuthEventProvider.
func (a AuthState) Create() (gomatrixserverlib.PDU, error) { return a.get(typeCreate, "") }

func (a AuthState) JoinRules() (gomatrixserverlib.PDU, error) { return a.get(typeJoinRules, "") }

func (a AuthState) PowerLevels() (gomatrixserverlib.PDU, error) { return a.get(typePowerLevels, "") }

func (a AuthState) Member(user spec.SenderID) (gomatrixserverlib.PDU, error) {
	return a.get(typeMember, string(user))
}

func (a AuthState) ThirdPartyInvite(token string) (gomatrixserverlib.PDU, error) {
	return a.get(typeThirdPartyInvite, token)
}

// Valid says whether all events are of one room.
func (a AuthState) Valid() bool {
	room := ""
	for _, pdu := range a {
		id := pdu.RoomID()
		if room == "" {
			room = id.String()
		} else if room != id.String() {
			return false
		}
	}
	return true
}

// Check judges an event by the authorisation rules of its room version. auth holds the state that [AuthKeys] names and the create event. A
// refusal is a *matrix.Error M_FORBIDDEN that says why.
//
// Spec: §authorisation-rules of the room version.
//
// The rules are the library's. Where it falls behind the spec, the rule is written here, marked Differs.
func Check(pdu gomatrixserverlib.PDU, auth gomatrixserverlib.AuthEventProvider) error {
	version, ok := Lookup(string(pdu.Version()))
	if !ok {
		return fmt.Errorf("event: check in unknown room version %q", pdu.Version())
	}
	switch pdu.Type() {
	case typeAliases:
		if !version.AliasesRule {
			// Differs: the library knows the rule of version 5 only, and lets in aliases from whoever is not in the room.
			return checkCommon(pdu, auth)
		}
		if pdu.StateKey() == nil {
			return matrix.Forbidden("m.room.aliases must be a state event")
		}
	case typeRedaction:
		if version.EventFormat == EventIDs {
			// Differs: the library asks the content of the create event for the version, which a redaction of it empties.
			return checkCommon(pdu, auth)
		}
	case typeMember:
		if decided, err := checkMember(version, pdu, auth); decided || err != nil {
			return err
		}
	case typePowerLevels:
		if version.NotificationsRule {
			return checkPowerLevels(pdu, auth)
		}
	}
	return refusal(gomatrixserverlib.Allowed(pdu, auth, userOfSender))
}

func userOfSender(_ spec.RoomID, sender spec.SenderID) (*spec.UserID, error) {
	user, err := spec.NewUserID(string(sender), true)
	if err != nil {
		return nil, matrix.Forbidden("%q is not a user ID", string(sender))
	}
	return user, nil
}

// refusal turns what the library says about an event into an answer. Errors of the provider stay as they are.
func refusal(err error) error {
	var (
		notAllowed *gomatrixserverlib.NotAllowed
		invalidPtr *gomatrixserverlib.EventValidationError
		invalid    gomatrixserverlib.EventValidationError
		syntax     *json.SyntaxError
		wrongType  *json.UnmarshalTypeError
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &notAllowed):
		return matrix.Forbidden("%s", strings.TrimPrefix(notAllowed.Message, "eventauth: "))
	case errors.As(err, &invalidPtr), errors.As(err, &invalid):
		return matrix.Forbidden("%s", strings.TrimPrefix(err.Error(), "gomatrixserverlib: "))
	case errors.As(err, &syntax), errors.As(err, &wrongType):
		return matrix.Forbidden("the content of the event cannot be read: %s", err)
	}
	if _, ok := matrix.AsError(err); ok {
		return err
	}
	return fmt.Errorf("event: check: %w", err)
}

// rulesOf reads the rules from the provider.
func rulesOf(auth gomatrixserverlib.AuthEventProvider) (*Rules, error) {
	create, err := auth.Create()
	if err != nil {
		return nil, fmt.Errorf("event: load create event: %w", err)
	}
	levels, err := auth.PowerLevels()
	if err != nil {
		return nil, fmt.Errorf("event: load power levels: %w", err)
	}
	return NewRules(create, levels)
}

func membershipOf(auth gomatrixserverlib.AuthEventProvider, user string) (string, error) {
	pdu, err := auth.Member(spec.SenderID(user))
	if err != nil {
		return "", fmt.Errorf("event: load membership of %s: %w", user, err)
	}
	if pdu == nil {
		return "leave", nil
	}
	return Membership(pdu.Content()), nil
}

func checkCommon(pdu gomatrixserverlib.PDU, auth gomatrixserverlib.AuthEventProvider) error {
	if !auth.Valid() {
		return matrix.Forbidden("the auth events are of different rooms")
	}
	rules, err := rulesOf(auth)
	if err != nil {
		return err
	}
	membership, err := membershipOf(auth, string(pdu.SenderID()))
	if err != nil {
		return err
	}
	room := pdu.RoomID()
	return rules.common(matrix.RoomID(room.String()), matrix.UserID(pdu.SenderID()), membership, pdu.Type(), pdu.StateKey())
}

// checkMember holds the rules about m.room.member that the library does not have. decided is true when the event is allowed without asking it.
//
// Spec: room v12 §authorisation-rules, rule 5
func checkMember(version Version, pdu gomatrixserverlib.PDU, auth gomatrixserverlib.AuthEventProvider) (decided bool, err error) {
	if pdu.StateKey() == nil {
		return false, matrix.Forbidden("m.room.member must be a state event")
	}
	sender, target := string(pdu.SenderID()), *pdu.StateKey()
	membership := Membership(pdu.Content())
	if membership == "" {
		return false, matrix.Forbidden("m.room.member has no membership")
	}
	current, err := membershipOf(auth, target)
	if err != nil {
		return false, err
	}
	switch {
	case membership == "invite":
		if invite, ok := memberOf(pdu.Content(), "third_party_invite"); ok {
			return true, checkThirdPartyInvite(pdu, invite, current, auth)
		}
	case membership == "leave" && sender != target:
		return false, checkKick(sender, target, auth)
	case membership == "join" && sender == target && current == "knock":
		return checkJoinOfKnocker(pdu, auth)
	}
	return false, nil
}

// checkThirdPartyInvite.
//
// Differs: the library lets a third-party invite lift a ban, lets others than its sender use it, does not look at its public_key, and forgets
// keys of what is signed that it does not know, so that their signatures fail: identity servers sign the inviter's user id, too.
//
// Spec: room v12 §authorisation-rules, rule 5.4.1
func checkThirdPartyInvite(event gomatrixserverlib.PDU, invite []byte, current string, auth gomatrixserverlib.AuthEventProvider) error {
	if current == "ban" {
		return matrix.Forbidden("the invited user is banned")
	}
	signed, _ := memberOf(invite, "signed")
	token, mxid := stringMember(signed, "token"), stringMember(signed, "mxid")
	if token == "" || mxid == "" {
		return matrix.Forbidden("third_party_invite.signed must have mxid and token")
	}
	if mxid != *event.StateKey() {
		return matrix.Forbidden("third_party_invite.signed is about another user")
	}
	pdu, err := auth.ThirdPartyInvite(token)
	if err != nil {
		return fmt.Errorf("event: load third-party invite: %w", err)
	}
	if pdu == nil {
		return matrix.Forbidden("the room has no such third-party invite")
	}
	if pdu.SenderID() != event.SenderID() {
		return matrix.Forbidden("the third-party invite is another user's")
	}
	rules, err := rulesOf(auth)
	if err != nil {
		return err
	}
	room := event.RoomID()
	if !auth.Valid() || matrix.RoomID(room.String()) != rules.roomID {
		return matrix.Forbidden("the auth events are of another room")
	}
	if err := rules.checkFederate(matrix.UserID(event.SenderID())); err != nil {
		return err
	}
	if !SignedBy(signed, invitationKeys(pdu.Content())) {
		return matrix.Forbidden("third_party_invite.signed has no signature with a key of the third-party invite")
	}
	return nil
}

// invitationKeys are the keys of the content of m.room.third_party_invite; what is not a key is none.
func invitationKeys(content []byte) []ed25519.PublicKey {
	var invite struct {
		PublicKey  string `json:"public_key"`
		PublicKeys []struct {
			PublicKey string `json:"public_key"`
		} `json:"public_keys"`
	}
	if json.Unmarshal(content, &invite) != nil {
		return nil
	}
	texts := []string{invite.PublicKey}
	for _, k := range invite.PublicKeys {
		texts = append(texts, k.PublicKey)
	}
	var keys []ed25519.PublicKey
	for _, text := range texts {
		var key spec.Base64Bytes
		if key.Decode(text) == nil && len(key) == ed25519.PublicKeySize {
			keys = append(keys, ed25519.PublicKey(key))
		}
	}
	return keys
}

// SignedBy reports whether an object has a signature with one of the keys, by whatever name.
func SignedBy(object []byte, keys []ed25519.PublicKey) bool {
	var content struct {
		Signatures map[string]map[string]string `json:"signatures"`
	}
	if json.Unmarshal(object, &content) != nil {
		return false
	}
	for domain, signatures := range content.Signatures {
		for keyID := range signatures {
			if !strings.HasPrefix(keyID, "ed25519:") {
				continue
			}
			for _, key := range keys {
				if gomatrixserverlib.VerifyJSON(domain, gomatrixserverlib.KeyID(keyID), key, object) == nil {
					return true
				}
			}
		}
	}
	return false
}

// checkKick.
//
// Differs: the library asks of an unban neither the level to kick nor that the target stands below.
//
// Spec: room v12 §authorisation-rules, rule 5.5.4
func checkKick(sender, target string, auth gomatrixserverlib.AuthEventProvider) error {
	membership, err := membershipOf(auth, sender)
	if err != nil {
		return err
	}
	if membership != "join" {
		return matrix.Forbidden("%s is not in the room", sender)
	}
	rules, err := rulesOf(auth)
	if err != nil {
		return err
	}
	have := rules.UserLevel(matrix.UserID(sender))
	if have < rules.Levels.Kick {
		return matrix.Forbidden("%s has power level %d, removing others needs %d", sender, have, rules.Levels.Kick)
	}
	if rules.UserLevel(matrix.UserID(target)) >= have {
		return matrix.Forbidden("%s does not stand above %s", sender, target)
	}
	return nil
}

// checkJoinOfKnocker.
//
// Differs: the library lets in a user who knocked by invite only, even when the room became public since.
//
// Spec: room v12 §authorisation-rules, rule 5.3.6
func checkJoinOfKnocker(pdu gomatrixserverlib.PDU, auth gomatrixserverlib.AuthEventProvider) (bool, error) {
	joinRules, err := auth.JoinRules()
	if err != nil {
		return false, fmt.Errorf("event: load join rules: %w", err)
	}
	if joinRules == nil || stringMember(joinRules.Content(), "join_rule") != "public" {
		return false, nil
	}
	rules, err := rulesOf(auth)
	if err != nil {
		return false, err
	}
	room := pdu.RoomID()
	if !auth.Valid() || matrix.RoomID(room.String()) != rules.roomID {
		return false, matrix.Forbidden("the auth events are of another room")
	}
	return true, rules.checkFederate(matrix.UserID(pdu.SenderID()))
}

// checkPowerLevels asks the library about everything but notifications, and judges those here.
//
// Differs: the library refuses to lower a notification level that equals the sender's, and knows nothing of creators there, so that the
// creator of a room of version 12 could never change one.
//
// Spec: room v12 §authorisation-rules, rules 10.7 and 10.8
func checkPowerLevels(pdu gomatrixserverlib.PDU, auth gomatrixserverlib.AuthEventProvider) error {
	before, err := auth.PowerLevels()
	if err != nil {
		return fmt.Errorf("event: load power levels: %w", err)
	}
	changed, err := notifications(pdu)
	if err != nil {
		return err
	}
	content := without(pdu.Content(), "notifications")
	current := map[string]int64{}
	if before != nil {
		if current, err = notifications(before); err != nil {
			return err
		}
		if raw, ok := memberOf(before.Content(), "notifications"); ok {
			if content, err = withMember(content, "notifications", raw); err != nil {
				return matrix.Forbidden("the content of the event cannot be read")
			}
		}
	}
	neutral := &contentPDU{PDU: pdu, content: content}
	if err := refusal(gomatrixserverlib.Allowed(neutral, auth, userOfSender)); err != nil || before == nil {
		return err
	}
	rules, err := rulesOf(auth)
	if err != nil {
		return err
	}
	have := rules.UserLevel(matrix.UserID(pdu.SenderID()))
	for name, level := range current {
		if now, ok := changed[name]; (!ok || now != level) && level > have {
			return matrix.Forbidden("%s has power level %d and may not change the notification level %q of %d",
				pdu.SenderID(), have, name, level)
		}
	}
	for name, level := range changed {
		if was, ok := current[name]; (!ok || was != level) && level > have {
			return matrix.Forbidden("%s has power level %d and may not set the notification level %q to %d",
				pdu.SenderID(), have, name, level)
		}
	}
	return nil
}

// notifications are the notification levels that a power level event names, without the library's defaults.
func notifications(pdu gomatrixserverlib.PDU) (map[string]int64, error) {
	levels, err := gomatrixserverlib.NewPowerLevelContentFromEvent(pdu)
	if err != nil {
		return nil, refusal(err)
	}
	raw, _ := memberOf(pdu.Content(), "notifications")
	if _, ok := memberOf(raw, "room"); !ok {
		delete(levels.Notifications, "room")
	}
	return levels.Notifications, nil
}

// contentPDU is an event with another content.
type contentPDU struct {
	gomatrixserverlib.PDU
	content []byte
}

func (c *contentPDU) Content() []byte { return c.content }
