package sync

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// Thread subscriptions as they are told: in sliding sync's extension io.element.msc4308.thread_subscriptions, and page by page in the
// endpoint beside it.
//
// Spec: MSC4308

// threadSubscriptionsPath is the companion of the extension, for what did not fit into an answer.
const threadSubscriptionsPath = "/_matrix/client/unstable/io.element.msc4308/thread_subscriptions"

// threadChanges are the newest changes of a user's thread subscriptions in a window of positions.
type threadChanges struct {
	list []store.ThreadSubscription
	// previous is the token from which the companion endpoint gives the changes that were left out, or empty if none were.
	previous string
}

// threadSubscriptions returns what changed with after < position <= upTo, at most the limit newest changes.
func (s *Server) threadSubscriptions(ctx context.Context, user matrix.UserID, after, upTo int64, limit int) (threadChanges, error) {
	list, err := s.cfg.Store.ListThreadSubscriptions(ctx, user, max(after, 0), upTo, limit+1)
	if err != nil {
		return threadChanges{}, fmt.Errorf("list thread subscriptions: %w", err)
	}
	c := threadChanges{list: list}
	if len(list) > limit {
		c.list = list[:limit]
		c.previous = journal.Token(list[limit].Position)
	}
	return c, nil
}

// empty reports whether there is nothing to tell.
func (c *threadChanges) empty() bool { return len(c.list) == 0 }

// appendTo appends the changes as an object; more names the token for the rest.
func (c *threadChanges) appendTo(dst []byte, more string) []byte {
	dst = append(dst, '{')
	start := len(dst)
	// Rooms together, in the order of their ids.
	list := slices.Clone(c.list)
	slices.SortStableFunc(list, func(a, b store.ThreadSubscription) int {
		if a.RoomID < b.RoomID {
			return -1
		}
		if a.RoomID > b.RoomID {
			return 1
		}
		return 0
	})
	for _, ended := range []bool{false, true} {
		dst = appendThreads(dst, list, ended, len(dst) == start)
	}
	if c.previous != "" {
		dst = appendComma(dst, len(dst) == start)
		dst = fmt.Appendf(dst, "%q:%q", more, c.previous)
	}
	return append(dst, '}')
}

// appendThreads appends the member with the subscribed or the unsubscribed threads, if there are any.
func appendThreads(dst []byte, list []store.ThreadSubscription, ended, first bool) []byte {
	var room matrix.RoomID
	for _, t := range list {
		if gjson.GetBytes(t.Body, "unsubscribed").Bool() != ended {
			continue
		}
		switch {
		case room == "":
			dst = appendComma(dst, first)
			dst = append(dst, map[bool]string{false: `"subscribed":{`, true: `"unsubscribed":{`}[ended]...)
		case room != t.RoomID:
			dst = append(dst, "},"...)
		default:
			dst = append(dst, ',')
		}
		if room != t.RoomID {
			dst = append(appendText(dst, string(t.RoomID)), `:{`...)
			room = t.RoomID
		}
		dst = append(appendText(dst, string(t.Root)), `:{`...)
		if !ended {
			dst = append(dst, `"automatic":`...)
			dst = append(strconv.AppendBool(dst, gjson.GetBytes(t.Body, "automatic").Bool()), ',')
		}
		dst = append(dst, `"bump_stamp":`...)
		dst = append(strconv.AppendInt(dst, t.Position, 10), '}')
	}
	if room != "" {
		dst = append(dst, "}}"...)
	}
	return dst
}

// listThreadSubscriptions gives the changes before a token, newest first.
//
// Spec: MSC4308, GET /_matrix/client/v1/thread_subscriptions
func (s *Server) listThreadSubscriptions(ctx context.Context, c *httpapi.Call) (any, error) {
	if dir := c.Query("dir"); dir != "" && dir != "b" {
		return nil, matrix.InvalidParam("dir must be b")
	}
	position := map[string]int64{"from": store.CurrentState, "to": 0}
	for name := range position {
		v := c.Query(name)
		if v == "" {
			continue
		}
		p, err := journal.ParseToken(v)
		if err != nil {
			return nil, matrix.InvalidParam("%s is not a token of this server", name)
		}
		position[name] = p
	}
	limit, err := c.QueryInt("limit", limits.ThreadSubscriptionsPage, 1, limits.ThreadSubscriptionsPage)
	if err != nil {
		return nil, err
	}
	changes, err := s.threadSubscriptions(ctx, c.Requester.User, position["to"], position["from"], limit)
	if err != nil {
		return nil, err
	}
	return httpapi.Raw(changes.appendTo(nil, "end")), nil
}
