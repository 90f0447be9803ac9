package clientapi

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

type sendToDeviceRequest struct {
	Messages map[matrix.UserID]map[matrix.DeviceID]json.RawMessage `json:"messages"`
}

// sendToDevice sends messages to devices, one to each. Users and devices that don't exist, and users whom the sender may not know, are passed over. The messages of a
// repeated transaction were sent by the first request; what the other says is not looked at.
//
// When more waits for a device than limits.ToDeviceQueue allows, its oldest messages are dropped.
//
// Spec: client-server v1.19 §send-to-device-messaging, PUT /_matrix/client/v3/sendToDevice/{eventType}/{txnId}
func (s *Server) sendToDevice(ctx context.Context, c *httpapi.Call, req *sendToDeviceRequest) (any, error) {
	typ := c.Path("eventType")
	if typ == "" || len(typ) > limits.EventType {
		return nil, matrix.InvalidParam("eventType must have 1 to %d bytes", limits.EventType)
	}
	txn, err := transaction(c, "")
	if err != nil {
		return nil, err
	}
	if req.Messages == nil {
		return nil, matrix.MissingParam("messages is missing")
	}
	send := &store.ToDeviceSend{Sender: c.Requester.User, SenderDevice: c.Requester.Device, Type: typ, TxnID: txn.ID}
	done, err := s.store.HasToDeviceSend(ctx, send)
	if err != nil || done {
		return nil, err
	}
	queues, err := s.toDeviceQueues(ctx, c.Requester, req)
	if err != nil {
		return nil, err
	}
	bytes := 0
	for _, q := range queues {
		content, named := req.Messages[q.UserID][q.DeviceID]
		if !named {
			content = req.Messages[q.UserID][store.EveryDevice]
		} else if q.All {
			continue // by name it comes once more
		}
		bytes += len(content)
		send.Messages = append(send.Messages, store.ToDeviceRecipient{UserID: q.UserID, DeviceID: q.DeviceID, Content: content})
	}
	if len(send.Messages) > limits.ToDeviceRecipients || bytes > limits.ToDeviceBytes {
		return nil, matrix.TooLarge("one request may send to %d devices, and %d bytes in all", limits.ToDeviceRecipients, limits.ToDeviceBytes)
	}
	if len(send.Messages) == 0 {
		return nil, nil
	}
	if err := s.trimToDevice(ctx, queues); err != nil {
		return nil, err
	}
	if _, err := s.journal.Append(ctx, store.ToDeviceUnit(send)); err != nil {
		return nil, fmt.Errorf("send to devices: %w", err)
	}
	return nil, nil
}

// toDeviceQueues checks the messages and returns the queues of the devices that they are for, in order.
func (s *Server) toDeviceQueues(ctx context.Context, who *httpapi.Requester, req *sendToDeviceRequest) ([]store.ToDeviceQueue, error) {
	var users []matrix.UserID
	var devices []matrix.DeviceID
	for _, user := range slices.Sorted(maps.Keys(req.Messages)) {
		for device, content := range req.Messages[user] {
			if len(content) == 0 || content[0] != '{' {
				return nil, matrix.BadJSON("messages: the content for a device must be an object")
			}
			if len(content) > limits.ToDeviceMessage {
				return nil, matrix.TooLarge("messages: the content for a device has more than %d bytes", limits.ToDeviceMessage)
			}
			users, devices = append(users, user), append(devices, device)
		}
	}
	if len(users) > limits.ToDeviceRecipients {
		return nil, matrix.TooLarge("messages names more than %d devices", limits.ToDeviceRecipients)
	}
	if len(users) == 0 {
		return nil, nil
	}
	strangers, err := s.store.ListStrangers(ctx, onlooker(who), slices.Sorted(maps.Keys(req.Messages)))
	if err != nil {
		return nil, err
	}
	queues, err := s.store.ListToDeviceQueues(ctx, users, devices)
	if err != nil {
		return nil, fmt.Errorf("look up devices to send to: %w", err)
	}
	return slices.DeleteFunc(queues, func(q store.ToDeviceQueue) bool { return strangers[q.UserID] }), nil
}

// trimToDevice makes room in queues that are full.
func (s *Server) trimToDevice(ctx context.Context, queues []store.ToDeviceQueue) error {
	full := slices.DeleteFunc(slices.Clone(queues), func(q store.ToDeviceQueue) bool {
		return q.Messages < limits.ToDeviceQueue && q.Bytes < limits.ToDeviceQueueBytes
	})
	if len(full) == 0 {
		return nil
	}
	// A little more than one message's room, so that the next message needs none made.
	const messages, bytes = limits.ToDeviceQueue - limits.ToDeviceQueue/100, limits.ToDeviceQueueBytes - limits.ToDeviceQueueBytes/100
	if err := s.store.DeleteOldestToDevice(ctx, full, messages, bytes); err != nil {
		return fmt.Errorf("make room for messages to devices: %w", err)
	}
	return nil
}
