package search

import (
	"encoding/base64"
	"encoding/json"
	"slices"

	"github.com/roomline/roomline/clientapi/filter"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
	"github.com/roomline/roomline/roomserver/view"
)

// request is the body of POST /search.
type request struct {
	Categories *struct {
		RoomEvents *criteria `json:"room_events"`
	} `json:"search_categories"`
}

// criteria say which events are searched for and what is told of them.
type criteria struct {
	Term    *string         `json:"search_term"`
	Keys    []string        `json:"keys"`
	Filter  json.RawMessage `json:"filter"`
	OrderBy string          `json:"order_by"`
	Context *struct {
		Before         *int `json:"before_limit"`
		After          *int `json:"after_limit"`
		IncludeProfile bool `json:"include_profile"`
	} `json:"event_context"`
	IncludeState bool `json:"include_state"`
	Groupings    struct {
		GroupBy []struct {
			Key string `json:"key"`
		} `json:"group_by"`
	} `json:"groupings"`
}

// The keys that are searched, with the event type that has each.
var keys = []struct {
	name, eventType string
	kind            int
}{
	{"content.body", "m.room.message", store.SearchBody},
	{"content.name", "m.room.name", store.SearchName},
	{"content.topic", "m.room.topic", store.SearchTopic},
}

const (
	byRoom   = "room_id"
	bySender = "sender"
)

// answer is a search on its way to its answer.
type answer struct {
	s   *Server
	who *httpapi.Requester
	req *criteria

	query         query
	filter        *filter.RoomEventFilter
	kinds         []int
	limit         int
	before, after int
	at            place

	rooms   []store.SearchRoom
	ids     map[int64]matrix.RoomID
	visible map[int64]*roomserver.Visibility
	ignored []matrix.UserID

	matches []store.SearchMatch
	count   int
	more    bool

	results  []*result
	related  view.Related
	profiles map[profileKey]profile
	state    map[int64][]*store.Event
	// redactions are those of the state.
	redactions view.Related
}

func (a *answer) ranked() bool { return a.req.OrderBy != "recent" }

// parse checks what the client wants.
func (a *answer) parse(token string) error {
	if a.req.Term == nil {
		return matrix.MissingParam("search_term is missing")
	}
	if len(*a.req.Term) > limits.QueryText {
		return matrix.InvalidParam("search_term is longer than %d bytes", limits.QueryText)
	}
	a.query = parseQuery(*a.req.Term)
	if o := a.req.OrderBy; o != "" && o != "recent" && o != "rank" {
		return matrix.InvalidParam("order_by must be recent or rank")
	}
	for _, g := range a.req.Groupings.GroupBy {
		if g.Key != byRoom && g.Key != bySender {
			return matrix.InvalidParam("groupings: key must be room_id or sender")
		}
	}
	var err error
	if a.filter, err = filter.ParseRoomEvents(string(a.req.Filter)); err != nil {
		return err
	}
	a.limit = limits.PageDefault
	if l := a.filter.Limit; l != nil {
		a.limit = min(max(*l, 1), limits.SearchPage)
	}
	if err := a.parseKeys(); err != nil {
		return err
	}
	if err := a.parseContext(); err != nil {
		return err
	}
	return a.at.parse(token)
}

// parseKeys finds the kinds of documents that are searched: those of the keys whose event type the filter lets through.
func (a *answer) parseKeys() error {
	for _, name := range a.req.Keys {
		if !slices.ContainsFunc(keys, func(k struct {
			name, eventType string
			kind            int
		}) bool {
			return k.name == name
		}) {
			return matrix.InvalidParam("keys: %q can't be searched", name)
		}
	}
	types := filter.EventFilter{Types: a.filter.Types, NotTypes: a.filter.NotTypes}
	for _, k := range keys {
		if (a.req.Keys == nil || slices.Contains(a.req.Keys, k.name)) && types.Match(k.eventType, "") {
			a.kinds = append(a.kinds, k.kind)
		}
	}
	return nil
}

func (a *answer) parseContext() error {
	if a.req.Context == nil {
		return nil
	}
	for _, side := range []struct {
		limit *int
		to    *int
		name  string
	}{{a.req.Context.Before, &a.before, "before_limit"}, {a.req.Context.After, &a.after, "after_limit"}} {
		*side.to = 5
		if side.limit == nil {
			continue
		}
		if *side.limit < 0 {
			return matrix.InvalidParam("event_context: %s must not be negative", side.name)
		}
		*side.to = min(*side.limit, limits.SearchContext)
	}
	return nil
}

// place is where a page begins.
type place struct {
	// Before is the position that all matches lie before; of a ranked search it is the same for all pages.
	Before int64 `json:"b"`
	// Rank and Position are those of the last match of the page before, when they are ranked.
	Rank     float32 `json:"r,omitempty"`
	Position int64   `json:"p,omitempty"`
	// Seen is how many matches came before, Count how many there were in all when the first page was asked for.
	Seen  int `json:"n,omitempty"`
	Count int `json:"c,omitempty"`
	// Room and Sender are those of the group that the page is of.
	Room   matrix.RoomID `json:"room,omitempty"`
	Sender matrix.UserID `json:"sender,omitempty"`
}

func (p *place) parse(token string) error {
	if token == "" {
		p.Before = store.CurrentState
		return nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || json.Unmarshal(raw, p) != nil || p.Before <= 0 || p.Position < 0 || p.Seen < 0 || p.Count < 0 {
		return matrix.InvalidParam("next_batch is not a token of this server")
	}
	_, room := matrix.ParseRoomID(string(p.Room))
	_, sender := matrix.ParseUserID(string(p.Sender))
	if p.Room != "" && room != nil || p.Sender != "" && sender != nil {
		return matrix.InvalidParam("next_batch is not a token of this server")
	}
	return nil
}

func (p *place) token() string {
	raw, err := json.Marshal(p)
	if err != nil {
		panic("search: a place can always be encoded: " + err.Error())
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

// next is the place behind a match.
func (a *answer) next(m store.SearchMatch, newest int64) place {
	p := place{Room: a.at.Room, Sender: a.at.Sender, Seen: a.at.Seen + len(a.matches), Count: a.count}
	if a.ranked() {
		p.Before, p.Rank, p.Position = min(a.at.Before, newest+1), m.Rank, m.Position
		return p
	}
	p.Before = m.Position
	return p
}
