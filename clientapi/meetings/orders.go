package meetings

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/sfu"
	"github.com/roomline/roomline/internal/store"
)

// What changes who may be in a call makes an order (store.RTCOrder), in the transaction that changes it, or from the journal (revoke.go). An
// order is gone when the SFU has answered, whatever happens to processes and to the SFU meanwhile. Any process may carry it out, and twice: a
// check is made anew, and the others mean the call, or the stay in it, that was on when the SFU was asked first (store.RTCOrder.SID). Who made
// an order carries it out at once; the process that watches over calls looks every pulseEvery for those of processes that died.

const (
	// orderAgain is when an order is taken by somebody else if whoever took it has not said what became of it.
	orderAgain = time.Second
	// orderPause and orderPauseMost are how long an order waits that could not be carried out: twice as long each time.
	orderPause     = 250 * time.Millisecond
	orderPauseMost = 5 * time.Second
	// orderPatience bounds the carrying out of one order.
	orderPatience = 10 * time.Second
)

// live is what a process knows of calls that are on.
type live struct {
	// orders wakes whoever carries out orders.
	orders chan struct{}
}

func (l *live) init() { l.orders = make(chan struct{}, 1) }

func (s *Server) hurry() {
	select {
	case s.live.orders <- struct{}{}:
	default:
	}
}

// Run works until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	if !s.On() {
		<-ctx.Done()
		return nil
	}
	var parts sync.WaitGroup
	parts.Go(func() { s.runOrders(ctx) })
	s.cfg.Journal.Follow(ctx, journal.Follower{
		Name: followerName, Start: s.cfg.Journal.Head(), Handle: s.follow, Rest: followerRest, Retry: followerRetry, While: s.watch,
	})
	parts.Wait()
	return nil
}

// OrderCheckUser has everybody looked at again who is in a call by the user's name: another device, or other rights.
func (s *Server) OrderCheckUser(ctx context.Context, user matrix.UserID) error {
	return s.orderChecks(ctx, store.RTCWhom{Users: []matrix.UserID{user}})
}

// OrderCheckRoom has everybody looked at again who is in a call of the room.
func (s *Server) OrderCheckRoom(ctx context.Context, roomNID int64) error {
	return s.orderChecks(ctx, store.RTCWhom{Rooms: []int64{roomNID}})
}

func (s *Server) orderChecks(ctx context.Context, whom store.RTCWhom) error {
	n, err := s.cfg.Store.InsertRTCChecks(ctx, whom, s.now())
	if n > 0 {
		s.hurry()
	}
	if err != nil {
		return fmt.Errorf("order to look at those in calls: %w", err)
	}
	return nil
}

// OrderEnd has a call ended for all. Nobody comes back into it, whatever happens to the SFU meanwhile: another call needs other tokens.
func (s *Server) OrderEnd(ctx context.Context, alias string) error {
	if err := s.cfg.Store.PutRTCCallOver(ctx, alias, s.now()); err != nil {
		return fmt.Errorf("order the end of a call: %w", err)
	}
	s.hurry()
	return nil
}

// EndRoom is OrderEnd for all calls of a room.
func (s *Server) EndRoom(ctx context.Context, roomNID int64) error {
	rooms, err := s.cfg.Store.ListRTCRoomsOf(ctx, roomNID)
	if err != nil {
		return fmt.Errorf("list the calls of a room: %w", err)
	}
	for _, r := range rooms {
		if err := s.OrderEnd(ctx, r.Alias); err != nil {
			return err
		}
	}
	return nil
}

// runOrders carries out orders when there may be some, until ctx ends.
func (s *Server) runOrders(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.live.orders:
		}
		for ctx.Err() == nil {
			taken, err := s.carryOut(ctx)
			if err != nil && ctx.Err() == nil && !store.IsUnavailable(err) {
				s.cfg.Log.Error("orders for the SFU", "error", err)
			}
			if taken < limits.CallOrders {
				break
			}
		}
	}
}

// carryOut takes orders that wait and carries them out, side by side. It returns how many it took.
func (s *Server) carryOut(ctx context.Context) (int, error) {
	orders, err := s.cfg.Store.TakeRTCOrders(ctx, s.now(), orderAgain, limits.CallOrders)
	if err != nil || len(orders) == 0 {
		return 0, err
	}
	// What has begun is brought to its end when the process stops.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), orderPatience)
	defer cancel()
	var parts sync.WaitGroup
	slots := make(chan struct{}, limits.CallOrdersAtOnce)
	var mu sync.Mutex
	var done []int64
	for _, o := range orders {
		slots <- struct{}{}
		parts.Go(func() {
			defer func() { <-slots }()
			if err := s.obey(ctx, o); err != nil {
				s.putOff(ctx, o, err)
				return
			}
			mu.Lock()
			done = append(done, o.ID)
			mu.Unlock()
		})
	}
	parts.Wait()
	return len(orders), s.cfg.Store.DeleteRTCOrders(ctx, done)
}

