package sync

import (
	"cmp"
	"hash/fnv"
	"slices"

	"github.com/roomline/roomline/internal/matrix"
)

// element matches state by type and state key.
type element struct {
	typ, key        string
	anyType, anyKey bool
}

func (el *element) matches(typ, key string) bool {
	return (el.anyType || el.typ == typ) && (el.anyKey || el.key == key)
}

// required is one required_state, in the form of either endpoint.
//
// Spec: MSC4186, RequiredStateRequest
type required struct {
	include, exclude []element
	// lazy: of the members only those are sent that the timeline shows, and those that are named.
	lazy bool
	// hash stands for all of it in what is remembered of a connection.
	hash uint64
}

// seal fills in the hash.
func (r *required) seal() *required {
	h := fnv.New64a()
	for i, list := range [][]element{r.include, r.exclude} {
		for _, el := range list {
			h.Write([]byte{byte(i), bitOf(el.anyType), bitOf(el.anyKey)})
			h.Write([]byte(el.typ + "\x00" + el.key + "\x00"))
		}
	}
	h.Write([]byte{bitOf(r.lazy)})
	r.hash = h.Sum64()
	return r
}

func bitOf(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// included reports whether an element stands for the state. With lazy members a wildcard for state keys stands for no member.
func (r *required) included(el *element, typ, key string) bool {
	return el.matches(typ, key) && !(r.lazy && el.anyKey && typ == typeMember)
}

func (r *required) matches(typ, key string) bool {
	return slices.ContainsFunc(r.include, func(el element) bool { return r.included(&el, typ, key) }) &&
		!slices.ContainsFunc(r.exclude, func(el element) bool { return el.matches(typ, key) })
}

// allMembers reports whether every member event is asked for.
func (r *required) allMembers() bool {
	covers := func(el element) bool { return el.anyKey && (el.anyType || el.typ == typeMember) }
	return !r.lazy && slices.ContainsFunc(r.include, covers) && !slices.ContainsFunc(r.exclude, covers)
}

// combined is the config of a room that matches several rules: state that any of them asks for, and the longest timeline.
//
// Spec: MSC4186 §combining-room-configs
type combined struct {
	parts  []*required // sorted by hash, each once
	hashes []uint64    // of the parts
	limit  int
	lazy   bool
	all    bool // all members
	read   wanted
}

// combine adds a room config. nil is none yet.
func (c *combined) combine(r *roomConfig) *combined {
	if c == nil {
		return r.alone
	}
	if r.limit <= c.limit && slices.Contains(c.hashes, r.required.hash) {
		return c
	}
	return combinationOf(max(r.limit, c.limit), append([]*required{r.required}, c.parts...))
}

func combinationOf(limit int, parts []*required) *combined {
	sum := &combined{limit: limit, parts: parts}
	slices.SortFunc(sum.parts, func(x, y *required) int { return cmp.Compare(x.hash, y.hash) })
	sum.parts = slices.CompactFunc(sum.parts, func(x, y *required) bool { return x.hash == y.hash })
	for _, p := range sum.parts {
		sum.hashes = append(sum.hashes, p.hash)
		sum.all = sum.all || p.allMembers()
		sum.lazy = sum.lazy || p.lazy
	}
	sum.lazy = sum.lazy && !sum.all
	sum.read = sum.wanted()
	return sum
}

func (c *combined) matches(typ, key string) bool {
	return slices.ContainsFunc(c.parts, func(r *required) bool { return r.matches(typ, key) })
}

// split parts the config into what a client that was sent the parts of earlier hashes knows, and what is new to it.
func (c *combined) split(earlier []uint64) (known, added *combined) {
	var old, fresh []*required
	for _, p := range c.parts {
		if slices.Contains(earlier, p.hash) {
			old = append(old, p)
		} else {
			fresh = append(fresh, p)
		}
	}
	return combinationOf(0, old), combinationOf(0, fresh)
}

// wanted is what has to be read to find the state that a config asks for.
type wanted struct {
	keys  []stateKey
	types []string
	// whole: everything has to be looked at; noMembers: but the members, besides those in keys.
	whole, noMembers bool
}

func (c *combined) wanted() wanted {
	w := wanted{noMembers: true}
	for _, p := range c.parts {
		for _, el := range p.include {
			members := (el.anyType || el.typ == typeMember) && el.anyKey
			switch {
			case el.anyType && el.anyKey:
				w.whole = true
			case el.anyType:
				w.whole = true
				w.keys = append(w.keys, stateKey{typeMember, el.key})
			case el.anyKey && !(p.lazy && members):
				w.types = append(w.types, el.typ)
			case !el.anyKey:
				w.keys = append(w.keys, stateKey{el.typ, el.key})
			}
			if members && !p.lazy {
				w.noMembers = false
			}
		}
	}
	slices.Sort(w.types)
	w.types = slices.Compact(w.types)
	if w.whole {
		w.types = nil
		w.keys = slices.DeleteFunc(w.keys, func(k stateKey) bool { return k.typ != typeMember || !w.noMembers })
	}
	slices.SortFunc(w.keys, func(x, y stateKey) int { return cmp.Or(cmp.Compare(x.typ, y.typ), cmp.Compare(x.key, y.key)) })
	w.keys = slices.Compact(w.keys)
	return w
}

// fromPairs reads the unstable form: pairs of type and state key, with * for any, $ME for the user and $LAZY for lazy members.
func fromPairs(pairs [][]string, user matrix.UserID) (*required, error) {
	r := new(required)
	for _, pair := range pairs {
		if len(pair) != 2 {
			return nil, matrix.InvalidParam("required_state: each element has an event type and a state key")
		}
		el := element{typ: pair[0], key: pair[1]}
		if el.typ == "*" {
			el.typ, el.anyType = "", true
		}
		switch {
		case el.key == "$LAZY" && el.typ == typeMember:
			r.lazy = true
			continue
		case el.key == "$ME":
			el.key = string(user)
		case el.key == "*":
			el.key, el.anyKey = "", true
		}
		r.include = append(r.include, el)
	}
	return r.seal(), nil
}

// requiredBody is the form of the endpoint below /v4.
type requiredBody struct {
	Include []elementBody `json:"include"`
	Exclude []elementBody `json:"exclude"`
	Lazy    bool          `json:"lazy_members"`
}

type elementBody struct {
	Type *string `json:"type"`
	Key  *string `json:"state_key"`
}

func (b *requiredBody) required() *required {
	elements := func(list []elementBody) []element {
		var all []element
		for _, body := range list {
			el := element{anyType: body.Type == nil, anyKey: body.Key == nil}
			if body.Type != nil {
				el.typ = *body.Type
			}
			if body.Key != nil {
				el.key = *body.Key
			}
			all = append(all, el)
		}
		return all
	}
	r := &required{include: elements(b.Include), exclude: elements(b.Exclude), lazy: b.Lazy}
	return r.seal()
}
