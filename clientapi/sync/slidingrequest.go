package sync

import (
	"encoding/json"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/roomline/roomline/clientapi/presence"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/strictjson"
)

// slidingRequest is what a client asks sliding sync for.
type slidingRequest struct {
	conn     store.SlidingConnection
	stable   bool // the form of /v4
	pos      slidingPos
	initial  bool
	timeout  time.Duration
	presence string
	txnID    *string
	*slidingConfig
}

// slidingConfig is that part of a request which stays the same from one to the next as long as the client looks at the same
// screen. It is parsed once.
type slidingConfig struct {
	lists         []slidingList // by name
	subscriptions map[matrix.RoomID]*roomConfig
	extensions    slidingExtensions
	// hash tells whether the next request asks for the same.
	hash uint32
}

type slidingList struct {
	name string
	// ranges are inclusive; all is without ranges.
	ranges  [][2]int
	all     bool
	filters *slidingFilters
	config  *roomConfig
}

// roomConfig is what is to be told of a room.
type roomConfig struct {
	limit    int
	required *required
	// alone is the config of a room that no other rule is for.
	alone *combined
}

// slidingFilters choose a list's rooms. A nil field lets every room through.
//
// Spec: MSC4186, SlidingRoomFilter
type slidingFilters struct {
	DM           *bool     `json:"is_dm"`
	Encrypted    *bool     `json:"is_encrypted"`
	Invited      *bool     `json:"is_invited"`
	Invite       *bool     `json:"is_invite"` // the unstable name
	RoomTypes    []*string `json:"room_types"`
	NotRoomTypes []*string `json:"not_room_types"`
	Spaces       []string  `json:"spaces"`
	Tags         []string  `json:"tags"`
	NotTags      []string  `json:"not_tags"`
}

// slidingBody is a request's body; the endpoint below /v4 has pos, timeout and set_presence in it, the unstable one in the query.
type slidingBody struct {
	ConnID        string          `json:"conn_id"`
	TxnID         *string         `json:"txn_id"`
	Pos           string          `json:"pos"`
	Timeout       int64           `json:"timeout"`
	Presence      string          `json:"set_presence"`
	Lists         json.RawMessage `json:"lists"`
	Subscriptions json.RawMessage `json:"room_subscriptions"`
	Extensions    json.RawMessage `json:"extensions"`
}

type roomBody struct {
	Limit    *int64          `json:"timeline_limit"`
	Required json.RawMessage `json:"required_state"`
}

type listBody struct {
	roomBody
	Ranges  [][]int64       `json:"ranges"`
	Range   []int64         `json:"range"`
	Filters *slidingFilters `json:"filters"`
}

// slidingKey names a parsed config. $ME makes it the user's.
type slidingKey struct {
	user   matrix.UserID
	stable bool
	text   string
}

// maxSlidingConfigs and maxSlidingText bound the memory of parsed configs (times two).
const (
	maxSlidingConfigs = 500
	maxSlidingText    = 16 << 10
)

// parseSliding reads a request in either form.
func (s *Server) parseSliding(c *httpapi.Call, body *slidingBody, stable bool) (*slidingRequest, error) {
	r := &slidingRequest{
		conn:   store.SlidingConnection{User: c.Requester.User, Device: c.Requester.Device, ID: body.ConnID},
		stable: stable, txnID: body.TxnID,
	}
	if len(body.ConnID) > limits.SlidingName {
		return nil, matrix.InvalidParam("conn_id is too long")
	}
	if !stable {
		timeout, err := c.QueryInt("timeout", 0, 0, int(limits.SyncTimeout/time.Millisecond))
		if err != nil {
			return nil, err
		}
		body.Pos, body.Timeout, body.Presence = c.Query("pos"), int64(timeout), c.Query("set_presence")
	}
	if body.Timeout < 0 {
		return nil, matrix.InvalidParam("timeout must not be negative")
	}
	r.timeout = time.Duration(min(body.Timeout, int64(limits.SyncTimeout/time.Millisecond))) * time.Millisecond
	if r.presence = body.Presence; r.presence != "" && !presence.Valid(r.presence) {
		return nil, matrix.InvalidParam("set_presence must be online, offline, unavailable or busy")
	}
	if r.initial = body.Pos == ""; !r.initial {
		var ok bool
		if r.pos, ok = parsePos(body.Pos); !ok || r.pos.bind != bindOf(r.conn) {
			return nil, matrix.UnknownPos()
		}
	}
	key := slidingKey{r.conn.User, stable, string(body.Lists) + "\x00" + string(body.Subscriptions) + "\x00" + string(body.Extensions)}
	config, ok := s.slidingConfigs.get(key)
	if !ok {
		var err error
		if config, err = parseSlidingConfig(body, key); err != nil {
			return nil, err
		}
		if len(key.text) <= maxSlidingText {
			s.slidingConfigs.put(key, config)
		}
	}
	r.slidingConfig = config
	return r, nil
}

func parseSlidingConfig(body *slidingBody, key slidingKey) (*slidingConfig, error) {
	config := &slidingConfig{subscriptions: make(map[matrix.RoomID]*roomConfig)}
	h := fnv.New32a()
	h.Write([]byte(key.text))
	config.hash = h.Sum32()
	var lists map[string]*listBody
	if err := decodePart(body.Lists, &lists); err != nil {
		return nil, err
	}
	if len(lists) > limits.SlidingLists {
		return nil, matrix.InvalidParam("lists: at most %d are possible", limits.SlidingLists)
	}
	for name, b := range lists {
		list, err := parseList(name, b, key)
		if err != nil {
			return nil, err
		}
		config.lists = append(config.lists, list)
	}
	slices.SortFunc(config.lists, func(x, y slidingList) int { return strings.Compare(x.name, y.name) })
	var subscriptions map[string]*roomBody
	if err := decodePart(body.Subscriptions, &subscriptions); err != nil {
		return nil, err
	}
	if len(subscriptions) > limits.SlidingSubscriptions {
		return nil, matrix.InvalidParam("room_subscriptions: at most %d are possible", limits.SlidingSubscriptions)
	}
	for name, b := range subscriptions {
		id, err := matrix.ParseRoomID(name)
		if err != nil {
			return nil, matrix.InvalidParam("room_subscriptions: %q is not a room id", name)
		}
		if config.subscriptions[id], err = b.parse(key); err != nil {
			return nil, err
		}
	}
	return config, config.extensions.parse(body.Extensions)
}

