package voice

import (
	"log/slog"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/hstest/whistle"
	"github.com/roomline/roomline/internal/phone"
	"github.com/roomline/roomline/internal/sfu"
)

const ghost = "@phone_1:example.org:PHONE"

// TestCalls is the bridge between carriers and a real LiveKit. The calls go on beside each other.
func TestCalls(t *testing.T) {
	lk := hstest.LiveKit(t)
	for name, f := range map[string]func(*testing.T, *desk){
		"a phone in a meeting":                 aPhoneInAMeeting,
		"a carrier calls":                      aCarrierCalls,
		"a carrier is called":                  aCarrierIsCalled,
		"encrypted from end to end of the leg": encryptedLeg,
		"encrypted if the other side can":      encryptedIfPossible,
		"wrong PINs":                           wrongPINs,
		"a lobby and a recording":              lobbyAndRecording,
		"kicked, and ended":                    kickedAndEnded,
		"a phone that falls silent":            silentPhone,
		"time is over":                         timeIsOver,
		"who may call":                         whoMayCall,
		"two trunks":                           twoTrunks,
		"registered":                           registered,
		"cancelled":                            cancelled,
		"calls that do not come to be":         failedCalls,
		"rubbish":                              rubbish,
		"an offer that comes late":             lateOffer,
		"by IPv6":                              byIPv6,
		"called by IPv6":                       calledByIPv6,
		"early media":                          earlyMedia,
		"passwords by SHA-256":                 passwordsBySHA256,
		"sent elsewhere":                       sentElsewhere,
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			f(t, newDesk(t, lk))
		})
	}
}

func aPhoneInAMeeting(t *testing.T, d *desk) {
	d.room("alpha", "1234", ghost)
	address, b := started(t, d, nil)
	bob := d.person("alpha", "bob")
	bob.whistle(t)
	h := newHandset(t, "udp", nil)
	if status := h.calls(address, "022345678"); status != 200 {
		t.Fatalf("answered with %d", status)
	}
	if h.codec != wide {
		t.Errorf("the codec is %s", h.codec.name)
	}
	h.hearsSomething()
	h.presses("1234#")
	d.waitJoined()
	if s := d.starts[0]; s.Called != "+3222345678" || s.Caller != "+32475123456" || s.Trunk != "one" || s.Reference == "" {
		t.Errorf("the server was told %+v", s)
	}
	h.listens(700) // Opus from the room
	h.whistle(440)
	bob.hears(t, 440)

	h.presses("*6")
	_, e := d.wait("muted", func(_ string, e phone.Event) bool { return e.Muted != nil })
	if !*e.Muted {
		t.Error("star 6 did not mute")
	}
	hstest.Eventually(t, "a muted track in LiveKit", bob.muted.Load)
	h.presses("*6")
	d.wait("not muted", func(_ string, e phone.Event) bool { return e.Muted != nil && !*e.Muted })
	bob.hears(t, 440)
	h.presses("*9")
	if _, e = d.wait("a hand", func(_ string, e phone.Event) bool { return e.Hand != nil }); !*e.Hand {
		t.Error("star 9 did not raise a hand")
	}
	// A moderator mutes; the phone may take it back.
	if err := d.sfu.Mute(t.Context(), "alpha", ghost, sfu.Microphone, true); err != nil {
		t.Fatal(err)
	}
	hstest.Eventually(t, "a track that a moderator muted", bob.muted.Load)
	// The phone hears of it at a time of its own.
	hstest.Eventually(t, "a phone that knows that it is muted", func() bool { return allMuted(b) })
	h.forget()
	h.presses("*6")
	bob.hears(t, 440)

	// On hold: nothing of what the carrier plays then is for the meeting, and nothing of the meeting for it.
	if a := h.again(sendonly); a.direction != recvonly {
		t.Errorf("hold was answered with %s", a.direction)
	}
	// What is under way arrives, and then nothing does.
	hstest.Eventually(t, "a second of silence while the call is held", func() bool {
		h.forget()
		bob.Forget()
		time.Sleep(time.Second)
		h.mu.Lock()
		defer h.mu.Unlock()
		return bob.Silent() && len(h.heard) == 0
	})
	if a := h.again(sendrecv); a.direction != sendrecv {
		t.Errorf("taking up again was answered with %s", a.direction)
	}
	bob.hears(t, 440)
	h.listens(700)
	h.hangsUp()
	d.waitEnd(phone.CauseHangup)
	hstest.Eventually(t, "an empty place", func() bool { return !present(t, d, "alpha") })
}

// legsOf are the calls of a bridge.
func legsOf(b *Bridge) []*leg {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Values(b.legs))
}

