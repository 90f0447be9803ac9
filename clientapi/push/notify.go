package push

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbound"
	"github.com/roomline/roomline/internal/store"
)

// notifyRequest is what a gateway is told.
//
// Spec: push-gateway v1.19 §homeserver-behaviour
type notifyRequest struct {
	Notification notification `json:"notification"`
}

type notification struct {
	EventID           matrix.EventID   `json:"event_id,omitempty"`
	RoomID            matrix.RoomID    `json:"room_id,omitempty"`
	Type              string           `json:"type,omitempty"`
	Sender            matrix.UserID    `json:"sender,omitempty"`
	SenderDisplayName string           `json:"sender_display_name,omitempty"`
	RoomName          string           `json:"room_name,omitempty"`
	RoomAlias         string           `json:"room_alias,omitempty"`
	UserIsTarget      bool             `json:"user_is_target,omitempty"`
	Prio              string           `json:"prio"`
	Content           json.RawMessage  `json:"content,omitempty"`
	Counts            *notifyCounts    `json:"counts,omitempty"`
	Devices           [1]notifiedPhone `json:"devices"`
}

// notifyCounts has the number of unread messages even when it is 0: without it a gateway could not tell that the badge is to go. No
// missed calls are counted, and a count of 0 is left out.
type notifyCounts struct {
	Unread int `json:"unread"`
}

type notifiedPhone struct {
	AppID     string          `json:"app_id"`
	PushKey   string          `json:"pushkey"`
	PushKeyTS int64           `json:"pushkey_ts,omitempty"` // in seconds
	Data      json.RawMessage `json:"data"`
	Tweaks    json.RawMessage `json:"tweaks,omitempty"`
}

const (
	prioHigh = "high"
	prioLow  = "low"

	formatEventIDOnly = "event_id_only"
)

// answer is how a gateway took a notification.
type answer struct {
	// badge is what it was told, -1 if nothing.
	badge int
	// rejected: it does not want the push key, when asked.
	rejected bool
	asked    matrix.Timestamp
}

// errGateway is an answer of a gateway that is none.
var errGateway = errors.New("the gateway did not take it")

// tell tells a gateway of what waits for a pusher. There may be nothing left to tell: the event was redacted, or the badge is right.
func (s *Server) tell(ctx context.Context, p *store.Pusher, w store.PushQueued) (answer, error) {
	n := notification{Prio: prioLow, Devices: [1]notifiedPhone{{
		AppID: p.AppID, PushKey: p.PushKey, PushKeyTS: int64(p.PushKeyTS) / 1000, Data: gatewayData(p.Data),
	}}}
	nothing := answer{badge: -1}
	if w.Position > 0 {
		events, err := s.cfg.Store.ListEventsAt(ctx, []int64{w.Position})
		if err != nil {
			return answer{}, fmt.Errorf("load an event to push: %w", err)
		}
		if len(events) == 0 || events[0].RedactedBy != "" {
			return nothing, nil
		}
		if err := s.describe(ctx, &n, p, &events[0], w.Tweaks); err != nil {
			return answer{}, err
		}
	}
	said := nothing
	if !p.DisableBadgeCount {
		unread, err := s.badge(ctx, p.UserID, w.Position)
		if err != nil {
			return answer{}, err
		}
		said.badge = unread
		n.Counts = &notifyCounts{unread}
	}
	// Who was never told of anything needs not be told that there is nothing.
	if w.Position == 0 && said.badge == max(p.Badge, 0) || w.Position == 0 && n.Counts == nil {
		return said, nil
	}
	said.asked = s.now()
	rejected, err := s.notify(ctx, p.URL, notifyRequest{n})
	said.rejected = slices.Contains(rejected, p.PushKey)
	return said, err
}

