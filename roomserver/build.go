package roomserver

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"time"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver/event"
)

// view is the room's state as the events of one unit find it: the tip, and over it the unit's own events. It notes
// what was asked for and is not in memory.
type view struct {
	tip     *tip
	own     map[event.StateKey]*stateEvent
	missing []event.StateKey
}

// get returns a state event, or nil when the room has none. When it is not in memory it is nil too, and the view is incomplete.
func (v *view) get(typ, key string) *stateEvent {
	k := event.StateKey{Type: typ, Key: key}
	if e, ok := v.own[k]; ok {
		return e
	}
	e, ok := v.tip.state[k]
	if !ok && !v.tip.complete {
		v.missing = append(v.missing, k)
	}
	return e
}

// content returns the content of a state event, or nil.
func (v *view) content(typ, key string) []byte {
	e := v.get(typ, key)
	if e == nil {
		return nil
	}
	return contentOf(e.json)
}

// membership returns a user's membership, "leave" when the user never had one.
func (v *view) membership(user matrix.UserID) string {
	if m := gjson.GetBytes(v.content(spec.MRoomMember, string(user)), "membership").String(); m != "" {
		return m
	}
	return spec.Leave
}

// pdu returns a state event as the library's type, or nil.
func (v *view) pdu(typ, key string) (gomatrixserverlib.PDU, error) {
	e := v.get(typ, key)
	if e == nil {
		return nil, nil
	}
	if e.pdu == nil {
		pdu, err := event.Parse(v.tip.room.Version, e.id, e.json)
		if err != nil {
			return nil, fmt.Errorf("parse state event %s: %w", e.id, err)
		}
		e.pdu = pdu
	}
	return e.pdu, nil
}

// The methods below make a view the provider of auth events for gomatrixserverlib.

func (v *view) Create() (gomatrixserverlib.PDU, error)      { return v.pdu(spec.MRoomCreate, "") }
func (v *view) JoinRules() (gomatrixserverlib.PDU, error)   { return v.pdu(spec.MRoomJoinRules, "") }
func (v *view) PowerLevels() (gomatrixserverlib.PDU, error) { return v.pdu(spec.MRoomPowerLevels, "") }
func (v *view) Member(sender spec.SenderID) (gomatrixserverlib.PDU, error) {
	return v.pdu(spec.MRoomMember, string(sender))
}
func (v *view) ThirdPartyInvite(token string) (gomatrixserverlib.PDU, error) {
	return v.pdu(spec.MRoomThirdPartyInvite, token)
}

// Valid is true: a view holds events of one room.
func (v *view) Valid() bool { return true }

// build makes the unit that decide wants, on the tip, without changing the tip. When state is missing, the keys are returned
// instead. The tip's lock is held.
func (s *Server) build(t *tip, txn *Txn, decide compose) (*store.Unit, []event.StateKey, error) {
	v := &view{tip: t, own: make(map[event.StateKey]*stateEvent)}
	drafts, err := decide(v)
	if len(v.missing) > 0 {
		return nil, v.missing, nil
	}
	if err != nil || len(drafts) == 0 {
		return nil, nil, err
	}
	unit := &store.Unit{RoomNID: t.room.NID, RoomID: t.room.ID, Head: t.head}
	place := place{prev: t.extremities, depth: t.depth}
	for i := range drafts {
		e, err := s.buildEvent(v, &place, &drafts[i])
		if len(v.missing) > 0 {
			return nil, v.missing, nil
		}
		if err != nil {
			return nil, nil, err
		}
		unit.Events = append(unit.Events, e)
	}
	if txn != nil {
		last := &unit.Events[len(unit.Events)-1]
		unit.Txn = &store.Txn{User: last.Sender, Device: txn.Device, Scope: txn.Scope, ID: txn.ID, EventID: last.EventID}
	}
	return unit, nil, nil
}

// place is where the next event of a unit goes.
type place struct {
	prev  []matrix.EventID
	depth int64
}

