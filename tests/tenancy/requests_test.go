package tenancy

import (
	"strings"
	"testing"
)

// requests are what the crawl asks of each route: method and path, then query, body and path values, apart by " | ". A name in braces is an
// identifier of the subject (side_test.go), or of the asker: {me}, {myDevice}, {myRoom}, {myEvent}, {since}; {txn} is new each time. Path
// values that are not given are the subject's, or those of pathValues.
//
// A line that begins with > is asked last, because the asker's own rooms and data name the subject afterwards.
//
// A route without a body, GET or DELETE, needs no line. A line that begins with ! is what the control need not see a difference in: the rest of
// the line says why.
const requests = `
POST /_matrix/client/v3/login | | {"type":"m.login.password","identifier":{"type":"m.id.user","user":"{userId}"},"password":"wrong password"}
! POST /_matrix/client/v3/login: who has an account is told to nobody
POST /_matrix/client/v1/login/get_token | | {}
! POST /_matrix/client/v1/login/get_token: it is about the asker
POST /_matrix/client/v3/refresh | | {"refresh_token":"{deviceId}"}
! POST /_matrix/client/v3/refresh: it takes a secret
POST /_matrix/client/v3/logout | | {}
! POST /_matrix/client/v3/logout: it is about the asker
POST /_matrix/client/v3/logout/all | | {}
! POST /_matrix/client/v3/logout/all: it is about the asker
POST /_matrix/client/v3/register | | {"username":"{userId}","password":"correct horse x","auth":{"type":"m.login.dummy"}}
! POST /_matrix/client/v3/register: accounts of this kind are the operator's
POST /_matrix/client/v3/account/password | | {"new_password":"correct horse y","auth":{"type":"m.login.password","identifier":{"type":"m.id.user","user":"{userId}"},"password":"wrong"}}
! POST /_matrix/client/v3/account/password: it is about the asker
POST /_matrix/client/v3/account/deactivate | | {"auth":{"type":"m.login.password","identifier":{"type":"m.id.user","user":"{userId}"},"password":"wrong"}}
! POST /_matrix/client/v3/account/deactivate: it is about the asker

POST /_matrix/client/v3/register/email/requestToken | | {"email":"{address}","client_secret":"s{txn}","send_attempt":1}
! POST /_matrix/client/v3/register/email/requestToken: who has an address is told to nobody
POST /_matrix/client/v3/register/msisdn/requestToken | | {"country":"BE","phone_number":"0470123456","client_secret":"s{txn}","send_attempt":1}
! POST /_matrix/client/v3/register/msisdn/requestToken: nothing is sent to phones there
POST /_matrix/client/v3/account/password/email/requestToken | | {"email":"{address}","client_secret":"s{txn}","send_attempt":1}
! POST /_matrix/client/v3/account/password/email/requestToken: who has an address is told to nobody
POST /_matrix/client/v3/account/password/msisdn/requestToken | | {"country":"BE","phone_number":"0470123456","client_secret":"s{txn}","send_attempt":1}
! POST /_matrix/client/v3/account/password/msisdn/requestToken: nothing is sent to phones there
POST /_matrix/client/v3/account/3pid/email/requestToken | | {"email":"{address}","client_secret":"s{txn}","send_attempt":1}
POST /_matrix/client/v3/account/3pid/msisdn/requestToken | | {"country":"BE","phone_number":"0470123456","client_secret":"s{txn}","send_attempt":1}
! POST /_matrix/client/v3/account/3pid/msisdn/requestToken: nothing is sent to phones there
POST /_matrix/client/v3/account/3pid | | {"three_pid_creds":{"sid":"{deviceId}","client_secret":"s","id_server":"{domain}","id_access_token":"x"}}
! POST /_matrix/client/v3/account/3pid: it takes a secret
POST /_matrix/client/v3/account/3pid/add | | {"sid":"{deviceId}","client_secret":"s"}
! POST /_matrix/client/v3/account/3pid/add: it asks for the password first
POST /_matrix/client/v3/account/3pid/bind | | {"sid":"{deviceId}","client_secret":"s","id_server":"hs.test","id_access_token":"x"}
! POST /_matrix/client/v3/account/3pid/bind: it takes a secret
POST /_matrix/client/v3/account/3pid/delete | | {"medium":"email","address":"{address}"}
! POST /_matrix/client/v3/account/3pid/delete: what is not there can be deleted
POST /_matrix/client/v3/account/3pid/unbind | | {"medium":"email","address":"{address}"}
! POST /_matrix/client/v3/account/3pid/unbind: it is about the asker
POST /_roomline/client/v1/submitToken | | {"sid":"{deviceId}","client_secret":"s","token":"123456"}
! POST /_roomline/client/v1/submitToken: it takes a secret

POST /_matrix/identity/v2/account/register | | {"access_token":"{deviceId}","token_type":"Bearer","matrix_server_name":"{domain}","expires_in":3600}
! POST /_matrix/identity/v2/account/register: it takes a secret
POST /_matrix/identity/v2/account/logout | | {}
POST /_matrix/identity/v2/terms | | {"user_accepts":[]}
POST /_matrix/identity/v2/lookup | | {"algorithm":"none","pepper":"{pepper}","addresses":["{address} email"]}
POST /_matrix/identity/v2/validate/email/requestToken | | {"email":"{address}","client_secret":"s{txn}","send_attempt":1}
! POST /_matrix/identity/v2/validate/email/requestToken: who has an address is told to nobody
POST /_matrix/identity/v2/validate/msisdn/requestToken | | {"country":"BE","phone_number":"0470123456","client_secret":"s{txn}","send_attempt":1}
! POST /_matrix/identity/v2/validate/msisdn/requestToken: nothing is sent to phones there
POST /_matrix/identity/v2/validate/email/submitToken | | {"sid":"{deviceId}","client_secret":"s","token":"123456"}
! POST /_matrix/identity/v2/validate/email/submitToken: it takes a secret
POST /_matrix/identity/v2/validate/msisdn/submitToken | | {"sid":"{deviceId}","client_secret":"s","token":"123456"}
! POST /_matrix/identity/v2/validate/msisdn/submitToken: it takes a secret
POST /_matrix/identity/v2/3pid/bind | | {"sid":"x","client_secret":"s","mxid":"{userId}"}
! POST /_matrix/identity/v2/3pid/bind: it is about the asker
POST /_matrix/identity/v2/3pid/unbind | | {"sid":"x","client_secret":"s","mxid":"{userId}","threepid":{"medium":"email","address":"{address}"}}
! POST /_matrix/identity/v2/3pid/unbind: it is about the asker
POST /_matrix/identity/v2/store-invite | | {"medium":"email","address":"{address}","room_id":"{roomId}","sender":"{me}"}
POST /_matrix/identity/v2/store-invite | | {"medium":"email","address":"{address}","room_id":"{myRoom}","sender":"{me}"}
! POST /_matrix/identity/v2/store-invite: who is asked in is told by the room
POST /_matrix/identity/v2/sign-ed25519 | | {"mxid":"{me}","token":"{registrationToken}","private_key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}
! POST /_matrix/identity/v2/sign-ed25519: it takes a secret
! GET /_matrix/identity/v2/3pid/getValidated3pid: it takes a secret
! POST /_matrix/identity/v2/terms: there are none
! POST /_matrix/identity/v2/account/logout: it is about the asker
! GET /_matrix/identity/v2/pubkey/{keyId}: it is the service's key

GET /_matrix/client/v3/rooms/{roomId}/messages | dir=b&limit=50
GET /_matrix/client/v3/rooms/{roomId}/messages | dir=f&from={since}
GET /_matrix/client/v3/rooms/{roomId}/members | at={since}
GET /_matrix/client/v3/rooms/{roomId}/members
GET /_matrix/client/v3/rooms/{roomId}/state/{eventType} | | | eventType=m.room.name
GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{$} | format=event | | eventType=m.room.topic
GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey} | | | eventType=m.room.member,stateKey={userId}
PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType} | | {"name":"x"} | eventType=m.room.name
PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType} | | {"alias":"{roomAlias}"} | roomId={myRoom},eventType=m.room.canonical_alias
PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType} | | {"via":["x"]} | eventType=m.space.child
PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{$} | | {"topic":"x"} | eventType=m.room.topic
PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey} | | {"membership":"join"} | eventType=m.room.member,stateKey={me}
PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey} | | {"membership":"knock"} | eventType=m.room.member,stateKey={me}
PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey} | | {"membership":"invite"} | roomId={myRoom},eventType=m.room.member,stateKey={userId}
PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey} | | {"membership":"ban"} | eventType=m.room.member,stateKey={userId}
> PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey} | | {"via":["kundea.test"]} | roomId={myRoom},eventType=m.space.child,stateKey={roomId}
PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId} | | {"msgtype":"m.text","body":"x"}
> PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId} | | {"msgtype":"m.image","body":"x","url":"mxc://{serverName}/{mediaId}","m.relates_to":{"rel_type":"m.thread","event_id":"{eventId}"}} | roomId={myRoom}
PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId} | | {}
PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId} | | {} | roomId={myRoom}
PUT /_matrix/client/unstable/org.matrix.msc4140/rooms/{roomId}/delayed_event/{eventType}/{txnId} | | {"delay":3600000,"delay_ms":3600000,"content":{"body":"x"}}
POST /_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delayId} | | {"action":"restart"}
POST /_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delayId}/send | | {}
POST /_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delayId}/restart | | {}
POST /_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delayId}/cancel | | {}
GET /_matrix/client/v3/events | timeout=0&from={since}&room_id={roomId}
GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
GET /_matrix/client/v3/rooms/{roomId}/event/{eventId} | | | roomId={myRoom}
GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}
GET /_matrix/client/v3/rooms/{roomId}/context/{eventId} | | | roomId={myRoom}
GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}
GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId} | | | roomId={myRoom}

POST /_matrix/client/v3/createRoom | | {"invite":["{userId}"]}
> POST /_matrix/client/v3/createRoom | | {"creation_content":{"predecessor":{"room_id":"{roomId}","event_id":"{eventId}"}}}
> POST /_matrix/client/v3/createRoom | | {"initial_state":[{"type":"m.room.join_rules","content":{"join_rule":"restricted","allow":[{"type":"m.room_membership","room_id":"{roomId}"}]}}]}
PUT /_matrix/client/v3/directory/room/{roomAlias} | | {"room_id":"{myRoom}"}
PUT /_matrix/client/v3/directory/room/{roomAlias} | | {"room_id":"{roomId}"} | roomAlias=#mine:kundeb.test
POST /_matrix/client/v3/rooms/{roomId}/invite | | {"user_id":"{me}"}
POST /_matrix/client/v3/rooms/{roomId}/invite | | {"user_id":"{userId}"} | roomId={myRoom}
POST /_matrix/client/v3/rooms/{roomId}/invite | | {"medium":"email","address":"{address}"} | roomId={myRoom}
POST /_matrix/client/v3/join/{roomIdOrAlias} | | {}
POST /_matrix/client/v3/rooms/{roomId}/join | | {}
POST /_matrix/client/v3/knock/{roomIdOrAlias} | | {}
POST /_matrix/client/v3/rooms/{roomId}/forget | | {}
POST /_matrix/client/v3/rooms/{roomId}/leave | | {}
POST /_matrix/client/v3/rooms/{roomId}/kick | | {"user_id":"{userId}"}
POST /_matrix/client/v3/rooms/{roomId}/kick | | {"user_id":"{userId}"} | roomId={myRoom}
POST /_matrix/client/v3/rooms/{roomId}/ban | | {"user_id":"{userId}"}
POST /_matrix/client/v3/rooms/{roomId}/unban | | {"user_id":"{userId}"}
GET /_matrix/client/v1/mutual_rooms | user_id={userId}
GET /_matrix/client/unstable/uk.half-shot.msc2666/user/mutual_rooms | user_id={userId}
PUT /_matrix/client/v3/directory/list/room/{roomId} | | {"visibility":"private"}
PUT /_matrix/client/v3/directory/list/appservice/{networkId}/{roomId} | | {"visibility":"public"}
! PUT /_matrix/client/v3/directory/list/appservice/{networkId}/{roomId}: people may not
GET /_matrix/client/v3/publicRooms | limit=50&server={domain}
GET /_matrix/client/v3/publicRooms | limit=50
POST /_matrix/client/v3/publicRooms | | {"filter":{"generic_search_term":"kanarienvogel"},"include_all_networks":true}
! POST /_matrix/client/v3/publicRooms: what is found names no subject
POST /_matrix/client/v3/user_directory/search | | {"search_term":"kanarienvogel"}
POST /_matrix/client/v3/user_directory/search | | {"search_term":"{userId}"}
PUT /_matrix/client/v3/profile/{userId}/{keyName} | | {"displayname":"x"}
> PUT /_matrix/client/v3/profile/{userId}/{keyName} | | {"avatar_url":"mxc://{serverName}/{mediaId}"} | userId={me},keyName=avatar_url
PUT /_matrix/client/v3/rooms/{roomId}/typing/{userId} | | {"typing":true,"timeout":1000} | userId={me}
PUT /_matrix/client/v3/rooms/{roomId}/typing/{userId} | | {"typing":true,"timeout":1000}
POST /_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId} | | {}
POST /_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId} | | {} | roomId={myRoom}
POST /_matrix/client/v3/rooms/{roomId}/read_markers | | {"m.fully_read":"{eventId}","m.read":"{eventId}"}
PUT /_matrix/client/v3/presence/{userId}/status | | {"presence":"online"}
PUT /_matrix/client/v3/sendToDevice/{eventType}/{txnId} | | {"messages":{"{userId}":{"{deviceId}":{"x":"y"},"*":{"x":"z"}}}}
! PUT /_matrix/client/v3/sendToDevice/{eventType}/{txnId}: the answer says nothing
POST /_matrix/client/v3/user/{userId}/openid/request_token | | {}
PUT /_matrix/client/v3/devices/{deviceId} | | {"display_name":"x"}
DELETE /_matrix/client/v3/devices/{deviceId} | | {}
POST /_matrix/client/v3/delete_devices | | {"devices":["{deviceId}"]}
! POST /_matrix/client/v3/delete_devices: it asks for the password first
! DELETE /_matrix/client/v3/devices/{deviceId}: it asks for the password first
POST /_matrix/client/v3/room_keys/version | | {"algorithm":"m.megolm_backup.v1.curve25519-aes-sha2","auth_data":{"public_key":"x","signatures":{}}}
! POST /_matrix/client/v3/room_keys/version: it is about the asker
PUT /_matrix/client/v3/room_keys/version/{version} | | {"algorithm":"m.megolm_backup.v1.curve25519-aes-sha2","auth_data":{"public_key":"y","signatures":{}},"version":"{version}"}
! PUT /_matrix/client/v3/room_keys/version/{version}: versions are numbers, the asker's own
PUT /_matrix/client/v3/room_keys/keys/{roomId}/{sessionId} | version={version} | {"first_message_index":1,"forwarded_count":0,"is_verified":true,"session_data":{}}
! PUT /_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}: the asker may keep what they want
GET /_matrix/client/v3/room_keys/keys/{roomId}/{sessionId} | version={version}
DELETE /_matrix/client/v3/room_keys/keys/{roomId}/{sessionId} | version=1
! DELETE /_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}: what is not there can be deleted
PUT /_matrix/client/v3/room_keys/keys/{roomId} | version={version} | {"sessions":{}}
! PUT /_matrix/client/v3/room_keys/keys/{roomId}: the asker may keep what they want
GET /_matrix/client/v3/room_keys/keys/{roomId} | version={version}
DELETE /_matrix/client/v3/room_keys/keys/{roomId} | version=1
! DELETE /_matrix/client/v3/room_keys/keys/{roomId}: what is not there can be deleted
PUT /_matrix/client/v3/room_keys/keys | version={version} | {"rooms":{}}
! PUT /_matrix/client/v3/room_keys/keys: the asker may keep what they want
GET /_matrix/client/v3/room_keys/keys | version={version}
DELETE /_matrix/client/v3/room_keys/keys | version=1
! DELETE /_matrix/client/v3/room_keys/keys: it is about the asker
PUT /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device | | {"device_id":"{deviceId}","device_data":{"algorithm":"x"}}
! PUT /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device: it is about the asker
POST /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device/{deviceId}/events | | {}
! POST /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device/{deviceId}/events: the side has no dehydrated device
! GET /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device/{deviceId}/events: the side has no dehydrated device
PUT /_matrix/client/v3/user/{userId}/account_data/{type} | | {"x":"y"}
> PUT /_matrix/client/v3/user/{userId}/account_data/{type} | | {"ignored_users":{"{userId}":{}}} | userId={me},type=m.ignored_user_list
PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type} | | {"x":"y"}
PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type} | | {"x":"y"} | userId={me}
GET /_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}
GET /_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type} | | | userId={me}
PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag} | | {"order":0.1}
PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag} | | {"order":0.1} | userId={me}
GET /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags
GET /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags | | | userId={me}
DELETE /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}
DELETE /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag} | | | userId={me}
POST /_matrix/client/v3/keys/device_signing/upload | | {}
! POST /_matrix/client/v3/keys/device_signing/upload: it is about the asker
POST /_matrix/client/v3/keys/signatures/upload | | {"{userId}":{"{deviceId}":{"user_id":"{userId}","device_id":"{deviceId}","algorithms":[],"keys":{},"signatures":{"{me}":{"ed25519:{myDevice}":"AAAA"}}}}}
POST /_matrix/client/v3/keys/upload | | {}
! POST /_matrix/client/v3/keys/upload: it is about the asker
POST /_matrix/client/v3/keys/query | | {"device_keys":{"{userId}":[]}}
POST /_matrix/client/v3/keys/claim | | {"one_time_keys":{"{userId}":{"{deviceId}":"curve25519"}}}
GET /_matrix/client/v3/keys/changes | from={since}&to={since}
POST /_matrix/client/v3/pushers/set | | {"kind":null,"app_id":"org.example.a","pushkey":"kanarienvogelxq7f3a"}
! POST /_matrix/client/v3/pushers/set: the answer says nothing
> PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId} | | {"actions":["notify"]} | kind=room,ruleId={roomId}
! PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}: the asker may have rules for anything
PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled | | {"enabled":true}
! PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled: rules are the asker's own
PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions | | {"actions":["notify"]}
! PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions: rules are the asker's own
! DELETE /_matrix/client/v3/pushrules/global/{kind}/{ruleId}: rules are the asker's own
GET /_matrix/client/v1/rooms/{roomId}/timestamp_to_event | ts=4000000000000&dir=b
POST /_matrix/client/v3/search | | {"search_categories":{"room_events":{"search_term":"kanarienvogelxq7f3a","filter":{"rooms":["{roomId}"]}}}}
POST /_matrix/client/v3/search | | {"search_categories":{"room_events":{"search_term":"message","order_by":"recent"}}}
PUT /_matrix/client/v1/admin/suspend/{userId} | | {"suspended":true}
PUT /_matrix/client/v1/admin/lock/{userId} | | {"locked":true}
POST /_matrix/client/v3/rooms/{roomId}/report | | {"reason":"x"}
! POST /_matrix/client/v3/rooms/{roomId}/report: the answer says nothing
POST /_matrix/client/v3/rooms/{roomId}/report/{eventId} | | {"reason":"x"}
POST /_matrix/client/v3/users/{userId}/report | | {"reason":"x"}
! POST /_matrix/client/v3/users/{userId}/report: the answer says nothing
POST /_matrix/client/v3/rooms/{roomId}/upgrade | | {"new_version":"11"}
PUT /_matrix/client/unstable/io.element.msc4306/rooms/{roomId}/thread/{eventId}/subscription | | {}
POST /_synapse/admin/v1/send_server_notice | | {"user_id":"{userId}","content":{"msgtype":"m.text","body":"x"}}
PUT /_synapse/admin/v1/send_server_notice/{txnId} | | {"user_id":"{userId}","content":{"msgtype":"m.text","body":"x"}}
! POST /_synapse/admin/v1/send_server_notice: notices are off
! PUT /_synapse/admin/v1/send_server_notice/{txnId}: notices are off
POST /_synapse/admin/v1/register | | {"nonce":"x","username":"{userId}","password":"correct horse x","mac":"00"}
! POST /_synapse/admin/v1/register: it takes a secret

GET /_matrix/client/v3/sync | timeout=0&since={since}&filter={filterId}
GET /_matrix/client/v3/sync | timeout=0&filter={"room":{"rooms":["{roomId}"]}}
POST /_matrix/client/v4/sync | | {"timeout":0,"lists":{"a":{"range":[0,20],"timeline_limit":5,"required_state":{"include":[{"type":"*","state_key":"*"}]}}},"room_subscriptions":{"{roomId}":{"timeline_limit":5,"required_state":{"include":[{"type":"*","state_key":"*"}]}}},"extensions":{"to_device":{"enabled":true},"account_data":{"enabled":true},"receipts":{"enabled":true},"typing":{"enabled":true}}}
POST /_matrix/client/unstable/org.matrix.simplified_msc3575/sync | timeout=0 | {"lists":{"a":{"ranges":[[0,20]],"timeline_limit":5,"required_state":[["*","*"]]}},"room_subscriptions":{"{roomId}":{"timeline_limit":5,"required_state":[["*","*"]]}}}
POST /_matrix/client/v3/user/{userId}/filter | | {"room":{"rooms":["{roomId}"]}}

GET /_matrix/client/v1/media/download/{serverName}/{mediaId} | timeout_ms=0
GET /_matrix/client/v1/media/download/{serverName}/{mediaId} | timeout_ms=0 | | mediaId={avatarId}
GET /_matrix/client/v1/media/download/{serverName}/{mediaId}/{fileName} | timeout_ms=0
GET /_matrix/client/v1/media/thumbnail/{serverName}/{mediaId} | timeout_ms=0&width=10&height=10
GET /_matrix/media/v3/download/{serverName}/{mediaId} | timeout_ms=0
GET /_matrix/media/v3/download/{serverName}/{mediaId}/{fileName} | timeout_ms=0
GET /_matrix/media/v3/thumbnail/{serverName}/{mediaId} | timeout_ms=0&width=10&height=10
! GET /_matrix/media/v3/download/{serverName}/{mediaId}: nobody sees new media without a token
! GET /_matrix/media/v3/download/{serverName}/{mediaId}/{fileName}: nobody sees new media without a token
! GET /_matrix/media/v3/thumbnail/{serverName}/{mediaId}: nobody sees new media without a token
POST /_matrix/media/v1/create | | {}
! POST /_matrix/media/v1/create: it is about the asker
POST /_matrix/client/unstable/org.matrix.msc3911/media/copy/{serverName}/{mediaId} | | {}
POST /_matrix/client/v1/media/copy/{serverName}/{mediaId} | | {}
POST /_matrix/media/v3/upload | filename=x.txt | x
! POST /_matrix/media/v3/upload: it is about the asker
POST /_matrix/client/unstable/org.matrix.msc3911/media/upload | | x
! POST /_matrix/client/unstable/org.matrix.msc3911/media/upload: it is about the asker
POST /_matrix/client/v1/media/upload | | x
! POST /_matrix/client/v1/media/upload: it is about the asker
PUT /_matrix/media/v3/upload/{serverName}/{mediaId} | | x
POST /_roomline/admin/v1/delete | | {"room_id":"{roomId}","event_id":"{eventId}"}
POST /_roomline/admin/v1/delete | | {"user_id":"{userId}"}
PUT /_roomline/admin/v1/policies/{name} | | {}
! PUT /_roomline/admin/v1/policies/{name}: it is about the asker's organisation
! DELETE /_roomline/admin/v1/policies/{name}: it is about the asker's organisation
! GET /_roomline/admin/v1/organisation: it is about the asker's organisation
POST /_roomline/operator/v1/organisations | | {"name":"x","domain":"{domain}","owner":{"localpart":"x"}}
PUT /_roomline/admin/v1/organisation | | {}
! PUT /_roomline/admin/v1/organisation: it is about the asker's organisation
PUT /_roomline/operator/v1/organisations/{organisationId} | | {}
! DELETE /_roomline/operator/v1/organisations/{organisationId}: the control would end with it
POST /_roomline/operator/v1/organisations/{organisationId}/suspend | | {}
POST /_roomline/operator/v1/organisations/{organisationId}/resume | | {}
POST /_roomline/operator/v1/organisations/{organisationId}/domains | | {"domain":"more.{domain}"}
PUT /_roomline/operator/v1/organisations/{organisationId}/domains/{serverName} | | {}
PUT /_roomline/operator/v1/organisations/{organisationId}/roles/{userId} | | {"role":"auditor"}
PUT /_roomline/admin/v1/domains/{serverName}/support | | {}
! PUT /_roomline/admin/v1/domains/{serverName}/support: the missing subject has the same domain
PUT /_roomline/admin/v1/roles/{userId} | | {"role":"auditor"}
POST /_roomline/admin/v1/appservices | | {"id":"x-{txn}","url":null,"sender_localpart":"x-{txn}","namespaces":{}}
> POST /_roomline/admin/v1/appservices | | {"id":"{appserviceId}","url":null,"sender_localpart":"y-{txn}","namespaces":{}}
POST /_roomline/admin/v1/appservices/{appserviceId}/tokens | | {}
POST /_roomline/operator/v1/appservices | | {"id":"x-{txn}","url":null,"sender_localpart":"x-{txn}","namespaces":{}}
! POST /_roomline/operator/v1/appservices: it names no subject
GET /_roomline/operator/v1/appservices/{appserviceId} | | | appserviceId={organisationId}:{appserviceId}
DELETE /_roomline/operator/v1/appservices/{appserviceId} | | | appserviceId={organisationId}:{appserviceId}
POST /_roomline/operator/v1/appservices/{appserviceId}/tokens | | {} | appserviceId={organisationId}:{appserviceId}
POST /_roomline/admin/v1/holds | | {"user_id":"{ownerId}","reason":"file 1"}
POST /_roomline/admin/v1/links | | {"domain":"{domain}","gives":{"name":true}}
! POST /_roomline/admin/v1/links: whether somebody has a domain here is told to nobody
POST /_roomline/admin/v1/links/{linkId}/accept | | {"gives":{"name":true}}
POST /_roomline/admin/v1/links/{linkId}/refuse | | {}
POST /_roomline/admin/v1/links/{linkId}/revoke | | {}
PUT /_roomline/admin/v1/links/{linkId}/gives | | {"gives":{"name":true}}
POST /_synapse/admin/v1/media/quarantine/{serverName}/{mediaId} | | {}
POST /_synapse/admin/v1/media/unquarantine/{serverName}/{mediaId} | | {}
POST /_synapse/admin/v1/room/{roomId}/media/quarantine | | {}
POST /_synapse/admin/v1/user/{userId}/media/quarantine | | {}
POST /_synapse/admin/v1/media/protect/{mediaId} | | {}
POST /_synapse/admin/v1/media/unprotect/{mediaId} | | {}
POST /_synapse/admin/v1/media/delete | before_ts=1700000000000 | {}
! POST /_synapse/admin/v1/media/delete: it is about the asker's organisation
POST /_synapse/admin/v1/media/{serverName}/delete | before_ts=1700000000000 | {}
! POST /_synapse/admin/v1/media/{serverName}/delete: it is about the asker's organisation
POST /_synapse/admin/v1/purge_media_cache | before_ts=1700000000000 | {}
! POST /_synapse/admin/v1/purge_media_cache: it is about the asker's organisation

POST /_roomline/guest/v1/open | | {"secret":"AAAAAAAAAAAAAAAAAAAAAA"}
POST /_roomline/guest/v1/code | | {"secret":"AAAAAAAAAAAAAAAAAAAAAA","client_secret":"x","send_attempt":1}
POST /_roomline/guest/v1/answer | | {"secret":"AAAAAAAAAAAAAAAAAAAAAA","answer":"accepted"}
! POST /_roomline/guest/v1/answer: it takes a secret
POST /_roomline/guest/v1/redeem | | {"secret":"AAAAAAAAAAAAAAAAAAAAAA","name":"x","attempt":"AAAAAAAAAAAAAAAAAAAAAA"}
! POST /_roomline/guest/v1/open: it takes a secret
! POST /_roomline/guest/v1/code: it takes a secret
! POST /_roomline/guest/v1/redeem: it takes a secret
PUT /_roomline/client/v1/guests/{userId} | | {"expires_ts":4000000000000} | userId={guestId}
DELETE /_roomline/client/v1/guests/{userId} | | | userId={guestId}
DELETE /_roomline/admin/v1/guests/{userId} | | | userId={guestId}
GET /_roomline/admin/v1/guests
POST /_roomline/client/v1/rooms/{roomId}/meeting/phone/call | | {"number":"+32470123456"}
POST /_roomline/client/v1/rooms/{roomId}/meeting/phone/call | | {"invitee_id":"{callId}"}
DELETE /_roomline/client/v1/rooms/{roomId}/meeting/phone/calls/{callId} | |
DELETE /_roomline/client/v1/rooms/{roomId}/meeting/phone/calls/{callId} | | | roomId={myRoom}
POST /_roomline/client/v1/rooms/{roomId}/meeting/lobby | | {"who":"guests"}
POST /_roomline/client/v1/rooms/{roomId}/meeting/admit | | {"all":true}
POST /_roomline/client/v1/rooms/{roomId}/meeting/admit | | {"user_id":"{userId}"}
POST /_roomline/client/v1/rooms/{roomId}/meeting/admit | | {"user_id":"{userId}"} | roomId={myRoom}
POST /_roomline/client/v1/rooms/{roomId}/meeting/deny | | {"user_id":"{userId}"}
POST /_roomline/client/v1/rooms/{roomId}/meeting/deny | | {"user_id":"{userId}"} | roomId={myRoom}
GET /_roomline/client/v1/rooms/{roomId}/meeting
POST /_roomline/client/v1/rooms/{roomId}/meeting/mute | | {"user_id":"{userId}"}
POST /_roomline/client/v1/rooms/{roomId}/meeting/mute | | {"user_id":"{userId}"} | roomId={myRoom}
POST /_roomline/client/v1/rooms/{roomId}/meeting/stop | | {"user_id":"{userId}","source":"camera"}
POST /_roomline/client/v1/rooms/{roomId}/meeting/stop | | {"user_id":"{userId}","source":"camera"} | roomId={myRoom}
POST /_roomline/client/v1/rooms/{roomId}/meeting/lower_hand | | {"user_id":"{userId}"}
POST /_roomline/client/v1/rooms/{roomId}/meeting/lower_hand | | {"user_id":"{userId}"} | roomId={myRoom}
POST /_roomline/client/v1/rooms/{roomId}/meeting/remove | | {"user_id":"{userId}"}
POST /_roomline/client/v1/rooms/{roomId}/meeting/remove | | {"user_id":"{userId}"} | roomId={myRoom}
POST /_roomline/client/v1/rooms/{roomId}/meeting/role | | {"user_id":"{userId}","role":"presenter"}
POST /_roomline/client/v1/rooms/{roomId}/meeting/role | | {"user_id":"{userId}","role":"presenter"} | roomId={myRoom}
POST /_roomline/client/v1/rooms/{roomId}/meeting/mute_all | | {}
POST /_roomline/client/v1/rooms/{roomId}/meeting/publish | | {"source":"camera","role":"presenter"}
POST /_roomline/client/v1/rooms/{roomId}/meeting/lock | | {}
POST /_roomline/client/v1/rooms/{roomId}/meeting/unlock | | {}
POST /_roomline/client/v1/rooms/{roomId}/meeting/end | | {}
POST /_roomline/client/v1/rooms/{roomId}/meeting/recording/start | | {}
POST /_roomline/client/v1/rooms/{roomId}/meeting/recording/stop | | {}
POST /_roomline/client/v1/rooms/{roomId}/meeting/recording/consent | | {"answer":"yes"}
POST /_roomline/record/v1/rooms/{roomId}/token | | {}
! POST /_roomline/record/v1/rooms/{roomId}/token: people may not
! GET /i/{$}: files of the page
! GET /i/{file}: files of the page
! GET /i/{folder}/{file}: files of the page

! GET /_matrix/client/v3/login/sso/redirect/{idpId}: there is no provider
! DELETE /_matrix/client/v3/room_keys/version/{version}: versions are numbers, the asker's own
! POST /_matrix/client/v3/keys/signatures/upload: the side has no keys that could be signed
! GET /_matrix/client/v3/keys/changes: it names no subject
! GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled: rules are the asker's own
! GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions: rules are the asker's own
! GET /_roomline/admin/v1/policies/{name}: it is about the asker's organisation
! GET /_matrix/client/v3/thirdparty/protocol/{protocol}: there is no application service
! GET /_matrix/client/v3/thirdparty/location/{protocol}: there is no application service
! GET /_matrix/client/v3/thirdparty/user/{protocol}: there is no application service
! GET /_matrix/federation/v1/openid/userinfo: it takes a secret
GET /_matrix/client/v3/thirdparty/location | alias={roomAlias}
GET /_matrix/client/v3/thirdparty/user | userid={userId}
! GET /_matrix/client/v3/thirdparty/location: there is no application service
! GET /_matrix/client/v3/thirdparty/user: there is no application service
POST /_matrix/client/v1/appservice/{appserviceId}/ping | | {}
! POST /_matrix/client/v1/appservice/{appserviceId}/ping: people may not
GET /_matrix/federation/v1/openid/userinfo | access_token={deviceId}

POST /_matrix/client/v1/rtc/livekit/get_token | | {"room_id":"{roomId}","slot_id":"m.call#ROOM","member":{"id":"m","claimed_device_id":"{myDevice}"}}
POST /_matrix/client/v1/rtc/livekit/get_token | | {"room_id":"{myRoom}","slot_id":"m.call#ROOM","member":{"id":"m","claimed_user_id":"{userId}","claimed_device_id":"{deviceId}"}}
POST /_matrix/client/unstable/io.element.msc4195/rtc/livekit/get_token | | {"room_id":"{roomId}","slot_id":"m.call#ROOM","member":{"id":"m","claimed_device_id":"{myDevice}"}}
POST /_matrix/client/v1/rtc/livekit/delegate_delayed_leave | | {"room_id":"{roomId}","slot_id":"m.call#ROOM","member":{"id":"m","claimed_device_id":"{myDevice}"},"delay_id":"{delayId}"}
POST /_matrix/client/unstable/io.element.msc4195/rtc/livekit/delegate_delayed_leave | | {"room_id":"{roomId}","slot_id":"m.call#ROOM","member":{"id":"m","claimed_device_id":"{myDevice}"},"delay_id":"{delayId}"}
POST /_roomline/livekit/webhook | | {}
! POST /_roomline/livekit/webhook: it takes a secret
POST /_matrix/federation/v1/rtc/livekit/get_token | | {"room_id":"{roomId}","slot_id":"m.call#ROOM","member":{"id":"m","claimed_user_id":"{userId}","claimed_device_id":"{deviceId}"}}
! POST /_matrix/federation/v1/rtc/livekit/get_token: it takes a signature
POST /_roomline/rtc/sfu/get | | {"room":"{roomId}","device_id":"{deviceId}","openid_token":{"access_token":"x","matrix_server_name":"{domain}"}}
! POST /_roomline/rtc/sfu/get: it takes a secret
POST /_roomline/rtc/get_token | | {"room_id":"{roomId}","slot_id":"m.call#ROOM","openid_token":{"access_token":"x","matrix_server_name":"{domain}"},"member":{"id":"m","claimed_user_id":"{userId}","claimed_device_id":"{deviceId}"}}
! POST /_roomline/rtc/get_token: it takes a secret

GET /_roomline/admin/v1/users
GET /_roomline/admin/v1/users | search=kanarienvogel
GET /_roomline/admin/v1/users | search={address}&deactivated=true
POST /_roomline/admin/v1/users | | {"localpart":"newcomer","domain":"{domain}"}
> POST /_roomline/admin/v1/users | | {"localpart":"n{txn}","emails":["{address}"]}
PUT /_roomline/admin/v1/users/{userId} | | {"displayname":"x","emails":["x@mail.test"],"suspended":true}
> PUT /_roomline/admin/v1/users/{userId} | | {"emails":["{address}"]} | userId={me}
PUT /_roomline/admin/v1/users/{userId}/password | | {"password":"correct horse z"}
POST /_roomline/admin/v1/users/{userId}/logout | | {}
POST /_roomline/admin/v1/users/{userId}/export | | {}
POST /_roomline/admin/v1/rooms/{roomId}/export | | {}
GET /_roomline/exports/{token} | | | token={deleteId}
! GET /_roomline/exports/{token}: it takes a secret
GET /_roomline/admin/v1/audit
GET /_roomline/admin/v1/audit | target={userId}
GET /_roomline/admin/v1/audit | actor={userId}
GET /_synapse/admin/v2/users
GET /_synapse/admin/v2/users | user_id={userId}
GET /_synapse/admin/v3/users
GET /_synapse/admin/v3/users | name=kanarienvogel&deactivated=true
PUT /_synapse/admin/v2/users/{userId} | | {"displayname":"x"}
> PUT /_synapse/admin/v2/users/{userId} | | {"threepids":[{"medium":"email","address":"{address}"}]} | userId={me}
PUT /_synapse/admin/v2/users/{userId} | | {"external_ids":[{"auth_provider":"idp","external_id":"{externalId}"}]} | userId={me}
POST /_synapse/admin/v1/deactivate/{userId} | | {"erase":true}
PUT /_synapse/admin/v1/suspend/{userId} | | {"suspend":true}
POST /_synapse/admin/v1/reset_password/{userId} | | {"new_password":"correct horse z"}
PUT /_synapse/admin/v1/users/{userId}/admin | | {"admin":true}
POST /_synapse/admin/v1/users/{userId}/login | | {}
POST /_synapse/admin/v2/users/{userId}/devices | | {"device_id":"X"}
PUT /_synapse/admin/v2/users/{userId}/devices/{deviceId} | | {"display_name":"x"}
PUT /_synapse/admin/v2/users/{userId}/devices/{deviceId} | | {"display_name":"x"} | userId={me}
POST /_synapse/admin/v2/users/{userId}/delete_devices | | {"devices":["{deviceId}"]}
POST /_synapse/admin/v2/users/{userId}/delete_devices | | {"devices":["{deviceId}"]} | userId={me}
GET /_synapse/admin/v1/threepid/{medium}/users/{address} | | | medium=email
GET /_synapse/admin/v1/auth_providers/{provider}/users/{externalId} | | | provider=idp
GET /_synapse/admin/v1/registration_tokens/{token} | | | token={registrationToken}
PUT /_synapse/admin/v1/registration_tokens/{token} | | {"uses_allowed":5} | token={registrationToken}
DELETE /_synapse/admin/v1/registration_tokens/{token} | | | token={registrationToken}
POST /_synapse/admin/v1/registration_tokens/new | | {}
! POST /_synapse/admin/v1/registration_tokens/new: it names no subject; one that is chosen is a secret, which whoever knows it may ask about
GET /_synapse/admin/v1/rooms
GET /_synapse/admin/v1/rooms | search_term=kanarienvogel
GET /_synapse/admin/v1/rooms | search_term={roomId}
GET /_synapse/admin/v1/rooms/{roomId}
GET /_synapse/admin/v1/rooms/{roomId} | | | roomId={roomIdOrAlias}
GET /_synapse/admin/v1/rooms/{roomId}/block | | | roomId={blockedRoomId}
PUT /_synapse/admin/v1/rooms/{roomId}/block | | {"block":true}
PUT /_synapse/admin/v1/rooms/{roomId}/block | | {"block":false} | roomId={blockedRoomId}
! PUT /_synapse/admin/v1/rooms/{roomId}/block: a room that is not there can be blocked too
DELETE /_synapse/admin/v1/rooms/{roomId} | | {"block":true,"purge":true}
DELETE /_synapse/admin/v2/rooms/{roomId} | | {"block":true,"purge":true}
DELETE /_synapse/admin/v2/rooms/{roomId} | | {"new_room_user_id":"{userId}"} | roomId={myRoom}
GET /_synapse/admin/v2/rooms/{roomId}/delete_status | | | roomId={deletedRoomId}
POST /_synapse/admin/v1/rooms/{roomId}/make_room_admin | | {"user_id":"{userId}"}
POST /_synapse/admin/v1/rooms/{roomId}/make_room_admin | | {"user_id":"{userId}"} | roomId={myRoom}

GET /_roomline/admin/v1/messages
GET /_roomline/admin/v1/messages | sender={userId}
! GET /_roomline/admin/v1/messages: the side had nothing sent
! GET /_roomline/admin/v1/messages/spending: it is about the asker's organisation
POST /_roomline/admin/v1/messages/resume | | {}
! POST /_roomline/admin/v1/messages/resume: it is about the asker's organisation
DELETE /_roomline/operator/v1/messages/refusals/{medium}/{address} | | | medium=email
! DELETE /_roomline/operator/v1/messages/refusals/{medium}/{address}: nobody has refused messages
GET /_roomline/guest/v1/refuse/{token} | | | token={deleteId}
POST /_roomline/guest/v1/refuse/{token} | | {} | token={deleteId}
! GET /_roomline/guest/v1/refuse/{token}: it takes a secret
! POST /_roomline/guest/v1/refuse/{token}: it takes a secret
POST /_roomline/telephony/v1/lease | | {"media":["email","msisdn"],"max":100}
! POST /_roomline/telephony/v1/lease: people may not
POST /_roomline/telephony/v1/outcomes | | {"outcomes":[]}
! POST /_roomline/telephony/v1/outcomes: people may not
POST /_roomline/telephony/v1/calls/start | | {"bridge":"bridge-bridge","trunk":"carrier","called":"+3225550100"}
! POST /_roomline/telephony/v1/calls/start: people may not
POST /_roomline/telephony/v1/calls/lease | | {"bridge":"bridge-bridge","trunks":["carrier"],"max":10,"calls":[{"call_id":"{callId}"}]}
! POST /_roomline/telephony/v1/calls/lease: people may not
POST /_roomline/telephony/v1/calls/{callId}/pin | | {"bridge":"bridge-bridge","pin":"1234567890"}
! POST /_roomline/telephony/v1/calls/{callId}/pin: people may not
POST /_roomline/telephony/v1/calls/{callId}/token | | {"bridge":"bridge-bridge"}
! POST /_roomline/telephony/v1/calls/{callId}/token: people may not
POST /_roomline/telephony/v1/calls/{callId}/event | | {"bridge":"bridge-bridge","state":"ended"}
! POST /_roomline/telephony/v1/calls/{callId}/event: people may not
POST /_roomline/telephony/v1/commands | | {"event_id":"{eventId}","room_id":"{roomId}","action":"help"}
! POST /_roomline/telephony/v1/commands: people may not

GET /_roomline/scim/v2/Users | count=200
GET /_roomline/scim/v2/Users | filter=externalId eq "{externalId}"
GET /_roomline/scim/v2/Users | filter=emails.value eq "{address}"
POST /_roomline/scim/v2/Users/.search | | {"schemas":["urn:ietf:params:scim:api:messages:2.0:SearchRequest"],"filter":"userName eq \"{scimName}\" or displayName co \"kanarienvogel\""}
> POST /_roomline/scim/v2/Users | | {"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"{scimName}","externalId":"{externalId}","emails":[{"value":"{address}"}]}
POST /_roomline/scim/v2/Users | | {"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"newcomer","urn:roomline:params:scim:schemas:extension:1.0:User":{"domain":"{domain}"}}
GET /_roomline/scim/v2/Users/{id} | | | id={scimId}
GET /_roomline/scim/v2/Users/{id} | | | id={userId}
PUT /_roomline/scim/v2/Users/{id} | | {"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"x"} | id={scimId}
PATCH /_roomline/scim/v2/Users/{id} | | {"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"replace","path":"title","value":"x"}]} | id={scimId}
> PATCH /_roomline/scim/v2/Users/{id} | | {"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"replace","path":"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager","value":{"value":"{userId}"}},{"op":"replace","path":"photos","value":[{"value":"mxc://{serverName}/{mediaId}","type":"photo"}]}]} | id={me}
DELETE /_roomline/scim/v2/Users/{id} | | | id={scimId}
GET /_roomline/scim/v2/Groups | count=200
GET /_roomline/scim/v2/Groups | filter=externalId eq "{externalId}"
POST /_roomline/scim/v2/Groups/.search | | {"schemas":["urn:ietf:params:scim:api:messages:2.0:SearchRequest"],"filter":"externalId eq \"{externalId}\" or displayName co \"kanarienvogel\""}
POST /_roomline/scim/v2/Groups | | {"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"x","members":[{"value":"{userId}"}]}
POST /_roomline/scim/v2/Groups | | {"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"x","urn:roomline:params:scim:schemas:extension:1.0:Group":{"roomId":"{roomId}"}}
GET /_roomline/scim/v2/Groups/{id} | | | id={groupId}
PUT /_roomline/scim/v2/Groups/{id} | | {"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"x"} | id={groupId}
PATCH /_roomline/scim/v2/Groups/{id} | | {"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"add","path":"members","value":[{"value":"{ownerId}"}]}]} | id={groupId}
DELETE /_roomline/scim/v2/Groups/{id} | | | id={groupId}
POST /_roomline/scim/v2/Bulk | | {"schemas":["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],"Operations":[{"method":"PATCH","path":"/Users/{scimId}","data":{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"replace","path":"title","value":"y"}]}},{"method":"DELETE","path":"/Groups/{groupId}"}]}
! GET /_roomline/scim/v2/Schemas/{urn}: schemas are the same for all
! GET /_roomline/scim/v2/ResourceTypes/{name}: types are the same for all

POST /_roomline/client/v1/app_passwords | | {"name":"x"}
! POST /_roomline/client/v1/app_passwords: it is about the asker
DELETE /_roomline/client/v1/app_passwords/{id} | | | id={appPasswordId}
GET /_roomline/client/v1/contacts
GET /_roomline/client/v1/contacts | search=kanarienvogel
PUT /_roomline/client/v1/contacts/{contactId} | | {"name":"x"}
! PUT /_roomline/client/v1/contacts/{contactId}: the asker may keep what they want
POST /_roomline/client/v1/contacts/import | | BEGIN:VCARD\nVERSION:3.0\nUID:{contactId}\nFN:x\nEND:VCARD\n
! POST /_roomline/client/v1/contacts/import: the asker may keep what they want
POST /_roomline/client/v1/contacts/profile | | {"name":"x"}
! POST /_roomline/client/v1/contacts/profile: the server has no certificate
GET /_roomline/client/v1/contacts/profile/{link} | | | link={deleteId}
! GET /_roomline/client/v1/contacts/profile/{link}: it takes a secret
POST /_roomline/client/v1/rooms/{roomId}/invitations | | {}
POST /_roomline/client/v1/invitations/{invitationId}/resend | | {}
GET /_roomline/admin/v1/invitations | room_id={roomId}
GET /_roomline/admin/v1/invitations | inviter={userId}

GET /_roomline/client/v1/meetings | room_id={roomId}&when=all
GET /_roomline/client/v1/meetings | when=all
POST /_roomline/client/v1/meetings | | {"title":"x","start_ts":4000000000000,"end_ts":4000003600000,"timezone":"UTC","invitees":[{"user_id":"{userId}"}]}
POST /_roomline/client/v1/meetings | | {"title":"x","start_ts":4000000000000,"end_ts":4000003600000,"timezone":"UTC","invitees":[{"medium":"email","address":"{address}"}]}
PATCH /_roomline/client/v1/meetings/{meetingId} | | {"title":"x"}
POST /_roomline/client/v1/meetings/{meetingId}/invitees | | {"invitees":[{"user_id":"{me}"}]}
PUT /_roomline/client/v1/meetings/{meetingId}/answer | | {"answer":"accepted"}
PUT /_roomline/client/v1/personal_meeting | | {}
! PUT /_roomline/client/v1/personal_meeting: it is about the asker
POST /_roomline/client/v1/rooms/{roomId}/meeting | | {"notify":"ring","link":true}
GET /_roomline/admin/v1/meetings | organiser={userId}&when=all
GET /_roomline/admin/v1/meetings | room_id={roomId}&when=all
POST /_roomline/admin/v1/meetings/{meetingId}/end | | {}
! GET /_roomline/admin/v1/meetings/figures: it is about the asker's organisation

PROPFIND /.well-known/carddav | | <propfind xmlns="DAV:"><prop><displayname/><owner/><current-user-principal/><sync-token/></prop></propfind>
! PROPFIND /.well-known/carddav: it is about the server
PROPFIND /_roomline/dav | | <propfind xmlns="DAV:"><prop><displayname/><owner/><current-user-principal/><sync-token/></prop></propfind>
! PROPFIND /_roomline/dav: it is about the asker
PROPFIND /_roomline/dav/principals/{user} | | <propfind xmlns="DAV:"><prop><displayname/><owner/><current-user-principal/><sync-token/></prop></propfind>
REPORT /_roomline/dav/principals/{user} | | <x xmlns="DAV:"/>
! REPORT /_roomline/dav/principals/{user}: there is no report of people
PROPFIND /_roomline/dav/addressbooks/{user} | | <propfind xmlns="DAV:"><prop><displayname/><owner/><current-user-principal/><sync-token/></prop></propfind>
PROPFIND /_roomline/dav/addressbooks/{user} | | <propfind xmlns="DAV:"><allprop/></propfind> | user={myUser}
REPORT /_roomline/dav/addressbooks/{user} | | <x xmlns="DAV:"/>
! REPORT /_roomline/dav/addressbooks/{user}: there is no report of all address books
PROPFIND /_roomline/dav/addressbooks/{user}/{book} | | <propfind xmlns="DAV:"><allprop/></propfind>
PROPFIND /_roomline/dav/addressbooks/{user}/{book} | | <propfind xmlns="DAV:"><allprop/></propfind> | book=organisation
PROPFIND /_roomline/dav/addressbooks/{user}/{book} | | <propfind xmlns="DAV:"><allprop/></propfind> | user={myUser},book=organisation
PROPPATCH /_roomline/dav/addressbooks/{user}/{book} | | <propertyupdate xmlns="DAV:"><set><prop><displayname>x</displayname></prop></set></propertyupdate>
REPORT /_roomline/dav/addressbooks/{user}/{book} | | <d:sync-collection xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:carddav"><d:sync-token/><d:sync-level>1</d:sync-level><d:prop><d:getetag/><c:address-data/></d:prop></d:sync-collection>
REPORT /_roomline/dav/addressbooks/{user}/{book} | | <d:sync-collection xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:carddav"><d:sync-token/><d:sync-level>1</d:sync-level><d:prop><d:getetag/><c:address-data/></d:prop></d:sync-collection> | user={myUser},book=organisation
REPORT /_roomline/dav/addressbooks/{user}/{book} | | <d:sync-collection xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:carddav"><d:sync-token/><d:sync-level>1</d:sync-level><d:prop><d:getetag/><c:address-data/></d:prop></d:sync-collection> | user={myUser}
REPORT /_roomline/dav/addressbooks/{user}/{book} | | <c:addressbook-query xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:carddav"><d:prop><d:getetag/><c:address-data/></d:prop><c:filter><c:prop-filter name="FN"><c:text-match>kanarienvogel</c:text-match></c:prop-filter></c:filter></c:addressbook-query> | user={myUser},book=organisation
REPORT /_roomline/dav/addressbooks/{user}/{book} | | <c:addressbook-multiget xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:carddav"><d:prop><d:getetag/><c:address-data/></d:prop><d:href>/_roomline/dav/addressbooks/{user}/personal/{contactId}</d:href></c:addressbook-multiget> | user={myUser}
REPORT /_roomline/dav/addressbooks/{user}/{book} | | <c:addressbook-multiget xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:carddav"><d:prop><d:getetag/><c:address-data/></d:prop><d:href>/_roomline/dav/addressbooks/{myUser}/personal/{contactId}</d:href></c:addressbook-multiget> | user={myUser}
REPORT /_roomline/dav/addressbooks/{user}/{book} | | <c:addressbook-multiget xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:carddav"><d:prop><d:getetag/><c:address-data/></d:prop><d:href>/_roomline/dav/addressbooks/{myUser}/organisation/{personObject}</d:href></c:addressbook-multiget> | user={myUser},book=organisation
PROPFIND /_roomline/dav/addressbooks/{user}/{book}/{object} | | <propfind xmlns="DAV:"><allprop/></propfind>
PROPFIND /_roomline/dav/addressbooks/{user}/{book}/{object} | | <propfind xmlns="DAV:"><allprop/></propfind> | user={myUser}
PROPFIND /_roomline/dav/addressbooks/{user}/{book}/{object} | | <propfind xmlns="DAV:"><allprop/></propfind> | user={myUser},book=organisation,object={personObject}
GET /_roomline/dav/addressbooks/{user}/{book}/{object}
GET /_roomline/dav/addressbooks/{user}/{book}/{object} | | | user={myUser}
GET /_roomline/dav/addressbooks/{user}/{book}/{object} | | | user={myUser},book=organisation,object={personObject}
PUT /_roomline/dav/addressbooks/{user}/{book}/{object} | | BEGIN:VCARD\nVERSION:3.0\nUID:{contactId}\nFN:x\nEND:VCARD\n
PUT /_roomline/dav/addressbooks/{user}/{book}/{object} | | BEGIN:VCARD\nVERSION:3.0\nUID:{contactId}\nFN:x\nEND:VCARD\n | user={myUser}
PUT /_roomline/dav/addressbooks/{user}/{book}/{object} | | BEGIN:VCARD\nVERSION:3.0\nUID:{contactId}\nFN:x\nEND:VCARD\n | user={myUser},book=organisation,object={personObject}
DELETE /_roomline/dav/addressbooks/{user}/{book}/{object}
DELETE /_roomline/dav/addressbooks/{user}/{book}/{object} | | | user={myUser}

! GET /_roomline/guest/v1/logo/{organisation}: a logo is for everybody
`

