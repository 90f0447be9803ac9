package recording_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/livekit/protocol/auth"
	"github.com/livekit/protocol/livekit"
	"github.com/livekit/protocol/webhook"
	"github.com/minio/minio-go/v7"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/roomline/roomline/internal/hstest"
)

// tells is what LiveKit says of an egress, signed as it signs.
func (s *side) tells(t *testing.T, key, secret string, info *livekit.EgressInfo) int {
	t.Helper()
	body, err := protojson.Marshal(&livekit.WebhookEvent{Event: webhook.EventEgressEnded, Id: "EV_" + info.EgressId + info.Status.String(), CreatedAt: time.Now().Unix(), EgressInfo: info})
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(body)
	token, err := auth.NewAccessToken(key, secret).SetValidFor(time.Minute).SetSha256(base64.StdEncoding.EncodeToString(sum[:])).ToJWT()
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, s.BaseURL(0)+"/_roomline/livekit/webhook", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", token)
	r.Header.Set("Content-Type", "application/webhook+json")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// running stores a recording of Egress that runs, as if there were an Egress.
func (s *side) running(t *testing.T, id, egress string) {
	t.Helper()
	_, err := s.db.Exec(`
		INSERT INTO recordings (recording_id, organisation_id, room_nid, alias, started_by, recorder, egress_id, state, created_ts, started_ts)
		SELECT $1, organisation_id, room_nid, 'alias', $2, 'egress', $3, 'recording', $4, $4 FROM rooms WHERE room_id = $5`,
		id, s.host.ID, egress, time.Now().UnixMilli(), s.room)
	if err != nil {
		t.Fatal(err)
	}
}

// TestAFileIsKeptAndDeleted: what LiveKit says of a file is noted, and the file is deleted when its time is over. Egress itself is not there.
func TestAFileIsKeptAndDeleted(t *testing.T) {
	t.Parallel()
	files := hstest.MinIO(t)
	bucket := files.Client(t)
	s := startWith(t, 1, object{"bucket": files.Bucket, "region": files.Region, "endpoint": "http://" + files.Endpoint, "access_key": files.AccessKey, "secret_key": files.SecretKey})
	s.Secret(files.SecretKey, "the bucket's key")
	s.running(t, "REC1", "EG_1")
	hstest.Eventually(t, "the room says so", func() bool { return s.state(t) == "recording" })
	done := &livekit.EgressInfo{EgressId: "EG_1", Status: livekit.EgressStatus_EGRESS_COMPLETE, FileResults: []*livekit.FileInfo{{Filename: "recordings/x.mp4", Size: 3}}}
	if status := s.tells(t, s.lk.Key, "another-secret-another-secret-another-secret", done); status == 200 {
		t.Error("a forged webhook is believed")
	}
	if s.state(t) != "recording" {
		t.Error("a forged webhook has ended a recording")
	}
	if status := s.tells(t, s.lk.Key, s.lk.Secret, done); status != 200 {
		t.Fatalf("a webhook: %d", status)
	}
	hstest.Eventually(t, "the room says that it is over", func() bool { return s.state(t) == "stopped" })
	var key string
	var size, kept int64
	if err := s.db.QueryRow(`SELECT object_key, bytes, expires_ts - ended_ts FROM recordings WHERE recording_id = 'REC1'`).Scan(&key, &size, &kept); err != nil {
		t.Fatal(err)
	}
	if size != 3 || kept < (89*24*time.Hour).Milliseconds() {
		t.Errorf("the file is %s of %d bytes, kept for %d", key, size, kept)
	}

	// The file is what Egress has written. Its time is over.
	if _, err := bucket.PutObject(t.Context(), files.Bucket, key, bytes.NewReader([]byte("mp4")), 3, minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.db.Exec(`UPDATE recordings SET expires_ts = 1`); err != nil {
		t.Fatal(err)
	}
	hstest.Eventually(t, "the file is gone", func() bool {
		_, err := bucket.StatObject(t.Context(), files.Bucket, key, minio.StatObjectOptions{})
		return minio.ToErrorResponse(err).Code == minio.NoSuchKey
	})
	hstest.Eventually(t, "that is noted", func() bool { return s.audited(t)["recording.delete"] == 1 })

	// The file of a room that is deleted goes with it.
	s.running(t, "REC3", "EG_3")
	hstest.Eventually(t, "the room says so once more", func() bool { return s.state(t) == "recording" })
	s.tells(t, s.lk.Key, s.lk.Secret, &livekit.EgressInfo{EgressId: "EG_3", Status: livekit.EgressStatus_EGRESS_COMPLETE, FileResults: []*livekit.FileInfo{{Size: 3}}})
	hstest.Eventually(t, "it is over", func() bool { return s.state(t) == "stopped" })
	if err := s.db.QueryRow(`SELECT object_key FROM recordings WHERE recording_id = 'REC3'`).Scan(&key); err != nil {
		t.Fatal(err)
	}
	if _, err := bucket.PutObject(t.Context(), files.Bucket, key, bytes.NewReader([]byte("mp4")), 3, minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	gone := s.room
	s.room = s.host.MustCreateRoom(t, object{"preset": "private_chat"})
	s.Admin(t, "admin").MustDo(t, http.MethodDelete, "/_synapse/admin/v2/rooms/"+url.PathEscape(gone), object{"purge": true})
	hstest.Eventually(t, "the deleted room's file is gone", func() bool {
		_, err := bucket.StatObject(t.Context(), files.Bucket, key, minio.StatObjectOptions{})
		return minio.ToErrorResponse(err).Code == minio.NoSuchKey
	})

	// What the organisation keeps for a day is forgotten after two: at once without a file, otherwise when that is deleted.
	s.policy(t, `{"recordings_kept_days": 1}`)
	if _, err := bucket.PutObject(t.Context(), files.Bucket, "old", bytes.NewReader([]byte("mp4")), 3, minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, one := range []struct {
		id, object string
		days       int
	}{{"OLD", "", 2}, {"OLDFILE", "old", 2}, {"YOUNG", "", 0}} {
		at := time.Now().Add(-time.Duration(one.days) * 24 * time.Hour).UnixMilli()
		if _, err := s.db.Exec(`
			INSERT INTO recordings (recording_id, organisation_id, room_nid, alias, started_by, recorder, state, object_key, created_ts, ended_ts, expires_ts)
			SELECT $1, organisation_id, room_nid, 'alias', $2, 'egress', 'stopped', $3, $4, $4, CASE WHEN $3 = '' THEN NULL ELSE $5::bigint END
			FROM rooms WHERE room_id = $6`, one.id, s.host.ID, one.object, at, time.Now().Add(time.Hour).UnixMilli(), s.room); err != nil {
			t.Fatal(err)
		}
	}
	s.Kill9(t, 0)
	s.Restart(t, 0)
	known := func() (ids string) {
		if err := s.db.QueryRow(`SELECT coalesce(string_agg(recording_id, ' ' ORDER BY recording_id), '') FROM recordings WHERE recording_id LIKE 'OLD%' OR recording_id = 'YOUNG'`).Scan(&ids); err != nil {
			t.Fatal(err)
		}
		return ids
	}
	hstest.Eventually(t, "an old recording is forgotten", func() bool { return known() == "OLDFILE YOUNG" })
	hstest.Eventually(t, "an old recording's file is gone", func() bool {
		_, err := bucket.StatObject(t.Context(), files.Bucket, "old", minio.StatObjectOptions{})
		return minio.ToErrorResponse(err).Code == minio.NoSuchKey
	})
	s.Kill9(t, 0) // it looks again after a minute
	s.Restart(t, 0)
	hstest.Eventually(t, "it is forgotten then", func() bool { return known() == "YOUNG" })

	// One that failed says so.
	s.running(t, "REC2", "EG_2")
	hstest.Eventually(t, "the room says so again", func() bool { return s.state(t) == "recording" })
	s.tells(t, s.lk.Key, s.lk.Secret, &livekit.EgressInfo{EgressId: "EG_2", Status: livekit.EgressStatus_EGRESS_FAILED, Error: "no disk"})
	hstest.Eventually(t, "the room says that it failed", func() bool { return s.state(t) == "failed" })
}
