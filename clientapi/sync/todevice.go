package sync

import (
	"context"
	"fmt"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// Messages to devices.
//
// A message has a position. A device that asks with a token has received the messages up to the token's second position: they are
// deleted, and those after it are told, again if they were told before. The second position only moves to where a query has
// looked; a limited answer leaves it at the last message told, and answers that were given without looking leave it
// where it was.
//
// Why a position of its own: of several KindToDevice updates for one device the journal keeps the last, so that a process may come
// to know that something was sent after it has told a later position. It finds the message all the same, because the
// token's second position still lies before it. And a limited answer may be repeated by any process, from the token alone.
//
// Spec: client-server v1.19 §send-to-device-messaging

// toDeviceMemory is what the hub knows of the messages to a user's devices. It is guarded by hub.mu.
type toDeviceMemory struct {
	// floor is the position that the user was loaded at: nothing is known of what was sent before.
	floor int64
	// last is the last message's position, for devices that were sent one since.
	last map[matrix.DeviceID]int64
	// deleted is up to where messages have been deleted by this process.
	deleted map[matrix.DeviceID]int64
}

// maxToDeviceMemory bounds the devices that are remembered of a user; beyond it nothing is known of any.
const maxToDeviceMemory = 2 * limits.DevicesPerUser

// lastFor returns a position after which no message to the device is known.
func (m *toDeviceMemory) lastFor(device matrix.DeviceID) int64 {
	return max(m.floor, m.last[device])
}

// observeToDevice is called with mu held.
func (h *hub) observeToDevice(u *user, up *store.Update) {
	m, device := &u.toDevice, matrix.DeviceID(up.Key)
	if len(m.last) >= maxToDeviceMemory {
		m.floor, m.last = up.Position, nil
	}
	if m.last == nil {
		m.last = make(map[matrix.DeviceID]int64)
	}
	m.last[device] = up.Position
	for _, p := range u.polls {
		if p.device == device {
			h.toWake = append(h.toWake, p)
		}
	}
}

// messagesWait reports whether there may be messages for a device after a position.
func (h *hub) messagesWait(u *user, device matrix.DeviceID, after int64) bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return device != "" && u.toDevice.lastFor(device) > after
}

// toDevice returns the messages for a device with after < position <= upTo, or the first of them; up to reached it is all.
func (s *Server) toDevice(ctx context.Context, user matrix.UserID, device matrix.DeviceID, after, upTo int64) (
	list []store.ToDeviceMessage, reached int64, err error) {
	list, more, err := s.cfg.Store.ListToDevice(ctx, user, device, after, upTo, limits.SyncToDevice, limits.SyncToDeviceBytes)
	if err != nil {
		return nil, 0, fmt.Errorf("load messages to a device of %s: %w", user, err)
	}
	if more {
		return list, list[len(list)-1].Position, nil
	}
	return list, max(after, upTo), nil
}

// acknowledgeToDevice deletes the messages that a device has received: those up to a position. It asks the database only if
// there may be some.
func (s *Server) acknowledgeToDevice(ctx context.Context, user matrix.UserID, device matrix.DeviceID, upTo int64) error {
	if device == "" {
		return nil
	}
	e, err := s.hub.user(ctx, user)
	if err != nil {
		return err
	}
	s.hub.mu.RLock()
	deleted, known := e.toDevice.deleted[device]
	done := upTo <= deleted || known && e.toDevice.lastFor(device) <= deleted
	s.hub.mu.RUnlock()
	if done {
		return nil
	}
	if err := s.cfg.Store.DeleteToDevice(ctx, user, device, upTo); err != nil {
		return fmt.Errorf("delete messages to a device of %s: %w", user, err)
	}
	s.hub.noteDeleted(e, device, upTo)
	return nil
}

// noteDeleted notes that there are no messages to a device up to a position any more.
func (h *hub) noteDeleted(u *user, device matrix.DeviceID, upTo int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := &u.toDevice
	if m.deleted == nil || len(m.deleted) >= maxToDeviceMemory {
		m.deleted = make(map[matrix.DeviceID]int64)
	}
	m.deleted[device] = max(m.deleted[device], upTo)
}

// loadToDevice finds the messages for the device.
func (b *build) loadToDevice() (err error) {
	if b.r.device == "" {
		b.toDeviceReached = b.now
		return nil
	}
	b.toDeviceReached = b.toDeviceAfter
	if b.toDeviceAfter >= 0 && !b.s.hub.messagesWait(b.e, b.r.device, b.toDeviceAfter) {
		return nil
	}
	b.toDevice, b.toDeviceReached, err = b.s.toDevice(b.ctx, b.e.id, b.r.device, b.toDeviceAfter, b.now)
	if err == nil && b.first() && len(b.toDevice) == 0 {
		b.s.hub.noteDeleted(b.e, b.r.device, b.now)
	}
	return err
}

// appendToDevice appends a message as clients get it.
func appendToDevice(dst []byte, m *store.ToDeviceMessage) []byte {
	dst = append(dst, `{"sender":`...)
	dst = append(appendText(dst, string(m.Sender)), `,"type":`...)
	dst = append(appendText(dst, m.Type), `,"content":`...)
	return append(append(dst, m.Content...), '}')
}
