// Package web is the page for guests, and for members without a client.
package web

import "embed"

// dist is what make built. It is empty but for a file in a tree where the page has not been built.
//
//go:embed all:dist
var dist embed.FS