// putOff has an order tried again later. How: the watch looks for orders whose time has come.
func (s *Server) putOff(ctx context.Context, o store.RTCOrder, why error) {
	if !errors.Is(why, sfu.ErrUnavailable) || o.Attempts == 1 {
		s.cfg.Log.Warn("the SFU could not be told what to do, and will be again", "order", string(o.Action), "attempts", o.Attempts, "error", why)
	}
	wait := min(orderPause<<min(o.Attempts-1, 10), orderPauseMost)
	if err := s.cfg.Store.PutOffRTCOrder(ctx, o.ID, s.now()+matrix.Timestamp(wait.Milliseconds())); err != nil && !store.IsUnavailable(err) {
		s.cfg.Log.Error("put an order for the SFU off", "error", err)
	}
}

func (s *Server) obey(ctx context.Context, o store.RTCOrder) error {
	if o.Action == store.RTCCheck {
		return s.check(ctx, o.Alias, o.Identity)
	}
	sid, err := s.meant(ctx, o)
	if err != nil || sid == "" {
		return err
	}
	if o.Action == store.RTCRemove {
		return s.cfg.SFU.RemoveAs(ctx, o.Alias, o.Identity, sid)
	}
	s.alive.forget(o.Alias)
	return s.cfg.SFU.DeleteRoomAs(ctx, o.Alias, sid)
}

// meant is which call an order means, or which stay in it: the one that is on when it is carried out first. "": there is none, or none any more.
func (s *Server) meant(ctx context.Context, o store.RTCOrder) (sid string, err error) {
	if o.SID != "" {
		return o.SID, nil
	}
	if o.Action == store.RTCEnd {
		sid, err = s.cfg.SFU.SID(ctx, o.Alias)
	} else {
		sid, err = s.cfg.SFU.StaySID(ctx, o.Alias, o.Identity)
	}
	if err != nil || sid == "" {
		return "", err
	}
	sid, err = s.cfg.Store.PutRTCOrderSID(ctx, o.ID, sid)
	if errors.Is(err, store.ErrNotFound) {
		return "", nil // somebody else has carried it out
	}
	return sid, err
}

// maxChecks bounds how often somebody is looked at whose rights change meanwhile.
const maxChecks = 8

// check puts somebody out who may not be in the call, and sees to it that others have the rights there that they have. After the SFU was told
// something it looks again: who looked earlier may have told the SFU later.
func (s *Server) check(ctx context.Context, alias, identity string) error {
	for range maxChecks {
		p, err := s.cfg.Store.GetRTCParticipant(ctx, alias, identity)
		if errors.Is(err, store.ErrNotFound) {
			return s.cfg.SFU.Remove(ctx, alias, identity) // nobody was given a token for this
		}
		if err != nil || p.Revoked { // whoever comes back is put out (came)
			return err
		}
		rights, err := s.rightsIn(ctx, p)
		if refusal, refused := matrix.AsError(err); refused && refusal.Status < 500 {
			return s.cfg.SFU.Remove(ctx, alias, identity)
		}
		if err != nil {
			return err
		}
		raw, err := json.Marshal(rights)
		if err != nil || bytes.Equal(raw, p.Rights) {
			return err
		}
		if err := s.cfg.SFU.Update(ctx, alias, identity, rights); err != nil {
			return err
		}
		if err := s.cfg.Store.PutRTCRights(ctx, p, raw); err != nil {
			return err
		}
	}
	return fmt.Errorf("the rights of somebody change all the time")
}

// rightsIn is Entitled for somebody of a room of the SFU.
func (s *Server) rightsIn(ctx context.Context, p store.RTCParticipant) (sfu.Rights, error) {
	if p.Revoked {
		return sfu.Rights{}, matrix.Forbidden("the call has ended")
	}
	room, err := s.cfg.Store.GetRTCRoom(ctx, p.Alias)
	if err != nil {
		return sfu.Rights{}, err
	}
	info, err := s.cfg.Rooms.RoomsByNID(ctx, []int64{room.RoomNID})
	if err != nil || len(info) == 0 {
		if err == nil {
			err = notThere()
		}
		return sfu.Rights{}, err
	}
	if _, err := s.limitsNow(ctx, info[0].OrganisationID); err != nil {
		return sfu.Rights{}, err
	}
	return s.Entitled(ctx, info[0].ID, p.UserID, string(p.DeviceID))
}

// MayConnect says whether somebody may connect to the SFU who has a token for it: it may be an old one. A *matrix.Error says why not.
func (s *Server) MayConnect(ctx context.Context, alias, identity string) error {
	p, err := s.cfg.Store.GetRTCParticipant(ctx, alias, identity)
	if errors.Is(err, store.ErrNotFound) {
		return notThere()
	}
	if err != nil {
		return err
	}
	_, err = s.rightsIn(ctx, p)
	return err
}
