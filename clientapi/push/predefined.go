package push

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/roomline/roomline/internal/matrix"
)

// predefinedText are the rules that every user has, in the order of the spec, with USER in place of the user's id. The rules of
// proposals stand where the proposals put them: MSC4028 after the master rule, MSC3930 after the server ACL's and at the end.
//
// Interop: under the unstable names of MSC3930 clients know rules of the kind event_match, which its first versions had. They match the same events.
//
// Spec: client-server v1.19 §predefined-rules; MSC3930 §proposal; MSC4028 §proposal
const predefinedText = `{
"override":[
	{"rule_id":".m.rule.master","enabled":false,"conditions":[],"actions":[]},
	{"rule_id":".org.matrix.msc4028.encrypted_event","enabled":true,
	 "conditions":[{"kind":"event_match","key":"type","pattern":"m.room.encrypted"}],
	 "actions":["notify"]},
	{"rule_id":".m.rule.suppress_notices","enabled":true,
	 "conditions":[{"kind":"event_match","key":"content.msgtype","pattern":"m.notice"}],
	 "actions":[]},
	{"rule_id":".m.rule.invite_for_me","enabled":true,
	 "conditions":[{"kind":"event_match","key":"type","pattern":"m.room.member"},{"kind":"event_match","key":"content.membership","pattern":"invite"},{"kind":"event_match","key":"state_key","pattern":"USER"}],
	 "actions":["notify",{"set_tweak":"sound","value":"default"}]},
	{"rule_id":".m.rule.member_event","enabled":true,
	 "conditions":[{"kind":"event_match","key":"type","pattern":"m.room.member"}],
	 "actions":[]},
	{"rule_id":".m.rule.is_user_mention","enabled":true,
	 "conditions":[{"kind":"event_property_contains","key":"content.m\\.mentions.user_ids","value":"USER"}],
	 "actions":["notify",{"set_tweak":"sound","value":"default"},{"set_tweak":"highlight"}]},
	{"rule_id":".m.rule.is_room_mention","enabled":true,
	 "conditions":[{"kind":"event_property_is","key":"content.m\\.mentions.room","value":true},{"kind":"sender_notification_permission","key":"room"}],
	 "actions":["notify",{"set_tweak":"highlight"}]},
	{"rule_id":".m.rule.tombstone","enabled":true,
	 "conditions":[{"kind":"event_match","key":"type","pattern":"m.room.tombstone"},{"kind":"event_match","key":"state_key","pattern":""}],
	 "actions":["notify",{"set_tweak":"highlight"}]},
	{"rule_id":".m.rule.reaction","enabled":true,
	 "conditions":[{"kind":"event_match","key":"type","pattern":"m.reaction"}],
	 "actions":[]},
	{"rule_id":".m.rule.room.server_acl","enabled":true,
	 "conditions":[{"kind":"event_match","key":"type","pattern":"m.room.server_acl"},{"kind":"event_match","key":"state_key","pattern":""}],
	 "actions":[]},
	{"rule_id":".org.matrix.msc3930.rule.poll_response","enabled":true,
	 "conditions":[{"kind":"event_match","key":"type","pattern":"org.matrix.msc3381.poll.response"}],
	 "actions":[]},
	{"rule_id":".m.rule.suppress_edits","enabled":true,
	 "conditions":[{"kind":"event_property_is","key":"content.m\\.relates_to.rel_type","value":"m.replace"}],
	 "actions":[]}
],
"content":[],"room":[],"sender":[],
"underride":[
	{"rule_id":".m.rule.call","enabled":true,
	 "conditions":[{"kind":"event_match","key":"type","pattern":"m.call.invite"}],
	 "actions":["notify",{"set_tweak":"sound","value":"ring"}]},
	{"rule_id":".m.rule.encrypted_room_one_to_one","enabled":true,
	 "conditions":[{"kind":"room_member_count","is":"2"},{"kind":"event_match","key":"type","pattern":"m.room.encrypted"}],
	 "actions":["notify",{"set_tweak":"sound","value":"default"}]},
	{"rule_id":".m.rule.room_one_to_one","enabled":true,
	 "conditions":[{"kind":"room_member_count","is":"2"},{"kind":"event_match","key":"type","pattern":"m.room.message"}],
	 "actions":["notify",{"set_tweak":"sound","value":"default"}]},
	{"rule_id":".m.rule.message","enabled":true,
	 "conditions":[{"kind":"event_match","key":"type","pattern":"m.room.message"}],
	 "actions":["notify"]},
	{"rule_id":".m.rule.encrypted","enabled":true,
	 "conditions":[{"kind":"event_match","key":"type","pattern":"m.room.encrypted"}],
	 "actions":["notify"]},
	{"rule_id":".org.matrix.msc3930.rule.poll_start_one_to_one","enabled":true,
	 "conditions":[{"kind":"room_member_count","is":"2"},{"kind":"event_match","key":"type","pattern":"org.matrix.msc3381.poll.start"}],
	 "actions":["notify",{"set_tweak":"sound","value":"default"}]},
	{"rule_id":".org.matrix.msc3930.rule.poll_start","enabled":true,
	 "conditions":[{"kind":"event_match","key":"type","pattern":"org.matrix.msc3381.poll.start"}],
	 "actions":["notify"]},
	{"rule_id":".org.matrix.msc3930.rule.poll_end_one_to_one","enabled":true,
	 "conditions":[{"kind":"room_member_count","is":"2"},{"kind":"event_match","key":"type","pattern":"org.matrix.msc3381.poll.end"}],
	 "actions":["notify",{"set_tweak":"sound","value":"default"}]},
	{"rule_id":".org.matrix.msc3930.rule.poll_end","enabled":true,
	 "conditions":[{"kind":"event_match","key":"type","pattern":"org.matrix.msc3381.poll.end"}],
	 "actions":["notify"]}
]}`

