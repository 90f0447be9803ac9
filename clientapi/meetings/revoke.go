package meetings

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// One process follows the journal: what it says of memberships, power levels, the state of meetings, sessions, accounts and organisations
// makes orders to look again at those whom it is about. When that process dies, another one goes on where it was.
const (
	followerName  = "calls"
	followerRest  = 100 * time.Millisecond
	followerRetry = 500 * time.Millisecond
)

// The types of events by which a device says that it is in a call: state of the room in older clients, sticky events in newer ones.
const (
	callMember       = "org.matrix.msc3401.call.member"
	rtcMember        = "m.rtc.member"
	rtcMemberUnnamed = "org.matrix.msc4143.rtc.member" // before the proposal is part of the specification
)

var (
	stateMembers  = []string{callMember}
	stickyMembers = []string{rtcMember, rtcMemberUnnamed}
)

// PolicyDecided has those looked at again who are in calls of an organisation that decides about meetings in the transaction.
func (s *Server) PolicyDecided(ctx context.Context, tx *store.Tx, organisation int64, _, _ []byte) error {
	_, err := tx.InsertRTCChecks(ctx, store.RTCWhom{Organisations: []int64{organisation}}, s.now())
	return err
}

// news is what a stretch of the journal says of calls.
type news struct {
	whom store.RTCWhom
	// said are events by which devices say that they are in calls. entered are those who have entered rooms.
	said         []*store.Event
	enteredRooms []int64
	entered      []matrix.UserID
}

func (s *Server) follow(ctx context.Context, entries []journal.Entry) error {
	var n news
	for i := range entries {
		if u := entries[i].Update; u != nil {
			n.addUpdate(u)
		} else if e := entries[i].Event; e != nil {
			n.addEvent(e)
		}
	}
	if err := s.orderChecks(ctx, n.whom); err != nil {
		return err
	}
	// Who was put out of a room could not be seen to leave the call: who enters it again is still said to be there.
	if len(n.entered) > 0 {
		events, err := s.cfg.Store.ListRTCMemberships(ctx, n.enteredRooms, n.entered, stateMembers)
		if err != nil {
			return fmt.Errorf("list who is said to be in calls: %w", err)
		}
		for i := range events {
			n.said = append(n.said, &events[i])
		}
	}
	for _, e := range n.said {
		if err := s.expect(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

func (n *news) addUpdate(u *store.Update) {
	switch u.Kind {
	case store.KindSession:
		n.whom.Users = append(n.whom.Users, u.UserID)
	case store.KindOrganisation:
		if id, err := strconv.ParseInt(u.Key, 10, 64); err == nil {
			n.whom.Organisations = append(n.whom.Organisations, id)
		}
	}
}

func (n *news) addEvent(e *store.Event) {
	if e.StateKey == nil {
		if e.Type == rtcMember || e.Type == rtcMemberUnnamed {
			n.said = append(n.said, e)
		}
		return
	}
	switch e.Type {
	case spec.MRoomMember:
		user := matrix.UserID(*e.StateKey)
		if gjson.GetBytes(e.JSON, "content.membership").String() == spec.Join {
			n.enteredRooms, n.entered = append(n.enteredRooms, e.RoomNID), append(n.entered, user)
		} else {
			n.whom.MemberRooms, n.whom.Members = append(n.whom.MemberRooms, e.RoomNID), append(n.whom.Members, user)
		}
	case spec.MRoomPowerLevels, StateType:
		n.whom.Rooms = append(n.whom.Rooms, e.RoomNID)
	case callMember:
		n.said = append(n.said, e)
	}
}

// said is what a membership event says.
type said struct {
	slot, device, member string
}

// read returns what an event says whose sender is in a call through our SFU; ok is false for every other one.
func (s *Server) read(e *store.Event) (m said, ok bool) {
	content := gjson.GetBytes(e.JSON, "content")
	if e.Type == callMember {
		m = said{slot: CallDefaultSlot, device: content.Get("device_id").Str}
		focus := content.Get(`foci_preferred.0.livekit_service_url`).Str
		return m, m.device != "" && content.Get("application").Str != "" && focus == s.ServiceURL()
	}
	m = said{slot: content.Get("slot_id").Str, device: content.Get("member.claimed_device_id").Str, member: content.Get("member.id").Str}
	if m.device == "" {
		m.device = content.Get("member.device_id").Str
	}
	joins := content.Get("application").IsObject() && content.Get("member.membership").Str != spec.Leave
	return m, joins && m.slot != "" && len(m.slot) <= limits.CallSlot && m.device != "" && m.member != "" && len(m.member) <= limits.CallMember
}

// expect notes that a device has said to be in a call: if its media does not come, it is not. Who has an account elsewhere is not waited for: we could
// not say so.
func (s *Server) expect(ctx context.Context, e *store.Event) error {
	m, ok := s.read(e)
	if !ok || !s.cfg.IsLocal(e.Sender.Domain()) {
		return nil
	}
	now := s.now()
	r := MintRequest{Room: e.RoomID, Slot: m.slot, User: e.Sender, Device: m.device, MemberID: m.member, Legacy: e.Type == callMember}
	room := store.RTCRoom{Alias: s.AliasOf(e.RoomID, m.slot), RoomNID: e.RoomNID, SlotID: m.slot, CreatedTS: now}
	if err := s.cfg.Store.PutRTCRoom(ctx, room); err != nil {
		return fmt.Errorf("note a call: %w", err)
	}
	err := s.cfg.Store.PutRTCAnnounced(ctx, store.RTCParticipant{
		Alias: room.Alias, Identity: r.identity(), UserID: r.User, DeviceID: matrix.DeviceID(r.Device), MemberID: r.MemberID,
		TokenExpiresTS: now + matrix.Timestamp(limits.CallAnnounced.Milliseconds()),
	}, e.OriginServerTS)
	if err != nil {
		return fmt.Errorf("note who is said to be in a call: %w", err)
	}
	return nil
}
