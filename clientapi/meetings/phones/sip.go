package phones

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/sfu"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/wake"
)

// Trunks that LiveKit SIP has. It asks callers for their PINs itself, and so has to know them: for each that opens something now it has a rule, which
// brings the caller to a room that is the PIN's alone. The bridge waits there, and asks the server for the way into the meeting like that of any other
// call. What LiveKit SIP knows is compared with what it should know again and again, by one process.

const (
	// ruleNames is how the names of our rules begin, roomNames the rooms that they lead to.
	ruleNames = "roomline "
	roomNames = "phone-in-"
	// rulesLease is held by the process that keeps them.
	rulesLease = "phones of LiveKit SIP"
)

// roomFor is the room of LiveKit that a PIN leads to.
func roomFor(hash []byte) string { return roomNames + base64.RawURLEncoding.EncodeToString(hash) }

// pinIn is the PIN that a room is for; nil if it is for none.
func pinIn(room string) []byte {
	hash, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(room, roomNames))
	if err != nil || !strings.HasPrefix(room, roomNames) {
		return nil
	}
	return hash
}

// IsRoom reports whether a room of LiveKit is one that callers are brought to.
func IsRoom(name string) bool { return pinIn(name) != nil }

// checkSIP refuses calls out that LiveKit SIP would not make.
func (s *Server) checkSIP(ctx context.Context, t *Trunk) error {
	if !t.LiveKit {
		return nil
	}
	err := s.cfg.SIP.CheckSIPTrunk(ctx, t.OutboundTrunk)
	if err == nil {
		return nil
	}
	s.cfg.Log.Warn("nobody is called: LiveKit SIP does not answer as it should", "trunk", t.Name, "error", err)
	e := matrix.NewError(http.StatusServiceUnavailable, "ORG.ROOMLINE.MEETINGS_UNAVAILABLE", "phones can't be called just now: LiveKit SIP does not answer")
	return e.With("org.roomline.reason", "no_sip")
}

// keepRules works until ctx ends, in one process of a deployment.
func (s *Server) keepRules(ctx context.Context) {
	if s.cfg.SIP == nil || !slices.ContainsFunc(s.cfg.Trunks, func(t Trunk) bool { return t.InboundTrunk != "" }) {
		return
	}
	for ctx.Err() == nil {
		lease, ok, err := s.cfg.Store.TryLease(ctx, rulesLease)
		if ok {
			s.keepRulesWith(ctx, lease)
			lease.Release()
		} else if err != nil && ctx.Err() == nil && !store.IsUnavailable(err) {
			s.cfg.Log.Error("the rules of LiveKit SIP are not kept", "error", err)
		}
		wake.Pause(ctx, limits.PhoneRulesKept)
	}
}

func (s *Server) keepRulesWith(ctx context.Context, lease *store.Lease) {
	k := &keeper{Server: s, trunks: map[string]string{}, alone: map[string]int{}}
	for said := false; ctx.Err() == nil && lease.Check(ctx) == nil; {
		err := k.keep(ctx)
		if err != nil && !said && ctx.Err() == nil && !store.IsUnavailable(err) {
			s.cfg.Log.Warn("no phone gets in by LiveKit SIP", "error", err)
		}
		if err == nil && said {
			s.cfg.Log.Info("LiveKit SIP answers: phones get in")
		}
		said = err != nil
		wake.Pause(ctx, limits.PhoneRulesKept)
	}
}

// keeper keeps the rules of LiveKit SIP.
type keeper struct {
	*Server
	// trunks are the ids of trunks by their names. alone counts how often a phone was seen in a room where no bridge is.
	trunks map[string]string
	alone  map[string]int
}

