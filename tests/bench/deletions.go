package main

import (
	"fmt"
	"strings"
	"time"
)

// deletions sends many files in messages, redacts all, and counts what is left in the bucket.
func (b *bench) deletions() ([]figure, error) {
	const total, size, senders = 10_000, 1000, 16
	store, err := b.objects()
	if err != nil {
		return nil, err
	}
	people, err := b.people(senders)
	if err != nil {
		return nil, err
	}
	room, err := b.roomOf(people, "files")
	if err != nil {
		return nil, err
	}
	alone, err := store.removeRate(size, 2000)
	if err != nil {
		return nil, err
	}
	events := make([]string, total)
	began := time.Now()
	err = inParallel(senders, senders, func(sender int) error {
		return people[sender].sendFiles(room, events[sender*total/senders:(sender+1)*total/senders], size)
	})
	if err != nil {
		return nil, err
	}
	sent := time.Since(began)
	objects, err := store.list()
	if err != nil {
		return nil, err
	}
	if len(objects) != total {
		return nil, fmt.Errorf("%d objects for %d files", len(objects), total)
	}
	began = time.Now()
	err = inParallel(senders, senders, func(sender int) error {
		return people[sender].redactAll(room, events[sender*total/senders:(sender+1)*total/senders])
	})
	if err != nil {
		return nil, err
	}
	redacted := time.Since(began)
	left, err := store.awaitEmpty(2 * time.Minute)
	if err != nil {
		return nil, err
	}
	took := time.Since(began)
	receipts, err := b.awaitReceipts(events)
	return []figure{
		{
			what: "10,000 files deleted", measured: fmt.Sprintf("%d objects left", left),
			yardstick: fmt.Sprintf("uploaded and sent in %s", short(sent)), goal: "0", met: left == 0,
		},
		{
			what: "… after the last redaction", measured: short(took - redacted), yardstick: fmt.Sprintf("redacted in %s", short(redacted)),
			goal: "≤ 1 min", met: took-redacted <= time.Minute,
		},
		{
			what: "… a second, from the first redaction", measured: fmt.Sprintf("%.0f/s", total/took.Seconds()),
			yardstick: fmt.Sprintf("%.0f/s minio-go directly", alone), ratio: fmt.Sprintf("%.2f", total/took.Seconds()/alone), met: true,
		},
		{
			what: "… receipts signed", measured: fmt.Sprint(receipts), goal: fmt.Sprint(total), met: receipts == total,
		},
	}, err
}

// removeRate is how many objects a second the store removes by itself.
func (s *objectStore) removeRate(size int64, n int) (float64, error) {
	if err := inParallel(16, n, func(i int) error { return s.put(fmt.Sprintf("direct/%d", i), size) }); err != nil {
		return 0, err
	}
	objects, err := s.list()
	if err != nil {
		return 0, err
	}
	took, err := timed(func() error { return s.remove(objects) })
	return float64(n) / took.Seconds(), err
}

// sendFiles fills events with those of messages that carry a file each.
func (a *account) sendFiles(room string, events []string, size int64) error {
	for i := range events {
		answer, err := a.client.upload(uploadTarget, newFile(size), size)
		if err != nil {
			return err
		}
		a.txn++
		body := fmt.Appendf(nil, `{"msgtype":"m.file","body":"a file","url":"%s"}`, field(answer, "content_uri"))
		answer, err = a.client.do("PUT", fmt.Sprintf("%sb%d", sendTarget(room), a.txn), body)
		if err != nil {
			return err
		}
		events[i] = field(answer, "event_id")
	}
	return nil
}

func (a *account) redactAll(room string, events []string) error {
	for _, event := range events {
		a.txn++
		target := strings.TrimSuffix(sendTarget(room), "send/m.room.message/") + fmt.Sprintf("redact/%s/b%d", event, a.txn)
		if _, err := a.client.do("PUT", target, []byte(`{}`)); err != nil {
			return err
		}
	}
	return nil
}

// awaitReceipts counts the signed receipts of deletions that came with events, and waits some seconds for those that are missing.
func (b *bench) awaitReceipts(events []string) (n int, err error) {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		err := b.data.QueryRow(`SELECT count(*) FROM media_deletions WHERE receipt IS NOT NULL AND event_id <> ''`).Scan(&n)
		if err != nil || n >= len(events) || time.Now().After(deadline) {
			return n, err
		}
	}
}
