package roomserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/strictjson"
)

// Who may delete what. Whoever has the power to redact in a room, its owner, may delete everything there. What senders may delete of their
// own depends on what it is:
//
//   - A file, picture, video, recording or sticker: at any time.
//   - Text, and a voice message: not at all, it is the owner's.
//   - What is encrypted, so that we can't see what it is: if media hangs on it, as a file; otherwise as text.
//   - Everything else (a reaction, an answer in a poll, state): at any time, as the specification has it.
//
// That is what the operator promises. The configuration, an organisation and a room's owner may each decide otherwise, the later overruling
// the earlier. Deleting is redacting; the bytes of what hangs on the event go with it (mediaapi).

// DeletionPolicyType is the state event with which a room's owner decides who may delete what in it; its content is a DeletionPolicy.
const DeletionPolicyType = "org.roomline.deletion_policy"

// DeletionPolicyName is what an organisation's decision is called in its policies.
const DeletionPolicyName = "deletion"

// Deleter is who may delete something: its sender, or only the room's owner.
type Deleter string

// The deleters. Empty leaves the decision to who decided before.
const (
	BySender Deleter = "sender"
	ByOwner  Deleter = "owner"
)

// DeletionPolicy says who may delete what.
type DeletionPolicy struct {
	File           Deleter `json:"file,omitempty"`
	Text           Deleter `json:"text,omitempty"`
	Voice          Deleter `json:"voice,omitempty"`
	Encrypted      Deleter `json:"encrypted,omitempty"`
	EncryptedMedia Deleter `json:"encrypted_media,omitempty"`
}

// ParseDeletionPolicy reads a policy strictly: M_BAD_JSON names the field that is wrong.
func ParseDeletionPolicy(content []byte) (DeletionPolicy, error) {
	var p DeletionPolicy
	if err := strictjson.Decode(content, &p); err != nil {
		return DeletionPolicy{}, err
	}
	for name, d := range map[string]Deleter{
		"file": p.File, "text": p.Text, "voice": p.Voice, "encrypted": p.Encrypted, "encrypted_media": p.EncryptedMedia,
	} {
		if d != "" && d != BySender && d != ByOwner {
			return DeletionPolicy{}, matrix.BadJSON("%s must be %q or %q", name, BySender, ByOwner)
		}
	}
	return p, nil
}

// over is p where it decides, and else before.
func (p DeletionPolicy) over(before DeletionPolicy) DeletionPolicy {
	pick := func(later, earlier Deleter) Deleter {
		if later != "" {
			return later
		}
		return earlier
	}
	return DeletionPolicy{
		File: pick(p.File, before.File), Text: pick(p.Text, before.Text), Voice: pick(p.Voice, before.Voice),
		Encrypted: pick(p.Encrypted, before.Encrypted), EncryptedMedia: pick(p.EncryptedMedia, before.EncryptedMedia),
	}
}

// target is an event that is to be redacted.
type target struct {
	*store.Event
	// HasMedia says that media hangs on it.
	HasMedia bool
	// Policy is what holds in the room's organisation.
	Policy DeletionPolicy
}

// redactionTarget loads the event that a redaction removes.
func (s *Server) redactionTarget(ctx context.Context, room Info, e NewEvent) (*target, error) {
	id := e.Redacts
	if id == "" {
		id = matrix.EventID(gjson.GetBytes(e.Content, "redacts").String())
	}
	if id == "" {
		return nil, matrix.MissingParam("redacts must name the event to redact")
	}
	found, err := s.cfg.Store.GetEvent(ctx, room.NID, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, matrix.NotFound("the event to redact is not in this room")
	}
	if err != nil {
		return nil, fmt.Errorf("load event to redact: %w", err)
	}
	t := &target{Event: &found}
	if t.HasMedia, err = s.cfg.Store.HasMediaLink(ctx, found.Position); err != nil {
		return nil, fmt.Errorf("find the media of an event: %w", err)
	}
	t.Policy, err = s.DeletionPolicyOf(ctx, room.OrganisationID)
	return t, err
}

// DeletionPolicyOf is what holds in an organisation: its own decisions, and for the rest the configuration's.
func (s *Server) DeletionPolicyOf(ctx context.Context, org int64) (DeletionPolicy, error) {
	value, err := s.cfg.Store.GetPolicy(ctx, org, DeletionPolicyName)
	if err != nil {
		return DeletionPolicy{}, fmt.Errorf("load the deletion policy: %w", err)
	}
	if value == nil {
		return s.cfg.Deletion, nil
	}
	var own DeletionPolicy
	if err := json.Unmarshal(value, &own); err != nil {
		return DeletionPolicy{}, fmt.Errorf("stored deletion policy: %w", err)
	}
	return own.over(s.cfg.Deletion), nil
}

