package limits

import "time"

// The phone's end of calls into meetings (appservices/telephony/voice).
const (
	// VoiceCalls bounds the calls of a bridge, VoiceSDP what a network says of a call's audio, VoiceMessage a message of SIP.
	VoiceCalls   = 1000
	VoiceSDP     = 8 << 10
	VoiceMessage = 32 << 10

	// VoiceUnknown is how many messages in a second from addresses that nobody expects are answered. More are not looked at.
	VoiceUnknown = 20

	// VoicePackets is how many packets in a second a call may bring: 20 ms of audio each are 50.
	VoicePackets = 400

	// VoicePrompt bounds an announcement, VoiceSpeaking how long a program may take to speak it, VoiceSpoken how many seconds of them are remembered.
	VoicePrompt   = time.Minute
	VoiceSpeaking = 10 * time.Second
	VoiceSpoken   = 30 * 60

	// VoiceDigits is how many keys are remembered that nobody has asked for yet.
	VoiceDigits = 64

	// VoiceSilent is how long a phone may send nothing before the call is over, VoiceHeld how long it may hold the call.
	VoiceSilent = 30 * time.Second
	VoiceHeld   = 30 * time.Minute

	// VoiceKey is how long somebody may take for the next key, VoiceAsked how often they are asked for it.
	VoiceKey   = 12 * time.Second
	VoiceAsked = 3

	// VoiceAway is for how long a call stays on while the meeting can't be reached.
	VoiceAway = time.Minute
)
