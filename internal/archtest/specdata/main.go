// Specdata writes what archtest knows of the specification anew, for a new version of it:
//
//	go run ./internal/archtest/specdata ENDPOINTS.tsv SPECIFICATION
//
// ENDPOINTS.tsv is the table of all endpoints (area, file, method, path, operation, auth, rate_limited, deprecated);
// SPECIFICATION is the folder with content/ and data/. It writes testdata/endpoints-v1.19.tsv and testdata/slugs.txt.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: specdata ENDPOINTS.tsv SPECIFICATION")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "specdata:", err)
		os.Exit(1)
	}
}

func run(endpoints, specification string) error {
	table, err := endpointTable(endpoints)
	if err != nil {
		return err
	}
	slugs, err := slugList(filepath.Join(specification, "content"))
	if err != nil {
		return err
	}
	const target = "internal/archtest/testdata"
	if err := os.WriteFile(filepath.Join(target, "endpoints-v1.19.tsv"), []byte(table), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(target, "slugs.txt"), []byte(slugs), 0o644)
}

// endpointTable keeps the endpoints that are ours to serve.
func endpointTable(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	out := "area\tchapter\tmethod\tpath\tauth\trate_limited\tdeprecated\n"
	for i, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		f := strings.Split(line, "\t")
		for len(f) < 8 {
			f = append(f, "")
		}
		if i == 0 || f[0] != "client-server" && f[0] != "server-server" && f[0] != "identity" {
			continue
		}
		auth := "none"
		switch {
		case strings.HasPrefix(f[5], "accessToken") && f[0] == "identity":
			auth = "identity"
		case strings.HasPrefix(f[5], "accessToken"):
			auth = "token"
		case strings.HasPrefix(f[5], "appservice"):
			auth = "appservice"
		case f[5] == "signedRequest":
			auth = "signed"
		}
		out += strings.Join([]string{f[0], strings.TrimSuffix(f[1], ".yaml"), f[2], f[3], auth, yes(f[6]), yes(f[7])}, "\t") + "\n"
	}
	return out, nil
}

func yes(field string) string {
	if field == "" {
		return "no"
	}
	return "yes"
}

// documents are the files of each document, in content/.
var documents = map[string][]string{
	"client-server":       {"client-server-api/*.md", "client-server-api/modules/*.md"},
	"server-server":       {"server-server-api.md"},
	"application-service": {"application-service-api.md"},
	"identity":            {"identity-service-api.md"},
	"push-gateway":        {"push-gateway-api.md"},
	"appendices":          {"appendices.md"},
	"rooms":               {"rooms/_index.md"},
}

func slugList(content string) (string, error) {
	files, err := filepath.Glob(filepath.Join(content, "rooms/v*.md"))
	if err != nil {
		return "", err
	}
	for _, file := range files {
		documents["room "+strings.TrimSuffix(filepath.Base(file), ".md")] = []string{"rooms/" + filepath.Base(file)}
	}
	var lines []string
	for document, patterns := range documents {
		for _, pattern := range patterns {
			files, err := filepath.Glob(filepath.Join(content, pattern))
			if err != nil {
				return "", err
			}
			for _, file := range files {
				slugs, err := slugsOf(content, file)
				if err != nil {
					return "", err
				}
				for _, slug := range slugs {
					lines = append(lines, document+"\t"+slug)
				}
			}
		}
	}
	slices.Sort(lines)
	return strings.Join(slices.Compact(lines), "\n") + "\n", nil
}

var (
	heading  = regexp.MustCompile(`^#{1,6} +(.*?)\s*(?:\{(?:#|id=")([^"}]+)"?\})?\s*$`)
	fragment = regexp.MustCompile(`\{\{% rver-fragment name="([^"]+)"`)
	module   = regexp.MustCompile(`\{\{% cs-module name="([^"]+)"`)
	event    = regexp.MustCompile(`\{\{% event(?:-group)? (?:event|group_name)="([^"$]+)"`)
)

// slugsOf lists the anchors of a file: its headings and those of the fragments, modules and events that it includes.
func slugsOf(content, file string) ([]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var slugs []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		if m := heading.FindStringSubmatch(line); m != nil {
			slugs = append(slugs, slugify(m[1]))
			if m[2] != "" {
				slugs[len(slugs)-1] = m[2]
			}
		}
		for _, include := range []*regexp.Regexp{module, event} {
			if m := include.FindStringSubmatch(line); m != nil {
				slugs = append(slugs, slugify(m[1]))
			}
		}
		if m := fragment.FindStringSubmatch(line); m != nil {
			more, err := slugsOf(content, filepath.Join(content, "rooms/fragments", m[1]+".md"))
			if err != nil {
				return nil, err
			}
			slugs = append(slugs, more...)
		}
	}
	return slugs, nil
}

// slugify makes a heading's anchor as the specification's site does: small letters, digits, - and _; a space becomes -.
func slugify(title string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
			return unicode.ToLower(r)
		case r == ' ':
			return '-'
		}
		return -1
	}, strings.ReplaceAll(title, "&gt;", ""))
}
