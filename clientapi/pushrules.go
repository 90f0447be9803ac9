package clientapi

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/roomline/roomline/internal/httpapi"
)

// serverDefaultRules are the push rules that every user has, with USER in place of the user's id.
//
// Spec: client-server v1.19 §predefined-rules
const serverDefaultRules = `{"content":[],
"override":[
	{"rule_id":".m.rule.master","default":true,"enabled":false,
	 "conditions":[],
	 "actions":[]},
	{"rule_id":".m.rule.suppress_notices","default":true,"enabled":true,
	 "conditions":[{"kind":"event_match","key":"content.msgtype","pattern":"m.notice"}],
	 "actions":[]},
	{"rule_id":".m.rule.invite_for_me","default":true,"enabled":true,
	 "conditions":[{"kind":"event_match","key":"type","pattern":"m.room.member"},{"kind":"event_match","key":"content.membership","pattern":"invite"},{"kind":"event_match","key":"state_key","pattern":"USER"}],
	 "actions":["notify",{"set_tweak":"sound","value":"default"}]},
	{"rule_id":".m.rule.member_event","default":true,"enabled":true,
	 "conditions":[{"kind":"event_match","key":"type","pattern":"m.room.member"}],
	 "actions":[]},
	{"rule_id":".m.rule.is_user_mention","default":true,"enabled":true,
	 "conditions":[{"kind":"event_property_contains","key":"content.m\\.mentions.user_ids","value":"USER"}],
	 "actions":["notify",{"set_tweak":"sound","value":"default"},{"set_tweak":"highlight"}]},
	{"rule_id":".m.rule.is_room_mention","default":true,"enabled":true,
	 "conditions":[{"kind":"event_property_is","key":"content.m\\.mentions.room","value":true},{"kind":"sender_notification_permission","key":"room"}],
	 "actions":["notify",{"set_tweak":"highlight"}]},
	{"rule_id":".m.rule.tombstone","default":true,"enabled":true,
	 "conditions":[{"kind":"event_match","key":"type","pattern":"m.room.tombstone"},{"kind":"event_match","key":"state_key","pattern":""}],
	 "actions":["notify",{"set_tweak":"highlight"}]},
	{"rule_id":".m.rule.reaction","default":true,"enabled":true,
	 "conditions":[{"kind":"event_match","key":"type","pattern":"m.reaction"}],
	 "actions":[]},
	{"rule_id":".m.rule.room.server_acl","default":true,"enabled":true,
	 "conditions":[{"kind":"event_match","key":"type","pattern":"m.room.server_acl"},{"kind":"event_match","key":"state_key","pattern":""}],
	 "actions":[]},
	{"rule_id":".m.rule.suppress_edits","default":true,"enabled":true,
	 "conditions":[{"kind":"event_property_is","key":"content.m\\.relates_to.rel_type","value":"m.replace"}],
	 "actions":[]}
],
"room":[],"sender":[],
"underride":[
	{"rule_id":".m.rule.call","default":true,"enabled":true,
	 "conditions":[{"kind":"event_match","key":"type","pattern":"m.call.invite"}],
	 "actions":["notify",{"set_tweak":"sound","value":"ring"}]},
	{"rule_id":".m.rule.encrypted_room_one_to_one","default":true,"enabled":true,
	 "conditions":[{"kind":"room_member_count","is":"2"},{"kind":"event_match","key":"type","pattern":"m.room.encrypted"}],
	 "actions":["notify",{"set_tweak":"sound","value":"default"}]},
	{"rule_id":".m.rule.room_one_to_one","default":true,"enabled":true,
	 "conditions":[{"kind":"room_member_count","is":"2"},{"kind":"event_match","key":"type","pattern":"m.room.message"}],
	 "actions":["notify",{"set_tweak":"sound","value":"default"}]},
	{"rule_id":".m.rule.message","default":true,"enabled":true,
	 "conditions":[{"kind":"event_match","key":"type","pattern":"m.room.message"}],
	 "actions":["notify"]},
	{"rule_id":".m.rule.encrypted","default":true,"enabled":true,
	 "conditions":[{"kind":"event_match","key":"type","pattern":"m.room.encrypted"}],
	 "actions":["notify"]}
]}`

// pushRules is what the user's clients notify by: the server's default rules. Rules of one's own come with push.
func pushRules(c *httpapi.Call) (httpapi.Raw, error) {
	user, err := json.Marshal(c.Requester.User)
	if err != nil {
		return nil, err
	}
	return httpapi.Raw(strings.ReplaceAll(serverDefaultRules, `"USER"`, string(user))), nil
}

// getPushRules returns all push rules of the user. Clients ask before they sync for the first time, and some wait for it.
//
// Spec: client-server v1.19 §push-rules-api, GET /_matrix/client/v3/pushrules/
func (s *Server) getPushRules(ctx context.Context, c *httpapi.Call) (any, error) {
	rules, err := pushRules(c)
	if err != nil {
		return nil, err
	}
	return map[string]json.RawMessage{"global": json.RawMessage(rules)}, nil
}

// getPushRulesGlobal returns the rules that hold for all devices of the user, which are all.
//
// Spec: client-server v1.19 §push-rules-api, GET /_matrix/client/v3/pushrules/global/
func (s *Server) getPushRulesGlobal(ctx context.Context, c *httpapi.Call) (any, error) {
	return pushRules(c)
}
