package moderation_test

import (
	"context"
	"net/http"
	"slices"
	"testing"

	"github.com/livekit/protocol/livekit"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/hstest/caller"
)

const (
	microphone = livekit.TrackSource_MICROPHONE
	camera     = livekit.TrackSource_CAMERA
	screen     = livekit.TrackSource_SCREEN_SHARE
)

// meet starts a deployment with a media server, and a room with people: host has power 100, the others none.
func meet(t *testing.T, processes int, people ...string) (*side, *hstest.LiveKitServer, map[string]*hstest.User) {
	t.Helper()
	l := hstest.LiveKit(t)
	with := hstest.WithLiveKit(l)
	s := start(t, hstest.Options{Processes: processes, Configure: func(process int, c map[string]any) {
		with(process, c)
		c["public_base_url"] = "https://meet.example"
	}})
	l.WebhookTo(t, s.BaseURL(0)+"/_roomline/livekit/webhook")
	all := map[string]*hstest.User{"host": s.host}
	for _, name := range people {
		all[name] = s.User(t, name)
		s.host.MustInvite(t, s.room, all[name])
		all[name].MustJoin(t, s.room)
	}
	return s, l, all
}

// TestModeratorsActOnTheMedia does to the media of somebody what a moderator can, and looks at it with another's client.
func TestModeratorsActOnTheMedia(t *testing.T) {
	t.Parallel()
	s, l, people := meet(t, 1, "anna", "bob", "moderator")
	s.host.MustDo(t, http.MethodPost, s.act("role"), object{"user_id": people["moderator"].ID, "role": "moderator"})
	anna, bob, moderator := s.call(t, people["anna"]), s.call(t, people["bob"]), s.call(t, people["moderator"])
	speaks := anna.MustPublish(t, microphone)
	anna.MustPublish(t, camera)
	anna.MustPublish(t, screen)
	for _, source := range []livekit.TrackSource{microphone, camera, screen} {
		bob.Hears(t, anna, source)
	}
	do := func(u *hstest.User, action string, body object) {
		t.Helper()
		u.MustDo(t, http.MethodPost, s.act(action), body)
	}

	// Who is muted may speak again.
	do(moderator.User, "mute", object{"user_id": anna.ID, "device_id": anna.DeviceID})
	bob.Awaits(t, anna, microphone, "muted")
	do(moderator.User, "mute", object{"user_id": anna.ID})
	speaks.SetMuted(false)
	bob.Awaits(t, anna, microphone, "on")
	bob.Hears(t, anna, microphone)

	// What is stopped is gone, and may be shown again. Nothing else is touched.
	do(moderator.User, "stop", object{"user_id": anna.ID, "source": "camera"})
	hstest.Eventually(t, "anna may send pictures after the stop", func() bool { return slices.Contains(participant(t, l, anna).Permission.CanPublishSources, camera) })
	bob.Awaits(t, anna, camera, "")
	do(moderator.User, "stop", object{"user_id": anna.ID, "source": "screen_share"})
	bob.Awaits(t, anna, screen, "")
	bob.Hears(t, anna, microphone)
	anna.MustPublish(t, camera)
	bob.Hears(t, anna, camera)

	// All but those with as much power are muted.
	bob.MustPublish(t, microphone)
	moderator.MustPublish(t, microphone)
	host := s.call(t, s.host)
	host.MustPublish(t, microphone)
	anna.Hears(t, host, microphone)
	anna.Hears(t, moderator, microphone)
	anna.Hears(t, bob, microphone)
	do(moderator.User, "mute_all", object{})
	for _, who := range []*caller.Listener{anna, bob} {
		hstest.Eventually(t, who.ID+" is muted by mute_all", func() bool { return isMuted(t, l, who, microphone) })
	}
	for _, who := range []*caller.Listener{moderator, host} {
		if isMuted(t, l, who, microphone) {
			t.Errorf("after mute_all %s is muted", who.ID)
		}
	}
	anna.Awaits(t, bob, microphone, "muted")
	bob.Awaits(t, anna, microphone, "muted")

	t.Run("refused", func(t *testing.T) {
		other := s.Organisation(t, "Other", "other.example").User(t, "eve")
		guest := s.guest(t, s.link(t, 1), "Gast", false)
		absent := s.User(t, "absent")
		for _, who := range []*hstest.User{anna.User, guest, other, absent} {
			for action, body := range map[string]object{
				"mute": {"user_id": bob.ID}, "mute_all": {}, "stop": {"user_id": bob.ID, "source": "camera"}, "lock": {}, "unlock": {}, "end": {},
				"publish": {"source": "camera", "role": "attendee"}, "lower_hand": {"user_id": bob.ID}, "remove": {"user_id": bob.ID}, "role": {"user_id": bob.ID, "role": "presenter"},
			} {
				if r, err := who.Do(context.Background(), http.MethodPost, s.act(action), body); err != nil || r.Status != 403 {
					t.Errorf("%s: %s: %v %s", who.ID, action, err, r)
				}
			}
		}
		for action, body := range map[string]object{
			"mute": {"user_id": s.host.ID}, "stop": {"user_id": s.host.ID, "source": "camera"}, "remove": {"user_id": s.host.ID}, "lower_hand": {"user_id": s.host.ID},
			"role": {"user_id": s.host.ID, "role": "attendee"}, "publish": {"source": "camera", "role": "organiser"},
		} {
			moderator.MustFail(t, 403, "M_FORBIDDEN", http.MethodPost, s.act(action), body)
		}
		moderator.MustFail(t, 403, "M_FORBIDDEN", http.MethodPost, s.act("role"), object{"user_id": bob.ID, "role": "organiser"})
		s.host.MustFail(t, 404, "M_NOT_FOUND", http.MethodPost, s.act("mute"), object{"user_id": absent.ID})
		s.host.MustFail(t, 404, "M_NOT_FOUND", http.MethodPost, s.act("mute"), object{"user_id": bob.ID, "device_id": "ANOTHER"})
		s.host.MustFail(t, 400, "M_INVALID_PARAM", http.MethodPost, s.act("mute"), object{"user_id": bob.ID, "source": "camera"})
		s.host.MustFail(t, 400, "M_INVALID_PARAM", http.MethodPost, s.act("stop"), object{"user_id": bob.ID, "source": "microphone"})
		s.host.MustFail(t, 403, "M_FORBIDDEN", http.MethodPost, s.act("role"), object{"user_id": guest.ID, "role": "moderator"})
		s.host.MustDo(t, http.MethodPost, s.act("role"), object{"user_id": guest.ID, "role": "presenter"})
	})

	l.Kill9(t)
	r, err := s.host.Do(context.Background(), http.MethodPost, s.act("mute"), object{"user_id": anna.ID})
	if err != nil || r.Status != 503 || r.ErrCode() != "ORG.ROOMLINE.MEETINGS_UNAVAILABLE" {
		t.Errorf("mute without a media server: %v %s", err, r)
	}
	l.Restart(t)
	s.host.MustFail(t, 404, "M_NOT_FOUND", http.MethodPost, s.act("mute"), object{"user_id": anna.ID})
}
