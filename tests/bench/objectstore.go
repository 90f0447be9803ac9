package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/roomline/roomline/internal/child"
	"github.com/roomline/roomline/internal/hstest/freeport"
)

// objectStore is a MinIO of the bench's own, in which the server keeps its media, and the client library to use it directly.
type objectStore struct {
	cmd    *exec.Cmd
	direct minio.Core
}

const (
	bucket     = "media"
	bucketArea = "eu-bench-1"
	accessKey  = "bench-access"
	secretKey  = "bench-secret-key"
)

// objects starts the store, and the server anew with its media in it, when the first row asks.
func (b *bench) objects() (*objectStore, error) {
	if b.media != nil {
		return b.media, nil
	}
	address, err := freeport.Address()
	if err != nil {
		return nil, err
	}
	store := &objectStore{cmd: minioCommand(b.dir, address)}
	client, err := minio.NewCore(address, &minio.Options{
		Creds: credentials.NewStaticV4(accessKey, secretKey, ""), Region: bucketArea, BucketLookup: minio.BucketLookupPath,
	})
	if err != nil {
		return nil, err
	}
	store.direct = *client
	if err := child.Start(store.cmd); err != nil {
		return nil, fmt.Errorf("%w: make bin/minio", err)
	}
	b.media = store
	if err := store.ready(); err != nil {
		return nil, err
	}
	err = b.server.configure(map[string]any{"media": map[string]any{"store": "s3", "presigned_downloads": true, "s3": map[string]any{
		"endpoint": "http://" + address, "region": bucketArea, "bucket": bucket, "path_style": true,
		"access_key": accessKey, "secret_key": secretKey,
	}}})
	if err == nil {
		_, err = b.server.restart()
	}
	b.reconnect()
	return store, err
}

func minioCommand(dir, address string) *exec.Cmd {
	_, here, _, _ := runtime.Caller(0)
	home := filepath.Join(dir, "minio")
	cmd := exec.Command(filepath.Join(filepath.Dir(here), "..", "..", "bin", "minio"), "server", "--quiet", "--address", address, home)
	cmd.Env = append(os.Environ(), "HOME="+dir, "MINIO_ROOT_USER="+accessKey, "MINIO_ROOT_PASSWORD="+secretKey, "MINIO_BROWSER=off", "MINIO_UPDATE=off")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// ready waits for the store, and makes the bucket.
func (s *objectStore) ready() error {
	var err error
	for range 600 {
		if err = s.direct.MakeBucket(context.Background(), bucket, minio.MakeBucketOptions{Region: bucketArea}); err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("MinIO did not become ready: %w", err)
}

func (s *objectStore) stop() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// list returns all that is in the bucket, every version of it.
func (s *objectStore) list() (all []minio.ObjectInfo, err error) {
	for o := range s.direct.ListObjectsIter(context.Background(), bucket, minio.ListObjectsOptions{Recursive: true, WithVersions: true}) {
		if o.Err != nil {
			return nil, o.Err
		}
		all = append(all, o)
	}
	return all, nil
}

// remove removes objects past the server, a thousand a request.
func (s *objectStore) remove(objects []minio.ObjectInfo) error {
	named := func(yield func(minio.ObjectInfo) bool) {
		for _, o := range objects {
			if !yield(minio.ObjectInfo{Key: o.Key}) {
				return
			}
		}
	}
	results, err := s.direct.RemoveObjectsWithIter(context.Background(), bucket, named, minio.RemoveObjectsOptions{})
	if err != nil {
		return err
	}
	for r := range results {
		err = errors.Join(err, r.Err)
	}
	return err
}

// awaitEmpty waits until nothing is left in the bucket, and returns what is left if that takes too long.
func (s *objectStore) awaitEmpty(patience time.Duration) (left int, err error) {
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		all, err := s.list()
		if err != nil || len(all) == 0 || time.Now().After(deadline) {
			return len(all), err
		}
	}
}