// decodePart decodes a part of a body; one that is missing or null is empty.
func decodePart(raw json.RawMessage, into any) error {
	if len(raw) == 0 {
		return nil
	}
	return strictjson.Decode(raw, into)
}

func parseList(name string, b *listBody, key slidingKey) (slidingList, error) {
	list := slidingList{name: name}
	if b == nil {
		return list, matrix.InvalidParam("lists: %q must be an object", name)
	}
	if len(name) > limits.SlidingName || key.stable && !isOpaque(name) {
		return list, matrix.InvalidParam("lists: a name has up to %d characters, of letters, digits and - . _ ~", limits.SlidingName)
	}
	var err error
	if list.config, err = b.roomBody.parse(key); err != nil {
		return list, err
	}
	ranges := b.Ranges
	if b.Range != nil {
		ranges = append(ranges, b.Range)
	}
	if len(ranges) > limits.SlidingRanges {
		return list, matrix.InvalidParam("ranges: at most %d are possible", limits.SlidingRanges)
	}
	for _, r := range ranges {
		if len(r) != 2 || r[0] < 0 || r[1] < r[0] {
			return list, matrix.InvalidParam("a range has two indexes, the second not before the first")
		}
		list.ranges = append(list.ranges, [2]int{int(r[0]), int(r[1])})
	}
	list.all = b.Ranges == nil && b.Range == nil
	if list.filters = b.Filters; list.filters != nil {
		f := list.filters
		if f.Invited == nil {
			f.Invited = f.Invite
		}
		if max(len(f.RoomTypes), len(f.NotRoomTypes), len(f.Spaces), len(f.Tags), len(f.NotTags)) > limits.SlidingFilterList {
			return list, matrix.InvalidParam("filters: a list has at most %d elements", limits.SlidingFilterList)
		}
	}
	return list, nil
}

// isOpaque checks the grammar of names that mean nothing.
//
// Spec: appendices v1.19 §opaque-identifiers
func isOpaque(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0) {
			return false
		}
	}
	return s != ""
}

func (b *roomBody) parse(key slidingKey) (*roomConfig, error) {
	if b == nil || b.Limit == nil {
		return nil, matrix.InvalidParam("timeline_limit is missing")
	}
	if *b.Limit < 0 {
		return nil, matrix.InvalidParam("timeline_limit must not be negative")
	}
	config := &roomConfig{limit: int(min(*b.Limit, limits.TimelineMax))}
	var err error
	if key.stable {
		var body requiredBody
		if err = decodePart(b.Required, &body); err != nil {
			return nil, err
		}
		config.required = body.required()
	} else {
		var pairs [][]string
		if err = decodePart(b.Required, &pairs); err != nil {
			return nil, err
		}
		if config.required, err = fromPairs(pairs, key.user); err != nil {
			return nil, err
		}
	}
	if len(config.required.include)+len(config.required.exclude) > limits.SlidingRequiredState {
		return nil, matrix.InvalidParam("required_state: at most %d elements are possible", limits.SlidingRequiredState)
	}
	config.alone = combinationOf(config.limit, []*required{config.required})
	return config, nil
}

// slidingPos is a position of a connection: what its client has been told is everything that the state of that version says, up to
// a position of the journal.
//
// Most requests change nothing but the position. It is in the token, so that nothing has to be stored for them.
type slidingPos struct {
	position int64
	// version of the state, 0 when no room has been told of.
	version int64
	// told are the extensions that are told once and then kept up to date.
	told byte
	// config is the hash of the config that was answered in full at this position.
	config uint32
	// bind is a hash of the connection that the token is for.
	bind uint32
}

// String gives the token. It begins like a token of /sync, so that it can be used where one of those can.
func (p slidingPos) String() string {
	b := strconv.AppendInt([]byte{'s'}, p.position, 10)
	for _, n := range []int64{p.version, int64(p.told), int64(p.config), int64(p.bind)} {
		b = strconv.AppendInt(append(b, '~'), n, 36)
	}
	return string(b)
}

func parsePos(s string) (p slidingPos, ok bool) {
	parts := strings.Split(s, "~")
	if len(s) > 100 || len(parts) != 5 || !strings.HasPrefix(parts[0], "s") {
		return p, false
	}
	var n [5]uint64
	for i, part := range parts {
		base, bits := 36, [5]int{63, 63, 8, 32, 32}[i]
		if i == 0 {
			part, base = part[1:], 10
		}
		var err error
		if n[i], err = strconv.ParseUint(part, base, bits); err != nil {
			return p, false
		}
	}
	return slidingPos{int64(n[0]), int64(n[1]), byte(n[2]), uint32(n[3]), uint32(n[4])}, true
}

// bindOf is the hash of a connection. It keeps tokens apart and is no secret: a state is only ever looked for among those of the
// connection.
func bindOf(c store.SlidingConnection) uint32 {
	h := fnv.New32a()
	h.Write([]byte(string(c.User) + "\x00" + string(c.Device) + "\x00" + c.ID))
	return h.Sum32()
}
