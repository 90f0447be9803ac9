package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"
)

const (
	uploadTarget = "/_matrix/media/v3/upload"
	// smallRounds and largeRounds are how often the store alone and the server take turns with files of 1 and of 100 MiB.
	smallRounds, largeRounds = 7, 3
)

// noise is what files are made of: nothing in it can be compressed.
var noise = func() []byte {
	b := make([]byte, 1<<20)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(b)
	return b
}()

var files atomic.Uint64

// file yields size bytes that no other file has. It cannot seek.
type file struct {
	first [8]byte
	at    int64
	size  int64
}

func newFile(size int64) *file {
	f := &file{size: size}
	binary.BigEndian.PutUint64(f.first[:], files.Add(1))
	return f
}

func (f *file) Read(p []byte) (int, error) {
	if f.at == f.size {
		return 0, io.EOF
	}
	var n int
	if f.at < int64(len(f.first)) {
		n = copy(p, f.first[f.at:])
	} else {
		n = copy(p[:min(int64(len(p)), f.size-f.at)], noise[f.at%int64(len(noise)):])
	}
	f.at += int64(n)
	return n, nil
}

// uploaded are the URIs of files that were uploaded, by the account.
type uploaded struct {
	mu   sync.Mutex
	uris map[*account][]string
}

func (u *uploaded) add(a *account, uri string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.uris == nil {
		u.uris = map[*account][]string{}
	}
	u.uris[a] = append(u.uris[a], strings.TrimPrefix(uri, "mxc://"))
}

// upload uploads a file of its own.
func (a *account) upload(size int64, all *uploaded) error {
	answer, err := a.client.upload(uploadTarget, newFile(size), size)
	if err != nil {
		return err
	}
	all.add(a, field(answer, "content_uri"))
	return nil
}

// put is upload past the server, with one request.
func (s *objectStore) put(key string, size int64) error {
	// What can only be read is what the server gets from its clients.
	only := struct{ io.Reader }{newFile(size)}
	_, err := s.direct.Client.PutObject(context.Background(), bucket, key, only, size, minio.PutObjectOptions{DisableMultipart: true})
	return err
}

// clear deletes through the server what was uploaded, removes the rest past it, and makes sure that nothing is left.
func (b *bench) clear(all *uploaded) error {
	for a, uris := range all.uris {
		for _, uri := range uris {
			if _, err := a.client.do("DELETE", "/_matrix/client/unstable/org.roomline.media/"+uri, nil); err != nil {
				return err
			}
		}
	}
	objects, err := b.media.list()
	if err != nil {
		return err
	}
	var direct []minio.ObjectInfo
	for _, o := range objects {
		if strings.HasPrefix(o.Key, "direct/") {
			direct = append(direct, o)
		}
	}
	if err := b.media.remove(direct); err != nil {
		return err
	}
	if left, err := b.media.awaitEmpty(time.Minute); err != nil || left > 0 {
		return errors.Join(err, fmt.Errorf("%d objects are left", left))
	}
	return nil
}

// uploads compares streams to the server with as many to the store.
func (b *bench) uploads(size int64, streams int) ([]figure, error) {
	store, err := b.objects()
	if err != nil {
		return nil, err
	}
	people, err := b.people(streams)
	if err != nil {
		return nil, err
	}
	var all uploaded
	var keys atomic.Int64
	yardstick := func(int) error { return store.put(fmt.Sprintf("direct/%d", keys.Add(1)), size) }
	measured := func(i int) error { return people[i].upload(size, &all) }
	figures, err := b.throughput(fmt.Sprintf("upload, %d MiB, %s", size>>20, streamsText(streams)), size, streams, yardstick, measured, nil)
	if err != nil {
		return nil, err
	}
	return figures, b.clear(&all)
}

// downloads compares streams from the server with as many from the store, of the same objects.
func (b *bench) downloads(size int64, streams ...int) ([]figure, error) {
	return b.fetches("download", (*account).download, size, streams)
}

// redirected is downloads by clients that let the server send them to the store.
func (b *bench) redirected(size int64, streams ...int) ([]figure, error) {
	return b.fetches("redirected download", (*account).downloadRedirected, size, streams)
}

func (b *bench) fetches(what string, fetch func(*account, string, int64) error, size int64, streams []int) (figures []figure, err error) {
	store, err := b.objects()
	if err != nil {
		return nil, err
	}
	most := streams[len(streams)-1]
	people, err := b.people(most)
	if err != nil {
		return nil, err
	}
	var all uploaded
	if err := inParallel(4, most, func(i int) error { return people[i].upload(size, &all) }); err != nil {
		return nil, err
	}
	objects, err := store.list()
	if err != nil {
		return nil, err
	}
	if len(objects) != most {
		return nil, fmt.Errorf("%d objects for %d files", len(objects), most)
	}
	yardstick := func(i int) error { return store.get(objects[i].Key, size) }
	measured := func(i int) error { return fetch(people[i], all.uris[people[i]][0], size) }
	proxied, stop, err := store.throughProxy(objects, size)
	if err != nil {
		return nil, err
	}
	defer stop()
	for _, n := range streams {
		f, err := b.throughput(fmt.Sprintf("%s, %d MiB, %s", what, size>>20, streamsText(n)), size, n, yardstick, measured, proxied)
		if err != nil {
			return nil, err
		}
		figures = append(figures, f...)
	}
	return figures, b.clear(&all)
}

