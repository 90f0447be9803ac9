package push

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

const (
	// followerPatience is how long a list of notifications waits for the follower; followerPause is how long before it looks again.
	followerPatience = 2 * time.Second
	followerPause    = 10 * time.Millisecond
	// scanAtOnce and maxScans bound the events that are looked at for one page. A page may be short and not the last.
	scanAtOnce = 200
	maxScans   = 10
)

// Notified is an event that a user was notified of.
type Notified struct {
	Event   store.Event
	Actions []json.RawMessage
	Read    bool
}

// Notifications returns what the user was notified of in the rooms they are in, newest first, at most limit, before a position (0: the
// newest). next is the position to go on before, 0 if there is no more.
func (s *Server) Notifications(ctx context.Context, user matrix.UserID, before int64, limit int, onlyHighlights bool) (list []Notified, next int64, err error) {
	if before <= 0 {
		// What another process has told the user of counts, too: the database is asked, not the journal of this process.
		newest, err := s.cfg.Store.GetPosition(ctx)
		if err != nil {
			return nil, 0, fmt.Errorf("read the journal's position: %w", err)
		}
		if err := s.waitForFollower(ctx, newest); err != nil {
			return nil, 0, err
		}
		before = newest + 1
	}
	nids, err := s.joinedRooms(ctx, user)
	if err != nil {
		return nil, 0, err
	}
	n, err := s.newNotifier(ctx, user, nids)
	if err != nil {
		return nil, 0, err
	}
	for range maxScans {
		found, err := s.cfg.Store.ListNotifications(ctx, user, n.windows(before), scanAtOnce)
		if err != nil {
			return nil, 0, fmt.Errorf("list notifications: %w", err)
		}
		for i := range found {
			if o := n.decide(&found[i]); o.Actions != nil && (!onlyHighlights || o.highlight) {
				list = append(list, o.Notified)
			}
			before = found[i].Position
			if len(list) == limit {
				return list, before, nil
			}
		}
		if len(found) < scanAtOnce {
			return list, 0, nil
		}
	}
	return list, before, nil
}

// waitForFollower waits until the follower has come to a position, but not long: what it has stored is better than nothing.
func (s *Server) waitForFollower(ctx context.Context, position int64) error {
	for end := time.Now().Add(followerPatience); ; {
		progress, err := s.cfg.Store.GetPushProgress(ctx)
		if err != nil {
			return fmt.Errorf("read the progress of push: %w", err)
		}
		if progress >= position || time.Now().After(end) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(followerPause):
		}
	}
}

// notifier judges events for a user.
type notifier struct {
	user     matrix.UserID
	rules    *program
	ignored  map[matrix.UserID]bool
	standing map[int64]*standing
}

func (s *Server) newNotifier(ctx context.Context, user matrix.UserID, rooms []int64) (*notifier, error) {
	n := &notifier{user: user, rules: defaultProgram}
	data, err := s.cfg.Store.ListGlobalAccountData(ctx, []matrix.UserID{user}, []string{TypeRules, typeIgnored})
	if err != nil {
		return nil, fmt.Errorf("load push rules: %w", err)
	}
	for _, up := range data {
		if up.Key == typeIgnored {
			n.ignored = parseIgnored(up.Body)
		} else if set, err := Parse(user, up.Body); err == nil {
			n.rules = newProgram(set, up.Position)
		}
	}
	if n.standing, err = s.counts.standings(ctx, user, rooms, false); err != nil {
		return nil, err
	}
	read, err := s.cfg.Store.ListReadUpTo(ctx, user, rooms)
	if err != nil {
		return nil, fmt.Errorf("load receipts: %w", err)
	}
	for _, r := range read {
		n.standing[r.RoomNID].read(r.Key, r.Position)
	}
	return n, nil
}

func (n *notifier) windows(before int64) []store.Window {
	list := make([]store.Window, 0, len(n.standing))
	for nid, st := range n.standing {
		if st.joined > 0 && st.joined < before-1 {
			list = append(list, store.Window{RoomNID: nid, After: st.joined, UpTo: before - 1})
		}
	}
	return list
}

type judged struct {
	Notified
	highlight bool
}

// decide returns what the rules do with an event, without actions if they do not notify.
func (n *notifier) decide(e *store.Notification) judged {
	var o outcome
	var actions []json.RawMessage
	switch {
	case n.ignored[e.Sender]:
	case e.Own != nil:
		o.notify, o.highlight = e.Own.Notify, e.Own.Highlight
		if json.Unmarshal(e.Own.Actions, &actions) != nil {
			actions = nil
		}
	default:
		m := mask(e.Fact.Mask)
		if e.Mentioned {
			m |= predefined.bits[ruleUserMention]
		}
		if o, _ = n.rules.decide(e.RoomID, m, nil); o.rule != nil {
			actions = o.rule.Actions
		}
	}
	if !o.notify {
		return judged{}
	}
	read := e.Position <= n.standing[e.RoomNID].after(e.Fact.Thread)
	return judged{Notified{Event: e.Event, Actions: actions, Read: read}, o.highlight}
}
