package invites

import (
	"strings"
	"testing"

	"github.com/roomline/roomline/internal/matrix"
)

func TestDecisionsFollowTheOrderOfTheProposal(t *testing.T) {
	t.Parallel()
	const bob, eve, port = "@bob:good.test", "@eve:bad.test", "@pat:bad.test:8448"
	for _, tc := range []struct {
		typ, body string
		inviter   matrix.UserID
		want      Decision
	}{
		{TypePermission, `{"default_action":"block"}`, bob, Block},
		{TypePermission, `{"default_action":"allow"}`, bob, Allow},
		{TypePermission, `{"default_action":1}`, bob, Allow},
		{TypePermission, `{}`, bob, Allow},
		{TypePermission, ``, bob, Allow},
		{TypePermissionUnstable, `{"default_action":"block"}`, bob, Block},
		{TypeIgnoredUsers, `{"ignored_users":{"@bob:good.test":{}}}`, bob, Ignore},
		{TypeIgnoredUsers, `{"ignored_users":["@bob:good.test"]}`, eve, Allow},
		{TypeFilter, `{"blocked_servers":["*"]}`, bob, Block},
		{TypeFilter, `{"enabled":false,"blocked_servers":["*"]}`, bob, Allow},
		{TypeFilter, `{"enabled":"no","blocked_servers":["*"]}`, bob, Block},
		{TypeFilter, `{"allowed_servers":["good.test"],"blocked_servers":["*"]}`, bob, Allow},
		{TypeFilter, `{"allowed_servers":["good.test"],"ignored_servers":["b?d.*"],"blocked_servers":["*"]}`, eve, Ignore},
		{TypeFilter, `{"blocked_servers":["bad.test"]}`, port, Block},
		{TypeFilter, `{"blocked_users":["@b*"],"allowed_servers":["*"]}`, bob, Block},
		{TypeFilter, `{"allowed_users":["@bob:*"],"ignored_users":["@bob:*"],"blocked_users":["@bob:*"]}`, bob, Allow},
		{TypeFilter, `{"ignored_users":["@bob:*"],"blocked_users":["@bob:*"]}`, bob, Ignore},
		{TypeFilter, `{"blocked_users":null,"blocked_servers":["good.test"]}`, bob, Block},
		{TypeFilter, `{"blocked_users":"@bob:good.test"}`, bob, Allow},
		{TypeFilter, `{"blocked_users":["@bob:good.test",1]}`, bob, Allow},
		{TypeFilter, `{"blocked_users":{}}`, bob, Allow},
		{"m.other", `{"default_action":"block"}`, bob, Allow},
	} {
		if got := (Policy{}).With(tc.typ, []byte(tc.body)).Decide(tc.inviter); got != tc.want {
			t.Errorf("%s %s, %s: %d, want %d", tc.typ, tc.body, tc.inviter, got, tc.want)
		}
	}
	p := Policy{}.With(TypeFilter, []byte(`{"blocked_users":["@bob:*"]}`)).With(TypeIgnoredUsers, []byte(`{"ignored_users":{"@bob:good.test":{}}}`))
	if got := p.Decide(bob); got != Ignore {
		t.Errorf("ignored and blocked: %d", got)
	}
	if got := p.With(TypePermission, []byte(`{"default_action":"block"}`)).Decide(bob); got != Block {
		t.Errorf("nobody may invite: %d", got)
	}
	nobody := Of("@alice:good.test").With(TypePermission, []byte(`{"default_action":"block"}`))
	for inviter, want := range map[matrix.UserID]Decision{"@_server:good.test": Allow, "@_server:bad.test": Block, bob: Block} {
		if got := nobody.Decide(inviter); got != want {
			t.Errorf("%s: %d, want %d", inviter, got, want)
		}
	}
	if got := p.Decide(bob); got != Ignore {
		t.Errorf("With changed the policy that it was made from: %d", got)
	}
}

func TestGlobs(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true}, {"", "a", false}, {"*", "", true}, {"?", "", false}, {"?", "ü", true}, {"a*b*c", "aXbYbZc", true}, {"a*b*c", "aXbYbZ", false},
		{"*.test", "a.test", true}, {"*.test", "atest", false}, {"**a", "ba", true}, {"a?", "a", false}, {"[a]", "a", false}, {`\*`, "*", false},
		{strings.Repeat("*a", 30) + "b", strings.Repeat("a", 255), false},
	} {
		if got := glob(tc.pattern, tc.s); got != tc.want {
			t.Errorf("%q matches %q: %v", tc.pattern, tc.s, got)
		}
	}
}
