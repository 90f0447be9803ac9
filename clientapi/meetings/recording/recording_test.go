package recording_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/hstest/caller"
)

const services = `{"recording":"appservice","who_may_record":"moderators"}`

// TestAServiceRecordsWithConsent: nobody is recorded who has not agreed, and the application service hears those who have, for as long as it records.
func TestAServiceRecordsWithConsent(t *testing.T) {
	t.Parallel()
	s := start(t, 2, "anna", "bob", "late", "early")
	s.policy(t, services)
	anna, bob, gast := s.call(t, s.people["anna"]), s.call(t, s.people["bob"]), s.call(t, s.guest(t))
	anna.MustPublish(t, microphone)
	bob.MustPublish(t, microphone)
	gast.MustPublish(t, microphone)
	bob.Hears(t, anna, microphone)
	anna.Hears(t, bob, microphone)

	if r := s.recorder(t, asToken); r.Status != 403 {
		t.Fatalf("a token before anything is recorded: %s", r)
	}
	early := s.token(t, s.people["early"])
	started := s.host.MustDo(t, http.MethodPost, s.act("start"), object{"recorder": "scribe"})
	if started.Get("state").String() != "asking" || s.state(t) != "asking" {
		t.Fatalf("start: %s, and the room says %s", started, s.state(t))
	}
	if again := s.host.On(1).MustDo(t, http.MethodPost, s.act("start"), object{"recorder": "scribe"}); again.Get("recording_id").String() != started.Get("recording_id").String() {
		t.Errorf("start again: %s", again)
	}
	s.host.MustFail(t, 403, "M_BAD_STATE", http.MethodPost, s.act("start"), object{"recorder": "crm"})
	if r := s.recorder(t, asToken); r.Status != 403 {
		t.Errorf("a token while people are asked: %s", r)
	}
	anna.MustFail(t, 400, "M_INVALID_PARAM", http.MethodPost, s.act("consent"), object{"answer": "perhaps"})
	anna.On(1).MustDo(t, http.MethodPost, s.act("consent"), object{"answer": "yes"})
	if s.state(t) != "asking" || s.status(t, bob.User).Get("recording.consent").String() != "" || s.status(t, anna.User).Get("recording.consent").String() != "yes" {
		t.Errorf("one has answered: %s, %s", s.state(t), s.status(t, bob.User))
	}
	hstest.Eventually(t, "the host sees who has not answered", func() bool {
		list := s.status(t, s.host).Get("recording.unanswered").Array()
		return len(list) == 2
	})
	gast.MustDo(t, http.MethodPost, s.act("consent"), object{"answer": "yes"})
	if s.state(t) != "asking" || !sees(anna, bob) {
		t.Errorf("bob has not answered, and the room says %s", s.state(t))
	}
	// Who says no is not heard any more, and the recording begins.
	bob.MustDo(t, http.MethodPost, s.act("consent"), object{"answer": "no"})
	hstest.Eventually(t, "the recording begins", func() bool { return s.state(t) == "recording" })
	hstest.Eventually(t, "bob is not heard", func() bool { return !sees(anna, bob) })
	bob.Hears(t, anna, microphone)
	hstest.Eventually(t, "bob may not speak who has not agreed", func() bool { return !may(bob) })

	// The service comes, is seen, hears, and sends nothing.
	for _, token := range []string{"as-token-of-another", "as-token-without-grant", s.host.AccessToken} {
		if r := s.recorder(t, token); r.Status != 403 {
			t.Errorf("a token for another: %s", r)
		}
	}
	r := s.recorder(t, asToken)
	if r.Status != 200 {
		t.Fatalf("the recorder's token: %s", r)
	}
	scribe := caller.ListenWith(t, nil, r.JSON().Get("url").String(), r.JSON().Get("jwt").String())
	scribe.Hears(t, anna, microphone)
	scribe.Hears(t, gast, microphone)
	if may(scribe) {
		t.Error("the recorder may speak")
	}
	hstest.Eventually(t, "the recorder is seen", func() bool {
		p := anna.Call.GetParticipantByIdentity(scribe.Identity())
		return p != nil && p.Name() == "scribe (recorder)"
	})

	// Who comes later may speak when they have agreed.
	late := s.call(t, s.people["late"])
	if may(late) {
		t.Error("somebody may speak who has come later and was not asked")
	}
	late.Hears(t, anna, microphone)
	late.MustDo(t, http.MethodPost, s.act("consent"), object{"answer": "yes"})
	hstest.Eventually(t, "late may speak", func() bool { return may(late) })
	late.MustPublish(t, microphone)
	scribe.Hears(t, late, microphone)
	// A token from before there was a recording gives no more.
	quick := caller.ListenWith(t, s.people["early"], early.Get("url").String(), early.Get("jwt").String())
	hstest.Eventually(t, "an older token's rights are gone", func() bool { return !may(quick) })
	// A consent can be taken back.
	late.MustDo(t, http.MethodPost, s.act("consent"), object{"answer": "no"})
	hstest.Eventually(t, "late is not heard any more", func() bool { return !sees(scribe, late) })
	if scribe.Packets(bob, microphone) != 0 {
		t.Error("bob was recorded")
	}

	s.host.MustDo(t, http.MethodPost, s.act("stop"), object{})
	s.host.MustDo(t, http.MethodPost, s.act("stop"), object{})
	hstest.Eventually(t, "the recorder is out", scribe.IsGone)
	if s.state(t) != "stopped" || s.status(t, s.host).Get("recording").Exists() {
		t.Errorf("after the stop the room says %s", s.state(t))
	}
	if r := s.recorder(t, asToken); r.Status != 403 {
		t.Errorf("a token after the stop: %s", r)
	}
	hstest.Eventually(t, "bob may speak again", func() bool { return may(bob) })
	bob.MustPublish(t, microphone)
	anna.Hears(t, bob, microphone)
	if log := s.audited(t); log["recording.start"] != 1 || log["recording.stop"] != 1 || log["recording.token"] != 1 {
		t.Errorf("the audit log has %v", log)
	}
}

