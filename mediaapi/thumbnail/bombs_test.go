package thumbnail

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"image"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/limits"
)

// bombs claim what they don't have.
func bombs() map[string][]byte {
	size := func(width, height uint32, depth, colour byte) []byte {
		header := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, width), height)
		return append([]byte(pngMagic), pngChunk("IHDR", append(header, depth, colour, 0, 0, 0))...)
	}
	sof := func(marker byte, width, height uint16) []byte {
		data := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16([]byte{8}, height), width)
		return withSegment([]byte{0, 0, 0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0}, marker, append(data, 3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0))
	}
	screen := func(width, height uint16) []byte {
		return append(binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16([]byte("GIF89a"), width), height), 0, 0, 0, 0x2c)
	}
	return map[string][]byte{
		"PNG 65,535 x 65,535":     size(65535, 65535, 8, 6),
		"PNG 2^31-1 x 2^31-1":     size(1<<31-1, 1<<31-1, 16, 6),
		"PNG 33 million x 1":      size(33_000_000, 1, 1, 0),
		"PNG of 64 bits":          size(5790, 5790, 16, 6),
		"PNG 1 bit":               size(65535, 65535, 1, 0),
		"JPEG 65,535 x 65,535":    sof(sof0, 65535, 65535),
		"JPEG progressive 32 Mpx": sof(sof2, 5790, 5790),
		"GIF 65,535 x 65,535":     screen(65535, 65535),
		"WebP lossless 16,384^2":  plainWebP(16384, 16384, red),
		"WebP 2^24 x 2^24":        riff(extended(webpAlpha, 1<<24, 1<<24), riffChunk("ALPH", make([]byte, 9))),
		"WebP frame 2^24 x 2^24":  riff(extended(webpAnimated, 1<<24, 1<<24), riffChunk("ANMF", make([]byte, 99))),
		"GIF of 10,000 frames":    spinning(16, 16, 10_000),
		"GIF of 51 megapixels":    spinning(900, 900, 63),
	}
}

