package main

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// redeemers redeem invitations at a time, and redeemRate how many a second have to be redeemed.
	redeemers  = 32
	redeemRate = 200
	// redeemRooms are the rooms that guests are invited to, redeemInvited how many to each.
	redeemRooms   = 8
	redeemInvited = 300
	// redeemLinks are the links into one room that many may use, and redeemUses how many each.
	redeemLinks = 5
	redeemUses  = 100
)

// redeem measures how fast links of invitations become guests who are in the room. Each is an account, a session, a signed invite and a join.
func (b *bench) redeem() ([]figure, error) {
	people, err := b.people(redeemRooms)
	if err != nil {
		return nil, err
	}
	secrets := make([]string, redeemRooms*redeemInvited)
	err = inParallel(redeemRooms, redeemRooms, func(i int) error {
		room, err := people[i].createRoom("guests")
		if err != nil {
			return err
		}
		target := "/_roomline/client/v1/rooms/" + url.PathEscape(room) + "/invitations"
		for n := range redeemInvited {
			answer, err := people[i].client.do("POST", target, []byte(`{"uses":1}`))
			if err != nil {
				return fmt.Errorf("invite: %w", err)
			}
			_, secret, _ := strings.Cut(field(answer, "link"), "#")
			// Those who come at the same time come to different rooms.
			secrets[n*redeemRooms+i] = secret
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	got, err := b.redeemAll(secrets)
	if err != nil {
		return nil, err
	}
	shared, err := sharedLinks(people[0])
	if err != nil {
		return nil, err
	}
	one, err := b.redeemAll(shared)
	if err != nil {
		return nil, err
	}
	all := len(secrets) + len(shared)
	var in int
	if err := b.data.QueryRow(`SELECT count(*) FROM guests JOIN memberships USING (user_id) WHERE membership = 'join'`).Scan(&in); err != nil {
		return nil, err
	}
	goal := fmt.Sprintf("≥ %d/s", redeemRate)
	return []figure{
		{what: "invitations redeemed", measured: fmt.Sprintf("%.0f/s", got), yardstick: fmt.Sprintf("%d of %d are in", in, all),
			goal: goal, met: got >= redeemRate && in == all},
		{what: "  into one room", measured: fmt.Sprintf("%.0f/s", one), yardstick: fmt.Sprintf("%d links of %d", redeemLinks, redeemUses),
			goal: goal, met: one >= redeemRate},
	}, nil
}

// sharedLinks are links into one room that many may use, each as often as it may be used.
func sharedLinks(host *account) (secrets []string, err error) {
	room, err := host.createRoom("one room")
	if err != nil {
		return nil, err
	}
	target := "/_roomline/client/v1/rooms/" + url.PathEscape(room) + "/invitations"
	for range redeemLinks {
		answer, err := host.client.do("POST", target, fmt.Appendf(nil, `{"uses":%d}`, redeemUses))
		if err != nil {
			return nil, fmt.Errorf("invite: %w", err)
		}
		_, secret, _ := strings.Cut(field(answer, "link"), "#")
		secrets = append(secrets, slices.Repeat([]string{secret}, redeemUses)...)
	}
	return secrets, nil
}

// redeemAll redeems links, each once for each time that it is named, and returns how many a second.
func (b *bench) redeemAll(secrets []string) (float64, error) {
	pages := make([]*client, redeemers)
	for i := range pages {
		pages[i] = newClient(b.server.address, "")
		defer pages[i].close()
	}
	var next atomic.Int64
	began := time.Now()
	err := inParallel(redeemers, redeemers, func(i int) error {
		for {
			n := int(next.Add(1)) - 1
			if n >= len(secrets) {
				return nil
			}
			var attempt [16]byte
			rand.Read(attempt[:])
			_, err := pages[i].do("POST", "/_roomline/guest/v1/redeem", fmt.Appendf(nil, `{"secret":"%s","name":"Guest %d","attempt":"%s"}`,
				secrets[n], n, base64.RawURLEncoding.EncodeToString(attempt[:])))
			if err != nil {
				return fmt.Errorf("redeem: %w", err)
			}
		}
	})
	return float64(len(secrets)) / time.Since(began).Seconds(), err
}
