package journal

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

const (
	notifyChannel     = "roomline_journal"
	heartbeatInterval = 5 * time.Second
	// readAtOnce bounds how many positions are read from the database in one go; who is further behind than jumpBehind
	// starts afresh at the head.
	readAtOnce = 2000
	jumpBehind = 50_000
)

// runTail asks the database for what others have committed, when poked and at every interval.
func (j *Journal) runTail(ctx context.Context) {
	tick := time.NewTicker(j.cfg.PollInterval)
	defer tick.Stop()
	for {
		if err := j.catchUp(ctx); err != nil && ctx.Err() == nil && !isUnavailable(err) {
			j.cfg.Log.Error("journal: read others' entries", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-j.poke:
		case <-tick.C:
		}
	}
}

// CatchUp returns when this process has seen everything that the database had when it was called.
func (j *Journal) CatchUp(ctx context.Context) error {
	asked := time.Now()
	position, err := j.cfg.Store.GetPosition(ctx)
	if err != nil {
		return err
	}
	if err := j.readUpTo(ctx, position); err != nil {
		return err
	}
	j.touch(asked)
	return nil
}

// catchUp is CatchUp for those who try again. A request has to wait: what it stored stays stored.
func (j *Journal) catchUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return j.CatchUp(ctx)
}

// readUpTo reads from the database what the ring does not have up to position.
func (j *Journal) readUpTo(ctx context.Context, position int64) error {
	for {
		from := j.Head()
		if from >= position {
			return nil
		}
		if position-from > jumpBehind {
			j.restartAt(position)
			return nil
		}
		to := min(from+readAtOnce, position)
		events, updates, err := j.cfg.Store.ListJournal(ctx, from, to)
		if err != nil {
			return fmt.Errorf("read the journal after %d: %w", from, err)
		}
		entries := merge(events, updates)
		redacted, err := j.readRedacted(ctx, entries)
		if err != nil {
			return err
		}
		j.publish(from, entries, to, redacted)
	}
}

// restartAt gives up what lies between and goes on at position. As with entries, the observers come first: who finds the ring's head moved must
// not meet what is remembered from before.
func (j *Journal) restartAt(position int64) {
	j.publishing.Lock()
	defer j.publishing.Unlock()
	if j.Head() >= position {
		return
	}
	j.lostUpTo.Store(position)
	for _, o := range j.observers {
		o(nil, true)
	}
	j.ring.reset(position)
}

func merge(events []store.Event, updates []store.Update) []Entry {
	entries := make([]Entry, 0, len(events)+len(updates))
	for i := range events {
		entries = append(entries, Entry{Position: events[i].Position, Event: &events[i]})
	}
	for i := range updates {
		entries = append(entries, Entry{Position: updates[i].Position, Update: &updates[i]})
	}
	sort.Slice(entries, func(a, b int) bool { return entries[a].Position < entries[b].Position })
	return entries
}

// publish hands the entries with from < position <= to over. What the ring has by now is left out; when the ring has not
// come to from, nothing is done, and the caller's loop reads what is missing.
func (j *Journal) publish(from int64, entries []Entry, to int64, redacted []redaction) {
	j.publishing.Lock()
	defer j.publishing.Unlock()
	head := j.Head()
	if head >= to || head < from {
		return
	}
	for len(entries) > 0 && entries[0].Position <= head {
		entries = entries[1:]
	}
	for _, r := range redacted {
		j.ring.redact(r.target, r.by, r.json)
		redactIn(entries, r)
	}
	// Observers first: whoever is woken by the ring's head finds them up to date.
	for _, o := range j.observers {
		o(entries, false)
	}
	j.ring.push(entries, to)
}

// redaction is an event whose content went.
type redaction struct {
	target, by matrix.EventID
	json       []byte
}

// redactIn removes the content of an event that is handed over together with its redaction.
func redactIn(entries []Entry, r redaction) {
	for i, e := range entries {
		if e.Event != nil && e.Event.EventID == r.target && e.Event.RedactedBy == "" {
			redacted := *e.Event
			redacted.JSON, redacted.RedactedBy = r.json, r.by
			entries[i].Event = &redacted
		}
	}
}

// readRedacted finds what is left of the events that entries redact.
func (j *Journal) readRedacted(ctx context.Context, entries []Entry) ([]redaction, error) {
	var list []redaction
	for _, e := range entries {
		if e.Event == nil || e.Event.Type != "m.room.redaction" {
			continue
		}
		target := gjson.GetBytes(e.Event.JSON, "redacts").String()
		if target == "" {
			target = gjson.GetBytes(e.Event.JSON, "content.redacts").String()
		}
		events, err := j.cfg.Store.ListEventsByID(ctx, e.Event.RoomNID, []matrix.EventID{matrix.EventID(target)})
		if err != nil {
			return nil, fmt.Errorf("read redacted event: %w", err)
		}
		for i := range events {
			if events[i].RedactedBy != "" {
				list = append(list, redaction{events[i].EventID, events[i].RedactedBy, events[i].JSON})
			}
		}
	}
	return list, nil
}