func allMuted(b *Bridge) bool {
	for _, l := range legsOf(b) {
		l.mu.Lock()
		muted := l.muted
		l.mu.Unlock()
		if !muted {
			return false
		}
	}
	return true
}

func present(t *testing.T, d *desk, room string) bool {
	t.Helper()
	list, err := d.sfu.Participants(t.Context(), room)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list {
		if p.Identity == ghost {
			return true
		}
	}
	return false
}

func wrongPINs(t *testing.T, d *desk) {
	d.room("zeta", "1234", ghost)
	address, _ := started(t, d, nil)
	h := newHandset(t, "udp", nil)
	h.codecs = []*codec{pcmu}
	if status := h.calls(address, "+3222345678"); status != 200 {
		t.Fatalf("answered with %d", status)
	}
	h.hearsSomething()
	h.presses("99*9876#") // a star begins anew
	hstest.Eventually(t, "the first try", func() bool { d.mu.Lock(); defer d.mu.Unlock(); return d.tries["callb"] == 2 })
	// Keys as messages, with no hash key: the length is known.
	for _, key := range "0000" {
		info := sip.NewRequest(sip.INFO, h.out.InviteResponse.Contact().Address)
		info.AppendHeader(sip.NewHeader("Content-Type", "application/dtmf-relay"))
		info.SetBody([]byte("Signal=" + string(key) + "\r\nDuration=160\r\n"))
		if res, err := h.out.Do(t.Context(), info); err != nil || res.StatusCode != 200 {
			t.Fatalf("INFO: %v, %v", res, err)
		}
	}
	hstest.Eventually(t, "the second try", func() bool { d.mu.Lock(); defer d.mu.Unlock(); return d.tries["callb"] == 1 })
	h.presses("5555#")
	h.waitHungUp()
	d.waitEnd(phone.CausePIN)

	d.edit("1234", func(j *phone.Join) { j.Problem = phone.EncryptedMeeting })
	h2 := newHandset(t, "udp", nil)
	if status := h2.calls(address, "+3222345678"); status != 200 {
		t.Fatalf("answered with %d", status)
	}
	h2.presses("1234")
	h2.waitHungUp()
	d.wait("an ending for the encryption", func(_ string, e phone.Event) bool { return e.State == phone.Ended && e.Cause == phone.CauseEncrypted })
}

func lobbyAndRecording(t *testing.T, d *desk) {
	d.room("eta", "1234", ghost)
	d.edit("1234", func(j *phone.Join) { j.Waiting = true })
	address, _ := started(t, d, nil)
	bob := d.person("eta", "bob")
	h := newHandset(t, "udp", nil)
	if status := h.calls(address, "+3222345678"); status != 200 {
		t.Fatalf("answered with %d", status)
	}
	h.presses("1234#")
	call := ""
	hstest.Eventually(t, "somebody waiting", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		for one := range d.joins {
			call = one
		}
		return call != ""
	})
	h.whistle(440)
	if present(t, d, "eta") {
		t.Error("who waits is in the meeting already")
	}
	d.mu.Lock()
	j := d.joins[call]
	j.Waiting, j.Recording = false, phone.Asking
	d.joins[call] = j
	d.mu.Unlock()
	d.order(phone.Status{CallID: call, Recording: phone.Asking})
	hstest.Eventually(t, "the phone at the door", func() bool { return present(t, d, "eta") })
	h.presses("1")
	if _, e := d.wait("a consent", func(_ string, e phone.Event) bool { return e.Consent != "" }); e.Consent != "yes" {
		t.Errorf("the answer was %q", e.Consent)
	}
	d.waitJoined()
	bob.hears(t, 440)
	d.order(phone.Status{CallID: call})
	d.order(phone.Status{CallID: call, Recording: phone.Asking}) // another recording
	hstest.Eventually(t, "a refusal", func() bool {
		h.presses("2") // as long as the question has not come, it is the answer to nothing
		time.Sleep(300 * time.Millisecond)
		return d.told(func(e phone.Event) bool { return e.Consent == "no" })
	})
	h.hangsUp()
	d.waitEnd(phone.CauseHangup)
}

