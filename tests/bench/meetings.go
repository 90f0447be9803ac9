package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/roomline/roomline/internal/child"
	"github.com/roomline/roomline/internal/hstest/freeport"
)

const (
	// minters ask for tokens at a time.
	minters  = 64
	mintRate = 2000
	mintP99  = 10 * time.Millisecond

	liveKitKey    = "bench"
	liveKitSecret = "bench-livekit-secret-bench-livekit-secret"
)

// meetings starts a media server, unless that has been done, and the server again so that it knows of it.
func (b *bench) meetings() error {
	if b.liveKit != nil {
		return nil
	}
	address, err := freeport.Address()
	if err != nil {
		return err
	}
	if err := b.startLiveKit(address); err != nil {
		return err
	}
	b.liveKitURL = "ws://" + address
	err = b.server.configure(map[string]any{"meetings": map[string]any{"livekit": map[string]any{
		"url": "http://" + address, "public_url": b.liveKitURL, "keys": []any{map[string]any{"key": liveKitKey, "secret": liveKitSecret}},
	}}})
	if err == nil {
		_, err = b.server.restart()
	}
	return err
}

// startLiveKit starts a media server that listens on an address, and waits until it does.
func (b *bench) startLiveKit(address string) error {
	udp, err := freeport.Claim()
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	settings, err := os.Create(filepath.Join(b.dir, "livekit.json"))
	if err != nil {
		return err
	}
	defer settings.Close()
	err = json.NewEncoder(settings).Encode(map[string]any{
		"port": json.Number(port), "bind": "127.0.0.1", "udp_port": udp, "node_ip": "127.0.0.1", "loopback": true,
		"keys": map[string]string{liveKitKey: liveKitSecret}, "webhook_key": liveKitKey,
		"webhooks": []string{"http://" + b.server.address + "/_roomline/livekit/webhook"},
	})
	if err != nil {
		return err
	}
	if _, err := settings.Seek(0, 0); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(b.dir, "livekit.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(b.server.binary, "livekit")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = settings, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := child.Start(cmd); err != nil {
		return err
	}
	b.liveKit = cmd
	for range 500 {
		var conn net.Conn
		if conn, err = net.Dial("tcp", address); err == nil {
			conn.Close()
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		return fmt.Errorf("the media server does not answer: %w; see %s", err, log.Name())
	}
	return nil
}

// stopMeetings ends the media server.
func (b *bench) stopMeetings() {
	if b.liveKit != nil {
		_ = b.liveKit.Process.Kill()
		_ = b.liveKit.Wait()
	}
}

// minting measures how fast members of rooms are given tokens for calls.
func (b *bench) minting() ([]figure, error) {
	if err := b.meetings(); err != nil {
		return nil, err
	}
	people, err := b.people(minters)
	if err != nil {
		return nil, err
	}
	// A meeting has at most 100 participants, unless the organisation says otherwise.
	_, err = b.data.Exec(`INSERT INTO organisation_policies (organisation_id, name, value) VALUES (1, 'meetings', '{"max_participants":0}')
		ON CONFLICT (organisation_id, name) DO UPDATE SET value = excluded.value`)
	if err != nil {
		return nil, err
	}
	rooms, joined := make([]string, minters), make([]int, minters)
	for i := range rooms {
		if rooms[i], err = people[i].createRoom("call"); err != nil {
			return nil, err
		}
	}
	var mu sync.Mutex
	var times []time.Duration
	// Each time as a newcomer.
	mint := func(i int) error {
		joined[i]++
		body := fmt.Appendf(nil, `{"room_id":%q,"slot_id":"m.call#ROOM","member":{"id":"m%d","claimed_device_id":%q}}`, rooms[i], joined[i], people[i].device)
		began := time.Now()
		_, err := people[i].client.do("POST", "/_matrix/client/v1/rtc/livekit/get_token", body)
		took := time.Since(began)
		mu.Lock()
		times = append(times, took)
		mu.Unlock()
		return err
	}
	if _, err := rate(minters, b.slice/4, mint); err != nil { // warm up
		return nil, err
	}
	times = nil
	// As many as have to be minted, one after the other: what each waits for, and not how long the queue is that a bench can make.
	const pause = time.Second * minters / mintRate
	began := time.Now()
	turns := make([]int, minters)
	_, err = rate(minters, 2*b.slice, func(i int) error {
		time.Sleep(time.Until(began.Add(pause*time.Duration(i)/minters + pause*time.Duration(turns[i]))))
		turns[i]++
		return mint(i)
	})
	if err != nil {
		return nil, err
	}
	p99 := percentile(times, 0.99)
	times = nil
	yard, got, err := compared(rounds,
		func() (float64, error) { return b.insertRate(minters, b.slice) },
		func() (float64, error) { return rate(minters, b.slice, mint) })
	if err != nil {
		return nil, err
	}
	full := percentile(times, 0.99)
	return []figure{
		{what: "tokens for calls, 64 callers", measured: fmt.Sprintf("%.0f/s", got), yardstick: fmt.Sprintf("%.0f/s inserts", yard),
			ratio: fmt.Sprintf("%.2f", got/yard), goal: fmt.Sprintf("≥ %d/s", mintRate), met: got >= mintRate},
		{what: fmt.Sprintf("  p99 at %d/s", mintRate), measured: p99.Round(10 * time.Microsecond).String(),
			yardstick: fmt.Sprintf("%v at full load", full.Round(10*time.Microsecond)), goal: "≤ " + mintP99.String(), met: p99 <= mintP99},
	}, nil
}
