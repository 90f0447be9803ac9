package main

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"math"
	"math/rand/v2"
	"time"

	"github.com/kovidgoyal/imaging"
)

// thumbnails are compared with decoding and scaling the same pictures, and nothing else.
func (b *bench) thumbnails() ([]figure, error) {
	const pictures = 6
	if _, err := b.objects(); err != nil {
		return nil, err
	}
	people, err := b.people(1)
	if err != nil {
		return nil, err
	}
	photo, err := photograph()
	if err != nil {
		return nil, err
	}
	var all uploaded
	var yard, got time.Duration
	for i := range pictures {
		// A comment of its own makes each one another file.
		one := append([]byte{0xff, 0xd8, 0xff, 0xfe, 0, 3, byte(i)}, photo[2:]...)
		answer, err := people[0].client.upload(uploadTarget, bytes.NewReader(one), int64(len(one)))
		if err != nil {
			return nil, err
		}
		all.add(people[0], field(answer, "content_uri"))
		y, err := timed(func() error {
			decoded, err := jpeg.Decode(bytes.NewReader(one))
			if err == nil {
				imaging.Resize(decoded, 800, 600, imaging.Box)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		g, err := timed(func() error {
			_, err := people[0].client.download("/_matrix/client/v1/media/thumbnail/" + all.uris[people[0]][i] + "?width=800&height=600&method=scale")
			return err
		})
		if err != nil {
			return nil, err
		}
		if i > 0 { // the first one warms up
			yard, got = yard+y/(pictures-1), got+g/(pictures-1)
		}
	}
	const goal = 1.3
	ratio := got.Seconds() / yard.Seconds()
	return []figure{{
		what: "thumbnail of 12 megapixels, first time", measured: short(got), yardstick: short(yard) + " decoding and scaling",
		ratio: fmt.Sprintf("%.2f", ratio), goal: fmt.Sprintf("≤ %.1f", goal), met: ratio <= goal,
	}}, b.clear(&all)
}

func timed(f func() error) (time.Duration, error) {
	began := time.Now()
	err := f()
	return time.Since(began), err
}

// photograph is a JPEG of 12 megapixels with some noise.
func photograph() ([]byte, error) {
	img := image.NewRGBA(image.Rect(0, 0, 4000, 3000))
	random := rand.New(rand.NewPCG(1, 2))
	for y := range 3000 {
		for x := range 4000 {
			noise := float64(random.IntN(24))
			wave := func(phase float64) uint8 { return uint8(100 + 80*math.Sin(phase) + noise) }
			img.SetRGBA(x, y, color.RGBA{wave(float64(x) / 90), wave(float64(y) / 70), wave(float64(x+y) / 130), 255})
		}
	}
	var out bytes.Buffer
	err := jpeg.Encode(&out, img, &jpeg.Options{Quality: 90})
	return out.Bytes(), err
}
