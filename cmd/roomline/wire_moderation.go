package main

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/roomline/roomline/clientapi/meetings"
	"github.com/roomline/roomline/clientapi/meetings/moderation"
	"github.com/roomline/roomline/clientapi/meetings/recording"
	"github.com/roomline/roomline/clientapi/meetings/schedule"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/sfu"
	"github.com/roomline/roomline/roomserver"
)

// newModeration makes what leads meetings, and what has them recorded.
func (a *app) newModeration() (err error) {
	records := recording.Config{
		Store: a.store, Journal: a.journal, Rooms: a.rooms, Calls: a.meetings, Clock: a.clock, Log: a.log, IsLocal: a.keys.IsLocal,
		CheckRoom: a.meetings.OrderCheckRoom, CheckUser: a.meetings.OrderCheckUser,
		Recorders: func(org int64) (list []recording.Recorder) {
			for _, r := range a.registry.Recorders(org) {
				list = append(list, recording.Recorder(r))
			}
			return list
		},
		Policy: a.recordingPolicy,
	}
	leads := moderation.Config{
		Store: a.store, Journal: a.journal, Rooms: a.rooms, Clock: a.clock, Log: a.log, IsLocal: a.keys.IsLocal,
		Calls: a.meetings, EndRoom: a.meetings.EndRoom, CheckUser: a.meetings.OrderCheckUser,
	}
	if records.Files, err = a.recordings(); err != nil {
		return err
	}
	if a.sfu != nil {
		records.SFU, leads.SFU = a.sfu, a.sfu
	}
	if a.recording, err = recording.New(records); err != nil {
		return err
	}
	// What is arranged is made later.
	leads.Recording, leads.Meeting = a.recording.Status, a.meetingOf
	leads.BeforeEnd = []func(ctx context.Context, room roomserver.Info, actor string) error{a.recording.StopRoom}
	a.moderation, err = moderation.New(leads)
	return err
}

// recordingPolicy is what an organisation says of recordings of its meetings.
func (a *app) recordingPolicy(ctx context.Context, org int64) (recording.Policy, error) {
	said, err := schedule.PolicyOf(ctx, a.store, org)
	p := recording.Policy{
		Egress: said.Recording == schedule.RecordingEgress, Appservices: said.Recording == schedule.RecordingAppservice, Level: meetings.Organiser,
	}
	if said.WhoMayRecord == schedule.RecordModerators {
		p.Level = meetings.Moderator
	}
	if err == nil {
		p.Keep = time.Duration(*said.RecordingsKeptDays) * 24 * time.Hour
	}
	return p, err
}

// arranged is what a room's meeting is, for those in the room; nil for a room where nothing was arranged.
type arranged struct {
	ID        string           `json:"meeting_id"`
	Title     string           `json:"title"`
	Kind      string           `json:"kind"`
	Organiser matrix.UserID    `json:"organiser"`
	StartTS   matrix.Timestamp `json:"start_ts,omitempty"`
	EndTS     matrix.Timestamp `json:"end_ts,omitempty"`
	Timezone  string           `json:"timezone,omitempty"`
}

func (a *app) meetingOf(ctx context.Context, _ *httpapi.Call, room roomserver.Info) (any, error) {
	m, ok, err := a.schedule.MeetingOf(ctx, room.NID)
	if err != nil || !ok {
		return nil, err
	}
	return arranged{ID: m.ID, Title: m.Title, Kind: m.Kind, Organiser: m.Organiser, StartTS: m.NextStartTS, EndTS: m.NextEndTS, Timezone: m.Timezone}, nil
}

// recordings is where LiveKit Egress puts them; nil for nowhere.
func (a *app) recordings() (*recording.Files, error) {
	c := &a.cfg.Meetings.Recordings
	if c.Bucket == "" {
		return nil, nil
	}
	u, err := url.Parse(c.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("meetings.recordings.endpoint: %w", err)
	}
	lookup := minio.BucketLookupDNS
	if c.PathStyle {
		lookup = minio.BucketLookupPath
	}
	bucket, err := minio.New(u.Host, &minio.Options{
		Creds: credentials.NewStaticV4(c.AccessKey, c.SecretKey.Reveal(), ""), Secure: u.Scheme == "https", Region: c.Region, BucketLookup: lookup,
	})
	if err != nil {
		return nil, fmt.Errorf("meetings.recordings: %w", err)
	}
	return &recording.Files{
		Bucket: sfu.S3{
			Endpoint: c.Endpoint, Region: c.Region, Bucket: c.Bucket, AccessKey: c.AccessKey, SecretKey: c.SecretKey.Reveal(), PathStyle: c.PathStyle,
		},
		Delete: func(ctx context.Context, key string) error {
			return bucket.RemoveObject(ctx, c.Bucket, key, minio.RemoveObjectOptions{})
		},
		KeepFor: c.KeepFor,
	}, nil
}
