//go:build goolm

package tests

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/roomline/roomline/internal/hstest"
)

// TestJSSDKClientsEncrypt runs jssdk/encryption.test.mjs, which says what is tested, kills the processes that it names, and does
// for carol, whose client is mautrix, what it asks for.
func TestJSSDKClientsEncrypt(t *testing.T) {
	t.Parallel()
	dep := hstest.Start(t, hstest.Options{Processes: 2})
	var kills, reads atomic.Int64
	control := http.NewServeMux()
	control.HandleFunc("/kill", func(w http.ResponseWriter, r *http.Request) {
		process, err := strconv.Atoi(r.URL.Query().Get("process"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		kills.Add(1)
		// If one of these fails the test, the request ends without an answer, and the SDK's test with it.
		dep.Kill9(t, process)
		dep.Restart(t, process)
	})
	carol := newCryptoUser(t, dep, 1, dep.User(t, "carol"))
	act := func(path string, do func(room id.RoomID, r *http.Request) (string, error)) {
		control.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			answer, err := do(id.RoomID(r.URL.Query().Get("room")), r)
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			io.WriteString(w, answer)
		})
	}
	act("/carol/join", func(room id.RoomID, r *http.Request) (string, error) {
		_, err := carol.JoinRoomByID(r.Context(), room)
		return string(carol.UserID), err
	})
	act("/carol/leave", func(room id.RoomID, r *http.Request) (string, error) {
		_, err := carol.LeaveRoom(r.Context(), room)
		return "", err
	})
	act("/carol/say", func(room id.RoomID, r *http.Request) (string, error) {
		members, err := carol.JoinedMembers(r.Context(), room)
		if err != nil {
			return "", err
		}
		var users []id.UserID
		for user := range members.Joined {
			users = append(users, user)
		}
		eventID, err := carol.sendEncrypted(r.Context(), room, r.URL.Query().Get("text"), users...)
		return string(eventID), err
	})
	act("/carol/read", func(_ id.RoomID, r *http.Request) (string, error) {
		reads.Add(1)
		return carol.waitForText(id.EventID(r.URL.Query().Get("event")))
	})
	server := httptest.NewServer(control)
	defer server.Close()
	runJSSDK(t, dep, "encryption.test.mjs", "ROOMLINE_CONTROL="+server.URL)
	if kills.Load() == 0 {
		t.Error("no process was killed")
	}
	if reads.Load() == 0 {
		t.Error("carol was not asked what she reads")
	}
	t.Logf("%d kills", kills.Load())
}

// waitForText waits until a message has come with sync and is decrypted. What was said before the user came can't be read, and is not
// asked for.
func (u *cryptoUser) waitForText(eventID id.EventID) (string, error) {
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		u.mu.Lock()
		text, ok := u.texts[eventID]
		failures := errors.Join(u.failures...)
		u.mu.Unlock()
		if ok {
			return text, nil
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("%s can't read %s; failures: %w", u.UserID, eventID, failures)
		}
	}
}
