package voice

import "math"

// halfTaps is the length of the filter that keeps what is above 4 kHz out of audio at 8 kHz. Its middle is a sample, so its length is odd.
const halfTaps = 47

// half is a low pass at a quarter of the sampling rate: a sinc in a Blackman window.
var half = func() (h [halfTaps]float32) {
	const middle = halfTaps / 2
	sum := 0.0
	for i := range h {
		x := float64(i - middle)
		v := 0.5
		if x != 0 {
			v = math.Sin(math.Pi*x/2) / (math.Pi * x)
		}
		phase := 2 * math.Pi * float64(i) / (halfTaps - 1)
		v *= 0.42 - 0.5*math.Cos(phase) + 0.08*math.Cos(2*phase)
		h[i] = float32(v)
		sum += v
	}
	for i := range h {
		h[i] /= float32(sum)
	}
	return h
}()

// halver makes 8 kHz of 16 kHz, doubler the other way. They remember the last samples, so that frames join without a click.
type (
	halver  struct{ past []int16 }
	doubler struct{ past []int16 }
)

// halve returns half as many samples. The number of samples given has to be even.
func (r *halver) halve(pcm []int16) []int16 {
	all := append(append(make([]int16, 0, halfTaps-1+len(pcm)), r.history(halfTaps-1)...), pcm...)
	out := make([]int16, len(pcm)/2)
	for i := range out {
		var sum float32
		for k, h := range half {
			sum += h * float32(all[2*i+k])
		}
		out[i] = saturated(int32(math.Round(float64(sum))))
	}
	r.past = all[len(all)-(halfTaps-1):]
	return out
}

func (r *halver) history(n int) []int16 {
	if r.past == nil {
		r.past = make([]int16, n)
	}
	return r.past
}

// double returns twice as many samples.
func (r *doubler) double(pcm []int16) []int16 {
	const past = (halfTaps - 1) / 2
	if r.past == nil {
		r.past = make([]int16, past)
	}
	all := append(append(make([]int16, 0, past+len(pcm)), r.past...), pcm...)
	out := make([]int16, 2*len(pcm))
	for i := range out {
		// Every other sample of what is filtered is zero, and the filter has half of the energy to give back.
		var sum float32
		for k := (halfTaps - 1 - i) & 1; k < halfTaps; k += 2 {
			sum += half[k] * float32(all[(i+k)/2])
		}
		out[i] = saturated(int32(math.Round(float64(2 * sum))))
	}
	r.past = all[len(all)-past:]
	return out
}

// resample returns a whole recording at another rate.
func resample(pcm []int16, from, to int) []int16 {
	if from == to || len(pcm) == 0 {
		return pcm
	}
	// The filter lets through what both rates can carry.
	const lobes = 16
	scale := math.Min(1, float64(to)/float64(from))
	reach := int(math.Ceil(lobes / scale))
	out := make([]int16, int(int64(len(pcm))*int64(to)/int64(from)))
	for i := range out {
		at := float64(i) * float64(from) / float64(to)
		middle := int(at)
		var sum, weight float64
		for k := max(0, middle-reach+1); k <= min(len(pcm)-1, middle+reach); k++ {
			x := (float64(k) - at) * scale
			if math.Abs(x) >= lobes {
				continue
			}
			h := 1.0
			if x != 0 {
				h = math.Sin(math.Pi*x) / (math.Pi * x)
			}
			h *= 0.5 + 0.5*math.Cos(math.Pi*x/lobes)
			sum += h * float64(pcm[k])
			weight += h
		}
		if weight != 0 {
			out[i] = saturated(int32(math.Round(sum / weight)))
		}
	}
	return out
}

func saturated(v int32) int16 { return int16(max(math.MinInt16, min(math.MaxInt16, v))) }
