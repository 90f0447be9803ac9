package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"sync/atomic"
)

// account is a signed-in user.
type account struct {
	id, device, token string
	client            *client
	store             *client // past the server
	txn               int
}

// rooms are those that more than one row uses.
type rooms struct {
	busy string // 64 joined senders
	many bool   // there are manyRooms
}

// people returns the first n accounts, of which it makes those that are missing. Making one costs a password hash.
func (b *bench) people(n int) ([]*account, error) {
	have := len(b.accounts)
	if have < n {
		b.accounts = append(b.accounts, make([]*account, n-have)...)
		err := inParallel(8, n-have, func(i int) error {
			a, err := b.register(fmt.Sprintf("user%d", have+i))
			b.accounts[have+i] = a
			return err
		})
		if err != nil {
			b.accounts = b.accounts[:have]
			return nil, err
		}
	}
	return b.accounts[:n], nil
}

func (b *bench) register(name string) (*account, error) {
	c := newClient(b.server.address, "")
	defer c.close()
	answer, err := c.do("POST", "/_matrix/client/v3/register",
		[]byte(`{"username":"`+name+`","password":"a bench's password","auth":{"type":"m.login.dummy"}}`))
	if err != nil {
		return nil, fmt.Errorf("register: %w", err)
	}
	a := &account{id: field(answer, "user_id"), device: field(answer, "device_id"), token: field(answer, "access_token")}
	if a.id == "" || a.token == "" {
		return nil, fmt.Errorf("register: got %s", answer)
	}
	a.client = newClient(b.server.address, a.token)
	return a, nil
}

// inParallel runs f for 0…n-1 in some goroutines, and returns the first error.
func inParallel(goroutines, n int, f func(i int) error) error {
	var next atomic.Int64
	var mu sync.Mutex
	var first error
	var wg sync.WaitGroup
	for range min(goroutines, n) {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				mu.Lock()
				failed := first != nil
				mu.Unlock()
				if i >= n || failed {
					return
				}
				if err := f(i); err != nil {
					mu.Lock()
					first = errors.Join(first, err)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return first
}

// ask sends a request that is not measured.
func (a *account) ask(method, target string, body any) ([]byte, error) {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	answer, err := a.client.do(method, target, text)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, target, err)
	}
	return answer, nil
}

func (a *account) createRoom(name string) (string, error) {
	answer, err := a.ask("POST", "/_matrix/client/v3/createRoom", map[string]any{"preset": "public_chat", "name": name})
	return field(answer, "room_id"), err
}

func (a *account) join(room string) error {
	_, err := a.ask("POST", "/_matrix/client/v3/rooms/"+url.PathEscape(room)+"/join", map[string]any{})
	return err
}

// sendTarget is where messages to a room are put, but for the transaction id.
func sendTarget(room string) string {
	return "/_matrix/client/v3/rooms/" + url.PathEscape(room) + "/send/m.room.message/"
}

// message is what people write, about.
var message = []byte(`{"msgtype":"m.text","body":"The quick brown fox jumps over the lazy dog, and then the dog writes a line about it here."}`)

// send sends a message. target is of sendTarget.
func (a *account) send(target string) error {
	a.txn++
	_, err := a.client.do("PUT", fmt.Sprintf("%sb%d", target, a.txn), message)
	return err
}

// busyRoom is a room in which 64 people are.
func (b *bench) busyRoom() (string, error) {
	if b.rooms.busy != "" {
		return b.rooms.busy, nil
	}
	people, err := b.people(64)
	if err != nil {
		return "", err
	}
	b.rooms.busy, err = b.roomOf(people, "busy")
	return b.rooms.busy, err
}

// roomOf makes a room of people.
func (b *bench) roomOf(people []*account, name string) (string, error) {
	room, err := people[0].createRoom(name)
	if err != nil {
		return "", err
	}
	return room, inParallel(16, len(people)-1, func(i int) error { return people[i+1].join(room) })
}
