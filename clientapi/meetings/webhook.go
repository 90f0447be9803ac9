package meetings

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"

	"github.com/livekit/protocol/livekit"
	"github.com/livekit/protocol/webhook"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/sfu"
	"github.com/roomline/roomline/internal/store"
)

// webhookPath is where LiveKit says what happens.
const webhookPath = "/_roomline/livekit/webhook"

// webhooks counts what was believed and refused; said is when the log was last told of a refusal.
type webhooks struct {
	believed, refused atomic.Int64
	said              atomic.Int64
}

// refusalsEvery bounds what strangers can have written into the log.
const refusalsEvery = matrix.Timestamp(60_000)

// errReplayed says that a webhook has been believed before.
var errReplayed = errors.New("meetings: the webhook came before")

// hear believes what LiveKit says, once. LiveKit says it again when it gets no answer: if that is because the first answer was lost, a refusal does no
// harm.
func (s *Server) hear(ctx context.Context, c *httpapi.Call) (any, error) {
	if !s.On() {
		return nil, matrix.Unrecognized()
	}
	e, err := s.cfg.SFU.EventOf(c.Request.Header.Get("Authorization"), c.Body)
	if err == nil {
		err = s.believe(ctx, e)
	}
	if errors.Is(err, sfu.ErrForged) || errors.Is(err, errReplayed) {
		s.webhooks.refused.Add(1)
		s.sayRefused(err)
		return nil, matrix.NewError(http.StatusUnauthorized, matrix.ErrUnauthorized, "this is no word of the media server")
	}
	if err == nil {
		s.webhooks.believed.Add(1)
	}
	return nil, err
}

// sayRefused tells the log that a webhook was refused, once in refusalsEvery.
func (s *Server) sayRefused(why error) {
	now, last := s.now(), s.webhooks.said.Load()
	if now-matrix.Timestamp(last) >= refusalsEvery && s.webhooks.said.CompareAndSwap(last, int64(now)) {
		s.cfg.Log.Warn("webhooks are refused", "so_far", s.webhooks.refused.Load(), "error", why)
	}
}

func (s *Server) believe(ctx context.Context, e *livekit.WebhookEvent) error {
	p := sfu.ParticipantOf(e.GetParticipant())
	stay := store.RTCStay{Alias: e.GetRoom().GetName(), Identity: p.Identity, SID: p.SID, JoinedTS: matrix.TimestampOf(p.Joined)}
	once := once{id: e.GetId()}
	switch e.GetEvent() {
	case webhook.EventParticipantJoined:
		if e.GetParticipant().GetKind() == livekit.ParticipantInfo_EGRESS {
			break // what records the call: we started it
		}
		if p.Phone {
			return s.phoneCame(ctx, stay.Alias, p, once)
		}
		return s.came(ctx, stay, e.GetRoom().GetSid(), false, once)
	case webhook.EventParticipantLeft:
		return s.went(ctx, stay, once)
	case webhook.EventRoomFinished:
		return s.allWent(ctx, e.GetRoom().GetName(), e.GetRoom().GetSid(), once)
	case webhook.EventEgressStarted, webhook.EventEgressUpdated, webhook.EventEgressEnded:
		if s.cfg.OnEgress != nil {
			if err := s.cfg.OnEgress(ctx, sfu.EgressOf(e.GetEgressInfo())); err != nil {
				return err
			}
		}
	}
	return s.cfg.Store.Write(ctx, func(tx *store.Tx) error { return once.in(ctx, tx, s.now()) })
}

// phoneCame tells of a phone, once. It is in a room of its own, and in no meeting (appservices/telephony/voice/anteroom.go).
func (s *Server) phoneCame(ctx context.Context, room string, p sfu.Participant, o once) error {
	err := s.cfg.Store.Write(ctx, func(tx *store.Tx) error { return o.in(ctx, tx, s.now()) })
	if err == nil && s.cfg.OnPhone != nil {
		s.cfg.OnPhone(room, p)
	}
	return err
}

// once is a webhook that is believed once. The sweep has none.
type once struct{ id string }

// in notes the webhook in the transaction that does what it says.
func (o once) in(ctx context.Context, tx *store.Tx, now matrix.Timestamp) error {
	if o.id == "" {
		return nil
	}
	fresh, err := tx.InsertRTCWebhook(ctx, o.id, now)
	if err == nil && !fresh {
		err = errReplayed
	}
	return err
}