func (a *account) download(uri string, size int64) error {
	n, err := a.client.download("/_matrix/client/v1/media/download/" + uri)
	if err == nil && n != size {
		err = fmt.Errorf("a download has %d bytes of %d", n, size)
	}
	return err
}

// downloadRedirected asks the server where the file is, and gets it there, on a connection of its own that stays.
func (a *account) downloadRedirected(uri string, size int64) error {
	to, err := a.client.location("/_matrix/client/v1/media/download/" + uri + "?allow_redirect=true")
	if err != nil {
		return err
	}
	if a.store == nil {
		a.store = newClient(to.Host, "")
	}
	n, err := a.store.download(to.RequestURI())
	if err == nil && n != size {
		err = fmt.Errorf("a redirected download has %d bytes of %d", n, size)
	}
	return err
}

// get is download past the server.
func (s *objectStore) get(key string, size int64) error {
	body, _, _, err := s.direct.GetObject(context.Background(), bucket, key, minio.GetObjectOptions{})
	if err != nil {
		return err
	}
	defer body.Close()
	n, err := discard(body, make([]byte, fileBuffer))
	if err == nil && n != size {
		err = fmt.Errorf("an object has %d bytes of %d", n, size)
	}
	return err
}

func streamsText(n int) string {
	if n == 1 {
		return "one stream"
	}
	return fmt.Sprintf("%d streams", n)
}

// throughput compares the bytes a second of the server with those of the store alone, and with those of a proxy that does nothing but
// pass them on: the medians of slices that take turns.
func (b *bench) throughput(what string, size int64, streams int, yardstick, measured, proxied func(i int) error) ([]figure, error) {
	rounds, slice := smallRounds, b.slice/3
	if size > 10<<20 {
		rounds, slice = largeRounds, b.slice
	}
	contestants := []func(int) error{yardstick, measured}
	if proxied != nil {
		contestants = append(contestants, proxied)
	}
	rates := make([][]float64, len(contestants))
	for round := range rounds + 1 {
		for i, f := range contestants {
			d := slice
			if round == 0 { // warm up
				d = b.slice / 10
			}
			r, err := rate(streams, d, f)
			if err != nil {
				return nil, err
			}
			if round > 0 {
				rates[i] = append(rates[i], r)
			}
		}
	}
	const goal = 0.8
	yard, got := median(rates[0]), median(rates[1])
	speed := func(rate float64) string { return fmt.Sprintf("%.0f MB/s", rate*float64(size)/1e6) }
	figures := []figure{{
		what: what, measured: speed(got), yardstick: speed(yard) + " minio-go directly",
		ratio: fmt.Sprintf("%.2f", got/yard), goal: fmt.Sprintf("≥ %.1f", goal), met: got >= goal*yard,
	}}
	if proxied != nil {
		bare := median(rates[2])
		figures = append(figures, figure{
			what: "… beside a proxy that only copies", measured: speed(got), yardstick: speed(bare) + " bare proxy",
			ratio: fmt.Sprintf("%.2f", got/bare), met: true,
		})
	}
	return figures, nil
}

func median(rates []float64) float64 {
	slices.Sort(rates)
	return rates[len(rates)/2]
}

// uploadMemory is how much the server grows while many large files are uploaded at once.
func (b *bench) uploadMemory() ([]figure, error) {
	const uploads, size = 32, 100 << 20
	if _, err := b.objects(); err != nil {
		return nil, err
	}
	people, err := b.people(uploads)
	if err != nil {
		return nil, err
	}
	if _, err := b.server.restart(); err != nil {
		return nil, err
	}
	b.reconnect()
	time.Sleep(3 * time.Second)
	idle, err := b.server.memory()
	if err != nil {
		return nil, err
	}
	if err := b.server.forgetPeak(); err != nil {
		return nil, err
	}
	var all uploaded
	if err := inParallel(uploads, uploads, func(i int) error { return people[i].upload(size, &all) }); err != nil {
		return nil, err
	}
	peak, err := b.server.peakMemory()
	if err != nil {
		return nil, err
	}
	grown := peak - idle
	return []figure{{
		what: "memory, 32 uploads of 100 MiB", measured: fmt.Sprintf("%.1f MiB more at the peak", float64(grown)/(1<<20)),
		yardstick: fmt.Sprintf("%.1f MiB idle", float64(idle)/(1<<20)), goal: "≤ 100 MiB", met: grown <= 100<<20,
	}}, b.clear(&all)
}
