// Coverage prints how many endpoints of the specification are implemented, by chapter, and which are not (make spec). An
// endpoint counts as implemented when a handler's Spec comment names it.
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/roomline/roomline/internal/archtest"
)

func main() {
	references, err := archtest.References(".")
	if err != nil {
		fmt.Fprintln(os.Stderr, "coverage:", err)
		os.Exit(1)
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
	type chapter struct {
		done, all int
		missing   []string
	}
	chapters := map[string]*chapter{}
	var order []string
	totals := map[string]*chapter{}
	for _, e := range archtest.Endpoints() {
		name := e.Area + " " + e.Chapter
		if chapters[name] == nil {
			chapters[name] = &chapter{}
			order = append(order, name)
		}
		if totals[e.Area] == nil {
			totals[e.Area] = &chapter{}
		}
		c, total := chapters[name], totals[e.Area]
		c.all++
		total.all++
		if implemented[e.Name()] {
			c.done++
			total.done++
		} else {
			c.missing = append(c.missing, e.Name())
		}
	}
	for _, name := range order {
		c := chapters[name]
		fmt.Printf("%-45s %3d of %3d\n", name, c.done, c.all)
		for _, m := range c.missing {
			fmt.Println("    missing", m)
		}
	}
	for _, area := range []string{"client-server", "server-server"} {
		fmt.Printf("%-45s %3d of %3d\n", "all of "+area, totals[area].done, totals[area].all)
	}
}
