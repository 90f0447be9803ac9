package presence

import (
	"encoding/json"
	"time"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// body is what the journal keeps of a user's presence: times are absolute, because nobody knows when it will be read.
type body struct {
	Presence     string           `json:"presence"`
	StatusMsg    string           `json:"status_msg,omitempty"`
	LastActiveTS matrix.Timestamp `json:"last_active_ts"`
	Active       bool             `json:"currently_active"`
	// ChangedTS is when the presence became so; changes that nobody asked for keep a distance from it.
	ChangedTS matrix.Timestamp `json:"changed_ts"`
}

// status is the content of m.presence and the answer of GET …/status.
type status struct {
	Presence      string `json:"presence"`
	LastActiveAgo *int64 `json:"last_active_ago,omitempty"`
	StatusMsg     string `json:"status_msg,omitempty"`
	Active        *bool  `json:"currently_active,omitempty"`
}

// EventContent turns a stored body (store.KindPresence) into the content of an m.presence event as it is read now.
//
// Spec: client-server v1.19 §last-active-ago
func EventContent(stored []byte, now matrix.Timestamp) []byte {
	content, err := json.Marshal(parse(stored).at(now))
	if err != nil {
		return []byte(`{"presence":"offline"}`)
	}
	return content
}

// As is a stored body as far as somebody may see it.
func As(stored []byte, sight store.PresenceSight) []byte {
	if sight.Presence && sight.Phone {
		return stored
	}
	seen, err := json.Marshal(parse(stored).as(sight))
	if err != nil {
		return []byte(`{"presence":"offline"}`)
	}
	return seen
}

// as leaves out what somebody may not see: that a user is on the phone, or everything but that.
func (b body) as(sight store.PresenceSight) body {
	switch {
	case isBusy(b.Presence) && !sight.Phone:
		b.Presence = Unavailable
	case !isBusy(b.Presence) && !sight.Presence:
		return body{Presence: Offline}
	}
	if !sight.Presence {
		return body{Presence: b.Presence}
	}
	return b
}

func parse(stored []byte) body {
	var b body
	if json.Unmarshal(stored, &b) != nil || !Valid(b.Presence) {
		return body{Presence: Offline}
	}
	return b
}

func (b body) at(now matrix.Timestamp) status {
	st := status{Presence: b.Presence, StatusMsg: b.StatusMsg}
	if b.LastActiveTS > 0 {
		ago := max(0, int64(now-b.LastActiveTS))
		st.LastActiveAgo = &ago
	}
	if b.Presence == Online {
		st.Active = &b.Active
	}
	return st
}

// sum is a user's presence as the devices make it: see the package comment.
func sum(devices []store.PresenceDevice, now matrix.Timestamp, idleAfter time.Duration) (presence string, active matrix.Timestamp) {
	presence = Offline
	for _, d := range devices {
		active = max(active, d.ActiveTS)
		switch {
		case isBusy(presence):
		case isBusy(d.State):
			presence = d.State // with no look at the last activity: who is in a call may not touch anything
		case d.State == Online && int64(now-d.ActiveTS) <= idleAfter.Milliseconds():
			presence = Online
		case d.State != Offline && presence == Offline:
			presence = Unavailable
		}
	}
	return presence, active
}

// next is what b becomes with the devices; b itself if nothing changes. wait is > 0 when less than pause has passed since
// the last change.
func (b body) next(devices []store.PresenceDevice, now matrix.Timestamp, idleAfter, pause time.Duration) (after body, wait time.Duration) {
	presence, active := sum(devices, now, idleAfter)
	if presence == b.Presence {
		return b, 0
	}
	// A clock that was set back must not silence anybody for long.
	since := time.Duration(now-b.ChangedTS) * time.Millisecond
	if since >= 0 && since < pause {
		return b, pause - since
	}
	b.Presence, b.ChangedTS = presence, now
	b.Active = presence == Online
	b.LastActiveTS = max(b.LastActiveTS, active)
	return b, 0
}

func (b body) update(id matrix.UserID, replaces int64) store.Update {
	if replaces == 0 {
		replaces = store.ReplacesNone
	}
	encoded, err := json.Marshal(b)
	if err != nil {
		panic("presence: a body can always be encoded: " + err.Error())
	}
	return store.Update{Kind: store.KindPresence, UserID: id, Body: encoded, Replaces: replaces}
}
