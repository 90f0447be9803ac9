package search

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver/event"
)

// follower is what the index's place in the journal is called.
const follower = "search"

// Run keeps the index up to date until ctx ends. One process of the deployment does it at a time; what is in the journal from before
// there was an index is indexed first.
func (s *Server) Run(ctx context.Context) error {
	s.cfg.Journal.Follow(ctx, journal.Follower{Name: follower, Handle: s.index, Rest: 200 * time.Millisecond, Hurry: s.hurry})
	return nil
}

// index brings what happened into the index. It may see the same entries again.
func (s *Server) index(ctx context.Context, entries []journal.Entry) error {
	var docs []store.SearchDocument
	var redacted, edited []matrix.EventID
	var rooms []int64 // of edited
	for i := range entries {
		e := entries[i].Event
		if e == nil || e.RedactedBy != "" {
			continue
		}
		content := event.Content(e.JSON)
		if e.Type == "m.room.redaction" && e.StateKey == nil {
			redacted = append(redacted, redactionTarget(e.JSON, content))
			continue
		}
		r, related := event.RelationOf(e.Type, e.StateKey, content)
		if related && r.Type == event.RelReplace {
			edited, rooms = append(edited, r.RelatesTo), append(rooms, e.RoomNID)
			continue
		}
		if doc, ok := documentOf(e, content); ok {
			docs = append(docs, doc)
		}
	}
	if err := s.cfg.Store.PutSearchDocuments(ctx, docs); err != nil {
		return fmt.Errorf("index messages: %w", err)
	}
	again, err := s.cfg.Store.DeleteSearchDocuments(ctx, redacted)
	if err != nil {
		return fmt.Errorf("take redacted messages out of the index: %w", err)
	}
	return s.indexAgain(ctx, again, rooms, edited)
}

// indexAgain indexes messages, given by position or by room and id, with the text that they have now.
func (s *Server) indexAgain(ctx context.Context, positions, rooms []int64, ids []matrix.EventID) error {
	if len(positions) == 0 && len(ids) == 0 {
		return nil
	}
	events, edits, err := s.cfg.Store.ListEdited(ctx, positions, rooms, ids)
	if err != nil {
		return fmt.Errorf("load edited messages: %w", err)
	}
	wanted := slices.DeleteFunc(slices.Clone(edits), func(position int64) bool { return position == 0 })
	list, err := s.cfg.Store.ListEventsAt(ctx, wanted)
	if err != nil {
		return fmt.Errorf("load edits: %w", err)
	}
	texts := make(map[int64]*store.Event, len(list))
	for i := range list {
		texts[list[i].Position] = &list[i]
	}
	var docs []store.SearchDocument
	for i := range events {
		e := &events[i]
		content := event.Content(e.JSON)
		if r, ok := event.RelationOf(e.Type, e.StateKey, content); e.RedactedBy != "" || ok && r.Type == event.RelReplace {
			continue
		}
		edit := texts[edits[i]]
		if edit != nil && edit.RedactedBy == "" {
			content = []byte(gjson.GetBytes(event.Content(edit.JSON), `m\.new_content`).Raw)
		}
		doc, ok := documentOf(e, content)
		if !ok {
			doc = store.SearchDocument{Position: e.Position, RoomNID: e.RoomNID, Sender: e.Sender, Kind: store.SearchBody}
		}
		if edit != nil && edit.RedactedBy == "" {
			doc.Edit = edit.Position
		}
		if e.Type == "m.room.message" && e.StateKey == nil {
			docs = append(docs, doc)
		}
	}
	if err := s.cfg.Store.PutSearchDocuments(ctx, docs); err != nil {
		return fmt.Errorf("index edited messages: %w", err)
	}
	return nil
}

// documentOf is what of an event can be searched for, with a content that may be that of an edit.
//
// Spec: client-server v1.19 §server-side-search (room_events)
func documentOf(e *store.Event, content []byte) (store.SearchDocument, bool) {
	d := store.SearchDocument{Position: e.Position, RoomNID: e.RoomNID, Sender: e.Sender}
	var text string
	switch {
	case e.Type == "m.room.message" && e.StateKey == nil:
		d.Kind, text = store.SearchBody, gjson.GetBytes(content, "body").String()
		d.HasURL = gjson.GetBytes(content, "url").Exists()
	case e.Type == "m.room.name" && e.StateKey != nil && *e.StateKey == "":
		d.Kind, text = store.SearchName, gjson.GetBytes(content, "name").String()
	case e.Type == "m.room.topic" && e.StateKey != nil && *e.StateKey == "":
		d.Kind, text = store.SearchTopic, topic(content)
	default:
		return d, false
	}
	d.Words = document(text)
	return d, d.Words != ""
}

// topic is a room's topic, and behind it the plain text of its richer form if that is another one.
func topic(content []byte) string {
	text := gjson.GetBytes(content, "topic").String()
	for _, part := range gjson.GetBytes(content, `m\.topic.m\.text`).Array() {
		mime := part.Get("mimetype").String()
		if body := part.Get("body").String(); (mime == "" || mime == "text/plain") && body != text {
			text += "\n" + body
		}
	}
	return text
}

// redactionTarget is the event that a redaction names, wherever its room version keeps it.
func redactionTarget(json, content []byte) matrix.EventID {
	if id := gjson.GetBytes(content, "redacts").String(); id != "" {
		return matrix.EventID(id)
	}
	return matrix.EventID(gjson.GetBytes(json, "redacts").String())
}
