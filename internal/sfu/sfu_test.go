package sfu_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/livekit/protocol/auth"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/sfu"
)

var (
	newKey = sfu.Key{Key: "new", Secret: strings.Repeat("n", 32)}
	oldKey = sfu.Key{Key: "old", Secret: strings.Repeat("o", 32)}
)

func client(t *testing.T, url string, keys ...sfu.Key) *sfu.Client {
	t.Helper()
	c, err := sfu.New(sfu.Config{URL: url, PublicURL: "wss://meet.example.org/", Keys: keys, HTTP: &http.Client{}, Clock: matrix.SystemClock{}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestKeysAndAddressesAreChecked(t *testing.T) {
	for name, cfg := range map[string]sfu.Config{
		"no key":       {URL: "http://a"},
		"three keys":   {URL: "http://a", Keys: []sfu.Key{newKey, oldKey, newKey}},
		"short secret": {URL: "http://a", Keys: []sfu.Key{{Key: "a", Secret: "short"}}},
		"no URL":       {URL: "a", Keys: []sfu.Key{newKey}},
		"ftp":          {URL: "ftp://a", Keys: []sfu.Key{newKey}},
	} {
		if _, err := sfu.New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if got := client(t, "ws://a", newKey).PublicURL(); got != "wss://meet.example.org" {
		t.Errorf("public URL %q", got)
	}
}

// claims of a token, read as anybody may, with the grant's fields.
func claims(t *testing.T, token string) (all, grant map[string]any) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("token %q", token)
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	grant, _ = all["video"].(map[string]any)
	return all, grant
}

// SEC-100: a token says what may be done in one room, for a minute, and nothing beyond it.
func TestTokensGiveTheRightsThatTheyAreToGive(t *testing.T) {
	c := client(t, "http://127.0.0.1:1", newKey, oldKey)
	for name, tc := range map[string]struct {
		rights sfu.Rights
		want   map[string]any
	}{
		"everything": {
			sfu.Rights{Publish: []sfu.Source{sfu.Microphone, sfu.Camera, sfu.ScreenShare, sfu.ScreenShareAudio}, Data: true, Subscribe: true, Moderate: true},
			map[string]any{"canPublish": true, "canPublishSources": []any{"microphone", "camera", "screen_share", "screen_share_audio"}, "canPublishData": true, "canSubscribe": true},
		},
		"a voice": {
			sfu.Rights{Publish: []sfu.Source{sfu.Microphone}, Subscribe: true},
			map[string]any{"canPublish": true, "canPublishSources": []any{"microphone"}, "canPublishData": false, "canSubscribe": true},
		},
		"an observer": {
			sfu.Rights{Subscribe: true},
			map[string]any{"canPublish": false, "canPublishData": false, "canSubscribe": true},
		},
		"nothing": {
			sfu.Rights{},
			map[string]any{"canPublish": false, "canPublishData": false, "canSubscribe": false},
		},
		"a recorder": {
			sfu.Rights{Subscribe: true, Hidden: true},
			map[string]any{"canPublish": false, "canPublishData": false, "canSubscribe": true, "hidden": true},
		},
	} {
		token, err := c.Token(sfu.TokenRequest{Room: "alias", Identity: "@a:b:D", Name: "Anna", Rights: tc.rights, TTL: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		all, grant := claims(t, token)
		tc.want["room"], tc.want["roomJoin"], tc.want["canUpdateOwnMetadata"] = "alias", true, false
		if !reflect.DeepEqual(grant, tc.want) {
			t.Errorf("%s: the grant is %v, want %v", name, grant, tc.want)
		}
		if lives := all["exp"].(float64) - all["nbf"].(float64); lives > 60 || all["iss"] != "new" || all["sub"] != "@a:b:D" || all["name"] != "Anna" {
			t.Errorf("%s: lives %v s, claims %v", name, lives, all)
		}
		for _, other := range []string{"sip", "agent", "inference", "observability", "roomConfig", "roomPreset"} {
			if all[other] != nil {
				t.Errorf("%s: the token has %s", name, other)
			}
		}
		if room, identity, ok := c.Joins(token); !ok || room != "alias" || identity != "@a:b:D" {
			t.Errorf("%s: our own token is not known again: %q %q %v", name, room, identity, ok)
		}
	}
	for _, r := range []sfu.TokenRequest{{Room: "alias"}, {Identity: "@a:b:D"}} {
		if _, err := c.Token(r); err == nil {
			t.Errorf("a token for %+v", r)
		}
	}
}

func TestTokensOfOthersJoinNothing(t *testing.T) {
	c := client(t, "http://127.0.0.1:1", newKey, oldKey)
	token := func(k sfu.Key, g auth.VideoGrant, ttl time.Duration) string {
		text, err := auth.NewAccessToken(k.Key, k.Secret).SetIdentity("x").SetVideoGrant(&g).SetValidFor(ttl).ToJWT()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	join := auth.VideoGrant{RoomJoin: true, Room: "r"}
	if _, _, ok := c.Joins(token(oldKey, join, time.Minute)); !ok {
		t.Error("a token of the second key joins nothing")
	}
	for name, text := range map[string]string{
		"none": "", "nonsense": "a.b.c", "unknown key": token(sfu.Key{Key: "other", Secret: newKey.Secret}, join, time.Minute),
		"wrong secret": token(sfu.Key{Key: "new", Secret: oldKey.Secret}, join, time.Minute),
		"the API":      token(newKey, auth.VideoGrant{RoomList: true, RoomCreate: true}, time.Minute),
		"expired":      token(newKey, join, time.Nanosecond),
	} {
		if _, _, ok := c.Joins(text); ok {
			t.Errorf("%s joins", name)
		}
	}
}

// signed is a webhook as LiveKit sends it.
func signed(t *testing.T, k sfu.Key, body string, ttl time.Duration) *http.Request {
	t.Helper()
	sum := sha256.Sum256([]byte(body))
	token, err := auth.NewAccessToken(k.Key, k.Secret).SetValidFor(ttl).SetSha256(base64.StdEncoding.EncodeToString(sum[:])).ToJWT()
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	r.Header.Set("Authorization", token)
	return r
}

// SEC-102.
func TestOnlyLiveKitTellsAnything(t *testing.T) {
	c := client(t, "http://127.0.0.1:1", newKey, oldKey)
	body := func(age time.Duration) string {
		return `{"event":"participant_left","room":{"name":"alias"},"participant":{"identity":"@a:b:D"},"id":"EV_1","new_field":1,"createdAt":"` +
			strconv.FormatInt(time.Now().Add(-age).Unix(), 10) + `"}`
	}
	for name, k := range map[string]sfu.Key{"the first key": newKey, "the second key": oldKey} {
		event, err := c.Event(signed(t, k, body(0), time.Minute))
		if err != nil || event.Event != "participant_left" || event.Room.Name != "alias" || event.Participant.Identity != "@a:b:D" {
			t.Errorf("%s: %v %v", name, event, err)
		}
	}
	without := signed(t, newKey, body(0), time.Minute)
	without.Header.Del("Authorization")
	altered := signed(t, newKey, body(0), time.Minute)
	altered.Body = http.NoBody
	other := signed(t, newKey, body(0), time.Minute)
	other.Body = signed(t, newKey, strings.Replace(body(0), "alias", "other", 1), time.Minute).Body
	joining := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body(0)))
	token, err := c.Token(sfu.TokenRequest{Room: "alias", Identity: "@a:b:D"})
	if err != nil {
		t.Fatal(err)
	}
	joining.Header.Set("Authorization", token)
	for name, r := range map[string]*http.Request{
		"no signature": without, "no body": altered, "another body": other, "the token of a participant": joining,
		"an unknown key": signed(t, sfu.Key{Key: "other", Secret: newKey.Secret}, body(0), time.Minute),
		"a wrong secret": signed(t, sfu.Key{Key: "new", Secret: oldKey.Secret}, body(0), time.Minute),
		"expired":        signed(t, newKey, body(0), time.Nanosecond),
		"old":            signed(t, newKey, body(limits.SFUWebhookAge+time.Second), time.Minute),
		"no event":       signed(t, newKey, `[]`, time.Minute),
		"too long":       signed(t, newKey, `{"event":"`+strings.Repeat("x", limits.SFUWebhook)+`"}`, time.Minute),
	} {
		if event, err := c.Event(r); !errors.Is(err, sfu.ErrForged) {
			t.Errorf("%s: %v %v", name, event, err)
		}
	}
}

// A LiveKit that is away, or that takes the question and never answers, is away for at most the bound.
func TestAwayIsUnavailable(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	proxied := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }))
	defer proxied.Close()
	stuck := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/protobuf")
		w.Header().Set("Content-Length", "10")
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	defer stuck.Close()
	for name, url := range map[string]string{"away": "http://127.0.0.1:1", "silent": "http://" + silent.Addr().String(), "a proxy alone": proxied.URL, "stuck": stuck.URL} {
		_, err := client(t, url, newKey).CreateRoom(context.Background(), "alias", sfu.RoomOptions{})
		if !errors.Is(err, sfu.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && bytes.Contains([]byte(err.Error()), []byte("eyJ")) {
			t.Errorf("%s: the error shows a token: %v", name, err)
		}
	}
}
