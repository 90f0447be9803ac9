package meetings

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/livekit/protocol/auth"
	lksdk "github.com/livekit/server-sdk-go/v2"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/hstest/freeport"
)

const embeddedKey, embeddedSecret = "embedded", "embedded-secret-embedded-secret-embedded"

// embedded is a deployment that runs LiveKit itself; tlsAddress is a second listener with a certificate.
func embedded(t *testing.T) (dep *hstest.Deployment, tlsAddress string, roots *tls.Config) {
	t.Helper()
	udp, err := freeport.Claim()
	if err != nil {
		t.Fatal(err)
	}
	if tlsAddress, err = freeport.Address(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	pool := hstest.Certificate(t, cert, key)
	dep = hstest.Start(t, hstest.Options{Configure: func(_ int, c map[string]any) {
		listeners := c["listeners"].([]any)
		c["public_base_url"] = "http://" + listeners[0].(map[string]any)["address"].(string)
		c["listeners"] = append(listeners, map[string]any{"address": tlsAddress, "tls": map[string]any{"cert": cert, "key": key}, "serve": []string{"client"}})
		c["meetings"] = map[string]any{"livekit": map[string]any{
			"embedded": true, "udp_port": udp, "keys": []any{map[string]any{"key": embeddedKey, "secret": embeddedSecret}},
		}}
	}})
	return dep, tlsAddress, &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

// token asks for one to join the call of a room; it waits until LiveKit is there.
func token(t *testing.T, u *hstest.User, room string) (url, jwt string) {
	t.Helper()
	var answer hstest.Response
	hstest.Eventually(t, "a token", func() bool {
		var err error
		answer, err = u.Do(t.Context(), http.MethodPost, "/_matrix/client/v1/rtc/livekit/get_token", map[string]any{
			"room_id": room, "slot_id": "m.call#ROOM", "member": map[string]any{"id": "member-" + u.DeviceID, "claimed_user_id": u.ID, "claimed_device_id": u.DeviceID},
		})
		return err == nil && answer.Status != http.StatusServiceUnavailable
	})
	if answer.Status != http.StatusOK {
		t.Fatalf("a token: %s", answer)
	}
	return answer.JSON().Get("url").String(), answer.JSON().Get("jwt").String()
}

func connect(t *testing.T, address, jwt string, heard chan<- string) *lksdk.Room {
	t.Helper()
	room, err := lksdk.ConnectToRoomWithToken(address, jwt, &lksdk.RoomCallback{ParticipantCallback: lksdk.ParticipantCallback{
		OnDataPacket: func(d lksdk.DataPacket, p lksdk.DataReceiveParams) {
			if u, ok := d.(*lksdk.UserDataPacket); ok {
				heard <- string(u.Payload)
			}
		},
	}}, lksdk.WithConnectTimeout(time.Minute))
	if err != nil {
		t.Fatalf("connect to %s: %v", address, err)
	}
	t.Cleanup(room.Disconnect)
	return room
}

// meet has two people say something to each other through LiveKit. They hang up then: who did not would come back by themselves when LiveKit was
// away, and put those out who are there under the same names by then.
func meet(t *testing.T, people []*hstest.User, room string) {
	t.Helper()
	heard := make(chan string, 10)
	var rooms []*lksdk.Room
	for _, u := range people {
		address, jwt := token(t, u, room)
		if want := strings.Replace(u.BaseURL(), "http", "ws", 1) + "/_roomline/livekit"; address != want {
			t.Fatalf("clients are sent to %s, want %s", address, want)
		}
		rooms = append(rooms, connect(t, address, jwt, heard))
	}
	hstest.Eventually(t, "what one says is heard", func() bool {
		if err := rooms[0].LocalParticipant.PublishDataPacket(lksdk.UserData([]byte("hello")), lksdk.WithDataPublishReliable(true)); err != nil {
			t.Logf("say something: %v", err) // the channel may not be open yet
			return false
		}
		select {
		case got := <-heard:
			return got == "hello"
		case <-time.After(200 * time.Millisecond):
			return false
		}
	})
	for _, r := range rooms {
		r.Disconnect()
	}
}

// TestEmbedded is a server with nothing beside it: people meet through its own listener, LiveKit is started again when it dies, and is gone
// when the server is killed.
func TestEmbedded(t *testing.T) {
	t.Parallel()
	dep, tlsAddress, roots := embedded(t)
	alice, bob := dep.User(t, "alice"), dep.User(t, "bob")
	room := alice.MustCreateRoom(t, map[string]any{"invite": []string{bob.ID}})
	bob.MustJoin(t, room)
	people := []*hstest.User{alice, bob}
	meet(t, people, room)
	ready := func(want string) bool {
		resp, err := http.Get(dep.AdminURL(0) + "/readyz")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK && !strings.Contains(string(text), "the database does not answer") { // a busy machine's may be late
			t.Fatalf("/readyz: %v %d %s", err, resp.StatusCode, text)
		}
		return resp.StatusCode == http.StatusOK && strings.HasPrefix(string(text), want)
	}
	hstest.Eventually(t, "ready", func() bool { return ready("ready\n") })

	_, old := token(t, bob, room)
	alice.MustDo(t, http.MethodPost, hstest.Path("rooms", room, "kick"), map[string]any{"user_id": bob.ID})
	if status := upgrade(t, "tcp", tlsAddress, roots, old); status != http.StatusForbidden {
		t.Errorf("with the token of somebody who was kicked: status %d", status)
	}
	alice.MustInvite(t, room, bob)
	bob.MustJoin(t, room)
	_, jwt := token(t, alice, room)
	outside(t, dep.BaseURL(0), jwt)
	_, jwt = token(t, alice, room) // the one before may have lapsed meanwhile
	if status := upgrade(t, "tcp", tlsAddress, roots, jwt); status != http.StatusSwitchingProtocols {
		t.Errorf("through TLS: status %d", status)
	}

	first := children(t, dep.PID(0))
	if len(first) != 1 {
		t.Fatalf("the server has the children %v, want one", first)
	}
	if err := syscall.Kill(first[0], syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	hstest.Eventually(t, "/readyz says that LiveKit is stuck", func() bool { return ready("ready, but meetings are away") })
	alice.MustSendText(t, room, "chat goes on")
	if err := syscall.Kill(first[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var second []int
	hstest.Eventually(t, "LiveKit is started again", func() bool {
		second = children(t, dep.PID(0))
		return len(second) == 1 && second[0] != first[0]
	})
	meet(t, people, room)
	hstest.Eventually(t, "ready again", func() bool { return ready("ready\n") })
	dep.Kill9(t, 0)
	hstest.Eventually(t, "LiveKit has died with the server", func() bool { return syscall.Kill(second[0], 0) != nil })
	dep.Restart(t, 0)
	meet(t, people, room)
}

// outside tries what strangers may try at the listener.
func outside(t *testing.T, base, jwt string) {
	t.Helper()
	grant := func(key, secret string, g auth.VideoGrant, ttl time.Duration) string {
		text, err := auth.NewAccessToken(key, secret).SetIdentity("@mallory:hs.test:X").SetVideoGrant(&g).SetValidFor(ttl).ToJWT()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	join := auth.VideoGrant{RoomJoin: true, Room: "any"}
	for _, tc := range []struct {
		name, method, path, token string
		status                    int
	}{
		{"a participant's token", http.MethodGet, "/rtc/validate", jwt, 200},
		{"no token", http.MethodGet, "/rtc/validate", "", 401},
		{"no token, newer", http.MethodGet, "/rtc/v1/validate", "", 401},
		{"nonsense", http.MethodGet, "/rtc", "a.b.c", 401},
		{"another secret", http.MethodGet, "/rtc/validate", grant(embeddedKey, strings.Repeat("x", 32), join, time.Minute), 401},
		{"another key", http.MethodGet, "/rtc/validate", grant("other", embeddedSecret, join, time.Minute), 401},
		// LiveKit itself would believe it for a minute more.
		{"expired", http.MethodGet, "/rtc/validate", grant(embeddedKey, embeddedSecret, join, time.Nanosecond), 401},
		{"a token for the API", http.MethodGet, "/rtc/validate", grant(embeddedKey, embeddedSecret, auth.VideoGrant{RoomCreate: true, RoomList: true}, time.Minute), 401},
		{"the API", http.MethodPost, "/twirp/livekit.RoomService/ListRooms", grant(embeddedKey, embeddedSecret, auth.VideoGrant{RoomList: true}, time.Minute), 404},
		{"the API behind a way back", http.MethodPost, "/rtc/../twirp/livekit.RoomService/ListRooms", grant(embeddedKey, embeddedSecret, auth.VideoGrant{RoomList: true}, time.Minute), 404},
		{"agents", http.MethodGet, "/agent", jwt, 404},
		{"WHIP", http.MethodPost, "/whip/v1", jwt, 404},
		{"the root", http.MethodGet, "/", jwt, 404},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, tc.method, base, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		r.URL = &url.URL{Scheme: r.URL.Scheme, Host: r.URL.Host, Path: "/_roomline/livekit" + tc.path}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+tc.token)
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != tc.status {
			t.Errorf("%s: status %d, want %d: %s", tc.name, resp.StatusCode, tc.status, text)
		}
	}
}

// upgrade asks for a WebSocket as a browser does, and returns the status.
func upgrade(t *testing.T, network, address string, config *tls.Config, jwt string) int {
	t.Helper()
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	config = config.Clone()
	config.ServerName = host
	conn, err := tls.Dial(network, address, config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "GET /_roomline/livekit/rtc?access_token=%s&protocol=15&auto_subscribe=1&sdk=js HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", jwt, address)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode
}

// children are the processes that a process has started.
func children(t *testing.T, parent int) []int {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	var found []int
	for _, file := range stats {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		// pid (name) state parent: the name may have spaces in it.
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(parent) && fields[0] != "Z" {
			pid, err := strconv.Atoi(strings.Split(file, "/")[2])
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, pid)
		}
	}
	return found
}

// TestEmbeddedIsForOneProcess has two processes that would each run a LiveKit.
func TestEmbeddedIsForOneProcess(t *testing.T) {
	t.Parallel()
	dep := hstest.Start(t, hstest.Options{Processes: 2, Configure: func(_ int, c map[string]any) {
		udp, err := freeport.Claim()
		if err != nil {
			t.Fatal(err)
		}
		c["public_base_url"] = "http://" + c["listeners"].([]any)[0].(map[string]any)["address"].(string)
		c["meetings"] = map[string]any{"livekit": map[string]any{"embedded": true, "udp_port": udp}}
	}})
	running := func() (pids []int) {
		for i := range dep.Processes() {
			if pid := dep.PID(i); pid != 0 {
				pids = append(pids, children(t, pid)...)
			}
		}
		return pids
	}
	hstest.Eventually(t, "one process runs LiveKit, the other says why not", func() bool {
		return len(running()) == 1 && strings.Contains(dep.Log(0)+dep.Log(1), "another process of this deployment runs one")
	})
	holder := 0
	if len(children(t, dep.PID(0))) == 0 {
		holder = 1
	}
	dep.Kill9(t, holder)
	hstest.Eventually(t, "the other takes over", func() bool { return len(running()) == 1 })
	dep.Restart(t, holder)
}
