package matrix

import "testing"

func TestGlobs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"*", "", true}, {"*", "x", true}, {"a", "a", true}, {"a", "ab", false}, {"a*", "ab", true}, {"*b", "ab", true}, {"a*c", "abc", true},
		{"a*c", "ab", false}, {"a*b*c", "axbyc", true}, {"a*b*c", "acb", false}, {"a*a", "a", false}, {"", "a", false},
	} {
		if Glob(c.pattern, c.text) != c.want {
			t.Errorf("%q matches %q: %v", c.pattern, c.text, !c.want)
		}
	}
}
