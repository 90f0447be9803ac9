package sync

import (
	"context"
	"fmt"

	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// The extensions that concern the device or the account as a whole: to_device, e2ee, and thread subscriptions.

// threadsExtension is the name that clients know the extension by.
//
// Spec: MSC4308
const threadsExtension = "io.element.msc4308.thread_subscriptions"

// toDeviceExtension hands out messages to the device. It has positions of its own, so that a client whose connection expired misses
// none: since is the next_batch of the last answer that the client has processed.
type toDeviceExtension struct {
	Enabled bool   `json:"enabled"`
	Limit   *int64 `json:"limit"`
	Since   string `json:"since"`

	// after is since as a position, -1 for none.
	after int64
}

func (x *toDeviceExtension) on() bool { return x != nil && x.Enabled }

func (x *toDeviceExtension) parse() error {
	if x == nil {
		return nil
	}
	if x.Limit != nil && *x.Limit < 0 {
		return matrix.InvalidParam("to_device: limit must not be negative")
	}
	x.after = -1
	if x.Since != "" {
		var err error
		if x.after, err = journal.ParseToken(x.Since); err != nil {
			return matrix.InvalidParam("to_device: since is not a token of this server")
		}
	}
	return nil
}

// most is how many messages an answer may have.
func (x *toDeviceExtension) most() int {
	if x.Limit == nil || *x.Limit == 0 || *x.Limit > limits.SyncToDevice {
		return limits.SyncToDevice
	}
	return int(*x.Limit)
}

// switchedExtension is one that has nothing but a switch, and perhaps a limit.
type switchedExtension struct {
	Enabled bool   `json:"enabled"`
	Limit   *int64 `json:"limit"`
}

func (x *switchedExtension) on() bool { return x != nil && x.Enabled }

// deviceAnswers is what these extensions have to tell.
type deviceAnswers struct {
	messages []store.ToDeviceMessage
	// reached is up to where the device has been sent its messages.
	reached       int64
	changed, left []matrix.UserID
	counts        *keyCounts
	threads       threadChanges
}

// toDeviceAfter is up to where the device has its messages, as the request says; -1 for nothing.
func (s *Server) toDeviceAfter(ctx context.Context, r *slidingRequest) (int64, error) {
	x := r.extensions.ToDevice
	if !x.on() || x.after < 0 {
		return -1, nil
	}
	// A position that does not exist, as after a database was restored from an older copy, is replaced by the present one.
	after := min(x.after, s.hub.now())
	return after, s.acknowledgeToDevice(ctx, r.conn.User, r.conn.Device, after)
}

// messagesWait reports whether there may be messages that the request asks for.
func (s *Server) messagesWait(e *user, r *slidingRequest, after int64) bool {
	return r.extensions.ToDevice.on() && s.hub.messagesWait(e, r.conn.Device, after)
}

// loadDevice finds what these extensions have to tell.
func (b *slide) loadDevice() error {
	if err := b.loadMessages(); err != nil {
		return err
	}
	x := &b.extensions
	if !b.r.extensions.E2EE.on() {
		x.told &^= toldDevices
	} else {
		if err := b.loadDevices(); err != nil {
			return err
		}
		x.told |= toldDevices
	}
	if !b.r.extensions.Threads.on() {
		x.told &^= toldThreads
		return nil
	}
	return b.loadThreads()
}

// loadMessages finds the messages for the device.
func (b *slide) loadMessages() (err error) {
	ext, device := b.r.extensions.ToDevice, b.r.conn.Device
	x := &b.extensions
	x.reached = b.toDeviceAfter
	if !ext.on() || device == "" || b.toDeviceAfter >= 0 && !b.s.hub.messagesWait(b.e, device, b.toDeviceAfter) {
		x.reached = max(x.reached, 0)
		return nil
	}
	x.messages, x.reached, err = b.s.toDevice(b.ctx, b.e.id, device, b.toDeviceAfter, b.now)
	if most := ext.most(); err == nil && len(x.messages) > most {
		x.messages = x.messages[:most]
		x.reached = x.messages[most-1].Position
	}
	x.tell = x.tell || len(x.messages) > 0
	return err
}

// loadDevices finds whose devices the client has to look at, and what the device has on offer.
//
// Spec: client-server v1.19 §e2e-extensions-to-sync
func (b *slide) loadDevices() (err error) {
	x := &b.extensions
	first := x.told&toldDevices == 0
	if !first {
		if x.changed, x.left, err = b.s.deviceLists(b.ctx, b.e, b.since, b.now); err != nil {
			return err
		}
	}
	if x.counts, err = b.s.keyCounts(b.ctx, b.e, b.r.conn.Device); err != nil {
		return err
	}
	x.tell = x.tell || first || len(x.changed) > 0 || len(x.left) > 0 || x.counts.changed > b.since
	return nil
}

// loadThreads finds the changes of thread subscriptions.
func (b *slide) loadThreads() (err error) {
	x := &b.extensions
	after := b.since
	if x.told&toldThreads == 0 {
		after = 0
	} else if b.ring && !b.threadNews {
		return nil
	}
	x.told |= toldThreads
	limit := limits.ThreadSubscriptionsPage
	if wish := b.r.extensions.Threads.Limit; wish != nil && *wish > 0 {
		limit = int(min(*wish, int64(limit)))
	}
	if x.threads, err = b.s.threadSubscriptions(b.ctx, b.e.id, after, b.now, limit); err != nil {
		return fmt.Errorf("load thread subscriptions: %w", err)
	}
	x.tell = x.tell || !x.threads.empty()
	return nil
}

// appendDevice appends what these extensions tell in any answer, even one with nothing new: where the messages have come to, and what
// keys the device has on offer. empty is whether nothing stands before it.
func (d *deviceAnswers) appendDevice(dst []byte, r *slidingRequest, empty bool) []byte {
	if r.extensions.ToDevice.on() {
		dst = append(appendComma(dst, empty), `"to_device":{"next_batch":"`...)
		dst = append(append(dst, journal.Token(d.reached)...), `","events":[`...)
		for i := range d.messages {
			dst = appendToDevice(appendComma(dst, i == 0), &d.messages[i])
		}
		dst = append(dst, `]}`...)
		empty = false
	}
	if r.extensions.E2EE.on() {
		dst = append(appendComma(dst, empty), `"e2ee":{`...)
		dst = append(appendEncryption(dst, d.changed, d.left, d.counts), '}')
		empty = false
	}
	if !d.threads.empty() {
		dst = append(appendComma(dst, empty), `"`+threadsExtension+`":`...)
		dst = d.threads.appendTo(dst, "prev_batch")
	}
	return dst
}