// pathValues are what stands in a path where no identifier does.
var pathValues = map[string]string{
	"eventType": "m.room.message", "txnId": "{txn}", "stateKey": "", "relType": "m.thread", "receiptType": "m.read", "fileName": "x.txt",
	"idpId": "x", "name": "media", "protocol": "irc", "networkId": "x", "urn": "x", "$": "", "file": "x", "folder": "x",
	"organisation": "{organisationId}",
	"keyId":        "ed25519:0",
}

// request is a line of requests.
type request struct {
	query, body string
	path        map[string]string
	last        bool
}

// bearer are routes whose identifiers are secrets: whoever knows one may act with it, without a token.
var bearer = map[string]bool{
	"POST /_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delayId}":         true,
	"POST /_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delayId}/send":    true,
	"POST /_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delayId}/restart": true,
	"POST /_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delayId}/cancel":  true,
}

// table reads requests: those of each route, and the routes in whose answers the control sees no difference.
func table(t *testing.T) (of map[string][]request, same map[string]bool) {
	t.Helper()
	of, same = map[string][]request{}, map[string]bool{}
	for line := range strings.SplitSeq(requests, "\n") {
		if line == "" {
			continue
		}
		if rest, is := strings.CutPrefix(line, "! "); is {
			route, why, _ := strings.Cut(rest, ": ")
			if why == "" {
				t.Errorf("no reason: %s", line)
			}
			same[route] = true
			continue
		}
		line, last := strings.CutPrefix(line, "> ")
		fields := append(strings.Split(line, " |"), "", "", "")
		r := request{query: strings.TrimSpace(fields[1]), body: strings.TrimSpace(fields[2]), path: map[string]string{}, last: last}
		for pair := range strings.SplitSeq(strings.TrimSpace(fields[3]), ",") {
			if name, value, is := strings.Cut(pair, "="); is {
				r.path[name] = value
			}
		}
		of[strings.TrimSpace(fields[0])] = append(of[strings.TrimSpace(fields[0])], r)
	}
	return of, same
}