// came notes that somebody's media is there, and has it looked at whether it may be: the token may be an old one, or one that LiveKit gave
// to somebody whom it had let in before; those hold for ten minutes. Who counts as there is not put out because the meeting was locked meanwhile;
// so whoever comes after a time away is looked at before that, and so is whoever was in a call that was ended.
func (s *Server) came(ctx context.Context, stay store.RTCStay, roomSID string, seen bool, o once) error {
	p, err := s.cfg.Store.GetRTCParticipant(ctx, stay.Alias, stay.Identity)
	known := !errors.Is(err, store.ErrNotFound)
	if err != nil && known {
		return fmt.Errorf("look up who has come: %w", err)
	}
	action, now := store.RTCCheck, s.now()
	if known && (p.Revoked || isNewcomer(p, now)) {
		if _, err := s.rightsIn(ctx, p); err != nil {
			if e, refused := matrix.AsError(err); !refused || e.Status >= 500 {
				return err
			}
			action = store.RTCRemove
		}
	}
	ends, err := s.endOf(ctx, stay.Alias, now)
	if err != nil {
		return err
	}
	ordered := false
	err = s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		ordered = false
		if err := o.in(ctx, tx, now); err != nil {
			return err
		}
		rooms, err := tx.LockRTCRooms(ctx, []string{stay.Alias})
		if err != nil || len(rooms) == 0 {
			return err // a room of somebody else
		}
		if p.Revoked {
			// The room goes with all who are in it, and tells them so. Who is there after that is found by the sweep.
			if ending, err := tx.IsRTCEnding(ctx, stay.Alias); err != nil || ending {
				return err
			}
		}
		if known && action == store.RTCCheck {
			changed, err := tx.PutRTCCame(ctx, stay, seen, now)
			if err != nil || !changed {
				return err
			}
			if err := tx.PutRTCRoomOn(ctx, stay.Alias, roomSID, ends, now); err != nil {
				return err
			}
		}
		ordered = true
		order := stay
		if action == store.RTCCheck {
			order.SID = "" // whoever is there is looked at
		}
		return tx.InsertRTCStayOrder(ctx, order, action, now)
	})
	if ordered && err == nil {
		s.hurry()
	}
	return err
}

// isNewcomer reports whether somebody comes who was not in the call, and was given no token lately.
func isNewcomer(p store.RTCParticipant, now matrix.Timestamp) bool {
	if p.Present() || p.TokenExpiresTS > now && p.LeftTS == 0 {
		return false
	}
	return p.LeftTS == 0 || now-p.LeftTS > matrix.Timestamp(limits.CallNewcomer.Milliseconds())
}

// went notes that somebody's media is gone.
func (s *Server) went(ctx context.Context, stay store.RTCStay, o once) error {
	now := s.now()
	return s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		if err := o.in(ctx, tx, now); err != nil {
			return err
		}
		rooms, err := tx.LockRTCRooms(ctx, []string{stay.Alias})
		if err != nil || len(rooms) == 0 {
			return err
		}
		changed, err := tx.PutRTCWent(ctx, stay, now)
		if err != nil || !changed {
			return err
		}
		return tx.PutRTCRoomOff(ctx, stay.Alias)
	})
}

// allWent notes that a room of the SFU is gone.
func (s *Server) allWent(ctx context.Context, alias, sid string, o once) error {
	now := s.now()
	s.alive.forget(alias)
	return s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		if err := o.in(ctx, tx, now); err != nil {
			return err
		}
		if _, err := tx.LockRTCRooms(ctx, []string{alias}); err != nil {
			return err
		}
		_, err := tx.PutRTCAllWent(ctx, alias, sid, now)
		return err
	})
}

// endOf is when a call has used up its minutes that begins now; 0 for never.
func (s *Server) endOf(ctx context.Context, alias string, now matrix.Timestamp) (matrix.Timestamp, error) {
	room, err := s.cfg.Store.GetRTCRoom(ctx, alias)
	if errors.Is(err, store.ErrNotFound) || err == nil && room.StartedTS != 0 {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look up a call: %w", err)
	}
	info, err := s.cfg.Rooms.RoomsByNID(ctx, []int64{room.RoomNID})
	if err != nil || len(info) == 0 {
		return 0, err
	}
	allowed, err := s.limitsOf(ctx, info[0].OrganisationID)
	if err != nil || allowed.MaxMinutes == 0 {
		return 0, err
	}
	return now + matrix.Timestamp(allowed.MaxMinutes)*60_000, nil
}
