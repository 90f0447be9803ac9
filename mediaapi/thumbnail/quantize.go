package thumbnail

import (
	"cmp"
	"image/color"
	"slices"
)

// box is a part of the colour cube: the colours in it, each with 5 bits for red, green and blue.
type box struct {
	colours []uint16
	weight  uint64 // pixels times the longest side: what is most worth splitting
	channel int    // with the longest side
}

func channel(colour uint16, c int) int { return int(colour>>(10-5*c)) & 31 }

func newBox(colours []uint16, counts *[1 << 15]uint32) box {
	b := box{colours: colours}
	var pixels uint64
	low, high := [3]int{31, 31, 31}, [3]int{}
	for _, colour := range colours {
		pixels += uint64(counts[colour])
		for c := range 3 {
			low[c], high[c] = min(low[c], channel(colour, c)), max(high[c], channel(colour, c))
		}
	}
	longest := 0
	for c := range 3 {
		if side := high[c] - low[c]; side > longest {
			longest, b.channel = side, c
		}
	}
	b.weight = pixels * uint64(longest)
	return b
}

// medianCut divides the colours that occur into at most n boxes, each with about as many pixels, and gives each box its mean
// colour. The index of the box of every colour comes with it.
func medianCut(counts *[1 << 15]uint32, n int) (color.Palette, *[1 << 15]uint8) {
	var all []uint16
	for colour, count := range counts {
		if count > 0 {
			all = append(all, uint16(colour))
		}
	}
	index := new([1 << 15]uint8)
	if len(all) == 0 {
		return nil, index
	}
	boxes := []box{newBox(all, counts)}
	for len(boxes) < n {
		i := 0
		for j, b := range boxes {
			if b.weight > boxes[i].weight {
				i = j
			}
		}
		if boxes[i].weight == 0 {
			break // one colour each
		}
		left, right := split(boxes[i], counts)
		boxes[i] = newBox(left, counts)
		boxes = append(boxes, newBox(right, counts))
	}
	palette := make(color.Palette, len(boxes))
	for i, b := range boxes {
		var sum [3]uint64
		var pixels uint64
		for _, colour := range b.colours {
			index[colour] = uint8(i)
			count := uint64(counts[colour])
			pixels += count
			for c := range 3 {
				v := channel(colour, c)
				sum[c] += count * uint64(v<<3|v>>2)
			}
		}
		palette[i] = color.RGBA{uint8(sum[0] / pixels), uint8(sum[1] / pixels), uint8(sum[2] / pixels), 255}
	}
	return palette, index
}

// split divides a box of at least two colours where half of its pixels are on each side.
func split(b box, counts *[1 << 15]uint32) (left, right []uint16) {
	slices.SortFunc(b.colours, func(x, y uint16) int { return cmp.Compare(channel(x, b.channel), channel(y, b.channel)) })
	var pixels uint64
	for _, colour := range b.colours {
		pixels += uint64(counts[colour])
	}
	var seen uint64
	for i, colour := range b.colours[:len(b.colours)-1] {
		seen += uint64(counts[colour])
		if 2*seen >= pixels {
			return b.colours[:i+1], b.colours[i+1:]
		}
	}
	last := len(b.colours) - 1
	return b.colours[:last], b.colours[last:]
}