// TestWhoMayHaveAMeetingRecorded: by policy and by role.
func TestWhoMayHaveAMeetingRecorded(t *testing.T) {
	t.Parallel()
	s := start(t, 1, "anna", "moderator")
	s.host.MustDo(t, http.MethodPost, s.act("")+"/role", object{"user_id": s.people["moderator"].ID, "role": "moderator"})
	refused := func(u *hstest.User, status int, action string, body object) {
		t.Helper()
		if r, err := u.Do(context.Background(), http.MethodPost, s.act(action), body); err != nil || r.Status != status {
			t.Errorf("%s: %s: %v %s", u.ID, action, err, r)
		}
	}
	refused(s.host, 403, "start", object{}) // nothing is recorded where the organisation has not said so
	s.policy(t, `{"recording":"appservice"}`)
	refused(s.people["moderator"], 403, "start", object{"recorder": "scribe"})
	refused(s.host, 403, "start", object{"recorder": "egress"})
	refused(s.host, 404, "start", object{"recorder": "plain"})
	refused(s.host, 400, "start", object{})
	refused(s.host, 404, "consent", object{"answer": "yes"})
	s.policy(t, services)
	other := s.Organisation(t, "Other", "other.example").User(t, "eve")
	for _, u := range []*hstest.User{s.people["anna"], other} {
		refused(u, 403, "start", object{"recorder": "scribe"})
	}
	// Nobody is in the call: there is nobody to ask.
	s.people["moderator"].MustDo(t, http.MethodPost, s.act("start"), object{"recorder": "scribe"})
	if s.state(t) != "recording" {
		t.Errorf("the room says %s", s.state(t))
	}
	refused(s.people["anna"], 403, "stop", object{})
	refused(other, 403, "consent", object{"answer": "yes"})
	refused(other, 403, "stop", object{})
	s.host.MustDo(t, http.MethodPost, s.act("")+"/end", object{})
	if s.state(t) != "stopped" {
		t.Errorf("after the end the room says %s", s.state(t))
	}
	// A recorder that can't be put out now is put out later, and so long it is said that it records.
	s.host.MustDo(t, http.MethodPost, s.act("start"), object{"recorder": "scribe"})
	r := s.recorder(t, asToken)
	caller.ListenWith(t, nil, r.JSON().Get("url").String(), r.JSON().Get("jwt").String())
	s.lk.Kill9(t)
	s.host.MustDo(t, http.MethodPost, s.act("stop"), object{})
	if s.state(t) != "recording" {
		t.Errorf("while the recorder is not out the room says %s", s.state(t))
	}
	if r := s.recorder(t, asToken); r.Status != 403 {
		t.Errorf("a token after the stop: %s", r)
	}
	s.lk.Restart(t)
	hstest.Eventually(t, "the room says that it is over", func() bool { return s.state(t) == "stopped" })
}

// TestNoRecorderIsDeployed: the media server of the test has no Egress, which is said before anybody is asked.
func TestNoRecorderIsDeployed(t *testing.T) {
	t.Parallel()
	s := start(t, 1)
	s.policy(t, `{"recording":"egress"}`)
	s.host.MustFail(t, 501, "ORG.ROOMLINE.NO_RECORDER", http.MethodPost, s.act("start"), object{})
	if state := s.state(t); state != "" {
		t.Errorf("the room says %s", state)
	}
}

// TestAnotherProcessGoesOn: the process that was asked dies, and who has not answered leaves. The recording begins all the same, and when that one
// dies too what it said of the recording holds.
func TestAnotherProcessGoesOn(t *testing.T) {
	t.Parallel()
	s := start(t, 2, "anna", "bob")
	s.policy(t, services)
	anna, bob := s.call(t, s.people["anna"]), s.call(t, s.people["bob"])
	anna.MustPublish(t, microphone)
	bob.Hears(t, anna, microphone)
	s.host.On(1).MustDo(t, http.MethodPost, s.act("start"), object{"recorder": "scribe"})
	anna.On(1).MustDo(t, http.MethodPost, s.act("consent"), object{"answer": "yes"})
	s.Kill9(t, 1)
	if s.state(t) != "asking" {
		t.Fatalf("bob was not asked: the room says %s", s.state(t))
	}
	bob.Call.Disconnect()
	hstest.Eventually(t, "the recording begins", func() bool { return s.state(t) == "recording" })
	// A process that has just begun knows of it.
	s.Restart(t, 1)
	again := s.call(t, s.people["bob"].On(1))
	if may(again) {
		t.Error("bob may speak who was not asked")
	}
	s.host.On(1).MustDo(t, http.MethodPost, s.act("stop"), object{})
	hstest.Eventually(t, "it is over", func() bool { return s.state(t) == "stopped" })
	hstest.Eventually(t, "bob may speak", func() bool { return may(again) })
}