// SEC-73: bombs are refused by their header.
func TestBombsAreRefusedBeforeAllocation(t *testing.T) {
	for name, data := range bombs() {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Make(t.Context(), bytes.NewReader(data), int64(len(data)), Request{Size: Size{800, 600, false}, Animated: true})
		runtime.ReadMemStats(&after)
		if !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 2<<20 {
			t.Errorf("%s: %d KiB were allocated", name, used>>10)
		}
	}
	// What lies inside of a picture is judged as well.
	inner := riff(extended(webpAnimated, 100, 100), riffChunk("ANMF", append([]byte{0, 0, 0, 0, 0, 0, 99, 0, 0, 99, 0, 0, 0, 0, 0, 0}, plainWebP(16384, 16384, red)[12:]...)))
	hidden := riff(extended(0, 100, 100), plainWebP(16384, 16384, red)[12:])
	for _, data := range [][]byte{inner, hidden} {
		if _, err := Make(t.Context(), bytes.NewReader(data), int64(len(data)), Request{Size: Sizes[0]}); !errors.Is(err, ErrBroken) {
			t.Errorf("a frame that is larger than it should be: %v", err)
		}
	}
	if _, err := Make(t.Context(), bytes.NewReader(nil), limits.ThumbnailSource+1, Request{Size: Sizes[0]}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a file that is too large: %v", err)
	}
	endless := io.MultiReader(bytes.NewReader(asJPEG(quadrants(9, 9))), zeros{})
	if _, err := Make(t.Context(), endless, -1, Request{Size: Sizes[0]}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a file without end: %v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// SEC-73: memory stays bounded when 50 of the largest pictures come at one time.
func TestManyLargePicturesAtOneTime(t *testing.T) {
	large := asPNG(image.NewNRGBA(image.Rect(0, 0, 5792, 5792)))
	jpeg := photo()
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		t.Fatalf("the peak of memory cannot be set back: %v", err)
	}
	before := peak(t)
	var all sync.WaitGroup
	for i := range 50 {
		data := jpeg
		if i%5 == 0 {
			data = large
		}
		all.Go(func() {
			if _, err := Make(t.Context(), bytes.NewReader(data), int64(len(data)), Request{Size: Size{800, 600, false}}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	more := peak(t) - before
	t.Logf("%d MiB more than before", more>>10)
	if more > 200<<10 {
		t.Errorf("50 pictures took %d MiB", more>>10)
	}
}

// peak is the largest resident size so far, in KiB.
func peak(t *testing.T) int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	if err := memory.Acquire(t.Context(), limits.ThumbnailMemory); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := Make(ctx, bytes.NewReader(asPNG(quadrants(9, 9))), -1, Request{Size: Sizes[0]})
		done <- err
	}()
	select {
	case err := <-done:
		t.Errorf("it did not wait: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	memory.Release(limits.ThumbnailMemory)
}

// manyScans is a progressive JPEG of few bytes per scan, each of which goes through all blocks.
func manyScans(scans int) []byte {
	out := []byte("\xff\xd8\xff\xdb\x00\x43\x00" + strings.Repeat("\x01", 64))
	out = append(out, "\xff\xc2\x00\x0b\x08\x10\x00\x10\x00\x01\x01\x11\x00"...) // 4096x4096, gray
	// One code for each: DC difference 0, and an end of band that holds for 2^14 blocks and more.
	out = append(out, "\xff\xc4\x00\x14\x00\x01"+strings.Repeat("\x00", 16)+"\xff\xc4\x00\x14\x10\x01"+strings.Repeat("\x00", 15)+"\xe0"...)
	for range scans {
		out = append(out, "\xff\xda\x00\x08\x01\x01\x00\x01\x3f\x00"...)
		// A run is the code 0 and 14 bits: 2^14 + 10922 of the 4096*4096/64 blocks.
		bits, n := uint32(0), 0
		for range 10 {
			bits, n = bits<<15|0b0_10101010101010, n+15
			for ; n >= 8; n -= 8 {
				out = append(out, byte(bits>>(n-8)))
			}
		}
		out = append(out, byte(bits<<(8-n)))
	}
	return append(out, 0xff, 0xd9)
}

func TestDecodingEndsWithTheContext(t *testing.T) {
	data := manyScans(100_000)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := Make(ctx, bytes.NewReader(data), int64(len(data)), Request{Size: Sizes[0]})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestBrokenPicturesAreBroken(t *testing.T) {
	t.Parallel()
	whole := map[string][]byte{"JPEG": asJPEG(quadrants(50, 50)), "PNG": asPNG(quadrants(50, 50)), "GIF": spinning(50, 50, 2), "WebP": plainWebP(50, 50, red)}
	for name, data := range whole {
		for _, n := range []int{4, 12, 20, 40} {
			if n = min(n, len(data)-9); n < 12 && name == "WebP" {
				continue
			}
			_, err := Make(t.Context(), bytes.NewReader(data[:n]), -1, Request{Size: Sizes[0], Animated: true})
			if !errors.Is(err, ErrBroken) && (n >= 8 || !errors.Is(err, ErrUnsupported)) {
				t.Errorf("%d bytes of a %s: %v", n, name, err)
			}
		}
	}
	failing := errors.New("the store is away")
	if _, err := Make(t.Context(), io.MultiReader(bytes.NewReader(whole["PNG"][:50]), errReader{failing}), 500, Request{Size: Sizes[0]}); !errors.Is(err, failing) {
		t.Errorf("what the reader said is lost: %v", err)
	}
}

type errReader struct{ err error }

func (e errReader) Read([]byte) (int, error) { return 0, e.err }

func TestPanicsOfDecodersAreCaught(t *testing.T) {
	t.Parallel()
	// No input is known that makes a decoder panic. Bytes that nobody has looked at before stand in for one.
	_, err := render(t.Context(), nil, header{format: formatWebP, animated: true}, Request{Size: Sizes[0]})
	if !errors.Is(err, ErrBroken) {
		t.Error(err)
	}
}