func kickedAndEnded(t *testing.T, d *desk) {
	d.room("theta", "1234", ghost)
	d.room("iota", "4321", ghost)
	address, _ := started(t, d, nil)
	var phones []*handset
	for _, pin := range []string{"1234", "4321"} {
		h := newHandset(t, "udp", nil)
		if status := h.calls(address, "+3222345678"); status != 200 {
			t.Fatalf("answered with %d", status)
		}
		h.presses(pin + "#")
		phones = append(phones, h)
	}
	hstest.Eventually(t, "both in their meetings", func() bool { return d.joinedTimes() >= 2 })
	if err := d.sfu.Remove(t.Context(), "theta", ghost); err != nil {
		t.Fatal(err)
	}
	if err := d.sfu.DeleteRoom(t.Context(), "iota"); err != nil {
		t.Fatal(err)
	}
	for _, h := range phones {
		h.waitHungUp()
	}
	d.wait("removed", func(_ string, e phone.Event) bool { return e.Cause == phone.CauseRemoved })
	d.wait("ended", func(_ string, e phone.Event) bool { return e.Cause == phone.CauseEnded })
}

func silentPhone(t *testing.T, d *desk) {
	d.room("kappa", "1234", ghost)
	const silent = time.Hour
	address, b := started(t, d, func(c *Config) { c.MediaTimeout = silent })
	h := newHandset(t, "udp", nil)
	if status := h.calls(address, "+3222345678"); status != 200 {
		t.Fatalf("answered with %d", status)
	}
	h.presses("1234#")
	d.waitJoined()
	h.media.mu.Lock()
	h.media.sending = false
	h.media.mu.Unlock()
	// What it has sent before arrives, and an hour passes.
	hstest.Eventually(t, "the end of a call of which nothing is heard", func() bool {
		for _, l := range legsOf(b) {
			l.media.lastPacket.Store(time.Now().Add(-silent - time.Second).UnixNano())
		}
		return h.hungUp.Load()
	})
	d.waitEnd(phone.CauseTrunk)
}

func timeIsOver(t *testing.T, d *desk) {
	d.room("lambda", "1234", ghost)
	d.edit("1234", func(j *phone.Join) { j.SecondsAllowed = 2 })
	address, _ := started(t, d, nil)
	h := newHandset(t, "udp", nil)
	if status := h.calls(address, "+3222345678"); status != 200 {
		t.Fatalf("answered with %d", status)
	}
	h.presses("1234#")
	h.waitHungUp()
	d.waitEnd(phone.CauseTime)
}

// TestLiveKitIsAwayForAWhile has its own, which is killed.
func TestLiveKitIsAwayForAWhile(t *testing.T) {
	t.Parallel()
	d := newDesk(t, hstest.LiveKit(t))
	d.room("omega", "1234", ghost)
	address, _ := started(t, d, nil)
	h := newHandset(t, "udp", nil)
	if status := h.calls(address, "+3222345678"); status != 200 {
		t.Fatalf("answered with %d", status)
	}
	h.presses("1234#")
	d.waitJoined()
	d.lk.Kill9(t)
	hstest.Eventually(t, "another way in to be asked for", func() bool { d.mu.Lock(); defer d.mu.Unlock(); return d.tokens > 0 })
	d.lk.Restart(t)
	d.room("omega", "1234", ghost)
	hstest.Eventually(t, "the phone in the meeting again", func() bool { return d.joinedTimes() >= 2 })
	bob := d.person("omega", "bob")
	bob.whistle(t)
	h.whistle(440)
	bob.hears(t, 440)
	h.listens(700)
	h.hangsUp()
	d.waitEnd(phone.CauseHangup)
}

func TestAnnouncementsAreSpoken(t *testing.T) {
	if _, err := exec.LookPath("espeak-ng"); err != nil {
		t.Fatal("espeak-ng is not installed: make sipp")
	}
	a, err := newAnnouncer(nil, []string{"espeak-ng", "-v", "{language}", "--stdin", "--stdout"}, discard)
	if err != nil {
		t.Fatal(err)
	}
	for _, language := range languages {
		s := a.sound(t.Context(), language, phJoined, "--help; Anna <x>", "")
		if n := len(s.narrow); n < 8000 || whistle.Loudness(s.narrow) < 300 || len(s.wide) < 2*n-2 {
			t.Errorf("%s: %d samples of loudness %.0f", language, n, whistle.Loudness(s.narrow))
		}
	}
	a.speech = []string{"false"} // what was spoken is remembered, and what can't be is a tone
	if s := a.sound(t.Context(), "en", phJoined, "--help; Anna <x>", ""); len(s.narrow) < 8000 {
		t.Error("the text is not remembered")
	}
	if s := a.sound(t.Context(), "en", phHelp, "", ""); len(s.narrow) != len(tonesOf(phHelp).narrow) {
		t.Error("no tones in place of what can't be spoken")
	}
	for p := range words["en"] {
		for _, language := range languages {
			if words[language][p] == "" || strings.Count(words[language][p], "%s") != strings.Count(words["en"][p], "%s") {
				t.Errorf("%s has no %s", language, p)
			}
		}
	}
}

var discard = slog.New(slog.DiscardHandler)
