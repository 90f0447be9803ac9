package archtest

import (
	"fmt"
	"strings"
)

// Implemented are the endpoints that a handler's Spec comment names, in the tree under root. A test sees to it that those, and no
// others, are in the route tables.
func Implemented(root string) (map[string]bool, error) {
	references, err := References(root)
	if err != nil {
		return nil, err
	}
	implemented := map[string]bool{}
	for _, r := range references {
		if strings.Contains(r.File, "_test.go:") {
			continue
		}
		for _, e := range r.Endpoints {
			implemented[e] = true
		}
	}
	return implemented, nil
}

// Coverage is a table in Markdown of how many endpoints of the specification are served, by chapter, and which are not.
func Coverage(root string) (string, error) {
	implemented, err := Implemented(root)
	if err != nil {
		return "", err
	}
	type count struct {
		area, chapter string
		done, all     int
		missing       []string
	}
	var chapters []*count
	totals := map[string]*count{}
	for _, e := range Endpoints() {
		if n := len(chapters); n == 0 || chapters[n-1].area != e.Area || chapters[n-1].chapter != e.Chapter {
			chapters = append(chapters, &count{area: e.Area, chapter: e.Chapter})
		}
		if totals[e.Area] == nil {
			totals[e.Area] = &count{}
		}
		c, total := chapters[len(chapters)-1], totals[e.Area]
		c.all++
		total.all++
		if implemented[e.Name()] {
			c.done++
			total.done++
		} else {
			c.missing = append(c.missing, "`"+strings.TrimSpace(e.Name())+"`")
		}
	}
	var b strings.Builder
	b.WriteString("| API | chapter | served | not served |\n|---|---|---|---|\n")
	for _, area := range []string{"client-server", "server-server", "identity"} {
		fmt.Fprintf(&b, "| %s | all | %d of %d | |\n", area, totals[area].done, totals[area].all)
	}
	for _, c := range chapters {
		fmt.Fprintf(&b, "| %s | %s | %d of %d | %s |\n", c.area, c.chapter, c.done, c.all, strings.Join(c.missing, " "))
	}
	return b.String(), nil
}

// The table stands in README.md between these lines.
const coverageBegin, coverageEnd = "<!-- make spec -->\n", "<!-- end of make spec -->\n"

// WithCoverage is the text of README.md with the table in it.
func WithCoverage(readme, table string) (string, error) {
	before, rest, ok := strings.Cut(readme, coverageBegin)
	_, after, ok2 := strings.Cut(rest, coverageEnd)
	if !ok || !ok2 {
		return "", fmt.Errorf("README.md has no place for the table: %q and %q", coverageBegin, coverageEnd)
	}
	return before + coverageBegin + "\n" + table + "\n" + coverageEnd + after, nil
}