// publishOwn hands over what a batch of this process stored, sent at the given moment. Entries of others that lie before it
// are read first.
func (j *Journal) publishOwn(units []store.Unit, results []store.Result, sent time.Time) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	b := ownEntries(units, results)
	if len(b.entries) == 0 {
		if !anyAlready(results) {
			return nil
		}
		// The answer to an earlier attempt was lost: what it stored is in the database only.
		return j.catchUp(ctx)
	}
	if err := j.readUpTo(ctx, b.base); err != nil {
		return err
	}
	j.publish(b.base, b.entries, b.end, b.redacted)
	if j.Head() < b.end {
		return fmt.Errorf("entries up to %d are not in yet", b.end)
	}
	if anyAlready(results) {
		return j.catchUp(ctx)
	}
	j.touch(sent)
	return nil
}

func anyAlready(results []store.Result) bool {
	return slices.ContainsFunc(results, func(r store.Result) bool { return r.Outcome == store.OutcomeAlready })
}

// ownBatch is a stored batch as entries: base < position <= end.
type ownBatch struct {
	base, end int64
	entries   []Entry
	redacted  []redaction
}

// ownEntries works out the positions that the database gave the batch: events in their order, then updates in theirs.
func ownEntries(units []store.Unit, results []store.Result) ownBatch {
	var b ownBatch
	var nEvents, nUpdates int64
	for i := range units {
		nEvents += int64(len(units[i].Events))
		nUpdates += int64(len(units[i].Updates))
	}
	event, update := int64(0), nEvents
	for i := range units {
		u := &units[i]
		if results[i].Outcome == store.OutcomeStored {
			if len(u.Events) > 0 {
				b.base = results[i].Position - event - 1
			} else {
				b.base = results[i].Position - update - 1
			}
			break
		}
		event += int64(len(u.Events))
		update += int64(len(u.Updates))
	}
	b.end = b.base + nEvents + nUpdates
	position := b.base
	for i := range units {
		for k := range units[i].Events {
			position++
			if results[i].Outcome == store.OutcomeStored {
				b.addEvent(position, &units[i], &units[i].Events[k])
			}
		}
	}
	for i := range units {
		for k := range units[i].Updates {
			position++
			if results[i].Outcome == store.OutcomeStored {
				up := units[i].Updates[k]
				up.Position = position
				b.entries = append(b.entries, Entry{Position: position, Update: &up})
			}
		}
	}
	return b
}

func (b *ownBatch) addEvent(position int64, u *store.Unit, e *store.NewEvent) {
	ev := &store.Event{
		Position: position, RoomNID: u.RoomNID, RoomID: u.RoomID, EventID: e.EventID, Type: e.Type, StateKey: e.StateKey,
		Sender: e.Sender, OriginServerTS: e.OriginServerTS, Depth: e.Depth, JSON: e.JSON,
	}
	if u.Txn != nil && u.Txn.EventID == e.EventID {
		ev.TxnDevice, ev.TxnID = u.Txn.Device, u.Txn.ID
	}
	b.entries = append(b.entries, Entry{Position: position, Event: ev})
	if e.Redacts != "" && e.RedactedJSON != nil {
		b.redacted = append(b.redacted, redaction{e.Redacts, e.EventID, e.RedactedJSON})
	}
}

// runListener turns notifications of other processes into pokes.
func (j *Journal) runListener(ctx context.Context) {
	for ctx.Err() == nil {
		if err := j.cfg.Store.Listen(ctx, notifyChannel, j.pokeTail); err != nil && ctx.Err() == nil {
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
		}
	}
}

// runNotifier tells other processes, if there are any, of what this one committed. While one notification is on its way
// further ones become one.
func (j *Journal) runNotifier(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-j.notify:
		}
		if j.cfg.NoNotify || !j.others.Load() {
			continue
		}
		notifyCtx, cancel := context.WithTimeout(ctx, 5*time.Second)
		// A lost notification costs the others a poll interval.
		err := j.cfg.Store.Notify(notifyCtx, notifyChannel, j.Head())
		cancel()
		if err != nil && ctx.Err() == nil {
			j.cfg.Log.Debug("journal: notify", "error", err)
		}
	}
}

// runHeartbeat shows that this process lives, and learns whether there are others.
func (j *Journal) runHeartbeat(ctx context.Context) {
	tick := time.NewTicker(heartbeatInterval)
	defer tick.Stop()
	for {
		others, err := j.cfg.Store.PutProcess(ctx, j.cfg.ProcessID, j.cfg.ServerName)
		if err == nil {
			j.others.Store(others > 0)
		}
		select {
		case <-ctx.Done():
			goodbye, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			if err := j.cfg.Store.DeleteProcess(goodbye, j.cfg.ProcessID); err != nil {
				j.cfg.Log.Debug("journal: sign off", "error", err)
			}
			return
		case <-tick.C:
		}
	}
}
