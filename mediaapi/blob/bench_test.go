package blob

import (
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/minio/minio-go/v7"

	"github.com/roomline/roomline/internal/hstest"
)

// BenchmarkS3 puts its figures beside those of the library used directly, on the same server: MB/s of all streams together.
func BenchmarkS3(b *testing.B) {
	server := hstest.MinIO(b)
	store, err := NewS3(bucketConfig(server, S3Config{}))
	if err != nil {
		b.Fatal(err)
	}
	client := server.Client(b)
	puts := map[string]func(key string, size int64) error{
		"store": func(key string, size int64) error { return store.Put(b.Context(), key, noise(1, size), size) },
		"direct": func(key string, size int64) error {
			_, err := client.PutObject(b.Context(), server.Bucket, key, noise(1, size), size, minio.PutObjectOptions{})
			return err
		},
		"direct, one PUT": func(key string, size int64) error {
			_, err := client.PutObject(b.Context(), server.Bucket, key, noise(1, size), size, minio.PutObjectOptions{DisableMultipart: true})
			return err
		},
	}
	gets := map[string]func(key string) (io.ReadCloser, error){
		"store": func(key string) (io.ReadCloser, error) { return store.Get(b.Context(), key, 0, -1) },
		"direct": func(key string) (io.ReadCloser, error) {
			return client.GetObject(b.Context(), server.Bucket, key, minio.GetObjectOptions{})
		},
	}
	for _, size := range []int64{1 << 20, 100 << 20} {
		for _, streams := range []int{1, 16} {
			run := func(name string, f func(key string) error) {
				b.Run(fmt.Sprintf("%s/%dMiB/%dstreams", name, size>>20, streams), func(b *testing.B) {
					b.SetBytes(size * int64(streams))
					for b.Loop() {
						var group sync.WaitGroup
						for i := range streams {
							group.Go(func() {
								if err := f(key(i)); err != nil {
									b.Error(err)
								}
							})
						}
						group.Wait()
					}
				})
			}
			for _, how := range []string{"direct", "direct, one PUT", "store"} {
				run("put/"+how, func(key string) error { return puts[how](key, size) })
			}
			for _, how := range []string{"direct", "store"} {
				run("get/"+how, func(key string) error {
					r, err := gets[how](key)
					if err != nil {
						return err
					}
					_, err = io.Copy(io.Discard, r)
					r.Close()
					return err
				})
			}
		}
	}
}
