package appservices

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
)

// deviceMark says up to which message a device's are in a transaction, and whether there are more.
type deviceMark struct {
	User   matrix.UserID   `json:"user_id"`
	Device matrix.DeviceID `json:"device_id"`
	UpTo   int64           `json:"up_to"`
	More   bool            `json:"more,omitempty"`
}

// deviceOf names a device.
type deviceOf struct {
	user   matrix.UserID
	device matrix.DeviceID
}

// renderDevices renders what encryption needs: messages to devices, whose devices changed, and how many keys devices have on offer.
//
// Spec: MSC3202 §Proposal; MSC4203 for messages to devices
func (b *builder) renderDevices(t *transaction, parts map[string][]byte) error {
	messages, err := b.toDevice(t)
	if err != nil {
		return err
	}
	if len(messages) > 0 {
		if parts["de.sorunome.msc2409.to_device"], err = json.Marshal(messages); err != nil {
			return err
		}
	}
	if err := b.deviceLists(t.upTo, parts); err != nil {
		return err
	}
	return b.keyCounts(parts)
}

// toDevice takes messages out of queues, as many as fit.
func (b *builder) toDevice(t *transaction) ([]any, error) {
	var list []any
	room := limits.AppserviceTransactionBytes
	for _, d := range sortedDevices(b.queues) {
		mark := deviceMark{User: d.user, Device: d.device, UpTo: b.w.done[d]}
		if room <= 0 || len(list) >= limits.AppserviceEvents {
			mark.More = true
			t.toDevice = append(t.toDevice, mark)
			continue
		}
		messages, more, err := b.w.s.cfg.Store.ListToDevice(b.ctx, d.user, d.device, mark.UpTo, t.upTo, limits.AppserviceEvents-len(list), room)
		if err != nil {
			return nil, fmt.Errorf("load messages to devices: %w", err)
		}
		for _, m := range messages {
			list = append(list, map[string]any{
				"type": m.Type, "sender": m.Sender, "content": json.RawMessage(m.Content), "to_user_id": d.user, "to_device_id": d.device,
			})
			room -= len(m.Content)
			mark.UpTo = m.Position
		}
		if mark.More = more; more || len(messages) > 0 {
			t.toDevice = append(t.toDevice, mark)
			b.counted[d] = true
		}
	}
	return list, nil
}

// deviceLists says whose devices have to be looked at again, and whose no more.
func (b *builder) deviceLists(upTo int64, parts map[string][]byte) error {
	lists := struct {
		Changed []matrix.UserID `json:"changed"`
		Left    []matrix.UserID `json:"left"`
	}{[]matrix.UserID{}, []matrix.UserID{}}
	for _, user := range sortedKeys(b.changed) {
		known, err := b.w.interest.knows(b.ctx, user, upTo)
		if err != nil {
			return err
		}
		if known {
			lists.Changed = append(lists.Changed, user)
		}
	}
	for _, user := range sortedKeys(b.left) {
		known, err := b.w.interest.knows(b.ctx, user, upTo)
		if err != nil {
			return err
		}
		if !known {
			lists.Left = append(lists.Left, user)
		}
	}
	if len(lists.Changed)+len(lists.Left) == 0 {
		return nil
	}
	text, err := json.Marshal(lists)
	parts["org.matrix.msc3202.device_lists"] = text
	return err
}

// keyCounts says what devices have on offer.
func (b *builder) keyCounts(parts map[string][]byte) error {
	st := b.w.s.cfg.Store
	if b.counted[deviceOf{}] {
		// Those of every device changed.
		devices, err := st.ListKeyedDevices(b.ctx, b.w.as.Sender.Domain(), limits.AppserviceRooms)
		if err != nil {
			return fmt.Errorf("list devices: %w", err)
		}
		for _, d := range devices {
			own, err := b.w.interest.owns(b.ctx, d.UserID)
			if err != nil {
				return err
			}
			if own {
				b.counted[deviceOf{d.UserID, d.DeviceID}] = true
			}
		}
		delete(b.counted, deviceOf{})
	}
	if len(b.counted) == 0 {
		return nil
	}
	oneTime := make(map[matrix.UserID]map[matrix.DeviceID]map[string]int)
	fallback := make(map[matrix.UserID]map[matrix.DeviceID][]string)
	for d := range b.counted {
		counts, err := st.GetKeyCounts(b.ctx, d.user, d.device)
		if err != nil {
			return fmt.Errorf("count keys: %w", err)
		}
		if !counts.Published {
			continue
		}
		if oneTime[d.user] == nil {
			oneTime[d.user], fallback[d.user] = make(map[matrix.DeviceID]map[string]int), make(map[matrix.DeviceID][]string)
		}
		// Bridges take no count for no news.
		byAlgorithm := map[string]int{"signed_curve25519": 0}
		for _, k := range counts.OneTime {
			byAlgorithm[k.Algorithm] = k.Count
		}
		oneTime[d.user][d.device] = byAlgorithm
		unused := counts.UnusedFallback
		if unused == nil {
			unused = []string{}
		}
		fallback[d.user][d.device] = unused
	}
	if len(oneTime) == 0 {
		return nil
	}
	var err error
	if parts["org.matrix.msc3202.device_one_time_keys_count"], err = json.Marshal(oneTime); err != nil {
		return err
	}
	parts["org.matrix.msc3202.device_unused_fallback_key_types"], err = json.Marshal(fallback)
	return err
}

func sortedDevices(m map[deviceOf]bool) []deviceOf {
	list := make([]deviceOf, 0, len(m))
	for d := range m {
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b deviceOf) int {
		if c := strings.Compare(string(a.user), string(b.user)); c != 0 {
			return c
		}
		return strings.Compare(string(a.device), string(b.device))
	})
	return list
}

func encodeMarks(marks []deviceMark) []byte {
	if len(marks) == 0 {
		return []byte("[]")
	}
	text, err := json.Marshal(marks)
	if err != nil {
		panic("appservices: marks can always be encoded: " + err.Error())
	}
	return text
}

func decodeMarks(text []byte) (marks []deviceMark) {
	// What is in the database was made by encodeMarks.
	_ = json.Unmarshal(text, &marks)
	return marks
}

// openMarks are those of devices of which there are more messages.
func openMarks(text []byte) []deviceMark {
	return slices.DeleteFunc(decodeMarks(text), func(m deviceMark) bool { return !m.More })
}
