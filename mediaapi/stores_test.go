package mediaapi_test

import (
	"bytes"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/store/storetest"
)

// storage is where a deployment keeps its media, to look into.
type storage interface {
	configure(media map[string]any)
	keys(t testing.TB) []string
}

type bucket struct{ storage }

// mustHave waits until there are exactly n objects.
func (b bucket) mustHave(t testing.TB, n int) {
	t.Helper()
	var keys []string
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if keys = b.keys(t); len(keys) == n {
			return
		}
	}
	t.Fatalf("the store has %d objects, want %d: %v", len(keys), n, keys)
}

type inFolder struct{ dir string }

func folder(t testing.TB) storage { return inFolder{t.TempDir()} }

func (f inFolder) configure(media map[string]any) { media["folder"] = f.dir }

func (f inFolder) keys(t testing.TB) (keys []string) {
	err := filepath.WalkDir(f.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			keys = append(keys, strings.TrimPrefix(path, f.dir))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

type inBucket struct {
	*hstest.ObjectStore
	client *minio.Client
}

// minIO is a bucket of a MinIO that others use, too.
func minIO(t testing.TB) storage { return ofBucket(t, hstest.MinIOBucket(t)) }

func ofBucket(t testing.TB, s *hstest.ObjectStore) storage {
	client, err := minio.New(s.Endpoint, &minio.Options{Creds: credentials.NewStaticV4(s.AccessKey, s.SecretKey, ""), Region: s.Region})
	if err != nil {
		t.Fatal(err)
	}
	return inBucket{s, client}
}

func (b inBucket) configure(media map[string]any) {
	media["store"] = "s3"
	media["s3"] = map[string]any{
		"endpoint": "http://" + b.Endpoint, "region": b.Region, "bucket": b.Bucket, "access_key": b.AccessKey, "secret_key": b.SecretKey,
	}
}

func (b inBucket) keys(t testing.TB) (keys []string) {
	for o := range b.client.ListObjects(t.Context(), b.Bucket, minio.ListObjectsOptions{Recursive: true, WithVersions: true}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		keys = append(keys, o.Key)
	}
	return keys
}

// stores are those on which everything has to hold.
func stores(testing.TB) map[string]func(testing.TB) storage {
	return map[string]func(testing.TB) storage{"folder": folder, "MinIO": minIO}
}

// start starts a deployment on a store. more changes the configuration.
func start(t testing.TB, s func(testing.TB) storage, more func(media map[string]any)) (*hstest.Deployment, bucket) {
	t.Helper()
	return startProcesses(t, 1, s, more)
}

// startProcesses is start with several processes.
func startProcesses(t testing.TB, n int, s func(testing.TB) storage, more func(media map[string]any)) (*hstest.Deployment, bucket) {
	t.Helper()
	b := bucket{s(t)}
	d := hstest.Start(t, hstest.Options{Processes: n, Configure: func(_ int, config map[string]any) {
		media := map[string]any{}
		b.configure(media)
		if more != nil {
			more(media)
		}
		config["media"] = media
	}})
	return d, b
}

// onStores runs a test on each store, with one process.
func onStores(t *testing.T, f func(t *testing.T, d *hstest.Deployment, b bucket)) {
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, b := start(t, s, nil)
			f(t, d, b)
		})
	}
}

// change changes the deployment's database behind its back.
func change(t testing.TB, d *hstest.Deployment, statement string, args ...any) {
	t.Helper()
	db := storetest.DB(t, d.DSN)
	if _, err := db.Exec(statement, args...); err != nil {
		t.Fatal(err)
	}
}

// number is the one number that a query returns.
func number(t testing.TB, d *hstest.Deployment, query string, args ...any) (n int64) {
	t.Helper()
	db := storetest.DB(t, d.DSN)
	if err := db.QueryRow(query, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// tidy makes the server look for what has become too old: it does when it starts.
func tidy(t testing.TB, d *hstest.Deployment) {
	t.Helper()
	d.Stop(t, 0)
	d.Restart(t, 0)
}

// administrator is a new account with an administrator's rights.
func administrator(t testing.TB, d *hstest.Deployment, localpart string) *hstest.User {
	t.Helper()
	u := d.User(t, localpart)
	change(t, d, "UPDATE users SET role = 'owner' WHERE user_id = $1", u.ID)
	return u.NewSession(t)
}

// foreigner is a new account of another organisation.
func foreigner(t testing.TB, d *hstest.Deployment, localpart string) *hstest.User {
	t.Helper()
	u := d.User(t, localpart)
	change(t, d, "INSERT INTO organisations (organisation_id, name, created_ts) VALUES (7, 'other', 0) ON CONFLICT DO NOTHING")
	change(t, d, "UPDATE users SET organisation_id = 7 WHERE user_id = $1", u.ID)
	return u.NewSession(t)
}

// replaceObject puts something else where an object is.
func replaceObject(t testing.TB, b inBucket, key string, with []byte) {
	t.Helper()
	if _, err := b.client.PutObject(t.Context(), b.Bucket, key, bytes.NewReader(with), int64(len(with)), minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
}

func removeObject(t testing.TB, b inBucket, key string) {
	t.Helper()
	if err := b.client.RemoveObject(t.Context(), b.Bucket, key, minio.RemoveObjectOptions{}); err != nil {
		t.Fatal(err)
	}
}