func (k *keeper) keep(ctx context.Context) error {
	if err := k.findTrunks(ctx); err != nil {
		return err
	}
	wanted, err := k.wanted(ctx)
	if err != nil {
		return err
	}
	rules, err := k.cfg.SIP.SIPRules(ctx, ruleNames)
	if err != nil {
		return err
	}
	rooms, err := k.cfg.SIP.Rooms(ctx)
	if err != nil {
		return err
	}
	there := make(map[string]bool, len(rooms))
	for _, r := range rooms {
		there[r.Alias] = true
	}
	known := make(map[string]bool, len(rules))
	for _, r := range rules {
		if w, ok := wanted[r.Name]; ok && !known[r.Name] && w.PIN == r.PIN && w.Room == r.Room && slices.Equal(w.Trunks, r.Trunks) {
			known[r.Name] = true
			continue
		}
		if err := k.cfg.SIP.DeleteSIPRule(ctx, r.ID); err != nil {
			return err
		}
	}
	for name, w := range wanted {
		if !there[w.Room] {
			if _, err := k.cfg.SIP.CreateRoom(ctx, w.Room, sfu.RoomOptions{EmptyTimeout: 24 * time.Hour, DepartureTimeout: time.Hour}); err != nil {
				return err
			}
		}
		if !known[name] {
			if err := k.cfg.SIP.CreateSIPRule(ctx, w); err != nil {
				return err
			}
		}
	}
	return k.clean(ctx, rooms, wanted)
}

// findTrunks finds out what LiveKit SIP calls our trunks, and makes those that are to be made.
func (k *keeper) findTrunks(ctx context.Context) error {
	for i := range k.cfg.Trunks {
		t := &k.cfg.Trunks[i]
		if k.trunks[t.Name] != "" || t.InboundTrunk == "" {
			continue
		}
		id := t.InboundTrunk
		if id == "create" {
			one := sfu.SIPTrunk{Name: ruleNames + t.Name, Allowed: t.Allowed}
			for _, n := range t.Numbers {
				one.Numbers = append(one.Numbers, n.Number)
			}
			var err error
			if id, err = k.cfg.SIP.EnsureSIPTrunk(ctx, one); err != nil {
				return err
			}
		}
		k.trunks[t.Name] = id
	}
	return nil
}

// wanted are the rules that there should be, by their names.
func (k *keeper) wanted(ctx context.Context) (map[string]sfu.SIPRule, error) {
	pins, err := k.cfg.Store.ListPhonePINsOpen(ctx, k.now(), limits.PhoneRules)
	if err != nil {
		return nil, fmt.Errorf("list PINs: %w", err)
	}
	wanted, trunksOf := make(map[string]sfu.SIPRule, len(pins)), map[int64][]string{}
	for i := range pins {
		p := &pins[i]
		trunks, asked := trunksOf[p.OrganisationID]
		if !asked {
			if trunks, err = k.inbound(ctx, p.OrganisationID); err != nil {
				return nil, err
			}
			trunksOf[p.OrganisationID] = trunks
		}
		if len(trunks) == 0 {
			continue
		}
		digits, err := k.pins.Open(p.Sealed, hex.EncodeToString(p.Hash))
		if err != nil {
			return nil, fmt.Errorf("a PIN: %w", err)
		}
		const enough = 8
		r := sfu.SIPRule{Name: ruleNames + hex.EncodeToString(p.Hash[:enough]), Room: roomFor(p.Hash), PIN: string(digits), Trunks: trunks}
		wanted[r.Name] = r
	}
	return wanted, nil
}

// inbound are the ids of an organisation's trunks that bring calls; none where phones are not let in.
func (k *keeper) inbound(ctx context.Context, org int64) ([]string, error) {
	r, err := k.rulesFor(ctx, k.cfg.Store, org)
	if errors.Is(err, store.ErrNotFound) || err == nil && (!r.dialIn || r.organisation.State != store.OrganisationActive) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	trunks, err := k.trunksOf(ctx, k.cfg.Store, org)
	var ids []string
	for _, t := range trunks {
		if id := k.trunks[t.Name]; id != "" {
			ids = append(ids, id)
		}
	}
	return ids, err
}

// clean ends rooms that no PIN leads to any more, and hangs up on phones whose bridge is gone.
func (k *keeper) clean(ctx context.Context, rooms []sfu.Room, wanted map[string]sfu.SIPRule) error {
	leads := make(map[string]bool, len(wanted))
	for _, w := range wanted {
		leads[w.Room] = true
	}
	alone := map[string]int{}
	for _, r := range rooms {
		if !strings.HasPrefix(r.Alias, roomNames) {
			continue
		}
		const patience = 3
		if r.Participants == 1 {
			alone[r.Alias] = k.alone[r.Alias] + 1
		}
		if r.Participants == 0 && !leads[r.Alias] || alone[r.Alias] > patience {
			if err := k.cfg.SIP.DeleteRoom(ctx, r.Alias); err != nil {
				return err
			}
		}
	}
	k.alone = alone
	return nil
}
