package sfu

import (
	"context"

	"github.com/livekit/protocol/auth"
	"github.com/livekit/protocol/livekit"
)

// EgressRequest is a recording of a whole room into one file, by LiveKit Egress.
type EgressRequest struct {
	Alias string
	// File is the file's path or key, with the ending mp4, or ogg with AudioOnly.
	File      string
	AudioOnly bool
	// Layout is grid, speaker or single-speaker; empty: Egress decides.
	Layout string
	// S3 is where the file goes; nil: the disk of Egress.
	S3 *S3
}

// S3 is a bucket.
type S3 struct {
	Endpoint, Region, Bucket, AccessKey, SecretKey string
	PathStyle                                      bool
}

// Egress is a recording as LiveKit sees it.
type Egress struct {
	ID string
	// Status is the word of LiveKit: EGRESS_STARTING, EGRESS_ACTIVE, EGRESS_ENDING, EGRESS_COMPLETE, EGRESS_FAILED, EGRESS_ABORTED, EGRESS_LIMIT_REACHED.
	Status string
	// Problem is why it failed, File where the file is, Bytes its size.
	Problem, File string
	Bytes         int64
}

// StartRoomEgress starts a recording.
func (c *Client) StartRoomEgress(ctx context.Context, r EgressRequest) (Egress, error) {
	file := &livekit.EncodedFileOutput{FileType: livekit.EncodedFileType_MP4, Filepath: r.File, DisableManifest: true}
	if r.AudioOnly {
		file.FileType = livekit.EncodedFileType_OGG
	}
	if s := r.S3; s != nil {
		file.Output = &livekit.EncodedFileOutput_S3{S3: &livekit.S3Upload{
			AccessKey: s.AccessKey, Secret: s.SecretKey, Region: s.Region, Endpoint: s.Endpoint, Bucket: s.Bucket, ForcePathStyle: s.PathStyle,
		}}
	}
	info, err := ask(ctx, c, auth.VideoGrant{RoomRecord: true}, c.egress.StartRoomCompositeEgress, &livekit.RoomCompositeEgressRequest{
		RoomName: r.Alias, Layout: r.Layout, AudioOnly: r.AudioOnly, FileOutputs: []*livekit.EncodedFileOutput{file},
	})
	return EgressOf(info), err
}

// StopEgress ends a recording. One that has ended is no error.
func (c *Client) StopEgress(ctx context.Context, id string) (Egress, error) {
	info, err := ask(ctx, c, auth.VideoGrant{RoomRecord: true}, c.egress.StopEgress, &livekit.StopEgressRequest{EgressId: id})
	return EgressOf(info), found(err)
}

// EgressOf is what LiveKit's message says, as webhooks have it too.
func EgressOf(info *livekit.EgressInfo) Egress {
	e := Egress{ID: info.GetEgressId(), Problem: info.GetError()}
	if info != nil {
		e.Status = info.Status.String()
	}
	for _, f := range info.GetFileResults() {
		e.File, e.Bytes = f.Filename, f.Size
		if f.Location != "" {
			e.File = f.Location
		}
	}
	return e
}
