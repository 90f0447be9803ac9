package sfu_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/livekit/protocol/livekit"
	"github.com/livekit/protocol/logger"
	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/pion/webrtc/v4"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/sfu"
)

func TestMain(m *testing.M) { lksdk.SetLogger(logger.GetDiscardLogger()); hstest.Main(m) }

// serverOf is a client of a LiveKit of the test's own.
func serverOf(t *testing.T, l *hstest.LiveKitServer, keys ...sfu.Key) *sfu.Client {
	t.Helper()
	c, err := sfu.New(sfu.Config{URL: l.URL, PublicURL: l.PublicURL, Keys: keys, HTTP: &http.Client{}, Within: time.Minute, Clock: matrix.SystemClock{}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func join(t *testing.T, c *sfu.Client, r sfu.TokenRequest, cb *lksdk.RoomCallback) (*lksdk.Room, error) {
	t.Helper()
	token, err := c.Token(r)
	if err != nil {
		t.Fatal(err)
	}
	room, err := lksdk.ConnectToRoomWithToken(c.PublicURL(), token, cb, lksdk.WithAutoSubscribe(true), lksdk.WithConnectTimeout(time.Minute))
	if err == nil {
		t.Cleanup(room.Disconnect)
	}
	return room, err
}

// TestRooms is a meeting as the homeserver sees it, with the real LiveKit and real participants.
func TestRooms(t *testing.T) {
	l := hstest.LiveKit(t)
	key := sfu.Key{Key: l.Key, Secret: l.Secret}
	c, ctx := serverOf(t, l, key), context.Background()
	all := sfu.Rights{Publish: []sfu.Source{sfu.Microphone, sfu.Camera}, Data: true, Subscribe: true}
	anna := sfu.TokenRequest{Room: "alias", Identity: "@anna:hs.test:DEVICE", Name: "Anna", Rights: all, Attributes: map[string]string{"kind": "member"}}
	ben := sfu.TokenRequest{Room: "alias", Identity: "@ben:hs.test:DEVICE", Rights: sfu.Rights{Subscribe: true}}

	if _, err := join(t, c, anna, nil); err == nil {
		t.Fatal("a room that we have not made lets people in")
	}
	sid, err := c.CreateRoom(ctx, "alias", sfu.RoomOptions{EmptyTimeout: time.Minute, MaxParticipants: 10})
	if err != nil || sid == "" {
		t.Fatal(sid, err)
	}
	if again, err := c.CreateRoom(ctx, "alias", sfu.RoomOptions{}); err != nil || again != sid {
		t.Fatalf("made again: %q %q %v", sid, again, err)
	}
	removed := make(chan lksdk.DisconnectionReason, 1)
	data := make(chan string, 100)
	a, err := join(t, c, anna, &lksdk.RoomCallback{
		OnDisconnectedWithReason: func(r lksdk.DisconnectionReason) { removed <- r },
		ParticipantCallback: lksdk.ParticipantCallback{OnDataPacket: func(d lksdk.DataPacket, _ lksdk.DataReceiveParams) {
			if u, ok := d.(*lksdk.UserDataPacket); ok {
				data <- u.Topic + ":" + string(u.Payload)
			}
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := join(t, c, ben, nil)
	if err != nil {
		t.Fatal(err)
	}
	track, err := lksdk.NewLocalSampleTrack(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.LocalParticipant.PublishTrack(track, &lksdk.TrackPublicationOptions{Source: livekit.TrackSource_MICROPHONE}); err != nil {
		t.Fatal(err)
	}
	// The client library waits ten seconds for an answer that does not come.
	go func() {
		_, _ = b.LocalParticipant.PublishTrack(track, &lksdk.TrackPublicationOptions{Source: livekit.TrackSource_MICROPHONE})
	}()
	one := func(identity string) sfu.Participant {
		people, err := c.Participants(ctx, "alias")
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(people, func(p sfu.Participant) bool { return p.Identity == identity })
		if i < 0 {
			return sfu.Participant{}
		}
		return people[i]
	}
	hstest.Eventually(t, "Anna and her microphone are there", func() bool {
		p := one(anna.Identity)
		return p.Active && p.Name == "Anna" && p.Attributes["kind"] == "member" && len(p.Tracks) == 1 && p.Tracks[0].Source == sfu.Microphone && !p.Tracks[0].Muted
	})
	rooms, err := c.Rooms(ctx)
	if err != nil || len(rooms) != 1 || rooms[0].Alias != "alias" || rooms[0].SID != sid {
		t.Errorf("rooms %+v %v", rooms, err)
	}
	hstest.Eventually(t, "Anna is told something", func() bool { // as long as her channel is not open, what is said is lost
		if err := c.SendData(ctx, "alias", "topic", []byte("hello"), anna.Identity); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-data:
			if got != "topic:hello" {
				t.Errorf("data %q", got)
			}
			return true
		case <-time.After(5 * time.Second):
			return false
		}
	})
	if err := c.Mute(ctx, "alias", anna.Identity, sfu.Microphone, true); err != nil {
		t.Error(err)
	}
	hstest.Eventually(t, "Anna is muted", func() bool { p := one(anna.Identity); return len(p.Tracks) == 1 && p.Tracks[0].Muted })
	if err := c.Mute(ctx, "alias", anna.Identity, sfu.Microphone, false); err == nil {
		t.Error("the server unmutes people")
	}
	if err := c.Update(ctx, "alias", anna.Identity, sfu.Rights{Subscribe: true}); err != nil {
		t.Error(err)
	}
	hstest.Eventually(t, "Anna sends nothing any more", func() bool { return len(one(anna.Identity).Tracks) == 0 })
	if p := one(ben.Identity); !p.Active || len(p.Tracks) > 0 {
		t.Errorf("somebody without the right sends sound: %+v", p)
	}
	if err := c.Remove(ctx, "alias", anna.Identity); err != nil {
		t.Error(err)
	}
	if reason := <-removed; reason != lksdk.ParticipantRemoved {
		t.Errorf("Anna is told %v", reason)
	}
	hstest.Eventually(t, "Anna is out", func() bool { return one(anna.Identity).Identity == "" })
	if err := c.DeleteRoom(ctx, "alias"); err != nil {
		t.Error(err)
	}
	for name, do := range map[string]func() error{
		"remove nobody":       func() error { return c.Remove(ctx, "alias", "nobody") },
		"update nobody":       func() error { return c.Update(ctx, "alias", "nobody", all) },
		"mute nobody":         func() error { return c.Mute(ctx, "alias", "nobody", sfu.Camera, true) },
		"delete what is not":  func() error { return c.DeleteRoom(ctx, "other") },
		"ask for what is not": func() error { _, err := c.Participants(ctx, "other"); return err },
		"ping":                func() error { return c.Ping(ctx) },
	} {
		if err := do(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A key is replaced while meetings go on: LiveKit gets the new one, then we sign with it, and both are believed.
func TestKeysAreReplaced(t *testing.T) {
	l := hstest.LiveKit(t)
	l.AddKey(t, newKey.Key, newKey.Secret)
	first := sfu.Key{Key: l.Key, Secret: l.Secret}
	ctx := context.Background()
	before, after := serverOf(t, l, first), serverOf(t, l, newKey, first)
	if _, err := before.CreateRoom(ctx, "alias", sfu.RoomOptions{}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*sfu.Client{"before": before, "after": after} {
		if _, err := join(t, c, sfu.TokenRequest{Room: "alias", Identity: name, Rights: sfu.Rights{Subscribe: true}}, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if people, err := after.Participants(ctx, "alias"); err != nil || len(people) != 2 {
		t.Errorf("%v %v", people, err)
	}
	stranger := serverOf(t, l, oldKey)
	if err := stranger.Ping(ctx); err == nil || errors.Is(err, sfu.ErrUnavailable) {
		t.Errorf("LiveKit answers to a key that it does not have: %v", err)
	}
	l.Kill9(t)
	if err := after.Ping(ctx); !errors.Is(err, sfu.ErrUnavailable) {
		t.Errorf("LiveKit is killed: %v", err)
	}
	l.Restart(t)
	if err := after.Ping(ctx); err != nil {
		t.Error(err)
	}
}

// TestLiveKitWithoutSIP: the real LiveKit has no SIP without redis, and that is said; a LiveKit that is not there is told from it by nobody who only wants
// to call.
func TestLiveKitWithoutSIP(t *testing.T) {
	l := hstest.LiveKit(t)
	c, ctx := serverOf(t, l, sfu.Key{Key: l.Key, Secret: l.Secret}), context.Background()
	_, rules := c.SIPRules(ctx, "")
	_, trunk := c.EnsureSIPTrunk(ctx, sfu.SIPTrunk{Name: "a", Numbers: []string{"+3225550100"}})
	for name, err := range map[string]error{
		"trunks": c.CheckSIPTrunk(ctx, "ST_1"), "rules": rules, "a trunk": trunk, "a call": c.CallBySIP(ctx, sfu.SIPCall{Trunk: "ST_1", Number: "+3225550100", Room: "r", Identity: "i"}),
	} {
		if !errors.Is(err, sfu.ErrNoSIP) || errors.Is(err, sfu.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	l.Kill9(t)
	if err := c.CheckSIPTrunk(ctx, "ST_1"); !errors.Is(err, sfu.ErrNoSIP) {
		t.Errorf("no LiveKit: %v", err)
	}
}
