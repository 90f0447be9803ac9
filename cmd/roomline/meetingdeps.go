package main

import (
	_ "github.com/emiago/sipgo"
	_ "github.com/livekit/media-sdk"
	_ "github.com/livekit/server-sdk-go/v2"
	_ "github.com/pion/opus"
	_ "github.com/pion/webrtc/v4"
)
