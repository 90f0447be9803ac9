package mail

import (
	"fmt"
	"math"
)

// colour is of sRGB.
type colour struct{ r, g, b float64 } // 0 to 255

// Ours where an organisation has none.
var (
	standardColour = colour{0x1f, 0x5f, 0xbf}
	white          = colour{255, 255, 255}
	ink            = colour{0x14, 0x17, 0x1c}
	night          = colour{0x1b, 0x1e, 0x24} // the card in dark mode
)

// contrastText is what text needs at least.
//
// WCAG 2.2, success criterion 1.4.3.
const contrastText = 4.5

// visibleEdge is the contrast below which a button ends nowhere.
const visibleEdge = 1.2

func parseColour(text string) colour {
	var r, g, b uint8
	if n, err := fmt.Sscanf(text, "#%02x%02x%02x", &r, &g, &b); n != 3 || err != nil || len(text) != 7 {
		return standardColour
	}
	return colour{float64(r), float64(g), float64(b)}
}

func (c colour) String() string {
	return fmt.Sprintf("#%02x%02x%02x", uint8(math.Round(c.r)), uint8(math.Round(c.g)), uint8(math.Round(c.b)))
}

// luminance is WCAG's relative luminance.
func (c colour) luminance() float64 {
	linear := func(v float64) float64 {
		if v /= 255; v <= 0.04045 {
			return v / 12.92
		}
		return math.Pow((v+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(c.r) + 0.7152*linear(c.g) + 0.0722*linear(c.b)
}

func contrast(a, b colour) float64 {
	x, y := a.luminance(), b.luminance()
	return (math.Max(x, y) + 0.05) / (math.Min(x, y) + 0.05)
}

// on is what can be read on the colour: white if it can be, as brands have it, else dark.
func (c colour) on() colour {
	if contrast(c, white) >= contrastText || contrast(c, white) > contrast(c, ink) {
		return white
	}
	return ink
}

// legible is the colour, as far on the way to towards as it takes to be read on the ground.
func (c colour) legible(ground, towards colour) colour {
	for step := 0.0; step < 1; step += 0.05 {
		mixed := parseColour(colour{c.r + (towards.r-c.r)*step, c.g + (towards.g-c.g)*step, c.b + (towards.b-c.b)*step}.String())
		if contrast(mixed, ground) >= contrastText {
			return mixed
		}
	}
	return towards
}
