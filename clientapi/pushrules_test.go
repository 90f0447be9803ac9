package clientapi_test

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestPushRules(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	one, two := d.process(), d.process()
	alice := one.client("alice")
	const rules = "/_matrix/client/v3/pushrules/global/"
	order := func(p *process, kind string) string {
		t.Helper()
		answer := p.want(200, "", "GET", rules, alice.token, nil)
		var ids []string
		for _, r := range answer[kind].([]any) {
			ids = append(ids, r.(map[string]any)["rule_id"].(string))
		}
		return strings.Join(ids, " ")
	}
	notify := object{"actions": []any{"notify"}}
	content := object{"actions": []any{"notify"}, "pattern": "word"}

	// Order: new rules come first, unless they are put beside another.
	one.want(200, "", "PUT", rules+"content/a", alice.token, content)
	two.want(200, "", "PUT", rules+"content/b", alice.token, content)
	one.want(200, "", "PUT", rules+"content/c?after=b", alice.token, content)
	two.want(200, "", "PUT", rules+"content/d?before=a", alice.token, content)
	if got := order(one, "content"); got != "b c d a" {
		t.Errorf("order: %s", got)
	}
	one.want(200, "", "PUT", rules+"override/mine", alice.token, notify)
	if got := order(two, "override"); !strings.HasPrefix(got, ".m.rule.master mine ") {
		t.Errorf("override: %s", got)
	}
	one.want(200, "", "DELETE", rules+"content/b", alice.token, nil)
	if got := order(two, "content"); got != "c d a" {
		t.Errorf("order after a rule is gone: %s", got)
	}

	// Predefined rules can be switched and changed, not removed.
	one.want(200, "", "PUT", rules+"underride/.m.rule.message/enabled", alice.token, object{"enabled": false})
	if got := two.want(200, "", "GET", rules+"underride/.m.rule.message/enabled", alice.token, nil)["enabled"]; got != false {
		t.Errorf("enabled: %v", got)
	}
	one.want(200, "", "PUT", rules+"underride/.m.rule.message/actions", alice.token, object{"actions": []any{}})
	raw, _ := json.Marshal(two.want(200, "", "GET", rules+"underride/.m.rule.message/actions", alice.token, nil))
	if string(raw) != `{"actions":[]}` {
		t.Errorf("actions: %s", raw)
	}

	for _, bad := range []struct {
		status             int
		code, method, path string
		body               any
	}{
		{400, "M_INVALID_PARAM", "PUT", "content/.dot", content},
		{400, "M_INVALID_PARAM", "PUT", "nokind/x", content},
		{400, "M_MISSING_PARAM", "PUT", "content/x", notify},
		{400, "M_MISSING_PARAM", "PUT", "override/x", object{}},
		{400, "M_INVALID_PARAM", "PUT", "override/x", object{"actions": []any{"shout"}}},
		{400, "M_INVALID_PARAM", "PUT", "content/" + strings.Repeat("x", 256), content},
		{400, "M_INVALID_PARAM", "PUT", "content/x", object{"actions": []any{}, "pattern": strings.Repeat("x", 600)}},
		{400, "M_INVALID_PARAM", "PUT", "override/x", object{"actions": []any{}, "conditions": []any{"x"}}},
		{400, "M_BAD_JSON", "PUT", "override/x", object{"actions": "notify"}},
		{400, "M_UNKNOWN", "PUT", "content/x?before=none", content},
		{400, "M_UNKNOWN", "PUT", "override/x?after=.m.rule.master", notify},
		{400, "M_INVALID_PARAM", "DELETE", "override/.m.rule.master", nil},
		{404, "M_NOT_FOUND", "DELETE", "content/none", nil},
		{404, "M_NOT_FOUND", "GET", "content/none", nil},
		{404, "M_NOT_FOUND", "GET", "nokind/x", nil},
		{404, "M_NOT_FOUND", "PUT", "content/none/enabled", object{"enabled": true}},
		{400, "M_MISSING_PARAM", "PUT", "content/a/enabled", object{}},
		{404, "M_NOT_FOUND", "PUT", "content/none/actions", notify},
	} {
		if status, answer := one.do(bad.method, rules+bad.path, alice.token, bad.body); status != bad.status || answer.text("errcode") != bad.code {
			t.Errorf("%s %.40s: %d %v, want %d %s", bad.method, bad.path, status, answer, bad.status, bad.code)
		}
	}
	one.want(401, "M_MISSING_TOKEN", "GET", rules, "", nil)
}
