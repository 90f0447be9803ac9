package clientapi

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// Thread subscriptions. What a user last said of a thread is an update (store.KindThreadSubscription) whose key is the thread's
// root; its position is the order in which things were said, by which automatic subscriptions are judged.
//
// Differs: the proposal's two push rules are not among the predefined ones. They are on for everybody, and silence every thread that was
// not subscribed to: also for people whose clients know nothing of subscriptions, and who would hear no more of threads.
//
// Spec: MSC4306

// threadSubscriptions is where the endpoints are, until the proposal is part of the spec.
const threadSubscriptions = "/_matrix/client/unstable/io.element.msc4306/rooms/{roomId}/thread/{eventId}/subscription"

const (
	errConflictingUnsubscription matrix.ErrCode = "IO.ELEMENT.MSC4306.M_CONFLICTING_UNSUBSCRIPTION"
	errNotInThread               matrix.ErrCode = "IO.ELEMENT.MSC4306.M_NOT_IN_THREAD"
)

// The bodies of the updates.
const (
	subscribedManually      = `{"automatic":false}`
	subscribedAutomatically = `{"automatic":true}`
	unsubscribed            = `{"unsubscribed":true}`
)

// subscriptionRequest is the body of a subscription. Automatic is the event that made a client subscribe by itself.
type subscriptionRequest struct {
	Automatic *string `json:"automatic"`
}

type subscriptionResponse struct {
	Automatic bool `json:"automatic"`
}

// subscribeThread subscribes the requester to a thread. A client that does so by itself says because of which event; what
// happened before the user unsubscribed is no reason any more.
//
// Spec: MSC4306, PUT /_matrix/client/v1/rooms/{roomId}/thread/{eventId}/subscription
func (s *Server) subscribeThread(ctx context.Context, c *httpapi.Call, req *subscriptionRequest) (any, error) {
	r, root, err := s.threadInPath(ctx, c)
	if err != nil {
		return nil, err
	}
	cause := int64(0)
	if req.Automatic != nil {
		if cause, err = r.threadReply(ctx, root.EventID, *req.Automatic); err != nil {
			return nil, err
		}
	}
	return empty{}, r.saySubscription(ctx, root.EventID, func(now store.Update, subscribed bool) (string, error) {
		switch {
		case req.Automatic == nil:
			return subscribedManually, nil
		case subscribed:
			return string(now.Body), nil
		case now.Position > cause:
			return "", matrix.NewError(409, errConflictingUnsubscription, "the user has unsubscribed from the thread since that event")
		}
		return subscribedAutomatically, nil
	})
}

// unsubscribeThread ends the requester's subscription of a thread, if there is one.
//
// Spec: MSC4306, DELETE /_matrix/client/v1/rooms/{roomId}/thread/{eventId}/subscription
func (s *Server) unsubscribeThread(ctx context.Context, c *httpapi.Call) (any, error) {
	r, root, err := s.threadInPath(ctx, c)
	if err != nil {
		return nil, err
	}
	return empty{}, r.saySubscription(ctx, root.EventID, func(now store.Update, subscribed bool) (string, error) {
		if !subscribed {
			return string(now.Body), nil
		}
		return unsubscribed, nil
	})
}

// getThreadSubscription tells whether the requester subscribes to a thread.
//
// Spec: MSC4306, GET /_matrix/client/v1/rooms/{roomId}/thread/{eventId}/subscription
func (s *Server) getThreadSubscription(ctx context.Context, c *httpapi.Call) (any, error) {
	r, root, err := s.threadInPath(ctx, c)
	if err != nil {
		return nil, err
	}
	now, err := s.store.GetUpdate(ctx, store.KindThreadSubscription, r.room.NID, r.who.User, string(root.EventID))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("load thread subscription: %w", err)
	}
	if !isSubscribed(now) {
		return nil, matrix.NotFound("there is no subscription of this thread")
	}
	return subscriptionResponse{gjson.GetBytes(now.Body, "automatic").Bool()}, nil
}

func isSubscribed(u store.Update) bool {
	return len(u.Body) > 0 && !gjson.GetBytes(u.Body, "unsubscribed").Bool()
}

// threadInPath is the root of the thread in the path, M_NOT_FOUND when the requester may not see it or it relates to another event
// itself. It needs no replies yet: clients subscribe while they send the first one.
func (s *Server) threadInPath(ctx context.Context, c *httpapi.Call) (*reader, *store.Event, error) {
	r, root, err := s.visibleEvent(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	child, err := s.store.IsChild(ctx, r.room.NID, root.EventID)
	if err != nil {
		return nil, nil, fmt.Errorf("look up the root of a thread: %w", err)
	}
	if child {
		return nil, nil, matrix.NotFound("no thread begins with this event")
	}
	return r, root, nil
}

// threadReply is the position of an event of the thread.
func (r *reader) threadReply(ctx context.Context, root matrix.EventID, id string) (int64, error) {
	outside := matrix.NewError(400, errNotInThread, "automatic must be an event of the thread")
	reply, err := matrix.ParseEventID(id)
	if err != nil {
		return 0, matrix.InvalidParam("automatic must be an event id")
	}
	position, err := r.s.store.GetThreadReply(ctx, r.room.NID, root, reply)
	if errors.Is(err, store.ErrNotFound) || err == nil && !r.sight.CanSee(position) {
		return 0, outside
	}
	if err != nil {
		return 0, fmt.Errorf("look up a reply: %w", err)
	}
	return position, nil
}

// maxSubscriptionAttempts bounds how often two devices that say something at once are told apart.
const maxSubscriptionAttempts = 8

// saySubscription replaces what the user last said of a thread by what say makes of it; the same again, and nothing, change nothing.
func (r *reader) saySubscription(ctx context.Context, root matrix.EventID, say func(now store.Update, subscribed bool) (string, error)) error {
	for range maxSubscriptionAttempts {
		now, err := r.s.store.GetUpdate(ctx, store.KindThreadSubscription, r.room.NID, r.who.User, string(root))
		absent := errors.Is(err, store.ErrNotFound)
		if err != nil && !absent {
			return fmt.Errorf("load thread subscription: %w", err)
		}
		body, err := say(now, isSubscribed(now))
		if err != nil || body == string(now.Body) {
			return err
		}
		next := store.Update{
			Kind: store.KindThreadSubscription, RoomNID: r.room.NID, UserID: r.who.User, Key: string(root), Body: []byte(body),
			Replaces: now.Position,
		}
		if absent {
			next.Replaces = store.ReplacesNone
			if err := r.s.checkSubscriptions(ctx, r.who.User); err != nil {
				return err
			}
		}
		stored, err := r.s.journal.Replace(ctx, next)
		if err != nil {
			return fmt.Errorf("store thread subscription: %w", err)
		}
		if stored[0] {
			return nil
		}
	}
	return matrix.Unavailable(0)
}

func (s *Server) checkSubscriptions(ctx context.Context, user matrix.UserID) error {
	n, err := s.store.CountUserUpdates(ctx, user, store.KindThreadSubscription)
	if err != nil {
		return fmt.Errorf("count thread subscriptions: %w", err)
	}
	if n >= limits.ThreadSubscriptions {
		return matrix.NewError(400, matrix.ErrResourceLimitExceeded, "a user has at most %d thread subscriptions", limits.ThreadSubscriptions)
	}
	return nil
}