// mayRedact refuses a redaction by a user who may not delete the event.
//
// Spec: room v12 §handling-redactions
//
// Differs: senders may redact only those of their own events that the deletion policy leaves to them.
func (v *view) mayRedact(sender matrix.UserID, t *target) error {
	rules, err := v.rules()
	if err != nil || rules == nil {
		return err
	}
	have := rules.UserLevel(sender)
	if have < rules.Levels.Redact && (t.Sender != sender || v.membership(sender) != spec.Join) {
		return matrix.Forbidden("redacting others' events needs power level %d, %s has %d", rules.Levels.Redact, sender, have)
	}
	return v.mayDeleteOwn(sender, t)
}

// mayDeleteOwn refuses a sender what the deletion policy leaves to the room's owner; whether the sender is still there is no matter.
func (v *view) mayDeleteOwn(sender matrix.UserID, t *target) error {
	rules, err := v.rules()
	if err != nil || rules == nil {
		return err
	}
	have := rules.UserLevel(sender)
	if have >= rules.Levels.Redact || t.RedactedBy != "" {
		return nil
	}
	policy := t.Policy
	if room, err := ParseDeletionPolicy(v.content(DeletionPolicyType, "")); err == nil {
		policy = room.over(policy)
	}
	if len(v.missing) > 0 {
		return nil
	}
	what, by := policy.decide(t)
	if by == ByOwner {
		return matrix.Forbidden("%s can be deleted by the room's owner only: that needs power level %d, %s has %d", what, rules.Levels.Redact, sender, have)
	}
	return nil
}

// decide says what an event is to the policy, and who may delete it.
func (p DeletionPolicy) decide(t *target) (what string, by Deleter) {
	if t.StateKey != nil {
		return "state", BySender
	}
	switch t.Type {
	case "m.sticker":
		return "a file", p.File
	case "m.poll.start", "org.matrix.msc3381.poll.start":
		return "a poll", p.Text
	case "m.room.encrypted":
		if t.HasMedia {
			return "an encrypted file", p.EncryptedMedia
		}
		return "an encrypted message", p.Encrypted
	case "m.room.message":
		switch messageKind(contentOf(t.JSON)) {
		case MediaVoice:
			return "a voice message", p.Voice
		case MediaOther:
			return "a text message", p.Text
		}
		return "a file", p.File
	}
	return "this", BySender
}

// checkDeletionPolicy refuses a room's policy that could not be understood later.
func checkDeletionPolicy(d *draft) error {
	if d.Type != DeletionPolicyType {
		return nil
	}
	if d.StateKey == nil || *d.StateKey != "" {
		return matrix.InvalidParam("%s is state with an empty state key", DeletionPolicyType)
	}
	_, err := ParseDeletionPolicy(d.Content)
	return err
}

// maySetDeletionPolicy: only who may delete everything may decide what others may delete.
func (v *view) maySetDeletionPolicy(sender matrix.UserID) error {
	rules, err := v.rules()
	if err != nil || rules == nil {
		return err
	}
	if have := rules.UserLevel(sender); have < rules.Levels.Redact {
		return matrix.Forbidden("deciding who may delete what needs power level %d, %s has %d", rules.Levels.Redact, sender, have)
	}
	return nil
}

// MayDeleteMedia refuses to let the uploader of media delete it if the events on which it hangs are not the uploader's to delete.
func (s *Server) MayDeleteMedia(ctx context.Context, who Viewer, m *store.Media) error {
	links, err := s.cfg.Store.ListMediaLinks(ctx, m.URI, who.User, limits.MediaLinks)
	if err != nil {
		return fmt.Errorf("list what %s hangs on: %w", m.URI, err)
	}
	var positions []int64
	for i := range links {
		if links[i].Position > 0 && !links[i].Presumed {
			positions = append(positions, links[i].Position)
		}
	}
	if len(positions) == 0 {
		return nil
	}
	events, err := s.cfg.Store.ListEventsAt(ctx, positions)
	if err != nil {
		return fmt.Errorf("load the events of media: %w", err)
	}
	for i := range events {
		if events[i].Sender != who.User {
			continue
		}
		if err := s.mayDelete(ctx, who.User, &events[i]); err != nil {
			return err
		}
	}
	return nil
}

// mayDelete says whether a user may delete an event of the user's own, without doing it.
func (s *Server) mayDelete(ctx context.Context, user matrix.UserID, e *store.Event) error {
	room, err := s.Room(ctx, e.RoomID)
	if err != nil {
		return err
	}
	t := &target{Event: e, HasMedia: true}
	if t.Policy, err = s.DeletionPolicyOf(ctx, room.OrganisationID); err != nil {
		return err
	}
	if _, by := t.Policy.decide(t); by == BySender && t.StateKey != nil {
		return nil
	}
	_, err = s.append(ctx, room, nil, func(v *view) ([]draft, error) { return nil, v.mayDeleteOwn(user, t) })
	return err
}
