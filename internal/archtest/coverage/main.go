// Coverage prints, as a table in Markdown, how many endpoints of the specification are served, by chapter, and which are not
// (make spec). With -readme it writes the table into README.md, between the two comments that name it.
package main

import (
	"fmt"
	"os"

	"github.com/roomline/roomline/internal/archtest"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "coverage:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	table, err := archtest.Coverage(".")
	if err != nil {
		return err
	}
	if len(args) == 0 {
		_, err := fmt.Print(table)
		return err
	}
	text, err := os.ReadFile("README.md")
	if err != nil {
		return err
	}
	written, err := archtest.WithCoverage(string(text), table)
	if err != nil {
		return err
	}
	return os.WriteFile("README.md", []byte(written), 0o644)
}
