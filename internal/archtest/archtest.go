// Package archtest holds what the shape of the tree promises: which package may import which, that every reference to the
// specification names something that is there, and that the route tables say what the specification says.
//
// A reference is a comment line in a Go file:
//
//	// Spec: client-server v1.19 §typing-notifications, PUT /_matrix/client/v3/rooms/{roomId}/typing/{userId}
//
// It names documents (client-server, server-server, application-service, appendices, rooms, room v12…), sections by their
// anchor, and endpoints by method and path. testdata/ lists what there is; specdata makes it.
//
// Start reading at References; the rules are in the tests.
package archtest

import (
	_ "embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

//go:embed testdata/endpoints-v1.19.tsv
var endpointsText string

//go:embed testdata/slugs.txt
var slugsText string

// Endpoint is an endpoint of the specification that a homeserver, or the identity service in it, serves.
type Endpoint struct {
	Area, Chapter, Method, Path string
	Auth                        string // none, token, appservice, signed, identity
	RateLimited, Deprecated     bool
}

// ThirdParty is added to the path of inviting by a third-party identifier, which is that of inviting by a user id.
const ThirdParty = " (third-party identifier)"

// Name is method and path, the key of an endpoint.
func (e Endpoint) Name() string { return e.Method + " " + e.Path }

// Endpoints lists all endpoints in the order of the specification's files.
func Endpoints() []Endpoint {
	var all []Endpoint
	for i, line := range strings.Split(strings.TrimSpace(endpointsText), "\n") {
		f := strings.Split(line, "\t")
		if i == 0 {
			continue
		}
		// The specification describes two paths twice, and tells them apart by a space at the end. Of these, inviting by a third-party
		// identifier is an endpoint of its own; the other is not.
		if f[1] == "third_party_membership" {
			f[3] += ThirdParty
		}
		f[3] = strings.TrimRight(f[3], " ")
		all = append(all, Endpoint{Area: f[0], Chapter: f[1], Method: f[2], Path: f[3], Auth: f[4], RateLimited: f[5] == "yes", Deprecated: f[6] == "yes"})
	}
	return all
}

// Slugs returns the anchors of each document.
func Slugs() map[string]map[string]bool {
	all := map[string]map[string]bool{}
	for line := range strings.SplitSeq(strings.TrimSpace(slugsText), "\n") {
		document, slug, _ := strings.Cut(line, "\t")
		if all[document] == nil {
			all[document] = map[string]bool{}
		}
		all[document][slug] = true
	}
	return all
}

// Reference is one Spec comment.
type Reference struct {
	File      string // with line, path from the root of the tree
	Text      string
	Version   string // v1.19, or empty
	Sections  []Section
	Endpoints []string // "GET /path"
}

// Section is a § with the document that it follows.
type Section struct{ Document, Slug string }

var (
	comment = regexp.MustCompile(`^\s*// Spec: (.+)$`)
	// foreign documents are named too; what is in them is not known here.
	foreign = regexp.MustCompile(`^(MSC|RFC)`)
	// part finds what a reference is made of, in order: document, version, section, endpoint.
	part = regexp.MustCompile(`\b(client-server|server-server|application-service|identity|push-gateway|appendices|room versions|rooms|room v\d+|MSC\d+|RFC ?\d+)\b` +
		`|\b(v1\.\d+)\b|§([\p{L}\p{N}_-]+)|\b((?:GET|PUT|POST|DELETE|OPTIONS|HEAD) /[^\s,;:)]+(?:` + regexp.QuoteMeta(ThirdParty) + `)?)`)
)

// parse reads the text of a Spec comment.
func parse(text string) Reference {
	r := Reference{Text: text}
	document := ""
	for _, m := range part.FindAllStringSubmatch(text, -1) {
		switch {
		case m[1] != "":
			document = m[1]
		case m[2] != "":
			r.Version = m[2]
		case m[3] != "":
			if !foreign.MatchString(document) {
				r.Sections = append(r.Sections, Section{document, m[3]})
			}
		case m[4] != "":
			r.Endpoints = append(r.Endpoints, strings.TrimSuffix(m[4], "."))
		}
	}
	return r
}

// References finds the Spec comments of all Go files under root. Comments about proposals (MSC…) and RFCs are left out.
func References(root string) ([]Reference, error) {
	var all []Reference
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || d.Name() == "testdata" || d.Name() == "archtest" || strings.HasPrefix(d.Name(), ".") && path != root) {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(path) != ".go" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		for i, line := range strings.Split(string(text), "\n") {
			if m := comment.FindStringSubmatch(line); m != nil && !foreign.MatchString(m[1]) {
				r := parse(m[1])
				r.File = fmt.Sprintf("%s:%d", name, i+1)
				all = append(all, r)
			}
		}
		return nil
	})
	return all, err
}
