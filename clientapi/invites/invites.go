// Package invites is what users have said about who may invite them: an account data event of the spec (§invite-permission), and the finer one
// of a proposal (MSC4155).
//
// An invite by somebody who is blocked is refused. One by somebody who is ignored is made, and its receiver is not told; neither is the
// receiver of one that was made before the rule.
//
// Spec: client-server v1.19 §invite-permission; MSC4380; MSC4155
package invites

import (
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/matrix"
)

// Types of account data that a Policy is made of.
const (
	TypePermission         = "m.invite_permission_config"
	TypePermissionUnstable = "org.matrix.msc4380.invite_permission_config"
	TypeFilter             = "org.matrix.msc4155.invite_permission_config"
	TypeIgnoredUsers       = "m.ignored_user_list"
)

// Types lists them.
var Types = []string{TypePermission, TypePermissionUnstable, TypeFilter, TypeIgnoredUsers}

// Decision is what becomes of an invite.
type Decision int

// Decisions.
const (
	Allow Decision = iota
	// Ignore: the invite is made, and the receiver is not told.
	Ignore
	// Block: the invite is refused.
	Block
)

// Policy says by whom a user may be invited. The zero value lets everybody. It does not change; With makes another.
type Policy struct {
	// server is who writes to the user in the name of the server, and may always invite.
	server               matrix.UserID
	block, blockUnstable bool
	filter               *filter
	ignored              map[matrix.UserID]struct{}
}

// Of is the policy of a user who has said nothing.
func Of(user matrix.UserID) Policy { return Policy{server: matrix.ServerNoticesUser(user.Domain())} }

// With returns the policy with one of the Types set to the content body; an empty one is as none. Other types change nothing.
func (p Policy) With(typ string, body []byte) Policy {
	switch typ {
	case TypePermission:
		p.block = gjson.GetBytes(body, "default_action").String() == "block"
	case TypePermissionUnstable:
		p.blockUnstable = gjson.GetBytes(body, "default_action").String() == "block"
	case TypeFilter:
		p.filter = parseFilter(body)
	case TypeIgnoredUsers:
		p.ignored = make(map[matrix.UserID]struct{})
		gjson.GetBytes(body, "ignored_users").ForEach(func(id, _ gjson.Result) bool {
			p.ignored[matrix.UserID(id.String())] = struct{}{}
			return true
		})
	}
	return p
}

// Decide says what becomes of an invite by a user.
func (p Policy) Decide(inviter matrix.UserID) Decision {
	if inviter == p.server {
		return Allow
	}
	if p.block || p.blockUnstable {
		return Block
	}
	if _, ignored := p.ignored[inviter]; ignored {
		return Ignore
	}
	if p.filter == nil {
		return Allow
	}
	return p.filter.decide(inviter)
}

// filter is the content of TypeFilter: lists of globs.
type filter struct {
	allowedUsers, ignoredUsers, blockedUsers       []string
	allowedServers, ignoredServers, blockedServers []string
}

// parseFilter returns nil for a filter that lets everybody: one that is off, or not valid.
func parseFilter(body []byte) *filter {
	if gjson.GetBytes(body, "enabled").Type == gjson.False {
		return nil
	}
	f := &filter{}
	for name, list := range map[string]*[]string{
		"allowed_users": &f.allowedUsers, "ignored_users": &f.ignoredUsers, "blocked_users": &f.blockedUsers,
		"allowed_servers": &f.allowedServers, "ignored_servers": &f.ignoredServers, "blocked_servers": &f.blockedServers,
	} {
		value := gjson.GetBytes(body, name)
		if !value.Exists() || value.Type == gjson.Null {
			continue
		}
		if !value.IsArray() {
			return nil
		}
		for _, v := range value.Array() {
			if v.Type != gjson.String {
				return nil
			}
			*list = append(*list, v.String())
		}
	}
	return f
}

// decide goes through the lists in the order of the proposal.
func (f *filter) decide(inviter matrix.UserID) Decision {
	user, server := string(inviter), hostname(inviter.Domain())
	for _, step := range []struct {
		globs    []string
		name     string
		decision Decision
	}{
		{f.allowedUsers, user, Allow}, {f.ignoredUsers, user, Ignore}, {f.blockedUsers, user, Block},
		{f.allowedServers, server, Allow}, {f.ignoredServers, server, Ignore}, {f.blockedServers, server, Block},
	} {
		if slices.ContainsFunc(step.globs, func(pattern string) bool { return glob(pattern, step.name) }) {
			return step.decision
		}
	}
	return Allow
}

// hostname is a server name without its port.
func hostname(server matrix.ServerName) string {
	name := string(server)
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, ']') {
		return name[:i]
	}
	return name
}

// glob matches a pattern in which * stands for any sequence of characters and ? for one. It remembers the last star only: what it stood
// for can always be made longer, and an earlier star need not change, so the work is at most the product of the lengths.
//
// Spec: appendices v1.19 §glob-style-matching
func glob(pattern, s string) bool {
	p, t := []rune(pattern), []rune(s)
	star, resume := -1, 0
	i, j := 0, 0
	for j < len(t) {
		switch {
		case i < len(p) && p[i] == '*':
			star, resume = i, j
			i++
		case i < len(p) && (p[i] == '?' || p[i] == t[j]):
			i++
			j++
		case star >= 0:
			resume++
			i, j = star+1, resume
		default:
			return false
		}
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}