const (
	ruleMaster      = ".m.rule.master"
	ruleInviteForMe = ".m.rule.invite_for_me"
	ruleUserMention = ".m.rule.is_user_mention"
)

// mask says which predefined rules match an event: a bit for each. Two of them depend on the user; their bits are added for one user
// at a time.
type mask uint32

// predefined are the parsed rules, their bits, and the conditions of those that are the same for all users.
var predefined = parsePredefined()

type predefinedRules struct {
	ruleset Ruleset
	bits    map[string]mask
	shared  []sharedRule
}

// sharedRule is a predefined rule that matches an event for all users or for none.
type sharedRule struct {
	bit        mask
	conditions []condition
}

func parsePredefined() predefinedRules {
	p := predefinedRules{bits: make(map[string]mask)}
	if err := json.Unmarshal([]byte(predefinedText), &p.ruleset); err != nil {
		panic("push: the predefined rules are no JSON: " + err.Error())
	}
	bit := mask(1)
	for _, kind := range kinds {
		list := p.ruleset.list(kind)
		for i := range *list {
			r := &(*list)[i]
			r.Default = true
			p.bits[r.RuleID] = bit
			if r.RuleID != ruleMaster && r.RuleID != ruleInviteForMe && r.RuleID != ruleUserMention {
				p.shared = append(p.shared, sharedRule{bit, compileConditions(r.Conditions)})
			}
			bit <<= 1
		}
	}
	return p
}

// defaults are the rules of a user who never changed any.
func defaults(user matrix.UserID) *Ruleset {
	name, _ := json.Marshal(user)
	set := new(Ruleset)
	for _, kind := range kinds {
		list := slices.Clone(*predefined.ruleset.list(kind))
		for i := range list {
			if id := list[i].RuleID; id == ruleInviteForMe || id == ruleUserMention {
				conditions := slices.Clone(list[i].Conditions)
				for n, c := range conditions {
					conditions[n] = json.RawMessage(strings.ReplaceAll(string(c), `"USER"`, string(name)))
				}
				list[i].Conditions = conditions
			}
		}
		*set.list(kind) = list
	}
	return set
}