// buildEvent makes one event: it gives the draft its place, checks it against the state and signs it. This and nothing else
// signs events.
func (s *Server) buildEvent(v *view, at *place, d *draft) (store.NewEvent, error) {
	version := v.tip.room.Version
	p := &event.Proto{
		Version: version, RoomID: v.tip.room.ID, Sender: d.Sender, Type: d.Type, StateKey: d.StateKey, Content: d.Content,
		PrevEvents: at.prev, Depth: at.depth + 1, OriginServerTS: d.Timestamp, Sticky: d.Sticky,
	}
	if d.Redacts != nil {
		p.Redacts = d.Redacts.EventID
	}
	if p.OriginServerTS == 0 {
		p.OriginServerTS = s.now()
	}
	if d.Type == spec.MRoomCreate && version.DomainlessRoomIDs {
		p.RoomID = ""
	}
	auth := event.AuthKeys(p)
	for _, k := range auth {
		v.get(k.Type, k.Key)
	}
	if len(v.missing) > 0 {
		return store.NewEvent{}, nil
	}
	for _, k := range auth {
		if e := v.get(k.Type, k.Key); e != nil {
			p.AuthEvents = append(p.AuthEvents, e.id)
		}
	}
	built, err := s.authorise(v, p)
	if err != nil || len(v.missing) > 0 {
		return store.NewEvent{}, err
	}
	e := store.NewEvent{
		EventID: built.EventID, Type: d.Type, StateKey: d.StateKey, Sender: d.Sender, OriginServerTS: p.OriginServerTS,
		Depth: p.Depth, JSON: built.JSON,
	}
	if d.StateKey != nil {
		v.own[event.StateKey{Type: d.Type, Key: *d.StateKey}] = &stateEvent{id: built.EventID, json: built.JSON}
		if d.Type == spec.MRoomMember {
			e.Membership = gjson.GetBytes(d.Content, "membership").String()
		}
	}
	e.Relation = relationOf(d)
	if e.Media = mediaOf(d); len(e.Media) > 0 {
		e.MediaKind = mediaKind(d.Type, d.Content)
	}
	if d.Sticky > 0 {
		e.StickyUntil = min(p.OriginServerTS, s.now()) + matrix.Timestamp(d.Sticky.Milliseconds())
	}
	if d.Redacts != nil {
		if e.RedactedJSON, err = event.Redact(version, d.Redacts.JSON); err != nil {
			return store.NewEvent{}, fmt.Errorf("redact %s: %w", d.Redacts.EventID, err)
		}
		e.Redacts = d.Redacts.EventID
	}
	at.prev, at.depth = []matrix.EventID{built.EventID}, p.Depth
	return e, nil
}

// sign finishes an event with the key of its sender's domain, and for a restricted join that another hosted domain's user
// vouches for, with that domain's too.
func (s *Server) sign(p *event.Proto) (*event.Built, error) {
	keyID, key, err := s.key(p.Sender.Domain())
	if err != nil {
		return nil, err
	}
	built, err := event.Build(p, p.Sender.Domain(), keyID, key)
	if err != nil {
		return nil, err
	}
	voucher := matrix.UserID(vouchedBy(p))
	if voucher == "" || voucher.Domain() == p.Sender.Domain() {
		return built, nil
	}
	if keyID, key, err = s.key(voucher.Domain()); err != nil {
		return nil, err
	}
	return built.AddSignature(voucher.Domain(), keyID, key)
}

// reloadPatience bounds the wait for keys that are read again.
const reloadPatience = 2 * time.Second

// key is what a domain signs with.
func (s *Server) key(domain matrix.ServerName) (string, ed25519.PrivateKey, error) {
	if keyID, key := s.cfg.Keys.Current(domain); key != nil {
		return keyID, key, nil
	}
	// Another process may have given an organisation the domain a moment ago.
	ctx, cancel := context.WithTimeout(context.Background(), reloadPatience)
	defer cancel()
	if err := s.cfg.Keys.Reload(ctx); err != nil {
		return "", nil, err
	}
	keyID, key := s.cfg.Keys.Current(domain)
	if key == nil {
		return "", nil, fmt.Errorf("no signing key: %s is not hosted here", domain)
	}
	return keyID, key, nil
}

// vouchedBy is the user who authorises a restricted join, or "".
func vouchedBy(p *event.Proto) string {
	if p.Type != spec.MRoomMember || !bytes.Contains(p.Content, []byte(authorisedViaKey)) {
		return ""
	}
	return gjson.GetBytes(p.Content, authorisedViaKey).String()
}

// authorise checks the event against the state that it is built on, and signs it. Most events need no more than the parsed power
// levels; the others are judged as the library's type, which needs the finished event.
func (s *Server) authorise(v *view, p *event.Proto) (*event.Built, error) {
	if p.Type != spec.MRoomCreate {
		rules, err := v.rules()
		if err != nil || len(v.missing) > 0 {
			return nil, err
		}
		decided, err := rules.Allow(p, v.membership(p.Sender))
		if err != nil {
			return nil, err
		}
		if decided {
			return s.sign(p)
		}
	}
	built, err := s.sign(p)
	if err != nil {
		return nil, err
	}
	pdu, err := built.PDU()
	if err != nil {
		return nil, fmt.Errorf("parse own event: %w", err)
	}
	return built, event.Check(pdu, v)
}

// contentOf is the content of a stored event.
func contentOf(json []byte) []byte {
	return []byte(gjson.GetBytes(json, "content").Raw)
}

// redactsOf is the event that a stored redaction removes.
func redactsOf(json []byte) matrix.EventID {
	if id := gjson.GetBytes(json, "redacts").String(); id != "" {
		return matrix.EventID(id)
	}
	return matrix.EventID(gjson.GetBytes(json, "content.redacts").String())
}

// prevEventsOf lists the prev_events of a stored event, in either of the two formats.
func prevEventsOf(json []byte) []matrix.EventID {
	var ids []matrix.EventID
	gjson.GetBytes(json, "prev_events").ForEach(func(_, v gjson.Result) bool {
		if v.IsArray() {
			v = v.Get("0")
		}
		ids = append(ids, matrix.EventID(v.String()))
		return true
	})
	return ids
}