// describe puts the event into the notification, in the format that the pusher wants.
func (s *Server) describe(ctx context.Context, n *notification, p *store.Pusher, e *store.Event, tweaks []byte) error {
	n.EventID, n.RoomID, n.Prio = e.EventID, e.RoomID, prio(e, tweaks)
	if gjson.GetBytes(p.Data, "format").String() == formatEventIDOnly {
		return nil
	}
	state, err := s.cfg.Store.ListStateAt(ctx, []store.KeyAt{
		{RoomNID: e.RoomNID, Type: typeMember, Key: string(e.Sender), At: store.CurrentState},
		{RoomNID: e.RoomNID, Type: "m.room.name", At: store.CurrentState},
		{RoomNID: e.RoomNID, Type: "m.room.canonical_alias", At: store.CurrentState},
	})
	if err != nil {
		return fmt.Errorf("load names to push: %w", err)
	}
	for i := range state {
		content := gjson.GetBytes(state[i].JSON, "content")
		switch state[i].Type {
		case typeMember:
			n.SenderDisplayName = content.Get("displayname").String()
		case "m.room.name":
			n.RoomName = content.Get("name").String()
		default:
			n.RoomAlias = content.Get("alias").String()
		}
	}
	n.Type, n.Sender, n.Devices[0].Tweaks = e.Type, e.Sender, tweaks
	n.UserIsTarget = e.Type == typeMember && e.StateKey != nil && *e.StateKey == string(p.UserID)
	n.Content = json.RawMessage(gjson.GetBytes(e.JSON, "content").Raw)
	return nil
}

// prio is high for what makes a sound or is highlighted, for calls, and for what nobody but the client can tell.
func prio(e *store.Event, tweaks []byte) string {
	switch e.Type {
	case "m.room.encrypted", "m.call.invite", "m.rtc.notification", "org.matrix.msc4075.rtc.notification":
		return prioHigh
	}
	if t := gjson.ParseBytes(tweaks); t.Get("sound").Exists() || t.Get("highlight").Type == gjson.True {
		return prioHigh
	}
	return prioLow
}

// gatewayData is the data that the client gave, without the url.
func gatewayData(data []byte) json.RawMessage {
	fields := make(map[string]json.RawMessage)
	if json.Unmarshal(data, &fields) != nil {
		return json.RawMessage("{}")
	}
	delete(fields, "url")
	text, _ := json.Marshal(fields)
	return text
}

// badge is how many messages the user has not read in all rooms, at a position at least; 0 is what push has come to.
func (s *Server) badge(ctx context.Context, user matrix.UserID, position int64) (int, error) {
	if position == 0 {
		var err error
		if position, err = s.cfg.Store.GetPushProgress(ctx); err != nil {
			return 0, fmt.Errorf("read the progress of push: %w", err)
		}
	}
	if err := s.cfg.Journal.WaitFor(ctx, position); err != nil {
		return 0, err
	}
	rooms, err := s.joinedRooms(ctx, user)
	if err != nil {
		return 0, err
	}
	all, err := s.Unread(ctx, user, rooms)
	if err != nil {
		return 0, fmt.Errorf("count what is unread: %w", err)
	}
	sum := 0
	for _, u := range all {
		sum += u.Total().Notifications
	}
	return sum, nil
}

func (s *Server) joinedRooms(ctx context.Context, user matrix.UserID) ([]int64, error) {
	list, err := s.cfg.Store.ListMemberships(ctx, user)
	if err != nil {
		return nil, fmt.Errorf("list memberships: %w", err)
	}
	var rooms []int64
	for _, m := range list {
		if m.Membership == memberJoin {
			rooms = append(rooms, m.RoomNID)
		}
	}
	return rooms, nil
}

// notify makes the request, and returns the push keys that the gateway does not want.
func (s *Server) notify(ctx context.Context, gateway string, body notifyRequest) (rejected []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, gatewayPatience)
	defer cancel()
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, gateway, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	client := s.cfg.Gateways
	if req.URL.Scheme == "http" {
		client = s.cfg.Inside
	}
	if client == nil {
		return nil, fmt.Errorf("%w: gateways must be https by now", errGateway)
	}
	resp, err := client.Do(req)
	if err != nil {
		// The error names the URL, in which an app may have put a secret.
		if failed, ok := errors.AsType[*url.Error](err); ok {
			err = failed.Err
		}
		return nil, fmt.Errorf("%w: %w", errGateway, err)
	}
	raw, err := outbound.Read(resp, limits.GatewayAnswer)
	if err != nil || resp.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("%w: status %d", errGateway, resp.StatusCode), err)
	}
	if gjson.ValidBytes(raw) {
		for _, key := range gjson.GetBytes(raw, "rejected").Array() {
			rejected = append(rejected, key.String())
		}
	}
	return rejected, nil
}
