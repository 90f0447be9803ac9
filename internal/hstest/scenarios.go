package hstest

import "strings"

// Scenarios for SIPp (SIPpOptions).

// SIPpCalls is a phone that calls, presses keys such as 1234#, and speaks until it is hung up.
func SIPpCalls(keys string) string { return sippCalls + pressed(keys) + sippHungUp + sippEnd }

// SIPpCallsAndHangsUp is SIPpCalls that hangs up when it is told to, by INFO.
func SIPpCallsAndHangsUp(keys string) string {
	return sippCalls + pressed(keys) + sippHangsUp + sippEnd
}

// pressed presses keys.
func pressed(keys string) string {
	var b strings.Builder
	for _, key := range keys {
		name := string(key)
		switch key {
		case '*':
			name = "star"
		case '#':
			name = "pound"
		}
		b.WriteString("{key " + name + "}")
	}
	return b.String() + "\n"
}

const (
	// SIPpIsCalled is a phone that is called: it rings, is picked up, presses 1, and speaks until it is hung up.
	SIPpIsCalled = sippBegin + `  <recv request="INVITE"/>
` + sippPicksUp + sippHungUp + sippEnd

	// SIPpAsksAndIsCalled is the same behind a network that wants the password secret of the user roomline.
	SIPpAsksAndIsCalled = sippBegin + sippAsks + sippPicksUp + sippHungUp + sippKnown + sippEnd
)

const sippBegin = `<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="a phone">
`

const sippEnd = `</scenario>`

const sippCalls = sippBegin + `  <send retrans="500"><![CDATA[
INVITE sip:[service]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: "A customer" <sip:0475123456@[local_ip]:[local_port]>;tag=[pid]A[call_number]
To: <sip:[service]@[remote_ip]:[remote_port]>
Call-ID: [call_id]
CSeq: 1 INVITE
Contact: <sip:sipp@[local_ip]:[local_port];transport=[transport]>
Max-Forwards: 70
Session-Expires: 1800
Supported: timer
Content-Type: application/sdp
Content-Length: [len]

v=0
o=carrier 1 1 IN IP[media_ip_type] [media_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio [auto_media_port] RTP/AVP 18 8 0 101
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-16

]]></send>
  <recv response="100" optional="true"/>
  <recv response="180" optional="true"/>
  <recv response="200"/>
  <send><![CDATA[
ACK sip:[service]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: "A customer" <sip:0475123456@[local_ip]:[local_port]>;tag=[pid]A[call_number]
To: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]
Call-ID: [call_id]
CSeq: 1 ACK
Max-Forwards: 70
Content-Length: 0

]]></send>
  <pause milliseconds="600"/>
`

const sippHangsUp = `  <recv request="INFO"/>
  <send retrans="500"><![CDATA[
BYE sip:[service]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: "A customer" <sip:0475123456@[local_ip]:[local_port]>;tag=[pid]A[call_number]
To: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]
Call-ID: [call_id]
CSeq: 2 BYE
Max-Forwards: 70
Content-Length: 0

]]></send>
  <recv response="200"/>
`

const sippHungUp = `  <recv request="BYE"/>
  <send><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>
`

// SIPpAudio is the end of a message of SIPp that describes audio: the headers of the body, and the body.
const SIPpAudio = `Content-Type: application/sdp
Content-Length: [len]

v=0
o=carrier 1 1 IN IP[media_ip_type] [media_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 0 101
a=rtpmap:0 PCMU/8000
a=rtpmap:101 telephone-event/8000
`

const sippPicksUp = `  <send><![CDATA[
SIP/2.0 180 Ringing
[last_Via:]
[last_From:]
[last_To:];tag=[pid]D[call_number]
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:[local_ip]:[local_port];transport=[transport]>
Content-Length: 0

]]></send>
  <pause milliseconds="300"/>
  <send retrans="500"><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:];tag=[pid]D[call_number]
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:[local_ip]:[local_port];transport=[transport]>
` + SIPpAudio + `
]]></send>
  <recv request="ACK"/>
  <pause milliseconds="600"/>
  {key 1}
`

const sippAsks = `  <recv request="INVITE"/>
  <send retrans="500"><![CDATA[
SIP/2.0 401 Unauthorized
[last_Via:]
[last_From:]
[last_To:];tag=[pid]C[call_number]
[last_Call-ID:]
[last_CSeq:]
WWW-Authenticate: Digest realm="carrier", nonce="47ebe028cda119c35d4877b383027d28da013815", algorithm=MD5, qop="auth"
Content-Length: 0

]]></send>
  <recv request="ACK"/>
  <recv request="INVITE"><action>
    <assignstr assign_to="username" value="roomline"/>
    <verifyauth assign_to="good" username="roomline" password="secret"/>
  </action></recv>
  <nop hide="true" test="good" next="known"/>
  <send next="end"><![CDATA[
SIP/2.0 403 Forbidden
[last_Via:]
[last_From:]
[last_To:];tag=[pid]D[call_number]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>
  <label id="known"/>
`

// sippKnown is where sippAsks goes on with who does not know the password.
const sippKnown = `  <label id="end"/>
  <Reference variables="username"/>
`
